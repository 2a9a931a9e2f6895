//! The command line: options, defaults, and which mode runs.
//!
//! Responsible for reading options and printing one line of JSON. Not responsible for what a mode does.

use crate::allocations;
use crate::compare;
use crate::credentials::Source;
use crate::flow::{self, End, Framing, Target};
use crate::link::{TlsTrust, Transport};
use crate::mint;
use crate::neighbours;
use crate::overload;
use crate::payload::HEADER_LEN;
use crate::report::{AllocationsReport, TrafficReport};
use crate::server_use::Server;
use crate::traffic::{self, Directions, PAYLOAD_MAX, Pace, Plan};
use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use serde::Serialize;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// What the figures say about the server's correctness.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// Something was relayed and nothing wrongly.
    Sound,
    /// Nothing was relayed, or something was damaged, misdirected or repeated.
    Unsound,
}

/// Load for any TURN server, every payload verified; prints one line of JSON.
#[derive(Debug, Parser)]
#[command(name = "taciturn-load", version)]
struct Options {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Debug, Subcommand)]
enum Mode {
    /// Closed loop: a window of payloads in flight on each flow, as fast as they come back
    Flood(FloodOptions),
    /// Open loop at a fixed rate: latency and CPU below saturation
    Paced(PacedOptions),
    /// Allocations with the full 401 exchange, and their deletion
    Allocations(AllocationsOptions),
    /// Both parties on the same relay, each the other's peer
    Pair(FloodOptions),
    /// Starts coturn and taciturn in turn on one core, runs the same rows against both, prints a table
    Compare(compare::Options),
    /// Starts taciturn on one core under several times what it can carry: how long answers take, what a call beside it loses
    Overload(overload::Options),
    /// Starts a server on one core: what a flood of one flow costs the calls beside it
    Neighbours(neighbours::Options),
    /// Starts a controller on one core with three relays: credentials that it mints in a second, how long each takes
    Mint(mint::Options),
}

#[derive(Args, Debug)]
struct TargetOptions {
    /// Address of the server
    #[arg(long)]
    server: SocketAddr,
    /// How clients reach it
    #[arg(long, value_enum, default_value = "udp")]
    transport: Transport,
    /// Shared secret of time-limited credentials
    #[arg(long, required_unless_present = "username")]
    secret: Option<String>,
    /// A fixed user name instead
    #[arg(long, requires = "password", conflicts_with = "secret")]
    username: Option<String>,
    /// The password of that user
    #[arg(long)]
    password: Option<String>,
    /// PEM file with certificates to trust (TLS)
    #[arg(long)]
    ca: Option<PathBuf>,
    /// Name in the server's certificate (TLS)
    #[arg(long, default_value = "localhost")]
    server_name: String,
    /// Where peers bind; the server must be able to reach it
    #[arg(long, default_value = "127.0.0.1")]
    peer_address: IpAddr,
    /// Process id of the server, to measure its CPU time and memory
    #[arg(long)]
    server_pid: Option<u32>,
    /// Pin the generator to this core
    #[arg(long)]
    core: Option<usize>,
}

#[derive(Args, Debug)]
struct TrafficOptions {
    /// Flows, each with its own client, allocation and peer
    #[arg(long, default_value_t = 16)]
    flows: usize,
    /// Bytes of each payload
    #[arg(long, default_value_t = 172)]
    payload: usize,
    /// ChannelData, or Send and Data indications
    #[arg(long, value_enum, default_value = "channel")]
    framing: Framing,
    /// Length of the measured interval
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Sending before the measurement begins
    #[arg(long, default_value_t = 0.3)]
    warm_up: f64,
}

#[derive(Args, Debug)]
struct FloodOptions {
    #[command(flatten)]
    target: TargetOptions,
    #[command(flatten)]
    traffic: TrafficOptions,
    /// Which way payloads travel
    #[arg(long, value_enum, default_value = "c2p")]
    direction: Directions,
    /// Payloads in flight on each flow and direction
    #[arg(long, default_value_t = 64)]
    window: u32,
    /// Payloads in one send; half of the window, at most 32, unless given
    #[arg(long)]
    burst: Option<u32>,
    /// Send bursts as trains and take trains as they come (UDP_SEGMENT and UDP_GRO); UDP clients only
    #[arg(long)]
    trains: bool,
    /// Stop after about so many payloads; then there is no warm-up
    #[arg(long)]
    packets: Option<u64>,
}

#[derive(Args, Debug)]
struct PacedOptions {
    #[command(flatten)]
    target: TargetOptions,
    #[command(flatten)]
    traffic: TrafficOptions,
    /// Payloads each second, over all flows and directions together
    #[arg(long, default_value_t = 10_000)]
    rate: u64,
    /// Which way payloads travel
    #[arg(long, value_enum, default_value = "both")]
    direction: Directions,
}

#[derive(Args, Debug)]
struct AllocationsOptions {
    #[command(flatten)]
    target: TargetOptions,
    /// Allocations in all
    #[arg(long, default_value_t = 9000)]
    count: usize,
    /// Exchanges in progress at once
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    /// The run ends after so many seconds, whatever has been reached
    #[arg(long, default_value_t = 60.0)]
    time_limit: f64,
}

/// The longest run: channel bindings and permissions are not refreshed, and the shorter of the two lasts five minutes.
const LONGEST_SECONDS: f64 = 240.0;

