use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use taciturn_protocol::time::UnixTime;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::config::{Identity, RelaysTls, SecretBytes};

const STATUS: &str = r#"{"phase":"ready","boot_id":"b","ready":true,"sequence":5,"time":1790000000,"load":{"allocations":2},"epoch":77}"#;

fn id() -> InstanceId {
    InstanceId::try_from("i-1").unwrap()
}

fn config(timeout: Duration) -> config::Relays {
    config::Relays {
        admin_port: 9641,
        token: None,
        tls: None,
        timeout,
        probe_port: None,
    }
}

fn client() -> RelayClient {
    RelayClient::new(&config(Duration::from_secs(30))).unwrap()
}

fn answer(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

/// A relay's admin API that answers each request as the test says, and keeps what was asked.
struct Admin {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    most_at_once: Arc<AtomicUsize>,
}

impl Admin {
    async fn new(answers: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::over(None, answers).await
    }

    async fn over(
        tls: Option<TlsAcceptor>,
        answers: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = Self {
            address: listener.local_addr().unwrap(),
            asked: Arc::default(),
            most_at_once: Arc::default(),
        };
        let (asked, most) = (Arc::clone(&admin.asked), Arc::clone(&admin.most_at_once));
        let (answers, now) = (Arc::new(answers), Arc::new(AtomicUsize::new(0)));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (answers, asked, tls) = (Arc::clone(&answers), Arc::clone(&asked), tls.clone());
                let (now, most) = (Arc::clone(&now), Arc::clone(&most));
                tokio::spawn(async move {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    match tls {
                        None => serve(stream, &*answers, &asked).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &*answers, &asked).await;
                            }
                        }
                    }
                    now.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        admin
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// Reads one request whole, answers, and closes; an empty answer is none, and the connection stays.
async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answers: &(dyn Fn(&str) -> Vec<u8> + Send + Sync),
    asked: &Mutex<Vec<String>>,
) {
    let mut request = String::new();
    let mut chunk = [0; 4096];
    loop {
        let Ok(read @ 1..) = stream.read(&mut chunk).await else {
            return;
        };
        request.push_str(std::str::from_utf8(&chunk[..read]).unwrap());
        if let Some((head, body)) = request.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                break;
            }
        }
    }
    asked.lock().unwrap().push(request.clone());
    let answer = answers(&request);
    if answer.is_empty() {
        std::future::pending::<()>().await;
    }
    let _ = stream.write_all(&answer).await;
    let _ = stream.shutdown().await;
}

#[tokio::test]
async fn a_relay_is_asked_and_told_as_its_admin_api_wants_it() {
    let admin = Admin::new(|_| answer("200 OK", STATUS)).await;
    let token = SecretBytes::new(b"0123456789abcdef0123456789abcdef");
    let client = RelayClient::new(&config::Relays {
        token: Some(token),
        ..config(Duration::from_secs(30))
    })
    .unwrap();
    let report = client.status(&id(), admin.address).await.unwrap();
    assert_eq!((report.sequence, report.epoch), (5, 77));
    let order = DrainOrder {
        deadline: UnixTime::from_secs(1_790_005_400),
        reason: format!("fewer are needed\n{}", "x".repeat(500)),
        epoch: 80,
    };
    client.drain(&id(), admin.address, &order).await.unwrap();
    client.undrain(&id(), admin.address, 81).await.unwrap();
    let asked = admin.asked();
    let begin = |n: usize| asked[n].lines().next().unwrap().to_owned();
    assert_eq!(begin(0), "GET /v1/status HTTP/1.1");
    assert_eq!(begin(1), "POST /v1/drain HTTP/1.1");
    assert_eq!(begin(2), "DELETE /v1/drain?epoch=81 HTTP/1.1");
    for request in &asked {
        let host = format!("host: {}\r\n", admin.address);
        assert!(request.contains(&host), "{request}");
        assert!(request.contains("authorization: Bearer 0123456789abcdef0123456789abcdef\r\n"));
    }
    assert!(asked[1].contains("content-type: application/json\r\n"));
    let body = asked[1].split_once("\r\n\r\n").unwrap().1;
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["deadline"], 1_790_005_400);
    assert_eq!(body["epoch"], 80);
    let reason = body["reason"].as_str().unwrap();
    assert!(reason.len() <= DrainOrder::REASON_BYTES && reason.starts_with("fewer are needed x"));
    assert_eq!(
        body.as_object().unwrap().len(),
        3,
        "a relay knows no other field"
    );
    assert!(!format!("{client:?}").contains("0123456789"));
}

