//! The fleet as a signed text that may be kept: a signalling server mints from it while no controller answers.
//!
//! Responsible for its form (RFC 7515, compact; HS256), for signing and for verifying. Not responsible for serving it, nor
//! for what is offered.
//!
//! Whoever mints holds the shared secret anyway, so that the same secret can prove that a controller wrote this: the key is
//! made of it for this one purpose, and nothing that is signed here is ever a password.

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use taciturn_protocol::time::UnixTime;

use super::offer::Offer;

/// What the key is made for.
const PURPOSE: &[u8] = b"taciturn snapshot 1";
/// How long after the fleet was seen a snapshot is good, in seconds.
const GOOD_FOR: u64 = 600;
/// The longest text that is looked at.
const LONGEST: usize = 1024 * 1024;

/// The key that snapshots are signed with: HMAC-SHA256 of a shared secret and the purpose; never printed.
#[derive(Clone)]
pub struct SnapshotKey(Hmac<Sha256>);

/// What a snapshot says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Payload {
    /// Always [`Payload::FORMAT`].
    pub format: String,
    /// The fleet's name.
    pub fleet: String,
    /// When the fleet was seen, by the controller's wall clock.
    pub iat: u64,
    /// From when on it is not to be used.
    pub exp: u64,
    /// How long credentials are to be good, in seconds, where nobody says.
    pub ttl: u64,
    /// Relays that may be named, by id; never empty.
    pub relays: Vec<SnapshotRelay>,
}

/// A relay that may be named.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SnapshotRelay {
    /// The provider's id.
    pub id: String,
    /// Where it is.
    pub zone: String,
    /// The region's name, or the part of the zone's id that stands for it.
    pub region: String,
    /// Its URLs, in the order of an answer.
    pub urls: Vec<String>,
    /// How much it has free beside the others: 1 to 1000.
    pub weight: u32,
}

/// Why a text is no snapshot that may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// It is no JWS in compact form, or longer than a mebibyte.
    #[error("is no signed text")]
    Form,
    /// Its header asks for another algorithm than HS256.
    #[error("is not signed with HS256")]
    Algorithm,
    /// It was not signed with this key, or was changed.
    #[error("has a signature that is not by this secret")]
    Signature,
    /// It is signed, and says something that this version does not know.
    #[error("has a payload of another format")]
    Payload,
    /// It is too old.
    #[error("has expired")]
    Expired,
    /// It was made later than now, by more than it is good for: kept, it would pass for good long after the fleet has changed.
    #[error("is from the future: one of two clocks is wrong")]
    Early,
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    kid: String,
}

impl Payload {
    /// The format that this version writes and reads.
    pub const FORMAT: &'static str = "taciturn-snapshot/1";

    /// What may be kept of an offer. `ttl`: in seconds.
    pub fn of(offer: &Offer, ttl: u64) -> Self {
        let seen = offer.seen.unix;
        let greatest = offer
            .candidates()
            .iter()
            .map(|candidate| candidate.weight)
            .fold(f64::MIN_POSITIVE, f64::max);
        let relays = offer.candidates().iter().map(|candidate| SnapshotRelay {
            id: candidate.id.to_string(),
            zone: candidate.zone.to_string(),
            region: candidate
                .region_name
                .clone()
                .unwrap_or_else(|| candidate.region.clone()),
            urls: candidate.urls.clone(),
            weight: thousandth(candidate.weight / greatest),
        });
        Self {
            format: Self::FORMAT.to_owned(),
            fleet: offer.fleet.clone(),
            iat: seen.as_secs(),
            exp: seen.plus_secs(GOOD_FOR).as_secs(),
            ttl,
            relays: relays.collect(),
        }
    }
}

fn thousandth(part: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1 and 1000"
    )]
    let whole = (part * 1000.0).round().clamp(1.0, 1000.0) as u32;
    whole
}

impl SnapshotKey {
    /// The key that belongs to a shared secret, which is used as it is.
    pub fn of(secret: &[u8]) -> Self {
        let key = keyed(secret).chain_update(PURPOSE).finalize().into_bytes();
        Self(keyed(&key))
    }

    /// The payload in compact form, signed. `id`: the secret's, so that whoever holds several knows which.
    pub fn sign(&self, id: &str, payload: &Payload) -> String {
        let header = Header {
            alg: "HS256".to_owned(),
            kid: id.to_owned(),
        };
        let part =
            |json: serde_json::Value| Base64UrlUnpadded::encode_string(json.to_string().as_bytes());
        let signed = format!(
            "{}.{}",
            part(serde_json::json!(header)),
            part(serde_json::json!(payload))
        );
        let code = self.0.clone().chain_update(&signed).finalize().into_bytes();
        format!("{signed}.{}", Base64UrlUnpadded::encode_string(&code))
    }

    /// What a text says, once it has proved that it was signed with this key and is still good. The time that a wrong
    /// signature takes tells nothing of the right one.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn verify(&self, text: &str, now: UnixTime) -> Result<Payload, SnapshotError> {
        let header = header(text)?;
        let (signed, code) = text.rsplit_once('.').ok_or(SnapshotError::Form)?;
        let (_, payload) = signed.split_once('.').ok_or(SnapshotError::Form)?;
        if header.alg != "HS256" {
            return Err(SnapshotError::Algorithm);
        }
        let code = decoded(code)?;
        self.0
            .clone()
            .chain_update(signed)
            .verify_slice(&code)
            .map_err(|_| SnapshotError::Signature)?;
        let payload: Payload = serde_json::from_slice(&decoded(payload)?)
            .ok()
            .filter(|payload: &Payload| payload.format == Payload::FORMAT)
            .ok_or(SnapshotError::Payload)?;
        if now.as_secs() >= payload.exp {
            return Err(SnapshotError::Expired);
        }
        if payload.iat > now.plus_secs(GOOD_FOR).as_secs() {
            return Err(SnapshotError::Early);
        }
        Ok(payload)
    }

    /// The id of the secret that a text says it is signed with, which proves nothing yet.
    ///
    /// # Errors
    /// It is no JWS in compact form.
    pub fn named_in(text: &str) -> Result<String, SnapshotError> {
        header(text).map(|header| header.kid)
    }
}

fn header(text: &str) -> Result<Header, SnapshotError> {
    let mut parts = text.split('.');
    let (Some(first), Some(_), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(SnapshotError::Form);
    };
    if text.len() > LONGEST {
        return Err(SnapshotError::Form);
    }
    serde_json::from_slice(&decoded(first)?).map_err(|_| SnapshotError::Form)
}

fn decoded(part: &str) -> Result<Vec<u8>, SnapshotError> {
    Base64UrlUnpadded::decode_vec(part).map_err(|_| SnapshotError::Form)
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("hmac takes keys of every length")
}

impl fmt::Debug for SnapshotKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SnapshotKey(..)")
    }
}
