//! A signalling server's way to TURN credentials, with this project's libraries.
//!
//! It asks the fleet's controller (`POST /v1/ice-servers`). When no controller answers, it mints by itself, from the last
//! snapshot of the fleet that it has verified (`GET /v1/snapshot`), until that expires. Calls never depend on the controller.
//!
//! As a server for trying out, which answers `GET /ice-servers?user=ID`:
//!
//! ```sh
//! cargo run --example signalling -- http://127.0.0.1:9640 127.0.0.1:8085 2026-11=turn.key signalling.token
//! ```
//!
//! Copy `Taciturn` into your own server: `poll()` every few seconds in a thread, `ice_servers(user)` for each client that
//! has logged in. `user` is an opaque id of yours: never a name or an address of a person, as it travels to the relays.
//!
//! Nothing here logs a token, a secret, a password or a user. HTTP is written out below to leave nothing unsaid; it speaks
//! to a controller on this host. With the HTTP client of your server, use `https` to one elsewhere.
#![expect(
    clippy::print_stdout,
    reason = "a program for trying out says where it listens"
)]

use std::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use taciturn_controller::credentials::{Payload, SnapshotKey, SnapshotRelay};
use taciturn_protocol::credentials::{Hashes, HmacHash, SharedSecret, mint};
use taciturn_protocol::time::UnixTime;

/// A controller that does not answer within this time is one that is away.
const PATIENCE: Duration = Duration::from_millis(1500);
const LONGEST_ANSWER: u64 = 1024 * 1024;

/// A shared secret of the relays, ready for both of its uses.
pub(crate) struct Secret {
    id: String,
    minting: SharedSecret,
    verifying: SnapshotKey,
}

/// One fleet.
pub(crate) struct Taciturn {
    /// `HOST:PORT`.
    controller: String,
    token: Option<String>,
    /// The newest first.
    secrets: Vec<Secret>,
    clock: fn() -> u64,
    /// The last one that was verified, and its ETag.
    snapshot: Mutex<Option<(Payload, String)>>,
}

impl Secret {
    /// `hash = "sha256"` in the relays' configuration and the controller's.
    pub(crate) fn new(id: &str, bytes: &[u8]) -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            id: id.to_owned(),
            minting: SharedSecret::new(id, bytes, Hashes::SHA256)?,
            verifying: SnapshotKey::of(bytes),
        })
    }
}

impl Taciturn {
    /// `clock` gives the unix time in seconds.
    pub(crate) fn new(
        url: &str,
        token: Option<String>,
        secrets: Vec<Secret>,
        clock: fn() -> u64,
    ) -> Self {
        let controller = url.strip_prefix("http://").unwrap_or(url);
        Self {
            controller: controller.trim_end_matches('/').to_owned(),
            token,
            secrets,
            clock,
            snapshot: Mutex::default(),
        }
    }

