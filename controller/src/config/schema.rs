//! The keys that a configuration may have, and what a mistyped one was meant to be.
//!
//! The keys are asked of the types that they are read into, so that there is no second list to keep. Not responsible for
//! their values.

use serde::de::value::Error;
use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};
use taciturn_plane::nearest;
use toml::de::DeTable;

use super::{Log, written};
use crate::policy;

/// Every section that may be written, with its keys, other sections among them. `*` stands for a name of the operator's.
pub fn keys(section: &str) -> Option<&'static [&'static str]> {
    Some(match section {
        "" => fields::<written::Written>(),
        "api" => fields::<written::Api>(),
        "log" => fields::<Log>(),
        "relays" => fields::<written::Relays>(),
        "sovereignty" => fields::<written::Sovereignty>(),
        "lease" => fields::<written::Lease>(),
        "provider" => fields::<written::Provider>(),
        "provider.local" => fields::<written::Local>(),
        "provider.aws" => fields::<written::Aws>(),
        "provider.static" => fields::<written::Static>(),
        "provider.static.relay" => fields::<written::StaticRelay>(),
        "provider.exec" => fields::<written::Exec>(),
        "credentials" => fields::<written::Credentials>(),
        "credentials.secret" => fields::<written::Secret>(),
        "credentials.subject" => fields::<written::Subject>(),
        "self-test" => fields::<written::SelfTest>(),
        "policy" => fields::<policy::Policy>(),
        "policy.forecast" => fields::<policy::Forecast>(),
        "policy.schedule" => fields::<policy::Schedule>(),
        "policy.capacity.*" => fields::<policy::Capacity>(),
        _ => return None,
    })
}

/// The names of all sections that [`keys`] knows.
pub(super) const SECTIONS: [&str; 20] = [
    "",
    "api",
    "log",
    "relays",
    "sovereignty",
    "lease",
    "provider",
    "provider.local",
    "provider.aws",
    "provider.static",
    "provider.static.relay",
    "provider.exec",
    "credentials",
    "credentials.secret",
    "credentials.subject",
    "self-test",
    "policy",
    "policy.forecast",
    "policy.schedule",
    "policy.capacity.*",
];

/// Sections whose keys are names of the operator's.
pub(super) const OPEN: [&str; 2] = ["policy.capacity", "provider.aws.zone-ids"];

/// Whether this text is a controller's configuration and not a relay's: only such a one names a fleet, a provider or a
/// policy, and only a relay's has a realm or listeners. A text that is neither, or no TOML, is not.
pub fn is_controller(text: &str) -> bool {
    let (tables, _) = DeTable::parse_recoverable(text);
    let has = |key: &str| tables.get_ref().contains_key(key);
    ["fleet", "provider", "policy", "lease", "relays"]
        .into_iter()
        .any(has)
        && !["realm", "listener"].into_iter().any(has)
}

/// What to do about the key `unknown` in the section `section`.
pub(super) fn remedy_for(section: &str, unknown: &str) -> String {
    let here = keys(section).unwrap_or_default();
    if let Some(near) = nearest(unknown, here.iter().copied()) {
        return format!("did you mean {near}?");
    }
    let elsewhere = SECTIONS
        .into_iter()
        .find(|other| *other != section && keys(other).is_some_and(|keys| keys.contains(&unknown)));
    match elsewhere {
        Some("") => format!("{unknown} belongs before the first section"),
        Some(other) => format!("{unknown} belongs in [{other}]"),
        None => format!("write one of {}", here.join(", ")),
    }
}

/// The keys that a type is read from.
fn fields<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    // A struct says its fields to whoever it is read from, and this reads nothing.
    let _ = T::deserialize(Asked(&mut names));
    names
}

struct Asked<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Asked<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        Err(serde::de::Error::custom("only the names are asked for"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        *self.0 = fields;
        Self(self.0).deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_types_say_their_keys() {
        assert_eq!(
            keys("api"),
            Some(
                &[
                    "address",
                    "token-file",
                    "reader-token-file",
                    "certificate",
                    "key",
                    "client-ca"
                ][..]
            )
        );
        for section in SECTIONS {
            assert!(
                keys(section).is_some_and(|keys| !keys.is_empty()),
                "[{section}]"
            );
        }
        assert!(keys("policy").is_some_and(|keys| keys.contains(&"drain-deadline")));
        assert!(keys("policy").is_some_and(|keys| !keys.contains(&"allowed-zones")));
        assert_eq!(keys("nothing"), None);
    }

    #[test]
    fn a_slip_of_the_finger_finds_its_key() {
        assert_eq!(remedy_for("", "flet"), "did you mean fleet?");
        assert_eq!(
            remedy_for("policy", "headroom_up"),
            "did you mean headroom-up?"
        );
        assert_eq!(
            remedy_for("api", "allowed-zone-ids"),
            "allowed-zone-ids belongs in [sovereignty]"
        );
        assert_eq!(
            remedy_for("log", "fleet"),
            "fleet belongs before the first section"
        );
        assert_eq!(remedy_for("log", "colour"), "write one of format, level");
    }

    #[test]
    fn a_controllers_configuration_is_told_from_a_relays() {
        assert!(is_controller("fleet = \"a\""));
        assert!(is_controller("[provider]\nkind = \"aws\""));
        assert!(is_controller("flet = \"a\"\n[policy]"));
        assert!(!is_controller("realm = \"a\"\n[[listener]]"));
        assert!(!is_controller("realm = \"a\"\nfleet = \"a\""));
        assert!(!is_controller(""));
        assert!(!is_controller("]["));
    }
}
