//! Who may use the relay: long-term credentials (RFC 8489 §9.2), time-limited or static, and the nonces that go with them.
//!
//! Responsible for preparing strings, deriving keys, minting and verifying. Not responsible for the order of checks and the
//! answers (`server`), nor for reading key files (the relay). Time and randomness are arguments.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

mod by_hash;
mod directory;
mod key;
mod nonce;
mod opaque_string;
mod realm;
mod revocations;
mod secret;
mod static_user;
mod time_limited;

#[cfg(test)]
mod tests;

pub use directory::{Directory, Expiry, UserName, Verified, WrongCredentials};
pub use key::{LongTermKey, OFFERED_ALGORITHMS, PasswordAlgorithm};
pub use nonce::{Features, NONCE_LEN, Nonce, NonceError, NonceKey, Nonces};
pub use opaque_string::{OpaqueStringError, prepare_opaque_string};
pub(crate) use realm::strip;
pub use realm::{Realm, RealmError};
pub use revocations::{
    ListVersion, RevocationError, RevocationList, Revocations, RevokedKey, RevokedUser,
};
pub use secret::{Hashes, HmacHash, SecretError, SharedSecret};
pub use static_user::{KeyTextError, StaticKeys, StaticUser};
pub use time_limited::{Credentials, MintError, mint, password_for, time_limited_expiry};