    /// What a browser's `RTCPeerConnection` takes: `{"iceServers": [...], ...}`; or why there is none, in words.
    pub(crate) fn ice_servers(&self, user: &str, ttl: u64) -> Result<Value, String> {
        // These are names for the controller and the relays alike, whatever they are in other languages.
        if !(1..=128).contains(&user.len()) || !user.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("a user is 1 to 128 printable ASCII characters without blanks".to_owned());
        }
        let body = json!({"user": user, "ttl": ttl}).to_string();
        let headers = "Content-Type: application/json\r\n";
        match self.ask("POST", "/v1/ice-servers", headers, &body) {
            Ok(answer) if answer.status == 200 => {
                serde_json::from_slice(&answer.body).map_err(|error| error.to_string())
            }
            // It knows this user, or us, and says no. Minting all the same would go behind its back.
            Ok(Answer { status, .. }) if (400..500).contains(&status) && status != 429 => {
                Err(format!("the controller refuses: HTTP status {status}"))
            }
            Ok(_) | Err(_) => self.mint(user, ttl),
        }
    }

    /// Fetches the snapshot if there is a new one. Call it every few seconds; an error leaves the old one in place.
    pub(crate) fn poll(&self) -> Result<(), String> {
        let tag = self.lock().as_ref().map(|(_, tag)| tag.clone());
        let headers = tag.map_or_else(String::new, |tag| format!("If-None-Match: {tag}\r\n"));
        let Ok(answer) = self.ask("GET", "/v1/snapshot", &headers, "") else {
            return Ok(());
        };
        if answer.status == 200 {
            let payload = self.verified(&String::from_utf8_lossy(&answer.body))?;
            let mut held = self.lock();
            // One from before the one that we have may be somebody's who kept it.
            if held
                .as_ref()
                .is_none_or(|(held, _)| payload.iat >= held.iat)
            {
                *held = Some((payload, answer.tag));
            }
        }
        Ok(())
    }

    /// The payload of a snapshot that one of our secrets has signed and that has not expired.
    pub(crate) fn verified(&self, text: &str) -> Result<Payload, String> {
        let refused = |error| format!("the snapshot {error}");
        let id = SnapshotKey::named_in(text).map_err(refused)?;
        let secret = self.secrets.iter().find(|secret| secret.id == id);
        let secret = secret.ok_or("the snapshot is signed with another secret than ours")?;
        let now = UnixTime::from_secs((self.clock)());
        secret.verifying.verify(text, now).map_err(refused)
    }

    /// Credentials from the snapshot: what the controller would have answered, as of a few minutes ago.
    fn mint(&self, user: &str, ttl: u64) -> Result<Value, String> {
        let now = (self.clock)();
        let held = self.lock();
        let Some((snapshot, _)) = held.as_ref() else {
            return Err(
                "no controller answers, and there is no snapshot of the fleet yet".to_owned(),
            );
        };
        if now >= snapshot.exp {
            let ago = now - snapshot.exp;
            return Err(format!(
                "no controller answers, and the snapshot of the fleet expired {ago} s ago"
            ));
        }
        let secret = self.secrets.first().ok_or("no secret is configured")?;
        let (lifetime, now) = (Duration::from_secs(ttl), UnixTime::from_secs(now));
        let minted = mint(&secret.minting, HmacHash::Sha256, user, lifetime, now)
            .map_err(|error| error.to_string())?;
        let relays = two_of(&snapshot.relays).into_iter();
        let servers = relays.map(|relay| {
            json!({
                "urls": relay.urls,
                "username": minted.username,
                "credential": minted.password,
            })
        });
        Ok(json!({
            "iceServers": servers.collect::<Vec<_>>(),
            "ttl": ttl,
            "expires": minted.expires.as_secs(),
        }))
    }

    fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> io::Result<Answer> {
        let token = self.token.as_ref();
        let token = token.map_or_else(String::new, |token| {
            format!("Authorization: Bearer {token}\r\n")
        });
        let (host, length) = (&self.controller, body.len());
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{token}{headers}Content-Length: {length}\r\n\r\n{body}"
        );
        let address = host
            .to_socket_addrs()?
            .next()
            .ok_or(io::ErrorKind::NotFound)?;
        let deadline = Instant::now() + PATIENCE;
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.write_all(request.as_bytes())?;
        let mut text = Vec::new();
        let mut part = [0; 8192];
        // The time is for the whole: a controller that sends a byte now and then is away too.
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || text.len() as u64 > LONGEST_ANSWER {
                return Err(io::ErrorKind::TimedOut.into());
            }
            stream.set_read_timeout(Some(left))?;
            match stream.read(&mut part)? {
                0 => break,
                count => text.extend_from_slice(&part[..count]),
            }
        }
        Answer::read(&text).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(Payload, String)>> {
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What came over HTTP.
struct Answer {
    status: u16,
    tag: String,
    body: Vec<u8>,
}

impl Answer {
    /// The controller says how long its answers are, and none of them comes in chunks.
    fn read(text: &[u8]) -> Option<Self> {
        let end = text.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&text[..end]).ok()?;
        let field = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(':'));
            let found = lines.find(|(field, _)| field.eq_ignore_ascii_case(name));
            found.map_or("", |(_, value)| value.trim()).to_owned()
        };
        let body = &text[end + 4..];
        let whole = field("content-length")
            .parse()
            .is_ok_and(|length: usize| length == body.len());
        let status = head.split(' ').nth(1)?.parse().ok()?;
        (whole || status == 304).then(|| Self {
            status,
            tag: field("etag"),
            body: body.to_vec(),
        })
    }
}

