//! Listeners and relayed addresses, and what all addresses of the relay demand of one another.
//!
//! Not responsible for the addresses of others (`peers`), nor for who may use the admin API (`admin`).

use std::net::IpAddr;

use toml::de::DeValue;

use super::section::{Field, Section, Wrong};
use super::value::{address, relayed_ports, socket_address, word};
use super::{Admin, AdminAddress, Listener, ListenerTransport, Relayed, RelayedAddress};

/// The `[[listener]]` sections; each comes with its address's place.
pub(super) fn listeners<'t>(top: &Section<'t>) -> Vec<(Listener, Field<'t>)> {
    const TRANSPORTS: &[(&str, ListenerTransport)] = &[
        ("udp", ListenerTransport::Udp),
        ("tcp", ListenerTransport::Tcp),
        ("tls", ListenerTransport::Tls),
        ("auto", ListenerTransport::Auto),
    ];
    let sections = top.each("listener");
    if sections.is_empty() && !top.has("listener") {
        let remedy =
            "write [[listener]] with transport = \"udp\" and address = \"0.0.0.0:3478\" below it";
        top.missing("listener", "is missing: a relay needs at least one", remedy);
    }
    let mut listeners: Vec<(Listener, Field<'t>)> = Vec::new();
    for section in sections {
        let transport = section.require(
            "transport",
            "write e.g. transport = \"udp\"",
            word(TRANSPORTS),
        );
        let address = section.require(
            "address",
            "write e.g. address = \"0.0.0.0:3478\"",
            socket_address,
        );
        let (Some(transport), Some(address), Some(field)) =
            (transport, address, section.field("address"))
        else {
            continue;
        };
        let listener = Listener { transport, address };
        if let Some((first, _)) = listeners
            .iter()
            .find(|(other, _)| same_port(*other, listener))
        {
            let problem = format!(
                "is taken by another listener ({} {})",
                first.transport.as_str(),
                first.address
            );
            field.refuse(Wrong::new(
                problem,
                "give each listener its own address or port",
            ));
        }
        if transport.needs_certificate() && !top.has("tls") {
            let problem = format!("transport = \"{}\" needs a certificate", transport.as_str());
            field.refuse(Wrong::new(problem, "write [tls] with certificate and key"));
        }
        listeners.push((listener, field));
    }
    listeners
}

/// Whether two listeners would want the same port; port 0 is a fresh one each time.
fn same_port(a: Listener, b: Listener) -> bool {
    let kind = |listener: Listener| listener.transport == ListenerTransport::Udp;
    a.address == b.address && a.address.port() != 0 && kind(a) == kind(b)
}

/// The `[relayed]` section, `advertise` paired with `addresses` family by family in their order.
///
/// The place of its ports comes with it when they are written.
pub(super) fn relayed<'t>(top: &Section<'t>) -> (Relayed, Option<Field<'t>>) {
    let section = top.once("relayed");
    let all = 49152..=65535;
    let ports_field = section.as_ref().and_then(|section| section.field("ports"));
    let ports = ports_field
        .and_then(|field| field.read(relayed_ports))
        .unwrap_or(all);
    let bound = section.as_ref().and_then(|section| {
        let bound = section.list("addresses", address)?;
        refuse_repeated(&bound);
        if let (true, Some(field)) = (bound.is_empty(), section.field("addresses")) {
            field.refuse(Wrong::new(
                "names no address",
                "write addresses = [\"0.0.0.0\"], or more",
            ));
        }
        Some(bound.into_iter().map(|(address, _)| address).collect())
    });
    let bound: Vec<IpAddr> = bound.unwrap_or_else(|| vec![IpAddr::from([0, 0, 0, 0])]);
    let advertised = section
        .as_ref()
        .and_then(|section| section.list("advertise", advertised))
        .unwrap_or_default();
    refuse_shared(&advertised);
    refuse_unpaired(&bound, &advertised);

    let mut addresses: Vec<RelayedAddress> = Vec::with_capacity(bound.len());
    for bind in bound {
        let before = addresses
            .iter()
            .filter(|other| other.bind.is_ipv4() == bind.is_ipv4())
            .count();
        let mut same = advertised
            .iter()
            .filter(|(address, _)| address.is_ipv4() == bind.is_ipv4());
        addresses.push(RelayedAddress {
            bind,
            advertise: same.nth(before).map(|(address, _)| *address),
        });
    }
    (Relayed { addresses, ports }, ports_field)
}

