//! What the relay reads beside packets: its configuration, and where its metadata is.
//!
//! Responsible for: what is accepted is within the bounds that are documented, what is refused is refused with words that point into
//! the file, and a secret from a file that the configuration names stands in neither.

use std::io;
use std::path::Path;

use taciturn_relay::config::{self, Config, FileRead};
use zeroize::Zeroizing;

/// What is in every file that a configuration names.
const PLANTED: &str = "planted-secret-0123456789abcdef-planted";

fn read(_: &Path) -> io::Result<FileRead> {
    Ok(FileRead {
        bytes: Zeroizing::new(PLANTED.as_bytes().to_vec()),
        open_to_others: false,
        writable_by_others: false,
    })
}

/// A text as `relay.toml`.
pub fn configuration(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    let origin = Path::new("/etc/taciturn/relay.toml");
    match config::parse(text, origin, &mut read) {
        Ok(config) => {
            within_bounds(&config);
            let shown = format!("{config:?}");
            assert!(!shown.contains("planted-secret"), "a secret is shown");
        }
        Err(errors) => {
            let errors = errors.as_slice();
            assert!(!errors.is_empty(), "refused without a reason");
            assert!(errors.len() <= text.len() + 50, "{} errors", errors.len());
            let lines = text.lines().count().max(1);
            for error in errors {
                // An end of file is on the line after the last.
                assert!(error.line <= lines + 1, "line {} of {lines}", error.line);
                let words = error.to_string();
                assert!(words.len() <= 1000 + text.len());
                assert!(!words.contains("planted-secret"), "a secret is shown");
                assert!(!error.problem.is_empty() && !error.remedy.is_empty());
            }
        }
    }
}

fn within_bounds(config: &Config) {
    assert!(!config.listeners.is_empty() && !config.relayed.addresses.is_empty());
    let ports = &config.relayed.ports;
    assert!(*ports.start() >= 1024 && ports.start() <= ports.end());
    assert!(!config.secrets.is_empty() || !config.users.is_empty());
    assert!(config.nonce.lifetime.as_secs() <= 3600);
    assert!((600..=3600).contains(&config.limits.max_lifetime.as_secs()));
    assert!(config.workers.is_none_or(|workers| workers.get() <= 255));
    for address in &config.relayed.addresses {
        let advertised = address.advertise.unwrap_or(address.bind);
        assert_eq!(advertised.is_ipv4(), address.bind.is_ipv4());
    }
    for pair in config.peers.denied_ports.windows(2) {
        let (before, after) = (pair[0].end(), pair[1].start());
        assert!(u32::from(*before) + 1 < u32::from(*after), "not merged");
    }
    if config.peers.allow_loopback {
        let is_loopback = |listener: &config::Listener| listener.address.ip().is_loopback();
        assert!(config.listeners.iter().all(is_loopback));
    }
    let needs = config
        .listeners
        .iter()
        .any(|l| l.transport.needs_certificate());
    assert!(!needs || config.tls.is_some());
}
