//! What is to be tried, and with which credentials: from the command line, a relay's configuration, or a list of ICE servers.
//!
//! Responsible for reading them and for refusing what makes no sense. Not responsible for trying.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path as FilePath;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use serde_json::Value;
use taciturn_protocol::address::Transport;
use taciturn_protocol::credentials::{HmacHash, SharedSecret, mint};
use taciturn_protocol::uri::ServerUri;
use taciturn_relay::clock::Clock;
use taciturn_relay::config::{Config, ListenerTransport};
use taciturn_relay::probe::paths::{Path, from_inside};
use taciturn_relay::probe::{Login, Trust};
use zeroize::Zeroizing;

use crate::check_config;
use crate::cli::{HashName, ProbeOptions};
use crate::credentials;

/// How long a credential lasts that is made for this run.
const TTL: Duration = Duration::from_secs(600);
/// The user that it is made for.
const USER: &str = "probe";
/// The environment variable with the password.
const PASSWORD: &str = "TACITURN_PASSWORD";
/// The most that is read of a list of ICE servers, and the most paths that are tried.
const MAX_LIST_BYTES: u64 = 1024 * 1024;
const MAX_ATTEMPTS: usize = 64;
/// The longest USERNAME that may be sent (RFC 8489 §14.3).
const MAX_USERNAME_BYTES: usize = 508;

/// One path, and how to get in there.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) path: Path,
    pub(crate) login: Login,
    pub(crate) trust: Trust,
}

/// Everything that is to be tried, in order.
pub(crate) fn attempts(options: &ProbeOptions) -> anyhow::Result<Vec<Attempt>> {
    let attempts = if let Some(file) = &options.config {
        of_config(&check_config::relay::load(file)?, options)?
    } else if let Some(file) = &options.ice_servers {
        let servers = read_ice_servers(file)?;
        let paths: Vec<&Path> = servers.iter().map(|(path, _)| path).collect();
        let trust = trust(options, &paths)?;
        servers
            .into_iter()
            .map(|(path, login)| Attempt {
                path,
                login,
                trust: trust.clone(),
            })
            .collect()
    } else {
        let paths: Vec<&Path> = options.uri.iter().flat_map(|named| &named.paths).collect();
        let trust = trust(options, &paths)?;
        let login = login(options)?;
        paths
            .into_iter()
            .map(|path| Attempt {
                path: path.clone(),
                login: login.clone(),
                trust: trust.clone(),
            })
            .collect()
    };
    match attempts.len() {
        0 => bail!("there is no path to try"),
        1..=MAX_ATTEMPTS => Ok(attempts),
        many => bail!("{many} paths are more than the {MAX_ATTEMPTS} that are tried at once"),
    }
}

/// Whom to trust; nobody is needed without TLS.
fn trust(options: &ProbeOptions, paths: &[&Path]) -> anyhow::Result<Trust> {
    if let Some(file) = &options.ca_file {
        return Trust::of_file(file).context("--ca-file");
    }
    if paths.iter().any(|path| path.transport == Transport::Tls) {
        Ok(Trust::of_system()?)
    } else {
        Ok(Trust::Pinned(Vec::new().into()))
    }
}

fn login(options: &ProbeOptions) -> anyhow::Result<Login> {
    if let Some(file) = &options.secret_file {
        let secret = credentials::load_secret(file)?;
        let hash = match options.hash {
            HashName::Sha1 => HmacHash::Sha1,
            HashName::Sha256 => HmacHash::Sha256,
        };
        return minted(&secret, hash, TTL);
    }
    let Some(username) = &options.username else {
        bail!("credentials are needed: --username with a password, or --secret-file");
    };
    check_username(username)?;
    Ok(Login {
        username: username.clone(),
        password: password(options)?,
    })
}

/// No relay would answer another name, and the network would be blamed for it.
fn check_username(username: &str) -> anyhow::Result<()> {
    match username.len() {
        1..=MAX_USERNAME_BYTES => Ok(()),
        0 => bail!("the user name is empty"),
        long => {
            bail!(
                "the user name has {long} bytes, and {MAX_USERNAME_BYTES} are the most that can be sent"
            )
        }
    }
}

