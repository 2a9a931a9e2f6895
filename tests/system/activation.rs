//! Sockets that a supervisor has bound before it starts the relay: real descriptors, given to the real program.
//!
//! Each test runs in a network namespace of its own, where port 443 is free, and in a process of its own, as descriptors
//! that are to be inherited would reach the relays of other tests too. Not responsible for the socket unit
//! (`units`).

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::io::{FdFlags, fcntl_setfd};
use socket2::{Domain, Protocol, Socket, Type};

use crate::calls::Call;
use crate::client::{Client, Over, peer};
use crate::namespace::inside;
use crate::running::Setup;

const WEB: &str = "127.0.0.1:443";
/// Runs a program without any capability, even for root.
const BARE: [&str; 4] = [
    "setpriv",
    "--no-new-privs",
    "--bounding-set=-all",
    "--inh-caps=-all",
];

fn udp(address: &str) -> OwnedFd {
    let address: SocketAddr = address.parse().unwrap();
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )
    .unwrap();
    if address.is_ipv6() {
        socket.set_only_v6(true).unwrap();
    }
    socket.set_reuse_port(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.into()
}

fn tcp(address: &str) -> OwnedFd {
    let address: SocketAddr = address.parse().unwrap();
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )
    .unwrap();
    if address.is_ipv6() {
        socket.set_only_v6(true).unwrap();
    }
    socket.bind(&address.into()).unwrap();
    socket.listen(16).unwrap();
    socket.into()
}

/// UDP and everything else on port 443, beside a listener that the relay binds itself.
fn setup(workers: usize) -> Setup {
    let mut setup = Setup::empty(workers)
        .listener("udp", WEB)
        .listener("auto", WEB)
        .listener("udp", "127.0.0.1:3478");
    setup.relayed = "addresses = [\"127.0.0.1\"]\nports = \"20000-29999\"".to_owned();
    setup.peers = "allow-loopback = true".to_owned();
    setup.wrapper = BARE.map(Into::into).to_vec();
    setup
}

/// Has the relay inherit `sockets` as descriptors 3 and following, under these names.
fn hand_over(mut setup: Setup, sockets: &[OwnedFd], names: &str) -> Setup {
    let mut script = String::from("exec");
    for (number, socket) in sockets.iter().enumerate() {
        fcntl_setfd(socket, FdFlags::empty()).unwrap();
        // Far from 3, so that none is overwritten before it has been copied.
        script += &format!(" {}<&{}", 100 + number, socket.as_raw_fd());
    }
    for number in 0..sockets.len() {
        script += &format!(" {}<&{}", 3 + number, 100 + number);
    }
    for (number, socket) in sockets.iter().enumerate() {
        let copied = 3..3 + i32::try_from(sockets.len()).unwrap();
        script += &format!(" {}<&-", 100 + number);
        if !copied.contains(&socket.as_raw_fd()) {
            script += &format!(" {}<&-", socket.as_raw_fd());
        }
    }
    script += &format!(
        "\nexport LISTEN_FDS={} LISTEN_FDNAMES={names} LISTEN_PID=$$\nexec \"$0\" \"$@\"",
        sockets.len()
    );
    let inner = std::mem::take(&mut setup.wrapper);
    setup.wrapper = ["bash", "-c", &script].map(Into::into).to_vec();
    setup.wrapper.extend(inner);
    setup
}

#[test]
fn port_443_is_served_without_a_privilege_on_inherited_sockets() {
    if !inside("activation::port_443_is_served_without_a_privilege_on_inherited_sockets") {
        return;
    }
    // That it is a privilege here at all.
    let refusal = setup(2).refused();
    assert!(
        refusal.contains("udp 127.0.0.1:443 cannot be bound"),
        "{refusal}"
    );
    assert!(refusal.contains("ermission denied"), "{refusal}");

    let sockets = [udp(WEB), tcp(WEB), udp(WEB), udp(WEB)];
    let relay = hand_over(setup(2), &sockets, "a:b:c:d").start();
    drop(sockets);
    let server = WEB.parse().unwrap();
    let mut calls: Vec<Call> = (0..30)
        .map(|number| {
            let over = Over::ALL[number % 3];
            let client = Client::at(&relay, over, server, &format!("user-{number}"));
            Call::between(client, peer())
        })
        .collect();
    // The listener that the relay has bound itself, beside them.
    calls.push(Call::open(&relay, Over::Udp, "own"));
    for _ in 0..10 {
        for call in &mut calls {
            call.exchange();
        }
    }
    assert_eq!(relay.metric("taciturn_relay_allocations "), 31);
    assert!(!relay.log().contains("fewer inherited sockets"));
}

/// One UDP socket and two workers: every client is served by the worker that has it, those over TCP by both.
#[test]
fn fewer_inherited_sockets_than_workers_are_served_and_warned_about() {
    if !inside("activation::fewer_inherited_sockets_than_workers_are_served_and_warned_about") {
        return;
    }
    let sockets = [udp(WEB), tcp(WEB)];
    let relay = hand_over(setup(2), &sockets, "taciturn.socket:taciturn.socket").start();
    drop(sockets);
    let server = WEB.parse().unwrap();
    let mut calls: Vec<Call> = (0..20)
        .map(|number| {
            let over = [Over::Udp, Over::Tcp][number % 2];
            let client = Client::at(&relay, over, server, &format!("user-{number}"));
            Call::between(client, peer())
        })
        .collect();
    for call in &mut calls {
        call.exchange();
    }
    let log = relay.log();
    assert!(
        log.contains("fewer inherited sockets than workers"),
        "{log}"
    );
}

#[test]
fn a_socket_that_no_listener_wants_stops_the_start_by_its_name() {
    if !inside("activation::a_socket_that_no_listener_wants_stops_the_start_by_its_name") {
        return;
    }
    let sockets = [udp(WEB), tcp(WEB), tcp("127.0.0.1:444")];
    let refusal = hand_over(setup(1), &sockets, "web:web:stray").refused();
    drop(sockets);
    let named = "stray (descriptor 5) on tcp 127.0.0.1:444 matches no [[listener]]";
    assert!(refusal.contains(named), "{refusal}");

    // What LISTEN_FDS says and what is there must agree, too.
    let sockets = [udp(WEB)];
    let refusal = hand_over(setup(1), &sockets, "web:two-names").refused();
    assert!(refusal.contains("LISTEN_FDNAMES"), "{refusal}");
}

/// A process id that is not the relay's: the sockets were meant for a program before it, and are none of its business.
#[test]
fn sockets_for_another_process_are_left_alone() {
    let mut setup = Setup::on_loopback(1);
    setup.wrapper = ["env", "LISTEN_PID=1", "LISTEN_FDS=7"]
        .map(Into::into)
        .to_vec();
    let relay = setup.start();
    Call::open(&relay, Over::Udp, "alice").exchange();
    assert!(!relay.log().contains("inherited"));
}
