//! A controller as a process, and what it says of its fleet.
//!
//! Responsible for ending it with its test. Not responsible for the relays that it has launched (`lab`).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::lab::{Lab, PATIENCE, eventually};
use crate::running::exchange;
use crate::settings::Settings;

/// A controller that runs.
pub(crate) struct Controller {
    child: Child,
    door: Door,
    token: Option<&'static str>,
    log: PathBuf,
    trail: PathBuf,
}

/// Where its API is.
enum Door {
    Socket(PathBuf),
    Address(SocketAddr),
}

impl Door {
    fn exchange(&self, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
        match self {
            Self::Socket(path_of) => {
                let stream = UnixStream::connect(path_of).ok()?;
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                exchange(stream, method, path, body)
            }
            Self::Address(address) => {
                let stream = TcpStream::connect(address).ok()?;
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                exchange(stream, method, path, body)
            }
        }
    }
}

impl Controller {
    /// Returns when it has completed a round.
    pub(crate) fn start(lab: &Lab, settings: &Settings) -> Self {
        let controller = Self::begin(lab, settings);
        controller.await_round();
        controller
    }

    /// Returns at once.
    pub(crate) fn begin(lab: &Lab, settings: &Settings) -> Self {
        let name = settings.name;
        let state = lab.directory().join(name);
        let _ = fs::create_dir(&state);
        let config = lab.write(&format!("{name}.toml"), &settings.text(lab));
        let log = lab.directory().join(format!("{name}.log"));
        let socket = lab.directory().join(format!("{name}.sock"));
        let _ = fs::remove_file(&socket);
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();
        let mut words = settings.wrapper.clone();
        words.push(env!("CARGO_BIN_EXE_taciturn").into());
        let child = Command::new(&words[0])
            .args(&words[1..])
            .args(["controller", "--config"])
            .arg(config)
            .args(settings.dry_run.then_some("--dry-run"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .unwrap();
        Self {
            child,
            door: settings.listen.map_or(Door::Socket(socket), Door::Address),
            token: settings.token,
            log,
            // A dry run has a trail of its own.
            trail: match settings.dry_run {
                true => state.join("dry-run/audit.jsonl"),
                false => state.join("audit.jsonl"),
            },
        }
    }

    fn await_round(&self) {
        eventually("a first round", || {
            self.door.exchange("GET", "/live", "").is_some() && self.rounds() > 0.0
        });
    }

    pub(crate) fn http(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let Some(token) = self.token else {
            let answer = self.door.exchange(method, path, body);
            return answer.expect("an answer of the api");
        };
        let length = body.len();
        let (code, _, body) = self.whole(&format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
        (code, body)
    }

    /// A connection to the socket of its API.
    pub(crate) fn connect(&self) -> UnixStream {
        let Door::Socket(socket) = &self.door else {
            panic!("its API listens elsewhere");
        };
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// The code, head and body of the answer to these bytes; all of them may have been written in vain.
    pub(crate) fn whole(&self, request: &str) -> (u16, String, String) {
        match &self.door {
            Door::Socket(_) => converse(self.connect(), request),
            Door::Address(address) => {
                let stream = TcpStream::connect(address).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                converse(stream, request)
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        let (code, text) = self.http("GET", path, "");
        assert_eq!(code, 200, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Ends it as it is meant to end; what it has logged.
    pub(crate) fn stop(mut self) -> String {
        self.signal(Signal::TERM);
        assert!(self.child.wait().unwrap().success());
        fs::read_to_string(&self.log).unwrap()
    }

    /// As a crash would end it.
    pub(crate) fn crash(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Relays that credentials may name, by id.
    pub(crate) fn offered_ids(&self) -> Vec<String> {
        words(&self.get("/v1/fleet")["offered"])
    }

    /// Where those are that the local provider has launched.
    pub(crate) fn offered(&self, lab: &Lab) -> Vec<Ipv4Addr> {
        let relays = lab.relays();
        let of = |id: &String| relays.iter().find(|relay| relay.id == *id);
        let ids = self.offered_ids();
        ids.iter()
            .filter_map(of)
            .map(|relay| relay.address)
            .collect()
    }

    /// The brakes of the latest round.
    pub(crate) fn brakes(&self) -> Vec<String> {
        of_each(&self.get("/v1/fleet")["brakes"], "brake")
    }

    /// The alarms of the latest round.
    pub(crate) fn alarms(&self) -> Vec<String> {
        of_each(&self.get("/v1/fleet")["alarms"], "kind")
    }

    /// Whether there has been such an alarm.
    pub(crate) fn said_alarm(&self, kind: &str) -> bool {
        let decisions = self.decisions();
        let mut alarms = decisions
            .iter()
            .flat_map(|decision| of_each(&decision["alarms"], "kind"));
        alarms.any(|said| said == kind)
    }

    /// Rounds that it has completed.
    pub(crate) fn rounds(&self) -> f64 {
        self.metric("taciturn_controller_rounds_total")
    }

    pub(crate) fn leads(&self) -> bool {
        self.get("/v1/fleet")["leadership"]["held"]
            .as_bool()
            .unwrap()
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.get("/v1/fleet")["leadership"]["epoch"]
            .as_u64()
            .unwrap()
    }

    fn decisions(&self) -> Vec<Value> {
        self.get("/v1/decisions?limit=500")["decisions"]
            .as_array()
            .unwrap()
            .clone()
    }

    /// How often the latest rounds planned such an act.
    pub(crate) fn planned(&self, act: &str) -> usize {
        let decisions = self.decisions();
        let actions = decisions
            .iter()
            .flat_map(|decision| decision["actions"].as_array().unwrap());
        actions
            .filter(|action| action["act"].get(act).is_some())
            .count()
    }

    /// The samples of one metric, added up.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let (code, text) = self.http("GET", "/metrics", "");
        assert_eq!(code, 200);
        let samples = text.lines().filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with([' ', '{']))
        });
        let values = samples.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap());
        values.sum()
    }

    /// What Prometheus is told to look at.
    pub(crate) fn scraped(&self) -> Vec<String> {
        let groups = self.get("/v1/prometheus/targets");
        let groups = groups.as_array().unwrap().iter();
        let mut targets: Vec<String> = groups.flat_map(|group| words(&group["targets"])).collect();
        targets.sort();
        targets
    }

    /// The lines of the audit trail.
    pub(crate) fn audit(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.trail).unwrap();
        // The last line may be in the middle of being written.
        let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// What was done, by the trail of this and of all controllers before it with the same directory.
    fn outcomes(&self) -> Vec<Value> {
        let lines = self.audit().into_iter();
        let outcomes = lines
            .filter(|line| line["kind"] == "outcome")
            .map(|line| line["body"].clone());
        outcomes
            .filter(|body| body["outcome"]["outcome"] == "done")
            .collect()
    }

    /// How often such an act was done.
    pub(crate) fn acts(&self, act: &str) -> usize {
        self.outcomes()
            .iter()
            .filter(|body| body["action"]["act"].get(act).is_some())
            .count()
    }

    /// How often such an act was done to each relay.
    pub(crate) fn done(&self, act: &str) -> BTreeMap<String, u32> {
        let mut relays = BTreeMap::new();
        for body in self.outcomes() {
            if let Some(done) = body["action"]["act"].get(act) {
                let relay = done["relay"].as_str().unwrap_or_default().to_owned();
                *relays.entry(relay).or_default() += 1;
            }
        }
        relays
    }

    /// How many instances were launched.
    pub(crate) fn launched(&self) -> usize {
        let outcomes = self.outcomes();
        let launches = outcomes
            .iter()
            .filter(|body| body["action"]["act"].get("launch").is_some());
        launches
            .map(|body| words(&body["outcome"]["instances"]).len())
            .sum()
    }

    /// Fails unless its trail is whole, by the program's own judgement.
    pub(crate) fn assert_audited(&self, lab: &Lab) {
        let copy = lab.directory().join("trail.jsonl");
        fs::copy(&self.trail, &copy).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_taciturn"))
            .args(["audit", "verify"])
            .arg(copy)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    }

    /// Fails unless the trail fits what has become of the relays: each was ended at most once, and those that are gone were.
    pub(crate) fn assert_consistent(&self, lab: &Lab) {
        self.assert_audited(lab);
        let ended = self.done("terminate");
        assert!(ended.values().all(|times| *times == 1), "{ended:?}");
        for relay in lab.relays().iter().filter(|relay| relay.pid.is_some()) {
            assert!(!ended.contains_key(&relay.id), "{} lives", relay.id);
        }
        for relay in lab.ended() {
            let log = relay.log();
            assert!(!log.contains("panicked"), "{log}");
        }
    }
}

/// The code, head and body of the answer to these bytes.
pub(crate) fn converse(mut stream: impl Read + Write, request: &str) -> (u16, String, String) {
    // It may answer, and close, before it has read everything.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no answer but {answer:?}"));
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    (code, head.to_ascii_lowercase(), body.to_owned())
}

fn words(list: &Value) -> Vec<String> {
    let list = list
        .as_array()
        .unwrap_or_else(|| panic!("a list, not {list}"));
    list.iter()
        .map(|word| word.as_str().unwrap().to_owned())
        .collect()
}

fn of_each(list: &Value, key: &str) -> Vec<String> {
    let list = list
        .as_array()
        .unwrap_or_else(|| panic!("a list, not {list}"));
    list.iter()
        .map(|item| item[key].as_str().unwrap().to_owned())
        .collect()
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            eprintln!("the controller's log:\n{log}");
        }
    }
}
