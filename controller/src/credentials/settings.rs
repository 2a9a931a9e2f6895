//! What minting is configured with, as plain values that are ready to be used.
//!
//! Responsible for their form. Not responsible for reading or judging them (`config`).

use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use taciturn_protocol::credentials::{HmacHash, SecretError, SharedSecret};

use super::snapshot::SnapshotKey;
use super::urls::Host;
use crate::config;

/// `[credentials]`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long credentials are good where a caller does not say.
    pub ttl: Duration,
    /// The most that a caller may ask for.
    pub max_ttl: Duration,
    /// How relays are called in URLs.
    pub host: Host,
    /// Relays named in an answer: 1 to 4.
    pub relays: usize,
    /// The token may stand in the query, as draft-uberti has it.
    pub query_key: bool,
    /// Secrets, the newest first; empty as long as the local provider has not made its own.
    pub secrets: Vec<MintingSecret>,
    /// Those who may ask, by name.
    pub subjects: BTreeMap<Arc<str>, Subject>,
}

impl Settings {
    /// What is configured; `None`: nothing is to be minted. Reads the file of the local provider's secret, where that is the
    /// one.
    ///
    /// # Errors
    /// A secret cannot be read or used; in words.
    pub fn of(config: Option<&config::Credentials>) -> Result<Option<Self>, String> {
        let Some(config) = config else {
            return Ok(None);
        };
        let mut secrets = Vec::new();
        for secret in &config.secrets {
            let usable = MintingSecret::new(&secret.id, secret.bytes.as_bytes(), secret.hash);
            secrets.push(usable.map_err(|error| format!("secret {}: {error}", secret.id))?);
        }
        if let Some(file) = &config.local_secret {
            let unusable = |error: String| format!("secret {}: {error}", file.display());
            match config::read_file(file) {
                Ok(read) => {
                    let id = config::Credentials::LOCAL_ID;
                    let bytes = config::one_line_end_off(&read.bytes);
                    let usable = MintingSecret::new(id, bytes, HmacHash::Sha256);
                    secrets.push(usable.map_err(|error| unusable(error.to_string()))?);
                }
                // It comes with the first relay, and there is nothing to mint for before that.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(unusable(error.to_string())),
            }
        }
        let subject = |subject: &config::Subject| {
            let limit = Limit {
                rate: subject.rate,
                burst: subject.burst,
            };
            let max_ttl = Some(subject.max_ttl);
            (Arc::clone(&subject.name), Subject { limit, max_ttl })
        };
        Ok(Some(Self {
            ttl: config.ttl,
            max_ttl: config.max_ttl,
            host: Host {
                form: config.host.clone(),
                tls_by_address: config.tls_by_address,
            },
            relays: config.relays,
            query_key: config.query_key,
            secrets,
            subjects: config.subjects.iter().map(subject).collect(),
        }))
    }
}

/// A secret that is minted with.
#[derive(Clone)]
pub struct MintingSecret {
    /// It, under its id.
    pub secret: SharedSecret,
    /// The hash that passwords are made with.
    pub hash: HmacHash,
    /// What snapshots are signed with.
    pub snapshot_key: SnapshotKey,
}

impl MintingSecret {
    /// From a secret's bytes, which are used as they are.
    ///
    /// # Errors
    /// They are fewer than 32.
    pub fn new(id: &str, bytes: &[u8], hash: HmacHash) -> Result<Self, SecretError> {
        let hashes = taciturn_protocol::credentials::Hashes::BOTH;
        Ok(Self {
            secret: SharedSecret::new(id, bytes, hashes)?,
            hash,
            snapshot_key: SnapshotKey::of(bytes),
        })
    }
}

impl fmt::Debug for MintingSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.secret.fmt(f)
    }
}

/// One who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// How often.
    pub limit: Limit,
    /// The most that it may ask for, where it is less than what everybody may.
    pub max_ttl: Option<Duration>,
}

/// A rate and how far above it one may go for a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Answers a second.
    pub rate: u32,
    /// Answers at once after a pause.
    pub burst: u32,
}

impl Default for Limit {
    fn default() -> Self {
        Self {
            rate: 50,
            burst: 100,
        }
    }
}