/// Two relays by chance and weight, in different zones where there are any.
fn two_of(relays: &[SnapshotRelay]) -> Vec<&SnapshotRelay> {
    let all: Vec<&SnapshotRelay> = relays.iter().collect();
    let Some(first) = by_weight(&all) else {
        return Vec::new();
    };
    let others: Vec<_> = all
        .into_iter()
        .filter(|relay| relay.id != first.id)
        .collect();
    let elsewhere: Vec<_> = others
        .iter()
        .copied()
        .filter(|relay| relay.zone != first.zone)
        .collect();
    let second = by_weight(if elsewhere.is_empty() {
        &others
    } else {
        &elsewhere
    });
    std::iter::once(first).chain(second).collect()
}

fn by_weight<'a>(relays: &[&'a SnapshotRelay]) -> Option<&'a SnapshotRelay> {
    let total: u64 = relays.iter().map(|relay| u64::from(relay.weight)).sum();
    // The standard library's only source of chance, which is good enough to spread load.
    let chance = RandomState::new().hash_one(total);
    let mut left = chance.checked_rem(total)?;
    relays.iter().copied().find(|relay| {
        let here = left < u64::from(relay.weight);
        left = left.saturating_sub(u64::from(relay.weight));
        here
    })
}

fn unix_time() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [url, listen, secret, token @ ..] = words.as_slice() else {
        return Err("usage: signalling URL LISTEN ID=FILE [TOKEN-FILE]".into());
    };
    let (id, file) = secret.split_once('=').ok_or("the secret is not ID=FILE")?;
    let secret = Secret::new(id, std::fs::read(file)?.trim_ascii())?;
    let token = token.first().map(std::fs::read_to_string).transpose()?;
    let token = token.map(|token| token.trim().to_owned());
    let fleet = Arc::new(Taciturn::new(url, token, vec![secret], unix_time));
    let polled = Arc::clone(&fleet);
    thread::spawn(move || {
        loop {
            if let Err(why) = polled.poll() {
                println!("snapshot refused: {why}");
            }
            thread::sleep(Duration::from_secs(5));
        }
    });
    let listener = TcpListener::bind(listen)?;
    println!(
        "listening on http://{}/ice-servers?user=ID",
        listener.local_addr()?
    );
    for stream in listener.incoming() {
        let fleet = Arc::clone(&fleet);
        thread::spawn(move || stream.and_then(|stream| serve(&fleet, stream)));
    }
    Ok(())
}

fn serve(fleet: &Taciturn, mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut lines = BufReader::new(stream.try_clone()?.take(8192)).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    // To the end of the head, so that closing the connection loses nothing.
    while lines
        .next()
        .transpose()?
        .is_some_and(|line| !line.is_empty())
    {}
    // In your server: the user who has logged in, and never one whom the client names.
    let user = request.strip_prefix("GET /ice-servers?user=");
    let user = user.and_then(|rest| rest.split([' ', '&']).next());
    let (status, body) = match user.map(|user| fleet.ice_servers(user, 3600)) {
        Some(Ok(answer)) => ("200 OK", answer),
        Some(Err(why)) => ("503 Service Unavailable", json!({ "error": why })),
        None => (
            "404 Not Found",
            json!({"error": "there is /ice-servers?user=ID"}),
        ),
    };
    let body = body.to_string();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nCache-Control: no-store\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
