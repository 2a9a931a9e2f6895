//! What a running relay cannot take over.
//!
//! Responsible for naming it. Sockets, threads and the identity that other programs know a relay by are made once; to
//! take one of them over half would be worse than to refuse it whole.

use crate::config::{Config, ConfigError};

/// Everything in `new` that differs from `old` and takes a restart.
pub(super) fn differences(old: &Config, new: &Config) -> Vec<ConfigError> {
    let keys = [
        ("realm", old.realm != new.realm),
        ("workers", old.workers != new.workers),
        ("pin-workers", old.pin_workers != new.pin_workers),
        (
            "channel-numbers",
            old.channel_numbers != new.channel_numbers,
        ),
        ("software", old.software != new.software),
        ("dscp", old.dscp != new.dscp),
        (
            "state-directory",
            old.state_directory != new.state_directory,
        ),
        ("listener", old.listeners != new.listeners),
        ("relayed.addresses", bound(old) != bound(new)),
        ("relayed.advertise", advertised(old) != advertised(new)),
        ("relayed.ports", old.relayed.ports != new.relayed.ports),
        ("metadata.provider", old.metadata != new.metadata),
        ("self-check.interval", old.self_check != new.self_check),
        ("admin", admin(old) != admin(new)),
        ("sovereignty", old.sovereignty != new.sovereignty),
        ("log.format", old.log.format != new.log.format),
    ];
    let changed = keys.into_iter().filter(|(_, differs)| *differs);
    changed.map(|(key, _)| needs_restart(new, key)).collect()
}

fn bound(config: &Config) -> impl PartialEq {
    let addresses = config.relayed.addresses.iter();
    addresses.map(|address| address.bind).collect::<Vec<_>>()
}

fn advertised(config: &Config) -> impl PartialEq {
    let addresses = config.relayed.addresses.iter();
    addresses
        .map(|address| address.advertise)
        .collect::<Vec<_>>()
}

/// What is in the token's and the certificates' files can change; that there are any cannot.
fn admin(config: &Config) -> impl PartialEq {
    let admin = &config.admin;
    let proofs = (admin.token.is_some(), admin.tls.is_some());
    (admin.address.clone(), proofs)
}

fn needs_restart(config: &Config, key: &str) -> ConfigError {
    ConfigError {
        file: config.files.first().cloned().unwrap_or_default(),
        line: 0,
        column: 0,
        key: key.to_owned(),
        value: None,
        problem: "has changed, and a running relay cannot take that over".to_owned(),
        remedy: "restart the relay, or write it as it was".to_owned(),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::io;
    use std::path::Path;

    use super::*;
    use crate::config::parse;

    fn config(more: &str) -> Config {
        let text = format!(
            "realm = \"turn.example.org\"\n{more}\n[[listener]]\ntransport = \"udp\"\naddress = \"127.0.0.1:0\"\n\
             [[secret]]\nid = \"a\"\nvalue = \"0123456789abcdef0123456789abcdef\"\n"
        );
        let mut none = |_: &Path| Err(io::ErrorKind::NotFound.into());
        parse(&text, Path::new("relay.toml"), &mut none).unwrap()
    }

    #[track_caller]
    fn refused(more: &str, keys: &[&str]) {
        let errors = differences(&config(""), &config(more));
        let named: Vec<_> = errors.iter().map(|error| error.key.as_str()).collect();
        assert_eq!(named, keys, "{more}");
    }

    #[test]
    fn what_takes_a_restart_is_refused_by_name_and_the_rest_is_not() {
        refused("", &[]);
        refused("workers = 3\ndscp = 46", &["workers", "dscp"]);
        refused("pin-workers = true", &["pin-workers"]);
        refused("busy-poll = \"50us\"", &[]);
        refused("coalesce = \"0us\"", &[]);
        refused("software = \"x\"", &["software"]);
        refused("channel-numbers = \"rfc5766\"", &["channel-numbers"]);
        refused("state-directory = \"/var/lib/t\"", &["state-directory"]);
        refused(
            "[[listener]]\ntransport = \"tcp\"\naddress = \"127.0.0.1:0\"",
            &["listener"],
        );
        refused("relayed.ports = \"50000-50100\"", &["relayed.ports"]);
        refused(
            "relayed = { addresses = [\"10.0.0.1\"], advertise = [\"192.0.2.1\"] }",
            &["relayed.addresses", "relayed.advertise"],
        );
        refused("metadata.provider = \"aws\"", &["metadata.provider"]);
        refused("self-check.interval = \"9s\"", &["self-check.interval"]);
        refused("admin.address = \"127.0.0.1:1\"", &["admin"]);
        refused("sovereignty.zone-id = \"z\"", &["sovereignty"]);
        refused("log.format = \"json\"", &["log.format"]);
        refused(
            "limits = { allocations = 5, queue-age = \"1s\", half-open = 7 }\npeers.deny = [\"192.0.2.0/24\"]\n\
             nonce.lifetime = \"5m\"\ncredentials.max-ttl = \"1h\"\ndrain.stop-after = \"5s\"\nlog.level = \"debug\"\n\
             overload.busiest-core = 0.5\ncapacity.packets-per-second = 5",
            &[],
        );
        let said = differences(&config(""), &config("workers = 3"));
        assert_eq!(
            said[0].to_string(),
            "relay.toml: workers: has changed, and a running relay cannot take that over; restart the relay, or write it as it was"
        );
    }
}
