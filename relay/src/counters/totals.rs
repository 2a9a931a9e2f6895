//! The workers' counters added up, when somebody asks.

use std::sync::Arc;

use taciturn_protocol::address::Transport;
use taciturn_protocol::forward::DropReason;
use taciturn_protocol::server::{Authentication, EndCause, Refusal};

use crate::net::SendFailure;
use crate::stream::{CloseReason, Waits};

use super::{Counters, Direction, DropSite, Flow, Leg, Tally};

/// The sum over all workers, as of a moment ago.
#[derive(Clone, Debug)]
pub struct Totals {
    workers: Vec<Arc<Counters>>,
}

impl Totals {
    /// Adds up these workers whenever it is asked.
    pub const fn new(workers: Vec<Arc<Counters>>) -> Self {
        Self { workers }
    }

    /// The counters of each worker.
    pub fn workers(&self) -> &[Arc<Counters>] {
        &self.workers
    }

    /// The sum of one plain counter, such as `|counters| &counters.allocations`.
    pub fn sum(&self, which: impl Fn(&Counters) -> &Tally) -> u64 {
        self.workers
            .iter()
            .map(|counters| which(counters).read())
            .sum()
    }

    /// Users' live allocations.
    pub fn allocations(&self) -> u64 {
        self.sum(|counters| &counters.allocations)
    }

    /// Payloads passed on with these labels.
    pub fn packets(&self, flow: Flow) -> u64 {
        self.sum(|counters| &counters.forwarded[flow.index()].packets)
    }

    /// Payload bytes passed on with these labels.
    pub fn bytes(&self, flow: Flow) -> u64 {
        self.sum(|counters| &counters.forwarded[flow.index()].bytes)
    }

    /// Payload bytes passed on in all.
    pub fn forwarded_bytes(&self) -> u64 {
        Flow::all().map(|flow| self.bytes(flow)).sum()
    }

    /// Payloads of the relay's own self-check that were passed on, and their bytes.
    pub fn synthetic(&self, direction: Direction) -> [u64; 2] {
        let volume = direction as usize;
        [
            self.sum(|counters| &counters.synthetic[volume].packets),
            self.sum(|counters| &counters.synthetic[volume].bytes),
        ]
    }

    /// Datagrams and frames that came in by this leg, and their bytes.
    pub fn received_by(&self, leg: Leg) -> [u64; 2] {
        let leg = leg.index();
        [
            self.sum(|counters| &counters.received[leg].packets),
            self.sum(|counters| &counters.received[leg].bytes),
        ]
    }

    /// Datagrams read from sockets, of clients and of peers.
    pub fn received_datagrams(&self) -> u64 {
        let legs = [Leg::Client(Transport::Udp), Leg::Peer];
        legs.into_iter().map(|leg| self.received_by(leg)[0]).sum()
    }

