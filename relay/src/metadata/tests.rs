//! The client against an endpoint of the test's own, which answers as it should, and as it should not.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use super::*;

/// Answers on loopback until the test ends. What it was asked for is kept.
struct Stub {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Bodies by path below `/latest/meta-data/`.
    items: BTreeMap<&'static str, Vec<u8>>,
    /// Whole answers that come before anything else, one for each connection.
    first: Vec<Vec<u8>>,
    /// The token that is good now.
    token: u32,
    asked: Vec<String>,
}

impl Stub {
    fn with(items: &[(&'static str, &str)]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
        let address = listener.local_addr().expect("bound");
        let items = items
            .iter()
            .map(|(path, body)| (*path, body.as_bytes().to_vec()))
            .collect();
        let state = Arc::new(Mutex::new(State {
            items,
            ..State::default()
        }));
        let serving = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let serving = Arc::clone(&serving);
                thread::spawn(move || answer(&stream, &serving));
            }
        });
        Self { address, state }
    }

    fn client(&self) -> (MetadataClient, Arc<MetadataRequests>) {
        let requests = Arc::new(MetadataRequests::default());
        let endpoint = Endpoint::parse(&format!("http://{}/", self.address)).expect("an endpoint");
        (
            MetadataClient::new(endpoint, Arc::clone(&requests)),
            requests,
        )
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no thread of the stub panics")
    }

    fn count(&self, beginning: &str) -> usize {
        let state = self.state();
        let asked = state.asked.iter();
        asked.filter(|line| line.starts_with(beginning)).count()
    }
}

fn answer(mut stream: &TcpStream, state: &Mutex<State>) {
    let mut head = Vec::new();
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        if line.is_empty() {
            break;
        }
        head.push(line);
    }
    let Some(asked) = head.first().cloned() else {
        return;
    };
    let mut state = state.lock().expect("unpoisoned");
    state.asked.push(asked.clone());
    if let Some(first) = state.first.pop() {
        drop(state);
        let _ = stream.write_all(&first);
        if first.is_empty() {
            // Silence: the client has to give up by itself.
            thread::sleep(core::time::Duration::from_secs(5));
        }
        return;
    }
    let token = format!("token-{}", state.token);
    let has = |wanted: &str| head.iter().any(|line| line.eq_ignore_ascii_case(wanted));
    let (status, body) = if asked == "PUT /latest/api/token HTTP/1.1" {
        assert!(has("x-aws-ec2-metadata-token-ttl-seconds: 21600"));
        ("200 OK", token.into_bytes())
    } else if !has(&format!("x-aws-ec2-metadata-token: {token}")) {
        ("401 Unauthorized", b"<html>".to_vec())
    } else {
        let path = asked
            .strip_prefix("GET /latest/meta-data/")
            .and_then(|rest| rest.strip_suffix(" HTTP/1.1"));
        match path.and_then(|path| state.items.get(path)) {
            Some(body) => ("200 OK", body.clone()),
            None => ("404 Not Found", b"<html>".to_vec()),
        }
    };
    drop(state);
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(&[head.as_bytes(), &body].concat());
}

fn count(requests: &MetadataRequests, outcome: Outcome) -> u64 {
    requests.0[outcome as usize].load(Ordering::Relaxed)
}

const PLACED: [(&str, &str); 2] = [
    ("placement/availability-zone-id", "apse2-az1"),
    ("instance-id", "i-0123456789abcdef0"),
];

#[tokio::test]
async fn an_instance_is_read_with_one_token() {
    let macs = "network/interfaces/macs/";
    let mut items = PLACED.to_vec();
    items.extend([
        (macs, "0a:00:00:00:00:01/\n0a:00:00:00:00:02/"),
        (
            "network/interfaces/macs/0a:00:00:00:00:01/ipv4-associations/",
            "203.0.113.7\n203.0.113.8",
        ),
        (
            "network/interfaces/macs/0a:00:00:00:00:01/ipv4-associations/203.0.113.7",
            "10.0.0.7",
        ),
        (
            "network/interfaces/macs/0a:00:00:00:00:01/ipv4-associations/203.0.113.8",
            "10.0.0.8",
        ),
        ("local-ipv4", "10.0.0.7"),
        ("public-ipv4", "198.51.100.1"),
    ]);
    let stub = Stub::with(&items);
    let (client, requests) = stub.client();
    let instance = Instance::read(&client).await.expect("a whole instance");
    assert_eq!(instance.zone_id, "apse2-az1");
    assert_eq!(instance.instance_id, "i-0123456789abcdef0");
    let public = |private: [u8; 4]| instance.public_of(private.into());
    assert_eq!(public([10, 0, 0, 7]), Some([203, 0, 113, 7].into()));
    assert_eq!(public([10, 0, 0, 8]), Some([203, 0, 113, 8].into()));
    assert_eq!(public([10, 0, 0, 9]), None);
    assert_eq!(stub.count("PUT"), 1);
    assert_eq!(
        count(&requests, Outcome::NotFound),
        1,
        "the second interface has no public address"
    );
}

#[tokio::test]
async fn what_is_only_told_of_the_primary_address_is_taken_for_it() {
    let mut items = PLACED.to_vec();
    items.extend([("local-ipv4", "10.0.0.7"), ("public-ipv4", "203.0.113.7")]);
    let (client, _) = Stub::with(&items).client();
    let instance = Instance::read(&client).await.expect("a whole instance");
    assert_eq!(
        instance.public_of([10, 0, 0, 7].into()),
        Some([203, 0, 113, 7].into())
    );
}

