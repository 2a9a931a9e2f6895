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
    let rules = PeerRules {
        allow: allow.iter().map(|(network, _)| *network).collect(),
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
