//! Who may ask: whoever has the token, or a certificate of the operator's own authority.
//!
//! Responsible for the comparison and for TLS on the API's address, both exchangeable while the program runs. Not responsible
//! for requiring either beyond loopback (the configuration does), nor for web pages (`gate`).

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use subtle::{ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

use super::peer::Peer;
use super::refused::{Refusals, Refused};
use super::{Caller, Role};

/// ALPN name of HTTP/1.1.
const ALPN_HTTP: &[u8] = b"http/1.1";
/// The operator on this machine, of whom no proof is asked.
const LOCAL: &str = "local";

/// Why the API's certificates cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum TlsError {
    /// A certificate of those who issue the clients' certificates cannot be read.
    Authority(rustls::Error),
    /// Nothing can be verified with them.
    Verifier(VerifierBuilderError),
    /// The TLS library refuses the certificate or its key.
    Own(rustls::Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Authority(_) => "client-ca has a certificate that cannot be used",
            Self::Verifier(_) => "client-ca cannot be used",
            Self::Own(_) => "certificate and key cannot be used",
        })
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Authority(error) | Self::Own(error) => Some(error),
            Self::Verifier(error) => Some(error),
        }
    }
}

/// What every request but for health must carry (RFC 6750 §2.1); wiped when dropped.
#[derive(Clone)]
pub struct Token(Zeroizing<Vec<u8>>);

