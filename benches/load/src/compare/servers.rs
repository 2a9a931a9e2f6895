//! The servers under comparison: how each is configured and started on loopback, and when it is ready.
//!
//! Responsible for temporary files, ports and child processes, all gone at the end. Not responsible for the load.

use super::machine::first_line_of;
use crate::client::next_transaction_id;
use crate::credentials::Source;
use crate::flow::Target;
use crate::link::{Burst, DATAGRAM_MAX, Link, TlsTrust, Transport};
use crate::stun::{Message, Received, kind};
use anyhow::{Context, Result, bail};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SECRET: &str = "a comparison on loopback needs no real secret";
const READY_WITHIN: Duration = Duration::from_secs(15);
const RELAYED_PORTS: (u16, u16) = (20_000, 65_535);

/// A server that can be started.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// coturn, one relay thread.
    Coturn,
    /// taciturn, one worker.
    Taciturn,
}

impl Kind {
    /// Its name in tables.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Coturn => "coturn",
            Self::Taciturn => "taciturn",
        }
    }
}

/// Binaries, certificate and a directory for configuration files, which goes with this value.
#[derive(Debug)]
pub(crate) struct Workbench {
    directory: PathBuf,
    coturn: PathBuf,
    taciturn: PathBuf,
    trust: TlsTrust,
    /// Further sections of taciturn's configuration.
    taciturn_keys: String,
}

/// A saturated relay would rightly turn the next row's clients away, and its own client would be part of the load.
const STEADY: &str = "[overload]\nbusiest-core = 0\n[self-check]\ninterval = \"0s\"\n";

/// How taciturn is told to poll in the row that says so.
const BUSY_POLL: &str = "busy-poll = \"200us\"\n";

/// A started server, killed when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    plain: SocketAddr,
    tls: SocketAddr,
    trust: TlsTrust,
    /// Taciturn refuses its own addresses as peers, whatever the transport: no peer may get a port of the same number.
    _kept_from_peers: Vec<UdpSocket>,
}

