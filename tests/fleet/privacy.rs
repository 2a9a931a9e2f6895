//! What a whole fleet is told in confidence, looked for in everything that the controller and its relays say and keep.
//!
//! Responsible for the controller's side, and for what is handed on from it to relays. Not responsible for all that a client
//! can do to one relay (`tests/system/privacy.rs`), nor for knowing a word again (`canaries`).

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::canaries::Canaries;
use crate::client::{Client, Link, peer_at, receive_from};
use crate::collector::Collector;
use crate::controllers::{Controller, converse};
use crate::lab::{Lab, PATIENCE, eventually};
use crate::running::{SECRET, loopback};
use crate::settings::Settings;

/// Where clients, their peers and signalling servers live: addresses that nothing else has.
const HOME: Ipv4Addr = Ipv4Addr::new(127, 214, 73, 191);
const PEER_HOME: Ipv4Addr = Ipv4Addr::new(127, 198, 59, 233);
const SERVER_HOME: Ipv4Addr = Ipv4Addr::new(127, 187, 241, 67);
/// What a proxy says of somebody.
const FORWARDED_FOR: &str = "2001:db8:7714:91bf::5eed";

const OPERATOR: &str = "Xq7operators-token-of-more-than-32";
const SIGNALLING: &str = "Xq7signalling-token-of-more-than-32";
/// Too short for a token or a secret.
const SLIP: &str = "Xq7slipofthefinger";
const USER: &str = "Xq7user-7781";
const E_MAIL: &str = "xq7.jane.citizen@clinic.example";
/// Enough to know it by, however the rest is written.
const E_MAIL_NAME: &str = "xq7.jane.citizen";
/// As it stands on a health insurance card.
const CARD: &str = "2428 77813 1";
const CARD_PACKED: &str = "2428778131";
const STRANGER: &str = "Xq7stranger";
const PAYLOAD: &[u8] = b"Xq7payload: I have had this pain since Tuesday";

fn planted() -> Canaries {
    let mut canaries = Canaries::default();
    for (what, secret) in [
        ("relays' secret", SECRET.as_bytes()),
        ("operator's token", OPERATOR.as_bytes()),
        ("signalling server's token", SIGNALLING.as_bytes()),
        ("slip of the finger", SLIP.as_bytes()),
        ("user", USER.as_bytes()),
        ("e-mail address", E_MAIL.as_bytes()),
        ("e-mail address", E_MAIL_NAME.as_bytes()),
        ("number of a card", CARD.as_bytes()),
        ("number of a card", CARD_PACKED.as_bytes()),
        ("stranger", STRANGER.as_bytes()),
        ("payload", PAYLOAD),
    ] {
        canaries.plant(what, secret);
    }
    canaries.plant_address("client's address", HOME.into());
    canaries.plant_address("peer's address", PEER_HOME.into());
    canaries.plant_address("signalling server's address", SERVER_HOME.into());
    canaries.plant_address("forwarded address", FORWARDED_FOR.parse().unwrap());
    canaries
}

fn settings(lab: &Lab) -> Settings {
    let mut settings = Settings::local(lab);
    settings.token = Some(OPERATOR);
    settings.listen = Some((loopback(), 9640).into());
    // What relays say is looked at too, at the level that says most.
    let sections = "[log]\nlevel = \"trace\"\nformat = \"json\"\n[overload]";
    settings.provider = settings.provider.replace("[overload]", sections);
    settings
}

/// The sections that change from run to run.
fn with_log(lab: &Lab, settings: &Settings, level: &str, format: &str) -> Settings {
    let mut settings = settings.clone();
    let file = lab.write("signalling.token", SIGNALLING);
    settings.more = format!(
        "[log]\nlevel = \"{level}\"\nformat = \"{format}\"\n[credentials]\nquery-key = true\n\
         [[credentials.subject]]\nname = \"signalling\"\ntoken-file = \"{}\"\n",
        file.display()
    );
    settings
}

/// One request from the signalling servers' address.
fn ask(api: SocketAddr, method: &str, path: &str, token: &str, body: &str) -> (u16, String) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket
        .bind(&SocketAddr::from((SERVER_HOME, 0)).into())
        .unwrap();
    socket.connect(&api.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (code, _, text) = converse(
        stream,
        &format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nUser-Agent: {STRANGER}\r\n\
             X-Forwarded-For: {FORWARDED_FOR}\r\nCookie: {CARD}\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ),
    );
    (code, text)
}