impl Token {
    /// These bytes.
    pub fn new(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Those whose certificates clients must present; empty: none is asked for.
pub type Authority<'a> = &'a [CertificateDer<'static>];

/// How the API is encrypted: with this certificate and key, for clients with a certificate of `authority`.
///
/// # Errors
/// What of it cannot be used.
pub fn tls(
    certificates: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
    authority: Authority<'_>,
    provider: Arc<CryptoProvider>,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<Arc<ServerConfig>, TlsError> {
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(TlsError::Own)?;
    let config = if authority.is_empty() {
        config.with_no_client_auth()
    } else {
        let mut authorities = RootCertStore::empty();
        for each in authority {
            authorities.add(each.clone()).map_err(TlsError::Authority)?;
        }
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider).build();
        config.with_client_cert_verifier(verifier.map_err(TlsError::Verifier)?)
    };
    let mut config = config
        .with_single_cert(certificates.to_vec(), key.clone_key())
        .map_err(TlsError::Own)?;
    config.alpn_protocols = vec![ALPN_HTTP.to_vec()];
    // Each connection shows the certificate anew, so that one that was taken back is of no use to the next.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// Who may ask at present.
pub struct Access {
    current: ArcSwap<Terms>,
    refusals: Refusals,
}

/// Terms that can be put in force: for a reload that must not fail half-way.
pub struct PreparedAccess(Terms);

struct Terms {
    /// What proves who asks, by tokens. An operator's token, a reader's, those of subjects.
    keys: Vec<Key>,
    /// What proves it by the name in a client's certificate.
    certified: Vec<(Box<str>, Caller)>,
    /// Whoever shows nothing is a stranger.
    closed: bool,
    /// A subject's token may stand in a query.
    query_keys: bool,
    tls: Option<Arc<ServerConfig>>,
}

/// A token, and whose it is.
struct Key {
    token: Token,
    caller: Caller,
}

impl PreparedAccess {
    /// The operator's token, or none; TLS, or none. Without a token, whoever can connect is the operator.
    pub fn new(token: Option<Token>, tls: Option<Arc<ServerConfig>>) -> Self {
        let closed = token.is_some();
        let terms = Terms {
            keys: Vec::new(),
            certified: Vec::new(),
            closed,
            query_keys: false,
            tls,
        };
        match token {
            Some(token) => Self(terms).with_token(token, Role::Operator, "operator"),
            None => Self(terms),
        }
    }

    /// A token for those who look.
    #[must_use]
    pub fn with_reader(self, token: Token) -> Self {
        self.with_token(token, Role::Reader, Role::Reader.as_str())
    }

    /// A subject that proves by this token that it is itself.
    #[must_use]
    pub fn with_subject(self, name: &str, token: Token) -> Self {
        self.with_token(token, Role::Subject, name)
    }

    /// A subject whose certificate has this DNS name. Where several match, the one that was named first counts.
    #[must_use]
    pub fn with_certified_subject(mut self, name: &str, dns_name: &str) -> Self {
        let caller = Caller {
            role: Role::Subject,
            name: name.into(),
        };
        self.0.certified.push((dns_name.into(), caller));
        self
    }

    /// Whoever shows neither a token nor a certificate of a subject is a stranger, whatever they may connect from.
    #[must_use]
    pub const fn closed(mut self) -> Self {
        self.0.closed = true;
        self
    }

    /// Whether a subject may show its token as `?key=` of a query, which proxies and logs on the way may keep.
    #[must_use]
    pub const fn with_query_keys(mut self, taken: bool) -> Self {
        self.0.query_keys = taken;
        self
    }

    fn with_token(mut self, token: Token, role: Role, name: &str) -> Self {
        let name = name.into();
        let caller = Caller { role, name };
        self.0.keys.push(Key { token, caller });
        self
    }
}

/// What a request shows for a proof.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shown<'r> {
    /// Nothing: what there is of a proof, is the connection's.
    Nothing,
    /// The `Authorization` header.
    Authorization(&'r [u8]),
    /// `?key=` of a query, as it is written.
    Key(&'r str),
}

/// A token was shown that is nobody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotKnown;

impl Access {
    /// These terms, from the start.
    pub fn new(prepared: PreparedAccess) -> Self {
        Self {
            current: ArcSwap::from_pointee(prepared.0),
            refusals: Refusals::default(),
        }
    }

    /// Others from the next request, and the next connection, on. Whether there is TLS at all does not change: nobody
    /// who is connected could be told.
    pub fn install(&self, prepared: PreparedAccess) {
        self.current.store(Arc::new(prepared.0));
    }

    /// How often each reason to turn somebody away unheard was met, by its word: for a metric.
    pub fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.refusals.counts()
    }

    pub(super) fn refuse(&self, why: Refused) {
        self.refusals.count(why);
    }

    /// What the next handshake uses; `None`: connections are not encrypted.
    pub(super) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.current.load().tls.clone()
    }

    /// Whether a request proves by itself who sends it, which a web page cannot.
    pub(super) fn is_guarded(&self) -> bool {
        let terms = self.current.load();
        terms.closed || terms.tls.is_some()
    }

    /// Whether this `Authorization` header is somebody's. For the bench that measures how long a refusal takes.
    #[doc(hidden)]
    pub fn admits(&self, authorization: &[u8]) -> bool {
        self.caller(Shown::Authorization(authorization), None)
            .is_ok()
    }

    /// Who asks. A token goes before a certificate.
    ///
    /// Every token is compared, so that the time that takes tells nothing but their lengths.
    pub(super) fn caller(&self, shown: Shown<'_>, peer: Option<&Peer>) -> Result<Caller, NotKnown> {
        let terms = self.current.load();
        match shown {
            Shown::Authorization(shown) if !terms.keys.is_empty() => {
                terms.by_token(bearer(shown).unwrap_or_default())
            }
            Shown::Key(key) if terms.query_keys => {
                let caller = terms.by_token(&unescaped(key))?;
                // Whatever stands in a query may be found in a log, and is worth no more than credentials.
                if caller.role == Role::Subject {
                    Ok(caller)
                } else {
                    Err(NotKnown)
                }
            }
            Shown::Nothing | Shown::Authorization(_) | Shown::Key(_) => {
                Ok(terms.by_connection(peer))
            }
        }
    }
}

impl Terms {
    fn by_token(&self, shown: &[u8]) -> Result<Caller, NotKnown> {
        let mut found = 0_u32;
        for (place, key) in (1..).zip(&self.keys) {
            found.conditional_assign(&place, shown.ct_eq(&key.token.0));
        }
        usize::try_from(found)
            .ok()
            .and_then(|place| self.keys.get(place.checked_sub(1)?))
            .map(|key| key.caller.clone())
            .ok_or(NotKnown)
    }

    fn by_connection(&self, peer: Option<&Peer>) -> Caller {
        let names = peer.and_then(Peer::names);
        let certified = self.certified.iter().find(|(own, _)| {
            names.is_some_and(|names| names.iter().any(|name| name.eq_ignore_ascii_case(own)))
        });
        if let Some((_, caller)) = certified {
            return caller.clone();
        }
        // An authority that certifies subjects says nothing of whom else it certifies: a signalling server that left its own
        // token out, or a name that was taken out of the configuration, would be the operator.
        let many = !self.keys.is_empty() || !self.certified.is_empty();
        let name = match names {
            _ if self.closed => return Caller::stranger(),
            Some(_) if many => return Caller::stranger(),
            Some(_) => Role::Operator.as_str(),
            None => LOCAL,
        };
        Caller {
            role: Role::Operator,
            name: name.into(),
        }
    }
}

/// The token of `Bearer <token>` (RFC 6750 §2.1); schemes are case-insensitive (RFC 9110 §11.1).
fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = authorization.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

/// What stands in a query, without its escapes (RFC 3986 §2.1); what is no escape stands for itself.
fn unescaped(text: &str) -> Zeroizing<Vec<u8>> {
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let escaped = match (first, digit(more.first()), digit(more.get(1))) {
            (b'%', Some(high), Some(low)) => u8::try_from(high * 16 + low).ok(),
            _ => None,
        };
        bytes.push(escaped.unwrap_or(*first));
        rest = more.get(2..).filter(|_| escaped.is_some()).unwrap_or(more);
    }
    bytes
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").finish_non_exhaustive()
    }
}

impl fmt::Debug for PreparedAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreparedAccess").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
