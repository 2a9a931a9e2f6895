//! The door over real connections: whose certificate was shown, what an exchange changes for those who are connected, and how
//! long a connection lasts.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::routing::get;
use axum::{Extension, Router};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use taciturn_plane::{
    Access, Audience, Bounded, Caller, Limits, Listener, PreparedAccess, Token, guarded_for, serve,
    tls,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const OPERATOR: &str = "operator-operator-operator-operator";
const SUBJECT: &str = "subject-subject-subject-subject-subject";

/// One who issues certificates.
struct Authority {
    own: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

type Certified = (CertificateDer<'static>, PrivateKeyDer<'static>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let own = params.self_signed(&key).unwrap().der().clone();
        let issuer = Issuer::new(params, key);
        Self { own, issuer }
    }

    fn issue(&self, name: &str, purpose: ExtendedKeyUsagePurpose) -> Certified {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        (certificate.der().clone(), key.into())
    }

    /// A server with a new certificate, for clients of this authority or for all.
    fn server(&self, mutual: bool) -> (CertificateDer<'static>, Arc<ServerConfig>) {
        let (certificate, key) = self.issue("door.test", ExtendedKeyUsagePurpose::ServerAuth);
        let authority = [self.own.clone()];
        let config = tls(
            std::slice::from_ref(&certificate),
            &key,
            if mutual { &authority } else { &[] },
            Arc::new(aws_lc_rs::default_provider()),
            rustls::DEFAULT_VERSIONS,
        );
        (certificate, config.unwrap())
    }

    /// A client that shows a certificate of this name, or none.
    fn client(&self, name: Option<&str>) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.own.clone()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(rustls::DEFAULT_VERSIONS)
            .unwrap()
            .with_root_certificates(roots);
        let config = match name {
            None => config.with_no_client_auth(),
            Some(name) => {
                let (certificate, key) = self.issue(name, ExtendedKeyUsagePurpose::ClientAuth);
                config
                    .with_client_auth_cert(vec![certificate], key)
                    .unwrap()
            }
        };
        TlsConnector::from(Arc::new(config))
    }
}

async fn opened(limits: Limits, access: &Arc<Access>) -> SocketAddr {
    fn audience(path: &str) -> Audience {
        match path {
            "/live" => Audience::Everybody,
            "/subject" => Audience::Subject,
            _ => Audience::Operator,
        }
    }
    async fn who(Extension(caller): Extension<Caller>) -> String {
        format!("{} {}", caller.role.as_str(), caller.name)
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let routes = Router::new()
        .route("/live", get(who))
        .route("/subject", get(who))
        .route("/operator", get(who));
    let routes = guarded_for(routes, Arc::clone(access), "/live", audience);
    let bounded = Bounded::within(limits, Listener::Tcp(listener), Arc::clone(access));
    tokio::spawn(serve(bounded, routes));
    address
}

async fn encrypted(
    address: SocketAddr,
    client: &TlsConnector,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("door.test").unwrap();
    client.connect(name, stream).await
}

/// The head and the body of the answer, over a connection that goes on; empty when it has ended.
async fn ask(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    path: &str,
    token: Option<&str>,
) -> (String, String) {
    let token = token.map_or_else(String::new, |token| {
        format!("Authorization: Bearer {token}\r\n")
    });
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{token}\r\n");
    let mut answer = Vec::new();
    if stream.write_all(request.as_bytes()).await.is_err() {
        return Default::default();
    }
    while let Ok(byte) = stream.read_u8().await {
        answer.push(byte);
        let text = String::from_utf8(answer.clone()).unwrap();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .to_ascii_lowercase()
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if body.len() == length.unwrap_or(0) {
                return (head.to_owned(), body.to_owned());
            }
        }
    }
    Default::default()
}

fn code(answer: &(String, String)) -> u16 {
    answer.0.split(' ').nth(1).unwrap_or("0").parse().unwrap()
}

