//! Payloads between two allocations of this relay whose workers differ.
//!
//! Both parties of a call behind strict firewalls use one relay, and the kernel spreads them over its workers. What one
//! worker reads for the other's relayed address is copied into a parcel, one for each worker and round, and handed over;
//! empty parcels come back to be filled again, so that nothing is allocated once the traffic is steady.
//!
//! Responsible for filling, sending and taking back parcels. Not responsible for the receiving allocation's permission
//! check: its worker judges each item as if it had come through the socket.

use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver, SyncSender};

use taciturn_protocol::address::{Family, Transport};
use taciturn_protocol::forward::DropReason;

use crate::counters::{Counters, Direction, DropSite};

use super::inbox::Outbox;

/// A parcel goes when it holds this many bytes.
const PARCEL_BYTES: usize = 64 * 1024;
/// Or this many payloads.
const PARCEL_ITEMS: usize = 128;
/// Parcels that one worker has under way, at most 4 MiB: what a slow worker has not taken by then is dropped.
const UNDER_WAY: usize = 32;

/// The allocation that a payload comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender {
    /// How its client reaches the relay.
    pub(super) transport: Transport,
    /// Its relayed address as peers see it.
    pub(super) advertised: SocketAddr,
    /// Its relayed address as it is bound.
    pub(super) bound: SocketAddr,
}

/// One payload in a parcel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    /// The relayed address that it is for.
    pub(super) to: SocketAddr,
    /// Who it is from.
    pub(super) from: Sender,
    /// DSCP and ECN of the packet.
    pub(super) traffic_class: u8,
    start: usize,
    len: usize,
}

impl Item {
    /// Where it is dropped when it goes no further.
    pub(super) const fn drop_site(&self) -> DropSite {
        drop_site(self.from.transport, &self.to)
    }
}

const fn drop_site(transport: Transport, to: &SocketAddr) -> DropSite {
    DropSite {
        direction: Direction::ToPeer,
        transport: Some(transport),
        family: Family::of(to),
    }
}

/// Payloads of one round for one worker.
#[derive(Debug)]
pub struct Parcel {
    bytes: Vec<u8>,
    items: Vec<Item>,
    back: SyncSender<Self>,
}

impl Parcel {
    /// How many payloads are in it.
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// The payload at `index`, and where it is to go.
    pub(super) fn item(&self, index: usize) -> Option<(Item, &[u8])> {
        let item = *self.items.get(index)?;
        Some((item, self.bytes.get(item.start..item.start + item.len)?))
    }

    /// Gives the emptied parcel back to the worker that filled it.
    pub(super) fn give_back(mut self) {
        self.bytes.clear();
        self.items.clear();
        let back = self.back.clone();
        // The channel holds as many parcels as there are; a worker that has ended needs none back.
        let _ = back.try_send(self);
    }

    fn is_full(&self) -> bool {
        self.bytes.len() >= PARCEL_BYTES || self.items.len() >= PARCEL_ITEMS
    }
}

/// A worker's parcels.
#[derive(Debug)]
pub(super) struct Parcels {
    // By worker.
    outboxes: Vec<Outbox>,
    filling: Vec<Option<Parcel>>,
    made: usize,
    back: SyncSender<Parcel>,
    returned: Receiver<Parcel>,
}

impl Parcels {
    /// Nothing under way yet.
    pub(super) fn new(outboxes: Vec<Outbox>) -> Self {
        let (back, returned) = mpsc::sync_channel(UNDER_WAY);
        let filling = outboxes.iter().map(|_| None).collect();
        Self {
            outboxes,
            filling,
            made: 0,
            back,
            returned,
        }
    }

    /// Where to send messages to `worker`.
    pub(super) fn outbox(&self, worker: u8) -> Option<&Outbox> {
        self.outboxes.get(usize::from(worker))
    }

    /// Puts a payload into the parcel for `worker`. When the other worker does not keep up, this one or an earlier parcel
    /// full is dropped and counted.
    pub(super) fn put(
        &mut self,
        worker: u8,
        to: SocketAddr,
        from: Sender,
        traffic_class: u8,
        payload: &[u8],
        counters: &Counters,
    ) {
        let worker = usize::from(worker);
        if matches!(self.filling.get(worker), Some(Some(parcel)) if parcel.is_full()) {
            self.send_to(worker, counters);
        }
        if matches!(self.filling.get(worker), Some(None)) {
            let parcel = self.empty();
            self.filling[worker] = parcel;
        }
        let Some(Some(parcel)) = self.filling.get_mut(worker) else {
            let site = drop_site(from.transport, &to);
            return counters.dropped(DropReason::HandoverFull, site, payload.len());
        };
        let start = parcel.bytes.len();
        parcel.bytes.extend_from_slice(payload);
        parcel.items.push(Item {
            to,
            from,
            traffic_class,
            start,
            len: payload.len(),
        });
    }

    /// Sends what has been filled. Payloads that find the other worker's inbox full are dropped and counted.
    pub(super) fn send(&mut self, counters: &Counters) {
        for worker in 0..self.filling.len() {
            self.send_to(worker, counters);
        }
    }

    fn send_to(&mut self, worker: usize, counters: &Counters) {
        let (Some(outbox), Some(slot)) = (self.outboxes.get(worker), self.filling.get_mut(worker))
        else {
            return;
        };
        let Some(parcel) = slot.take() else { return };
        let Err(parcel) = outbox.send_parcel(parcel) else {
            return;
        };
        for item in &parcel.items {
            counters.dropped(DropReason::HandoverFull, item.drop_site(), item.len);
        }
        parcel.give_back();
    }

    fn empty(&mut self) -> Option<Parcel> {
        if let Ok(parcel) = self.returned.try_recv() {
            return Some(parcel);
        }
        if self.made == UNDER_WAY {
            return None;
        }
        self.made += 1;
        Some(Parcel {
            bytes: Vec::with_capacity(2 * PARCEL_BYTES),
            items: Vec::with_capacity(PARCEL_ITEMS),
            back: self.back.clone(),
        })
    }
}
