//! HTTP to the metadata endpoint, as IMDSv2 wants it: a token is fetched first and shown with every question.
//!
//! Responsible for bounds: a second for each try, three tries, four kibibytes. Not responsible for what the answers mean.

use core::time::Duration;
use std::sync::Arc;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{MetadataError, MetadataRequests, Outcome};

/// Where the metadata is on every instance.
const DEFAULT_ENDPOINT: &str = "http://169.254.169.254";
/// What the tools of the provider read to find it elsewhere.
const ENDPOINT_VARIABLE: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";

/// How long one try may take.
const TIMEOUT: Duration = Duration::from_secs(1);
/// How often a request is tried when nothing or nonsense comes back.
const TRIES: u32 = 3;
/// How long to wait after the first failure, and twice as long after the second.
const BACKOFF: Duration = Duration::from_millis(100);
/// The longest body that is read.
const BODY_BYTES: usize = 4096;
/// The longest head, and how many fields it may have.
const HEAD_BYTES: usize = 16 * 1024;
const HEAD_FIELDS: usize = 64;

/// How long a token is asked to be good for; the longest that there is. It is renewed when it is refused.
const TOKEN_SECONDS: &str = "21600";
const TOKEN_TTL: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");
const TOKEN: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");

/// Where the metadata is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    port: u16,
    /// As `Host` says it.
    authority: HeaderValue,
}

impl Endpoint {
    /// The instance's own, or the one that `AWS_EC2_METADATA_SERVICE_ENDPOINT` names.
    ///
    /// # Errors
    /// The variable names none.
    pub fn of_environment() -> Result<Self, MetadataError> {
        match std::env::var_os(ENDPOINT_VARIABLE) {
            None => Self::parse(DEFAULT_ENDPOINT),
            Some(named) => Self::parse(named.to_str().ok_or(MetadataError::Endpoint)?),
        }
    }

    /// Reads `http://host`, `http://host:port` or either with a final slash.
    ///
    /// # Errors
    /// It is something else.
    pub fn parse(text: &str) -> Result<Self, MetadataError> {
        let uri: Uri = text.parse().map_err(|_| MetadataError::Endpoint)?;
        let plain = uri.scheme_str() == Some("http")
            && uri.path() == "/"
            && uri.query().is_none()
            && !text.contains(['@', '#']);
        let Some(authority) = uri.authority().filter(|_| plain) else {
            return Err(MetadataError::Endpoint);
        };
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") => Some(80),
            Some(rest) => rest.strip_prefix(':').and_then(|port| port.parse().ok()),
            None => None,
        };
        let host = authority.host().trim_matches(['[', ']']);
        match (host, port) {
            ("", _) | (_, None | Some(0)) => Err(MetadataError::Endpoint),
            (host, Some(port)) => Ok(Self {
                host: host.to_owned(),
                port,
                authority: HeaderValue::from_str(authority.as_str())
                    .map_err(|_| MetadataError::Endpoint)?,
            }),
        }
    }
}

impl core::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "http://{}", self.authority.to_str().unwrap_or_default())
    }
}

/// Asks the endpoint. It keeps a token, and no connection: a question comes every few seconds at most.
#[derive(Debug)]
pub struct MetadataClient {
    endpoint: Endpoint,
    token: Mutex<Option<HeaderValue>>,
    requests: Arc<MetadataRequests>,
}

/// A status and its body.
struct Answer {
    status: StatusCode,
    body: Bytes,
}

impl MetadataClient {
    /// A client that has asked nothing yet.
    pub fn new(endpoint: Endpoint, requests: Arc<MetadataRequests>) -> Self {
        Self {
            endpoint,
            token: Mutex::new(None),
            requests,
        }
    }

    /// The value of the item `path` below `latest/meta-data/`; `None` when the instance has none. `what` is what errors
    /// call it.
    ///
    /// # Errors
    /// The endpoint gives no answer, or one that is no text of at most four kibibytes.
    pub async fn read(
        &self,
        path: &str,
        what: &'static str,
    ) -> Result<Option<String>, MetadataError> {
        let mut renewed = false;
        loop {
            let request = Asked {
                method: Method::GET,
                path: format!("/latest/meta-data/{path}"),
                what,
                header: (TOKEN, self.token().await?),
            };
            let answer = self.ask(&request).await?;
            return match answer.status {
                StatusCode::OK => String::from_utf8(answer.body.to_vec())
                    .map(Some)
                    .map_err(|_| MetadataError::Value(what)),
                StatusCode::NOT_FOUND => Ok(None),
                StatusCode::UNAUTHORIZED if !renewed => {
                    *self.token.lock().await = None;
                    renewed = true;
                    continue;
                }
                status => Err(MetadataError::Status { what, status }),
            };
        }
    }

