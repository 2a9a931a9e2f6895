//! Credentials from a controller: how many answers one core gives, how long each takes, what it costs.
//!
//! Responsible for a fleet of one relay in each of three zones on loopback, for the callers, and for the line of JSON that comes
//! of it. Every answer is read whole and has to name two relays. Not responsible for HTTP (`mint::caller`).

mod caller;

use crate::cli::Outcome;
use crate::compare;
use crate::histogram::Histogram;
use crate::server_use::Server;
use anyhow::{Context, Result, bail};
use caller::Caller;
use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const TOKEN: &str = "a-benchmark-on-loopback-needs-no-real-token";
const READY_WITHIN: Duration = Duration::from_secs(60);

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The program whose controller is asked
    #[arg(long, default_value = "target/release/taciturn")]
    taciturn: PathBuf,
    /// Connections that are kept open, each with one question at a time
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Length of the measured interval, at most 50
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Answers a second that are asked for, over all connections; as many as come unless given
    #[arg(long)]
    rate: Option<u32>,
    /// The first half of the relays' addresses
    #[arg(long, default_value = "127.31")]
    network: String,
}

/// Runs the fleet and the callers.
pub(crate) fn run(options: &Options) -> Result<Outcome> {
    if !(0.1..=50.0).contains(&options.seconds) || !(1..=24).contains(&options.connections) {
        bail!("--seconds must be 0.1 to 50, --connections 1 to 24: the API bounds both");
    }
    let fleet = Fleet::start(options)?;
    compare::pin_to_core(1)?;
    let server = Server::new(fleet.child.id())?;
    let over = AtomicBool::new(false);
    let measuring = AtomicBool::new(false);
    let pause = options
        .rate
        .map(|rate| Duration::from_secs_f64(options.connections as f64 / f64::from(rate.max(1))));
    let (results, used, elapsed) = thread::scope(|scope| -> Result<_> {
        let callers: Vec<_> = (0..options.connections)
            .map(|number| {
                let mut caller = Caller::new(fleet.api, TOKEN, number);
                let (over, measuring) = (&over, &measuring);
                scope.spawn(move || caller.ask_until(over, measuring, pause))
            })
            .collect();
        thread::sleep(Duration::from_secs(1));
        let (begun, before) = (Instant::now(), server.usage()?);
        measuring.store(true, Ordering::Relaxed);
        thread::sleep(Duration::from_secs_f64(options.seconds));
        measuring.store(false, Ordering::Relaxed);
        let (elapsed, used) = (begun.elapsed(), server.usage()?.since(&before));
        over.store(true, Ordering::Relaxed);
        let results: Vec<Result<Histogram>> = callers
            .into_iter()
            .map(|caller| match caller.join() {
                Ok(result) => result,
                Err(_) => bail!("a caller has panicked"),
            })
            .collect();
        Ok((results, used, elapsed))
    })?;
    let mut all = Histogram::new();
    for result in results {
        all.add(&result?);
    }
    let answers = all.total();
    let report = json!({
        "connections": options.connections,
        "asked_per_second": options.rate,
        "seconds": elapsed.as_secs_f64(),
        "answers": answers,
        "answers_per_second": answers as f64 / elapsed.as_secs_f64(),
        "p50_us": all.quantile_micros(500),
        "p99_us": all.quantile_micros(990),
        "p999_us": all.quantile_micros(999),
        "cpu_us_per_answer": used.run_nanos as f64 / 1000.0 / answers.max(1) as f64,
        "busy": used.run_nanos as f64 / elapsed.as_nanos() as f64,
        "user_share": used.user_share(),
    });
    let mut out = std::io::stdout().lock();
    writeln!(out, "{report}")?;
    Ok(if answers > 0 {
        Outcome::Sound
    } else {
        Outcome::Unsound
    })
}

/// A controller on core 0 and the relays that it has launched; all of them end with this value.
struct Fleet {
    child: Child,
    api: SocketAddr,
    directory: PathBuf,
}

impl Fleet {
    fn start(options: &Options) -> Result<Self> {
        let directory = std::env::temp_dir().join(format!("taciturn-mint-{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let api = SocketAddr::from(([127, 0, 0, 1], port));
        let private = |name: &str, text: &str| -> Result<PathBuf> {
            let path = directory.join(name);
            let mut file = OpenOptions::new();
            let file = file.write(true).create(true).truncate(true).mode(0o600);
            file.open(&path)?.write_all(text.as_bytes())?;
            Ok(path)
        };
        private("caller.token", TOKEN)?;
        private("operator.token", "an-operators-token-that-nobody-here-uses")?;
        let config = private(
            "controller.toml",
            &format!(
                "fleet = \"bench\"\nstate-directory = \"state\"\ninterval = \"10s\"\n\
                 [api]\naddress = \"{api}\"\ntoken-file = \"operator.token\"\n\
                 [credentials]\nrelays = 2\n[[credentials.subject]]\nname = \"bench\"\ntoken-file = \"caller.token\"\n\
                 rate = 1000000\nburst = 1000000\n\
                 [sovereignty]\nallowed-zone-ids = [\"bench-a\", \"bench-b\", \"bench-c\"]\n\
                 [provider]\nkind = \"local\"\n[provider.local]\nzones = [\"bench-a\", \"bench-b\", \"bench-c\"]\n\
                 network = \"{}\"\n[policy]\nmin = 3\nmax = 3\nquiet-after-start = \"1s\"\n",
                options.network
            ),
        )?;
        let log = File::create(directory.join("controller.log"))?;
        let child = Command::new("taskset")
            .args(["--cpu-list", "0"])
            .arg(&options.taciturn)
            .args(["controller", "--config"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("cannot run taskset (util-linux) and taciturn")?;
        let fleet = Self {
            child,
            api,
            directory,
        };
        let deadline = Instant::now() + READY_WITHIN;
        while !Caller::new(api, TOKEN, 0).is_answered() {
            if Instant::now() > deadline {
                let log = fs::read_to_string(fleet.directory.join("controller.log"));
                bail!("no credentials in time: {}", log.unwrap_or_default());
            }
            thread::sleep(Duration::from_millis(200));
        }
        Ok(fleet)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
        // Relays outlive their controller.
        for pid in relays(&self.directory.join("state/relays/instances")) {
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The processes of relays, by the provider's own notes.
fn relays(instances: &Path) -> Vec<Pid> {
    let entries = fs::read_dir(instances).into_iter().flatten().flatten();
    let pid = |home: PathBuf| {
        let text = fs::read(home.join("run.json")).ok()?;
        let run: Value = serde_json::from_slice(&text).ok()?;
        Pid::from_raw(i32::try_from(run["pid"].as_i64()?).ok()?)
    };
    entries.filter_map(|entry| pid(entry.path())).collect()
}