/// a client certificate is the subject's whose name it has, and nobody's who has another; without one there is no
/// connection at all.
#[tokio::test]
async fn a_clients_certificate_says_who_asks() {
    let authority = Authority::new();
    let (_, server) = authority.server(true);
    let prepared = PreparedAccess::new(Some(Token::new(OPERATOR.as_bytes())), Some(server))
        .with_certified_subject("signalling-1", "signalling.example.org");
    let access = Arc::new(Access::new(prepared));
    let address = opened(Limits::MANY, &access).await;

    let own = authority.client(Some("Signalling.example.org"));
    let mut stream = encrypted(address, &own).await.unwrap();
    assert_eq!(
        ask(&mut stream, "/subject", None).await.1,
        "subject signalling-1"
    );
    let refused = ask(&mut stream, "/operator", None).await;
    assert_eq!(code(&refused), 403, "{refused:?}");
    assert!(refused.1.contains("is for credentials"), "{refused:?}");
    // Each request on the connection is judged by itself.
    let mighty = ask(&mut stream, "/operator", Some(OPERATOR)).await;
    assert_eq!(mighty.1, "operator operator");
    assert_eq!(
        code(&ask(&mut stream, "/subject", Some(SUBJECT)).await),
        401
    );

    let other = authority.client(Some("other.example.org"));
    let mut stream = encrypted(address, &other).await.unwrap();
    assert_eq!(code(&ask(&mut stream, "/subject", None).await), 401);
    assert_eq!(ask(&mut stream, "/live", None).await.1, "stranger stranger");

    for stranger in [authority.client(None), {
        // One of an authority of its own, who trusts the server all the same.
        let elsewhere = Authority::new();
        let (certificate, key) = elsewhere.issue(
            "signalling.example.org",
            ExtendedKeyUsagePurpose::ClientAuth,
        );
        let mut roots = RootCertStore::empty();
        roots.add(authority.own.clone()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(rustls::DEFAULT_VERSIONS)
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate], key)
            .unwrap();
        TlsConnector::from(Arc::new(config))
    }] {
        // With TLS 1.3 the client learns of it when it reads.
        if let Ok(mut stream) = encrypted(address, &stranger).await {
            assert_eq!(code(&ask(&mut stream, "/live", None).await), 0);
        }
    }
    let handshakes = access.refusals().find(|(reason, _)| *reason == "handshake");
    assert_eq!(handshakes, Some(("handshake", 2)));
}

/// Tokens and subjects count from the next request on, certificates from the next connection on, and nobody is cut off.
#[tokio::test]
async fn an_exchange_holds_for_those_who_are_connected() {
    let authority = Authority::new();
    let (first, server) = authority.server(false);
    let prepared = PreparedAccess::new(Some(Token::new(OPERATOR.as_bytes())), Some(server));
    let access = Arc::new(Access::new(prepared));
    let address = opened(Limits::MANY, &access).await;
    let client = authority.client(None);
    let shown = |stream: &TlsStream<TcpStream>| {
        let certificates = stream.get_ref().1.peer_certificates().unwrap();
        certificates.first().unwrap().clone().into_owned()
    };
    let mut before = encrypted(address, &client).await.unwrap();
    assert_eq!(shown(&before), first);
    assert_eq!(
        code(&ask(&mut before, "/operator", Some(OPERATOR)).await),
        200
    );
    assert_eq!(
        code(&ask(&mut before, "/subject", Some(SUBJECT)).await),
        401
    );

    let (second, server) = authority.server(false);
    let other = "another-operator-another-operator-another";
    access.install(
        PreparedAccess::new(Some(Token::new(other.as_bytes())), Some(server))
            .with_subject("signalling-1", Token::new(SUBJECT.as_bytes())),
    );
    assert_eq!(
        code(&ask(&mut before, "/operator", Some(OPERATOR)).await),
        401
    );
    assert_eq!(code(&ask(&mut before, "/operator", Some(other)).await), 200);
    assert_eq!(
        ask(&mut before, "/subject", Some(SUBJECT)).await.1,
        "subject signalling-1"
    );
    let after = encrypted(address, &client).await.unwrap();
    assert_eq!(shown(&after), second);
}

/// those who say nothing, or who are not known, lose their seats to those who wait.
#[tokio::test]
async fn seats_come_free_of_those_who_are_not_known() {
    let limits = Limits {
        connections: 2,
        of_this_host: 2,
        patience: Duration::from_millis(300),
        ..Limits::MANY
    };
    let guarded = PreparedAccess::new(Some(Token::new(OPERATOR.as_bytes())), None);
    let address = opened(limits, &Arc::new(Access::new(guarded))).await;
    let _silent = TcpStream::connect(address).await.unwrap();
    let mut stranger = TcpStream::connect(address).await.unwrap();
    assert_eq!(code(&ask(&mut stranger, "/operator", None).await), 401);
    let mut third = TcpStream::connect(address).await.unwrap();
    let answer = ask(&mut third, "/operator", Some(OPERATOR)).await;
    assert_eq!(answer.1, "operator operator");
}

/// Whoever keeps a connection open is told when to make another, before a request is cut off.
#[tokio::test]
async fn a_connection_that_grows_old_is_said_farewell() {
    let limits = Limits {
        lifetime: Limits::MANY.patience + Duration::from_nanos(1),
        ..Limits::MANY
    };
    let open = || Arc::new(Access::new(PreparedAccess::new(None, None)));
    for (limits, farewell) in [(limits, true), (Limits::MANY, false), (Limits::FEW, false)] {
        let address = opened(limits, &open()).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        let (head, body) = ask(&mut stream, "/operator", None).await;
        assert_eq!(body, "operator local");
        let said = head.to_ascii_lowercase().contains("connection: close");
        assert_eq!(said, farewell, "{head}");
    }
}
