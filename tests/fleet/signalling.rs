//! The examples for signalling servers, against a controller that runs and is then killed: what they mint by themselves lets
//! clients in, for as long as their snapshot is good and no longer.
//!
//! Responsible for all three doing the same. Not responsible for what the controller answers (`controller/src/credentials`).

#[path = "../../examples/signalling/taciturn.rs"]
#[expect(dead_code, reason = "the example is a program as well")]
mod example;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Value, json};

use crate::client::{Client, Link, peer_of};
use crate::controllers::Controller;
use crate::lab::{Lab, PATIENCE, eventually};
use crate::running::SECRET;
use crate::settings::Settings;

const TOKEN: &str = "a-signalling-token-of-more-than-32-bytes";
/// Nobody else has it, so that it is found wherever it gets.
const USER: &str = "patient-4711";
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/signalling");
const DRIVERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fleet/signalling");

fn unix_time() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_secs()
}

/// What the Rust example takes for now. Its own test sets it, and there is one.
static NOW: AtomicU64 = AtomicU64::new(0);

/// One of the examples.
enum Example {
    Rust(Box<example::Taciturn>),
    Driven {
        child: Child,
        input: ChildStdin,
        output: BufReader<ChildStdout>,
    },
}

impl Example {
    fn rust(controller: SocketAddr) -> Self {
        let secret = example::Secret::new("local", SECRET.as_bytes()).unwrap();
        let clock = || NOW.load(Ordering::Relaxed);
        let url = format!("http://{controller}");
        let fleet = example::Taciturn::new(&url, Some(TOKEN.to_owned()), vec![secret], clock);
        Self::Rust(Box::new(fleet))
    }

