//! The binary as a process: started on a configuration of its own, watched, and ended by its process id.
//!
//! Not responsible for speaking TURN (`client`). A relay that dies, panics or does not end when asked fails its test.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::chown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rcgen::{CertifiedKey, KeyPair};
use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::CertificateDer;

/// How long anything may take that happens at once on a machine with nothing else to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// So many lines of its log are shown when a test fails.
const LAST: usize = 500;

pub(crate) const REALM: &str = "relay.test";
pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// What a relay is started with.
pub(crate) struct Setup {
    /// Keys before the first section.
    pub(crate) top: String,
    pub(crate) workers: usize,
    /// Transport and address of each listener.
    pub(crate) listeners: Vec<(&'static str, String)>,
    pub(crate) relayed: String,
    pub(crate) limits: String,
    pub(crate) peers: String,
    /// Nothing is shed unless a test says so: it may run on a busy machine.
    pub(crate) overload: String,
    /// Off unless a test is about it: others count every packet.
    pub(crate) self_check: String,
    /// By default a relay that is told to end does so at once, whatever it holds.
    pub(crate) drain: String,
    pub(crate) admin: Option<SocketAddr>,
    /// Further keys of `[admin]`.
    pub(crate) admin_keys: String,
    pub(crate) log_level: &'static str,
    /// Ports that the relay picks are read from "json" and "text", from level info on.
    pub(crate) log_format: &'static str,
    /// Further keys of `[log]`.
    pub(crate) log: String,
    /// Further sections.
    pub(crate) more: String,
    /// Further files beside the configuration, by name; nobody else may read them.
    pub(crate) files: Vec<(&'static str, String)>,
    /// The number of the user whose files they are, a copy of the program among them.
    pub(crate) owner: Option<u32>,
    /// What the command line begins with, such as `prlimit ...`.
    pub(crate) wrapper: Vec<OsString>,
}

impl Setup {
    /// UDP, TCP, TLS and auto listeners on a loopback address that no other relay of this run has.
    pub(crate) fn on_loopback(workers: usize) -> Self {
        let host = loopback();
        Self {
            top: String::new(),
            workers,
            listeners: ["udp", "tcp", "tls", "auto"]
                .map(|transport| (transport, format!("{host}:0")))
                .to_vec(),
            relayed: format!("addresses = [\"{host}\"]\nports = \"20000-29999\""),
            limits: "unauthenticated-per-second = 0".to_owned(),
            peers: "allow-loopback = true".to_owned(),
            overload: "busiest-core = 0".to_owned(),
            self_check: "interval = \"0s\"".to_owned(),
            drain: "stop-after = \"0s\"".to_owned(),
            admin: None,
            admin_keys: String::new(),
            log_level: "info",
            log_format: "json",
            log: String::new(),
            more: String::new(),
            files: Vec::new(),
            owner: None,
            wrapper: Vec::new(),
        }
    }

    /// Nothing but what the test says: no listener, no relayed address, no peers.
    pub(crate) fn empty(workers: usize) -> Self {
        Self {
            listeners: Vec::new(),
            relayed: String::new(),
            peers: String::new(),
            ..Self::on_loopback(workers)
        }
    }

    pub(crate) fn listener(mut self, transport: &'static str, address: &str) -> Self {
        self.listeners.push((transport, address.to_owned()));
        self
    }

    pub(crate) fn start(self) -> Running {
        Running::start(&self)
    }

    /// What the relay says when it refuses to start with this.
    pub(crate) fn refused(self) -> String {
        let directory = fresh_directory();
        write_certificate(&directory);
        let output = self.command(&directory).output().unwrap();
        let _ = fs::remove_dir_all(&directory);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        said
    }

    /// The relay's command line, its configuration written.
    fn command(&self, directory: &Path) -> Command {
        let file = directory.join("relay.toml");
        fs::write(&file, self.text(directory)).unwrap();
        // The configuration holds a secret, and the program insists.
        for (name, contents) in &self.files {
            fs::write(directory.join(name), contents).unwrap();
        }
        let own = ["relay.toml", "key.pem"].into_iter();
        for name in own.chain(self.files.iter().map(|(name, _)| *name)) {
            let path = directory.join(name);
            let mut permissions = fs::metadata(&path).unwrap().permissions();
            std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
            fs::set_permissions(&path, permissions).unwrap();
        }
        let mut words = self.wrapper.clone();
        let program = program();
        words.push(match self.owner {
            None => program.into(),
            Some(owner) => {
                let copy = directory.join("taciturn");
                fs::copy(program, &copy).unwrap();
                chown(directory, Some(owner), Some(owner)).unwrap();
                for file in fs::read_dir(directory).unwrap() {
                    chown(file.unwrap().path(), Some(owner), Some(owner)).unwrap();
                }
                copy.into()
            }
        });
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .args(["relay", "--config"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    fn text(&self, directory: &Path) -> String {
        let mut text = format!(
            "realm = \"{REALM}\"\nworkers = {}\n{}\n",
            self.workers, self.top
        );
        for (transport, address) in &self.listeners {
            text +=
                &format!("[[listener]]\ntransport = \"{transport}\"\naddress = \"{address}\"\n");
        }
        text += &format!("[[secret]]\nid = \"test\"\nvalue = \"{SECRET}\"\n");
        text += "[tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n";
        let admin = self.admin.map_or_else(
            || format!("unix:{}", directory.join("admin.sock").display()),
            |address| address.to_string(),
        );
        text += &format!("[admin]\naddress = \"{admin}\"\n{}\n", self.admin_keys);
        text += &format!(
            "[log]\nformat = \"{}\"\nlevel = \"{}\"\n{}\n",
            self.log_format, self.log_level, self.log
        );
        for (section, keys) in [
            ("relayed", &self.relayed),
            ("limits", &self.limits),
            ("peers", &self.peers),
            ("overload", &self.overload),
            ("self-check", &self.self_check),
            ("drain", &self.drain),
        ] {
            text += &format!("[{section}]\n{keys}\n");
        }
        text += &self.more;
        text
    }
}

/// The program under test: the release build of a long form, or the one that was built with the tests.
pub(crate) fn program() -> PathBuf {
    let named = std::env::var_os("TACITURN_BIN").map(PathBuf::from);
    named.unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_taciturn")))
}

/// An address in 127.0.0.0/8 of its own for each relay, so that their ports never meet.
pub(crate) fn loopback() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Ipv4Addr::new(
        127,
        1 + high % 254,
        low,
        1 + u8::try_from(number).expect("fewer than 255 relays in a run"),
    )
}

/// A relay that runs. Dropping it ends it, and fails the test when the relay did not bear up.
pub(crate) struct Running {
    child: Child,
    directory: PathBuf,
    admin: Option<SocketAddr>,
    log: Arc<Mutex<Vec<String>>>,
    listeners: Vec<(String, SocketAddr)>,
    asked_to_end: bool,
    crashed: bool,
    reading: Option<thread::JoinHandle<()>>,
    /// What a client has to trust.
    pub(crate) certificate: CertificateDer<'static>,
}

impl Running {
    fn start(setup: &Setup) -> Self {
        let directory = fresh_directory();
        let certificate = write_certificate(&directory);
        let mut child = setup.command(&directory).spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let gathered = Arc::clone(&log);
        let reading = thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                gathered.lock().unwrap().push(line);
            }
        });
        let mut running = Self {
            child,
            directory,
            admin: setup.admin,
            log,
            listeners: Vec::new(),
            asked_to_end: false,
            crashed: false,
            reading: Some(reading),
            certificate,
        };
        running.await_ready(setup);
        running
    }

    fn await_ready(&mut self, setup: &Setup) {
        let deadline = Instant::now() + 3 * PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the relay ended at its start: {status}\n{}", self.log());
            }
            // Over TLS the log alone says so. A drain may be as old as the last run.
            let serves = if setup.admin_keys.contains("certificate") {
                self.log().contains("phase changed")
            } else {
                let answer = self.try_http("GET", "/ready", "");
                answer.is_some_and(|(code, text)| code == 200 || text.starts_with("drain"))
            };
            if serves {
                break;
            }
            assert!(
                Instant::now() < deadline,
                "the relay is not ready\n{}",
                self.log()
            );
            thread::sleep(Duration::from_millis(5));
        }
        if ["error", "warn"].contains(&setup.log_level) || setup.log_format == "journald" {
            // Here nothing tells which ports were picked, so the test has picked them.
            let written = setup.listeners.iter();
            self.listeners = written
                .map(|(name, address)| ((*name).to_owned(), address.parse().unwrap()))
                .collect();
            return;
        }
        eventually("the log of the start", || {
            self.log().contains("phase changed")
        });
        for line in self.log.lock().unwrap().iter() {
            let found = if line.starts_with('{') {
                listening_in_json(line)
            } else {
                listening_in_text(line)
            };
            self.listeners.extend(found);
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The first listener of this transport.
    pub(crate) fn listener(&self, transport: &str) -> SocketAddr {
        let found = self.listeners.iter().find(|(name, _)| name == transport);
        found.expect("a listener that is configured").1
    }

    /// Where the configuration and its files are.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Puts another file in the place of one in the relay's directory, as a whole.
    pub(crate) fn rewrite(&self, name: &str, contents: &str) {
        let new = self.directory.join(format!(".{name}.new"));
        fs::write(&new, contents).unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(&new, private).unwrap();
        fs::rename(&new, self.directory.join(name)).unwrap();
    }

    /// Sends SIGHUP.
    pub(crate) fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// All listeners of this transport, in the order of the configuration.
    pub(crate) fn listeners(&self, transport: &str) -> Vec<SocketAddr> {
        let found = self.listeners.iter().filter(|(name, _)| name == transport);
        found.map(|(_, address)| *address).collect()
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// Fails when the process has ended.
    pub(crate) fn assert_alive(&mut self) {
        let ended = self.child.try_wait().unwrap();
        assert!(
            ended.is_none(),
            "the relay ended: {ended:?}\n{}",
            self.log()
        );
    }

    /// One request to the admin API.
    pub(crate) fn http(&self, method: &str, path: &str) -> (u16, String) {
        self.http_with(method, path, "")
    }

    /// One request to the admin API, with this JSON in it.
    pub(crate) fn http_with(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        self.try_http(method, path, body)
            .expect("an answer of the admin api")
    }

    fn try_http(&self, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
        match self.admin {
            None => exchange(
                UnixStream::connect(self.directory.join("admin.sock")).ok()?,
                method,
                path,
                body,
            ),
            Some(address) => exchange(TcpStream::connect(address).ok()?, method, path, body),
        }
    }

    /// The sum of the samples whose name and labels begin with `beginning`.
    pub(crate) fn metric(&self, beginning: &str) -> u64 {
        let (code, text) = self.http("GET", "/metrics");
        assert_eq!(code, 200);
        let mut samples = text
            .lines()
            .filter(|line| line.starts_with(beginning))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
            .peekable();
        assert!(samples.peek().is_some(), "no metric {beginning}");
        samples.sum()
    }

    pub(crate) fn dropped(&self, reason: &str) -> u64 {
        self.metric(&format!(
            "taciturn_relay_dropped_packets_total{{reason=\"{reason}\","
        ))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// For a relay that the test has asked to end: fails unless it does so in order. Returns its whole log.
    pub(crate) fn ended(mut self) -> String {
        self.asked_to_end = true;
        let (log, reading) = (Arc::clone(&self.log), self.reading.take());
        drop(self);
        reading.expect("it is taken once").join().unwrap();
        let lines = log.lock().unwrap();
        lines.join("\n")
    }

    /// Ends the relay as a crash would.
    pub(crate) fn crash(mut self) {
        self.crashed = true;
    }

    fn end(&mut self) -> Result<(), String> {
        if self.crashed {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
            return Ok(());
        }
        if !self.asked_to_end {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Err(format!("the relay ended by itself: {status}"));
            }
            self.signal(Signal::TERM);
        }
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return if !status.success() {
                    Err(format!("the relay ended with {status}"))
                } else if self.log().contains("panicked") {
                    Err("the relay panicked".to_owned())
                } else {
                    Ok(())
                };
            }
            thread::sleep(Duration::from_millis(5));
        }
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        Err("the relay did not end".to_owned())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let ended = self.end();
        let _ = fs::remove_dir_all(&self.directory);
        if thread::panicking() {
            let log = self.log.lock().unwrap();
            let last = &log[log.len().saturating_sub(LAST)..];
            eprintln!(
                "how the relay ended: {ended:?}; its log:\n{}",
                last.join("\n")
            );
        } else if let Err(why) = ended {
            panic!("{why}\n{}", self.log());
        }
    }
}