/// A client on the relays that credentials name, with a call that carries something.
fn call(answer: &str, canaries: &mut Canaries) {
    let answer: Value = serde_json::from_str(answer).unwrap();
    let server = &answer["iceServers"][0];
    let text = |key: &str| server[key].as_str().unwrap().to_owned();
    let (name, password) = (text("username"), text("credential"));
    canaries.plant("password", password.as_bytes());
    canaries.plant("name of a credential", name.as_bytes());
    let url = server["urls"][0].as_str().unwrap();
    let host = url.strip_prefix("turn:").unwrap();
    let relay: Ipv4Addr = host
        .strip_suffix(":3478?transport=udp")
        .unwrap()
        .parse()
        .unwrap();
    let socket = UdpSocket::bind((HOME, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect((relay, 3478)).unwrap();
    let mut client = Client::known_as(Link::Udp(socket), name.into(), password);
    let relayed = client.allocate();
    let peer = peer_at((PEER_HOME, 0).into());
    client.bind(0x4001, peer.local_addr().unwrap());
    client.send_channel(0x4001, PAYLOAD);
    assert_eq!(receive_from(&peer), (PAYLOAD.to_vec(), relayed));
    for secret in client.secrets() {
        canaries.plant("key or nonce", &secret);
    }
    client.release();
}

/// What signalling servers, strangers and operators do in the course of a day. Gives what those were told who may know nothing.
fn be_used(api: SocketAddr, canaries: &mut Canaries) -> String {
    for user in [USER, E_MAIL, CARD] {
        let body = json!({ "user": user }).to_string();
        let (code, text) = ask(api, "POST", "/v1/ice-servers", SIGNALLING, &body);
        assert_eq!(code, 200, "{text}");
        call(&text, canaries);
    }
    let named = E_MAIL.replace('@', "%40");
    let query = format!("/v1/turn?service=turn&username={named}&key={SIGNALLING}");
    assert_eq!(ask(api, "GET", &query, SIGNALLING, "").0, 200);

    let (code, text) = ask(api, "POST", "/v1/self-test/tickets", SIGNALLING, "{}");
    assert_eq!(code, 200, "{text}");
    let ticket: Value = serde_json::from_str(&text).unwrap();
    let (_, ticket) = ticket["url"].as_str().unwrap().split_once("#t=").unwrap();
    canaries.plant("ticket", ticket.as_bytes());
    let with = |ticket: &str| ask(api, "POST", "/v1/self-test/ice-servers", ticket, "{}").0;
    assert_eq!(with(ticket), 200);
    let mut changed = ticket.to_owned();
    let last = changed.pop();
    changed.push(if last == Some('x') { 'y' } else { 'x' });
    assert_eq!(with(&changed), 401);

    let mut told = String::new();
    let mut turned_away = |method: &str, path: &str, token: &str, body: &str| {
        let (code, text) = ask(api, method, path, token, body);
        assert!((400..500).contains(&code), "{method} {path}: {code} {text}");
        told += &text;
    };
    for token in [STRANGER, SLIP, ""] {
        turned_away("POST", "/v1/ice-servers", token, "{}");
        turned_away("GET", "/v1/audit", token, "");
    }
    for body in [
        format!("{{\"user\":\"{USER}"),
        format!("{{\"user\":\"{USER}\\u0007\"}}"),
        format!("{{\"{USER}\":1}}"),
        format!("[\"{USER}\"]"),
        format!("{{\"ttl\":\"{USER}\"}}"),
    ] {
        turned_away("POST", "/v1/ice-servers", SIGNALLING, &body);
    }
    turned_away("GET", "/v1/fleet", SIGNALLING, "");

    // Who is revoked stands in the list, and nowhere else.
    for user in [E_MAIL, USER] {
        let body = json!({ "user": user }).to_string();
        let (code, text) = ask(api, "POST", "/v1/revocations", OPERATOR, &body);
        assert_eq!(code, 200, "{text}");
        let (_, list) = ask(api, "GET", "/v1/revocations", OPERATOR, "");
        assert!(list.contains(user), "the list that it is for: {list}");
        let (code, text) = ask(api, "POST", "/v1/ice-servers", SIGNALLING, &body);
        assert_eq!(code, 403, "{text}");
        let path = format!("/v1/revocations/users/{}", user.replace('@', "%40"));
        assert_eq!(ask(api, "DELETE", &path, OPERATOR, "").0, 200);
    }
    told
}

/// Slips of the finger in the files that hold secrets, and the good ones again.
fn be_reloaded(lab: &Lab, controller: &Controller, settings: &Settings) {
    let refused =
        || controller.metric("taciturn_controller_config_reloads_total{result=\"refused\"}");
    let good = settings.text(lab);
    let config = format!("{}.toml", settings.name);
    let before = refused();
    let with = |before: &str, more: &str| good.replace(before, &format!("{more}{before}"));
    let secret = format!("[[credentials.secret]]\nid = \"x\"\nvalue = \"{SLIP}\"\n");
    for (name, wrong) in [
        ("signalling.token", SLIP.to_owned()),
        (
            &*config,
            with("[credentials]", &format!("key = \"{SLIP}\n")),
        ),
        (&*config, with("[credentials]", &format!("{SLIP}\n"))),
        (&*config, with("[credentials]", &format!("key = {SLIP}\n"))),
        (&*config, with("[[credentials.subject]]", &secret)),
    ] {
        let refusals = refused();
        lab.write(name, &wrong);
        controller.signal(Signal::HUP);
        eventually("a refusal", || refused() > refusals);
        lab.write("signalling.token", SIGNALLING);
        lab.write(&config, &good);
    }
    assert!(refused() >= before + 5.0);
}

/// Everything that the controller and the relays show to those who may look, in the words of programs and for people.
fn shown(lab: &Lab, controller: &Controller, api: SocketAddr) -> String {
    let mut shown = String::new();
    for path in [
        "/",
        "/live",
        "/ready",
        "/metrics",
        "/v1/fleet",
        "/v1/fleet?form=snapshot",
        "/v1/overview",
        "/v1/decisions?limit=500",
        "/v1/audit",
        "/v1/prometheus/targets",
        "/v1/openapi.json",
        "/self-test",
    ] {
        let (code, text) = controller.http("GET", path, "");
        assert_eq!(code, 200, "{path}: {text}");
        shown += &text;
    }
    let (code, snapshot) = ask(api, "GET", "/v1/snapshot", SIGNALLING, "");
    assert_eq!(code, 200, "{snapshot}");
    shown += &snapshot;
    let token = lab.directory().join("controller.token");
    let top = Command::new(env!("CARGO_BIN_EXE_taciturn"))
        .args([
            "top",
            "--once",
            "--url",
            &format!("http://{api}"),
            "--token-file",
        ])
        .arg(token)
        .output()
        .unwrap();
    assert!(
        top.status.success(),
        "{}",
        String::from_utf8_lossy(&top.stderr)
    );
    shown += &String::from_utf8_lossy(&[top.stdout, top.stderr].concat());
    for relay in lab.live() {
        for path in ["/metrics", "/v1/status", "/v1/allocations", "/ready"] {
            shown += &relay.http("GET", path, "").expect("an answer").1;
        }
        shown += &command_line(relay.pid.unwrap().unsigned_abs());
    }
    shown + &command_line(controller.pid())
}

/// How a process was started, which every user of its host can read, and its environment.
fn command_line(pid: u32) -> String {
    let parts = ["cmdline", "environ"].map(|part| fs::read(format!("/proc/{pid}/{part}")).unwrap());
    String::from_utf8_lossy(&parts.concat()).into_owned()
}

/// Every file below here that is not one of those that are there to hold secrets or names.
fn assert_silent_below(directory: &Path, canaries: &Canaries) -> usize {
    let mut read = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read += assert_silent_below(&path, canaries);
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap();
        if [".token", ".key", ".toml", ".pem", "revocations.json"]
            .iter()
            .any(|end| name.ends_with(end))
        {
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{} is for its owner alone", path.display());
        } else if path.is_file() {
            let bytes = fs::read(&path).unwrap();
            canaries.assert_silent(name, &String::from_utf8_lossy(&bytes));
            read += 1;
        }
    }
    read
}

/// a controller in front of three relays, at every level and in every form of its log, hears users' names, an e-mail
/// address, the number of a card, tokens, tickets, passwords and addresses; none of it is in a log, a metric, a status, the
/// dashboard, the trail, the last line of a file or the command line of a process.
#[test]
fn no_output_of_a_fleet_tells_what_it_was_told_in_confidence() {
    let lab = Lab::new();
    let settings = settings(&lab);
    let api = settings.listen.unwrap();
    let mut canaries = planted();
    let journal = Collector::new("fleet");
    let texts = ["error", "warn", "info", "debug", "trace"].map(|level| (level, "text"));
    let others = [("info", "json"), ("trace", "json"), ("trace", "journald")];
    for (level, format) in texts.into_iter().chain(others) {
        let mut settings = with_log(&lab, &settings, level, format);
        if format == "journald" {
            let Some(wrapper) = journal.wrapper() else {
                continue;
            };
            settings.wrapper = wrapper;
        }
        let controller = Controller::start(&lab, &settings);
        eventually("three relays", || controller.offered(&lab).len() == 3);
        eventually("credentials", || {
            ask(api, "POST", "/v1/ice-servers", SIGNALLING, "{}").0 == 200
        });
        let key = fs::read(lab.directory().join("controller/tickets.key")).unwrap();
        canaries.plant("key of tickets", &key);
        let told = be_used(api, &mut canaries);
        canaries.assert_silent("an answer to a stranger", &told);
        be_reloaded(&lab, &controller, &settings);
        canaries.assert_silent("what is shown", &shown(&lab, &controller, api));
        controller.assert_audited(&lab);
        let log = controller.stop();
        canaries.assert_silent("the log", &log);
    }
    let entries = journal.entries();
    let heard = entries.contains("the configuration is refused");
    assert!(heard || journal.wrapper().is_none(), "{entries}");
    canaries.assert_silent("the journal", &entries);
    let relays = lab.live();
    assert!(
        relays
            .iter()
            .any(|relay| relay.log().contains("allocation ended"))
    );
    // The controller's log and trail, and the log and the notes of each relay.
    assert!(assert_silent_below(lab.directory(), &canaries) > 8);
}