    /// The token that was fetched last, or a new one.
    async fn token(&self) -> Result<HeaderValue, MetadataError> {
        const WHAT: &str = "the token";
        let mut kept = self.token.lock().await;
        if let Some(token) = &*kept {
            return Ok(token.clone());
        }
        let request = Asked {
            method: Method::PUT,
            path: "/latest/api/token".to_owned(),
            what: WHAT,
            header: (TOKEN_TTL, HeaderValue::from_static(TOKEN_SECONDS)),
        };
        let answer = self.ask(&request).await?;
        if answer.status != StatusCode::OK {
            return Err(MetadataError::Status {
                what: WHAT,
                status: answer.status,
            });
        }
        let mut token =
            HeaderValue::from_bytes(&answer.body).map_err(|_| MetadataError::Value(WHAT))?;
        token.set_sensitive(true);
        *kept = Some(token.clone());
        Ok(token)
    }

    /// Asks until there is an answer that is not the endpoint's own trouble, three times at most.
    async fn ask(&self, request: &Asked) -> Result<Answer, MetadataError> {
        let mut backoff = BACKOFF;
        for _ in 1..TRIES {
            match self.ask_once(request).await {
                Ok(answer) if !is_trouble(answer.status) => return Ok(answer),
                Ok(_) | Err(_) => sleep(backoff).await,
            }
            backoff *= 2;
        }
        self.ask_once(request).await
    }

    async fn ask_once(&self, request: &Asked) -> Result<Answer, MetadataError> {
        let outcome = timeout(TIMEOUT, exchange(&self.endpoint, request))
            .await
            .unwrap_or(Err(MetadataError::Timeout));
        self.requests.count(match &outcome {
            Ok(answer) => match answer.status {
                StatusCode::OK => Outcome::Success,
                StatusCode::NOT_FOUND => Outcome::NotFound,
                StatusCode::UNAUTHORIZED => Outcome::Unauthorized,
                _ => Outcome::BadAnswer,
            },
            Err(MetadataError::Timeout) => Outcome::Timeout,
            Err(MetadataError::Unreachable(_)) => Outcome::Unreachable,
            Err(_) => Outcome::BadAnswer,
        });
        outcome
    }
}

/// One request.
struct Asked {
    method: Method,
    path: String,
    what: &'static str,
    header: (HeaderName, HeaderValue),
}

/// Whether asking again may help.
fn is_trouble(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

async fn exchange(endpoint: &Endpoint, asked: &Asked) -> Result<Answer, MetadataError> {
    let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port))
        .await
        .map_err(MetadataError::Unreachable)?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEAD_FIELDS)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(MetadataError::Http)?;
    // Ends with this set at the latest, so that a peer that never finishes is not left behind.
    let mut driver = JoinSet::new();
    driver.spawn(connection);

    let (name, value) = asked.header.clone();
    let request = Request::builder()
        .method(asked.method.clone())
        .uri(asked.path.as_str())
        .header(HOST, endpoint.authority.clone())
        .header(name, value)
        .body(Empty::<Bytes>::new())
        .map_err(|_| MetadataError::Value(asked.what))?;
    let answer = sender
        .send_request(request)
        .await
        .map_err(MetadataError::Http)?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), BODY_BYTES)
        .collect()
        .await
        .map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(error) => MetadataError::Http(*error),
            Err(_) => MetadataError::TooLong(asked.what),
        })?;
    Ok(Answer {
        status,
        body: body.to_bytes(),
    })
}

/// What an error says beside its own words, for a log that shows one line.
pub(super) fn source(error: &MetadataError) -> Option<String> {
    match error {
        MetadataError::Unreachable(source) => Some(source.to_string()),
        MetadataError::Http(source) => Some(source.to_string()),
        MetadataError::Endpoint
        | MetadataError::Timeout
        | MetadataError::TooLong(_)
        | MetadataError::Status { .. }
        | MetadataError::Missing(_)
        | MetadataError::Value(_) => None,
    }
}
