//! Canaries: what clients say in confidence, looked for in everything that the relay says.
//!
//! Responsible for planting them wherever a client, a peer or an operator can, and for knowing them again in whatever form.
//! Not responsible for what the log is to say (`taciturn_relay::events`).

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use taciturn_protocol::wire::Method;
use taciturn_relay::clock::Clock;

use crate::client::{Client, Link, Over, peer_at, receive_from, tls_connection};
use crate::running::{PATIENCE, REALM, Running, SECRET, Setup, eventually, loopback};

/// Where the clients of these tests live: an address that nothing else has.
const HOME: Ipv4Addr = Ipv4Addr::new(127, 214, 73, 191);
/// Where their peers live.
const PEER_HOME: Ipv4Addr = Ipv4Addr::new(127, 198, 59, 233);

const USER: &str = "Xq7user-7781";
const PAYLOAD: &[u8] = b"Xq7payload: I have had this pain since Tuesday";
const SERVER_NAME: &str = "xq7clinic.example";
const STRANGER: &[u8] = b"Xq7stranger";
const NONCE: &[u8] = b"obMatJos2AAAAXq7nonce";
const NONCE_KEY: &str = "Xq7noncekey-0123456789abcdef0123";
/// Too short for a secret, and no key.
const SLIP: &str = "Xq7slipofthefinger";
const PSEUDONYM_KEY: &str = "Xq7pseudonymkey-0123456789abcdef";

