//! Two servers on the same core, in turn under the same rows; medians and ratios.
//!
//! Responsible for the order of the runs and for which core does what. Not responsible for how a server is started (see
//! `servers`), what a row is (see `rows`), or how the result is shown (see `table`).

pub(crate) mod machine;
mod rows;
pub(crate) mod servers;
mod table;

pub(crate) use machine::pin_to_core;

use crate::ballast::Ballast;
use crate::cli::Outcome;
use crate::server_use::Server;
use anyhow::{Context, Result, bail};
use rows::{Effort, Row, Servers};
use serde_json::Value;
use servers::{Kind, Running, Workbench};
use std::path::PathBuf;
use std::time::Duration;
use table::{Comparison, Measured};

/// Where the server runs.
pub(crate) const SERVER_CORE: usize = 0;
/// Where the generator runs.
pub(crate) const GENERATOR_CORE: usize = 1;

/// Options of the comparison.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// The server that ratios divide by
    #[arg(long, value_enum, default_value = "coturn")]
    baseline: Kind,
    /// The server that is compared with it; the same one twice shows the noise
    #[arg(long, value_enum, default_value = "taciturn")]
    candidate: Kind,
    /// The taciturn binary
    #[arg(long, default_value = "target/release/taciturn")]
    taciturn: PathBuf,
    /// The coturn binary
    #[arg(long, default_value = "turnserver")]
    coturn: PathBuf,
    /// How often each server runs each row
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Length of the measured interval of each run
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Short runs (1 s), so that the whole takes less than four minutes
    #[arg(long)]
    quick: bool,
    /// Only rows whose name contains one of these (comma-separated)
    #[arg(long, value_delimiter = ',')]
    rows: Vec<String>,
    /// Allocations in the allocations row
    #[arg(long, default_value_t = 9000)]
    allocations: usize,
    /// Last part of the names of the result files
    #[arg(long, default_value = "comparison")]
    name: String,
    /// Where the result files go
    #[arg(long, default_value = "benches/results")]
    output: PathBuf,
    /// Take time on the server's core while the one-core generator cannot keep it busy, so that it is measured at its limit
    #[arg(long)]
    ballast: bool,
    /// Print only, write no files
    #[arg(long)]
    no_write: bool,
}

/// Runs the comparison, prints the table, writes it with how it was made.
pub(crate) fn run(options: &Options) -> Result<Outcome> {
    if !(0.1..=60.0).contains(&options.seconds) || !(1..=20).contains(&options.rounds) {
        bail!("--seconds must be 0.1 to 60 and --rounds 1 to 20");
    }
    let effort = Effort {
        duration: if options.quick {
            Duration::from_secs(1)
        } else {
            Duration::from_secs_f64(options.seconds)
        },
        warm_up: Duration::from_millis(if options.quick { 200 } else { 500 }),
        allocations: options.allocations,
    };
    let rows: Vec<Row> = rows::all()
        .into_iter()
        .filter(|row| row.is_wanted(&options.rows))
        .collect();
    if rows.is_empty() {
        bail!(
            "no row is named so; there are: {}",
            rows::all()
                .iter()
                .map(|row| row.name)
                .collect::<Vec<_>>()
                .join(", ")
        );
    }
    let bench = Workbench::new(&options.coturn, &options.taciturn)?;
    let mut comparison = Comparison::new(
        &bench,
        [options.baseline, options.candidate],
        options.rounds,
        effort,
        &rows,
    )?;
    let kinds = [options.baseline, options.candidate];
    for round in 0..options.rounds {
        eprintln!("round {} of {}", round + 1, options.rounds);
        // Alternate who goes first: a machine that warms up or slows down favours neither.
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        measure(
            &bench,
            kinds,
            order,
            &rows,
            effort,
            options.ballast,
            |row, side, measured| comparison.add(row, side, measured),
        )?;
    }
    let text = comparison.to_markdown();
    machine::print(&text)?;
    if !options.no_write {
        let stem = options
            .output
            .join(format!("{}-{}", comparison.date(), options.name));
        std::fs::create_dir_all(&options.output)
            .with_context(|| format!("cannot create {}", options.output.display()))?;
        for (extension, content) in [
            ("md", text),
            (
                "json",
                serde_json::to_string_pretty(&comparison.to_json())? + "\n",
            ),
        ] {
            let path = stem.with_extension(extension);
            std::fs::write(&path, content)
                .with_context(|| format!("cannot write {}", path.display()))?;
            eprintln!("written: {}", path.display());
        }
    }
    Ok(if comparison.is_sound() {
        Outcome::Sound
    } else {
        Outcome::Unsound
    })
}

/// Both servers through all rows, row by row: the two runs of a row are seconds apart, so that a drift of the machine
/// touches both. The one whose turn it is not sleeps. Memory rows get processes of their own, which have done nothing before.
fn measure(
    bench: &Workbench,
    kinds: [Kind; 2],
    order: [usize; 2],
    rows: &[Row],
    effort: Effort,
    ballast: bool,
    mut add: impl FnMut(usize, usize, Measured),
) -> Result<()> {
    for needed in Servers::ALL {
        let chosen: Vec<usize> = (0..rows.len())
            .filter(|&row| rows[row].servers == needed)
            .collect();
        if chosen.is_empty() {
            continue;
        }
        let polling = needed == Servers::Polling;
        let servers = [
            start(bench, kinds[0], polling)?,
            start(bench, kinds[1], polling)?,
        ];
        for row in chosen {
            for side in order {
                let (running, observed) = &servers[side];
                let ballast = ballast.then(|| Ballast::begin(SERVER_CORE)).transpose()?;
                let measured = match rows[row].run(running, effort, observed, ballast.as_ref()) {
                    Ok((report, sound)) => Measured {
                        report,
                        failure: (!sound).then(|| "unsound: see the counts".to_owned()),
                    },
                    Err(error) => Measured {
                        report: Value::Null,
                        failure: Some(format!("{error:#}")),
                    },
                };
                eprintln!(
                    "  {:<16} {:<9} {}",
                    rows[row].name,
                    kinds[side].label(),
                    table::one_line(&measured)
                );
                add(row, side, measured);
            }
        }
    }
    Ok(())
}

fn start(bench: &Workbench, kind: Kind, polling: bool) -> Result<(Running, Server)> {
    machine::pin_if_possible(SERVER_CORE)?;
    let running = bench.start_polling(kind, polling);
    machine::pin_if_possible(GENERATOR_CORE)?;
    let running = running.with_context(|| format!("cannot start {}", kind.label()))?;
    let observed = Server::new(running.pid())?;
    Ok((running, observed))
}
