//! The relay on an instance whose metadata a stub on loopback tells: zone, addresses, and the end that is near.
//!
//! Not responsible for malformed answers one by one (`taciturn_relay::metadata`). Nothing here ever asks a real endpoint.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use taciturn_relay::clock::Clock;

use crate::calls::Call;
use crate::client::{Client, Over};
use crate::running::{Running, Setup, eventually, loopback};

const ZONE: &str = "apse2-az1";
const PUBLIC: &str = "203.0.113.7";
/// An address that these hosts do not have, so that they are seen as they are.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 7);
const STATE: &str = "autoscaling/target-lifecycle-state";

/// Metadata as IMDSv2 tells it, until the test ends.
struct Stub {
    address: SocketAddr,
    told: Arc<Mutex<Told>>,
}

#[derive(Default)]
struct Told {
    /// Bodies by path below `/latest/meta-data/`; what is not here is not found.
    items: BTreeMap<String, String>,
    /// Everything is answered with 500.
    is_broken: bool,
    /// How often the state of the life cycle was asked for.
    looks: usize,
}

impl Stub {
    /// An instance whose host knows itself as `private`.
    fn new(private: Ipv4Addr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let associations = "network/interfaces/macs/0a:00:00:00:00:01/ipv4-associations/";
        let items = [
            ("placement/availability-zone-id", ZONE.to_owned()),
            ("instance-id", "i-0123456789abcdef0".to_owned()),
            ("network/interfaces/macs/", "0a:00:00:00:00:01/".to_owned()),
            (associations, PUBLIC.to_owned()),
            (&format!("{associations}{PUBLIC}"), private.to_string()),
            (STATE, "InService".to_owned()),
        ];
        let told = Arc::new(Mutex::new(Told {
            items: items.map(|(path, body)| (path.to_owned(), body)).into(),
            ..Told::default()
        }));
        let telling = Arc::clone(&told);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                answer(&stream, &telling);
            }
        });
        Self { address, told }
    }

    fn tell(&self, path: &str, body: &str) {
        let items = &mut self.told.lock().unwrap().items;
        items.insert(path.to_owned(), body.to_owned());
    }

    fn set_broken(&self, is_broken: bool) {
        self.told.lock().unwrap().is_broken = is_broken;
    }

    /// Returns when the relay has looked twice more: what the first answer was to bring about has come about.
    fn await_looks(&self) {
        let looks = || self.told.lock().unwrap().looks;
        let before = looks();
        for what in ["a look at the metadata", "another look"] {
            let wanted = looks() + 1;
            eventually(what, || looks() >= wanted);
        }
        assert!(looks() >= before + 2);
    }
}

fn answer(mut stream: &TcpStream, told: &Mutex<Told>) {
    let head: Vec<String> = BufReader::new(stream)
        .lines()
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
        .collect();
    let Some(asked) = head.first() else { return };
    let mut told = told.lock().unwrap();
    let path = asked.split(' ').nth(1).unwrap();
    let item = path.strip_prefix("/latest/meta-data/");
    if item == Some(STATE) {
        told.looks += 1;
    }
    let has_token = head
        .iter()
        .any(|line| line.eq_ignore_ascii_case("x-aws-ec2-metadata-token: canary"));
    let (status, body) = if told.is_broken {
        ("500 Internal Server Error", "")
    } else if asked == "PUT /latest/api/token HTTP/1.1" {
        ("200 OK", "canary")
    } else if !has_token {
        ("401 Unauthorized", "")
    } else {
        match item.and_then(|item| told.items.get(item)) {
            Some(body) => ("200 OK", body.as_str()),
            None => ("404 Not Found", "<html>"),
        }
    };
    let length = body.len();
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
}

/// A relay on `host` that asks at `endpoint`.
fn setup(host: Ipv4Addr, endpoint: SocketAddr, more: &str) -> Setup {
    let mut setup = Setup::empty(1)
        .listener("udp", &format!("{host}:0"))
        .listener("tcp", &format!("{host}:0"));
    setup.relayed = format!("addresses = [\"{host}\"]\nports = \"20000-29999\"");
    setup.peers = "allow-loopback = true".to_owned();
    setup.drain = "stop-after = \"1h\"".to_owned();
    setup.more = format!("[metadata]\nprovider = \"aws\"\n{more}\n");
    setup.wrapper = vec![
        "env".into(),
        format!("AWS_EC2_METADATA_SERVICE_ENDPOINT=http://{endpoint}").into(),
    ];
    setup
}

fn phase(relay: &Running) -> String {
    status(relay)["phase"].as_str().unwrap().to_owned()
}

fn status(relay: &Running) -> serde_json::Value {
    serde_json::from_str(&relay.http("GET", "/v1/status").1).unwrap()
}

#[test]
fn the_metadata_tells_zone_and_public_address() {
    let host = loopback();
    let stub = Stub::new(host);
    let allowed = format!("[sovereignty]\nallowed-zone-ids = [\"apse2-az2\", \"{ZONE}\"]");
    let relay = setup(host, stub.address, &allowed).start();
    assert_eq!(status(&relay)["zone_id"], ZONE);
    for over in [Over::Udp, Over::Tcp] {
        let mut client = Client::of(&relay, over, "alice");
        let relayed = client.allocate();
        assert_eq!(relayed.ip().to_string(), PUBLIC, "{over:?}");
        client.release();
    }
    assert!(
        relay.metric("taciturn_relay_metadata_requests_total{outcome=\"success\"}") >= 5,
        "token, zone, instance, interfaces, addresses"
    );
    assert!(!relay.log().contains("canary"), "the token is a secret");
}

