//! The `[admin]` section's token and certificates, ready for the API (`taciturn_plane` compares and encrypts).
//!
//! Not responsible for requiring either beyond loopback (`config`).

use std::sync::Arc;

use taciturn_plane::{Access, PreparedAccess, TlsError, Token, tls};

use crate::config;
use crate::listener::certificate::{Certificate, CertificateError};
use crate::listener::tls::Profile;
use crate::metrics::{Family, Source};

/// Why the `[admin]` section's certificates cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// The chain, or the key, or the two together.
    #[error("[admin] certificate and key cannot be used")]
    Certificate(#[from] CertificateError),
    /// The TLS library refuses them, or `client-ca`.
    #[error("[admin] TLS cannot be set up")]
    Tls(#[from] TlsError),
}

/// Prepares what the `[admin]` section says; TLS follows the profile of the listeners.
///
/// # Errors
/// What of it cannot be used.
pub fn prepare(admin: &config::Admin, profile: Profile) -> Result<PreparedAccess, AccessError> {
    let token = admin
        .token
        .as_ref()
        .map(|token| Token::new(token.as_bytes()));
    let Some(ours) = &admin.tls else {
        return Ok(PreparedAccess::new(token, None));
    };
    // Judges the chain as it does those of the listeners.
    drop(Certificate::new(ours.certificates.clone(), &ours.key)?);
    let provider = Arc::new(profile.provider());
    let tls = tls(
        &ours.certificates,
        &ours.key,
        &ours.client_ca,
        provider,
        &profile.versions(),
    )?;
    Ok(PreparedAccess::new(token, Some(tls)))
}

/// Somebody who tries the API's door is seen.
#[derive(Debug)]
pub struct Refusals(pub Arc<Access>);

impl Source for Refusals {
    fn families(&self) -> Vec<Family> {
        vec![Family::counters(
            "taciturn_relay_admin_refusals_total",
            "Requests and connections that the admin API turned away unheard, by reason.",
            ["reason"],
            self.0.refusals().map(|(reason, count)| ([reason], count)),
        )]
    }
}
