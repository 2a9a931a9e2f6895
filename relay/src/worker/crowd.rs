//! What a worker does about clients whose media crowd others' out of its queue.
//!
//! Responsible for looking when a queue overflows, for having the kernel set flows apart and take them back, and for how
//! much is read of those who are: what the others leave. Not responsible for who is to blame and for how long
//! (`crate::crowding`).
//!
//! Nothing of this is done while queues run empty: it begins with a read that brought as much as there was room for.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use taciturn_protocol::time::{Instant, Now};

use crate::crowding::{Change, List, Sketch, Watch};
use crate::net::{ReceiveBatch, Steering, UdpSocket};

use super::Worker;

/// Datagrams of those set apart that are read in a round, give or take what one train brings: when the others' queue has run
/// empty, and when more waits there. The former is as much as the others may have to wait for.
const WHEN_EMPTY: usize = 256;
const WHEN_BUSY: usize = 8;
/// Of their reads, one in so many is counted.
const COUNTED: u32 = 8;
/// Bytes for which a datagram counts twice: what fills a queue is memory as well as datagrams.
const HEAVY: usize = 1024;

/// The socket of one worker and address for flows that are set apart.
#[derive(Debug)]
pub struct Apart {
    socket: UdpSocket,
    steering: Steering,
    list: Arc<Mutex<List>>,
}

impl Apart {
    /// `list` is that of all workers of the address.
    pub(crate) const fn new(socket: UdpSocket, steering: Steering, list: Arc<Mutex<List>>) -> Self {
        Self {
            socket,
            steering,
            list,
        }
    }
}

/// What a worker knows about one address and those who crowd there.
#[derive(Debug)]
pub(super) struct Crowd {
    apart: Apart,
    watch: Watch,
    /// Who has sent what was read of those set apart since the last sweep.
    sketch: Sketch,
    drops: u64,
    /// Datagrams that a train of theirs brings.
    per_train: usize,
    /// The round in which the others' queue did not run empty.
    busy_in: Option<u32>,
    reads: u32,
}

impl Crowd {
    pub(super) fn new(apart: Apart) -> Self {
        Self {
            apart,
            watch: Watch::new(),
            sketch: Sketch::new(),
            drops: 0,
            per_train: 1,
            busy_in: None,
            reads: super::FIRST_ROUND,
        }
    }

    pub(super) const fn socket(&self) -> &UdpSocket {
        &self.apart.socket
    }

    /// Trains to read in this round.
    fn limit(&self, round: u32) -> usize {
        let datagrams = if self.busy_in == Some(round) {
            WHEN_BUSY
        } else {
            WHEN_EMPTY
        };
        (datagrams / self.per_train).max(1)
    }

    fn learn(&mut self, trains: usize, datagrams: usize) {
        if trains > 0 {
            // Down by steps: one short train says little.
            self.per_train = datagrams.div_ceil(trains).max(self.per_train / 2);
        }
    }

    /// Whether what was read now is to be counted.
    const fn is_counted(&mut self) -> bool {
        self.reads = self.reads.wrapping_add(1);
        self.reads.is_multiple_of(COUNTED)
    }

    /// Tells the kernel who is set apart, when that has changed. `member` is a socket of the group.
    fn tell(&self, now: Instant, member: &UdpSocket) -> Vec<Change> {
        let mut list = self.list();
        let Some(flows) = list.untold(now) else {
            return Vec::new();
        };
        match self.apart.steering.set_apart(member, &flows) {
            Ok(()) => list.told(),
            // Out of memory for a moment, as it took the program once: it is told again.
            Err(_) => Vec::new(),
        }
    }

    fn list(&self) -> std::sync::MutexGuard<'_, List> {
        self.apart
            .list
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Calls `count` for each flow in these buffers with what it brought.
fn weigh(
    batch: &ReceiveBatch,
    filled: Range<usize>,
    steering: &Steering,
    mut count: impl FnMut(u32, std::net::SocketAddr, u64),
) {
    let mut run: Option<(std::net::SocketAddr, u64)> = None;
    let mut end = |run: Option<(std::net::SocketAddr, u64)>| {
        if let Some((source, weight)) = run {
            count(steering.flow(&source), source, weight);
        }
    };
    for datagram in batch.datagrams(filled) {
        let weight = 1 + (datagram.bytes.len() / HEAVY) as u64;
        match &mut run {
            Some((source, sum)) if *source == datagram.from => *sum += weight,
            _ => end(run.replace((datagram.from, weight))),
        }
    }
    end(run);
}

impl Worker {
    // ---- the hot path begins ----

