//! The relay under a supervisor that speaks systemd's notification protocol: a datagram socket that the test listens on.
//!
//! Not responsible for the unit file (`units`), nor for sockets that a supervisor hands over (`activation`).

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use crate::calls::Call;
use crate::client::Over;
use crate::running::{Running, Setup, eventually};

/// What `NOTIFY_SOCKET` names, read as it comes.
struct Notified {
    path: PathBuf,
    messages: Arc<Mutex<Vec<String>>>,
}

impl Notified {
    fn new(test: &str) -> Self {
        let name = format!("taciturn-notify-{test}-{}.sock", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        let messages = Arc::<Mutex<Vec<String>>>::default();
        let gathered = Arc::clone(&messages);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length) = socket.recv(&mut buffer) {
                let message = String::from_utf8(buffer[..length].to_vec()).unwrap();
                gathered.lock().unwrap().push(message);
            }
        });
        Self { path, messages }
    }

    /// A relay with two workers, its watchdog set to this many microseconds.
    fn start(&self, watchdog: u32) -> Running {
        let mut setup = Setup::on_loopback(2);
        setup.wrapper = vec![
            "env".into(),
            format!("NOTIFY_SOCKET={}", self.path.display()).into(),
            format!("WATCHDOG_USEC={watchdog}").into(),
        ];
        setup.start()
    }

    fn messages(&self) -> Vec<String> {
        self.messages.lock().unwrap().clone()
    }

    /// How many messages have come that begin so.
    fn count(&self, beginning: &str) -> usize {
        let messages = self.messages();
        let matching = messages
            .iter()
            .filter(|message| message.starts_with(beginning));
        matching.count()
    }
}

impl Drop for Notified {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[test]
fn the_supervisor_hears_of_readiness_of_a_living_relay_and_of_its_end() {
    let notified = Notified::new("life");
    let relay = notified.start(100_000);
    eventually("readiness", || notified.count("READY=1\n") == 1);
    eventually("a status", || notified.count("STATUS=ready") > 0);
    let fed = notified.count("WATCHDOG=1\n");
    eventually("the watchdog's food", || {
        notified.count("WATCHDOG=1\n") > fed + 5
    });
    assert!(relay.log().contains("watched by the supervisor"));
    drop(relay);
    eventually("the end", || notified.count("STOPPING=1\n") == 1);
    // A watchdog that is fed after that could hide a stop that hangs.
    let messages = notified.messages();
    let last = messages
        .iter()
        .rposition(|message| message.starts_with("WATCHDOG"));
    let stopping = messages
        .iter()
        .position(|message| message == "STOPPING=1\n");
    assert!(last < stopping, "{messages:?}");
}

#[test]
fn a_reload_is_announced_and_readiness_follows_whatever_comes_of_it() {
    let notified = Notified::new("announced");
    let relay = notified.start(10_000_000);
    eventually("readiness", || notified.count("READY=1\n") == 1);
    relay.hang_up();
    eventually("readiness after a reload", || {
        notified.count("READY=1\n") == 2
    });
    relay.rewrite("relay.toml", "nonsense");
    eventually("readiness after a refusal", || {
        notified.count("READY=1\n") == 3
    });
    let messages = notified.messages();
    let told: Vec<_> = messages
        .iter()
        .filter(|message| message.starts_with("RELOADING") || message.starts_with("READY"))
        .collect();
    let [_, reloading, _, again, _] = told[..] else {
        panic!("{messages:?}");
    };
    for message in [reloading, again] {
        let since = message.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
        assert!(since.unwrap().trim_end().parse::<u64>().unwrap() > 0);
    }
}

#[test]
fn the_supervisor_hears_of_a_reload_and_of_its_end_whatever_comes_of_it() {
    let notified = Notified::new("reload");
    let relay = notified.start(0);
    eventually("readiness", || notified.count("READY=1\n") == 1);
    for reloads in 1..=2 {
        if reloads == 2 {
            relay.rewrite("relay.toml", "this is no configuration");
        }
        let pid = Pid::from_raw(relay.pid().cast_signed()).unwrap();
        kill_process(pid, Signal::HUP).unwrap();
        let begun = || notified.count("RELOADING=1\nMONOTONIC_USEC=");
        eventually("a reload", || begun() >= reloads);
        eventually("its end", || notified.count("READY=1\n") == 1 + begun());
    }
    // What systemd demands: the end of each reload before the next begins.
    let messages = notified.messages();
    let turns: Vec<&str> = messages
        .iter()
        .filter(|message| message.starts_with("RE"))
        .map(|message| message.split(['=', '\n']).next().unwrap())
        .collect();
    assert_eq!(turns[0], "READY");
    for pair in turns[1..].chunks(2) {
        assert_eq!(pair, ["RELOADING", "READY"], "{turns:?}");
    }
}

#[test]
fn a_drain_that_sigterm_begins_asks_the_supervisor_to_wait_as_long() {
    let notified = Notified::new("drain");
    let mut setup = Setup::on_loopback(1);
    setup.drain = "stop-after = \"20m\"".to_owned();
    setup.wrapper = vec![
        "env".into(),
        format!("NOTIFY_SOCKET={}", notified.path.display()).into(),
    ];
    let relay = setup.start();
    let mut call = Call::open(&relay, Over::Udp, "alice");
    kill_process(
        Pid::from_raw(relay.pid().cast_signed()).unwrap(),
        Signal::TERM,
    )
    .unwrap();
    eventually("the wish for time", || {
        notified.count("EXTEND_TIMEOUT_USEC=") == 1
    });
    eventually("a status of the drain", || {
        notified.count("STATUS=draining") > 0
    });
    call.exchange();
    // The stop itself comes when the call has ended: until then the drain could be undone.
    assert_eq!(notified.count("STOPPING=1"), 0);
    let messages = notified.messages();
    let wish = messages
        .iter()
        .find_map(|message| message.strip_prefix("EXTEND_TIMEOUT_USEC="));
    assert!(wish.unwrap().trim_end().parse::<u64>().unwrap() > 20 * 60 * 1_000_000);
    call.client.release();
    eventually("the end", || notified.count("STOPPING=1\n") == 1);
    assert_eq!(notified.count("READY=1"), 1);
    relay.ended();
}
