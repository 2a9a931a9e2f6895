//! Calls that go on while something else happens, and say whether they lost anything.
//!
//! Not responsible for what happens beside them.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};

use crate::client::{Client, Over, peer, receive_from};
use crate::running::Running;

const CHANNEL: u16 = 0x4ABC;

/// One client, its allocation and its peer.
pub(crate) struct Call {
    pub(crate) client: Client,
    pub(crate) peer: UdpSocket,
    pub(crate) relayed: SocketAddr,
    exchanged: u64,
}

impl Call {
    /// A call on loopback.
    pub(crate) fn open(relay: &Running, over: Over, user: &str) -> Self {
        Self::between(Client::of(relay, over, user), peer())
    }

    pub(crate) fn between(client: Client, peer: UdpSocket) -> Self {
        Self::try_between(client, peer).expect("a relay that takes new allocations")
    }

    /// `None`: the relay takes no new allocations.
    pub(crate) fn try_between(mut client: Client, peer: UdpSocket) -> Option<Self> {
        let answer = client.try_allocate(|_| {});
        if answer.code() != 0 {
            return None;
        }
        client.bind(CHANNEL, peer.local_addr().unwrap());
        Some(Self {
            client,
            peer,
            relayed: answer.relayed()[0],
            exchanged: 0,
        })
    }

    /// One payload each way, told from all others by its number. Nothing else may come between.
    pub(crate) fn exchange(&mut self) {
        let number = self.exchanged;
        self.exchanged += 1;
        let mut payload = number.to_be_bytes().to_vec();
        let padding = usize::try_from(number * 37 % 1153).unwrap();
        payload.extend((0..padding).map(|at| at.to_le_bytes()[0]));
        self.client.send_channel(CHANNEL, &payload);
        let (received, from) = receive_from(&self.peer);
        assert!(
            received == payload && from == self.relayed,
            "payload {number} to the peer"
        );
        payload.reverse();
        self.peer.send_to(&payload, self.relayed).unwrap();
        let received = self.client.channel_payload(CHANNEL);
        assert!(received == payload, "payload {number} to the client");
    }
}

/// Calls in threads of their own, one over each transport.
pub(crate) struct Canaries {
    stop: Arc<AtomicBool>,
    calls: Vec<JoinHandle<u64>>,
}

impl Canaries {
    /// Calls that are all under way when this returns: what comes next may be over before a thread has begun.
    pub(crate) fn start(relay: &Running) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let under_way = Arc::new(Barrier::new(Over::ALL.len() + 1));
        let calls = Over::ALL.map(|over| {
            let mut call = Call::open(relay, over, "canary");
            call.exchange();
            let (stop, begun) = (Arc::clone(&stop), Arc::clone(&under_way));
            thread::spawn(move || {
                begun.wait();
                while !stop.load(Ordering::Relaxed) {
                    call.exchange();
                }
                // Once more, so that what was sent last has had its effect.
                call.exchange();
                call.exchanged
            })
        });
        under_way.wait();
        Self {
            stop,
            calls: calls.into(),
        }
    }

    /// Ends the calls; fails when one of them lost anything.
    pub(crate) fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        for call in self.calls {
            assert!(call.join().expect("a call that lost nothing") > 1);
        }
    }
}

/// Ends what runs beside the test, also when it fails.
pub(crate) struct Stop<'a>(pub(crate) &'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
