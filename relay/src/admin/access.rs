//! Who may ask the admin API: whoever has the token, or a certificate of the operator's own authority.
//!
//! Responsible for the comparison and for TLS on the admin address, both exchangeable while the relay runs. Not responsible
//! for requiring either beyond loopback (`config`), nor for web pages (`gate`).

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use subtle::ConstantTimeEq;

use super::refused::Refusals;
use crate::config::{self, AdminTls, SecretBytes};
use crate::listener::certificate::{Certificate, CertificateError};
use crate::listener::tls::{ALPN_HTTP, Profile};

/// Why the `[admin]` section's certificates cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// The chain, or the key, or the two together.
    #[error("[admin] certificate and key cannot be used")]
    Certificate(#[from] CertificateError),
    /// A certificate of `client-ca` cannot be read.
    #[error("[admin] client-ca has a certificate that cannot be used")]
    Authority(#[source] rustls::Error),
    /// Nothing can be verified with `client-ca`.
    #[error("[admin] client-ca cannot be used")]
    Verifier(#[from] VerifierBuilderError),
    /// The TLS library refuses.
    #[error("[admin] TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

/// Who may ask at present.
pub struct Access {
    current: ArcSwap<Terms>,
    refusals: Refusals,
}

/// Terms that can be put in force: for a reload that must not fail half-way.
pub struct PreparedAccess(Arc<Terms>);

struct Terms {
    token: Option<SecretBytes>,
    tls: Option<Arc<ServerConfig>>,
}

impl PreparedAccess {
    /// Prepares what the `[admin]` section says; TLS follows the profile of the listeners.
    ///
    /// # Errors
    /// What of it cannot be used.
    pub fn new(admin: &config::Admin, profile: Profile) -> Result<Self, AccessError> {
        let tls = admin.tls.as_ref().map(|tls| server_config(tls, profile));
        Ok(Self(Arc::new(Terms {
            token: admin.token.clone(),
            tls: tls.transpose()?,
        })))
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

    /// Who was turned away.
    pub(super) const fn refusals(&self) -> &Refusals {
        &self.refusals
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
            .is_some_and(|given| bool::from(given.ct_eq(token.as_bytes())))
    }
}

/// The token of `Bearer <token>` (RFC 6750 §2.1); schemes are case-insensitive (RFC 9110 §11.1).
fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = authorization.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

fn server_config(tls: &AdminTls, profile: Profile) -> Result<Arc<ServerConfig>, AccessError> {
    // Judges the chain as it does those of the listeners.
    drop(Certificate::new(tls.certificates.clone(), &tls.key)?);
    let provider = Arc::new(profile.provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&profile.versions())?;
    let config = if tls.client_ca.is_empty() {
        config.with_no_client_auth()
    } else {
        let mut authorities = RootCertStore::empty();
        for authority in &tls.client_ca {
            authorities
                .add(authority.clone())
                .map_err(AccessError::Authority)?;
        }
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider).build()?;
        config.with_client_cert_verifier(verifier)
    };
    let mut config = config.with_single_cert(tls.certificates.clone(), tls.key.clone_key())?;
    config.alpn_protocols = vec![ALPN_HTTP.to_vec()];
    // Each connection shows the certificate anew, so that one that was taken back is of no use to the next.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
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
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::config::AdminAddress;

    fn access(token: Option<&[u8]>) -> Access {
        let admin = config::Admin {
            address: AdminAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 0))),
            token: token.map(SecretBytes::new),
            tls: None,
        };
        Access::new(PreparedAccess::new(&admin, Profile::Modern).unwrap())
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
        let admin = config::Admin {
            address: AdminAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 0))),
            token: Some(SecretBytes::new(b"second-second-second-second-second")),
            tls: None,
        };
        guarded.install(PreparedAccess::new(&admin, Profile::Modern).unwrap());
        assert!(!guarded.admits(Some(b"Bearer first-first-first-first-first-first")));
        assert!(guarded.admits(Some(b"Bearer second-second-second-second-second")));
    }
}
