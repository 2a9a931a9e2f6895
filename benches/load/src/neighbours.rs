//! What one flow's flood costs its neighbours: calls far below the relay's capacity, and beside them somebody who sends
//! several times of it.
//!
//! Responsible for the sequence and for the page of figures. Not responsible for the flood (`overload::pressure`), nor for the
//! calls.

mod calls;

use crate::cli::{Outcome, default_burst};
use crate::compare::machine::{self, Provenance};
use crate::compare::servers::{Kind, Running, Workbench};
use crate::compare::{GENERATOR_CORE, SERVER_CORE};
use crate::flow::{self, End, Framing};
use crate::link::Transport;
use crate::overload::pressure::{Brake, Pressure};
use crate::server_use::Server;
use crate::traffic::{self, Directions, Pace, Plan};
use anyhow::{Context, Result, bail};
use calls::{Calls, Phase};
use std::fmt::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long the relay may take to find out who it is.
const ONSET: Duration = Duration::from_secs(2);
/// Without a flood.
const BEFORE: Duration = Duration::from_secs(3);
/// Nothing else is to be measured: no shedding, no client of the relay's own.
const KEYS: &str = "[overload]\nbusiest-core = 0\n[self-check]\ninterval = \"0s\"\n";

/// What one flow's flood costs its neighbours
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The server
    #[arg(long, value_enum, default_value = "taciturn")]
    server: Kind,
    /// The relay's binary
    #[arg(long, default_value = "target/release/taciturn")]
    taciturn: PathBuf,
    /// coturn's binary
    #[arg(long, default_value = "turnserver")]
    coturn: PathBuf,
    /// Calls of 50 packets a second each way
    #[arg(long, default_value_t = 20)]
    calls: usize,
    /// Offered flood, as a multiple of the capacity that is measured first
    #[arg(long, default_value_t = 4.0)]
    times: f64,
    /// Flows that flood together in the row of several
    #[arg(long, default_value_t = 8)]
    flooders: usize,
    /// Length of each flood in seconds, its first two included
    #[arg(long, default_value_t = 12.0)]
    seconds: f64,
    /// Bytes of each payload of the flood
    #[arg(long, default_value_t = 172)]
    payload: usize,
    /// Threads that take time on the relay's core, so that less can flood it
    #[arg(long, default_value_t = 5)]
    brake: usize,
    /// Rows to measure, by number from 1; all unless given
    #[arg(long, value_delimiter = ',')]
    rows: Vec<usize>,
    /// Name of the result, after the date
    #[arg(long, default_value = "neighbours")]
    name: String,
    /// Where the result goes
    #[arg(long, default_value = "benches/results")]
    output: PathBuf,
    /// Print only, write no file
    #[arg(long)]
    no_write: bool,
}

/// Who floods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flood {
    Nobody,
    Client(Transport),
    Peer,
    Clients,
}

impl Flood {
    const ALL: [Self; 6] = [
        Self::Nobody,
        Self::Client(Transport::Udp),
        Self::Clients,
        Self::Peer,
        Self::Client(Transport::Tcp),
        Self::Client(Transport::Tls),
    ];

    const fn title(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Client(Transport::Udp) => "a client over UDP",
            Self::Client(Transport::Tcp) => "a client over TCP",
            Self::Client(Transport::Tls) => "a client over TLS",
            Self::Peer => "a peer",
            Self::Clients => "several clients over UDP",
        }
    }

    const fn transport(self) -> Transport {
        match self {
            Self::Client(transport) => transport,
            Self::Nobody | Self::Peer | Self::Clients => Transport::Udp,
        }
    }

    /// Which end sends: 0 is the client.
    const fn side(self) -> usize {
        match self {
            Self::Peer => 1,
            Self::Nobody | Self::Client(_) | Self::Clients => 0,
        }
    }
}

/// What one measurement found.
struct Measured {
    flood: Flood,
    capacity: f64,
    offered: f64,
    busy: f64,
    calls: Calls,
}