/// What must not be said, with a word for it.
#[derive(Default)]
struct Canaries(Vec<(&'static str, String)>);

impl Canaries {
    /// As text, in hexadecimal, in base64 wherever in a longer text it begins, and as a debugger prints bytes.
    fn plant(&mut self, what: &'static str, bytes: &[u8]) {
        let list: Vec<String> = bytes.iter().map(u8::to_string).collect();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut forms = vec![list.join(", "), hex.to_uppercase(), hex];
        if let Ok(text) = str::from_utf8(bytes) {
            forms.push(text.to_owned());
        }
        // Of fewer bytes too few characters would be left to be told from chance.
        if bytes.len() >= 8 {
            forms.extend((0..3).map(|before| base64_of(bytes, before)));
        }
        self.0.extend(forms.into_iter().map(|form| (what, form)));
    }

    fn plant_address(&mut self, what: &'static str, address: Ipv4Addr) {
        self.plant(what, &address.octets());
        self.0.push((what, address.to_string()));
        self.0.push((what, u32::from(address).to_string()));
    }

    fn assert_silent(&self, place: &str, text: &str) {
        for (what, form) in &self.0 {
            if let Some(at) = text.find(form.as_str()) {
                let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
                let line = text[line..].lines().next().unwrap();
                panic!("{place} tells the {what}, as {form}: {line}");
            }
        }
    }
}

/// The characters of base64 that depend on these bytes alone, when `before` bytes come before them.
fn base64_of(bytes: &[u8], before: usize) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bit = |at: usize| usize::from(bytes[at / 8] >> (7 - at % 8) & 1);
    let first = (6 - before * 8 % 6) % 6;
    (0..(bytes.len() * 8 - first) / 6)
        .map(|digit| (0..6).fold(0, |value, at| value * 2 + bit(first + digit * 6 + at)))
        .map(|value| char::from(DIGITS[value]))
        .collect()
}

#[test]
fn a_canary_is_known_again_in_every_form() {
    // "Zm9vYmFyYmF6cXV4" is base64 of "foobarbazqux", "eGZvb2JhcmJhenF1eA==" of it behind one byte.
    let mut canaries = Canaries::default();
    canaries.plant("word", b"foobarbazqux");
    canaries.plant_address("address", HOME);
    for said in [
        "foobarbazqux",
        "name=\"foobarbazqux\"",
        "666f6f62617262617a717578",
        "666F6F62617262617A717578",
        "[102, 111, 111, 98, 97, 114, 98, 97, 122, 113, 117, 120]",
        "Zm9vYmFyYmF6cXV4",
        "eGZvb2JhcmJhenF1eA==",
        "eHhmb29iYXJiYXpxdXg=",
        "127.214.73.191:50000",
        "7fd649bf",
        "2144750015",
    ] {
        let known = std::panic::catch_unwind(|| canaries.assert_silent("nobody", said));
        assert!(known.is_err(), "{said}");
    }
    canaries.assert_silent("nobody", "an innocent line");
}

/// A client's link from this address.
fn link_from(home: Ipv4Addr, relay: &Running, over: Over) -> Link {
    let server = relay.listener(over.name());
    match over {
        Over::Udp => {
            let socket = UdpSocket::bind((home, 0)).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.connect(server).unwrap();
            Link::Udp(socket)
        }
        Over::Tcp => Link::Tcp(connect_from(home, server), Vec::new()),
        Over::Tls => {
            let tls = tls_connection(&relay.certificate, &[]);
            let stream = StreamOwned::new(tls, connect_from(home, server));
            Link::Tls(Box::new(stream), Vec::new())
        }
    }
}

fn connect_from(home: Ipv4Addr, server: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((home, 0)).into()).unwrap();
    socket.connect(&server.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A handshake that names a server and then breaks off in the middle.
fn broken_handshake(relay: &Running) {
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from(SERVER_NAME).unwrap();
    let tls = ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = connect_from(HOME, relay.listener("tls"));
    // It trusts nobody, and says so.
    let refused = StreamOwned::new(tls, stream).write_all(STRANGER);
    assert!(refused.is_err());
}

/// What everybody may see of the relay beside its log.
fn shown(relay: &Running) -> String {
    ["/metrics", "/v1/status", "/v1/allocations", "/ready"]
        .map(|path| relay.http("GET", path).1)
        .join("\n")
}

/// Everything that a client can do to be noticed, over one transport.
fn be_noticed(relay: &Running, over: Over, canaries: &mut Canaries) {
    let peer = peer_at((PEER_HOME, 0).into());
    let peer_address = peer.local_addr().unwrap();
    // A stranger: no credentials, a name that nobody has, and a user's with a proof that is none.
    let mut stranger = Client::new(link_from(HOME, relay, over), USER);
    stranger.challenge();
    let secrets = stranger.secrets();
    let mut stranger = Client::new(stranger.link, USER);
    for (name, nonce) in [
        (STRANGER, NONCE),
        (STRANGER, &secrets[2]),
        (&secrets[0], NONCE),
        (&secrets[0], &secrets[2]),
    ] {
        let answer = stranger.request(Method::Allocate, |w| {
            w.requested_transport(17);
            w.username(name);
            w.realm(REALM.as_bytes());
            w.nonce(nonce);
            w.message_integrity(&[0; 16]);
        });
        assert_eq!(answer.code(), 401);
    }

    let mut client = Client::new(link_from(HOME, relay, over), USER);
    let relayed = client.allocate();
    for (what, secret) in ["name", "password", "nonce", "key"]
        .into_iter()
        .zip(client.secrets())
    {
        canaries.plant(what, &secret);
    }
    client.permit(peer_address);
    assert_eq!(client.try_permit("10.1.2.3:5000".parse().unwrap()), 403);
    client.bind(0x4001, peer_address);
    client.send_channel(0x4001, PAYLOAD);
    assert_eq!(receive_from(&peer), (PAYLOAD.to_vec(), relayed));
    client.send_indication(peer_address, PAYLOAD);
    assert_eq!(receive_from(&peer), (PAYLOAD.to_vec(), relayed));
    peer.send_to(PAYLOAD, relayed).unwrap();
    assert_eq!(client.channel_payload(0x4001), PAYLOAD);
    canaries.assert_silent("the admin api", &shown(relay));
    client.release();

    // One that goes without a word, and one that an operator ends.
    let mut silent = Client::new(link_from(HOME, relay, over), USER);
    silent.allocate();
    let list: serde_json::Value =
        serde_json::from_str(&relay.http("GET", "/v1/allocations").1).unwrap();
    let id = list["allocations"]
        .as_array()
        .unwrap()
        .iter()
        .find(|allocation| allocation["transport"] == over.name())
        .map(|allocation| allocation["id"].as_str().unwrap().to_owned())
        .unwrap();
    assert_eq!(
        relay.http("DELETE", &format!("/v1/allocations/{id}")).0,
        204
    );
    let mut gone = Client::new(link_from(HOME, relay, over), USER);
    gone.allocate();
}

/// What an operator does in the course of a year.
fn be_operated(relay: &Running) {
    let deadline = Clock::start().unix().as_secs() + 3600;
    let order = format!("{{\"deadline\":{deadline},\"reason\":\"a new kernel\",\"epoch\":1}}");
    assert_eq!(relay.http_with("POST", "/v1/drain", &order).0, 200);
    assert_eq!(relay.http("DELETE", "/v1/drain").0, 200);
    // Slips of the finger in the lines that hold secrets, and the good file again.
    let reloads = |outcome: &str| {
        relay.metric(&format!(
            "taciturn_relay_config_reloads_total{{outcome=\"{outcome}\"}}"
        ))
    };
    let good = fs::read_to_string(relay.directory().join("relay.toml")).unwrap();
    for (from, to) in [
        (SECRET.to_owned(), SLIP.to_owned()),
        (format!("\"{SECRET}\""), format!("\"{SLIP}")),
    ] {
        let before = reloads("refused");
        relay.rewrite("relay.toml", &good.replace(&from, &to));
        eventually("a refusal", || reloads("refused") > before);
    }
    let before = reloads("applied");
    relay.rewrite("relay.toml", &format!("{good}# changed\n"));
    relay.hang_up();
    eventually("a reload", || reloads("applied") > before);
}

fn start(level: &'static str, format: &'static str, log: &str) -> Running {
    let host = loopback();
    let mut setup = Setup::empty(2)
        .listener("udp", &format!("{host}:3478"))
        .listener("tcp", &format!("{host}:3478"))
        .listener("tls", &format!("{host}:5349"));
    setup.relayed = format!("addresses = [\"{host}\"]\nports = \"20000-29999\"");
    setup.peers = "allow-loopback = true".to_owned();
    // A client from elsewhere is part of the relay then, with its own idea of what belongs in a log.
    setup.self_check = "interval = \"200ms\"".to_owned();
    setup.log_level = level;
    setup.log_format = format;
    setup.log = format!("pseudonym-key-file = \"pseudonym.key\"\n{log}");
    setup.more = "[nonce]\nkey-file = \"nonce.key\"\n".to_owned();
    setup.files = vec![
        ("nonce.key", NONCE_KEY.to_owned()),
        ("pseudonym.key", PSEUDONYM_KEY.to_owned()),
    ];
    setup.start()
}

/// Whatever a log of this form at this level says, it is none of the canaries.
fn nothing_is_told(level: &'static str, format: &'static str) {
    let mut relay = start(level, format, "");
    let mut canaries = Canaries::default();
    for (what, secret) in [
        ("secret", SECRET.as_bytes()),
        ("nonce key", NONCE_KEY.as_bytes()),
        ("pseudonym key", PSEUDONYM_KEY.as_bytes()),
        ("user", USER.as_bytes()),
        ("payload", PAYLOAD),
        ("server name", SERVER_NAME.as_bytes()),
        ("slip of the finger", SLIP.as_bytes()),
        ("stranger", STRANGER),
        ("stranger's nonce", NONCE),
    ] {
        canaries.plant(what, secret);
    }
    canaries.plant_address("client's address", HOME);
    canaries.plant_address("peer's address", PEER_HOME);
    for over in Over::ALL {
        be_noticed(&relay, over, &mut canaries);
    }
    broken_handshake(&relay);
    let mut foreign = connect_from(HOME, relay.listener("tcp"));
    foreign
        .write_all(b"GET /Xq7stranger HTTP/1.1\r\n\r\n")
        .unwrap();
    let _ = foreign.read(&mut [0; 16]);
    eventually("the handshake that failed", || {
        relay.metric("taciturn_relay_tls_handshake_failures_total") >= 1
    });
    be_operated(&relay);
    let ended = |log: &str| {
        let records = log.lines().filter(|line| line.contains("allocation ended"));
        records
            .filter(|line| line.contains("to_peer_bytes"))
            .count()
    };
    if ["info", "debug", "trace"].contains(&level) {
        // Released and ended over all three; disconnected over those that have a connection.
        eventually("a record of each end", || ended(&relay.log()) == 8);
        eventually("a record of the drain", || {
            relay.log().contains("a new kernel")
        });
    }
    let log = relay.log();
    if ["debug", "trace"].contains(&level) {
        assert_eq!(log.matches("allocation created").count(), 9, "{log}");
    }
    canaries.assert_silent("the log", &log);
    canaries.assert_silent("the admin api", &shown(&relay));
    for line in log.lines().filter(|_| format == "json") {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let target = line["target"].as_str().unwrap();
        assert!(target.starts_with("taciturn"), "{target}");
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'), "{line}");
    }
    relay.assert_alive();
}

#[test]
fn no_level_of_a_text_log_tells_what_was_said_in_confidence() {
    for level in ["error", "warn", "info", "debug", "trace"] {
        nothing_is_told(level, "text");
    }
}

#[test]
fn no_level_of_a_json_log_tells_what_was_said_in_confidence() {
    for level in ["error", "warn", "info", "debug", "trace"] {
        nothing_is_told(level, "json");
    }
}

/// A point in time as the configuration has it.
fn datetime(unix: u64) -> String {
    let days = i64::try_from(unix / 86_400).unwrap();
    let mut year = 1970;
    let mut left = days;
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    while left >= 365 + i64::from(is_leap(year)) {
        left -= 365 + i64::from(is_leap(year));
        year += 1;
    }
    let lengths = [
        31,
        28 + i64::from(is_leap(year)),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let mut month = 1;
    for length in lengths {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    let (hour, minute, second) = (unix / 3600 % 24, unix / 60 % 60, unix % 60);
    format!(
        "{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z",
        left + 1
    )
}

/// The records of this relay with this message.
fn records(relay: &Running, message: &str) -> Vec<serde_json::Value> {
    let log = relay.log();
    let records = log
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    records
        .filter(|record| record["message"] == message)
        .collect()
}

/// forensics name clients and users in full, hostile names in one escaped word, for the time that was said.
#[test]
fn forensics_tell_who_it_was_and_end_by_themselves() {
    assert_eq!(datetime(951_825_600), "2000-02-29T12:00:00Z");
    assert_eq!(datetime(1_795_334_400), "2026-11-22T08:00:00Z");
    let until = Clock::start().unix().as_secs() + 20;
    let relay = start(
        "debug",
        "json",
        &format!("forensics-until = {}", datetime(until)),
    );
    assert_eq!(relay.metric("taciturn_relay_forensics"), 1);
    let on = "forensics on: addresses and user names are logged in full";
    assert_eq!(records(&relay, on)[0]["level"], "ERROR");
    let names: [(&[u8], &str); 6] = [
        (
            b"Xq7\r\n{\"message\":\"forged\"}",
            "Xq7\\x0d\\x0a\\x7b\\x22message\\x22:\\x22forged\\x22\\x7d",
        ),
        (b"Xq7\x1B[2J", "Xq7\\x1b\\x5b2J"),
        (b"Xq7%n%s", "Xq7\\x25n\\x25s"),
        (b"Xq7\0behind", "Xq7\\x00behind"),
        ("Xq7\u{202E}txt".as_bytes(), "Xq7\\xe2\\x80\\xaetxt"),
        (b"Xq7\xFF\xFE", "Xq7\\xff\\xfe"),
    ];
    for (name, shown) in names {
        let before = records(&relay, "allocation ended").len();
        let mut client = Client::strangely_named(link_from(HOME, &relay, Over::Udp), name);
        let relayed = client.allocate();
        client.release();
        eventually("a record of the end", || {
            records(&relay, "allocation ended").len() == before + 1
        });
        let record = &records(&relay, "allocation ended")[before];
        let Link::Udp(socket) = &client.link else {
            unreachable!("it is over UDP")
        };
        let own = socket.local_addr().unwrap();
        assert_eq!(own.ip(), IpAddr::V4(HOME));
        assert_eq!(record["client_address"], own.to_string());
        assert_eq!(record["relayed_address"], relayed.to_string());
        let logged = record["user_name"].as_str().unwrap();
        let (_, subject) = logged.split_once(':').unwrap();
        assert_eq!(subject, shown);
        assert!(record["client"].is_string() && record["user"].is_string());
    }
    assert!(!relay.log().contains("\"message\":\"forged\""));

    let over = records_eventually(&relay, "forensics off: its time is over");
    assert_eq!(over["level"], "ERROR");
    assert_eq!(relay.metric("taciturn_relay_forensics"), 0);
    assert!(Clock::start().unix().as_secs() >= until);
    let before = relay.log().len();
    let mut client = Client::new(link_from(HOME, &relay, Over::Udp), USER);
    client.allocate();
    client.release();
    let ended = records(&relay, "allocation ended").len();
    eventually("a record after the end", || {
        records(&relay, "allocation ended").len() > names.len()
    });
    let record = &records(&relay, "allocation ended")[names.len()];
    assert!(ended <= names.len() + 1);
    assert_eq!(record.get("client_address"), None);
    let mut canaries = Canaries::default();
    canaries.plant_address("client's address", HOME);
    canaries.plant("user", USER.as_bytes());
    canaries.assert_silent("the log", &relay.log()[before..]);
}

/// The first record with this message, which takes up to half a minute.
fn records_eventually(relay: &Running, message: &str) -> serde_json::Value {
    for _ in 0..600 {
        if let Some(record) = records(relay, message).pop() {
            return record;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("no {message:?} in\n{}", relay.log());
}

/// One client is one pseudonym, whatever the port and the credential; two are two; another key makes others.
#[test]
fn records_of_one_client_can_be_put_together_and_no_more() {
    let of = |relay: &Running, home: Ipv4Addr, user: &str| {
        let before = records(relay, "allocation ended").len();
        let mut client = Client::new(link_from(home, relay, Over::Udp), user);
        client.allocate();
        client.release();
        eventually("a record of the end", || {
            records(relay, "allocation ended").len() > before
        });
        let record = records(relay, "allocation ended").pop().unwrap();
        ["client", "user"].map(|field| {
            let name = record[field].as_str().unwrap().to_owned();
            assert!(
                name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit()),
                "{name}"
            );
            name
        })
    };
    let relay = start("info", "json", "");
    let first = of(&relay, HOME, "alice");
    assert_eq!(of(&relay, HOME, "alice"), first);
    let other = of(&relay, PEER_HOME, "bob");
    assert_ne!(other[0], first[0]);
    assert_ne!(other[1], first[1]);
    let same_key = start("info", "json", "");
    assert_eq!(of(&same_key, HOME, "alice"), first);
    let mut setup = Setup::on_loopback(1);
    setup.log_level = "info";
    let own_key = setup.start();
    assert_ne!(of(&own_key, HOME, "alice")[0], first[0]);
}

/// A reload switches forensics on and off, and the log says so each time.
#[test]
fn forensics_follow_the_configuration() {
    let relay = start("info", "json", "");
    let text = fs::read_to_string(relay.directory().join("relay.toml")).unwrap();
    assert_eq!(relay.metric("taciturn_relay_forensics"), 0);
    let in_an_hour = datetime(Clock::start().unix().as_secs() + 3600);
    let on = text.replace(
        "[log]\n",
        &format!("[log]\nforensics-until = {in_an_hour}\n"),
    );
    relay.rewrite("relay.toml", &on);
    eventually("forensics", || {
        relay.metric("taciturn_relay_forensics") == 1
    });
    let mut client = Client::new(link_from(HOME, &relay, Over::Udp), USER);
    client.allocate();
    relay.rewrite("relay.toml", &text);
    eventually("no forensics", || {
        relay.metric("taciturn_relay_forensics") == 0
    });
    client.release();
    eventually("a record", || {
        records(&relay, "allocation ended").len() == 1
    });
    assert!(!relay.log().contains(&HOME.to_string()));
    for message in [
        "forensics on: addresses and user names are logged in full",
        "forensics off: addresses and user names are no longer logged",
    ] {
        assert_eq!(records(&relay, message).len(), 1, "{message}");
    }
}

/// Whoever turns the log up and forensics on in one go is no exception, nor is whoever has a log of errors alone.
#[test]
fn no_level_hides_that_forensics_are_on() {
    let relay = start("error", "json", "");
    let text = fs::read_to_string(relay.directory().join("relay.toml")).unwrap();
    let in_an_hour = datetime(Clock::start().unix().as_secs() + 3600);
    let on = text
        .replace(
            "[log]\n",
            &format!("[log]\nforensics-until = {in_an_hour}\n"),
        )
        .replace("level = \"error\"", "level = \"info\"");
    assert!(on.contains("level = \"info\""));
    relay.rewrite("relay.toml", &on);
    eventually("forensics", || {
        relay.metric("taciturn_relay_forensics") == 1
    });
    let said = "forensics on: addresses and user names are logged in full";
    eventually("a record of that", || records(&relay, said).len() == 1);
}