#[tokio::test]
async fn a_refusal_is_told_from_a_fault_and_a_newer_epoch_from_both() {
    let order = DrainOrder {
        deadline: UnixTime::from_secs(1),
        reason: String::new(),
        epoch: 5,
    };
    let ask = async |status: &'static str, body: &'static str| {
        let admin = Admin::new(move |asked| {
            if asked.starts_with("GET") {
                answer("200 OK", STATUS)
            } else {
                answer(status, body)
            }
        })
        .await;
        client().drain(&id(), admin.address, &order).await
    };
    let told = ask(
        "400 Bad Request",
        r#"{"error":"deadline is not in the future\u202e"}"#,
    )
    .await;
    assert_eq!(
        told,
        Err(RelayError::Refused(
            "400: deadline is not in the future ".to_owned()
        ))
    );
    let told = ask("401 Unauthorized", "").await;
    assert_eq!(told, Err(RelayError::Refused("HTTP status 401".to_owned())));
    let told = ask("503 Service Unavailable", r#"{"error":"not serving yet"}"#).await;
    assert_eq!(
        told,
        Err(RelayError::NotNow("503: not serving yet".to_owned()))
    );
    let told = ask("409 Conflict", r#"{"error":"epoch 5 is older"}"#).await;
    assert_eq!(told, Err(RelayError::OlderEpoch { seen: 77 }));
    let newer = DrainOrder {
        epoch: 77,
        ..order.clone()
    };
    let admin = Admin::new(|asked| {
        if asked.starts_with("GET") {
            answer("200 OK", STATUS)
        } else {
            answer("409 Conflict", "")
        }
    })
    .await;
    let told = client().drain(&id(), admin.address, &newer).await;
    assert!(
        matches!(told, Err(RelayError::Refused(_))),
        "its epoch is not newer, so it is another conflict: {told:?}"
    );
    let told = ask("302 Found", "").await;
    assert!(
        matches!(told, Err(RelayError::Refused(_))),
        "no other place is asked: {told:?}"
    );
}

#[tokio::test]
async fn what_never_comes_is_cut_long_or_no_http_is_no_answer() {
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = unused.local_addr().unwrap();
    drop(unused);
    let told = client().status(&id(), closed).await;
    assert!(matches!(told, Err(RelayError::Unreachable(_))), "{told:?}");

    let hangs = Admin::new(|_| Vec::new()).await;
    let short = RelayClient::new(&config(Duration::from_millis(200))).unwrap();
    let told = short.status(&id(), hangs.address).await;
    assert_eq!(
        told,
        Err(RelayError::Unknown("nothing within 0.2 s".to_owned()))
    );

    let long = format!("{STATUS}{}", " ".repeat(crate::observe::REPORT_BYTES));
    let head = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(5000));
    let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(100_000));
    let cut = answer("200 OK", STATUS);
    for bytes in [
        answer("200 OK", &long),
        head.into_bytes(),
        endless.into_bytes(),
        cut[..cut.len() - 5].to_vec(),
        b"SSH-2.0-OpenSSH\r\n".to_vec(),
        vec![0; 64],
    ] {
        let admin = Admin::new(move |_| bytes.clone()).await;
        let told = client().status(&id(), admin.address).await;
        assert!(matches!(told, Err(RelayError::Unknown(_))), "{told:?}");
    }
    for body in ["", "null", "{}", "<html>", r#"{"phase":"ready"}"#] {
        let admin = Admin::new(move |_| answer("200 OK", body)).await;
        let told = client().status(&id(), admin.address).await;
        assert!(
            matches!(told, Err(RelayError::Refused(_))),
            "{body}: {told:?}"
        );
    }
}