#[tokio::test]
async fn a_token_that_has_ended_is_renewed_once() {
    let stub = Stub::with(&PLACED);
    let (client, requests) = stub.client();
    let read = || client.read("instance-id", "the instance id");
    assert!(read().await.is_ok());
    stub.state().token += 1;
    assert_eq!(
        read().await.expect("renewed").as_deref(),
        Some("i-0123456789abcdef0")
    );
    assert_eq!(stub.count("PUT"), 2);
    assert_eq!(count(&requests, Outcome::Unauthorized), 1);
    // An endpoint that refuses every token is not asked for ever.
    let refusal = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n".to_vec();
    let token = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx".to_vec();
    stub.state().first = vec![refusal.clone(), token, refusal];
    let error = read().await.expect_err("refused twice");
    assert!(matches!(error, MetadataError::Status { .. }), "{error:?}");
}

#[tokio::test]
async fn trouble_of_the_endpoint_is_waited_out_but_not_for_ever() {
    let stub = Stub::with(&PLACED);
    let (client, requests) = stub.client();
    let read = || client.read("instance-id", "the instance id");
    assert!(read().await.is_ok());
    let trouble = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".to_vec();
    stub.state().first = vec![trouble.clone(), b"nonsense\r\n\r\n".to_vec()];
    assert!(read().await.is_ok(), "the third try");
    stub.state().first = vec![trouble.clone(), trouble.clone(), trouble];
    assert!(matches!(
        read().await,
        Err(MetadataError::Status { status, .. }) if status == StatusCode::SERVICE_UNAVAILABLE
    ));
    assert_eq!(stub.state().first.len(), 0, "three tries");
    assert_eq!(count(&requests, Outcome::BadAnswer), 5);
    stub.state().first = vec![Vec::new()];
    assert!(read().await.is_ok(), "after one that never answers");
    assert_eq!(count(&requests, Outcome::Timeout), 1);
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_said_to_be() {
    let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
    let address = gone.local_addr().expect("bound");
    drop(gone);
    let requests = Arc::new(MetadataRequests::default());
    let endpoint = Endpoint::parse(&format!("http://{address}")).expect("an endpoint");
    let client = MetadataClient::new(endpoint, Arc::clone(&requests));
    let error = Instance::read(&client).await.expect_err("nobody is there");
    assert!(matches!(error, MetadataError::Unreachable(_)), "{error:?}");
    assert_eq!(count(&requests, Outcome::Unreachable), 3);
}

/// What comes back instead of an item, and which error that is.
#[tokio::test]
async fn garbage_is_refused_and_never_repeated() {
    let body = |body: &[u8]| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    };
    let endless = {
        let mut endless = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        endless.extend(
            b"400\r\n"
                .iter()
                .chain(&[b'a'; 1024])
                .chain(b"\r\n")
                .cycle()
                .take(1 << 20),
        );
        endless
    };
    let wide = [b"HTTP/1.1 200 OK\r\nX: ".to_vec(), vec![b'a'; 1 << 20]].concat();
    for garbage in [
        body(&[b'a'; 65]),
        body(&[b'a'; 4097]),
        body(b""),
        body(b"apse2-az1 and more"),
        body(b"evil\r\nforged"),
        body(b"\xff\xfe"),
        body(b"<html>evil</html>"),
        endless,
        wide,
        b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n".to_vec(),
        b"SSH-2.0-evil\r\n".to_vec(),
    ] {
        let stub = Stub::with(&PLACED);
        let (client, _) = stub.client();
        assert!(client.read("instance-id", "x").await.is_ok());
        stub.state().first = vec![garbage.clone(), garbage.clone(), garbage.clone()];
        let error = Instance::read(&client).await;
        let error = error.expect_err(&String::from_utf8_lossy(&garbage[..40.min(garbage.len())]));
        let said = format!("{error} {:?}", client::source(&error));
        assert!(!said.contains("evil") && !said.contains("aaaa"), "{said}");
    }
}

#[tokio::test]
async fn a_list_that_is_garbage_becomes_no_path() {
    for list in ["../../../api/token", "0a:00:00:00:00:01/../..", "<html>"] {
        let mut items = PLACED.to_vec();
        items.push(("network/interfaces/macs/", list));
        let stub = Stub::with(&items);
        let (client, _) = stub.client();
        assert!(matches!(
            Instance::read(&client).await,
            Err(MetadataError::Value("network interfaces"))
        ));
        assert_eq!(
            stub.count("GET /latest/meta-data/network/interfaces/macs/"),
            1
        );
    }
}

#[test]
fn an_endpoint_is_a_host_over_plain_http() {
    for (text, shown) in [
        ("http://169.254.169.254", "http://169.254.169.254"),
        ("http://127.0.0.1:1338/", "http://127.0.0.1:1338"),
        ("http://[fd00:ec2::254]", "http://[fd00:ec2::254]"),
        ("http://localhost:80", "http://localhost:80"),
    ] {
        assert_eq!(Endpoint::parse(text).expect(text).to_string(), shown);
    }
    for wrong in [
        "",
        "169.254.169.254",
        "https://169.254.169.254",
        "http://",
        "http://host/latest",
        "http://host?x",
        "http://user@host",
        "http://host:99999",
        "ftp://host",
        "http://a b",
    ] {
        assert!(
            matches!(Endpoint::parse(wrong), Err(MetadataError::Endpoint)),
            "{wrong}"
        );
    }
}
