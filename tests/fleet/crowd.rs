//! Callers: each has an allocation and a peer, and numbered payloads go both ways all the time.
//!
//! Responsible for noticing the loss of a single one. Not responsible for which relay is called.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::calls::Call;
use crate::client::{Client, binding, peer, peer_of};
use crate::lab::{PATIENCE, eventually};

/// From one exchange to the next.
const PACE: Duration = Duration::from_millis(40);

/// One call that goes on until it is hung up.
pub(crate) struct Caller {
    pub(crate) relay: Ipv4Addr,
    stop: Arc<AtomicBool>,
    exchanged: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Caller {
    /// A call through the relay at this address; `None` when it takes no new ones, or does not answer.
    pub(crate) fn try_open(relay: Ipv4Addr) -> Option<Self> {
        let server = SocketAddr::V4(SocketAddrV4::new(relay, 3478));
        if !answers(server) {
            return None;
        }
        Self::try_with(Client::udp(server, "caller"), relay)
    }

    /// A call of this client's; `None` when the relay takes no new ones of it.
    pub(crate) fn try_with(client: Client, relay: Ipv4Addr) -> Option<Self> {
        let call = Call::try_between(client, peer())?;
        // A relay may stand still for a while, and nothing is lost.
        call.client.set_timeout(PATIENCE);
        call.peer.set_read_timeout(Some(PATIENCE)).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let exchanged = Arc::new(AtomicU64::new(0));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&exchanged));
        let thread = thread::spawn(move || talk(call, &stopped, &counted));
        Some(Self {
            relay,
            stop,
            exchanged,
            thread: Some(thread),
        })
    }

    /// Payloads that have gone there and back.
    pub(crate) fn exchanged(&self) -> u64 {
        self.exchanged.load(Ordering::Relaxed)
    }

    /// Ends the call in order; fails when anything was lost.
    pub(crate) fn hang_up(mut self) {
        self.end().expect("a call that lost nothing");
    }

    /// For a call whose relay has been taken away: it waits for what does not come, and nobody waits for it.
    pub(crate) fn give_up(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread = None;
    }

    fn end(&mut self) -> thread::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map_or(Ok(()), JoinHandle::join)
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        let ended = self.end();
        assert!(
            ended.is_ok() || thread::panicking(),
            "the call through {} lost something",
            self.relay
        );
    }
}

fn talk(mut call: Call, stop: &AtomicBool, exchanged: &AtomicU64) {
    while !stop.load(Ordering::Relaxed) {
        call.exchange();
        exchanged.fetch_add(1, Ordering::Relaxed);
        thread::sleep(PACE);
    }
    call.exchange();
    call.client.release();
}

/// Whether the data path answers a STUN Binding.
pub(crate) fn answers(server: SocketAddr) -> bool {
    let socket = peer_of(server);
    socket
        .set_read_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    let asked = socket
        .connect(server)
        .and_then(|()| socket.send(&binding(1)));
    asked.is_ok() && socket.recv(&mut [0; 256]).is_ok()
}

/// Callers of one test, and their relays.
#[derive(Default)]
pub(crate) struct Crowd {
    pub(crate) callers: Vec<Caller>,
}

impl Crowd {
    /// Calls through relays of the list, the one with the fewest of these first, until there are so many. Returns how many
    /// there are: relays that take no more are left alone.
    pub(crate) fn grow_to(&mut self, wanted: usize, relays: &[Ipv4Addr]) -> usize {
        let mut relays = relays.to_vec();
        while self.callers.len() < wanted {
            let Some(relay) = relays
                .iter()
                .copied()
                .min_by_key(|relay| self.through(*relay))
            else {
                break;
            };
            match Caller::try_open(relay) {
                Some(caller) => self.callers.push(caller),
                None => relays.retain(|other| *other != relay),
            }
        }
        self.callers.len()
    }

    /// A call through each relay of the list that has none.
    pub(crate) fn reach_each(&mut self, relays: &[Ipv4Addr]) {
        for relay in relays {
            if self.through(*relay) == 0 {
                let caller = Caller::try_open(*relay).expect("a relay that takes new calls");
                self.callers.push(caller);
            }
        }
    }

    /// How many calls go through this relay.
    pub(crate) fn through(&self, relay: Ipv4Addr) -> usize {
        self.callers
            .iter()
            .filter(|caller| caller.relay == relay)
            .count()
    }

    /// Ends all but `left` of the calls through each relay.
    pub(crate) fn shrink_to(&mut self, left: usize) {
        let mut kept: Vec<Caller> = Vec::new();
        for caller in self.callers.drain(..) {
            let through = kept
                .iter()
                .filter(|other| other.relay == caller.relay)
                .count();
            if through < left {
                kept.push(caller);
            } else {
                caller.hang_up();
            }
        }
        self.callers = kept;
    }

    /// Ends the calls through one relay, in order.
    pub(crate) fn hang_up(&mut self, relay: Ipv4Addr) {
        self.part(relay).into_iter().for_each(Caller::hang_up);
    }

    /// Takes the calls through one relay out, for which nothing is asked.
    pub(crate) fn give_up(&mut self, relay: Ipv4Addr) {
        self.part(relay).into_iter().for_each(Caller::give_up);
    }

    fn part(&mut self, relay: Ipv4Addr) -> Vec<Caller> {
        let all = std::mem::take(&mut self.callers);
        let (theirs, others) = all.into_iter().partition(|caller| caller.relay == relay);
        self.callers = others;
        theirs
    }

    /// Returns when each call has carried more.
    pub(crate) fn await_more(&self) {
        let before: Vec<u64> = self.callers.iter().map(Caller::exchanged).collect();
        eventually("more payloads of each call", || {
            let pairs = self.callers.iter().zip(&before);
            pairs
                .into_iter()
                .all(|(caller, before)| caller.exchanged() > before + 2)
        });
    }

    /// Ends all of them in order; fails when anything was lost.
    pub(crate) fn finish(self) {
        self.callers.into_iter().for_each(Caller::hang_up);
    }
}
