//! The `relay.toml` of a relay that the controller starts on this host.
//!
//! Responsible for its text. Not responsible for what the keys mean: `configs/relay.toml` says so.

use std::collections::BTreeSet;
use std::path::PathBuf;

use toml::{Table, Value};

use super::ADMIN_PORT;
use super::directory::Record;
use crate::config;
use crate::fleet::ZoneId;
use crate::provider::ProviderError;

/// What a relay's configuration is made of.
pub(super) struct RelayFile<'a> {
    pub(super) settings: &'a config::Local,
    pub(super) allowed: &'a BTreeSet<ZoneId>,
    pub(super) record: &'a Record,
    pub(super) secret: PathBuf,
    pub(super) state: PathBuf,
}

impl RelayFile<'_> {
    /// The whole file.
    pub(super) fn text(&self) -> Result<String, ProviderError> {
        let more: Table =
            self.settings
                .relay_config
                .parse()
                .map_err(|error: toml::de::Error| {
                    ProviderError::Refused(format!(
                        "provider.local.relay-config is not TOML: {}",
                        error.message()
                    ))
                })?;
        let mut more = Value::Table(more);
        fill(
            &mut more,
            &[
                ("{address}", &self.record.address.to_string()),
                ("{zone}", self.record.zone.as_str()),
                ("{id}", self.record.id.as_str()),
            ],
        );
        let mut file = self.own();
        if let Value::Table(more) = &more {
            merge(&mut file, more);
        }
        Ok(file.to_string())
    }

    fn own(&self) -> Table {
        let address = self.record.address.to_string();
        let listener = |transport: &str| {
            table([
                ("transport", Value::from(transport)),
                ("address", Value::from(format!("{address}:3478"))),
            ])
        };
        let zones: Vec<Value> = self
            .allowed
            .iter()
            .map(|zone| zone.as_str().into())
            .collect();
        let mut sovereignty = Table::from_iter([("allowed-zone-ids".to_owned(), zones.into())]);
        let mut more = Table::new();
        if self.settings.metadata_port.is_some() {
            more.insert("metadata".to_owned(), table([("provider", "aws".into())]));
        } else {
            let zone = self.record.zone.as_str().into();
            sovereignty.insert("zone-id".to_owned(), zone);
        }
        let keys = [
            ("realm", "local.taciturn.invalid".into()),
            ("workers", 1.into()),
            ("state-directory", path(&self.state)),
            ("listener", vec![listener("udp"), listener("tcp")].into()),
            (
                "relayed",
                table([("addresses", vec![address.clone()].into())]),
            ),
            (
                "secret",
                vec![table([
                    ("id", "local".into()),
                    ("file", path(&self.secret)),
                ])]
                .into(),
            ),
            // Everybody who tries this out is on one address, and so are their peers.
            ("peers", table([("allow-loopback", true.into())])),
            ("limits", table([("unauthenticated-per-second", 0.into())])),
            // Whoever ends it has waited for its drain.
            ("drain", table([("stop-after", "0s".into())])),
            (
                "admin",
                table([("address", format!("{address}:{ADMIN_PORT}").into())]),
            ),
            ("sovereignty", sovereignty.into()),
        ];
        more.extend(keys.map(|(key, value)| (key.to_owned(), value)));
        more
    }
}

fn table<const N: usize>(keys: [(&str, Value); N]) -> Value {
    Table::from_iter(keys.map(|(key, value)| (key.to_owned(), value))).into()
}

fn path(path: &std::path::Path) -> Value {
    path.display().to_string().into()
}

/// Puts what differs from relay to relay in the place of what stands for it, in every text.
fn fill(value: &mut Value, words: &[(&str, &str)]) {
    match value {
        Value::String(text) => {
            for (word, instead) in words {
                *text = text.replace(word, instead);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| fill(value, words)),
        Value::Table(table) => table.iter_mut().for_each(|(_, value)| fill(value, words)),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
    }
}

/// Puts `more` over `file`: sections are joined, everything else is replaced.
fn merge(file: &mut Table, more: &Table) {
    for (key, value) in more {
        match (file.get_mut(key), value) {
            (Some(Value::Table(inner)), Value::Table(more)) => merge(inner, more),
            _ => {
                file.insert(key.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_operator_writes_goes_over_what_is_usual() {
        let mut file: Table = toml::from_str("workers = 1\n[limits]\na = 1\nb = 2").expect("toml");
        let more = toml::from_str("workers = 2\n[limits]\nb = 3\n[capacity]\nc = 4").expect("toml");
        merge(&mut file, &more);
        let wanted: Table =
            toml::from_str("workers = 2\n[limits]\na = 1\nb = 3\n[capacity]\nc = 4").expect("toml");
        assert_eq!(file, wanted);
    }

    #[test]
    fn listeners_of_the_operators_own_get_the_relays_address() {
        let text = "realm = \"{zone}\"\n[[listener]]\ntransport = \"udp\"\naddress = \"{address}:443\"\n\
                    [relayed]\naddresses = [\"{address}\"]\n[limits]\na = 1";
        let mut more = Value::Table(text.parse().expect("toml"));
        fill(
            &mut more,
            &[("{address}", "127.0.2.1"), ("{zone}", "local-b")],
        );
        let wanted = text
            .replace("{address}", "127.0.2.1")
            .replace("{zone}", "local-b");
        assert_eq!(more, Value::Table(wanted.parse().expect("toml")));
    }
}
