//! Asks a running controller for its overview, as `taciturn top` does.
//!
//! Responsible for addresses (`http://`, `https://`, `unix:`), for bounds in time and bytes, and for errors that say to
//! somebody who has never met this program what to do. Not responsible for showing what comes (`overview` says what it is).

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, HOST, HeaderValue};
use hyper::{Request, StatusCode, Uri};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::observe::{Answer, RelayError, talk};
use crate::overview::Overview;

/// An answer's greatest length: some ten times that of the greatest overview.
const MOST_BYTES: usize = 4 << 20;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(8);

/// Why there is no overview.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OnlookerError {
    /// It is no address.
    #[error(
        "{0:?} is no address of a controller; write http://127.0.0.1:9640, https://NAME:PORT or unix:/PATH"
    )]
    Address(String),
    /// Over https somebody has to be trusted.
    #[error("https needs --ca: a file with the authority that signed the controller's certificate")]
    NoAuthority,
    /// The authority cannot be used.
    #[error("the authority of --ca cannot be used: {0}")]
    Authority(String),
    /// The token does not fit into a header.
    #[error(
        "the token has characters that no header can carry; a token is one line of plain characters"
    )]
    Token,
    /// Nobody is there.
    #[error(
        "no controller answers at {address}: {words}; see whether it runs, and what [api] address its configuration has"
    )]
    Unreachable {
        /// Who was asked.
        address: String,
        /// Why not.
        words: String,
    },
    /// It is there, and its certificate is not to be trusted.
    #[error(
        "{address} cannot be trusted: {words}; --ca has to hold the authority that signed its certificate"
    )]
    Untrusted {
        /// Who was asked.
        address: String,
        /// Why not.
        words: String,
    },
    /// A token is asked for.
    #[error(
        "{address} shows its fleet to those who have its token; give it with --token-file, a file with the token of [api] token-file or reader-token-file"
    )]
    TokenWanted {
        /// Who was asked.
        address: String,
    },
    /// Another token is asked for.
    #[error(
        "{address} does not know the token of --token-file; it knows those of [api] token-file and reader-token-file"
    )]
    TokenUnknown {
        /// Who was asked.
        address: String,
    },
    /// It said no, in its own words.
    #[error("{address} refuses: {words}")]
    Refused {
        /// Who was asked.
        address: String,
        /// What it said.
        words: String,
    },
    /// Something else is there.
    #[error("what answers at {address} is no controller of this kind: {words}")]
    Stranger {
        /// Who was asked.
        address: String,
        /// How that shows.
        words: String,
    },
}

/// Where a controller's API is.
#[derive(Clone, Debug)]
enum Place {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

/// Asks one controller.
pub struct Onlooker {
    address: String,
    place: Place,
    token: Option<HeaderValue>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Onlooker {
    /// For the controller at `address`, with this token, trusting the authorities of this PEM text.
    ///
    /// # Errors
    /// What of it makes no sense.
    pub fn new(
        address: &str,
        token: Option<&[u8]>,
        authorities: Option<&[u8]>,
    ) -> Result<Self, OnlookerError> {
        let (place, encrypted) = place(address)?;
        let token = token.map(|token| {
            let value = [b"Bearer ", token.trim_ascii()].concat();
            let mut value = HeaderValue::from_bytes(&value).map_err(|_| OnlookerError::Token)?;
            value.set_sensitive(true);
            Ok(value)
        });
        let tls = match (&place, encrypted) {
            (Place::Tcp { host, .. }, true) => {
                let authorities = authorities.ok_or(OnlookerError::NoAuthority)?;
                let name = ServerName::try_from(host.clone())
                    .map_err(|_| OnlookerError::Address(address.to_owned()))?;
                Some((connector(authorities)?, name))
            }
            (Place::Tcp { .. } | Place::Unix(_), _) => None,
        };
        Ok(Self {
            address: address.trim_end_matches('/').to_owned(),
            place,
            token: token.transpose()?,
            tls,
        })
    }

    /// Who is asked.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Asks once, for 8 seconds at most.
    ///
    /// # Errors
    /// Why there is no overview, and what to do.
    pub async fn overview(&self) -> Result<Overview, OnlookerError> {
        let answer = timeout(PATIENCE, self.ask()).await.unwrap_or_else(|_| {
            Err(self.unreachable(format!("nothing within {} s", PATIENCE.as_secs())))
        })?;
        self.read(&answer)
    }

    async fn ask(&self) -> Result<Answer, OnlookerError> {
        let request = self.request()?;
        let answer = match &self.place {
            Place::Unix(path) => {
                let stream = UnixStream::connect(path).await;
                talk(
                    stream.map_err(|error| self.unreachable(error))?,
                    request,
                    MOST_BYTES,
                )
                .await
            }
            Place::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await;
                let stream = stream.map_err(|error| self.unreachable(error))?;
                match &self.tls {
                    None => talk(stream, request, MOST_BYTES).await,
                    Some((connector, name)) => {
                        let stream = connector.connect(name.clone(), stream).await;
                        let stream = stream.map_err(|error| OnlookerError::Untrusted {
                            address: self.address.clone(),
                            words: error.to_string(),
                        })?;
                        talk(stream, request, MOST_BYTES).await
                    }
                }
            }
        };
        answer.map_err(|error| OnlookerError::Stranger {
            address: self.address.clone(),
            words: if let RelayError::Unknown(words) = &error {
                format!("it does not answer as HTTP does ({words})")
            } else {
                error.to_string()
            },
        })
    }

