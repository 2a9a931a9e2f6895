//! Whom a TLS client believes, and what it remembers of a certificate that it does not believe.
//!
//! Responsible for naming the issuer: where TLS is intercepted, that is the interceptor. Not responsible for the handshake.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use taciturn_plane::issuer_name;

use super::failure::{Failure, shown};
use crate::config::read_file;

/// Where distributions keep the authorities that they trust: Debian and its kin, Fedora and its kin, openSUSE, Alpine.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Whom to believe.
#[derive(Clone)]
pub enum Trust {
    /// A certificate for the server's name that one of these authorities has signed.
    Authorities(Arc<RootCertStore>),
    /// One of these very certificates, under whatever name.
    Pinned(Arc<[CertificateDer<'static>]>),
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authorities(roots) => f.debug_tuple("Authorities").field(&roots.len()).finish(),
            Self::Pinned(pins) => f.debug_tuple("Pinned").field(&pins.len()).finish(),
        }
    }
}

/// Why there are no authorities to believe.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// The file cannot be read.
    #[error("{} cannot be read", file.display())]
    Read {
        /// Which file.
        file: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file holds no certificate.
    #[error("{} holds no certificate in PEM", file.display())]
    Empty {
        /// Which file.
        file: PathBuf,
    },
    /// This machine has no list of authorities where distributions keep one.
    #[error("this machine has no list of certificate authorities; give one with --ca-file")]
    NoSystemList,
}

impl Trust {
    /// The authorities in a PEM file. What is no certificate in it, or one that cannot be used, is passed over.
    ///
    /// # Errors
    /// When the file cannot be read or nothing is left.
    pub fn of_file(file: &Path) -> Result<Self, TrustError> {
        let read = read_file(file).map_err(|source| TrustError::Read {
            file: file.to_path_buf(),
            source,
        })?;
        let mut roots = RootCertStore::empty();
        let certificates = CertificateDer::pem_slice_iter(&read.bytes).filter_map(Result::ok);
        roots.add_parsable_certificates(certificates);
        if roots.is_empty() {
            return Err(TrustError::Empty {
                file: file.to_path_buf(),
            });
        }
        Ok(Self::Authorities(Arc::new(roots)))
    }

    /// The authorities that this machine's distribution trusts, or the file that `SSL_CERT_FILE` names instead.
    ///
    /// # Errors
    /// When there is no list.
    pub fn of_system() -> Result<Self, TrustError> {
        if let Some(file) = std::env::var_os("SSL_CERT_FILE") {
            return Self::of_file(Path::new(&file));
        }
        BUNDLES
            .iter()
            .map(Path::new)
            .find(|file| file.exists())
            .map_or(Err(TrustError::NoSystemList), Self::of_file)
    }
}

/// Judges certificates and remembers why one was refused.
#[derive(Debug)]
pub(super) struct Verifier {
    judge: Judge,
    provider: Arc<CryptoProvider>,
    refused: Mutex<Option<Failure>>,
}

#[derive(Debug)]
enum Judge {
    Authorities(Arc<WebPkiServerVerifier>),
    Pinned(Arc<[CertificateDer<'static>]>),
}

impl Verifier {
    /// A client's settings that believe as `trust` says, and the verifier that will know why not.
    pub(super) fn client(trust: &Trust) -> Result<(Arc<ClientConfig>, Arc<Self>), Failure> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let local = |error: &dyn fmt::Display| Failure::Local(shown(&error.to_string()));
        let judge = match trust {
            Trust::Pinned(pins) => Judge::Pinned(Arc::clone(pins)),
            Trust::Authorities(roots) => Judge::Authorities(
                WebPkiServerVerifier::builder_with_provider(
                    Arc::clone(roots),
                    Arc::clone(&provider),
                )
                .build()
                .map_err(|error| local(&error))?,
            ),
        };
        let verifier = Arc::new(Self {
            judge,
            provider: Arc::clone(&provider),
            refused: Mutex::new(None),
        });
        let judging: Arc<dyn ServerCertVerifier> = Arc::<Self>::clone(&verifier);
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| local(&error))?
            .dangerous()
            .with_custom_certificate_verifier(judging)
            .with_no_client_auth();
        Ok((Arc::new(config), verifier))
    }

    /// Why the certificate was refused, if it was.
    pub(super) fn refused(&self) -> Option<Failure> {
        self.refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn remember(&self, certificate: &CertificateDer<'_>, error: &Error) {
        use CertificateError as Why;
        let issuer = issuer_name(certificate).map_or_else(
            || "an authority without a name".to_owned(),
            |name| format!("\"{}\"", shown(&name)),
        );
        let Error::InvalidCertificate(why) = error else {
            return self.keep(Failure::TlsUntrusted { issuer });
        };
        self.keep(
            if matches!(
                why,
                Why::Expired
                    | Why::ExpiredContext { .. }
                    | Why::NotValidYet
                    | Why::NotValidYetContext { .. }
            ) {
                Failure::TlsExpired { issuer }
            } else if matches!(
                why,
                Why::NotValidForName | Why::NotValidForNameContext { .. }
            ) {
                Failure::TlsName { issuer }
            } else if *why == Why::ApplicationVerificationFailure {
                Failure::TlsOther { issuer }
            } else {
                Failure::TlsUntrusted { issuer }
            },
        );
    }

    fn keep(&self, failure: Failure) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let outcome = match &self.judge {
            Judge::Authorities(judge) => {
                judge.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
            Judge::Pinned(pins) if pins.iter().any(|pin| pin == end_entity) => {
                Ok(ServerCertVerified::assertion())
            }
            Judge::Pinned(_) => Err(Error::InvalidCertificate(
                CertificateError::ApplicationVerificationFailure,
            )),
        };
        outcome.inspect_err(|error| self.remember(end_entity, error))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
