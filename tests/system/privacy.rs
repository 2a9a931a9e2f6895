//! Canaries: what clients say in confidence, looked for in everything that the relay says.
//!
//! Responsible for planting them wherever a client, a peer or an operator can. Not responsible for knowing them again
//! (`canaries`), for what the log is to say (`taciturn_relay::events`), nor for the controller (`tests/fleet/privacy.rs`).

mod forensics;

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;

use rustix::process::Signal;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use taciturn_protocol::wire::Method;
use taciturn_relay::clock::Clock;

use crate::canaries::Canaries;
use crate::client::{Client, Link, Over, peer_at, receive_from, tls_connection};
use crate::collector::Collector;
use crate::lab::{Lab, PORT, TLS_PORT};
use crate::namespace::inside;
use crate::running::{PATIENCE, REALM, Running, SECRET, Setup, eventually, loopback};

/// Where the clients of these tests live: an address that nothing else has.
const HOME: Ipv4Addr = Ipv4Addr::new(127, 214, 73, 191);
/// Where their peers live.
const PEER_HOME: Ipv4Addr = Ipv4Addr::new(127, 198, 59, 233);
/// The same outside of the host.
const HOME_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0xc11e, 0x2714, 0x91bf, 0x5eed);
const PEER_HOME_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0x9eee, 0x1a7e, 0x03d8, 0xb0bb);

const USER: &str = "Xq7user-7781";
const E_MAIL: &str = "xq7.jane.citizen@clinic.example";
/// As it stands on a health insurance card.
const CARD: &str = "2428 77813 1";
/// Whoever operates the relay shows this one.
const ADMIN_TOKEN: &str = "Xq7admin-token-of-more-than-32-bytes";
const PAYLOAD: &[u8] = b"Xq7payload: I have had this pain since Tuesday";
const SERVER_NAME: &str = "xq7clinic.example";
const STRANGER: &[u8] = b"Xq7stranger";
const NONCE: &[u8] = b"obMatJos2AAAAXq7nonce";
const NONCE_KEY: &str = "Xq7noncekey-0123456789abcdef0123";
/// Too short for a secret, and no key.
const SLIP: &str = "Xq7slipofthefinger";
const PSEUDONYM_KEY: &str = "Xq7pseudonymkey-0123456789abcdef";

