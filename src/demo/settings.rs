//! The demo's relay.toml: written here, read by the same code as an operator's.
//!
//! Nothing touches the disk: the files that the configuration names are handed to its reader from memory.

use std::io;
use std::path::Path;

use base64ct::{Base64, Encoding as _};
use taciturn_protocol::credentials::{Hashes, SharedSecret};
use taciturn_relay::config::{self, Config, FileRead};

use super::certificate::TestAuthority;

/// The realm of the demo's credentials.
pub(crate) const REALM: &str = "demo.taciturn.invalid";

/// Which ports the listeners take.
#[derive(Clone, Copy)]
pub(crate) enum Ports {
    /// Those that TURN is known by: 3478, and 5349 for TLS.
    Usual,
    /// Any that are free.
    Any,
}

/// 32 random bytes as text.
pub(crate) fn random_secret() -> anyhow::Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| anyhow::anyhow!("the system gives no random bytes: {error}"))?;
    Ok(Base64::encode_string(&bytes))
}

/// The secret as the relay knows it.
pub(crate) fn shared(secret: &str) -> anyhow::Result<SharedSecret> {
    SharedSecret::new(
        "demo",
        secret.as_bytes(),
        Hashes {
            sha1: true,
            sha256: true,
        },
    )
    .map_err(|error| anyhow::anyhow!("{error}"))
}

/// The configuration.
pub(crate) fn config(
    ports: Ports,
    authority: &TestAuthority,
    secret: &str,
) -> anyhow::Result<Config> {
    let (plain, tls) = match ports {
        Ports::Usual => (3478, 5349),
        Ports::Any => (0, 0),
    };
    let text = format!(
        r#"
realm = "{REALM}"
[[listener]]
transport = "udp"
address = "127.0.0.1:{plain}"
[[listener]]
transport = "tcp"
address = "127.0.0.1:{plain}"
[[listener]]
transport = "tls"
address = "127.0.0.1:{tls}"
[relayed]
addresses = ["127.0.0.1"]
[tls]
certificate = "certificate.pem"
key = "key.pem"
[[secret]]
id = "demo"
file = "secret"
[peers]
allow-loopback = true
[limits]
unauthenticated-per-second = 0
[admin]
address = "127.0.0.1:0"
"#
    );
    let mut read = |path: &Path| -> io::Result<FileRead> {
        let bytes = match path.file_name().and_then(|name| name.to_str()) {
            Some("certificate.pem") => &authority.certificate_pem,
            Some("key.pem") => &authority.key_pem,
            Some("secret") => secret,
            Some(_) | None => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(FileRead {
            bytes: zeroize::Zeroizing::new(bytes.as_bytes().to_vec()),
            open_to_others: false,
            writable_by_others: false,
        })
    };
    config::parse(&text, Path::new("the demo's configuration"), &mut read)
        .map_err(|errors| anyhow::anyhow!("{errors}"))
}
