//! Keyed pseudonyms: how the log and the admin API name a client or a user without saying who it is.
//!
//! Responsible for the keys, how long each is in force, and for wiping those that no longer are. Not responsible for what
//! is logged (`events`), nor for the raw form, which only `forensics` shows.
//!
//! A pseudonym is HMAC-SHA-256 under a key of its period, cut to 64 bits: events of one client within a period can be put
//! together, and nothing else can be learnt from them without the key. IPv4 has so few addresses that an unkeyed hash
//! would hide nothing. Both families are named by the exact address: what can be put together is one host's, never one
//! network's, and who needs the network has the time-limited forensics.
//!
//! Without a key file the key is random, in memory alone, and gone when its period ends: from then on nobody can tell who
//! a line was about, not even the operator. With one, the key of a period follows from the file and the number of the
//! period, so that a fleet agrees, and whoever holds the file can name a suspect address and compare.

use core::fmt;
use core::time::Duration;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use taciturn_protocol::credentials::UserName;
use taciturn_protocol::time::{Instant, Now, UnixTime};
use zeroize::Zeroizing;

use crate::config::Log;

type Key = Zeroizing<[u8; 32]>;

/// What a key file holds, for `log.pseudonym-key-file`.
#[derive(Clone, PartialEq, Eq)]
pub struct PseudonymKey(Key);

impl PseudonymKey {
    /// Makes a key of a secret, which the configuration takes from 32 bytes on: fewer could be guessed from the pseudonyms
    /// of addresses that somebody knows.
    pub fn from_secret(secret: &[u8]) -> Self {
        let digest = Sha256::new()
            .chain_update(b"taciturn pseudonym key")
            .chain_update(secret)
            .finalize();
        Self(Zeroizing::new(digest.into()))
    }

    fn of_period(&self, number: u64) -> Key {
        Zeroizing::new(mac(&self.0, &[b"period", &number.to_be_bytes()]))
    }
}

impl fmt::Debug for PseudonymKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PseudonymKey(..)")
    }
}

/// The system gave no random bytes for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random bytes for the key of the pseudonyms")]
pub struct NoRandom;

/// Stands for a client or a user in one period; 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pseudonym(u64);

impl fmt::Display for Pseudonym {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Where keys come from and how long each is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// From a file; `None`: a random one for each period.
    pub key: Option<PseudonymKey>,
    /// The length of a period, counted from the start with random keys and from 1970-01-01 UTC with a file. At least a
    /// second.
    pub period: Duration,
}

impl Rotation {
    /// What the configuration says.
    pub fn of(settings: &Log) -> Self {
        let key = settings.pseudonym_key.as_ref();
        Self {
            key: key.map(|secret| PseudonymKey::from_secret(secret.as_bytes())),
            period: settings.pseudonym_rotation,
        }
    }
}

/// The relay's pseudonyms. Shared; asking costs two hashes and no lock.
#[derive(Debug)]
pub struct Pseudonyms {
    current: ArcSwap<Period>,
    rotation: Mutex<Rotation>,
}

/// One key and when it ends.
struct Period {
    key: Key,
    ends: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Random keys live by the monotonic clock: setting the wall clock neither ends nor prolongs one.
    At(Instant),
    /// Keys of a file live by the wall clock, as that is what a fleet shares.
    WithPeriod(u64),
}

impl fmt::Debug for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Period")
            .field("ends", &self.ends)
            .finish_non_exhaustive()
    }
}

impl Period {
    fn begin(rotation: &Rotation, now: Now) -> Result<Self, NoRandom> {
        match &rotation.key {
            Some(key) => {
                let number = period_number(rotation, now.unix);
                Ok(Self {
                    key: key.of_period(number),
                    ends: End::WithPeriod(number),
                })
            }
            None => {
                let mut key = Zeroizing::new([0; 32]);
                getrandom::fill(&mut *key).map_err(|_| NoRandom)?;
                Ok(Self {
                    key,
                    ends: End::At(now.instant + rotation.period),
                })
            }
        }
    }

    fn is_over(&self, rotation: &Rotation, now: Now) -> bool {
        match self.ends {
            End::At(end) => end <= now.instant,
            End::WithPeriod(number) => number != period_number(rotation, now.unix),
        }
    }
}

fn period_number(rotation: &Rotation, now: UnixTime) -> u64 {
    now.as_secs() / rotation.period.as_secs().max(1)
}

impl Pseudonyms {
    /// Pseudonyms whose first period begins now.
    ///
    /// # Errors
    /// The system has no random bytes for a key.
    pub fn new(rotation: Rotation, now: Now) -> Result<Self, NoRandom> {
        Ok(Self {
            current: ArcSwap::from_pointee(Period::begin(&rotation, now)?),
            rotation: Mutex::new(rotation),
        })
    }

    /// Begins the next period when this one is over, and says whether it did. The old key is wiped as soon as nobody
    /// is in the middle of using it. Called every second; a key lives on that much longer at most.
    ///
    /// # Errors
    /// The system has no random bytes for a key; the old one then stays in force.
    pub fn rotate(&self, now: Now) -> Result<bool, NoRandom> {
        let rotation = self.rotation.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.current.load().is_over(&rotation, now) {
            return Ok(false);
        }
        self.current.store(Arc::new(Period::begin(&rotation, now)?));
        Ok(true)
    }

    /// Follows other settings from now on. The key that is in force stays when nothing has changed.
    ///
    /// # Errors
    /// The system has no random bytes for a key; everything then stays as it was.
    pub fn replace(&self, new: Rotation, now: Now) -> Result<(), NoRandom> {
        let mut rotation = self.rotation.lock().unwrap_or_else(PoisonError::into_inner);
        if *rotation != new {
            self.current.store(Arc::new(Period::begin(&new, now)?));
            *rotation = new;
        }
        Ok(())
    }

