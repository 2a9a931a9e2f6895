//! A-40: the admin API of the running relay, and who is turned away from it.
//!
//! Not responsible for drains, nor for what is answered to those who may ask (`tests/system`).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

use crate::calls::Call;
use crate::client::{Over, connect};
use crate::running::{PATIENCE, Running, Setup, eventually, loopback};

const TOKEN: &str = "an-admin-token-of-more-than-32-bytes";
const ORDER: &str = r#"{"deadline": 4102444800, "reason": "scale in", "epoch": 1}"#;

/// What is answered to these bytes on this connection, until it ends.
fn answer(mut stream: impl Read + Write, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // An end without close_notify, or a reset of what was sent in vain, is an end as well.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

fn code(answer: &str) -> u16 {
    let code = answer.split(' ').nth(1);
    code.unwrap_or_else(|| panic!("no answer: {answer:?}"))
        .parse()
        .unwrap()
}

fn body(answer: &str) -> Value {
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap_or_else(|_| panic!("not JSON: {answer}"))
}

fn over_tcp(address: SocketAddr, request: &str) -> String {
    answer(connect(address), request)
}

fn on_socket(relay: &Running) -> UnixStream {
    let stream = UnixStream::connect(relay.directory().join("admin.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn guarded_by_token() -> (Running, SocketAddr) {
    let address = SocketAddr::from((loopback(), 9641));
    let mut setup = Setup::on_loopback(1);
    setup.admin = Some(address);
    setup.admin_keys = "token-file = \"admin.token\"".to_owned();
    setup.files.push(("admin.token", format!("{TOKEN}\n")));
    (setup.start(), address)
}

/// A-40: beyond health nothing is answered without the token, and nothing done.
#[test]
fn without_the_token_there_is_health_and_nothing_else() {
    let (relay, address) = guarded_by_token();
    for path in ["/live", "/ready"] {
        let answer = over_tcp(address, &request("GET", path, "", ""));
        assert_eq!(code(&answer), 200, "{path}");
    }
    for (method, path) in [
        ("GET", "/metrics"),
        ("GET", "/v1/status"),
        ("POST", "/v1/drain"),
        ("DELETE", "/v1/drain"),
        ("GET", "/v1/revocations"),
        ("PUT", "/v1/revocations"),
        ("GET", "/v1/allocations"),
        ("GET", "/v1/allocations/0-0-0"),
        ("DELETE", "/v1/allocations/0-0-0"),
        ("GET", "/nowhere"),
        ("GET", "/live/../metrics"),
        ("GET", "//ready"),
    ] {
        for headers in [
            "",
            "Authorization: Bearer\r\n",
            "Authorization: Bearer an-admin-token-of-more-than-32-bytez\r\n",
            "Authorization: Basic YWRtaW46YWRtaW4=\r\n",
            &format!("Authorization: Bearer {TOKEN}\r\nAuthorization: Bearer {TOKEN}\r\n"),
            &format!("X-Token: {TOKEN}\r\n"),
        ] {
            let answer = over_tcp(address, &request(method, path, headers, ORDER));
            assert_eq!(code(&answer), 401, "{method} {path} {headers}");
            let lowercase = answer.to_lowercase();
            assert!(lowercase.contains("www-authenticate: bearer"), "{answer}");
            assert!(body(&answer)["error"].is_string());
            assert!(!answer.contains(TOKEN));
        }
    }
    assert_eq!(
        code(&over_tcp(address, &request("GET", "/ready", "", ""))),
        200,
        "nobody has drained it"
    );
    let authorized = format!("Authorization: Bearer {TOKEN}\r\n");
    let ask = |method, path, body| over_tcp(address, &request(method, path, &authorized, body));
    let metrics = ask("GET", "/metrics", "");
    assert_eq!(code(&metrics), 200);
    // Twelve paths with six wrong proofs each: somebody who tries the door is seen.
    let counted = "taciturn_relay_admin_refusals_total{reason=\"token\"} 72\n";
    assert!(metrics.contains(counted), "{metrics}");
    let status = ask("GET", "/v1/status", "");
    assert_eq!(body(&status)["phase"], "ready");
    assert_eq!(code(&ask("POST", "/v1/drain", ORDER)), 200);
    assert_eq!(
        code(&over_tcp(address, &request("GET", "/ready", "", ""))),
        503
    );
    assert!(!relay.log().contains(TOKEN));
}

/// A-40: a token in a file is replaced by replacing the file.
#[test]
fn another_token_takes_the_place_of_the_first_by_reload() {
    let (relay, address) = guarded_by_token();
    let with = |token: &str| {
        let header = format!("Authorization: Bearer {token}\r\n");
        code(&over_tcp(
            address,
            &request("GET", "/v1/status", &header, ""),
        ))
    };
    assert_eq!(with(TOKEN), 200);
    relay.rewrite("admin.token", "another-token-that-is-also-long-enough");
    relay.hang_up();
    eventually("the other token", || {
        with("another-token-that-is-also-long-enough") == 200
    });
    assert_eq!(with(TOKEN), 401);
}

/// A-40: what could be reached by strangers does not start unguarded.
#[test]
fn beyond_loopback_the_admin_api_does_not_start_unguarded() {
    for address in ["192.0.2.1:9641", "0.0.0.0:9641", "[2001:db8::1]:9641"] {
        let mut setup = Setup::on_loopback(1);
        setup.admin = Some(address.parse().unwrap());
        let said = setup.refused();
        assert!(
            said.contains("admin.address") && said.contains("token-file"),
            "{said}"
        );
    }
}

/// Somebody who signs certificates, and the certificate of somebody else.
struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap().pem();
        Self {
            certificate,
            issuer: Issuer::new(parameters, key),
        }
    }

    /// A certificate and its key for this name, as PEM.
    fn issue(&self, name: &str, purpose: ExtendedKeyUsagePurpose) -> (String, String) {
        let mut parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
        parameters.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn server(&self) -> (String, String) {
        self.issue("admin.relay.test", ExtendedKeyUsagePurpose::ServerAuth)
    }

    fn client(&self) -> (String, String) {
        self.issue("controller", ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// A TLS client that trusts this authority, and shows this certificate.
    fn connect(
        &self,
        address: SocketAddr,
        shown: Option<&(String, String)>,
    ) -> StreamOwned<ClientConnection, TcpStream> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap())
            .unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match shown {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => config
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                    PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
                )
                .unwrap(),
        };
        let name = ServerName::try_from("admin.relay.test").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        StreamOwned::new(connection, connect(address))
    }
}

/// The code of the answer to one request; `None` when there is no answer.
fn status_over(mut stream: impl Read + Write) -> Option<u16> {
    let asked = "GET /v1/status HTTP/1.1\r\nHost: admin.relay.test\r\nConnection: close\r\n\r\n";
    stream.write_all(asked.as_bytes()).ok()?;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    // Whoever does not speak TLS gets an alert, which is no answer.
    let answer = String::from_utf8_lossy(&answer);
    answer.starts_with("HTTP/").then(|| code(&answer))
}

/// A-40: with client-ca nobody without a certificate of that authority gets as far as asking; the relay's own certificate
/// is exchanged under it.
#[test]
fn with_client_certificates_strangers_do_not_get_as_far_as_asking() {
    let (own, stranger) = (Authority::new(), Authority::new());
    let (certificate, key) = own.server();
    let address = SocketAddr::from((loopback(), 9641));
    let mut setup = Setup::on_loopback(1);
    setup.admin = Some(address);
    setup.admin_keys =
        "certificate = \"admin.pem\"\nkey = \"admin.key\"\nclient-ca = \"ca.pem\"".to_owned();
    setup.files.extend([
        ("admin.pem", certificate),
        ("admin.key", key),
        ("ca.pem", own.certificate.clone()),
    ]);
    let relay = setup.start();
    let controller = own.client();
    assert_eq!(
        status_over(own.connect(address, Some(&controller))),
        Some(200)
    );
    let handshakes_refused = || {
        let asked = request("GET", "/metrics", "", "");
        let answer = answer(own.connect(address, Some(&controller)), &asked);
        let sample = "taciturn_relay_admin_refusals_total{reason=\"handshake\"} ";
        let (_, rest) = answer.split_once(sample).unwrap();
        rest.lines().next().unwrap().parse::<u64>().unwrap()
    };
    let before = handshakes_refused();
    assert_eq!(status_over(own.connect(address, None)), None);
    let forged = stranger.client();
    assert_eq!(status_over(own.connect(address, Some(&forged))), None);
    let server_certificate = own.server();
    assert_eq!(
        status_over(own.connect(address, Some(&server_certificate))),
        None,
        "a certificate for servers is no client's"
    );
    assert_eq!(status_over(connect(address)), None, "without TLS");
    eventually("four strangers are counted", || {
        handshakes_refused() == before + 4
    });

    let mut old = own.connect(address, Some(&controller));
    old.write_all(b"GET /live HTTP/1.1\r\nHost: admin.relay.test\r\n\r\n")
        .unwrap();
    let mut answer = [0; 12];
    old.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    let before = certificate_of(&old);
    let (certificate, key) = own.server();
    relay.rewrite("admin.key", &key);
    relay.rewrite("admin.pem", &certificate);
    relay.hang_up();
    eventually("the new certificate", || {
        let mut new = own.connect(address, Some(&controller));
        new.conn.complete_io(&mut new.sock).unwrap();
        certificate_of(&new) != before
    });
    // The old connection goes on as it is.
    old.write_all(
        b"GET /v1/status HTTP/1.1\r\nHost: admin.relay.test\r\nConnection: close\r\n\r\n",
    )
    .unwrap();
    let mut rest = String::new();
    let _ = old.read_to_string(&mut rest);
    assert!(rest.contains("\"phase\":\"ready\""), "{rest}");
}

fn certificate_of(stream: &StreamOwned<ClientConnection, TcpStream>) -> CertificateDer<'static> {
    let shown = stream.conn.peer_certificates();
    shown.expect("the handshake is over")[0]
        .clone()
        .into_owned()
}