    /// Packets dropped for this reason, wherever.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        DropSite::all_of(reason)
            .map(|site| self.dropped_at(reason, site)[0])
            .sum()
    }

    /// Packets dropped for this reason at this site, and their bytes.
    pub fn dropped_at(&self, reason: DropReason, site: DropSite) -> [u64; 2] {
        let (reason, site) = (reason.index(), site.index());
        [
            self.sum(|counters| &counters.dropped[reason][site].packets),
            self.sum(|counters| &counters.dropped[reason][site].bytes),
        ]
    }

    /// Datagrams that the kernel did not take.
    pub fn send_failures(&self, class: SendFailure) -> u64 {
        self.sum(|counters| &counters.send_failures[class.index()])
    }

    /// Client connections that ended for this reason.
    pub fn closed(&self, reason: CloseReason) -> u64 {
        self.sum(|counters| &counters.closed[reason.index()])
    }

    /// Payloads by how long they waited for their client, in the buckets of [`Waits::BOUNDS`] and one for those beyond.
    pub fn queue_waits(&self) -> [u64; Waits::BUCKETS] {
        std::array::from_fn(|bucket| self.sum(|counters| &counters.queue_waits[bucket]))
    }

    /// What they waited in all, in nanoseconds.
    pub fn queue_wait_nanos(&self) -> u64 {
        self.sum(|counters| &counters.queue_wait_nanos)
    }

    /// Users' requests that needs credentials, by what became of their proof.
    pub fn authentications(&self, outcome: Authentication) -> u64 {
        self.sum(|counters| &counters.authentications[outcome.index()])
    }

    /// Users' requests that a limit or a policy has refused.
    pub fn refusals(&self, refusal: Refusal) -> u64 {
        self.sum(|counters| &counters.refusals[refusal.index()])
    }

    /// Users' allocations that began.
    pub fn created(&self, transport: Transport) -> u64 {
        self.sum(|counters| &counters.created[transport.index()])
    }

    /// Users' allocations that ended.
    pub fn ended(&self, cause: EndCause) -> u64 {
        self.sum(|counters| &counters.ended[cause.index()])
    }

    /// Answers by position in [`super::METHODS`] and [`super::OUTCOMES`].
    pub fn responses(&self, method: usize, outcome: usize) -> u64 {
        self.sum(|counters| &counters.responses[method][outcome])
    }
}

#[cfg(test)]
mod tests {
    use taciturn_protocol::address::Family;

    use super::super::{OUTCOMES, Path};
    use super::*;

    #[test]
    fn totals_add_the_workers_up() {
        let workers = [Arc::new(Counters::default()), Arc::new(Counters::default())];
        let flow = Flow {
            direction: Direction::ToPeer,
            transport: Transport::Tls,
            family: Family::V6,
            path: Path::Socket,
        };
        workers[0].forwarded(flow, 100);
        workers[1].forwarded(flow, 20);
        workers[1].responded(0x003, 508);
        workers[1].responded(0x003, 599);
        workers[1].responded(0x0fff, 400);
        let totals = Totals::new(workers.to_vec());
        assert_eq!((totals.packets(flow), totals.bytes(flow)), (2, 120));
        assert_eq!(totals.forwarded_bytes(), 120);
        assert_eq!(totals.responses(1, 17), 1);
        assert_eq!(
            totals.responses(1, OUTCOMES.len() - 1),
            1,
            "an unlisted code is counted as other"
        );
    }

    #[test]
    fn a_drop_is_counted_once_with_its_bytes_and_where_it_was() {
        let workers = [Arc::new(Counters::default()), Arc::new(Counters::default())];
        let site = DropSite {
            direction: Direction::ToClient,
            transport: None,
            family: Family::V4,
        };
        workers[0].dropped(DropReason::NoAllocation, site, 40);
        workers[1].dropped_many(DropReason::NoAllocation, site, 2, 60);
        workers[1].dropped_many(DropReason::NoAllocation, site, 0, 0);
        let totals = Totals::new(workers.to_vec());
        assert_eq!(totals.dropped(DropReason::NoAllocation), 3);
        assert_eq!(totals.dropped_at(DropReason::NoAllocation, site), [3, 100]);
        assert_eq!(totals.dropped(DropReason::Bandwidth), 0);
    }

    #[test]
    fn allocations_are_users_alone_and_end_where_they_began() {
        let counters = Arc::new(Counters::default());
        counters.created(Transport::Tcp);
        counters.created(Transport::Udp);
        counters.ended(Transport::Tcp, EndCause::Client);
        let totals = Totals::new(vec![Arc::clone(&counters)]);
        assert_eq!(totals.allocations(), 1);
        assert_eq!(totals.created(Transport::Tcp), 1);
        assert_eq!(totals.ended(EndCause::Client), 1);
        assert_eq!(
            Transport::ALL.map(|transport| counters.by_transport[transport.index()].read()),
            [1, 0, 0]
        );
    }
}
