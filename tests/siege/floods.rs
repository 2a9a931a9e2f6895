//! Packets from those who have no business here, beside calls that must not notice.
//!
//! Responsible for loss and memory. Not responsible for how each packet is answered (`tests/attacks`).

use std::net::{SocketAddr, SocketAddrV4};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_setaffinity};
use taciturn_protocol::wire::{Class, Method, TransactionId, Writer};

use crate::calls::Call;
use crate::client::{Client, Link, Over, binding, peer_at};
use crate::flock::Flock;
use crate::forged::{Forger, SOURCES, source};
use crate::lab::{Lab, PORT};
use crate::malformed::{Dice, mutated, originals};
use crate::namespace::{inside, set};
use crate::running::{PATIENCE, Running, Setup};
use crate::scale::{is_long, scale};
use crate::vitals::{cpu_ticks, memory_kib, p99, record};

const CALLS: usize = 100;
/// What neither flood may add, in KiB.
const GROWTH: u64 = 1024;
/// Packets on the way at a time: fewer than the smallest receive buffer holds.
const AT_A_TIME: u64 = 64;

fn assert_small(what: &str, before: u64, after: u64) {
    let grown = after.saturating_sub(before);
    record(
        &format!("{what}, memory before and after, KiB"),
        format!("{before} {after}"),
    );
    assert!(grown <= GROWTH, "{what}: {grown} KiB more than {before}");
}

/// Random and mutated datagrams, half of them from the owner of an allocation; all have been looked at when it returns.
fn send_malformed(relay: &Running, dice: &mut Dice, count: u64) {
    // Another name each time, as the one before may have to wait for having failed so often.
    let name = format!("mallory-{count}");
    let mut owner = Call::open(relay, Over::Udp, &name);
    let mut stranger = Client::of(relay, Over::Udp, &name);
    let originals = originals(&mut owner);
    for turn in 0..count {
        let sender = if turn.is_multiple_of(2) {
            &mut owner.client
        } else {
            &mut stranger
        };
        sender.send(&mutated(dice, &originals));
        if turn % AT_A_TIME < 2 || turn + 2 >= count {
            let id = turn.to_be_bytes()[7] | 1;
            sender.send(&binding(id));
            while sender.receive().expect("an answer")[8..20] != [id; 12] {}
        }
    }
}

/// G-05, A-19: malformed packets beside 100 calls → the calls lose nothing, the process is the same, and its memory too.
#[test]
fn malformed_packets_cost_a_hundred_calls_nothing() {
    let count = scale(20_000, 1_000_000);
    let mut relay = Setup::on_loopback(1).start();
    let mut flock = Flock::on_loopback(&relay, CALLS);
    let mut dice = Dice(0x51E6E);
    // Whatever is made once and kept has been made.
    let warming = || send_malformed(&relay, &mut dice, count / 10);
    flock.beside(warming).1.assert_whole();
    let before = memory_kib(&relay);
    let ((), tally) = flock.beside(|| send_malformed(&relay, &mut dice, count));
    tally.assert_whole();
    record("malformed datagrams", count);
    record(
        "payloads of 100 calls meanwhile, lost",
        format!("{} {}", tally.sent, tally.lost),
    );
    assert_small("malformed datagrams", before, memory_kib(&relay));
    relay.assert_alive();
}

/// What strangers send: a Binding, an Allocate without credentials, something broken, and ChannelData.
fn strangers() -> [Vec<u8>; 4] {
    let mut allocate = vec![0; 64];
    let id = TransactionId([3; 12]);
    let mut writer = Writer::new(&mut allocate, Class::Request, Method::Allocate, id);
    writer.requested_transport(17);
    let length = writer.finish().unwrap();
    allocate.truncate(length);
    let mut broken = allocate.clone();
    broken[23] = 0xFF;
    let channel = [&[0x4A, 0xBC, 0, 160][..], &[7; 160]].concat();
    [binding(9), allocate, broken, channel]
}

/// The flood from many sources, and how far it has come.
struct Strangers {
    forger: Forger,
    messages: [Vec<u8>; 4],
    next: u64,
}

impl Strangers {
    fn send(&mut self) {
        assert!(self.next < SOURCES, "each source is used once");
        let kind = usize::try_from(self.next % 4).unwrap();
        self.forger.send(source(self.next), &self.messages[kind]);
        self.next += 1;
    }

    /// So many more, a few at a time: `client` asks for something after each few, and is answered.
    fn send_in_step(&mut self, count: u64, client: &mut Client) {
        for turn in 0..count {
            self.send();
            if turn % AT_A_TIME == 0 {
                assert_eq!(client.request(Method::Refresh, |_| {}).code(), 0);
            }
        }
    }

    /// At this many a second until so many have been sent in all. Returns how many a second it were.
    fn send_at(&mut self, rate: f64, until: u64) -> f64 {
        let (begun, first) = (Instant::now(), self.next);
        while self.next < until {
            let due = begun.elapsed().as_secs_f64() * rate;
            let mut batch = 0;
            while ((self.next - first) as f64) < due && batch < 2000 && self.next < until {
                self.send();
                batch += 1;
            }
            if batch < 2000 {
                thread::sleep(Duration::from_micros(500));
            }
        }
        (self.next - first) as f64 / begun.elapsed().as_secs_f64()
    }
}

