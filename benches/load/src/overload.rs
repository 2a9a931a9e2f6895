//! A relay under several times what it can carry: how long Refresh and Allocate take, and what a call beside it loses.
//!
//! Responsible for the sequence (capacity first, then the overload from either side) and for the page of figures. Not
//! responsible for load (`pressure`), questions (`asker`) or the call (`neighbour`).

mod asker;
mod neighbour;
pub(crate) mod pressure;

use crate::cli::{Outcome, default_burst};
use crate::compare::machine::{self, Provenance};
use crate::compare::servers::{Kind, Running, Workbench};
use crate::compare::{GENERATOR_CORE, SERVER_CORE};
use crate::flow::{self, End, Framing};
use crate::link::Transport;
use crate::server_use::Server;
use crate::traffic::{self, Directions, Pace, Plan};
use anyhow::{Context, Result, bail};
use asker::{Answers, Asker, Question};
use neighbour::Neighbour;
use pressure::{Brake, Pressure};
use std::fmt::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The share of its core at which the relay sheds by default.
const BUSY: f64 = 0.9;
/// The least share that it can be told.
const LEAST_BUSY: f64 = 0.15;
/// A relay that has been overloaded takes new allocations again after five calm seconds.
const CALM: Duration = Duration::from_secs(8);
/// The relay needs two seconds to find out; then it counts.
const FOUND_OUT: Duration = Duration::from_secs(4);
const ASKERS: usize = 8;

/// A relay under more than it can carry
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The relay's binary
    #[arg(long, default_value = "target/release/taciturn")]
    taciturn: PathBuf,
    /// Offered load, as a multiple of the capacity that is measured first
    #[arg(long, default_value_t = 3.0)]
    times: f64,
    /// Length of each measurement, in seconds
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Flows that make the load
    #[arg(long, default_value_t = 16)]
    flows: usize,
    /// Bytes of each payload of the load
    #[arg(long, default_value_t = 172)]
    payload: usize,
    /// Threads that take time on the relay's core, so that less can overload it; it sheds at its share of the core
    #[arg(long, default_value_t = 0)]
    brake: usize,
    /// Name of the result, after the date
    #[arg(long, default_value = "overload")]
    name: String,
    /// Where the result goes
    #[arg(long, default_value = "benches/results")]
    output: PathBuf,
    /// Print only, write no file
    #[arg(long)]
    no_write: bool,
}

/// Who sends too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Calm,
    Clients,
    Peers,
}

