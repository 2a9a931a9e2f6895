//! `asg-sim`: the simulated group behind a port, for hand checks and for tests of whole programs.
//!
//! Responsible for the command line, and for real processes in place of machines where a command is given for them. Not
//! responsible for the group (`taciturn_cloud_sim`).
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::process::{Child, Command, ExitCode};
use std::time::Duration;

use taciturn_cloud_sim::{Group, Pace, Server};

const USAGE: &str = "\
asg-sim --listen ADDRESS [--group NAME] [--min N] [--max N] [--machines N] [--boot-seconds N] [--pace N] [--run PROGRAM]

A simulated Auto Scaling group with three zones. Say AWS_ENDPOINT_URL=http://ADDRESS to its clients.
With --run, PROGRAM is started for each machine with its id and zone id as arguments, and killed when the machine ends.";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(words) => {
            eprintln!("asg-sim: {words}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<(), String> {
    let mut options = BTreeMap::new();
    let mut words = std::env::args().skip(1);
    while let Some(name) = words.next() {
        let value = words
            .next()
            .ok_or_else(|| format!("{name} needs a value"))?;
        options.insert(name, value);
    }
    let number = |name: &str, default: u32| match options.get(name) {
        Some(text) => text
            .parse()
            .map_err(|_| format!("{name} {text} is no number")),
        None => Ok(default),
    };
    let address = options.get("--listen").ok_or("--listen is missing")?;
    let address = address
        .parse()
        .map_err(|_| format!("--listen {address} is no address"))?;
    let name = options.get("--group").map_or("relays", String::as_str);
    let mut group = Group::good(name, number("--min", 0)?, number("--max", 20)?);
    group = group.with_machines(number("--machines", 0)?);
    group.boot_time = Duration::from_secs(u64::from(number("--boot-seconds", 0)?));
    let pace = Pace::Times(number("--pace", 1)?);
    let server = Server::at(address, group, pace).map_err(|error| format!("{address}: {error}"))?;
    eprintln!("asg-sim: {}", server.url());
    let mut running: BTreeMap<String, Child> = BTreeMap::new();
    loop {
        std::thread::sleep(Duration::from_millis(100));
        server.tick();
        let changes = server.cloud().group.take_changes();
        let Some(program) = options.get("--run") else {
            continue;
        };
        for change in changes {
            if change.began {
                let child = Command::new(program)
                    .args([&change.id, &change.zone])
                    .spawn();
                let child = child.map_err(|error| format!("{program}: {error}"))?;
                running.insert(change.id, child);
            } else if let Some(mut child) = running.remove(&change.id) {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}
