//! Which peers may be reached.
//!
//! Responsible for the operator's part of the policy, and for saying where it has no effect or goes too far. Not for the
//! built-in part (`taciturn_protocol::server::peers`).

use ipnet::IpNet;
use taciturn_protocol::server::{
    Forbidden, OwnAddresses, PeerPolicy, PeerRules, default_denied_ports,
};

use super::section::{Field, Section, Wrong};
use super::value::{boolean, merged, nat64_prefix, network, ports};
use super::{Admin, AdminAddress, Listener, Peers};

/// The `[peers]` section.
pub(super) fn peers(
    top: &Section<'_>,
    listeners: &[(Listener, Field<'_>)],
    admin: &Admin,
) -> Peers {
    let section = top.once("peers");
    let section = section.as_ref();
    let networks = |key| {
        section
            .and_then(|section| section.list(key, network))
            .unwrap_or_default()
    };
    let prefixes = section
        .and_then(|section| section.list("nat64-prefixes", nat64_prefix))
        .unwrap_or_default();
    let denied = section.and_then(|section| section.list("denied-ports", ports));
    let denied = denied.map_or_else(
        || default_denied_ports().to_vec(),
        |list| list.into_iter().map(|(ports, _)| ports).collect(),
    );
    let allow_loopback = section.and_then(|section| section.field("allow-loopback"));
    if let Some(field) = allow_loopback {
        refuse_loopback_in_public(field, listeners, admin);
    }
    let allow_loopback =
        allow_loopback.is_some_and(|field| matches!(field.read(boolean), Some(true)));
    let (allow, only) = (networks("allow"), networks("only"));
    for list in [&allow, &only] {
        warn_of_vain(list, allow_loopback);
    }
    if let Some(field) = section.and_then(|section| section.field("only"))
        && only.is_empty()
    {
        // A template that found nobody to write: its author expects a relay that is closed.
        field.warn(Wrong::new(
            "is an empty list, which closes nothing: every public address is a peer",
            "write the only peers that there are, or take it away",
        ));
    }
    if let [(_, field), ..] = allow[..]
        && !only.is_empty()
    {
        field.refuse(Wrong::new(
            "opens what peers.only closes again: only those that stand in it are reached",
            "write all of them in only, and take allow away",
        ));
    }
    Peers {
        allow: plain(allow),
        deny: plain(networks("deny")),
        only: plain(only),
        denied_ports: merged(denied),
        allow_loopback,
        nat64_prefixes: prefixes.into_iter().map(|(prefix, _)| prefix).collect(),
    }
}

fn plain(list: Vec<(IpNet, Field<'_>)>) -> Vec<IpNet> {
    list.into_iter().map(|(network, _)| network).collect()
}

/// An entry that opens nothing, as all that it names is closed for good: its author expects something else.
fn warn_of_vain(allow: &[(IpNet, Field<'_>)], allow_loopback: bool) {
    // What is closed for good is so whatever is allowed: the entries themselves need not be among these.
    let rules = PeerRules {
        allow_loopback,
        ..PeerRules::default()
    };
    let policy = PeerPolicy::new(rules, OwnAddresses::default());
    for (_, field) in allow
        .iter()
        .filter(|(network, _)| is_closed_for_good(&policy, *network))
    {
        field.warn(Wrong::new(
            "is within what no configuration can open: loopback, link-local, multicast, cloud metadata and the like",
            "take it away; for tests on loopback there is allow-loopback",
        ));
    }
}

/// Judged by samples: the first address of each of its 256 parts, and its last. The ranges that are closed for good are
/// few and aligned, so that a part that is open shows.
fn is_closed_for_good(policy: &PeerPolicy, network: IpNet) -> bool {
    let length = network
        .prefix_len()
        .saturating_add(8)
        .min(network.max_prefix_len());
    let parts = network.subnets(length).into_iter().flatten();
    parts
        .map(|part| part.network())
        .chain([network.broadcast()])
        .all(|address| policy.judge(address) == Err(Forbidden::Never))
}

/// Loopback peers are for a machine on its own: beside a public listener they would be a door to its local services.
fn refuse_loopback_in_public(field: Field<'_>, listeners: &[(Listener, Field<'_>)], admin: &Admin) {
    if !field.is(true) {
        return;
    }
    for (listener, _) in listeners
        .iter()
        .filter(|(listener, _)| !listener.address.ip().is_loopback())
    {
        let which = format!(
            "listener {} {}",
            listener.transport.as_str(),
            listener.address
        );
        refuse_public(field, &which);
    }
    if let AdminAddress::Tcp(address) = &admin.address
        && !address.ip().is_loopback()
    {
        refuse_public(field, &format!("admin.address {address}"));
    }
}

fn refuse_public(field: Field<'_>, which: &str) {
    let problem = format!("is for machines on their own, but {which} is beyond loopback");
    field.refuse(Wrong::new(
        problem,
        "write allow-loopback = false, or listen on 127.0.0.1 and ::1 alone",
    ));
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::path::Path;

    use super::super::{Config, ConfigErrors, parse};
    use super::*;

    const LOOPBACK: &str = "127.0.0.1:3478";

    /// A relay that listens there, has its admin API there and these lines in `[peers]`.
    fn relay(listener: &str, admin: &str, lines: &str) -> Result<Config, ConfigErrors> {
        let text = format!(
            "realm = \"r\"\n[[listener]]\ntransport = \"udp\"\naddress = \"{listener}\"\n[[secret]]\nid = \"a\"\n\
             value = \"0123456789abcdef0123456789abcdef\"\n[admin]\naddress = \"{admin}\"\n[peers]\n{lines}\n"
        );
        let mut read = |_: &Path| Err(std::io::ErrorKind::NotFound.into());
        parse(&text, Path::new("relay.toml"), &mut read)
    }

    fn peers(lines: &str) -> Peers {
        relay(LOOPBACK, "127.0.0.1:9641", lines).unwrap().peers
    }

    /// What is warned of: the keys and the problems.
    fn warnings(lines: &str) -> Vec<(String, String)> {
        let config = relay(LOOPBACK, "127.0.0.1:9641", lines).unwrap();
        let warnings = config.warnings.into_iter().map(|warning| warning.0);
        let of_peers = warnings.filter(|warning| warning.key.starts_with("peers"));
        of_peers
            .map(|warning| (warning.key, warning.problem))
            .collect()
    }

    /// What is refused.
    fn refused(listener: &str, admin: &str, lines: &str) -> Vec<String> {
        let errors = relay(listener, admin, lines).err();
        let errors = errors.iter().flat_map(|errors| errors.as_slice());
        errors
            .filter(|error| error.key.starts_with("peers"))
            .map(|error| format!("{}: {}", error.key, error.problem))
            .collect()
    }

    /// what is written is what is judged by, and nothing is open that is not written.
    #[test]
    fn what_is_written_is_what_is_read() {
        let nets = |texts: &[&str]| -> Vec<IpNet> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let nothing = peers("");
        assert_eq!(
            nothing,
            Peers {
                allow: Vec::new(),
                deny: Vec::new(),
                only: Vec::new(),
                denied_ports: merged(default_denied_ports().to_vec()),
                allow_loopback: false,
                nat64_prefixes: Vec::new(),
            }
        );
        assert!(!nothing.denied_ports.is_empty());
        let written = peers(
            "allow = [\"10.1.0.0/16\", \"fd12::/16\"]\ndeny = [\"203.0.113.7\"]\ndenied-ports = [25, \"20-30\", \"31-40\"]\n\
             allow-loopback = true\nnat64-prefixes = [\"2001:db8:64::/96\"]",
        );
        assert_eq!(written.allow, nets(&["10.1.0.0/16", "fd12::/16"]));
        assert_eq!(written.deny, nets(&["203.0.113.7/32"]));
        assert_eq!(written.denied_ports, [20..=40]);
        assert!(written.allow_loopback);
        assert_eq!(
            written.nat64_prefixes,
            ["2001:db8:64::/96".parse().unwrap()]
        );
        assert_eq!(
            peers("only = [\"198.51.100.7\"]").only,
            nets(&["198.51.100.7/32"])
        );
        assert!(!peers("allow-loopback = false").allow_loopback);
    }

    /// loopback peers are refused beside anything that others can reach: listeners, and the admin API.
    #[test]
    fn loopback_peers_are_for_machines_on_their_own() {
        let lines = "allow-loopback = true";
        let beyond = ["203.0.113.1:3478", "0.0.0.0:3478", "[::]:3478"];
        for listener in beyond {
            let found = refused(listener, "127.0.0.1:9641", lines);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].contains(&format!("listener udp {listener}")));
        }
        for admin in ["203.0.113.1:9641", "0.0.0.0:9641"] {
            let found = refused(LOOPBACK, admin, lines);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].contains(&format!("admin.address {admin}")));
        }
        for admin in ["127.0.0.1:9641", "[::1]:9641", "unix:/run/taciturn/admin"] {
            assert_eq!(refused("[::1]:3478", admin, lines), [""; 0], "{admin}");
        }
        let off = "allow-loopback = false";
        assert_eq!(refused("0.0.0.0:3478", "127.0.0.1:9641", off), [""; 0]);
    }

    /// an entry that can open nothing is told of, and so is a list that closes nothing; one that opens a part is not.
    #[test]
    fn what_has_no_effect_is_told_of() {
        for key in ["allow", "only"] {
            for vain in [
                "169.254.0.0/16",
                "169.254.169.254",
                "127.0.0.0/8",
                "224.0.0.0/4",
                "fd00:ec2::/32",
                "fe80::/10",
                "::1",
            ] {
                let found = warnings(&format!("{key} = [\"10.0.0.0/8\", \"{vain}\"]"));
                assert_eq!(found.len(), 1, "{key} {vain}: {found:?}");
                assert_eq!(found[0].0, format!("peers.{key}"));
                assert!(found[0].1.contains("no configuration can open"));
            }
            for open in [
                "0.0.0.0/0",
                "::/0",
                "10.0.0.0/8",
                "fc00::/7",
                "100.64.0.0/10",
            ] {
                assert_eq!(warnings(&format!("{key} = [\"{open}\"]")), [], "{open}");
            }
            let with_loopback = format!("{key} = [\"127.0.0.0/8\"]\nallow-loopback = true");
            assert_eq!(warnings(&with_loopback), []);
        }
        let empty = warnings("only = []");
        assert_eq!(empty.len(), 1, "{empty:?}");
        assert!(empty[0].1.contains("closes nothing"));
        assert_eq!(warnings("allow = []"), []);
    }

    /// where the only peers are listed, an entry that seems to open others is refused.
    #[test]
    fn only_and_allow_do_not_go_together() {
        let both = "only = [\"198.51.100.7\"]\nallow = [\"10.0.0.0/8\"]";
        let found = refused(LOOPBACK, "127.0.0.1:9641", both);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("peers.allow: "), "{found:?}");
        for one in [
            "only = [\"198.51.100.7\"]\nallow = []",
            "only = []\nallow = [\"10.0.0.0/8\"]",
        ] {
            assert_eq!(refused(LOOPBACK, "127.0.0.1:9641", one), [""; 0]);
        }
    }
}
