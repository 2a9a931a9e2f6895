//! Where one test's fleet lives: a directory, addresses that no other fleet on this host has, and the relays in them.
//!
//! Responsible for leaving nothing behind: whatever a controller has launched is ended with the test, by the provider's own
//! notes. Not responsible for controllers (`controllers`).

use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::running::{SECRET, exchange, fresh_directory};

/// How long anything may take that a fleet does within seconds on a machine with nothing else to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Fleets that run at a time: more would be slow on a small machine, and slowness looks like faults.
const AT_ONCE: usize = 3;

/// The zones of every fleet here.
pub(crate) const ZONES: [&str; 3] = ["test-a", "test-b", "test-c"];

/// One test's fleet.
pub(crate) struct Lab {
    directory: PathBuf,
    network: u8,
    _reserved: File,
    _place: File,
}

/// A relay that a controller has launched.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) id: String,
    pub(crate) zone: String,
    pub(crate) address: Ipv4Addr,
    /// `None`: it is dead, or its process has not been started.
    pub(crate) pid: Option<i32>,
    pub(crate) home: PathBuf,
}

impl Lab {
    /// Waits for its turn.
    pub(crate) fn new() -> Self {
        let place = lock_one("place", 0..AT_ONCE);
        // No two of one run have the same, as something of the one before may linger.
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let start = usize::try_from(std::process::id()).unwrap() + number;
        let (reserved, network) = {
            let numbers = (0..100).map(|step| 100 + (start + step) % 100);
            lock_any("network", numbers).expect("a free network of a hundred")
        };
        let directory = fresh_directory();
        fs::create_dir(directory.join("relays")).unwrap();
        write_private(&directory.join("relays/secret.key"), SECRET);
        Self {
            directory,
            network: u8::try_from(network).unwrap(),
            _reserved: reserved,
            _place: place,
        }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The first half of its addresses.
    pub(crate) fn network(&self) -> String {
        format!("127.{}", self.network)
    }

    /// The address that relay `number` of the zone with this index has.
    pub(crate) fn address(&self, zone: u8, number: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, self.network, zone + 1, number)
    }

    /// A file that nobody else may read.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.join(name);
        write_private(&path, text);
        path
    }

    /// Relays that have not been ended, by id.
    pub(crate) fn relays(&self) -> Vec<Found> {
        let mut relays = self.below("instances");
        relays.retain(|relay| !relay.has_ended());
        relays
    }

    /// Those with a process.
    pub(crate) fn live(&self) -> Vec<Found> {
        let mut relays = self.relays();
        relays.retain(|relay| relay.pid.is_some());
        relays
    }

    /// Relays that have been ended, by id.
    pub(crate) fn ended(&self) -> Vec<Found> {
        let mut relays = self.below("instances");
        relays.retain(Found::has_ended);
        relays.extend(self.below("ended"));
        relays.sort_by(|a, b| a.id.cmp(&b.id));
        relays
    }

    pub(crate) fn relay(&self, id: &str) -> Option<Found> {
        self.relays().into_iter().find(|relay| relay.id == id)
    }

    fn below(&self, part: &str) -> Vec<Found> {
        let path = self.directory.join("relays").join(part);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Vec::new(),
            Err(error) => panic!("{}: {error}", path.display()),
        };
        let homes = entries.map(|entry| entry.unwrap().path());
        let mut found: Vec<Found> = homes.filter_map(|home| Found::at(&home)).collect();
        found.sort_by(|a, b| a.id.cmp(&b.id));
        found
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for relay in self.below("instances") {
            if let Some(pid) = relay.pid.and_then(Pid::from_raw) {
                // Stopped ones too; whoever is the parent reaps it.
                let _ = kill_process(pid, Signal::KILL);
            }
            if thread::panicking() {
                let log = fs::read_to_string(relay.home.join("relay.log")).unwrap_or_default();
                let last: Vec<_> = log.lines().rev().take(5).collect();
                eprintln!(
                    "{} at {}, its last lines: {last:#?}",
                    relay.id, relay.address
                );
            }
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Found {
    fn at(home: &Path) -> Option<Self> {
        if home.file_name()?.to_str()?.starts_with('.') {
            return None;
        }
        let read = |name: &str| -> Option<Value> {
            serde_json::from_slice(&fs::read(home.join(name)).ok()?).ok()
        };
        let record = read("instance.json")?;
        let text = |key: &str| record[key].as_str().unwrap().to_owned();
        let pid = read("run.json").and_then(|run| i32::try_from(run["pid"].as_i64()?).ok());
        let mut found = Self {
            id: text("id"),
            zone: text("zone"),
            address: text("address").parse().unwrap(),
            pid,
            home: home.to_path_buf(),
        };
        found.pid = found.pid.filter(|pid| found.is_it(*pid));
        Some(found)
    }

    /// Its end was asked for and has come about; the controller that asked may have been killed before it put it aside.
    fn has_ended(&self) -> bool {
        self.pid.is_none() && self.home.join("ending").exists()
    }

    /// Whether the process with this number is the relay: a number may be another's by now.
    fn is_it(&self, pid: i32) -> bool {
        let command_line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let config = self.home.join("relay.toml");
        let config = config.to_str().unwrap().as_bytes();
        command_line
            .split(|byte| *byte == 0)
            .any(|word| word == config)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = self
            .pid
            .and_then(Pid::from_raw)
            .expect("a relay that lives");
        kill_process(pid, signal).unwrap();
    }

    pub(crate) fn http(&self, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
        let stream = TcpStream::connect((self.address, 9641)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        exchange(stream, method, path, body)
    }

    /// What it says of itself; `None` when it does not.
    pub(crate) fn status(&self) -> Option<Value> {
        let (code, text) = self.http("GET", "/v1/status", "")?;
        (code == 200).then(|| serde_json::from_str(&text).unwrap())
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.home.join("relay.log")).unwrap_or_default()
    }
}

/// Waits for what a fleet brings about sooner or later.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not come about");
        thread::sleep(Duration::from_millis(50));
    }
}

fn write_private(path: &Path, text: &str) {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path).unwrap();
    std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
}

/// One of these numbers, for as long as the file is open; waits for it.
fn lock_one(what: &str, numbers: std::ops::Range<usize>) -> File {
    loop {
        if let Some((file, _)) = lock_any(what, numbers.clone()) {
            return file;
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// The kernel gives it back whatever becomes of the test.
fn lock_any(what: &str, numbers: impl IntoIterator<Item = usize>) -> Option<(File, usize)> {
    numbers.into_iter().find_map(|number| {
        let path = std::env::temp_dir().join(format!("taciturn-fleet-{what}-{number}.lock"));
        let file = File::create(path).unwrap();
        file.try_lock().is_ok().then_some((file, number))
    })
}
