//! TLS as the relay offers it: profiles, certificates by name, and their exchange while the relay runs.
//!
//! Responsible for what is negotiable (RFC 9325). Not responsible for running a handshake (`opening`).
//!
//! There is no resumption in any profile and so no early data either: a session ticket key would have to be shared and
//! rotated across a fleet, early data can be replayed, and a TURN client connects once a call.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::verify_server_name;
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedCipherSuite, SupportedProtocolVersion};
use taciturn_plane::dns_names;
use taciturn_protocol::time::UnixTime;

use crate::metrics::{Family, Source};

use super::certificate::Certificate;

/// ALPN name of TURN (RFC 7443 §4).
pub const ALPN_TURN: &[u8] = b"stun.turn";
/// ALPN name of STUN used for NAT discovery (RFC 7443 §4); a TURN server answers Binding requests as well.
pub const ALPN_NAT_DISCOVERY: &[u8] = b"stun.nat-discovery";
/// ALPN name of HTTP/1.1, for the health answer.
pub const ALPN_HTTP: &[u8] = b"http/1.1";

/// What may be negotiated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// TLS 1.3, and TLS 1.2 with ephemeral keys, AEAD ciphers and the extended master secret (RFC 9325).
    #[default]
    Modern,
    /// TLS 1.3 with AES-GCM; groups on NIST curves or hybrid with ML-KEM: for operators who follow the Australian ISM.
    Ism,
    /// As [`Profile::Modern`], also without the extended master secret (RFC 7627), for old TLS 1.2 clients.
    Compat,
}

impl Profile {
    /// Every profile.
    pub const ALL: [Self; 3] = [Self::Modern, Self::Ism, Self::Compat];

    /// The word used in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Modern => "modern",
            Self::Ism => "ism",
            Self::Compat => "compat",
        }
    }

    /// What the TLS library is told to use.
    pub(crate) fn provider(self) -> CryptoProvider {
        // Given explicitly: the process-wide default provider is whatever some dependency installed first.
        CryptoProvider {
            cipher_suites: self.cipher_suites(),
            kx_groups: self.groups(),
            ..aws_lc_rs::default_provider()
        }
    }

    /// TLS versions.
    pub(crate) fn versions(self) -> Vec<&'static SupportedProtocolVersion> {
        match self {
            Self::Modern | Self::Compat => vec![&TLS13, &TLS12],
            Self::Ism => vec![&TLS13],
        }
    }

    /// rustls knows no cipher suite without an AEAD cipher and an ephemeral key exchange; ours are named all the same,
    /// so that an update adds none.
    fn cipher_suites(self) -> Vec<SupportedCipherSuite> {
        let aes_gcm = [
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_AES_128_GCM_SHA256,
        ];
        let with_tls12 = [
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
            cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        ];
        match self {
            Self::Modern | Self::Compat => aes_gcm.into_iter().chain(with_tls12).collect(),
            Self::Ism => aes_gcm.to_vec(),
        }
    }

    fn groups(self) -> Vec<&'static dyn SupportedKxGroup> {
        match self {
            Self::Modern | Self::Compat => {
                vec![
                    kx_group::X25519MLKEM768,
                    kx_group::X25519,
                    kx_group::SECP256R1,
                    kx_group::SECP384R1,
                ]
            }
            Self::Ism => vec![
                kx_group::SECP256R1MLKEM768,
                kx_group::X25519MLKEM768,
                kx_group::SECP384R1,
                kx_group::SECP256R1,
            ],
        }
    }
}

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(text: &str) -> Result<Self, UnknownProfile> {
        Self::ALL
            .into_iter()
            .find(|profile| profile.as_str() == text)
            .ok_or(UnknownProfile)
    }
}

/// The text names no profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a TLS profile; there are modern, ism and compat")]
pub struct UnknownProfile;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// No certificate was given.
    #[error("TLS needs a certificate")]
    NoCertificate,
    /// The profile cannot be offered with this build of the TLS library.
    #[error("the TLS profile cannot be offered")]
    Profile(#[source] rustls::Error),
}

/// The TLS settings in force. New handshakes follow a replacement at once; connections that are there keep theirs.
pub struct TlsSettings {
    current: ArcSwap<InForce>,
}