    fn request(&self) -> Result<Request<Full<Bytes>>, OnlookerError> {
        let host = match &self.place {
            Place::Unix(_) => "localhost".to_owned(),
            Place::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Place::Tcp { host, port } => format!("{host}:{port}"),
        };
        let mut request = Request::get("/v1/overview").header(HOST, host);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token.clone());
        }
        request
            .body(Full::new(Bytes::new()))
            .map_err(|_| OnlookerError::Address(self.address.clone()))
    }

    fn read(&self, answer: &Answer) -> Result<Overview, OnlookerError> {
        let address = self.address.clone();
        if answer.status == StatusCode::UNAUTHORIZED {
            return Err(match self.token {
                None => OnlookerError::TokenWanted { address },
                Some(_) => OnlookerError::TokenUnknown { address },
            });
        }
        let code = answer.status.as_u16();
        if answer.status != StatusCode::OK {
            let said = serde_json::from_slice::<Said>(&answer.body);
            return Err(match said {
                Ok(said) if answer.status != StatusCode::NOT_FOUND => OnlookerError::Refused {
                    address,
                    words: said.error.chars().take(300).collect(),
                },
                Ok(_) | Err(_) => OnlookerError::Stranger {
                    address,
                    words: format!("it answers {code} to GET /v1/overview"),
                },
            });
        }
        let overview = serde_json::from_slice::<Overview>(&answer.body).ok();
        let ours = overview.filter(|overview| overview.format == Overview::FORMAT);
        ours.ok_or_else(|| OnlookerError::Stranger {
            address,
            words: format!("its /v1/overview is not {}", Overview::FORMAT),
        })
    }

    fn unreachable(&self, words: impl fmt::Display) -> OnlookerError {
        OnlookerError::Unreachable {
            address: self.address.clone(),
            words: words.to_string(),
        }
    }
}

/// How a controller says what is wrong.
#[derive(Deserialize)]
struct Said {
    error: String,
}

/// Where it is, and whether that is over TLS.
fn place(address: &str) -> Result<(Place, bool), OnlookerError> {
    let wrong = || OnlookerError::Address(address.to_owned());
    if let Some(path) = address.strip_prefix("unix:") {
        let path = PathBuf::from(path);
        return if path.is_absolute() {
            Ok((Place::Unix(path), false))
        } else {
            Err(wrong())
        };
    }
    let uri: Uri = address.parse().map_err(|_| wrong())?;
    let encrypted = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        Some(_) | None => return Err(wrong()),
    };
    let authority = uri.authority().ok_or_else(wrong)?;
    let alone = uri.path() == "/" && uri.query().is_none() && !authority.as_str().contains('@');
    let host = authority
        .host()
        .trim_start_matches('[')
        .trim_end_matches(']');
    let odd_port = authority.as_str() != authority.host() && authority.port_u16().is_none();
    if !alone || odd_port || host.is_empty() {
        return Err(wrong());
    }
    let port = authority
        .port_u16()
        .unwrap_or(if encrypted { 443 } else { 80 });
    let host = host.to_owned();
    Ok((Place::Tcp { host, port }, encrypted))
}

