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

use super::bounded::Peer;
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

    fn with_token(mut self, token: Token, role: Role, name: &str) -> Self {
        let name = name.into();
        let caller = Caller { role, name };
        self.0.keys.push(Key { token, caller });
        self
    }
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

    /// Who asks with this `Authorization` header over this connection. A token goes before a certificate.
    ///
    /// Every token is compared, so that the time that takes tells nothing but their lengths.
    pub(super) fn caller(
        &self,
        authorization: Option<&[u8]>,
        peer: Option<&Peer>,
    ) -> Result<Caller, NotKnown> {
        let terms = self.current.load();
        match authorization {
            Some(shown) if !terms.keys.is_empty() => {
                terms.by_token(bearer(shown).unwrap_or_default())
            }
            Some(_) | None => Ok(terms.by_connection(peer)),
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
mod tests {
    use super::*;

    fn access(token: Option<&[u8]>) -> Access {
        Access::new(PreparedAccess::new(token.map(Token::new), None))
    }

    fn admits(access: &Access, authorization: Option<&[u8]>) -> bool {
        let caller = access.caller(authorization, None);
        caller.is_ok_and(|caller| caller.role == Role::Operator)
    }

    /// only the whole token will do, in the form that HTTP has for it.
    #[test]
    fn only_the_token_is_admitted() {
        let open = access(None);
        assert!(admits(&open, None) && admits(&open, Some(b"Bearer anything")));
        assert!(!open.is_guarded());

        let token = b"0123456789abcdef0123456789abcdef";
        let guarded = access(Some(token));
        assert!(guarded.is_guarded());
        for good in ["Bearer ", "bearer ", "BEARER "] {
            let header = [good.as_bytes(), token].concat();
            assert!(admits(&guarded, Some(&header)), "{good}");
        }
        assert!(!admits(&guarded, None));
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer 0123456789abcdef0123456789abcde",
            "Bearer 0123456789abcdef0123456789abcdef0",
            "Bearer 0123456789abcdef0123456789abcdeF",
            "Bearer  0123456789abcdef0123456789abcdef",
            "Basic 0123456789abcdef0123456789abcdef",
            "0123456789abcdef0123456789abcdef",
        ] {
            assert!(!admits(&guarded, Some(wrong.as_bytes())), "{wrong}");
        }
    }

    #[test]
    fn another_token_counts_from_the_next_request_on() {
        let guarded = access(Some(b"first-first-first-first-first-first"));
        let token = Token::new(b"second-second-second-second-second");
        guarded.install(PreparedAccess::new(Some(token), None));
        assert!(!admits(
            &guarded,
            Some(b"Bearer first-first-first-first-first-first")
        ));
        assert!(admits(
            &guarded,
            Some(b"Bearer second-second-second-second-second")
        ));
    }
}
