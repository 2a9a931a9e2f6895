//! A cloud of the test's own behind the exec provider: it launches real relays, and does wrong what a test wants it to.
//!
//! Responsible for what the commands answer. Not responsible for what follows (`faults`).
//!
//! Each command is a shell script that puts its question into a directory and waits for the answer to appear beside it, for
//! as long as there is the directory.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};

use crate::lab::{Lab, ZONES};
use crate::running::{Running, Setup, loopback};

const SCRIPT: &str = r#"#!/bin/sh
read -r question
name=$(mktemp "$1/XXXXXXXXXX") || exit 1
printf '%s' "$question" > "$name.new" && mv "$name.new" "$name.question"
while [ ! -e "$name.answer" ]; do [ -d "$1" ] || exit 1; sleep 0.05; done
cat "$name.answer"
rm -f "$name" "$name.answer"
"#;

/// What is wrong with it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Fault {
    #[default]
    None,
    /// Nothing is answered.
    Hang,
    /// Lists end in the middle.
    Truncated,
    /// Lists are empty, and say that they are complete.
    Empty,
    /// Lists are empty, and say that they are not complete.
    Incomplete,
    /// Everything is refused as too much.
    Throttled,
    /// Launches happen, and their answers are lost, so many times.
    LostLaunches(u32),
    /// This zone has no machines.
    NoCapacity(&'static str),
    /// What is launched in this zone never runs a relay.
    StillBorn(&'static str),
}

/// One of its instances.
struct Machine {
    zone: String,
    address: Ipv4Addr,
    relay: Option<Running>,
}

#[derive(Default)]
struct Cloud {
    fault: Fault,
    machines: BTreeMap<String, Machine>,
    launched: BTreeMap<String, Vec<String>>,
    ended: BTreeMap<String, u32>,
    /// Operations that were asked for.
    asked: BTreeMap<String, u32>,
    next: u32,
}

/// The cloud, until the test ends.
pub(crate) struct Broker {
    cloud: Arc<Mutex<Cloud>>,
    directory: PathBuf,
    script: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Broker {
    pub(crate) fn new(lab: &Lab) -> Self {
        let directory = lab.directory().join("questions");
        fs::create_dir(&directory).unwrap();
        let script = lab.write("cloud.sh", SCRIPT);
        let cloud = Arc::new(Mutex::new(Cloud::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let (serving, watched, stopped) =
            (Arc::clone(&cloud), directory.clone(), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                for question in questions(&watched) {
                    respond(&serving, &question);
                }
                thread::sleep(Duration::from_millis(10));
            }
        });
        Self {
            cloud,
            directory,
            script,
            stop,
            thread: Some(thread),
        }
    }

    /// `[provider]` for it.
    pub(crate) fn provider(&self) -> String {
        let command = format!("[\"/bin/sh\", {:?}, {:?}]", self.script, self.directory);
        format!(
            "[provider]\nkind = \"exec\"\n[provider.exec]\nlist = {command}\nlaunch = {command}\nterminate = {command}\n\
             timeout = \"2s\"\n"
        )
    }

    pub(crate) fn set(&self, fault: Fault) {
        self.cloud().fault = fault;
    }

    /// Starts an instance that nobody has asked for.
    pub(crate) fn intrude(&self, zone: &str, relay: Setup, address: Ipv4Addr) -> String {
        let relay = relay.start();
        let mut cloud = self.cloud();
        cloud.add(zone, address, Some(relay))
    }

    /// Instances that have not ended, by id, with their addresses.
    pub(crate) fn instances(&self) -> BTreeMap<String, Ipv4Addr> {
        let cloud = self.cloud();
        let machines = cloud.machines.iter();
        machines
            .map(|(id, machine)| (id.clone(), machine.address))
            .collect()
    }

    pub(crate) fn zone_of(&self, id: &str) -> Option<String> {
        self.cloud()
            .machines
            .get(id)
            .map(|machine| machine.zone.clone())
    }

    /// How often the end of each was asked for.
    pub(crate) fn ended(&self) -> BTreeMap<String, u32> {
        self.cloud().ended.clone()
    }

    /// What each token has launched.
    pub(crate) fn launched(&self) -> BTreeMap<String, Vec<String>> {
        self.cloud().launched.clone()
    }

    pub(crate) fn asked(&self, operation: &str) -> u32 {
        self.cloud()
            .asked
            .get(operation)
            .copied()
            .unwrap_or_default()
    }

    fn cloud(&self) -> MutexGuard<'_, Cloud> {
        self.cloud.lock().unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "the cloud failed");
        }
    }
}