/// A hundred calls from as many addresses outside, so that none is held for another's sake.
fn flock_outside(lab: &Lab) -> Flock {
    lab.outside.ip("route add local 10.77.1.0/24 dev lo");
    let ends: Vec<_> = (1..=CALLS)
        .map(|number| {
            let at = SocketAddr::new(format!("10.77.1.{number}").parse().unwrap(), 0);
            let socket = lab.outside.enter(|| peer_at(at));
            socket.connect(server()).unwrap();
            let client = Client::new(Link::Udp(socket), &format!("canary-{number}"));
            (client, lab.peer("10.77.0.20"))
        })
        .collect();
    Flock::of(ends)
}

fn server() -> SocketAddrV4 {
    SocketAddrV4::new("10.77.0.1".parse().unwrap(), PORT)
}

fn received(relay: &Running) -> u64 {
    relay.metric("taciturn_relay_received_packets_total")
}

fn overrun(relay: &Running) -> u64 {
    relay.metric("taciturn_relay_kernel_dropped_packets_total ")
}

/// This thread and those that it starts leave the first processor to the relay.
fn leave_the_first_processor() {
    let mut others = CpuSet::new();
    (1..CpuSet::MAX_CPU).for_each(|number| others.set(number));
    sched_setaffinity(None, &others).expect("a second processor, which the long form needs");
}

/// G-11, A-28: strangers, each of whom sends one packet and is never seen again, leave no memory behind; calls lose at most one
/// packet in a thousand while there are at most half as many of them as the relay can look at.
#[test]
fn strangers_leave_no_memory_behind_and_calls_go_on() {
    if !inside("floods::strangers_leave_no_memory_behind_and_calls_go_on") {
        return;
    }
    let lab = Lab::new();
    set("ipv4/conf/all/rp_filter", "0");
    set("ipv4/conf/r0/rp_filter", "0");
    let mut setup = Lab::setup(1);
    setup.limits.clear();
    setup.more = "[nonce]\nlifetime = \"1h\"\n".to_owned();
    if is_long() {
        setup.wrapper = ["taskset", "-c", "0"].map(Into::into).to_vec();
        leave_the_first_processor();
    }
    let mut relay = setup.start();
    let mut flock = flock_outside(&lab);
    let mut strangers = Strangers {
        forger: lab.outside.enter(|| Forger::new(server())),
        messages: strangers(),
        next: 0,
    };
    let mut pacer = lab.client(&relay, Over::Udp, "10.77.0.1", "pacer");
    pacer.allocate();
    // Every place of the tables of fixed size has been used, and every buffer of the calls.
    let warming = || strangers.send_in_step(scale(20_000, 200_000), &mut pacer);
    flock.beside(warming).1.assert_whole();
    let before = memory_kib(&relay);
    let first = received(&relay);

    if is_long() {
        in_full(&relay, &mut flock, &mut strangers);
    } else {
        let flood = || strangers.send_in_step(30_000, &mut pacer);
        flock.beside(flood).1.assert_whole();
        assert!(
            received(&relay) - first >= 30_000,
            "all have been looked at"
        );
    }
    assert_small("sources", before, memory_kib(&relay));
    relay.assert_alive();
}

/// The long form: how many the relay can look at, and then less than half as many beside the calls.
fn in_full(relay: &Running, flock: &mut Flock, strangers: &mut Strangers) {
    const ALL: u64 = 10_200_000;
    let (seen, lost, spent) = (received(relay), overrun(relay), cpu_ticks(relay));
    let begun = Instant::now();
    let sent = strangers.send_at(f64::INFINITY, ALL / 2);
    let seconds = begun.elapsed().as_secs_f64();
    let spent = (cpu_ticks(relay) - spent) as f64 / seconds;
    thread::sleep(PATIENCE / 5);
    let seen = (received(relay) - seen) as f64 / seconds;
    let lost = overrun(relay) - lost;
    record(
        "strangers' packets a second sent, looked at, lost",
        format!("{sent:.0} {seen:.0} {lost}"),
    );
    record("processor meanwhile, of 100", format!("{spent:.0}"));
    if lost == 0 {
        record(
            "capacity",
            "at least what was sent: the relay was not filled",
        );
    }

    record("memory after these, KiB", memory_kib(relay));
    let lost = overrun(relay);
    let (rate, mut tally) = flock.beside(|| strangers.send_at(seen * 0.45, ALL));
    record("sources", strangers.next);
    record("packets a second beside the calls", format!("{rate:.0}"));
    record(
        "payloads of 100 calls meanwhile, lost",
        format!("{} {}", tally.sent, tally.lost),
    );
    record(
        "requests meanwhile, unanswered",
        format!("{} {}", tally.requests, tally.unanswered),
    );
    record("packets that the kernel dropped", overrun(relay) - lost);
    record("Refresh, p99", format!("{:?}", p99(&mut tally.refreshes)));
    assert!(strangers.next >= 10_000_000);
    assert!(
        tally.lost * 1000 <= tally.sent,
        "{} of {}",
        tally.lost,
        tally.sent
    );
    assert!(p99(&mut tally.refreshes) <= Duration::from_millis(50));
}