fn connector(pem: &[u8]) -> Result<TlsConnector, OnlookerError> {
    let unusable = |error: rustls::Error| OnlookerError::Authority(error.to_string());
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(pem) {
        let authority = authority.map_err(|error| OnlookerError::Authority(error.to_string()))?;
        roots.add(authority).map_err(unusable)?;
    }
    if roots.is_empty() {
        return Err(OnlookerError::Authority(
            "there is no certificate in it".to_owned(),
        ));
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

impl fmt::Debug for Onlooker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Onlooker")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_of_three_forms() {
        for (address, host, port, encrypted) in [
            ("http://127.0.0.1:9640", "127.0.0.1", 9640, false),
            ("http://127.0.0.1:9640/", "127.0.0.1", 9640, false),
            ("http://[::1]:9640", "::1", 9640, false),
            ("https://fleet.example.org", "fleet.example.org", 443, true),
            ("http://localhost", "localhost", 80, false),
        ] {
            let (found, over_tls) = place(address).expect(address);
            assert!(
                matches!(&found, Place::Tcp { host: h, port: p } if h == host && *p == port),
                "{address}: {found:?}"
            );
            assert_eq!(over_tls, encrypted, "{address}");
        }
        let (found, _) = place("unix:/run/taciturn/api.sock").expect("an absolute path");
        assert!(matches!(found, Place::Unix(_)));
        for wrong in [
            "",
            "127.0.0.1:9640",
            "ftp://127.0.0.1",
            "unix:api.sock",
            "http://",
            "http://127.0.0.1:9640/v1/overview",
            "http://127.0.0.1:9640?token=x",
            "http://user:password@127.0.0.1",
            "http://127.0.0.1:port",
        ] {
            assert!(place(wrong).is_err(), "{wrong}");
        }
    }

    fn answered(status: u16, body: &str, token: Option<&[u8]>) -> Result<Overview, String> {
        let onlooker = Onlooker::new("http://127.0.0.1:1", token, None).expect("an address");
        let answer = Answer {
            status: StatusCode::from_u16(status).expect("a status"),
            body: Bytes::copy_from_slice(body.as_bytes()),
        };
        onlooker.read(&answer).map_err(|error| error.to_string())
    }

    #[test]
    fn an_answer_that_is_none_says_what_to_do() {
        let error = r#"{"error": "there is no such thing"}"#;
        for (status, body, token, words) in [
            (401, error, None, "--token-file"),
            (401, error, Some(&b"t"[..]), "does not know the token"),
            (403, r#"{"error": "a reason"}"#, None, "refuses: a reason"),
            (404, error, None, "is no controller"),
            (500, "<html>", None, "it answers 500"),
            (200, "<html>", None, "is not taciturn-overview/1"),
            (200, "{}", None, "is not taciturn-overview/1"),
            (200, r#"{"format": "another/1"}"#, None, "is no controller"),
        ] {
            let said = answered(status, body, token).expect_err(words);
            assert!(said.contains(words), "{said}");
        }
        // A later controller has more in it.
        let later =
            r#"{"format": "taciturn-overview/1", "fleet": "a", "phase_of_the_moon": "new"}"#;
        assert_eq!(answered(200, later, None).expect("an overview").fleet, "a");
    }

    #[test]
    fn https_without_an_authority_asks_for_one() {
        let error =
            Onlooker::new("https://127.0.0.1:1", None, None).expect_err("nobody is trusted");
        assert!(error.to_string().contains("--ca"), "{error}");
        let error =
            Onlooker::new("http://127.0.0.1:1", Some(b"a\nb"), None).expect_err("two lines");
        assert_eq!(error, OnlookerError::Token);
    }
}