    /// Driven by a few lines of its own language. `None`: the language is not installed here, and need not be.
    fn driven(program: &str, ending: &str, controller: SocketAddr, lab: &Lab) -> Option<Self> {
        let secret = lab.directory().join("relays/secret.key");
        let started = Command::new(program)
            .arg(format!("{DRIVERS}/drive.{ending}"))
            .arg(format!("{EXAMPLES}/taciturn.{ending}"))
            .arg(format!("http://{controller}"))
            .arg(TOKEN)
            .arg(format!("local={}", secret.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = match started {
            Ok(child) => child,
            Err(error) if std::env::var_os("CI").is_none() => {
                eprintln!(
                    "{program}: {error}; its example is not tried, see scripts/install-test-tools"
                );
                return None;
            }
            Err(error) => panic!("{program}: {error}; see scripts/install-test-tools"),
        };
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Some(Self::Driven {
            child,
            input,
            output,
        })
    }

    fn all(controller: SocketAddr, lab: &Lab) -> Vec<Self> {
        let driven = [("python3", "py"), ("node", "mjs")]
            .map(|(program, ending)| Self::driven(program, ending, controller, lab));
        [Some(Self::rust(controller))]
            .into_iter()
            .chain(driven)
            .flatten()
            .collect()
    }

    fn poll(&mut self, now: u64) -> Result<(), String> {
        match self {
            Self::Rust(fleet) => {
                NOW.store(now, Ordering::Relaxed);
                fleet.poll()
            }
            Self::Driven { .. } => self.line(&json!({ "now": now })).map(drop),
        }
    }

    fn ice_servers(&mut self, now: u64) -> Result<Value, String> {
        match self {
            Self::Rust(fleet) => {
                NOW.store(now, Ordering::Relaxed);
                fleet.ice_servers(USER, 3600)
            }
            Self::Driven { .. } => self.line(&json!({ "now": now, "user": USER })),
        }
    }

    fn line(&mut self, asked: &Value) -> Result<Value, String> {
        let Self::Driven { input, output, .. } = self else {
            panic!("an example that is asked in lines");
        };
        writeln!(input, "{asked}").unwrap();
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap();
        match answer["error"].as_str() {
            Some(why) => Err(why.to_owned()),
            None => Ok(answer),
        }
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        if let Self::Driven { child, .. } = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Fails unless what is offered lets a client in, on two relays in two zones.
fn assert_lets_in(lab: &Lab, answer: &Value) {
    let mut zones = BTreeSet::new();
    for server in answer["iceServers"].as_array().unwrap() {
        let urls = server["urls"].as_array().unwrap();
        let first = urls[0].as_str().unwrap();
        let host: Ipv4Addr = first.split(':').nth(1).unwrap().parse().unwrap();
        assert_eq!(first, format!("turn:{host}:3478?transport=udp"));
        let relays = lab.relays();
        let relay = relays.iter().find(|relay| relay.address == host).unwrap();
        zones.insert(relay.zone.clone());
        let name = server["username"].as_str().unwrap();
        assert!(name.ends_with(&format!(":{USER}")), "{name}");
        let password = server["credential"].as_str().unwrap().to_owned();
        let address = SocketAddr::from((host, 3478));
        let socket = peer_of(address);
        socket.connect(address).unwrap();
        let mut client = Client::known_as(Link::Udp(socket), name.into(), password);
        client.allocate();
        client.release();
    }
    assert_eq!(zones.len(), 2, "{zones:?}");
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

fn settings(lab: &Lab) -> Settings {
    let token = lab.write("signalling.token", TOKEN);
    Settings {
        listen: Some(free_address()),
        more: format!(
            "[credentials]\n[[credentials.subject]]\nname = \"signalling\"\ntoken-file = \"{}\"\n",
            token.display()
        ),
        ..Settings::local(lab)
    }
}

/// `None`: there is none yet.
fn snapshot(controller: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(controller).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "GET /v1/snapshot HTTP/1.1\r\nHost: {controller}\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, text) = answer.split_once("\r\n\r\n").unwrap();
    head.starts_with("HTTP/1.1 200 ").then(|| text.to_owned())
}

/// Returns when the snapshot names three relays: it follows the rounds.
fn await_snapshot(controller: SocketAddr) -> String {
    let mut text = String::new();
    eventually("a snapshot of three relays", || {
        let Some(found) = snapshot(controller) else {
            return false;
        };
        text = found;
        let payload = text.split('.').nth(1).unwrap();
        let payload = Base64UrlUnpadded::decode_vec(payload).unwrap();
        let payload: Value = serde_json::from_slice(&payload).unwrap();
        payload["relays"].as_array().unwrap().len() == 3
    });
    text
}

/// Answers every GET with this text, and every POST with this status.
fn impostor(text: String, status: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let Ok(count) = stream.read(&mut request) else {
                continue;
            };
            let (status, body) = if request[..count].starts_with(b"GET") {
                ("200 OK", text.as_str())
            } else {
                (status, "{}")
            };
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
        }
    });
    address
}

/// The same text with one letter of its payload changed.
fn tampered(snapshot: &str) -> String {
    let (head, rest) = snapshot.split_once('.').unwrap();
    let (payload, code) = rest.split_once('.').unwrap();
    let at = payload.len() / 2;
    let other = if payload[at..].starts_with('A') {
        'B'
    } else {
        'A'
    };
    let payload = format!("{}{other}{}", &payload[..at], &payload[at + 1..]);
    format!("{head}.{payload}.{code}")
}

/// H-08: while the controller answers, each example hands out what it says; after it was killed, each mints by itself what
/// lets clients in, five minutes later too; and none of them does when its snapshot has expired.
#[test]
fn signalling_servers_go_on_without_the_controller_until_their_snapshot_expires() {
    let lab = Lab::new();
    let settings = settings(&lab);
    let address = settings.listen.unwrap();
    let controller = Controller::start(&lab, &settings);
    eventually("three relays", || controller.offered(&lab).len() == 3);
    await_snapshot(address);
    let mut examples = Example::all(address, &lab);
    for example in &mut examples {
        example.poll(unix_time()).unwrap();
        let answer = example.ice_servers(unix_time()).unwrap();
        assert_lets_in(&lab, &answer);
        assert_eq!(answer["ttl"], 3600);
        example.poll(unix_time()).unwrap();
    }

    // Whom the controller refuses, nobody mints for.
    let body = json!({ "user": USER }).to_string();
    let (code, text) = controller.http("POST", "/v1/revocations", &body);
    assert_eq!(code, 200, "{text}");
    for example in &mut examples {
        let why = example.ice_servers(unix_time()).unwrap_err();
        assert!(why.contains("refuses") && why.contains("403"), "{why}");
    }
    let path = format!("/v1/revocations/users/{USER}");
    assert_eq!(controller.http("DELETE", &path, "").0, 200);

    let kept = await_snapshot(address);
    controller.crash();
    let killed = unix_time();
    for example in &mut examples {
        for later in [0, 60, 300] {
            example.poll(killed + later).unwrap();
            let answer = example.ice_servers(killed + later).unwrap();
            assert_eq!(answer["expires"], killed + later + 3600);
            assert_lets_in(&lab, &answer);
        }
        let why = example.ice_servers(killed + 601).unwrap_err();
        assert!(why.contains("no controller answers"), "{why}");
        assert!(why.contains("expired"), "{why}");
    }
    drop(examples);

    // Another's words are not believed, whatever they say, nor are ours once they are old.
    let changed = impostor(tampered(&kept), "503 Service Unavailable");
    let old = impostor(kept.clone(), "503 Service Unavailable");
    let early = impostor(kept.clone(), "503 Service Unavailable");
    let unsigned = impostor("e30.e30.".to_owned(), "500 Internal Server Error");
    // One whose maker's clock was ahead would be held for as long as that, and every later one be taken for older.
    for (address, at) in [
        (changed, killed),
        (old, killed + 601),
        (early, killed - 3600),
        (unsigned, killed),
    ] {
        for example in &mut Example::all(address, &lab) {
            let why = example.poll(at).unwrap_err();
            assert!(why.starts_with("the snapshot "), "{why}");
            let why = example.ice_servers(at).unwrap_err();
            assert!(why.contains("no snapshot of the fleet yet"), "{why}");
        }
    }
    // The same impostor with our own words: they are as good as ever, and it can add nothing to them.
    let honest = impostor(kept, "503 Service Unavailable");
    for example in &mut Example::all(honest, &lab) {
        example.poll(killed).unwrap();
        assert_lets_in(&lab, &example.ice_servers(killed).unwrap());
    }
}

/// An example as the program that a stranger tries out.
struct Program(Child, SocketAddr);

impl Program {
    fn start(program: &str, ending: &str, controller: SocketAddr, lab: &Lab) -> Option<Self> {
        let file = |name: &str| lab.directory().join(name).display().to_string();
        let child = Command::new(program)
            .arg(format!("{EXAMPLES}/taciturn.{ending}"))
            .args(["--controller", &format!("http://{controller}")])
            .args(["--token-file", &file("signalling.token")])
            .args(["--secret", &format!("local={}", file("relays/secret.key"))])
            .args(["--listen", "127.0.0.1:0"])
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        // Whether it may be missing has been said.
        let mut child = child.ok()?;
        let mut said = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut said).unwrap();
        let address = said.strip_prefix("listening on http://").unwrap();
        let address = address.split('/').next().unwrap().parse().unwrap();
        Some(Self(child, address))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_examples_run_as_servers() {
    assert!(Path::new(EXAMPLES).join("taciturn.rs").exists());
    let lab = Lab::new();
    let settings = settings(&lab);
    let controller = Controller::start(&lab, &settings);
    eventually("three relays", || controller.offered(&lab).len() == 3);
    await_snapshot(settings.listen.unwrap());
    for (program, ending) in [("python3", "py"), ("node", "mjs")] {
        let Some(server) = Program::start(program, ending, settings.listen.unwrap(), &lab) else {
            continue;
        };
        let ask = |path: &str| {
            let stream = TcpStream::connect(server.1).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let (code, body) = crate::running::exchange(stream, "GET", path, "").unwrap();
            (code, body)
        };
        let (code, body) = ask(&format!("/ice-servers?user={USER}"));
        assert_eq!(code, 200, "{program}: {body}");
        let body = body[body.find('{').unwrap()..=body.rfind('}').unwrap()].to_owned();
        assert_lets_in(&lab, &serde_json::from_str(&body).unwrap());
        assert_eq!(ask("/ice-servers?user=").0, 503);
        assert_eq!(ask("/").0, 404);
    }
    drop(controller);
}
