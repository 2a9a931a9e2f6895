//! Every forbidden address, plain and in every dress, asked for in every way: refused, and nothing reaches it.
//!
//! Responsible for the running program with a network around it that would take every packet. Not responsible for the
//! relay's own services (`own_services`), nor for ports (`ports`).

use std::net::{IpAddr, SocketAddr};

use taciturn_protocol::wire::Method;

use crate::client::{Client, receive_from};
use crate::namespace::inside;
use crate::running::Setup;
use crate::sink::{CLOSED, HOST, MARKER, SINK_PORT, Sink, Way, stays_in_the_kernel};
use crate::targets::{self, DENIED, METADATA, NAT64, NEVER, PUBLIC, in_every_dress};

const CHANNEL: u16 = 0x4000;
const CONTROL: u16 = 0x4FFF;
const HOSTS: [&str; 2] = ["10.77.0.1", "fd77::1"];
/// The sniffers are emptied after so many targets.
const AT_ONCE: usize = 8;

fn parsed(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn list(texts: &[&str]) -> String {
    let quoted: Vec<_> = texts.iter().map(|text| format!("\"{text}\"")).collect();
    format!("[{}]", quoted.join(", "))
}

/// A relay's peers beside the lab's: what else is allowed, the operator's NAT64, and what the operator closed.
fn setup(allow: &[&str]) -> Setup {
    let mut setup = Sink::setup(1);
    let allow = [&["10.77.0.0/16", "fd77::/16"], allow].concat();
    setup.peers = format!(
        "allow = {}\ndeny = {}\nnat64-prefixes = {}",
        list(&allow),
        list(&CLOSED),
        list(&NAT64)
    );
    setup
}

/// Says `payload` to this peer in both ways that need no answer.
fn say(client: &mut Client, peer: SocketAddr, payload: &str) {
    client.send_channel(CHANNEL, payload.as_bytes());
    client.send_indication(peer, payload.as_bytes());
}

/// Tries each target by CreatePermission, ChannelBind, ChannelData and Send, and fails when it is not refused, or when any
/// packet for it is seen. Controls go to a peer that is allowed, and have to be seen.
fn assert_out_of_reach(sink: &Sink, client: &mut Client, what: &str, targets: &[IpAddr]) {
    let allowed = sink.lab.peer("10.77.0.20");
    client.allocate_both();
    client.bind(CONTROL, allowed.local_addr().unwrap());
    for (round, some) in targets.chunks(AT_ONCE).enumerate() {
        for &address in some {
            let peer = SocketAddr::new(address, SINK_PORT);
            assert_eq!(
                client.try_permit(peer),
                403,
                "{what}: permission for {address}"
            );
            assert_eq!(
                client.try_bind(CHANNEL, peer),
                403,
                "{what}: channel to {address}"
            );
            say(client, peer, &format!("{MARKER} {address}"));
        }
        let control = format!("control {round:06}");
        client.send_channel(CONTROL, control.as_bytes());
        assert_eq!(receive_from(&allowed).0, control.as_bytes());
        let leaked = sink.leaked(control.as_bytes());
        assert_eq!(leaked.len(), 0, "{what}: {:?}", leaked.first());
    }
    let arrived = sink.arrived();
    assert_eq!(arrived.len(), 0, "{what}: {:?}", arrived.first());
    client.release();
}

/// each forbidden address of either tier, those of the host and those that the operator closed, plain and
/// in every encoding: CreatePermission and ChannelBind → 403, ChannelData and Send → silence, over every transport, and the
/// sink, which holds those addresses, gets nothing. It does see what the host itself sends there.
#[test]
fn forbidden_peers_are_refused_in_every_dress_and_nothing_reaches_them() {
    if !inside("forbidden::forbidden_peers_are_refused_in_every_dress_and_nothing_reaches_them") {
        return;
    }
    let mut sink = Sink::new();
    let plain = [
        targets::never(),
        targets::denied(),
        parsed(&HOST),
        parsed(&CLOSED),
    ]
    .concat();
    let mut targets = in_every_dress(&plain);
    // Plainly the relayed address is a peer inside; dressed up it is nothing.
    let relayed = parsed(&HOSTS[..1]);
    targets.extend(
        in_every_dress(&relayed)
            .into_iter()
            .filter(|address| !relayed.contains(address)),
    );
    for target in targets.iter().filter(|target| !stays_in_the_kernel(target)) {
        sink.sees(*target);
    }
    let _ = sink.arrived();
    let relay = setup(&[]).start();
    for way in Way::ALL {
        for host in HOSTS {
            let mut client = sink.client(&relay, way, host, "mallory");
            assert_out_of_reach(&sink, &mut client, &format!("{way:?} at {host}"), &targets);
        }
    }
}

/// A relay that everything is allowed to that can be: each range by itself, and all at once.
fn opened() -> Setup {
    let mut everything = [&["0.0.0.0/0", "::/0"], &NEVER[..], &DENIED[..]].concat();
    // The configuration does not even take this form.
    everything.retain(|range| !range.starts_with("::ffff:0:0/"));
    let mut setup = setup(&everything);
    setup.limits += "\npermissions-per-allocation = 10000";
    setup
}

/// whatever an operator allows, the addresses that are closed for good stay closed in every encoding, those of cloud
/// metadata among them; so do the host's own and those that the operator closed.
#[test]
fn what_is_closed_for_good_is_not_opened_by_allowing_it() {
    if !inside("forbidden::what_is_closed_for_good_is_not_opened_by_allowing_it") {
        return;
    }
    let sink = Sink::new();
    let never = targets::never();
    assert!(
        parsed(&METADATA)
            .iter()
            .all(|address| never.contains(address))
    );
    let targets = in_every_dress(&[never, parsed(&HOST), parsed(&CLOSED)].concat());
    let relay = opened().start();
    for (turn, way) in Way::ALL.into_iter().enumerate() {
        let host = HOSTS[turn % 2];
        let mut client = sink.client(&relay, way, host, "mallory");
        assert_out_of_reach(&sink, &mut client, &format!("{way:?} at {host}"), &targets);
    }
}

/// what an operator allows is reached, so that the sink is known to take what a relay sends it, and silence to be the
/// policy's doing; the dresses that only tunnels understand stay closed even then.
#[test]
fn what_is_allowed_arrives_at_the_sink() {
    if !inside("forbidden::what_is_allowed_arrives_at_the_sink") {
        return;
    }
    let sink = Sink::new();
    let plain = [targets::denied(), parsed(&PUBLIC)].concat();
    let relay = opened().start();
    for way in Way::ALL {
        let mut client = sink.client(&relay, way, HOSTS[0], "alice");
        let relayed = client.allocate_both();
        for &address in &in_every_dress(&plain) {
            let peer = SocketAddr::new(address, SINK_PORT);
            if targets::only_tunnels_understand(address) {
                assert_eq!(client.try_permit(peer), 403, "{way:?} {address}");
                continue;
            }
            client.permit(peer);
            let payload = address.to_string();
            client.send_indication(peer, payload.as_bytes());
            let from = relayed[usize::from(address.is_ipv6())];
            assert_eq!(sink.next(address), (payload.into_bytes(), from), "{way:?}");
        }
        client.release();
    }
}

/// one forbidden peer among good ones refuses the whole request, and a permission is for the address that it names,
/// not for its other spellings.
#[test]
fn a_good_peer_opens_nothing_for_others() {
    if !inside("forbidden::a_good_peer_opens_nothing_for_others") {
        return;
    }
    let sink = Sink::new();
    let relay = setup(&[]).start();
    let allowed = sink.lab.peer("10.77.0.20");
    let [good, public, metadata] = ["101.33.7.9", "1.1.1.1", "169.254.169.254"]
        .map(|host| SocketAddr::new(host.parse().unwrap(), SINK_PORT));
    for way in Way::ALL {
        let mut client = sink.client(&relay, way, HOSTS[0], "mallory");
        client.allocate_both();
        client.bind(CONTROL, allowed.local_addr().unwrap());
        for order in [[good, metadata], [metadata, good]] {
            let answer = client.request(Method::CreatePermission, |w| {
                for peer in order {
                    w.xor_peer_address(peer);
                }
            });
            assert_eq!(answer.code(), 403, "{way:?}");
            client.send_indication(good, MARKER.as_bytes());
            client.send_indication(metadata, MARKER.as_bytes());
        }
        client.permit(public);
        let IpAddr::V4(v4) = public.ip() else {
            unreachable!("it is written above");
        };
        for (_, address) in targets::dressed(v4) {
            client.send_indication(
                SocketAddr::new(address.into(), SINK_PORT),
                MARKER.as_bytes(),
            );
        }
        client.send_channel(CONTROL, b"control");
        assert_eq!(receive_from(&allowed).0, b"control");
        assert_eq!(sink.leaked(b"control"), vec![], "{way:?}");
    }
}

/// where the operator lists the only peers that there are, everything else is refused, public addresses too, and being
/// on that list opens nothing that is closed for good.
#[test]
fn a_list_of_the_only_peers_closes_everything_else() {
    if !inside("forbidden::a_list_of_the_only_peers_closes_everything_else") {
        return;
    }
    let sink = Sink::new();
    let mut setup = Sink::setup(1);
    let only = ["10.77.0.20", "101.33.7.9", "169.254.0.0/15", "13.54.7.0/24"];
    setup.peers = format!("only = {}\nnat64-prefixes = {}", list(&only), list(&NAT64));
    let relay = setup.start();
    let [wanted, others] = [true, false].map(|is_wanted| {
        let mut some = parsed(&PUBLIC);
        some.retain(|address| (address.to_string() == only[1]) == is_wanted);
        some
    });
    let mut targets = [
        targets::never(),
        targets::denied(),
        parsed(&HOST),
        parsed(&CLOSED),
        others,
    ]
    .concat();
    targets.extend(
        in_every_dress(&wanted)
            .into_iter()
            .filter(|address| !wanted.contains(address)),
    );
    for way in [Way::ALL[0], Way::ALL[5]] {
        let mut client = sink.client(&relay, way, HOSTS[0], "mallory");
        assert_out_of_reach(&sink, &mut client, &format!("{way:?}"), &targets);
        let relayed = client.allocate();
        let peer = SocketAddr::new(wanted[0], SINK_PORT);
        client.permit(peer);
        client.send_indication(peer, b"wanted");
        assert_eq!(sink.next(wanted[0]), (b"wanted".to_vec(), relayed));
        client.release();
    }
}