    pub(super) fn read_crowd(&mut self, now: Now, index: usize) {
        self.make_room();
        let listener = self.switch.sockets.listeners().get(index);
        let Some(crowd) = listener.and_then(|listener| listener.crowd.as_ref()) else {
            return;
        };
        let filled = crowd
            .socket()
            .receive(&mut self.batch, crowd.limit(self.rounds));
        let buffers = filled.as_ref().map_or(0..0, Range::clone);
        let datagrams = self.work_off(now, index, filled);
        let listener = self.switch.sockets.listener_mut(index);
        let Some(crowd) = listener.and_then(|listener| listener.crowd.as_mut()) else {
            return;
        };
        crowd.learn(buffers.len(), datagrams);
        if crowd.is_counted() {
            let Crowd { apart, sketch, .. } = crowd;
            weigh(
                &self.batch,
                buffers,
                &apart.steering,
                |key, source, weight| {
                    sketch.add(key, source, weight);
                },
            );
        }
    }

    // ---- the hot path ends ----

    /// These buffers came from a queue in which more may wait.
    pub(super) fn look_for_crowders(&mut self, now: Now, index: usize, buffers: Range<usize>) {
        let round = self.rounds;
        let Some(listener) = self.switch.sockets.listener_mut(index) else {
            return;
        };
        let Some(crowd) = &mut listener.crowd else {
            return;
        };
        crowd.busy_in = Some(round);
        if crowd.watch.counts() {
            let Crowd { apart, watch, .. } = crowd;
            weigh(
                &self.batch,
                buffers,
                &apart.steering,
                |key, source, weight| {
                    watch.count(key, source, weight);
                },
            );
        }
        if !crowd.watch.is_due(now.instant) {
            return;
        }
        let data = &listener.sockets.data;
        let Some(drops) = data.kernel_drops() else {
            return;
        };
        let crowders = crowd.watch.look(now.instant, drops);
        if crowders.is_empty() {
            return;
        }
        crowd
            .list()
            .found(now.instant, self.switch.worker, &crowders);
        let changes = crowd.tell(now.instant, data);
        self.record(&changes);
        self.show_crowds();
    }

    /// Looks once a second whether those set apart still crowd, and takes back those who have not for long enough.
    pub(super) fn sweep_crowds(&mut self, now: Now) {
        for index in 0..self.switch.sockets.listeners().len() {
            let Some(listener) = self.switch.sockets.listener_mut(index) else {
                return;
            };
            let Some(crowd) = &mut listener.crowd else {
                continue;
            };
            let drops = crowd.socket().kernel_drops().unwrap_or(crowd.drops);
            let grew = drops.saturating_sub(crowd.drops);
            crowd.drops = drops;
            let mut list = crowd.list();
            if grew > 0 {
                for source in crowd.sketch.heavy() {
                    list.crowds_still(now.instant, source);
                }
            }
            list.expire(now.instant);
            drop(list);
            crowd.sketch.clear();
            let changes = crowd.tell(now.instant, &listener.sockets.data);
            self.switch.counters.crowd_drops.add(grew);
            self.record(&changes);
        }
        self.show_crowds();
    }

    fn record(&self, changes: &[Change]) {
        let worker = self.switch.worker;
        for change in changes {
            if let Change::Apart(_) = change {
                self.switch.counters.set_apart.add(1);
            }
            self.switch.events.crowding(worker, *change);
        }
    }

    fn show_crowds(&self) {
        let crowds = self.switch.sockets.listeners().iter();
        let apart = crowds
            .filter_map(|listener| listener.crowd.as_ref())
            .map(|crowd| crowd.list().of_worker(self.switch.worker));
        let apart: usize = apart.sum();
        self.switch.counters.apart.set(apart as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{SteeringKey, UdpOptions};

    fn crowd() -> Crowd {
        let any = ([127, 0, 0, 1], 0).into();
        let mut group: Vec<UdpSocket> = Vec::new();
        for _ in 0..3 {
            let address = group.first().map_or(any, UdpSocket::local_addr);
            let socket = UdpSocket::bind(address, &UdpOptions::listener());
            group.push(socket.expect("loopback binds"));
        }
        let key = SteeringKey::new(&[7; SteeringKey::BYTES]);
        let steering = Steering::begin(&group, &key).expect("this kernel can");
        let apart = group.pop().expect("three of them");
        Crowd::new(Apart::new(apart, steering, Arc::default()))
    }

    #[test]
    fn those_set_apart_have_what_the_others_leave() {
        let mut crowd = crowd();
        assert_eq!(crowd.limit(5), WHEN_EMPTY);
        crowd.busy_in = Some(5);
        assert_eq!(crowd.limit(5), WHEN_BUSY);
        assert_eq!(crowd.limit(6), WHEN_EMPTY);
    }

    #[test]
    fn long_trains_are_read_a_few_at_a_time() {
        let mut crowd = crowd();
        crowd.learn(4, 4 * 64);
        assert_eq!(crowd.limit(1), WHEN_EMPTY / 64);
        crowd.busy_in = Some(1);
        assert_eq!(crowd.limit(1), 1, "but never none");
        crowd.learn(0, 0);
        assert_eq!(crowd.limit(2), WHEN_EMPTY / 64);
        for expected in [8, 16, 32, 64, 128, 256, 256] {
            crowd.learn(8, 8);
            assert_eq!(crowd.limit(2), expected);
        }
    }
}