    /// The name of the client at this address, whatever its port.
    pub fn client(&self, address: IpAddr) -> Pseudonym {
        match address {
            IpAddr::V4(address) => self.of(b"client", &address.octets()),
            IpAddr::V6(address) => self.of(b"client", &address.octets()),
        }
    }

    /// The name of this user: of a time-limited name `expiry:id` that of the id, so that one person has one name
    /// whichever credential is used.
    pub fn user(&self, name: &UserName) -> Pseudonym {
        self.of(b"user", name.subject())
    }

    fn of(&self, kind: &[u8], name: &[u8]) -> Pseudonym {
        let mac = mac(&self.current.load().key, &[kind, name]);
        let (first, _) = mac.split_first_chunk().expect("a mac of 32 bytes has 8");
        Pseudonym(u64::from_be_bytes(*first))
    }
}

/// The MAC over parts of which all but the last have a length that follows from the first.
fn mac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac =
        <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("hmac takes keys of every length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 7));

    fn at(seconds: u64) -> Now {
        Now {
            instant: Instant::from_nanos(seconds * 1_000_000_000),
            unix: UnixTime::from_secs(1_700_000_000 + seconds),
        }
    }

    fn random(period: u64) -> Pseudonyms {
        let rotation = Rotation {
            key: None,
            period: Duration::from_secs(period),
        };
        Pseudonyms::new(rotation, at(0)).unwrap()
    }

    fn from_file(secret: &[u8], now: Now) -> Pseudonyms {
        let rotation = Rotation {
            key: Some(PseudonymKey::from_secret(secret)),
            period: Duration::from_secs(3600),
        };
        Pseudonyms::new(rotation, now).unwrap()
    }

    fn user(name: &str) -> UserName {
        UserName::new(name.as_bytes())
    }

    #[test]
    fn one_client_has_one_name_in_a_period_and_another_one_in_the_next() {
        let pseudonyms = random(60);
        let first = pseudonyms.client(ADDRESS);
        assert_eq!(pseudonyms.rotate(at(59)), Ok(false));
        assert_eq!(pseudonyms.client(ADDRESS), first);
        assert_ne!(
            pseudonyms.client("203.0.113.8".parse().unwrap()),
            first,
            "another client"
        );
        assert_eq!(pseudonyms.rotate(at(60)), Ok(true));
        assert_ne!(pseudonyms.client(ADDRESS), first);
        assert_ne!(random(60).client(ADDRESS), first, "another start");
    }

    #[test]
    fn the_old_key_is_gone_when_its_period_is() {
        let pseudonyms = random(60);
        let old = Arc::downgrade(&pseudonyms.current.load_full());
        pseudonyms.rotate(at(60)).unwrap();
        assert!(old.upgrade().is_none(), "somebody still holds the old key");
    }

    #[test]
    fn a_user_keeps_the_name_whichever_credential_is_used() {
        let pseudonyms = random(60);
        let alice = pseudonyms.user(&user("1700000000:alice"));
        assert_eq!(pseudonyms.user(&user("1700009999:alice")), alice);
        assert_eq!(pseudonyms.user(&user("alice")), alice);
        assert_ne!(pseudonyms.user(&user("1700000000:bob")), alice);
    }

    #[test]
    fn a_user_named_like_an_address_is_not_taken_for_the_client() {
        let pseudonyms = random(60);
        let name = UserName::new(&[203, 0, 113, 7]);
        assert_ne!(pseudonyms.user(&name), pseudonyms.client(ADDRESS));
    }

    #[test]
    fn a_fleet_with_one_key_file_agrees_for_the_length_of_a_period() {
        let secret = [7; 32];
        let now = at(0);
        let (one, other) = (from_file(&secret, now), from_file(&secret, at(1)));
        let first = one.client(ADDRESS);
        assert_eq!(other.client(ADDRESS), first);
        assert_ne!(from_file(&[8; 32], now).client(ADDRESS), first);
        assert_eq!(one.rotate(at(3600)), Ok(true));
        assert_ne!(one.client(ADDRESS), first);
        assert_eq!(
            from_file(&secret, at(3600)).client(ADDRESS),
            one.client(ADDRESS),
            "one that starts later has the key of the period"
        );
    }

    #[test]
    fn a_reload_without_a_change_keeps_the_names() {
        let pseudonyms = random(60);
        let first = pseudonyms.client(ADDRESS);
        let same = Rotation {
            key: None,
            period: Duration::from_secs(60),
        };
        pseudonyms.replace(same, at(1)).unwrap();
        assert_eq!(pseudonyms.client(ADDRESS), first);
        let other = Rotation {
            key: Some(PseudonymKey::from_secret(&[7; 32])),
            period: Duration::from_secs(60),
        };
        pseudonyms.replace(other, at(1)).unwrap();
        assert_ne!(pseudonyms.client(ADDRESS), first);
    }

    #[test]
    fn a_key_is_never_shown() {
        let key = PseudonymKey::from_secret(&[7; 32]);
        assert_eq!(format!("{key:?}"), "PseudonymKey(..)");
        assert!(!format!("{:?}", from_file(&[7; 32], at(0))).contains("key: ["));
    }

    #[test]
    fn a_name_is_sixteen_hexadecimal_digits() {
        assert_eq!(Pseudonym(0xab).to_string(), "00000000000000ab");
    }
}
