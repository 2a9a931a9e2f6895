//! How the generator proves itself to a server: a shared secret (time-limited credentials) or a fixed name and password.
//!
//! Responsible for user names, passwords and long-term keys. Not responsible for nonces.

use crate::stun::hmac_sha1;
use base64ct::{Base64, Encoding};
use md5::{Digest, Md5};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const LIFETIME: Duration = Duration::from_secs(3600);

/// Where user names and passwords come from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// `username = <expiry>:<user>`, `password = base64(HMAC-SHA1(secret, username))`.
    SharedSecret(String),
    /// One name and password for every client.
    Fixed {
        /// USERNAME.
        username: String,
        /// The password behind it.
        password: String,
    },
}

/// A user name and its password.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    /// USERNAME.
    pub(crate) username: String,
    /// The password; never sent.
    pub(crate) password: String,
}

impl Source {
    /// The credentials of the client with this number. With a shared secret each client is a user of its own, as in a real
    /// deployment, so that a server which remembers keys by user gains nothing.
    pub(crate) fn credentials(&self, client: usize) -> Credentials {
        match self {
            Self::Fixed { username, password } => Credentials {
                username: username.clone(),
                password: password.clone(),
            },
            Self::SharedSecret(secret) => {
                let now = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default();
                let username = format!("{}:load-{client}", (now + LIFETIME).as_secs());
                let password = password_for(secret, &username);
                Credentials { username, password }
            }
        }
    }
}

fn password_for(secret: &str, username: &str) -> String {
    Base64::encode_string(&hmac_sha1(secret.as_bytes(), &[username.as_bytes()]))
}

/// The MD5 long-term key (RFC 8489 §9.2.2).
pub(crate) fn long_term_key(username: &str, realm: &[u8], password: &str) -> [u8; 16] {
    let mut hash = Md5::new();
    for part in [username.as_bytes(), b":", realm, b":", password.as_bytes()] {
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_the_base64_of_an_hmac_sha1() {
        // RFC 2202 §3, test case 2.
        let digest = [
            239, 252, 223, 106, 229, 235, 47, 162, 210, 116, 22, 213, 241, 132, 223, 156, 37, 154,
            124, 121,
        ];
        assert_eq!(
            password_for("Jefe", "what do ya want for nothing?"),
            Base64::encode_string(&digest)
        );
    }

    #[test]
    fn each_client_of_a_shared_secret_is_its_own_user() {
        let source = Source::SharedSecret("s".repeat(32));
        let (one, two) = (source.credentials(1), source.credentials(2));
        assert_ne!(one.username, two.username);
        assert_eq!(one.password, password_for(&"s".repeat(32), &one.username));
    }
}