#[tokio::test]
async fn many_relays_are_asked_at_once_and_not_all() {
    let admin = Admin::new(|_| answer("200 OK", STATUS)).await;
    let client = Arc::new(client());
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..400 {
        let (client, address) = (Arc::clone(&client), admin.address);
        asked.spawn(async move { client.status(&id(), address).await.is_ok() });
    }
    assert!(asked.join_all().await.into_iter().all(|came| came));
    // A connection that this side has closed may be open on the other for a moment.
    let most = admin.most_at_once.load(Ordering::SeqCst);
    assert!((2..=2 * AT_ONCE).contains(&most), "{most}");
}

/// An authority of the operator's own.
struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self {
            certificate: parameters.self_signed(&key).unwrap().der().clone(),
            issuer: Issuer::new(parameters, key),
        }
    }

    fn identity(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        Identity {
            certificates: vec![certificate.der().clone()],
            key: PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        }
    }

    /// What a relay shows under `name`, to clients of this authority alone.
    fn acceptor(&self, name: &str) -> TlsAcceptor {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .unwrap();
        let identity = self.identity(name);
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(identity.certificates, identity.key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Both sides show who they are, and neither takes another's word.
#[tokio::test]
async fn with_certificates_both_sides_prove_who_they_are() {
    let (ours, other) = (Authority::new(), Authority::new());
    let with = |ca: &Authority, name: Option<&str>, identity: Option<Identity>| {
        let tls = RelaysTls {
            ca: vec![ca.certificate.clone()],
            server_name: name.map(str::to_owned),
            identity,
        };
        RelayClient::new(&config::Relays {
            tls: Some(tls),
            ..config(Duration::from_secs(30))
        })
        .unwrap()
    };
    let me = || Some(ours.identity("controller"));
    let by_name = Admin::over(Some(ours.acceptor("relay.internal")), |_| {
        answer("200 OK", STATUS)
    })
    .await;
    let by_address = Admin::over(Some(ours.acceptor("127.0.0.1")), |_| {
        answer("200 OK", STATUS)
    })
    .await;
    let good = with(&ours, Some("relay.internal"), me());
    good.status(&id(), by_name.address).await.unwrap();
    with(&ours, None, me())
        .status(&id(), by_address.address)
        .await
        .unwrap();

    let plain = Admin::new(|_| answer("200 OK", STATUS)).await;
    for (client, address) in [
        (with(&other, Some("relay.internal"), me()), by_name.address),
        (with(&ours, Some("another.internal"), me()), by_name.address),
        (with(&ours, None, me()), by_name.address),
    ] {
        let told = client.status(&id(), address).await;
        assert!(matches!(told, Err(RelayError::Unreachable(_))), "{told:?}");
    }
    // In TLS 1.3 the client has finished when the relay sees what it showed, or did not.
    for client in [
        with(&ours, Some("relay.internal"), None),
        with(
            &ours,
            Some("relay.internal"),
            Some(other.identity("controller")),
        ),
    ] {
        assert!(client.status(&id(), by_name.address).await.is_err());
    }
    let short = RelayClient::new(&config::Relays {
        tls: Some(RelaysTls {
            ca: vec![ours.certificate.clone()],
            server_name: None,
            identity: None,
        }),
        ..config(Duration::from_millis(300))
    })
    .unwrap();
    assert!(
        short.status(&id(), plain.address).await.is_err(),
        "nothing is said in the clear"
    );
    assert!(plain.asked().is_empty());
}
