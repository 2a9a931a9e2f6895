//! Many who begin a TLS handshake and say next to nothing.
//!
//! Responsible for a normal client beside them, and for memory. Not responsible for handshakes cut and split in every way
//! (`relay/src/listener`).

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::client::{Client, binding, tls_connection};
use crate::flock::{Ended, Flock};
use crate::running::{Running, Setup, eventually};
use crate::scale::{is_long, scale};
use crate::vitals::{held, held_at_first, memory_kib, p99, record};

/// Between two looks at all of them: who was turned away is back after the next.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// From one byte to the next.
const LOOKS: usize = 10;
/// What a handshake that is not complete may hold, in KiB: as much as a ClientHello may have.
const EACH: u64 = 16;

/// One of those who hold the relay up.
struct Loiterer {
    stream: Socket,
    said: usize,
}

/// Starts a connection from an address that few others have, so that no source is turned away for having too many.
fn loiter(server: SocketAddr, number: usize) -> Loiterer {
    let [_, _, high, low] = u32::try_from(number).unwrap().to_be_bytes();
    let stream = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let from = SocketAddrV4::new(Ipv4Addr::new(127, 250, high, low.max(1)), 0);
    stream.bind(&from.into()).unwrap();
    stream.set_nonblocking(true).unwrap();
    // It goes on by itself.
    let _ = stream.connect(&server.into());
    Loiterer { stream, said: 0 }
}

impl Loiterer {
    /// Whether the relay has ended it.
    fn is_gone(&mut self) -> bool {
        let waiting = [ErrorKind::WouldBlock, ErrorKind::NotConnected];
        let read = self.stream.read(&mut [0; 16]);
        !read.is_err_and(|error| waiting.contains(&error.kind()))
    }

    fn say(&mut self, hello: &[u8]) {
        if self.stream.write(&hello[self.said..=self.said]).is_ok() {
            self.said += 1;
        }
    }
}

/// When those who were turned away come back.
#[derive(Clone, Copy, PartialEq)]
enum Back {
    AtOnce,
    /// When they would have said their next byte.
    InTurn,
}

/// So many at a time, a byte each every five seconds, until told to end. Counts those that came.
fn besiege(
    server: SocketAddr,
    hello: &[u8],
    (many, back): (usize, Back),
    came: &AtomicU64,
    over: &AtomicBool,
) {
    let mut crowd: Vec<_> = (0..many).map(|number| loiter(server, number)).collect();
    came.fetch_add(many as u64, Ordering::Relaxed);
    for look in 0_usize.. {
        let begun = Instant::now();
        for (number, loiterer) in crowd.iter_mut().enumerate() {
            if over.load(Ordering::Relaxed) {
                return;
            }
            let turn = number % LOOKS == look % LOOKS;
            if (turn || back == Back::AtOnce) && loiterer.is_gone() {
                *loiterer = loiter(server, number);
                came.fetch_add(1, Ordering::Relaxed);
            } else if loiterer.said == 0 || turn {
                loiterer.say(hello);
            }
        }
        thread::sleep(LOOK_EVERY.saturating_sub(begun.elapsed()));
    }
}

/// The time from the first SYN to the answer to a Binding inside TLS.
fn visit(relay: &Running) -> Duration {
    let begun = Instant::now();
    let mut client = Client::tls(relay, relay.listener("tls"), "visitor");
    client.send(&binding(5));
    let answer = client.receive().expect("an answer beside them");
    assert_eq!(answer[..2], [1, 1]);
    begun.elapsed()
}

/// Handshakes that stay half open, `many` of them at a time where the relay bears `most`.
fn hold_up(many: usize, most: usize, back: Back) {
    let mut setup = Setup::on_loopback(1);
    setup.limits += &format!("\nhalf-open = {most}");
    let mut relay = setup.start();
    let mut flock = Flock::on_loopback(&relay, 10);
    visit(&relay);
    let (before, memory) = (held_at_first(&relay), memory_kib(&relay));
    let mut hello = Vec::new();
    tls_connection(&relay.certificate, &[])
        .write_tls(&mut hello)
        .unwrap();

    let (came, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let server = relay.listener("tls");
    let half_open = || relay.metric("taciturn_relay_half_open_connections ");
    let (mut visits, peak, grown, tally) = thread::scope(|scope| {
        let _ended = Ended(&over);
        scope.spawn(|| besiege(server, &hello, (many, back), &came, &over));
        let expected = many.min(most) as u64;
        eventually("that many half-open handshakes", || {
            half_open() * 10 >= expected * 8
        });
        let mut peak = 0;
        let mut grown = 0;
        let ((), tally) = flock.beside(|| ());
        tally.assert_whole();
        let (visits, tally) = flock.beside(|| {
            let visits: Vec<_> = (0..scale(30, 500))
                .map(|_| {
                    thread::sleep(Duration::from_millis(scale(5, 50)));
                    peak = peak.max(half_open());
                    grown = grown.max(memory_kib(&relay).saturating_sub(memory));
                    visit(&relay)
                })
                .collect();
            visits
        });
        (visits, peak, grown, tally)
    });
    tally.assert_whole();
    let slowest = p99(&mut visits);
    record(
        "loiterers at a time, half-open handshakes at most and seen",
        format!("{many} {most} {peak}"),
    );
    record("loiterers that came in all", came.into_inner());
    record(
        "normal clients that came in; their p99",
        format!("{}; {slowest:?}", visits.len()),
    );
    record("memory added, KiB", grown);
    assert!(peak <= most as u64);
    assert!(
        grown <= peak.max(1) * EACH + 1024,
        "{grown} KiB for {peak} handshakes"
    );
    if is_long() {
        assert!(slowest <= Duration::from_millis(200), "{slowest:?}");
    }
    eventually("the end of all that was half open", || half_open() == 0);
    eventually("every descriptor", || held(&relay) == before);
    relay.assert_alive();
}

/// G-23, A-18: handshakes that stay half open, a byte in five seconds each: normal clients come in meanwhile, calls lose nothing, and
/// memory stays within what so many hellos may hold.
#[test]
fn half_open_handshakes_keep_no_client_out() {
    hold_up(
        usize::try_from(scale(300, 5000)).unwrap(),
        6000,
        Back::AtOnce,
    );
}

/// G-23, A-18: the same where there are more of them than the relay bears: the oldest make room.
#[test]
fn more_half_open_handshakes_than_are_borne_keep_no_client_out() {
    let most = usize::try_from(scale(100, 1000)).unwrap();
    hold_up(
        usize::try_from(scale(300, 5000)).unwrap(),
        most,
        Back::InTurn,
    );
}