/// Fails unless the log of a relay that has ended says that it stopped for this reason, and cut so many allocations off.
pub(crate) fn assert_stopped(log: &str, why: &str, cut: u64) {
    let line = log
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .find(|line| {
            let message = line["message"].as_str().unwrap_or_default();
            message == "stopping" || message == "stopping with allocations left"
        });
    let line = line.unwrap_or_else(|| panic!("no line on the stop\n{log}"));
    assert_eq!(line["why"], why);
    assert_eq!(line["cut"], cut);
}

fn listening_in_json(line: &str) -> Option<(String, SocketAddr)> {
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    (line["message"] == "listening").then(|| {
        let transport = line["transport"].as_str().unwrap().to_owned();
        let address = line["address"].as_str().unwrap().parse().unwrap();
        (transport, address)
    })
}

fn listening_in_text(line: &str) -> Option<(String, SocketAddr)> {
    let (_, fields) = line.split_once(": listening transport=\"")?;
    let (transport, address) = fields.split_once("\" address=").unwrap();
    Some((transport.to_owned(), address.parse().unwrap()))
}

/// One HTTP request over this stream; `None` when no answer came.
pub(crate) fn exchange(
    mut stream: impl Read + Write,
    method: &str,
    path: &str,
    body: &str,
) -> Option<(u16, String)> {
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

pub(crate) fn fresh_directory() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("taciturn-system-{}-{number}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir(&directory).unwrap();
    directory
}

pub(crate) fn write_certificate(directory: &Path) -> CertificateDer<'static> {
    let CertifiedKey { cert, signing_key }: CertifiedKey<KeyPair> =
        rcgen::generate_simple_self_signed([REALM.to_owned()]).unwrap();
    fs::write(directory.join("cert.pem"), cert.pem()).unwrap();
    fs::write(directory.join("key.pem"), signing_key.serialize_pem()).unwrap();
    cert.der().clone()
}

/// Waits for something that happens soon.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not come about");
        thread::sleep(Duration::from_millis(10));
    }
}