/// The relay of an instance, with its admin API where a controller looks for it.
pub(crate) fn relay_at(address: Ipv4Addr, zone: &str) -> Setup {
    let mut setup = Setup::on_loopback(1);
    setup.listeners = [
        ("udp", format!("{address}:3478")),
        ("tcp", format!("{address}:3478")),
    ]
    .into();
    setup.relayed = format!("addresses = [\"{address}\"]\nports = \"20000-29999\"");
    setup.admin = Some((address, 9641).into());
    setup.more = format!("[sovereignty]\nzone-id = \"{zone}\"\n");
    setup
}

fn questions(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths
        .filter(|path| path.extension().is_some_and(|end| end == "question"))
        .collect()
}

fn respond(cloud: &Mutex<Cloud>, path: &Path) {
    let text = fs::read_to_string(path).unwrap();
    fs::remove_file(path).unwrap();
    let question: Value = serde_json::from_str(&text).unwrap();
    if let Some(answer) = cloud.lock().unwrap().answer(&question) {
        let new = path.with_extension("written");
        fs::write(&new, answer).unwrap();
        fs::rename(&new, path.with_extension("answer")).unwrap();
    }
}

impl Cloud {
    fn answer(&mut self, question: &Value) -> Option<String> {
        let operation = question["operation"].as_str().unwrap();
        *self.asked.entry(operation.to_owned()).or_default() += 1;
        if self.fault == Fault::Hang {
            return None;
        }
        if self.fault == Fault::Throttled {
            return Some(json!({ "error": "throttled", "words": "slow down" }).to_string());
        }
        match operation {
            "list" => Some(self.list()),
            "launch" => self.launch(question),
            "terminate" => Some(self.terminate(question["id"].as_str().unwrap())),
            other => panic!("{other} is not asked of a cloud without hooks"),
        }
    }

    fn list(&self) -> String {
        let instance = |(id, machine): (&String, &Machine)| {
            json!({
                "id": id,
                "zone": machine.zone,
                "admin": format!("{}:9641", machine.address),
            })
        };
        let instances: Vec<Value> = self.machines.iter().map(instance).collect();
        let group = json!({ "zones": ZONES });
        let list = |complete: bool, instances: Vec<Value>| {
            let launched = &self.launched;
            json!({ "complete": complete, "group": group, "launched": launched, "instances": instances }).to_string()
        };
        match self.fault {
            Fault::Empty => list(true, Vec::new()),
            Fault::Incomplete => list(false, Vec::new()),
            Fault::Truncated => {
                let mut list = list(true, instances);
                list.truncate(list.len() / 2);
                list
            }
            Fault::None
            | Fault::Hang
            | Fault::Throttled
            | Fault::LostLaunches(_)
            | Fault::NoCapacity(_)
            | Fault::StillBorn(_) => list(true, instances),
        }
    }

    fn launch(&mut self, question: &Value) -> Option<String> {
        let zone = question["zone"].as_str().unwrap();
        let token = question["token"].as_str().unwrap().to_owned();
        let fault = self.fault.clone();
        if fault == Fault::NoCapacity(ZONES.into_iter().find(|known| *known == zone)?) {
            return Some(json!({ "error": "no-capacity", "words": "come back later" }).to_string());
        }
        if !self.launched.contains_key(&token) {
            let count = question["count"].as_u64().unwrap();
            let ids = (0..count).map(|_| self.start(zone)).collect();
            self.launched.insert(token.clone(), ids);
        }
        if let Fault::LostLaunches(left @ 1..) = fault {
            self.fault = Fault::LostLaunches(left - 1);
            return None;
        }
        Some(json!({ "instances": self.launched[&token] }).to_string())
    }

    fn start(&mut self, zone: &str) -> String {
        let address = loopback();
        let still_born = matches!(self.fault, Fault::StillBorn(there) if there == zone);
        let relay = (!still_born).then(|| relay_at(address, zone).start());
        self.add(zone, address, relay)
    }

    fn add(&mut self, zone: &str, address: Ipv4Addr, relay: Option<Running>) -> String {
        self.next += 1;
        let id = format!("m-{:03}", self.next);
        let zone = zone.to_owned();
        let machine = Machine {
            zone,
            address,
            relay,
        };
        self.machines.insert(id.clone(), machine);
        id
    }

    fn terminate(&mut self, id: &str) -> String {
        *self.ended.entry(id.to_owned()).or_default() += 1;
        let ended = match self.machines.remove(id) {
            // Dropped: the relay is told to end, and has to do so in order.
            Some(Machine { relay, .. }) => {
                drop(relay);
                "ending"
            }
            None => "already",
        };
        json!({ "ended": ended }).to_string()
    }
}
