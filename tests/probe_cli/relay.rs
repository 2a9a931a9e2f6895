//! A relay on loopback in the test's own process, with files for the program to read.
//!
//! Responsible for settings and files. What a test does with them is its own.

use std::fs;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use taciturn_protocol::credentials::{Hashes, HmacHash, SharedSecret, mint};
use taciturn_relay::clock::Clock;
use taciturn_relay::config;
use taciturn_relay::run::Relay;

pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// Who signs the relay's certificate.
pub(crate) const ISSUER: &str = "Test Inspection CA";

/// What a test wants otherwise than usual.
#[derive(Default)]
pub(crate) struct Place {
    pub(crate) limits: &'static str,
    /// Listeners on ports that are known beforehand.
    pub(crate) fixed: bool,
}

pub(crate) struct TestRelay {
    pub(crate) udp: SocketAddr,
    pub(crate) tcp: SocketAddr,
    pub(crate) tls: SocketAddr,
    /// The configuration's file, and that of the authority to trust.
    pub(crate) config: String,
    pub(crate) authority: String,
    directory: PathBuf,
    _relay: Relay,
}

impl TestRelay {
    pub(crate) fn start(place: Place) -> Self {
        let directory = fresh_directory();
        let authority = write_certificates(&directory);
        let port = |taken: bool| {
            if !taken {
                return 0;
            }
            let socket = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = socket.local_addr().unwrap();
            // Free for UDP too, or it is an unlucky run.
            UdpSocket::bind(address).unwrap();
            address.port()
        };
        let [udp, tcp, tls] = [0; 3].map(|_| port(place.fixed));
        let text = format!(
            r#"
realm = "relay.test"
workers = 2
[[listener]]
transport = "udp"
address = "127.0.0.1:{udp}"
[[listener]]
transport = "tcp"
address = "127.0.0.1:{tcp}"
[[listener]]
transport = "tls"
address = "0.0.0.0:{tls}"
[relayed]
addresses = ["127.0.0.1"]
ports = "20000-29999"
[tls]
certificate = "cert.pem"
key = "key.pem"
[[secret]]
id = "test"
value = "{SECRET}"
[limits]
unauthenticated-per-second = 0
{}
[overload]
busiest-core = 0
[self-check]
interval = "0s"
[admin]
address = "unix:{}"
"#,
            place.limits,
            directory.join("admin.sock").display()
        );
        let file = write(&directory, "relay.toml", &text);
        let config = config::load(Path::new(&file)).unwrap();
        let relay = Relay::start(config).unwrap();
        let listeners = relay.listeners();
        let [udp, tcp, tls] = [0, 1, 2].map(|at| listeners[at].address);
        Self {
            udp,
            tcp,
            tls: SocketAddr::from(([127, 0, 0, 1], tls.port())),
            config: file,
            authority,
            directory,
            _relay: relay,
        }
    }

    /// A file that the program may be given.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        write(&self.directory, name, text)
    }

    /// A user name and its password.
    pub(crate) fn credentials(&self, user: &str) -> (String, String) {
        let secret = SharedSecret::new("test", SECRET.as_bytes(), Hashes::BOTH).unwrap();
        let now = Clock::start().unix();
        let ttl = Duration::from_secs(600);
        let minted = mint(&secret, HmacHash::Sha1, user, ttl, now).unwrap();
        (minted.username, minted.password)
    }
}

impl Drop for TestRelay {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn fresh_directory() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    // Short: the name of a Unix socket has little room.
    let name = format!("taciturn-probe-{}-{number}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir(&directory).unwrap();
    directory
}

fn write(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// An authority that has signed nothing.
pub(crate) fn foreign_authority() -> String {
    authority("Somebody Else").pem()
}

/// Writes the relay's certificate and key; returns the file of the authority.
fn write_certificates(directory: &Path) -> String {
    let authority = authority(ISSUER);
    let names = ["localhost", "127.0.0.1"].map(str::to_owned);
    let params = CertificateParams::new(names).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    write(directory, "cert.pem", &certificate.pem());
    write(directory, "key.pem", &key.serialize_pem());
    write(directory, "authority.pem", &authority.pem())
}