/// Ports that the relay listens on cannot be relayed ports: binding one would fail, or take a listener's datagrams, and
/// no peer may be reached at a socket of the relay's own.
pub(super) fn refuse_relayed_on_listener(
    (relayed, ports_field): (&Relayed, Option<Field<'_>>),
    listeners: &[(Listener, Field<'_>)],
    (admin, admin_field): (&Admin, Option<Field<'_>>),
) {
    let listening = listeners
        .iter()
        .map(|(listener, field)| (listener.address, listener.transport.as_str(), Some(*field)));
    let admin = match &admin.address {
        AdminAddress::Tcp(address) => Some((*address, "admin", admin_field)),
        AdminAddress::Unix(_) => None,
    };
    for (address, what, field) in listening.chain(admin) {
        let meet = relayed.ports.contains(&address.port())
            && relayed
                .addresses
                .iter()
                .any(|relayed| may_meet(relayed.bind, address.ip()));
        // One of the two is written: by default they do not meet.
        let Some(at) = ports_field.or(field).filter(|_| meet) else {
            continue;
        };
        let problem = format!(
            "port {} is listened on ({what} {address}) and within relayed.ports, {}-{}",
            address.port(),
            relayed.ports.start(),
            relayed.ports.end()
        );
        let remedy = "choose relayed ports that nothing listens on, e.g. ports = \"49152-65535\", or another port for it";
        at.refuse(Wrong::new(problem, remedy));
    }
}

/// Whether a relayed address is the one listened on, as far as wildcards tell before they are resolved.
fn may_meet(relayed: IpAddr, listened: IpAddr) -> bool {
    if listened.is_unspecified() || relayed == listened {
        return true;
    }
    // A wildcard stands for the address with a route, which is never loopback.
    relayed.is_unspecified() && relayed.is_ipv4() == listened.is_ipv4() && !listened.is_loopback()
}

/// An address that a NAT puts in front of a bound one.
fn advertised(value: &DeValue<'_>) -> Result<IpAddr, Wrong> {
    let address = address(value)?;
    if address.is_unspecified() {
        return Err(Wrong::new(
            "is no address that peers could send to",
            "write the public address",
        ));
    }
    Ok(address)
}

fn refuse_repeated(addresses: &[(IpAddr, Field<'_>)]) {
    for (index, (address, field)) in addresses.iter().enumerate() {
        let before = addresses.get(..index).unwrap_or_default();
        if before.iter().any(|(other, _)| other == address) {
            field.refuse(Wrong::new("is listed twice", "write it once"));
        } else if let Some((other, _)) = before.iter().find(|(other, _)| {
            other.is_ipv4() == address.is_ipv4()
                && (other.is_unspecified() || address.is_unspecified())
        }) {
            let problem = format!(
                "stands beside {other} of the same family, and a wildcard stands for one of them"
            );
            field.refuse(Wrong::new(
                problem,
                "write the wildcard alone, or every address in full",
            ));
        }
    }
}

/// Behind one public address two relayed ports of the same number could not be told apart.
fn refuse_shared(advertised: &[(IpAddr, Field<'_>)]) {
    for (index, (address, field)) in advertised.iter().enumerate() {
        let before = advertised.get(..index).unwrap_or_default();
        if before.iter().any(|(other, _)| other == address) {
            field.refuse(Wrong::new(
                "is advertised for two addresses, whose ports peers could not tell apart",
                "give each address its own public one, or bind one address alone",
            ));
        }
    }
}

/// Each family is advertised in full or not at all: a missing one would be seen by peers under its private address.
fn refuse_unpaired(bound: &[IpAddr], advertised: &[(IpAddr, Field<'_>)]) {
    for v4 in [true, false] {
        let family = if v4 { "IPv4" } else { "IPv6" };
        let bound = bound
            .iter()
            .filter(|address| address.is_ipv4() == v4)
            .count();
        let of_family: Vec<_> = advertised
            .iter()
            .filter(|(address, _)| address.is_ipv4() == v4)
            .collect();
        let Some((_, last)) = of_family.last() else {
            continue;
        };
        if bound == 0 {
            let example = if v4 { "0.0.0.0" } else { "::" };
            let remedy = format!("add {example:?} to relayed.addresses, or take this away");
            last.refuse(Wrong::new(
                format!("no {family} address is bound for it"),
                remedy,
            ));
        } else if bound != of_family.len() {
            let problem = format!(
                "{} advertised for {bound} bound {family} addresses",
                of_family.len()
            );
            last.refuse(Wrong::new(
                problem,
                "advertise one for each, in the same order, or none of that family",
            ));
        }
    }
}

/// A TCP listener on the admin API's port would starve one of the two.
pub(super) fn refuse_admin_on_listener(
    admin: (&Admin, Option<Field<'_>>),
    listeners: &[(Listener, Field<'_>)],
) {
    let AdminAddress::Tcp(address) = &admin.0.address else {
        return;
    };
    let admin_listener = Listener {
        transport: ListenerTransport::Tcp,
        address: *address,
    };
    for (listener, field) in listeners
        .iter()
        .filter(|(listener, _)| same_port(*listener, admin_listener))
    {
        let problem = format!("is where the admin API listens ({})", listener.address);
        admin
            .1
            .unwrap_or(*field)
            .refuse(Wrong::new(problem, "give one of them another port"));
    }
}