impl Workbench {
    /// Makes the directory and a self-signed certificate.
    pub(crate) fn new(coturn: &Path, taciturn: &Path) -> Result<Self> {
        let directory = std::env::temp_dir().join(format!("taciturn-load-{}", std::process::id()));
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        let certified =
            rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])
                .context("cannot make a certificate")?;
        let certificate = directory.join("certificate.pem");
        fs::write(&certificate, certified.cert.pem())?;
        fs::write(
            directory.join("key.pem"),
            certified.signing_key.serialize_pem(),
        )?;
        let trust = TlsTrust::from_pem_file(&certificate, "localhost")?;
        Ok(Self {
            directory,
            coturn: coturn.to_owned(),
            taciturn: taciturn.to_owned(),
            trust,
            taciturn_keys: STEADY.to_owned(),
        })
    }

    /// The same, with other sections in taciturn's configuration than those that hold it steady.
    pub(crate) fn with_taciturn_keys(mut self, keys: &str) -> Self {
        keys.clone_into(&mut self.taciturn_keys);
        self
    }

    /// The version that a server's binary states.
    pub(crate) fn version(&self, kind: Kind) -> String {
        let binary = match kind {
            Kind::Coturn => &self.coturn,
            Kind::Taciturn => &self.taciturn,
        };
        let version =
            first_line_of(binary, &["--version"]).unwrap_or_else(|| "unknown version".to_owned());
        if version.starts_with(kind.label()) {
            version
        } else {
            format!("{} {version}", kind.label())
        }
    }

    /// Starts a server on free ports and waits until it answers on UDP and accepts on TCP and TLS.
    pub(crate) fn start(&self, kind: Kind) -> Result<Running> {
        self.start_polling(kind, false)
    }

    /// The same; `busy_poll` has taciturn look for packets for a while before it sleeps. coturn has no such setting.
    pub(crate) fn start_polling(&self, kind: Kind, busy_poll: bool) -> Result<Running> {
        let (plain, tls, admin) = (free_port()?, free_port()?, free_port()?);
        let mut command = match kind {
            Kind::Coturn => self.coturn_command(plain, tls),
            Kind::Taciturn => self.taciturn_command(plain, tls, admin, busy_poll)?,
        };
        let log = self.directory.join(format!("{}.log", plain.port()));
        let output = File::create(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| {
                format!("cannot run {}", Path::new(command.get_program()).display())
            })?;
        let kept = match kind {
            Kind::Coturn => Vec::new(),
            Kind::Taciturn => [tls, admin]
                .map(UdpSocket::bind)
                .into_iter()
                .flatten()
                .collect(),
        };
        let mut running = Running {
            child,
            plain,
            tls,
            trust: self.trust.clone(),
            _kept_from_peers: kept,
        };
        running.wait_until_ready().with_context(|| {
            let text = fs::read_to_string(&log).unwrap_or_default();
            let tail: Vec<&str> = text.lines().rev().take(5).collect();
            format!(
                "not ready; its last lines: {}",
                tail.into_iter().rev().collect::<Vec<_>>().join(" | ")
            )
        })?;
        Ok(running)
    }

    fn coturn_command(&self, plain: SocketAddr, tls: SocketAddr) -> Command {
        let (lowest, highest) = RELAYED_PORTS;
        let mut command = Command::new(&self.coturn);
        command
            .args([
                "-n",
                "--no-cli",
                "--listening-ip=127.0.0.1",
                "--relay-ip=127.0.0.1",
                "--realm=load.example",
                "-m",
                "1",
            ])
            .args([
                "--use-auth-secret",
                "--allow-loopback-peers",
                "--no-stdout-log",
                "--log-file=/dev/null",
            ])
            .arg(format!("--static-auth-secret={SECRET}"))
            .arg(format!("--listening-port={}", plain.port()))
            .arg(format!("--tls-listening-port={}", tls.port()))
            .arg(format!("--min-port={lowest}"))
            .arg(format!("--max-port={highest}"))
            .arg(format!("--cert={}", self.path("certificate.pem")))
            .arg(format!("--pkey={}", self.path("key.pem")))
            .arg(format!(
                "--pidfile={}",
                self.path(&format!("{}.pid", plain.port()))
            ))
            .arg(format!(
                "--userdb={}",
                self.path(&format!("{}.db", plain.port()))
            ));
        command
    }

    fn taciturn_command(
        &self,
        plain: SocketAddr,
        tls: SocketAddr,
        admin: SocketAddr,
        busy_poll: bool,
    ) -> Result<Command> {
        let path = self.directory.join(format!("{}.toml", plain.port()));
        // A key of the whole file stands before its sections.
        let first = if busy_poll { BUSY_POLL } else { "" };
        let config = format!("{first}{}", self.taciturn_config(plain, tls, admin));
        write_private(&path, &config)?;
        let mut command = Command::new(&self.taciturn);
        command.arg("relay").arg("--config").arg(path);
        Ok(command)
    }

    fn taciturn_config(&self, plain: SocketAddr, tls: SocketAddr, admin: SocketAddr) -> String {
        let (lowest, highest) = RELAYED_PORTS;
        let (certificate, key) = (self.path("certificate.pem"), self.path("key.pem"));
        format!(
            r#"realm = "load.example"
workers = 1

[[listener]]
transport = "udp"
address = "{plain}"

[[listener]]
transport = "tcp"
address = "{plain}"

[[listener]]
transport = "tls"
address = "{tls}"

[relayed]
addresses = ["127.0.0.1"]
ports = "{lowest}-{highest}"

[tls]
certificate = "{certificate}"
key = "{key}"

[[secret]]
id = "load"
value = "{SECRET}"

[peers]
allow-loopback = true
# Peers draw their ports from the system's range, in which one is denied by default.
denied-ports = []

[limits]
allocations = 1000000
allocations-per-user = 1000000
unauthenticated-per-second = 0
connections-per-source = 0

[admin]
address = "{admin}"

{}"#,
            self.taciturn_keys
        )
    }

    fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }
}

impl Drop for Workbench {
    fn drop(&mut self) {
        // Left-over files in the temporary directory harm nobody.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Running {
    /// Process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How the generator reaches it.
    pub(crate) fn target(&self, transport: Transport) -> Target {
        let server = match transport {
            Transport::Udp | Transport::Tcp => self.plain,
            Transport::Tls => self.tls,
        };
        Target {
            server,
            transport,
            trust: Some(self.trust.clone()),
            source: Source::SharedSecret(SECRET.to_owned()),
            peer_address: Ipv4Addr::LOCALHOST.into(),
        }
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended by itself: {status}");
            }
            if TcpStream::connect(self.plain).is_ok()
                && TcpStream::connect(self.tls).is_ok()
                && self.answers_binding()?
            {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("no answer within {} s", READY_WITHIN.as_secs());
    }

    fn answers_binding(&self) -> Result<bool> {
        let mut link = Link::connect(Transport::Udp, self.plain, None)?;
        let id = next_transaction_id();
        let mut burst = Burst::default();
        burst
            .next_frame()
            .extend_from_slice(&Message::new(kind::BINDING, id).into_bytes());
        link.send(&burst)?;
        link.wait_readable(Duration::from_millis(200))?;
        let mut answered = false;
        link.receive(1, &mut [0; DATAGRAM_MAX], |message| {
            answered |= Received::parse(message).is_some_and(|answer| answer.id() == id);
        })?;
        Ok(answered)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It holds nothing worth an orderly end, and a drain would take as long as an allocation lives.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes a file that only this user can read: servers rightly complain about others.
fn write_private(path: &Path, content: &str) -> Result<()> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(content.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// A loopback port that is free for TCP and UDP, below the relayed ports.
fn free_port() -> Result<SocketAddr> {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    for _ in 0..1000 {
        let port = 10_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 10_000;
        let address: SocketAddr = (Ipv4Addr::LOCALHOST, port).into();
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no free port on loopback")
}