/// A-40: odd paths, methods and bodies get short errors in one form.
#[test]
fn what_makes_no_sense_gets_a_short_error() {
    let relay = Setup::on_loopback(1).start();
    let long = format!("{{\"reason\": \"{}\"}}", "x".repeat(17_000));
    let late = ORDER.replace("4102444800", "1");
    let far = ORDER.replace("4102444800", "4102444800000");
    let wordy = ORDER.replace("scale in", &"x".repeat(257));
    for (method, path, sent, expected) in [
        ("GET", "/", "", 404),
        ("GET", "/v1", "", 404),
        ("GET", "/v1/../../etc/passwd", "", 404),
        ("GET", "/v1/%2e%2e/%2e%2e/etc/passwd", "", 404),
        ("GET", "/metrics/", "", 404),
        ("POST", "/metrics", "{}", 405),
        ("PUT", "/v1/drain", ORDER, 405),
        ("GET", "/v1/drain", "", 405),
        ("OPTIONS", "/v1/drain", "", 405),
        ("POST", "/v1/drain", "", 400),
        ("POST", "/v1/drain", "{}", 400),
        ("POST", "/v1/drain", "[1]", 400),
        ("POST", "/v1/drain", &late, 400),
        ("POST", "/v1/drain", &far, 400),
        ("POST", "/v1/drain", &wordy, 400),
        ("POST", "/v1/drain", &long, 413),
        ("DELETE", "/v1/drain?epoch=-1", "", 400),
        ("DELETE", "/v1/drain?epoch=1&epoch=2", "", 400),
        ("DELETE", "/v1/drain?later=1", "", 400),
        ("DELETE", "/v1/drain?epoch=1", "{\"epoch\": 2}", 400),
        ("DELETE", "/v1/drain", "{\"epoch\": \"1\"}", 400),
        ("GET", "/v1/allocations?limit=0", "", 400),
        ("GET", "/v1/allocations?limit=1001", "", 400),
        ("GET", "/v1/allocations?after=x", "", 400),
        ("GET", "/v1/allocations/x", "", 404),
        ("DELETE", "/v1/allocations/0-0-0", "", 404),
        ("DELETE", "/v1/allocations/255-0-0", "", 404),
        (
            "DELETE",
            "/v1/allocations/0-0-99999999999999999999",
            "",
            404,
        ),
    ] {
        let answer = answer(on_socket(&relay), &request(method, path, "", sent));
        assert_eq!(code(&answer), expected, "{method} {path}: {answer}");
        let error = body(&answer)["error"].as_str().unwrap().to_owned();
        assert!((5..300).contains(&error.len()), "{error}");
        if expected == 405 {
            assert!(answer.to_lowercase().contains("\r\nallow: "), "{answer}");
        }
    }
    let head = answer(on_socket(&relay), &request("HEAD", "/v1/status", "", ""));
    assert_eq!(code(&head), 200);
    assert!(head.ends_with("\r\n\r\n"), "{head}");
    let garbage = answer(on_socket(&relay), "\u{1}\u{2}\r\n\r\n");
    assert!(garbage.is_empty() || code(&garbage) == 400, "{garbage}");
    assert_eq!(relay.http("GET", "/ready").0, 200);
}

/// A-40: who holds every connection keeps others waiting until one ends, and nobody else.
#[test]
fn connections_are_bounded_and_calls_do_not_notice() {
    let relay = Setup::on_loopback(1).start();
    let mut call = Call::open(&relay, Over::Udp, "alice");
    let slow: Vec<_> = (0..32)
        .map(|_| {
            let mut stream = on_socket(&relay);
            stream
                .write_all(b"GET /v1/status HTTP/1.1\r\nHost: ")
                .unwrap();
            stream
        })
        .collect();
    let mut late = on_socket(&relay);
    late.write_all(request("GET", "/ready", "", "").as_bytes())
        .unwrap();
    late.set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    assert!(
        late.read(&mut [0; 16]).is_err(),
        "answered beyond the bound"
    );
    for _ in 0..20 {
        call.exchange();
    }
    drop(slow);
    late.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = String::new();
    late.read_to_string(&mut answer).unwrap();
    assert_eq!(code(&answer), 200);
}
