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
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::refused::{Refusals, Refused};

/// ALPN name of HTTP/1.1.
const ALPN_HTTP: &[u8] = b"http/1.1";

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
pub struct PreparedAccess(Arc<Terms>);

struct Terms {
    token: Option<Token>,
    tls: Option<Arc<ServerConfig>>,
}

impl PreparedAccess {
    /// A token, or none; TLS, or none.
    pub fn new(token: Option<Token>, tls: Option<Arc<ServerConfig>>) -> Self {
        Self(Arc::new(Terms { token, tls }))
    }
}

impl Access {
    /// These terms, from the start.
    pub fn new(prepared: PreparedAccess) -> Self {
        Self {
            current: ArcSwap::new(prepared.0),
            refusals: Refusals::default(),
        }
    }

    /// Others from the next request, and the next connection, on. Whether there is TLS at all does not change: nobody
    /// who is connected could be told.
    pub fn install(&self, prepared: PreparedAccess) {
        self.current.store(prepared.0);
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
        terms.token.is_some() || terms.tls.is_some()
    }

    /// Whether this `Authorization` header will do. The time that takes tells nothing of the token but its length.
    pub(super) fn admits(&self, authorization: Option<&[u8]>) -> bool {
        let terms = self.current.load();
        let Some(token) = &terms.token else {
            return true;
        };
        authorization
            .and_then(bearer)
            .is_some_and(|given| bool::from(given.ct_eq(&token.0)))
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

    /// only the whole token will do, in the form that HTTP has for it.
    #[test]
    fn only_the_token_is_admitted() {
        let open = access(None);
        assert!(open.admits(None) && open.admits(Some(b"Bearer anything")));
        assert!(!open.is_guarded());

        let token = b"0123456789abcdef0123456789abcdef";
        let guarded = access(Some(token));
        assert!(guarded.is_guarded());
        for good in ["Bearer ", "bearer ", "BEARER "] {
            let header = [good.as_bytes(), token].concat();
            assert!(guarded.admits(Some(&header)), "{good}");
        }
        assert!(!guarded.admits(None));
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
            assert!(!guarded.admits(Some(wrong.as_bytes())), "{wrong}");
        }
    }

    #[test]
    fn another_token_counts_from_the_next_request_on() {
        let guarded = access(Some(b"first-first-first-first-first-first"));
        let token = Token::new(b"second-second-second-second-second");
        guarded.install(PreparedAccess::new(Some(token), None));
        assert!(!guarded.admits(Some(b"Bearer first-first-first-first-first-first")));
        assert!(guarded.admits(Some(b"Bearer second-second-second-second-second")));
    }
}