/// A client's link from this address.
fn link_from(home: impl Into<IpAddr>, relay: &Running, over: Over) -> Link {
    let (home, server) = (home.into(), relay.listener(over.name()));
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

fn connect_from(home: IpAddr, server: SocketAddr) -> TcpStream {
    let domain = socket2::Domain::for_address(server);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
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
    let stream = connect_from(HOME.into(), relay.listener("tls"));
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
    // What a signalling server takes for a user's id, against all advice.
    let user = match over {
        Over::Udp => USER,
        Over::Tcp => E_MAIL,
        Over::Tls => CARD,
    };
    let peer = peer_at((PEER_HOME, 0).into());
    let peer_address = peer.local_addr().unwrap();
    // A stranger: no credentials, a name that nobody has, and a user's with a proof that is none.
    let mut stranger = Client::new(link_from(HOME, relay, over), user);
    stranger.challenge();
    let secrets = stranger.secrets();
    let mut stranger = Client::new(stranger.link, user);
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

    let mut client = Client::new(link_from(HOME, relay, over), user);
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
    let mut silent = Client::new(link_from(HOME, relay, over), user);
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
    let mut gone = Client::new(link_from(HOME, relay, over), user);
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
    setup(level, format, log).start()
}

fn setup(level: &'static str, format: &'static str, log: &str) -> Setup {
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
    setup
}

/// Whatever a log of this form at this level says, it is none of the canaries.
fn nothing_is_told(level: &'static str, format: &'static str) {
    let setup = setup(level, format, "");
    nothing_is_told_by(setup, Running::log);
}

/// The same of a relay that was set up by somebody else, and whose log is elsewhere.
fn nothing_is_told_by(setup: Setup, log_of: impl Fn(&Running) -> String) {
    let (level, format) = (setup.log_level, setup.log_format);
    let mut relay = setup.start();
    let mut canaries = planted();
    for over in Over::ALL {
        be_noticed(&relay, over, &mut canaries);
    }
    broken_handshake(&relay);
    let mut foreign = connect_from(HOME.into(), relay.listener("tcp"));
    foreign
        .write_all(b"GET /Xq7stranger HTTP/1.1\r\n\r\n")
        .unwrap();
    let _ = foreign.read(&mut [0; 16]);
    eventually("the handshake that failed", || {
        relay.metric("taciturn_relay_tls_handshake_failures_total") >= 1
    });
    be_operated(&relay);
    // A journal has the field beside the message, in another entry's order.
    let ended = |log: &str| match format {
        "journald" => log.matches("TACITURN_TO_PEER_BYTES").count(),
        _ => log
            .lines()
            .filter(|line| line.contains("allocation ended") && line.contains("to_peer_bytes"))
            .count(),
    };
    if ["info", "debug", "trace"].contains(&level) {
        // Released and ended over all three; disconnected over those that have a connection.
        eventually("a record of each end", || ended(&log_of(&relay)) == 8);
        eventually("a record of the drain", || {
            log_of(&relay).contains("a new kernel")
        });
    }
    let log = log_of(&relay);
    if ["debug", "trace"].contains(&level) {
        assert_eq!(log.matches("allocation created").count(), 9, "{log}");
    }
    canaries.assert_silent("the log", &log);
    canaries.assert_silent("the admin api", &shown(&relay));
    let command_line = fs::read(format!("/proc/{}/cmdline", relay.pid())).unwrap();
    canaries.assert_silent("the command line", &String::from_utf8_lossy(&command_line));
    for line in log.lines().filter(|_| format == "json") {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let target = line["target"].as_str().unwrap();
        assert!(target.starts_with("taciturn"), "{target}");
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'), "{line}");
    }
    relay.assert_alive();
}

/// What everybody says in confidence to every relay.
fn planted() -> Canaries {
    let mut canaries = Canaries::default();
    for (what, secret) in [
        ("secret", SECRET.as_bytes()),
        ("nonce key", NONCE_KEY.as_bytes()),
        ("pseudonym key", PSEUDONYM_KEY.as_bytes()),
        ("operator's token", ADMIN_TOKEN.as_bytes()),
        ("user", USER.as_bytes()),
        ("e-mail address", E_MAIL.as_bytes()),
        ("number of a card", CARD.as_bytes()),
        ("payload", PAYLOAD),
        ("server name", SERVER_NAME.as_bytes()),
        ("slip of the finger", SLIP.as_bytes()),
        ("stranger", STRANGER),
        ("stranger's nonce", NONCE),
    ] {
        canaries.plant(what, secret);
    }
    canaries.plant_address("client's address", HOME.into());
    canaries.plant_address("peer's address", PEER_HOME.into());
    canaries.plant_address("client's address", HOME_V6.into());
    canaries.plant_address("peer's address", PEER_HOME_V6.into());
    canaries
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

#[test]
fn the_journal_is_told_nothing_that_was_said_in_confidence() {
    let journal = Collector::new("confidence");
    if let Some(wrapper) = journal.wrapper() {
        let mut setup = setup("trace", "journald", "");
        setup.wrapper = wrapper;
        nothing_is_told_by(setup, |_| journal.entries());
    }
}

/// IPv6 addresses are written in many ways, and in none of them here.
#[test]
fn clients_and_peers_of_the_second_family_are_named_nowhere() {
    if !inside("privacy::clients_and_peers_of_the_second_family_are_named_nowhere") {
        return;
    }
    let lab = Lab::new();
    for address in [HOME_V6, PEER_HOME_V6] {
        lab.outside
            .ip(&format!("addr add {address}/64 dev o0 nodad"));
    }
    let canaries = planted();
    for format in ["text", "json"] {
        let mut setup = Lab::setup(2);
        // The first of each transport is where its clients go.
        setup
            .listeners
            .retain(|(_, address)| address.starts_with('['));
        (setup.log_level, setup.log_format) = ("trace", format);
        let relay = setup.start();
        lab.outside.enter(|| {
            for over in Over::ALL {
                let peer = peer_at((PEER_HOME_V6, 0).into());
                let peer_address = peer.local_addr().unwrap();
                let mut client = Client::new(link_from(HOME_V6, &relay, over), USER);
                let [_, relayed] = client.allocate_both();
                client.bind(0x4001, peer_address);
                client.send_channel(0x4001, PAYLOAD);
                assert_eq!(receive_from(&peer), (PAYLOAD.to_vec(), relayed));
                peer.send_to(PAYLOAD, relayed).unwrap();
                assert_eq!(client.channel_payload(0x4001), PAYLOAD);
                assert_eq!(client.try_permit("[::1]:5000".parse().unwrap()), 403);
                canaries.assert_silent("the admin api", &shown(&relay));
                client.release();
                for port in [PORT, TLS_PORT] {
                    let server = SocketAddr::from((relay.listener("tcp").ip(), port));
                    let mut foreign = connect_from(HOME_V6.into(), server);
                    foreign.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
                    let _ = foreign.read(&mut [0; 16]);
                }
            }
        });
        relay.signal(Signal::TERM);
        let log = relay.ended();
        assert_eq!(log.matches("allocation created").count(), 3, "{log}");
        assert_eq!(log.matches("allocation ended").count(), 3, "{log}");
        canaries.assert_silent("the log", &log);
    }
}

/// who operates the relay over a network shows a token, and so does who guesses; neither is told on.
#[test]
fn tokens_of_operators_are_told_nobody() {
    let address = SocketAddr::from((loopback(), 9641));
    let mut setup = setup("trace", "json", "");
    setup.admin = Some(address);
    setup.admin_keys = "token-file = \"admin.token\"".to_owned();
    setup.files.push(("admin.token", ADMIN_TOKEN.to_owned()));
    let relay = setup.start();
    let mut answers = String::new();
    let guess = format!("{ADMIN_TOKEN}x");
    for (token, code) in [(ADMIN_TOKEN, 200), (&guess, 401), (SLIP, 401)] {
        for path in ["/v1/status", "/metrics", "/v1/allocations"] {
            let mut stream = connect_from(HOME.into(), address);
            let request = format!(
                "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nUser-Agent: {USER}\r\n\
                 Cookie: {CARD}\r\nAuthorization: Bearer {token}\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{answer}");
            answers += &answer;
        }
    }
    // Too short to be one, on its way into the file.
    relay.rewrite("admin.token", SLIP);
    relay.hang_up();
    eventually("a word about the slip", || {
        relay.log().contains("admin.token")
    });
    let canaries = planted();
    canaries.assert_silent("an answer of the admin api", &answers);
    relay.signal(Signal::TERM);
    canaries.assert_silent("the log", &relay.ended());
}