/// What one measurement found.
struct Measured {
    shape: Shape,
    capacity: f64,
    offered: f64,
    busy: f64,
    answers: [(&'static str, Answers); 4],
    neighbour: Neighbour,
}

/// Measures, prints the page, writes it with how it was made.
pub(crate) fn run(options: &Options) -> Result<Outcome> {
    if !(1.0..=120.0).contains(&options.seconds) || !(1.0..=20.0).contains(&options.times) {
        bail!("--seconds must be 1 to 120 and --times 1 to 20");
    }
    if options.flows == 0 || !(64..=1400).contains(&options.payload) {
        bail!("--flows must be at least 1 and --payload 64 to 1400");
    }
    let busy = (BUSY / (options.brake + 1) as f64).max(LEAST_BUSY);
    let keys = format!("[overload]\nbusiest-core = {busy}\n[self-check]\ninterval = \"0s\"\n");
    let bench = Workbench::new(std::path::Path::new("turnserver"), &options.taciturn)?
        .with_taciturn_keys(&keys);
    let mut measured = Vec::new();
    for shape in [Shape::Calm, Shape::Clients, Shape::Peers] {
        eprintln!("{}", shape.title());
        measured.push(measure(&bench, options, shape).with_context(|| shape.title())?);
    }
    let provenance = Provenance::collect();
    let page = page(&provenance, options, &measured);
    machine::print(&page)?;
    if !options.no_write {
        let path = options
            .output
            .join(format!("{}-{}.md", provenance.date, options.name));
        std::fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let answered = measured
        .iter()
        .all(|each| each.answers.iter().all(|(_, answers)| answers.asked() > 0));
    Ok(if answered {
        Outcome::Sound
    } else {
        Outcome::Unsound
    })
}

impl Shape {
    const fn title(self) -> &'static str {
        match self {
            Self::Calm => "no load",
            Self::Clients => "clients send too much",
            Self::Peers => "peers send too much",
        }
    }

    const fn directions(self) -> Directions {
        match self {
            Self::Calm | Self::Clients => Directions::C2p,
            Self::Peers => Directions::P2c,
        }
    }
}

fn measure(bench: &Workbench, options: &Options, shape: Shape) -> Result<Measured> {
    machine::pin_if_possible(SERVER_CORE)?;
    let running = bench.start(Kind::Taciturn);
    let _brake = Brake::begin(options.brake);
    machine::pin_if_possible(GENERATOR_CORE)?;
    let running = running.context("cannot start the relay")?;
    let server = Server::new(running.pid())?;
    let capacity = if shape == Shape::Calm {
        0.0
    } else {
        let capacity = capacity(&running, options, shape)?;
        std::thread::sleep(CALM);
        capacity
    };

    let udp = running.target(Transport::Udp);
    let flows = (0..options.flows)
        .map(|number| flow::client_and_peer(&udp, number, Framing::Channel))
        .collect::<Result<Vec<[End; 2]>>>()?;
    let ends = flow::client_and_peer(&udp, options.flows, Framing::Channel)?;
    let mut neighbour = Neighbour::new(ends, Duration::from_millis(10));
    let kinds = [
        ("Refresh, UDP", Question::Refresh, Transport::Udp),
        ("Refresh, TCP", Question::Refresh, Transport::Tcp),
        ("Allocate, UDP", Question::Allocate, Transport::Udp),
        ("Allocate, TCP", Question::Allocate, Transport::Tcp),
    ];
    let mut answers = kinds.map(|(name, ..)| (name, Answers::new()));
    let mut askers = Vec::new();
    for (index, (_, question, transport)) in kinds.into_iter().enumerate() {
        let target = running.target(transport);
        for number in 0..ASKERS {
            let (client, _) = target.allocated_client(1000 + index * ASKERS + number)?;
            let pause = Duration::from_millis(40);
            askers.push((index, Asker::new(client, question, pause)?));
        }
    }

    let side = usize::from(shape == Shape::Peers);
    let pressure = match shape {
        Shape::Calm => None,
        Shape::Clients | Shape::Peers => Some(Pressure::begin(
            flows,
            side,
            options.payload,
            capacity * options.times,
        )?),
    };
    // The questions come first on this core: a client that waits for the generator would measure the generator.
    let _ = rustix::process::nice(-15);
    let mut discarded = kinds.map(|_| Answers::new());
    let begun = Instant::now();
    let counted_from = begun + FOUND_OUT;
    let until = counted_from + Duration::from_secs_f64(options.seconds);
    let mut before = None;
    while Instant::now() < until {
        let counts = Instant::now() >= counted_from;
        if counts && before.is_none() {
            before = Some((Instant::now(), server.usage()?));
        }
        for (index, asker) in &mut askers {
            let into = if counts {
                &mut answers[*index].1
            } else {
                &mut discarded[*index]
            };
            asker.turn(into)?;
        }
        neighbour.turn()?;
        std::thread::sleep(Duration::from_micros(200));
    }
    let busy = match before {
        Some((at, usage)) => {
            let nanos = server.usage()?.run_nanos.saturating_sub(usage.run_nanos);
            nanos as f64 / at.elapsed().as_nanos() as f64
        }
        None => 0.0,
    };
    let offered = match pressure {
        Some(pressure) => {
            let offered = pressure.end()?;
            drop(offered.flows);
            offered.payloads as f64 / offered.elapsed.as_secs_f64()
        }
        None => 0.0,
    };
    std::thread::sleep(Duration::from_millis(200));
    neighbour.listen()?;
    let _ = rustix::process::nice(15);
    Ok(Measured {
        shape,
        capacity,
        offered,
        busy,
        answers,
        neighbour,
    })
}

/// Payloads that the relay can deliver in a second, from what each costs when as many are sent as come back.
fn capacity(running: &Running, options: &Options, shape: Shape) -> Result<f64> {
    let target = running.target(Transport::Udp);
    let flows = (0..options.flows)
        .map(|number| flow::client_and_peer(&target, number, Framing::Channel))
        .collect::<Result<Vec<_>>>()?;
    let window = 64;
    let plan = Plan {
        pace: Pace::Closed {
            window,
            burst: default_burst(window),
        },
        directions: shape.directions(),
        payload_len: options.payload,
        duration: Duration::from_secs(2),
        packets: None,
        warm_up: Duration::from_millis(300),
        trains: false,
    };
    let server = Server::new(running.pid())?;
    let report = traffic::run(flows, plan, Some(&server), None)?;
    Ok(report.packets_per_core_second()? / (options.brake + 1) as f64)
}

fn page(provenance: &Provenance, options: &Options, measured: &[Measured]) -> String {
    let mut page = String::new();
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.2}"));
    let _ = write!(
        page,
        "# taciturn under more than it can carry\n\n- date: {}\n- commit: {}\n- machine: {}, Linux {}\n- command: `{}`\n- {} s \
         each after {} s of load, {} flows of {} B; one worker on core 0, beside {} threads that take time there; generator and \
         clients on core 1; loopback\n\n",
        provenance.date,
        provenance.commit,
        provenance.processor,
        provenance.kernel,
        provenance.command,
        options.seconds,
        FOUND_OUT.as_secs(),
        options.flows,
        options.payload,
        options.brake,
    );
    page += "| load | capacity kpps | offered kpps | times | relay's share of its core % | call beside it: lost % to peer / to client \
             | p99 ms |\n|---|---|---|---|---|---|---|\n";
    for each in measured {
        let [to_peer, to_client] = each.neighbour.lost().map(|share| share * 100.0);
        let _ = writeln!(
            page,
            "| {} | {:.0} | {:.0} | {:.1} | {:.0} | {to_peer:.2} / {to_client:.2} | {} |",
            each.shape.title(),
            each.capacity / 1000.0,
            each.offered / 1000.0,
            each.offered / each.capacity.max(1.0),
            each.busy * 100.0,
            number(each.neighbour.quantile_ms(990)),
        );
    }
    page += "\nFrom the first transmission to the answer, with the retransmissions that it took:\n\n| load | question | asked | \
             p50 ms | p99 ms | answered at the first try % | never answered | answers by code |\n|---|---|---|---|---|---|---|---|\n";
    for each in measured {
        for (name, answers) in &each.answers {
            let codes: Vec<String> = answers
                .codes()
                .iter()
                .map(|(code, count)| match code {
                    0 => format!("success: {count}"),
                    code => format!("{code}: {count}"),
                })
                .collect();
            let _ = writeln!(
                page,
                "| {} | {name} | {} | {} | {} | {:.1} | {} | {} |",
                each.shape.title(),
                answers.asked(),
                number(answers.quantile_ms(500)),
                number(answers.quantile_ms(990)),
                answers.first_try_share() * 100.0,
                answers.given_up(),
                codes.join(", "),
            );
        }
    }
    page
}
