//! `taciturn-instructions`: how many instructions the packet path and control messages take, held against a record.
//!
//! Runs itself under callgrind, which counts instructions exactly, whatever else the machine does. Not responsible for
//! time: what the kernel costs, and what a cache miss costs, is seen by `benches/load`.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a program for people at a terminal")]

mod callgrind;
mod cases;
mod count;
mod environment;
mod record;
mod verdict;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;

use count::Counter;
use environment::Environment;
use record::Record;
use verdict::Comparison;

/// The record, beside this program's source.
const RECORD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/counts.toml");
/// Writes the record anew instead of comparing with it.
const UPDATE: &str = "UPDATE_INSTRUCTIONS";

fn main() -> ExitCode {
    let outcome = match std::env::args().nth(1).as_deref() {
        None => measure(false),
        Some("all") => measure(true),
        // What this program calls itself with under callgrind; by hand it only shows that every case works.
        Some("cases") => run_cases(),
        Some(other) => Err(anyhow::anyhow!(
            "`{other}` is not known: `all` prints every case, nothing at all those that differ"
        )),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("taciturn-instructions: {error:#}");
        ExitCode::FAILURE
    })
}

fn run_cases() -> anyhow::Result<ExitCode> {
    println!("{}", environment::processor());
    let mut counter = Counter::default();
    cases::run(&mut counter)?;
    for (name, operations) in counter.regions() {
        println!("{operations} {name}");
    }
    Ok(ExitCode::SUCCESS)
}

fn measure(everything: bool) -> anyhow::Result<ExitCode> {
    let measured = callgrind::measure()?;
    let found = Record {
        environment: Environment::here(measured.processor)?,
        instructions: measured.instructions,
    };
    let path = Path::new(RECORD);
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(path, found.to_text()).with_context(|| format!("writing {RECORD}"))?;
        println!("{} counts written to {RECORD}", found.instructions.len());
        return Ok(ExitCode::SUCCESS);
    }
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("reading {RECORD}; {UPDATE}=1 writes it"))?;
    let recorded = Record::parse(&text).with_context(|| format!("in {RECORD}"))?;
    let comparison = Comparison::of(&recorded.instructions, &found.instructions);
    print!("{}", comparison.table(everything));
    let differences = recorded.environment.differences(&found.environment);
    if differences.is_empty() {
        return Ok(judged(&comparison));
    }
    println!("NOT JUDGED, as the counts were recorded elsewhere:");
    for difference in differences {
        println!("  {difference}");
    }
    Ok(ExitCode::SUCCESS)
}

fn judged(comparison: &Comparison) -> ExitCode {
    if comparison.holds() {
        println!("all {} counts are as recorded", comparison.len());
        return ExitCode::SUCCESS;
    }
    println!(
        "the counts differ from benches/instructions/counts.toml. A regression is to be mended; what is meant, or better, is \
         recorded by `{UPDATE}=1 cargo run --release -p taciturn-instructions`"
    );
    ExitCode::FAILURE
}
