//! The keys that a configuration may have, as one table.
//!
//! Responsible for knowing them and for guessing what a mistyped one was meant to be. Not for their values.

use taciturn_plane::nearest;

/// A section of the configuration and its keys.
#[derive(Clone, Copy, Debug)]
pub struct SectionSchema {
    /// The section's name, with that of the section that it is in and a dot before it; empty for the keys before the
    /// first section.
    pub name: &'static str,
    /// Whether it is written `[[name]]`, as often as wanted.
    pub repeated: bool,
    /// Its keys.
    pub keys: &'static [&'static str],
}

const fn once(name: &'static str, keys: &'static [&'static str]) -> SectionSchema {
    SectionSchema {
        name,
        repeated: false,
        keys,
    }
}

const fn repeated(name: &'static str, keys: &'static [&'static str]) -> SectionSchema {
    SectionSchema {
        name,
        repeated: true,
        keys,
    }
}

/// Every section and every key.
pub const SCHEMA: &[SectionSchema] = &[
    once(
        "",
        &[
            "realm",
            "workers",
            "pin-workers",
            "busy-poll",
            "coalesce",
            "channel-numbers",
            "software",
            "dscp",
            "state-directory",
        ],
    ),
    repeated("listener", &["transport", "address"]),
    once("relayed", &["addresses", "advertise", "ports"]),
    once("tls", &["certificate", "key", "profile"]),
    repeated("secret", &["id", "file", "value", "hmac"]),
    repeated("user", &["name", "key-file"]),
    once("nonce", &["key-file", "previous-key-file", "lifetime"]),
    once("credentials", &["max-ttl"]),
    once(
        "peers",
        &[
            "allow",
            "deny",
            "only",
            "denied-ports",
            "allow-loopback",
            "nat64-prefixes",
        ],
    ),
    once(
        "limits",
        &[
            "allocations-per-user",
            "allocations",
            "permissions-per-allocation",
            "channels-per-allocation",
            "unauthenticated-per-second",
            "bits-per-second-per-user",
            "bits-per-second-per-allocation",
            "max-lifetime",
            "allocation-max-age",
            "connections",
            "connections-per-source",
            "half-open",
            "handshake-timeout",
            "idle-timeout",
            "queue-bytes",
            "queue-age",
        ],
    ),
    once("drain", &["stop-after"]),
    repeated("drain.alternates", &["transport", "address"]),
    once("metadata", &["provider"]),
    once("self-check", &["interval"]),
    once("overload", &["busiest-core"]),
    once("capacity", &["packets-per-second", "bits-per-second"]),
    once(
        "admin",
        &["address", "token-file", "certificate", "key", "client-ca"],
    ),
    once("sovereignty", &["zone-id", "allowed-zone-ids"]),
    once(
        "log",
        &[
            "format",
            "level",
            "forensics-until",
            "pseudonym-key-file",
            "pseudonym-rotation",
        ],
    ),
];

/// The keys of the section `name`; none when there is no such section.
pub(super) fn keys_of(name: &str) -> &'static [&'static str] {
    SCHEMA
        .iter()
        .find(|section| section.name == name)
        .map_or(&[], |section| section.keys)
}

/// Whether there is a section `name` directly within `section`; the empty one is the whole configuration.
pub(super) fn has_section(section: &str, name: &str) -> bool {
    sections_in(section).any(|within| within == name)
}

/// The names of the sections directly within `section`, without its own.
fn sections_in(section: &str) -> impl Iterator<Item = &'static str> {
    SCHEMA.iter().filter_map(move |candidate| {
        let (parent, name) = candidate
            .name
            .rsplit_once('.')
            .unwrap_or(("", candidate.name));
        (parent == section && !name.is_empty()).then_some(name)
    })
}

/// What to do about the key `unknown` in the section `section`.
pub(super) fn remedy_for(section: &str, unknown: &str) -> String {
    if let Some(near) = nearest(unknown, names_in(section)) {
        return format!("did you mean {near}?");
    }
    let elsewhere = SCHEMA
        .iter()
        .find(|other| other.name != section && other.keys.contains(&unknown));
    match elsewhere {
        Some(other) if other.name.is_empty() => {
            format!("{unknown} belongs before the first section")
        }
        Some(other) => format!("{unknown} belongs in [{}]", other.name),
        None => format!(
            "write one of {}",
            names_in(section).collect::<Vec<_>>().join(", ")
        ),
    }
}

/// What may be written in a section: its keys, and the sections within it.
fn names_in(section: &str) -> impl Iterator<Item = &'static str> {
    keys_of(section).iter().copied().chain(sections_in(section))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_its_key() {
        assert_eq!(remedy_for("", "relm"), "did you mean realm?");
        assert_eq!(
            remedy_for("limits", "allocations_per_user"),
            "did you mean allocations-per-user?"
        );
        assert_eq!(remedy_for("limits", "ports"), "ports belongs in [relayed]");
        assert_eq!(
            remedy_for("log", "realm"),
            "realm belongs before the first section"
        );
        assert_eq!(
            remedy_for("nonce", "rotation"),
            "write one of key-file, previous-key-file, lifetime"
        );
        assert_eq!(remedy_for("drain", "alternate"), "did you mean alternates?");
        assert_eq!(
            remedy_for("drain.alternates", "adress"),
            "did you mean address?"
        );
    }
}
