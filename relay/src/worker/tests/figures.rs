//! What a worker shows of itself: figures of users, apart from the self-check's, and those that a sweep finds.

use std::time::{Duration, Instant};

use taciturn_protocol::address::Transport;
use taciturn_protocol::server::Authentication;

use crate::counters::{METHODS, OUTCOMES, Tally};

use super::support::{Client, peer};
use super::{Bench, connection};

impl Bench {
    fn sum(&self, which: impl Fn(&crate::counters::Counters) -> &Tally) -> u64 {
        self.totals.sum(which)
    }

    /// Turns the first worker until `holds`; a sweep comes once a second.
    fn turn_while_not(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !holds(self) {
            assert!(Instant::now() < deadline, "{what}");
            let worker = &mut self.workers[0];
            worker.inbox.come_back();
            assert!(worker.turn() == super::super::Flow::GoOn);
        }
    }
}

/// Readers of users' figures must not see the relay's own client in them.
#[test]
fn what_comes_from_the_self_check_is_counted_apart() {
    let mut bench = Bench::new(1);
    let mut own = Client::udp(bench.udp, "alice");
    let mut user = Client::udp(bench.udp, "bob");
    let entry = bench.sources.enter(own.local_addr());
    let ((_own_stream, own_end), (_user_stream, user_end)) = (connection(), connection());
    let server = ([127, 0, 0, 1], 3478).into();
    let own_source = ([127, 0, 0, 1], 4001).into();
    let stream_entry = bench.sources.enter(own_source);
    bench.adopt(own_end, own_source, server);
    bench.adopt(user_end, ([127, 0, 0, 1], 4002).into(), server);
    bench.measure(|step| {
        own.challenge();
        user.challenge();
        step();
    });
    let totals = &bench.totals;
    let answered = METHODS.iter().enumerate().flat_map(|(method, _)| {
        (0..OUTCOMES.len()).map(move |outcome| totals.responses(method, outcome))
    });
    assert_eq!(answered.sum::<u64>(), 1);
    assert_eq!(totals.authentications(Authentication::Challenged), 1);
    assert_eq!(bench.sum(|counters| &counters.synthetic_responses), 1);
    assert_eq!(bench.sum(|counters| &counters.connections), 1);
    assert_eq!(bench.sum(|counters| &counters.synthetic_connections), 1);
    drop((entry, stream_entry));
}

#[test]
fn a_sweep_shows_what_is_held_and_how_long_the_thread_has_run() {
    let mut bench = Bench::new(1);
    let mut client = Client::udp(bench.udp, "alice");
    bench.measure(|step| {
        let peer = peer();
        client.allocate();
        client.bind(0x4000, peer.local_addr().expect("bound"));
        step();
    });
    bench.turn_while_not("the channel in the figures", |bench| {
        bench.sum(|counters| &counters.channels) == 1
    });
    assert_eq!(bench.sum(|counters| &counters.permissions), 1);
    assert_eq!(bench.sum(|counters| &counters.ports_used), 1);
    assert!(bench.sum(|counters| &counters.ports_free) > 0);
    assert!(bench.sum(|counters| &counters.cpu_nanos) > 0);
    assert_eq!(bench.totals.created(Transport::Udp), 1);
    bench.turn_while_not("the age of the allocation", |bench| {
        bench.sum(|counters| &counters.oldest_allocation_seconds) >= 1
    });
    bench.measure(|step| {
        client.request(taciturn_protocol::wire::Method::Refresh, |request| {
            request.lifetime(0)
        });
        step();
    });
    bench.turn_while_not("the port at rest", |bench| {
        bench.sum(|counters| &counters.ports_resting) == 1
    });
    assert_eq!(bench.sum(|counters| &counters.ports_used), 0);
    assert_eq!(bench.sum(|counters| &counters.oldest_allocation_seconds), 0);
}

/// What the kernel had no room for is known while the allocation lives, not only when it ends.
#[test]
fn drops_on_a_relayed_socket_are_counted_while_it_is_open() {
    let mut bench = Bench::new(1);
    let mut client = Client::udp(bench.udp, "alice");
    let mut relayed = None;
    bench.measure(|step| {
        relayed = Some(client.allocate());
        step();
    });
    let (stranger, relayed) = (peer(), relayed.expect("allocated"));
    // More than any receive buffer holds, and nobody reads.
    for _ in 0..20_000 {
        stranger
            .send_to(&[0; 1400], relayed)
            .expect("loopback sends");
    }
    bench.turn_while_not("the kernel's drops", |bench| {
        bench.sum(|counters| &counters.kernel_drops) > 0
    });
    assert_eq!(bench.totals.allocations(), 1);
    let counted = bench.sum(|counters| &counters.kernel_drops);
    bench.measure(|step| {
        client.request(taciturn_protocol::wire::Method::Refresh, |request| {
            request.lifetime(0)
        });
        step();
    });
    assert_eq!(bench.totals.allocations(), 0);
    assert_eq!(
        bench.sum(|counters| &counters.kernel_drops),
        counted,
        "each drop is counted once"
    );
}