/// Measures, prints the page, writes it with how it was made.
pub(crate) fn run(options: &Options) -> Result<Outcome> {
    if !(3.0..=120.0).contains(&options.seconds) || !(1.0..=20.0).contains(&options.times) {
        bail!("--seconds must be 3 to 120 and --times 1 to 20");
    }
    if options.calls == 0 || options.flooders == 0 || !(64..=1400).contains(&options.payload) {
        bail!("--calls and --flooders must be at least 1 and --payload 64 to 1400");
    }
    let bench = Workbench::new(&options.coturn, &options.taciturn)?.with_taciturn_keys(KEYS);
    let mut measured = Vec::new();
    for (flood, row) in Flood::ALL.into_iter().zip(1..) {
        if options.rows.is_empty() || options.rows.contains(&row) {
            eprintln!("{}", flood.title());
            measured.push(measure(&bench, options, flood).with_context(|| flood.title())?);
        }
    }
    let provenance = Provenance::collect();
    let page = page(
        &provenance,
        &bench.version(options.server),
        options,
        &measured,
    );
    machine::print(&page)?;
    if !options.no_write {
        let path = options
            .output
            .join(format!("{}-{}.md", provenance.date, options.name));
        std::fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let heard = measured.iter().all(|each| {
        let counts = each.calls.counts(&Phase::ALL);
        counts.iter().all(|count| count.delivered > 0)
    });
    Ok(if heard {
        Outcome::Sound
    } else {
        Outcome::Unsound
    })
}

fn measure(bench: &Workbench, options: &Options, flood: Flood) -> Result<Measured> {
    machine::pin_if_possible(SERVER_CORE)?;
    let running = bench.start(options.server);
    let _brake = Brake::begin(options.brake);
    machine::pin_if_possible(GENERATOR_CORE)?;
    let running = running.context("cannot start the relay")?;
    let capacity = match flood {
        Flood::Nobody => 0.0,
        Flood::Client(_) | Flood::Peer | Flood::Clients => capacity(&running, options, flood)?,
    };
    let flooders = match flood {
        Flood::Nobody => 0,
        Flood::Clients => options.flooders,
        Flood::Client(_) | Flood::Peer => 1,
    };
    let target = running.target(flood.transport());
    let flows = (0..flooders)
        .map(|number| flow::client_and_peer(&target, number, Framing::Channel))
        .collect::<Result<Vec<[End; 2]>>>()?;
    let target = running.target(Transport::Udp);
    let calls = (0..options.calls)
        .map(|number| flow::client_and_peer(&target, 100 + number, Framing::Channel))
        .collect::<Result<Vec<[End; 2]>>>()?;
    let mut calls = Calls::new(calls);
    let server = Server::new(running.pid())?;

    // The calls come first on this core: one that waits for the flood would measure the generator.
    let _ = rustix::process::nice(-15);
    go_on(&mut calls, Phase::Before, BEFORE)?;
    let pressure = if flooders == 0 {
        None
    } else {
        let rate = capacity * options.times;
        Some(Pressure::begin(flows, flood.side(), options.payload, rate)?)
    };
    go_on(&mut calls, Phase::Onset, ONSET)?;
    let steady = Duration::from_secs_f64(options.seconds).saturating_sub(ONSET);
    let before = server.usage()?.run_nanos;
    go_on(&mut calls, Phase::Steady, steady)?;
    let busy = server.usage()?.run_nanos.saturating_sub(before) as f64 / steady.as_nanos() as f64;
    let offered = match pressure {
        Some(pressure) => {
            let offered = pressure.end()?;
            offered.payloads as f64 / offered.elapsed.as_secs_f64()
        }
        None => 0.0,
    };
    let silent = Instant::now();
    while silent.elapsed() < Duration::from_millis(500) {
        calls.listen()?;
        std::thread::sleep(Duration::from_millis(1));
    }
    let _ = rustix::process::nice(15);
    Ok(Measured {
        flood,
        capacity,
        offered,
        busy,
        calls,
    })
}

fn go_on(calls: &mut Calls, phase: Phase, duration: Duration) -> Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < duration {
        calls.turn(phase)?;
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}

/// Payloads of one flow that the relay can deliver in a second on its share of the core.
fn capacity(running: &Running, options: &Options, flood: Flood) -> Result<f64> {
    let flows = vec![flow::client_and_peer(
        &running.target(flood.transport()),
        99,
        Framing::Channel,
    )?];
    let window = 64;
    let plan = Plan {
        pace: Pace::Closed {
            window,
            burst: default_burst(window),
        },
        directions: if flood.side() == 0 {
            Directions::C2p
        } else {
            Directions::P2c
        },
        payload_len: options.payload,
        duration: Duration::from_secs(1),
        packets: None,
        warm_up: Duration::from_millis(300),
        trains: false,
    };
    let server = Server::new(running.pid())?;
    let report = traffic::run(flows, plan, Some(&server), None)?;
    Ok(report.packets_per_core_second()? / (options.brake + 1) as f64)
}

fn page(
    provenance: &Provenance,
    version: &str,
    options: &Options,
    measured: &[Measured],
) -> String {
    let mut page = String::new();
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1}"));
    let _ = write!(
        page,
        "# What a flood costs its neighbours\n\n- date: {}\n- commit: {}\n- server: {version}\n- machine: {}, Linux {}\n\
         - command: `{}`\n- {} calls over UDP of 50 packets of 172 B a second each way, beside a flood of {} B payloads at {} times \
         what one flow can carry, for {} s; one worker on core 0, beside {} threads that take time there; generator on core 1; \
         loopback\n\n",
        provenance.date,
        provenance.commit,
        provenance.processor,
        provenance.kernel,
        provenance.command,
        options.calls,
        options.payload,
        options.times,
        options.seconds,
        options.brake,
    );
    let lost = |calls: &Calls, phases: &[Phase]| {
        let [to_peer, to_client] = calls.counts(phases).map(calls::Count::lost_percent);
        format!("{to_peer:.3} / {to_client:.3}")
    };
    page += "Lost of the calls, in per cent of what was sent, to the peers / to the clients:\n\n\
             | who floods | capacity kpps | offered kpps | relay's share of its core % | before | first 2 s | steady state | all of the \
             flood | p50 / p99 ms before | p50 / p99 ms steady |\n|---|---|---|---|---|---|---|---|---|---|\n";
    for each in measured {
        let times = |phase| {
            let at = |per_mille| number(each.calls.quantile_ms(phase, per_mille));
            format!("{} / {}", at(500), at(990))
        };
        let _ = writeln!(
            page,
            "| {} | {:.0} | {:.0} | {:.0} | {} | {} | {} | {} | {} | {} |",
            each.flood.title(),
            each.capacity / 1000.0,
            each.offered / 1000.0,
            each.busy * 100.0,
            lost(&each.calls, &[Phase::Before]),
            lost(&each.calls, &[Phase::Onset]),
            lost(&each.calls, &[Phase::Steady]),
            lost(&each.calls, &[Phase::Onset, Phase::Steady]),
            times(Phase::Before),
            times(Phase::Steady),
        );
    }
    page
}
