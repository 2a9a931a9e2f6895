//! The relay's certificate chain and key: loaded, matched, and refused when they are too weak to be worth anything.
//!
//! Responsible for what can be said before the first client comes. Not responsible for whether a client trusts the
//! issuer, nor for reading files (`config`).

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use taciturn_plane::{CertificateFacts, PublicKey, expiry};
use taciturn_protocol::time::UnixTime;

/// Shortest RSA key, in bits, that is accepted (RFC 9325 §4.5).
const RSA_MIN_BITS: usize = 2048;
/// Shortest RSA key, in bits, that is worth no remark.
const RSA_GOOD_BITS: usize = 3072;

/// Why a certificate chain and key cannot be used. `index` counts from the relay's own certificate, 0.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The chain is not PEM.
    #[error("the certificate chain is not valid PEM")]
    ChainPem(#[source] pem::Error),
    /// The key is not PEM, or holds no private key.
    #[error("the key is not a PEM file with a private key")]
    KeyPem(#[source] pem::Error),
    /// The chain is empty.
    #[error("the certificate chain holds no certificate")]
    Empty,
    /// The key's algorithm or encoding is not supported.
    #[error("the private key is of no supported kind (RSA, ECDSA P-256/P-384/P-521 or Ed25519)")]
    UnsupportedKey(#[source] rustls::Error),
    /// The key belongs to another certificate.
    #[error("the private key does not belong to the first certificate of the chain")]
    KeyMismatch(#[source] rustls::Error),
    /// A certificate could not be read.
    #[error("certificate {index} of the chain is malformed")]
    Malformed {
        /// Which certificate.
        index: usize,
    },
    /// A certificate was not issued by the one that follows it.
    #[error("certificate {index} of the chain was not issued by the one after it")]
    Order {
        /// Which certificate.
        index: usize,
    },
    /// A certificate is signed with MD5 or SHA-1.
    #[error("certificate {index} of the chain is signed with MD5 or SHA-1")]
    WeakSignature {
        /// Which certificate.
        index: usize,
    },
    /// An RSA key is too short.
    #[error("certificate {index} of the chain has an RSA key of {bits} bits, fewer than 2048")]
    ShortRsa {
        /// Which certificate.
        index: usize,
        /// Length of the modulus.
        bits: usize,
    },
    /// A key is on a curve that is too weak or that TLS does not use.
    #[error(
        "certificate {index} of the chain has a key on a curve other than P-256, P-384 and P-521"
    )]
    WeakCurve {
        /// Which certificate.
        index: usize,
    },
}

/// What an operator should know about a certificate that is used all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateWarning {
    /// A certificate has expired: clients will refuse it.
    Expired {
        /// Which certificate of the chain, from 0.
        index: usize,
        /// Since when.
        since: UnixTime,
    },
    /// A certificate is not valid yet: clients will refuse it.
    NotYetValid {
        /// Which certificate of the chain, from 0.
        index: usize,
        /// From when on it is.
        from: UnixTime,
    },
    /// An RSA key is shorter than the 3072 bits that are recommended today.
    ShortRsa {
        /// Which certificate of the chain, from 0.
        index: usize,
        /// Length of the modulus.
        bits: usize,
    },
}

impl fmt::Display for CertificateWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired { index, since } => {
                write!(
                    f,
                    "certificate {index} of the chain expired at {} (seconds since 1970)",
                    since.as_secs()
                )
            }
            Self::NotYetValid { index, from } => {
                write!(
                    f,
                    "certificate {index} of the chain is valid only from {} on (seconds since 1970)",
                    from.as_secs()
                )
            }
            Self::ShortRsa { index, bits } => {
                write!(
                    f,
                    "certificate {index} of the chain has an RSA key of {bits} bits; 3072 are recommended"
                )
            }
        }
    }
}

/// A certificate chain with the key of its first certificate.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub(super) certified: Arc<CertifiedKey>,
}

impl Certificate {
    /// Reads a chain, the relay's own certificate first, and its private key, both PEM.
    ///
    /// # Errors
    /// When something is malformed, does not belong together or is too weak.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(CertificateError::ChainPem)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(CertificateError::KeyPem)?;
        Self::new(chain, &key)
    }

    /// The same from DER.
    ///
    /// # Errors
    /// When something is malformed, does not belong together or is too weak.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'_>,
    ) -> Result<Self, CertificateError> {
        if chain.is_empty() {
            return Err(CertificateError::Empty);
        }
        let signing = rustls::crypto::aws_lc_rs::sign::any_supported_type(key)
            .map_err(CertificateError::UnsupportedKey)?;
        check_strength(&chain)?;
        let certified = CertifiedKey::new(chain, signing);
        certified
            .keys_match()
            .map_err(CertificateError::KeyMismatch)?;
        Ok(Self {
            certified: Arc::new(certified),
        })
    }

    /// What an operator should know at the time `now`.
    pub fn warnings(&self, now: UnixTime) -> Vec<CertificateWarning> {
        let mut warnings = Vec::new();
        for (index, certificate) in self.certified.cert.iter().enumerate() {
            let Some(facts) = CertificateFacts::parse(certificate) else {
                continue;
            };
            let not_before = UnixTime::from_secs(facts.not_before);
            let not_after = UnixTime::from_secs(facts.not_after);
            if not_after < now {
                warnings.push(CertificateWarning::Expired {
                    index,
                    since: not_after,
                });
            }
            if not_before > now {
                warnings.push(CertificateWarning::NotYetValid {
                    index,
                    from: not_before,
                });
            }
            if let PublicKey::Rsa { bits } = facts.key
                && bits < RSA_GOOD_BITS
            {
                warnings.push(CertificateWarning::ShortRsa { index, bits });
            }
        }
        warnings
    }

    /// When the first certificate of the chain to expire does so.
    pub fn expires(&self) -> Option<UnixTime> {
        expiry(&self.certified.cert).map(UnixTime::from_secs)
    }
}

fn check_strength(chain: &[CertificateDer<'_>]) -> Result<(), CertificateError> {
    let mut issuer_of_last = None;
    for (index, certificate) in chain.iter().enumerate() {
        let facts =
            CertificateFacts::parse(certificate).ok_or(CertificateError::Malformed { index })?;
        if issuer_of_last.is_some_and(|issuer| issuer != facts.subject) {
            return Err(CertificateError::Order { index: index - 1 });
        }
        // Nobody relies on the signature that a root puts on itself; it may be as old as the root.
        let is_root = index > 0 && facts.issuer == facts.subject;
        if facts.weak_signature && !is_root {
            return Err(CertificateError::WeakSignature { index });
        }
        match facts.key {
            PublicKey::Rsa { bits } if bits < RSA_MIN_BITS => {
                return Err(CertificateError::ShortRsa { index, bits });
            }
            PublicKey::OtherCurve => return Err(CertificateError::WeakCurve { index }),
            PublicKey::Rsa { .. } | PublicKey::StrongCurve | PublicKey::Other => {}
        }
        issuer_of_last = Some(facts.issuer);
    }
    Ok(())
}
