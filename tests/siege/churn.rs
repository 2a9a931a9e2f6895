//! Allocations that come and go, over and over.
//!
//! Responsible for what is left of them: nothing. Not responsible for how fast they come (`benches/load`).

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Client, Over, peer, receive_from};
use crate::running::{Running, Setup, eventually, loopback};
use crate::scale::{is_long, scale};
use crate::vitals::{held, held_at_first, load, memory_kib, record, status};

const CHANNEL: u16 = 0x4ABC;
/// How long a port rests that was used.
const REST: Duration = Duration::from_secs(60);
/// Cycles under one name.
const NAME_LASTS: u64 = 50;
/// Of a thousand cycles so many make a connection for themselves, over TCP and over TLS.
const STREAMS: [(u64, Over); 2] = [(10, Over::Tcp), (1, Over::Tls)];

/// One who allocates and frees, under one name after the other.
struct Guest<'a> {
    relay: &'a Running,
    client: Client,
    peer: UdpSocket,
    waited: &'a AtomicU64,
    cycles: u64,
}

impl<'a> Guest<'a> {
    fn new(relay: &'a Running, waited: &'a AtomicU64) -> Self {
        Self {
            relay,
            client: Client::of(relay, Over::Udp, "guest"),
            peer: peer(),
            waited,
            cycles: 0,
        }
    }

    /// One allocation, used in different ways, and given back.
    fn cycle(&mut self, number: u64) {
        // Nobody may have many ports that rest.
        if self.cycles.is_multiple_of(NAME_LASTS) {
            self.client = Client::of(self.relay, Over::Udp, &format!("guest-{number}"));
        }
        self.cycles += 1;
        let [(tcp, over_tcp), (tls, over_tls)] = STREAMS;
        match number % 1000 {
            turn if turn < tcp => self.connect(number, over_tcp),
            turn if turn < tcp + tls => self.connect(number, over_tls),
            _ => {
                allocate(&mut self.client, self.waited);
                if number.is_multiple_of(8) {
                    use_once(&mut self.client, &self.peer);
                }
                self.client.release();
            }
        }
    }

    fn connect(&self, number: u64, over: Over) {
        let mut client = Client::of(self.relay, over, &format!("guest-{number}"));
        allocate(&mut client, self.waited);
        use_once(&mut client, &self.peer);
        // Half of them give it back; of the others the end of the connection is the end.
        if number.is_multiple_of(2) {
            client.release();
        }
    }
}

/// Where all ports rest, one is waited for.
fn allocate(client: &mut Client, waited: &AtomicU64) {
    loop {
        match client.try_allocate(|_| {}).code() {
            0 => return,
            508 => {
                waited.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(5));
            }
            other => panic!("{other}"),
        }
    }
}

/// A permission, a channel, and a payload through it.
fn use_once(client: &mut Client, peer: &UdpSocket) {
    client.bind(CHANNEL, peer.local_addr().unwrap());
    client.send_channel(CHANNEL, b"once");
    assert_eq!(receive_from(peer).0, b"once");
}

/// So many cycles by several guests at a time; returns how often one waited for a port.
fn churn(relay: &Running, cycles: u64) -> u64 {
    let (begun, waited) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..3 {
            let mut guest = Guest::new(relay, &waited);
            let begun = &begun;
            scope.spawn(move || {
                loop {
                    let number = begun.fetch_add(1, Ordering::Relaxed);
                    if number >= cycles {
                        break;
                    }
                    guest.cycle(number);
                }
            });
        }
    });
    waited.into_inner()
}

/// The same, so many a second at most, until it is over; returns how many they were.
pub(crate) fn churn_until(relay: &Running, a_second: u64, over: &AtomicBool) -> u64 {
    let (begun, waited) = (Instant::now(), AtomicU64::new(0));
    let mut guest = Guest::new(relay, &waited);
    let mut cycles = 0;
    while !over.load(Ordering::Relaxed) {
        guest.cycle(cycles);
        cycles += 1;
        let due = Duration::from_millis(cycles * 1000 / a_second);
        thread::sleep(due.saturating_sub(begun.elapsed()));
    }
    cycles
}

pub(crate) fn assert_nothing_left(relay: &Running, before: [usize; 2]) {
    eventually("the end of every allocation", || {
        let parts = [
            "allocations",
            "permissions",
            "channels",
            "connections",
            "ports_used",
        ];
        parts.iter().all(|part| load(relay, part) == 0)
    });
    for metric in [
        "allocations_by_state",
        "half_open_connections",
        "crowding_flows",
    ] {
        assert_eq!(
            relay.metric(&format!("taciturn_relay_{metric}")),
            0,
            "{metric}"
        );
    }
    let status = status(relay);
    let [free, resting] = ["ports_free", "ports_quarantined"].map(|part| &status["load"][part]);
    assert_eq!(
        free.as_u64().unwrap() + resting.as_u64().unwrap(),
        status["capacity"]["ports"].as_u64().unwrap()
    );
    record(
        "descriptors and threads before and after",
        format!("{before:?} {:?}", held(relay)),
    );
    eventually("every descriptor and no thread more", || {
        held(relay) == before
    });
}

/// G-10: allocations that come and go leave no port, descriptor, thread or entry of a table behind, and no memory.
#[test]
fn allocations_that_come_and_go_leave_nothing_behind() {
    let (warm, cycles) = (scale(500, 1_000_000), scale(1500, 1_000_000));
    let mut setup = Setup::on_loopback(2);
    // So few ports that in the long form all of them are used and rest many times over: its pace is theirs.
    let hosts = [loopback(), loopback(), loopback(), loopback()]
        .map(|host| format!("\"{host}\""))
        .join(", ");
    setup.relayed = format!("addresses = [{hosts}]\nports = \"1024-65535\"");
    setup.more = "[nonce]\nlifetime = \"1h\"\n".to_owned();
    let mut relay = setup.start();
    let before = held_at_first(&relay);
    let begun = Instant::now();
    let mut waited = churn(&relay, warm);
    let warmed = memory_kib(&relay);
    let mut memory = warmed;
    for _ in 0..10 {
        waited += churn(&relay, cycles / 10);
        memory = memory_kib(&relay);
        record("memory so far, KiB", memory);
    }
    let grown = memory.saturating_sub(warmed);
    record("allocations made and freed", warm + cycles);
    record("seconds", begun.elapsed().as_secs());
    record("times that all ports rested", waited);
    record(
        "memory after warm-up and at the end, KiB",
        format!("{warmed} {memory}"),
    );
    assert_nothing_left(&relay, before);
    assert_eq!(
        relay.metric("taciturn_relay_created_allocations_total"),
        warm + cycles
    );
    let ended = relay.metric("taciturn_relay_ended_allocations_total");
    assert_eq!(ended, warm + cycles);
    if is_long() {
        assert!(waited > 0, "warm is when every port has been used");
        assert!(grown * 100 <= warmed, "{grown} KiB more than {warmed}");
        thread::sleep(REST);
        eventually("the end of every port's rest", || {
            load(&relay, "ports_quarantined") == 0
        });
        assert_nothing_left(&relay, before);
    } else {
        assert!(grown <= 1024, "{grown} KiB more than {warmed}");
    }
    relay.assert_alive();
}