fn password(options: &ProbeOptions) -> anyhow::Result<Zeroizing<String>> {
    let password = if let Some(file) = &options.password_file {
        credentials::read_first_line(file)
            .with_context(|| format!("cannot read the password {}", file.display()))?
    } else if let Some(password) = std::env::var_os(PASSWORD) {
        let password = password
            .into_string()
            .map_err(|_| anyhow!("{PASSWORD} is not UTF-8"))?;
        Zeroizing::new(password)
    } else {
        credentials::ask_password()?
    };
    if password.is_empty() {
        bail!("the password is empty");
    }
    Ok(password)
}

fn minted(secret: &SharedSecret, hash: HmacHash, ttl: Duration) -> anyhow::Result<Login> {
    let minted = mint(secret, hash, USER, ttl, Clock::start().unix())
        .context("no credential can be made with the secret")?;
    Ok(Login {
        username: minted.username,
        password: Zeroizing::new(minted.password),
    })
}

/// A relay's listeners, as they are reached from its own host.
fn of_config(config: &Config, options: &ProbeOptions) -> anyhow::Result<Vec<Attempt>> {
    let Some(secret) = config.secrets.first() else {
        bail!(
            "the configuration has no secret to make a credential with: name its listeners by --uri and a user by --username"
        );
    };
    let hash = if secret.hashes().accepts(HmacHash::Sha256) {
        HmacHash::Sha256
    } else {
        HmacHash::Sha1
    };
    let login = minted(secret, hash, TTL.min(config.credentials.max_ttl))?;
    // The certificate is the relay's own, whatever name it has.
    let pins = config
        .tls
        .as_ref()
        .and_then(|tls| tls.certificates.first().cloned());
    let trust = match &options.ca_file {
        Some(file) => Trust::of_file(file).context("--ca-file")?,
        None => Trust::Pinned(pins.into_iter().collect()),
    };
    let mut attempts = Vec::new();
    for listener in &config.listeners {
        if listener.address.port() == 0 {
            bail!(
                "the listener {} {} has any port that is free: look in the relay's log and name it by --uri",
                listener.transport.as_str(),
                listener.address
            );
        }
        let transports: &[Transport] = match listener.transport {
            ListenerTransport::Udp => &[Transport::Udp],
            ListenerTransport::Tcp => &[Transport::Tcp],
            ListenerTransport::Tls => &[Transport::Tls],
            ListenerTransport::Auto => &[Transport::Tcp, Transport::Tls],
        };
        attempts.extend(transports.iter().map(|transport| Attempt {
            path: Path::of_address(*transport, from_inside(listener.address)),
            login: login.clone(),
            trust: trust.clone(),
        }));
    }
    Ok(attempts)
}

fn read_ice_servers(file: &FilePath) -> anyhow::Result<Vec<(Path, Login)>> {
    let mut text = Zeroizing::new(Vec::new());
    let read = if file == FilePath::new("-") {
        io::stdin()
            .lock()
            .take(MAX_LIST_BYTES + 1)
            .read_to_end(&mut text)
    } else {
        File::open(file).and_then(|file| file.take(MAX_LIST_BYTES + 1).read_to_end(&mut text))
    };
    read.with_context(|| format!("cannot read the list of ice servers {}", file.display()))?;
    if text.len() as u64 > MAX_LIST_BYTES {
        bail!("{} is longer than 1 MiB", file.display());
    }
    ice_servers(&text).with_context(|| format!("{} is refused", file.display()))
}

/// The relays in a list of ICE servers as browsers take it: an object with `iceServers`, or the list alone.
fn ice_servers(text: &[u8]) -> anyhow::Result<Vec<(Path, Login)>> {
    let value: Value = serde_json::from_slice(text).context("it is not JSON")?;
    let named = value.get("iceServers");
    if value.is_object() && named.is_none() {
        bail!("it has no list named iceServers");
    }
    let list = named.unwrap_or(&value).as_array().ok_or_else(|| {
        anyhow!("it is neither a list of ice servers nor an object with iceServers")
    })?;
    let mut found = Vec::new();
    for (number, server) in list.iter().enumerate() {
        let urls = match server.get("urls").or_else(|| server.get("url")) {
            Some(Value::String(one)) => vec![one.as_str()],
            Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
            _ => bail!("ice server {number} has no urls"),
        };
        for url in urls {
            let uri: ServerUri = url
                .parse()
                .map_err(|error| anyhow!("ice server {number}: {} {error}", shown(url)))?;
            if !uri.scheme.is_relay() {
                continue;
            }
            let path = Path::of_uri(&uri)
                .map_err(|error| anyhow!("ice server {number}: {} {error}", shown(url)))?;
            let word = |key: &str| server.get(key).and_then(Value::as_str);
            let (Some(username), Some(password)) = (word("username"), word("credential")) else {
                bail!("ice server {number} has a relay and no username and credential for it");
            };
            check_username(username).with_context(|| format!("ice server {number}"))?;
            let login = Login {
                username: username.to_owned(),
                password: Zeroizing::new(password.to_owned()),
            };
            found.push((path, login));
        }
    }
    Ok(found)
}

