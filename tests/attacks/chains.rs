//! Relays behind relays: an attacker who allocates through one at another, and leads the chain back to where it began.
//!
//! ```text
//!   attacker, in the test --- first relay 10.77.0.1   second relay 10.77.0.10, outside
//!   a tunnel: what is written to a socket here goes through a channel of the allocation below, and back
//! ```
//!
//! Responsible for chains being finite. Not responsible for what a relay refuses to its own host (`own_services`).

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use taciturn_protocol::wire::Method;

use crate::calls::Stop;
use crate::client::{Client, Link, Over, is_silent, peer_at, receive_from};
use crate::lab::{Lab, PORT};
use crate::namespace::{inside, ip};
use crate::running::{Running, Setup};
use crate::sniffer::Sniffer;

const DOWN: u16 = 0x4000;

/// A relay with one listener at `host`, for which the whole lab is open.
fn setup(host: &str) -> Setup {
    let mut setup = Setup::empty(1).listener("udp", &format!("{host}:{PORT}"));
    setup.relayed = format!("addresses = [\"{host}\"]\nports = \"20000-20999\"");
    setup.peers = "allow = [\"10.77.0.0/16\"]".to_owned();
    setup
}

fn socket_of(client: &Client) -> UdpSocket {
    match &client.link {
        Link::Udp(socket) => socket.try_clone().unwrap(),
        Link::Tcp(..) | Link::Tls(..) => unreachable!("the clients here are over UDP"),
    }
}

/// Carries datagrams between a socket for the next client and the channel of the one below, until `stop`.
fn carry(below: &UdpSocket, here: &UdpSocket, stop: &AtomicBool) {
    for socket in [below, here] {
        socket
            .set_read_timeout(Some(Duration::from_millis(5)))
            .unwrap();
    }
    let mut buffer = [0; 4096];
    let mut client: Option<SocketAddr> = None;
    while !stop.load(Ordering::Relaxed) {
        if let Ok((length, from)) = here.recv_from(&mut buffer) {
            client = Some(from);
            let mut frame = DOWN.to_be_bytes().to_vec();
            frame.extend(u16::try_from(length).unwrap().to_be_bytes());
            frame.extend(&buffer[..length]);
            below.send(&frame).unwrap();
        }
        if let Ok(length) = below.recv(&mut buffer)
            && buffer[..2] == DOWN.to_be_bytes()
        {
            here.send_to(&buffer[4..length], client.expect("it was asked before"))
                .unwrap();
        }
    }
}

/// The first client's own packets and answers aside: how often the relays' hosts sent the marker from a relayed port.
fn hops(sniffer: &Sniffer, marker: &[u8], last: &[u8]) -> usize {
    let is_relayed = |port: u16| (20_000..=20_999).contains(&port);
    sniffer
        .packets_until(|packet| packet.contains(last) && is_relayed(packet.from.port()))
        .iter()
        .filter(|packet| packet.contains(marker) && is_relayed(packet.from.port()))
        .count()
}

/// A-13: three allocations, each made through the one before, on two relays in turn, the last of which sends to the relayed
/// address of the first. A payload goes once around, a layer of framing at each hop, and ends at the attacker: no relay sends
/// anything that it was not sent. At the relay's own listener the chain does not even begin.
#[test]
fn a_chain_that_leads_back_to_its_beginning_ends() {
    if !inside("chains::a_chain_that_leads_back_to_its_beginning_ends") {
        return;
    }
    let lab = Lab::new();
    ip("addr add 10.77.0.2/24 dev r0");
    let first = setup("10.77.0.1").start();
    let _second: Running = lab.outside.enter(|| setup("10.77.0.10").start());
    let listener = |host: &str| SocketAddr::new(host.parse().unwrap(), PORT);
    let [at_first, at_second] = ["10.77.0.1", "10.77.0.10"].map(listener);

    let mut lowest = Client::at(&first, Over::Udp, at_first, "attacker");
    let beginning = lowest.allocate();
    // A relay is not reached through itself.
    assert_eq!(lowest.try_bind(DOWN, at_first), 403);
    lowest.bind(DOWN, at_second);

    let stop = AtomicBool::new(false);
    let [one, two] = [(); 2].map(|()| peer_at("127.0.0.1:0".parse().unwrap()));
    thread::scope(|scope| {
        let _ended = Stop(&stop);
        let below = socket_of(&lowest);
        let (stop, here) = (&stop, &one);
        scope.spawn(move || carry(&below, here, stop));
        let mut middle = Client::udp(one.local_addr().unwrap(), "attacker");
        middle.allocate();
        middle.bind(DOWN, at_first);

        let below = socket_of(&middle);
        let here = &two;
        scope.spawn(move || carry(&below, here, stop));
        let mut highest = Client::udp(two.local_addr().unwrap(), "attacker");
        let end = highest.allocate();
        assert_eq!(end.ip(), beginning.ip(), "on the first relay again");

        // The beginning lets it in, and the circle is closed.
        let outside = lab.peer("10.77.0.20");
        highest.bind(0x4001, beginning);
        highest.bind(0x4002, outside.local_addr().unwrap());
        let sniffer = Sniffer::new();
        for _ in 0..10 {
            highest.send_channel(0x4001, b"around");
        }
        thread::sleep(Duration::from_millis(300));
        highest.send_channel(0x4002, b"and out");
        assert_eq!(receive_from(&outside).0, b"and out");
        // Each is sent by the first relay towards the second and by the second towards the first, and then handed over
        // inside. There the attacker has permitted nobody but the second relay's host.
        let count = hops(&sniffer, b"around", b"and out");
        assert_eq!(count, 2 * 10, "two hops each, and no packet more");
        assert!(first.dropped("peer_not_permitted") >= 10);
    });
}

/// A-13: who does not want chains from one relay of a fleet to the next closes the ports that they listen on, as of any service.
#[test]
fn listeners_of_other_relays_can_be_closed() {
    if !inside("chains::listeners_of_other_relays_can_be_closed") {
        return;
    }
    let lab = Lab::new();
    let mut setup = setup("10.77.0.1");
    setup.peers += "\ndenied-ports = [\"0-1023\", 3478, 5349]";
    let relay = setup.start();
    let at = |port| SocketAddr::new("10.77.0.10".parse().unwrap(), port);
    let listener = lab.outside.enter(|| peer_at(at(PORT)));
    let mut client = lab.client(&relay, Over::Udp, "10.77.0.1", "attacker");
    client.allocate();
    client.permit(at(0));
    for port in [443, PORT, 5349] {
        assert_eq!(client.try_bind(DOWN, at(port)), 403, "{port}");
        client.send_indication(at(port), b"a request, perhaps");
    }
    assert_eq!(client.request(Method::Refresh, |_| {}).code(), 0);
    assert!(is_silent(&listener));
    assert_eq!(relay.dropped("forbidden_peer"), 3);
}