/// Reads the command line and runs the mode.
pub(crate) fn run() -> Result<Outcome> {
    raise_descriptor_limit()?;
    match Options::parse().mode {
        Mode::Flood(options) => options.run(flow::client_and_peer),
        Mode::Pair(options) => options.run(flow::client_and_client),
        Mode::Paced(options) => options.run(),
        Mode::Allocations(options) => options.run(),
        Mode::Compare(options) => compare::run(&options),
        Mode::Overload(options) => overload::run(&options),
        Mode::Neighbours(options) => neighbours::run(&options),
        Mode::Mint(options) => mint::run(&options),
    }
}

impl FloodOptions {
    fn run(&self, set_up: impl Fn(&Target, usize, Framing) -> Result<[End; 2]>) -> Result<Outcome> {
        let burst = self.burst.unwrap_or_else(|| default_burst(self.window));
        if burst == 0 || burst > self.window {
            bail!("--burst must be at least 1 and at most --window");
        }
        let pace = Pace::Closed {
            window: self.window,
            burst,
        };
        let mut plan = self.traffic.plan(pace, self.direction)?;
        plan.trains = self.trains;
        if self.packets.is_some() {
            plan.packets = self.packets;
            plan.warm_up = Duration::ZERO;
        }
        self.target.drive(&self.traffic, plan, set_up)
    }
}

impl PacedOptions {
    fn run(&self) -> Result<Outcome> {
        let plan = self.traffic.plan(
            Pace::Open {
                per_second: self.rate,
            },
            self.direction,
        )?;
        self.target
            .drive(&self.traffic, plan, flow::client_and_peer)
    }
}

impl AllocationsOptions {
    fn run(&self) -> Result<Outcome> {
        let plan = allocations::Plan {
            count: self.count,
            in_flight: self.in_flight.max(1),
            time_limit: seconds(self.time_limit, "--time-limit")?,
        };
        self.target.pin()?;
        let report = allocations::run(
            &self.target.target()?,
            plan,
            self.target.observed()?.as_ref(),
        )?;
        print_line(&report)?;
        Ok(Outcome::of_allocations(&report))
    }
}

impl TrafficOptions {
    fn plan(&self, pace: Pace, directions: Directions) -> Result<Plan> {
        if !(HEADER_LEN..=PAYLOAD_MAX).contains(&self.payload) {
            bail!(
                "--payload must be {HEADER_LEN} to {PAYLOAD_MAX} bytes: it holds a mark, a number and a checksum"
            );
        }
        Ok(Plan {
            pace,
            directions,
            payload_len: self.payload,
            duration: seconds(self.seconds, "--seconds")?,
            packets: None,
            warm_up: seconds(self.warm_up, "--warm-up")?,
            trains: false,
        })
    }
}

impl TargetOptions {
    fn drive(
        &self,
        traffic: &TrafficOptions,
        plan: Plan,
        set_up: impl Fn(&Target, usize, Framing) -> Result<[End; 2]>,
    ) -> Result<Outcome> {
        self.pin()?;
        let target = self.target()?;
        let flows = (0..traffic.flows)
            .map(|number| {
                set_up(&target, number, traffic.framing)
                    .with_context(|| format!("cannot set up flow {number}"))
            })
            .collect::<Result<Vec<_>>>()?;
        let report = traffic::run(flows, plan, self.observed()?.as_ref(), None)?;
        print_line(&report)?;
        Ok(Outcome::of_traffic(&report))
    }

    fn target(&self) -> Result<Target> {
        let source = match (&self.secret, &self.username, &self.password) {
            (Some(secret), _, _) => Source::SharedSecret(secret.clone()),
            (None, Some(username), Some(password)) => Source::Fixed {
                username: username.clone(),
                password: password.clone(),
            },
            _ => bail!("give --secret, or --username and --password"),
        };
        let trust = self
            .ca
            .as_deref()
            .map(|ca| TlsTrust::from_pem_file(ca, &self.server_name))
            .transpose()?;
        Ok(Target {
            server: self.server,
            transport: self.transport,
            trust,
            source,
            peer_address: self.peer_address,
        })
    }

    fn observed(&self) -> Result<Option<Server>> {
        self.server_pid.map(Server::new).transpose()
    }

    fn pin(&self) -> Result<()> {
        self.core.map_or(Ok(()), compare::pin_to_core)
    }
}

impl Outcome {
    /// Judges a traffic run.
    pub(crate) const fn of_traffic(report: &TrafficReport) -> Self {
        if report.is_sound() {
            Self::Sound
        } else {
            Self::Unsound
        }
    }

    /// Judges an allocations run.
    pub(crate) const fn of_allocations(report: &AllocationsReport) -> Self {
        if report.is_sound() {
            Self::Sound
        } else {
            Self::Unsound
        }
    }
}

/// Half of the window, so that one half is on its way while the other comes back; at most 32.
pub(crate) const fn default_burst(window: u32) -> u32 {
    match window / 2 {
        0 => 1,
        half if half > 32 => 32,
        half => half,
    }
}

fn seconds(value: f64, option: &str) -> Result<Duration> {
    if !(0.0..=LONGEST_SECONDS).contains(&value) {
        bail!("{option} must be 0 to {LONGEST_SECONDS} seconds: permissions are not refreshed");
    }
    Ok(Duration::from_secs_f64(value))
}

fn print_line(report: &impl Serialize) -> Result<()> {
    writeln!(std::io::stdout(), "{}", serde_json::to_string(report)?)?;
    Ok(())
}

/// One socket a client and one a peer: the usual soft limit of 1024 is too low.
fn raise_descriptor_limit() -> Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("cannot raise the limit of open files")
}