/// A URI as an error may quote it: escaped, cut, and without what stands before an `@`, which may be a password.
fn shown(url: &str) -> String {
    const LONGEST: usize = 80;
    let place = url.rsplit_once('@').map_or(url, |(_, place)| place);
    let cut: String = place.chars().take(LONGEST).collect();
    let more = if cut.len() < place.len() { "..." } else { "" };
    let hidden = if place.len() < url.len() { "...@" } else { "" };
    format!("{:?}", format!("{hidden}{cut}{more}"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    fn uris(text: &str) -> Vec<String> {
        let found = ice_servers(text.as_bytes()).unwrap();
        found.iter().map(|(path, _)| path.uri()).collect()
    }

    #[test]
    fn the_list_is_read_in_the_forms_that_servers_hand_out() {
        let relay = r#"{"urls": ["stun:a.example", "turn:a.example", "turns:a.example:443?transport=tcp"], "username": "u", "credential": "p"}"#;
        let expected = [
            "turn:a.example:3478?transport=udp",
            "turns:a.example:443?transport=tcp",
        ];
        assert_eq!(uris(&format!("[{relay}]")), expected);
        assert_eq!(
            uris(&format!(r#"{{"iceServers": [{relay}], "ttl": 600}}"#)),
            expected
        );
        let single = r#"[{"urls": "stun:b.example"}, {"url": "turn:b.example", "username": "u", "credential": "p"}]"#;
        assert_eq!(uris(single), ["turn:b.example:3478?transport=udp"]);
    }

    #[test]
    fn a_list_that_makes_no_sense_is_refused_with_the_place() {
        for (text, why) in [
            ("", "not JSON"),
            ("3", "neither"),
            (r#"{"servers": []}"#, "iceServers"),
            (r#"[{"username": "u"}]"#, "ice server 0 has no urls"),
            (r#"[{"urls": "turn:a.example"}]"#, "no username"),
            (
                r#"[{"urls": "turn:a.example", "username": "u", "credential": 3}]"#,
                "no username",
            ),
            (
                r#"[{"urls": "turn:a.example", "username": "", "credential": "p"}]"#,
                "user name is empty",
            ),
            (
                &format!(
                    r#"[{{"urls": "turn:a.example", "username": "{}", "credential": "p"}}]"#,
                    "u".repeat(509)
                ),
                "ice server 0: the user name has 509 bytes",
            ),
            (
                r#"[{"urls": "stun:a.example"}, {"urls": "turn://a.example"}]"#,
                "ice server 1",
            ),
            (
                r#"[{"urls": "turns:a.example?transport=udp", "username": "u", "credential": "p"}]"#,
                "DTLS",
            ),
        ] {
            let error = format!("{:#}", ice_servers(text.as_bytes()).unwrap_err());
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn an_error_quotes_neither_passwords_nor_whatever_a_server_makes_up() {
        let refusal = |url: &str| {
            let list = serde_json::json!([{ "urls": url }]).to_string();
            format!("{:#}", ice_servers(list.as_bytes()).unwrap_err())
        };
        let error = refusal("turn:anna:canary@a.example");
        assert!(
            error.contains("has an @") && !error.contains("canary"),
            "{error}"
        );
        let error = refusal(&format!("turn:{}", "\u{1b}[2J\u{202e}".repeat(10_000)));
        assert!(error.len() < 1000, "{} bytes", error.len());
        assert!(!error.chars().any(|c| c.is_control() || c == '\u{202e}'));
    }
}
