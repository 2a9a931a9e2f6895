//! One request and its answer, over a connection of their own.
//!
//! Responsible for every bound: the time of the whole, the head, the body. Not responsible for what is asked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::super::RelayError;
use super::super::report::{REPORT_BYTES, short};
use super::Tls;

/// The longest head, and how many fields it may have.
const HEAD_BYTES: usize = 16 * 1024;
const HEAD_FIELDS: usize = 64;

/// A request.
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) path: String,
    /// JSON; empty: none.
    pub(super) body: Vec<u8>,
}

/// A status and its body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

/// How relays say what is wrong.
#[derive(Deserialize)]
struct Wrong {
    error: String,
}

impl Answer {
    /// Whether it was done.
    pub(super) fn success(&self) -> Result<(), RelayError> {
        if self.status == StatusCode::OK {
            return Ok(());
        }
        let words = match serde_json::from_slice::<Wrong>(&self.body) {
            Ok(wrong) => format!("{}: {}", self.status.as_u16(), short(&wrong.error)),
            Err(_) => format!("HTTP status {}", self.status.as_u16()),
        };
        if self.status.is_server_error() || self.status == StatusCode::TOO_MANY_REQUESTS {
            Err(RelayError::NotNow(words))
        } else {
            Err(RelayError::Refused(words))
        }
    }
}

/// Asks once. What fails before the request is sent did not happen; what fails after may have.
pub(super) async fn exchange(
    admin: SocketAddr,
    tls: Option<&Tls>,
    token: Option<&HeaderValue>,
    patience: Duration,
    asked: Asked,
) -> Result<Answer, RelayError> {
    let sent = AtomicBool::new(false);
    let whole = async {
        let stream = connect(admin, tls).await?;
        let request = request(admin, token, asked)?;
        sent.store(true, Ordering::Relaxed);
        match stream {
            Stream::Plain(stream) => talk(stream, request, REPORT_BYTES).await,
            Stream::Encrypted(stream) => talk(*stream, request, REPORT_BYTES).await,
        }
    };
    timeout(patience, whole).await.unwrap_or_else(|_| {
        let words = format!("nothing within {} s", patience.as_secs_f64());
        Err(if sent.load(Ordering::Relaxed) {
            RelayError::Unknown(words)
        } else {
            RelayError::Unreachable(words)
        })
    })
}

async fn connect(admin: SocketAddr, tls: Option<&Tls>) -> Result<Stream, RelayError> {
    let stream = TcpStream::connect(admin)
        .await
        .map_err(|error| unreachable_by("connection", &error))?;
    let Some(tls) = tls else {
        return Ok(Stream::Plain(stream));
    };
    let name = match &tls.name {
        Some(name) => name.clone(),
        None => ServerName::IpAddress(admin.ip().into()),
    };
    let connector = TlsConnector::from(Arc::clone(&tls.config));
    let stream = connector.connect(name, stream).await;
    let stream = stream.map_err(|error| unreachable_by("TLS", &error))?;
    Ok(Stream::Encrypted(Box::new(stream)))
}

enum Stream {
    Plain(TcpStream),
    Encrypted(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

fn request(
    admin: SocketAddr,
    token: Option<&HeaderValue>,
    asked: Asked,
) -> Result<Request<Full<Bytes>>, RelayError> {
    let mut request = Request::builder()
        .method(asked.method)
        .uri(asked.path)
        .header(HOST, admin.to_string());
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, token.clone());
    }
    if !asked.body.is_empty() {
        request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    request
        .body(Full::new(Bytes::from(asked.body)))
        .map_err(|error| RelayError::Unreachable(format!("no request: {error}")))
}

/// Sends the request and reads the answer, of which the body has `most` bytes at most.
pub(crate) async fn talk<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    request: Request<Full<Bytes>>,
    most: usize,
) -> Result<Answer, RelayError> {
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEAD_FIELDS)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| unknown_by(&error))?;
    // Ends with this set at the latest, so that a peer that never finishes is not left behind.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let answer = sender.send_request(request).await;
    let answer = answer.map_err(|error| unknown_by(&error))?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), most)
        .collect()
        .await
        .map_err(|error| RelayError::Unknown(short(&error.to_string())))?;
    Ok(Answer {
        status,
        body: body.to_bytes(),
    })
}

fn unreachable_by(what: &str, error: &std::io::Error) -> RelayError {
    RelayError::Unreachable(short(&format!("{what}: {error}")))
}

fn unknown_by(error: &hyper::Error) -> RelayError {
    RelayError::Unknown(short(&error.to_string()))
}