#[test]
fn an_advertised_address_that_the_metadata_contradicts_is_named_with_the_other() {
    let host = loopback();
    let stub = Stub::new(host);
    let mut setup = setup(host, stub.address, "");
    setup.relayed += "\nadvertise = [\"198.51.100.1\"]";
    let relay = setup.start();
    let mut client = Client::of(&relay, Over::Udp, "alice");
    assert_eq!(client.allocate().ip().to_string(), "198.51.100.1");
    client.release();
    let log = relay.log();
    let warning = log
        .lines()
        .find(|line| line.contains("says otherwise than the instance metadata"))
        .expect("a warning");
    for named in ["WARN", "198.51.100.1", PUBLIC, &host.to_string()] {
        assert!(warning.contains(named), "{named}: {warning}");
    }
}

#[test]
fn a_relay_where_it_must_not_be_does_not_start() {
    let host = loopback();
    let stub = Stub::new(host);
    let said = |more: &str| setup(host, stub.address, more).refused();
    let other = said("[sovereignty]\nzone-id = \"apse2-az3\"");
    assert!(
        other.contains("zone-id = \"apse2-az3\"") && other.contains(ZONE),
        "{other}"
    );
    let forbidden = said("[sovereignty]\nallowed-zone-ids = [\"apse4-az1\", \"apse4-az2\"]");
    assert!(
        forbidden.contains(ZONE) && forbidden.contains("allowed-zone-ids (apse4-az1, apse4-az2)"),
        "{forbidden}"
    );
    stub.tell(
        "placement/availability-zone-id",
        &format!("<html>evil{}", "a".repeat(4000)),
    );
    let garbage = said("");
    assert!(
        garbage.contains("the zone id that cannot be so") && !garbage.contains("evil"),
        "{garbage}"
    );
    stub.tell("placement/availability-zone-id", &"a".repeat(100_000));
    assert!(said("").contains("longer than 4 KiB"));
    stub.set_broken(true);
    assert!(said("").contains("status 500"));
}

#[test]
fn metadata_that_cannot_be_had_is_a_clear_refusal() {
    let host = loopback();
    let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let said = setup(host, address, "").refused();
    for word in [
        "[metadata] provider = \"aws\"",
        &format!("http://{address}"),
        "provider = \"none\"",
        "no connection",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let mut setup = setup(host, address, "");
    setup.wrapper = vec![
        "env".into(),
        "AWS_EC2_METADATA_SERVICE_ENDPOINT=https://127.0.0.1".into(),
    ];
    let said = setup.refused();
    assert!(
        said.contains("AWS_EC2_METADATA_SERVICE_ENDPOINT is not an address"),
        "{said}"
    );
}

#[test]
fn an_instance_that_is_to_end_drains_and_its_return_undoes_only_that() {
    let host = loopback();
    let stub = Stub::new(ELSEWHERE);
    let relay = setup(host, stub.address, "").start();
    let mut call = Call::open(&relay, Over::Udp, "alice");
    // An error neither begins nor ends anything.
    stub.set_broken(true);
    eventually("a warning", || {
        relay.log().contains("the instance metadata cannot be read")
    });
    assert_eq!(phase(&relay), "ready");
    stub.tell(STATE, "Terminated");
    stub.set_broken(false);
    eventually("a drain", || phase(&relay) == "draining");
    let drain = status(&relay)["drain"].clone();
    assert_eq!(drain["source"], "metadata", "{drain}");
    assert!(drain["reason"].as_str().unwrap().contains("Terminated"));
    assert_ne!(
        Client::of(&relay, Over::Udp, "bob")
            .try_allocate(|_| {})
            .code(),
        0,
        "new clients go elsewhere"
    );
    stub.set_broken(true);
    stub.await_looks();
    assert_eq!(phase(&relay), "draining");
    stub.set_broken(false);
    stub.tell(STATE, "InService");
    eventually("the return", || phase(&relay) == "ready");

    // An operator's drain is not the metadata's to end, nor the other way about for long.
    let until = Clock::start().unix().as_secs() + 3600;
    let order = format!("{{\"deadline\":{until},\"reason\":\"a new kernel\",\"epoch\":1}}");
    assert_eq!(relay.http_with("POST", "/v1/drain", &order).0, 200);
    stub.await_looks();
    assert_eq!(phase(&relay), "draining");
    stub.tell(STATE, "Terminated");
    eventually("both", || status(&relay)["drain"]["source"] == "metadata");
    stub.tell(STATE, "InService");
    eventually("the operator's alone", || {
        status(&relay)["drain"]["source"] == "operator"
    });
    stub.tell(STATE, "Terminated");
    eventually("both again", || {
        status(&relay)["drain"]["source"] == "metadata"
    });
    assert_eq!(relay.http("DELETE", "/v1/drain").0, 200);
    stub.await_looks();
    assert_eq!(phase(&relay), "ready", "the operator is not overruled");
    call.exchange();
    call.client.release();
}

#[test]
fn a_spot_interruption_begins_a_drain_too() {
    let host = loopback();
    let stub = Stub::new(ELSEWHERE);
    let relay = setup(host, stub.address, "").start();
    let mut call = Call::open(&relay, Over::Udp, "alice");
    stub.tell("spot/instance-action", "<html>not an announcement</html>");
    eventually("a warning", || {
        relay.log().contains("the instance metadata cannot be read")
    });
    assert_eq!(phase(&relay), "ready");
    stub.tell(
        "spot/instance-action",
        "{\"action\": \"terminate\", \"time\": \"2026-11-22T08:00:00Z\"}",
    );
    eventually("a drain", || phase(&relay) == "draining");
    let drain = status(&relay)["drain"].clone();
    assert!(
        drain["reason"].as_str().unwrap().contains("spot"),
        "{drain}"
    );
    call.exchange();
    call.client.release();
}
