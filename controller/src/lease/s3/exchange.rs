//! One request over one connection, and its answer.
//!
//! Responsible for bytes, for TLS against the authorities of this machine, and for the difference between what was never sent
//! and what may have arrived. Not responsible for time (the caller gives up) nor for meaning.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use http_body_util::{BodyExt, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::place::Place;

/// Where distributions keep the authorities that they trust: Debian and its kin, Fedora and its kin, openSUSE, Alpine.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// How an exchange failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// Before the request was sent.
    Before(String),
    /// After it may have been.
    After(String),
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// The ETag.
    pub(super) version: Option<String>,
    pub(super) body: Bytes,
}

impl Answer {
    /// The code in the body of a refusal; empty where there is none.
    pub(super) fn code(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let code = text
            .split_once("<Code>")
            .and_then(|(_, rest)| rest.split_once("</Code>"))
            .map_or("", |(code, _)| code);
        code.chars()
            .filter(char::is_ascii_alphanumeric)
            .take(64)
            .collect()
    }
}

/// The authorities of this machine, read when they are needed first.
#[derive(Debug, Default)]
pub(super) struct Roots {
    config: OnceLock<Result<Arc<ClientConfig>, String>>,
}

impl Roots {
    fn config(&self) -> Result<Arc<ClientConfig>, String> {
        self.config.get_or_init(read_roots).clone()
    }
}

fn read_roots() -> Result<Arc<ClientConfig>, String> {
    let named = std::env::var("AWS_CA_BUNDLE").or_else(|_| std::env::var("SSL_CERT_FILE"));
    let file = match named {
        Ok(file) => file,
        Err(_) => BUNDLES
            .into_iter()
            .find(|file| Path::new(file).exists())
            .ok_or("this machine has no list of certificate authorities; install ca-certificates, or set AWS_CA_BUNDLE")?
            .to_owned(),
    };
    let pem = std::fs::read(&file).map_err(|error| format!("{file}: {error}"))?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok));
    if roots.is_empty() {
        return Err(format!("{file}: holds no certificate in PEM"));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Sends `request` and reads an answer of at most `most` bytes.
pub(super) async fn exchange(
    place: &Place,
    roots: &Roots,
    request: Request<String>,
    most: usize,
) -> Result<Answer, Fault> {
    let before = |words: String| Fault::Before(words);
    let stream = TcpStream::connect((place.name.as_str(), place.port))
        .await
        .map_err(|error| before(error.to_string()))?;
    if !place.encrypted {
        return send(stream, request, most).await;
    }
    let config = roots.config().map_err(before)?;
    let name = ServerName::try_from(place.name.clone())
        .map_err(|_| before("its name is no name of a host".to_owned()))?;
    let stream = TlsConnector::from(config)
        .connect(name, stream)
        .await
        .map_err(|error| before(error.to_string()))?;
    send(stream, request, most).await
}

async fn send<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    request: Request<String>,
    most: usize,
) -> Result<Answer, Fault> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| Fault::Before(error.to_string()))?;
    let answer = async {
        let response = sender.send_request(request).await;
        let response = response.map_err(|error| Fault::After(error.to_string()))?;
        read(response, most).await
    };
    // The connection moves the bytes, and lives no longer than the answer takes.
    tokio::pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        ended = connection => match ended {
            // The peer has closed it, and what it sent before is still to be read.
            Ok(()) => answer.await,
            Err(error) => Err(Fault::After(error.to_string())),
        },
    }
}

async fn read(response: Response<hyper::body::Incoming>, most: usize) -> Result<Answer, Fault> {
    let status = response.status();
    let version = response.headers().get(header::ETAG);
    let version = version.and_then(|tag| tag.to_str().ok().map(str::to_owned));
    let body = Limited::new(response.into_body(), most).collect().await;
    let body = body.map_err(|error| Fault::After(error.to_string()))?;
    Ok(Answer {
        status,
        version,
        body: body.to_bytes(),
    })
}