/// The settings of the next handshake.
struct InForce {
    config: Arc<ServerConfig>,
    /// The relay's own certificates, without their chains.
    leaves: Arc<[CertificateDer<'static>]>,
    /// The DNS names in them.
    names: Vec<String>,
    /// When the first of the certificates expires, where that is known.
    expires: Option<UnixTime>,
}

impl TlsSettings {
    /// Settings with one or more certificates. The first is the default: for clients that name no server, and for
    /// those that name one that no certificate is for, as a call that reaches the relay by address or by an alias is
    /// still a call.
    ///
    /// # Errors
    /// Without a certificate, or when the TLS library cannot offer the profile.
    pub fn new(profile: Profile, certificates: Vec<Certificate>) -> Result<Self, TlsError> {
        PreparedTls::new(profile, certificates).map(Self::from)
    }

    /// Replaces profile and certificates.
    ///
    /// # Errors
    /// As [`TlsSettings::new`]; the old settings then stay in force.
    pub fn replace(
        &self,
        profile: Profile,
        certificates: Vec<Certificate>,
    ) -> Result<(), TlsError> {
        self.install(PreparedTls::new(profile, certificates)?);
        Ok(())
    }

    /// Puts prepared settings in force, which cannot fail.
    pub fn install(&self, prepared: PreparedTls) {
        self.current.store(prepared.0);
    }

    /// What the next handshake uses.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().config)
    }

    /// The DNS names that the next handshake's certificate may be for.
    pub(crate) fn names(&self) -> Vec<String> {
        self.current.load().names.clone()
    }

    /// The certificates one of which the next handshake shows, without their chains.
    pub(crate) fn leaves(&self) -> Arc<[CertificateDer<'static>]> {
        Arc::clone(&self.current.load().leaves)
    }
}

/// Settings that can be put in force: for a reload that must not fail half-way.
pub struct PreparedTls(Arc<InForce>);

impl PreparedTls {
    /// Prepares profile and certificates.
    ///
    /// # Errors
    /// As [`TlsSettings::new`].
    pub fn new(profile: Profile, certificates: Vec<Certificate>) -> Result<Self, TlsError> {
        let leaves: Arc<[CertificateDer<'static>]> = certificates
            .iter()
            .filter_map(|certificate| certificate.certified.cert.first().cloned())
            .collect();
        let names = leaves.iter().flat_map(|leaf| dns_names(leaf)).collect();
        let expires = certificates.iter().filter_map(Certificate::expires).min();
        let config = server_config(profile, certificates)?;
        Ok(Self(Arc::new(InForce {
            config,
            leaves,
            names,
            expires,
        })))
    }
}

impl From<PreparedTls> for TlsSettings {
    fn from(prepared: PreparedTls) -> Self {
        Self {
            current: ArcSwap::new(prepared.0),
        }
    }
}

impl Source for TlsSettings {
    fn families(&self) -> Vec<Family> {
        let expires = self.current.load().expires;
        vec![Family::gauges(
            "taciturn_relay_certificate_expiry_timestamp_seconds",
            "When the first certificate of the chain that is offered expires, in seconds since 1970-01-01 UTC.",
            [],
            expires.map(|expires| ([""; 0], expires.as_secs())),
        )]
    }
}

impl fmt::Debug for PreparedTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreparedTls").finish_non_exhaustive()
    }
}

impl fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSettings").finish_non_exhaustive()
    }
}

fn server_config(
    profile: Profile,
    certificates: Vec<Certificate>,
) -> Result<Arc<ServerConfig>, TlsError> {
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate);
    }
    let mut config = ServerConfig::builder_with_provider(Arc::new(profile.provider()))
        .with_protocol_versions(&profile.versions())
        .map_err(TlsError::Profile)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(ByName { certificates }));
    config.alpn_protocols = [ALPN_TURN, ALPN_NAT_DISCOVERY, ALPN_HTTP]
        .map(<[u8]>::to_vec)
        .to_vec();
    config.require_ems = profile != Profile::Compat;
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// Chooses the certificate for the name that the client asks for.
#[derive(Debug)]
struct ByName {
    /// The first is the default; never empty.
    certificates: Vec<Certificate>,
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let (default, others) = self.certificates.split_first()?;
        let named = client_hello
            .server_name()
            .filter(|_| !others.is_empty())
            .and_then(|name| {
                let name = ServerName::try_from(name).ok()?;
                self.certificates
                    .iter()
                    .find(|certificate| certificate.is_for(&name))
            });
        Some(Arc::clone(&named.unwrap_or(default).certified))
    }
}

impl Certificate {
    fn is_for(&self, name: &ServerName<'_>) -> bool {
        let Ok(own) = self.certified.end_entity_cert() else {
            return false;
        };
        ParsedCertificate::try_from(own).is_ok_and(|own| verify_server_name(&own, name).is_ok())
    }
}
