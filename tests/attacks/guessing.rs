//! Guessed passwords, over the network: who has to wait, who has not, and what the log says of it.
//!
//! Not responsible for how long the waits are (`protocol/src/server/failures.rs`).

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use rustls::StreamOwned;
use socket2::{Domain, Socket, Type};
use taciturn_protocol::credentials::{HmacHash, password_for};
use taciturn_protocol::wire::{Framed, Method};
use taciturn_relay::clock::Clock;

use crate::calls::Call;
use crate::client::{Client, Link, Over, binding, peer, peer_at, tls_connection};
use crate::running::{PATIENCE, Running, SECRET, Setup, eventually};
use crate::scale::{is_long, scale};

/// Where somebody guesses, and where the user is.
const GUESSER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);
const VICTIM: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 77);

/// A relay with one worker, whose other limits on strangers are not reached here.
fn start() -> Running {
    let mut setup = Setup::on_loopback(1);
    setup.limits = "unauthenticated-per-second = 100000".to_owned();
    setup.start()
}

/// A client that sends from this address.
fn link(relay: &Running, over: Over, from: Ipv4Addr) -> Link {
    let server = relay.listener(over.name());
    let home = SocketAddr::new(IpAddr::V4(from), 0);
    if over == Over::Udp {
        let socket = peer_at(home);
        socket.connect(server).unwrap();
        return Link::Udp(socket);
    }
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&home.into()).unwrap();
    socket.connect(&server.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    if over == Over::Tcp {
        return Link::Tcp(stream, Vec::new());
    }
    let tls = StreamOwned::new(tls_connection(&relay.certificate, &[]), stream);
    Link::Tls(Box::new(tls), Vec::new())
}

/// A user name that is valid for an hour, and its password.
fn credentials(user: &str) -> (Vec<u8>, String) {
    let expires = Clock::start().unix().as_secs() + 3600;
    let name = format!("{expires}:{user}").into_bytes();
    let password = password_for(SECRET.as_bytes(), HmacHash::Sha256, &name);
    (name, password)
}

/// The code that one request is answered with; `None` when it is met with silence, which the next answer shows.
fn code_of(client: &mut Client) -> Option<u16> {
    let (id, bytes) = client.request_bytes(Method::Allocate, |w| w.requested_transport(17));
    client.send(&bytes);
    client.send(&binding(200));
    let mut code = None;
    loop {
        let answer = client.receive().expect("the answer to Binding at least");
        let framed = Framed::parse(&answer).unwrap();
        if framed.transaction_id() != id {
            return code;
        }
        let error = framed.unauthenticated().error_code();
        code = Some(error.map_or(0, |error| error.unwrap().0));
    }
}

/// after a few wrong passwords a name gets silence where they came from, the right password too, over every transport.
/// From elsewhere the user is served at once, another name from the same place as well, and a call of the same user from the
/// same place goes on, while the guessing does.
#[test]
fn a_guesser_is_held_off_and_nobody_is_locked_out() {
    let mut relay = start();
    for over in Over::ALL {
        let (name, password) = credentials(&format!("alice-{}", over.name()));
        let known = |link| Client::known_as(link, name.clone(), password.clone());
        let mut call = Call::between(known(link(&relay, over, GUESSER)), peer());
        let wrong = format!("{password}x");
        let mut guesser = Client::known_as(link(&relay, over, GUESSER), name.clone(), wrong);
        guesser.challenge();
        let codes: Vec<_> = (0..scale(30, 1000))
            .map(|_| code_of(&mut guesser))
            .collect();
        assert_eq!(codes[..6], [Some(401); 6], "{over:?}");
        assert!(
            codes[6..].iter().filter(|code| code.is_some()).count() <= 9,
            "{codes:?}"
        );

        let mut knows = known(link(&relay, over, GUESSER));
        knows.challenge();
        // Until the wait is over, which happens by itself.
        while code_of(&mut guesser).is_some() {}
        assert_eq!(code_of(&mut knows), None, "{over:?}: not from there");
        let mut other = Client::strangely_named(link(&relay, over, GUESSER), b"bob");
        other.allocate();
        let mut victim = known(link(&relay, over, VICTIM));
        victim.allocate();

        assert_eq!(code_of(&mut guesser), None);
        call.exchange();
        let refreshed = call.client.request(Method::Refresh, |w| w.lifetime(600));
        assert_eq!(refreshed.code(), 0);
        call.client.permit(SocketAddr::from(([127, 0, 0, 9], 9)));
        call.exchange();
    }
    assert!(relay.dropped("held_off") > 3 * 20);
    relay.assert_alive();
}

/// users by the thousand and as many passwords from one address: few guesses are looked at, calls go on, nothing is
/// kept for it, and the log has a line a minute for all of them, without a name.
#[test]
fn stuffing_credentials_costs_a_line_a_minute() {
    let mut relay = start();
    let mut call = Call::open(&relay, Over::Udp, "honest");
    let (users, rounds) = (scale(200, 1000), scale(50, 1000));
    let mut client = Client::known_as(
        link(&relay, Over::Tcp, GUESSER),
        credentials("first").0,
        "guess".to_owned(),
    );
    client.challenge();
    let nonce = client.secrets()[2].clone();
    let guesses: Vec<_> = (0..users)
        .map(|user| {
            let name = credentials(&format!("stuffed-{user}")).0;
            wrong_allocate(&name, &nonce)
        })
        .collect();
    let tasks = || {
        std::fs::read_dir(format!("/proc/{}/task", relay.pid()))
            .unwrap()
            .count()
    };
    let before = tasks();
    for _ in 0..rounds {
        for guess in &guesses {
            client.send(guess);
        }
        client.send(&binding(201));
        while client.receive().expect("an answer")[8..20] != [201; 12] {}
        call.exchange();
    }
    let judged = relay.metric("taciturn_relay_authentications_total{result=\"wrong_credentials\"}");
    let held = relay.metric("taciturn_relay_authentications_total{result=\"held_off\"}");
    assert_eq!(judged + held, users * rounds);
    assert!(judged <= users * 15, "{judged} of {}", users * rounds);
    assert_eq!(tasks(), before);
    if is_long() {
        // It comes once a minute.
        for _ in 0..70 {
            std::thread::sleep(Duration::from_secs(1));
            call.exchange();
        }
        eventually("the line of the minute", || {
            relay.log().contains("held_off=")
        });
    }
    let log = relay.log();
    assert!(!log.contains("stuffed-"), "{log}");
    let told = log.matches("authentications refused").count();
    let minutes = usize::try_from(rounds / 100 + 4).unwrap();
    assert!(told <= minutes, "{told} lines");
    relay.assert_alive();
}

/// An Allocate of this user, signed by somebody who does not know the password.
fn wrong_allocate(name: &[u8], nonce: &[u8]) -> Vec<u8> {
    use taciturn_protocol::wire::{Class, TransactionId, Writer};
    let mut bytes = vec![0; 512];
    let id = TransactionId([202; 12]);
    let mut writer = Writer::new(&mut bytes, Class::Request, Method::Allocate, id);
    writer.requested_transport(17);
    writer.username(name);
    writer.realm(crate::running::REALM.as_bytes());
    writer.nonce(nonce);
    writer.message_integrity(b"not this user's key");
    let length = writer.finish().unwrap();
    bytes.truncate(length);
    bytes
}
