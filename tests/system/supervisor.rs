//! The relay under a supervisor that speaks systemd's notification protocol: a datagram socket that the test listens on.
//!
//! Not responsible for the unit file (`tests/packaging`), nor for sockets that a supervisor hands over (`activation`).

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use crate::running::{PATIENCE, Running, Setup};

/// What `NOTIFY_SOCKET` names.
struct Notified {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Notified {
    fn new(test: &str) -> Self {
        let name = format!("taciturn-notify-{test}-{}.sock", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, path }
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

    /// The next message, which may have several lines.
    fn message(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).expect("a message in time");
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    /// The next message with a line that begins so; what comes before it is passed over.
    fn await_line(&self, beginning: &str) -> String {
        for _ in 0..1000 {
            let message = self.message();
            if message.lines().any(|line| line.starts_with(beginning)) {
                return message;
            }
        }
        panic!("no {beginning}");
    }

    /// What has come and not been read.
    fn rest(&self) -> Vec<String> {
        self.socket.set_nonblocking(true).unwrap();
        let mut buffer = [0; 4096];
        let rest = std::iter::from_fn(|| {
            self.socket
                .recv(&mut buffer)
                .ok()
                .map(|n| buffer[..n].to_vec())
        });
        rest.map(|bytes| String::from_utf8(bytes).unwrap())
            .collect()
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
    assert_eq!(notified.message(), "STATUS=ready\n");
    assert_eq!(notified.message(), "READY=1\n");
    for _ in 0..5 {
        notified.await_line("WATCHDOG=1");
    }
    assert!(relay.log().contains("watched by the supervisor"));
    drop(relay);
    let rest = notified.rest();
    let stopping = rest.iter().filter(|message| *message == "STOPPING=1\n");
    assert_eq!(stopping.count(), 1, "{rest:?}");
    // A watchdog that is fed after that could hide a stop that hangs.
    let last = rest
        .iter()
        .rposition(|message| message.starts_with("WATCHDOG"));
    let stopping = rest.iter().position(|message| message == "STOPPING=1\n");
    assert!(last < stopping, "{rest:?}");
}
