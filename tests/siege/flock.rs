//! A hundred calls, or so, that go on beside whatever happens, and count what they lose.
//!
//! Each round carries one numbered payload each way through every call, and one Refresh or ChannelBind of one call. A round
//! begins when the one before it has arrived or is lost, so that calls by themselves never outrun a busy machine.
//! Not responsible for what happens beside them.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use taciturn_protocol::wire::Method;

use crate::client::{Client, Link, Over, peer};
use crate::running::{PATIENCE, Running};
use crate::scale::is_long;

const CHANNEL: u16 = 0x4ABC;
/// What a packet of voice has.
const PAYLOAD: usize = 160;
/// The pace of voice.
const PAUSE: Duration = Duration::from_millis(20);

/// The calls.
pub(crate) struct Flock {
    canaries: Vec<Canary>,
    round: u64,
}

struct Canary {
    client: Client,
    peer: UdpSocket,
    relayed: SocketAddr,
}

/// Half of the calls are over UDP, a quarter each over TCP and TLS.
pub(crate) fn mixed(number: u64) -> Over {
    [Over::Udp, Over::Tcp, Over::Udp, Over::Tls][usize::try_from(number % 4).unwrap()]
}

/// What became of the payloads of one song.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) sent: u64,
    pub(crate) lost: u64,
    pub(crate) requests: u64,
    pub(crate) unanswered: u64,
    /// How long each Refresh took.
    pub(crate) refreshes: Vec<Duration>,
}

impl Flock {
    /// So many calls on loopback: of twenty, one is over TCP and one over TLS.
    pub(crate) fn on_loopback(relay: &Running, calls: usize) -> Self {
        let clients = (0..calls).map(|number| {
            let over = match number % 20 {
                0 => Over::Tcp,
                1 => Over::Tls,
                _ => Over::Udp,
            };
            (Client::of(relay, over, &format!("canary-{number}")), peer())
        });
        Self::of(clients)
    }

    /// A call for each client and peer.
    pub(crate) fn of(ends: impl IntoIterator<Item = (Client, UdpSocket)>) -> Self {
        let canaries = ends.into_iter().map(|(mut client, peer)| {
            let relayed = client.allocate();
            client.bind(CHANNEL, peer.local_addr().unwrap());
            // What has not come by then is lost.
            let wait = if is_long() { PATIENCE / 10 } else { PATIENCE };
            client.set_timeout(wait);
            peer.set_read_timeout(Some(wait)).unwrap();
            Canary {
                client,
                peer,
                relayed,
            }
        });
        Self {
            canaries: canaries.collect(),
            round: 0,
        }
    }

    /// Goes on at the pace of voice until told to end; two rounds at least.
    pub(crate) fn sing(&mut self, ended: impl Fn() -> bool) -> Tally {
        let mut tally = Tally::default();
        let mut last = false;
        loop {
            let begun = Instant::now();
            self.sing_once(&mut tally);
            // Once more, so that what was done last has had its effect.
            if last {
                return tally;
            }
            last = ended();
            thread::sleep(PAUSE.saturating_sub(begun.elapsed()));
        }
    }

    /// Goes on while something else is done: its result, and what was lost meanwhile.
    pub(crate) fn beside<T>(&mut self, act: impl FnOnce() -> T) -> (T, Tally) {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let singing = scope.spawn(|| self.sing(|| over.load(Ordering::Relaxed)));
            let ended = Ended(&over);
            let result = act();
            drop(ended);
            (result, singing.join().expect("calls that go on"))
        })
    }

    /// The calls end, a twentieth of them at a time, while the others go on. Each is refreshed once more before it ends: by its
    /// client's word, or, half of those over TCP and TLS, with the connection.
    pub(crate) fn disperse(&mut self) -> Tally {
        let mut tally = Tally::default();
        let at_a_time = self.canaries.len().div_ceil(20);
        while !self.canaries.is_empty() {
            self.sing_once(&mut tally);
            for _ in 0..at_a_time {
                let Some(mut call) = self.canaries.pop() else {
                    break;
                };
                tally.requests += 1;
                tally.unanswered += u64::from(!call.asks(Method::Refresh));
                let is_datagrams = matches!(call.client.link, Link::Udp(_));
                if is_datagrams || (self.canaries.len() / 4).is_multiple_of(2) {
                    call.client.release();
                }
            }
        }
        tally
    }

    fn sing_once(&mut self, tally: &mut Tally) {
        self.round += 1;
        let mut payload = self.round.to_be_bytes().to_vec();
        payload.resize(PAYLOAD, self.round.to_le_bytes()[0]);
        for call in &mut self.canaries {
            call.client.send_channel(CHANNEL, &payload);
            call.peer.send_to(&payload, call.relayed).unwrap();
        }
        for call in &mut self.canaries {
            tally.sent += 2;
            tally.lost += u64::from(!call.peer_hears(&payload));
            tally.lost += u64::from(!call.client_hears(&payload));
        }
        let turn = usize::try_from(self.round / 2).unwrap() % self.canaries.len();
        let call = &mut self.canaries[turn];
        let begun = Instant::now();
        let answered = if self.round.is_multiple_of(2) {
            call.asks(Method::Refresh)
        } else {
            call.asks(Method::ChannelBind)
        };
        tally.requests += 1;
        tally.unanswered += u64::from(!answered);
        if self.round.is_multiple_of(2) {
            tally.refreshes.push(begun.elapsed());
        }
    }
}

/// Tells another thread that it is over, also when this one fails.
pub(crate) struct Ended<'a>(pub(crate) &'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Canary {
    /// Whether this payload reaches the peer. What was given up in an earlier round is passed over.
    fn peer_hears(&self, payload: &[u8]) -> bool {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = self.peer.recv_from(&mut buffer) {
            assert_eq!((length, from), (PAYLOAD, self.relayed));
            if buffer[..length] == *payload {
                return true;
            }
        }
        false
    }

    fn client_hears(&mut self, payload: &[u8]) -> bool {
        while let Some(bytes) = self.client.receive() {
            if bytes[..2] == CHANNEL.to_be_bytes() {
                assert_eq!(bytes.len(), 4 + PAYLOAD);
                if bytes[4..] == *payload {
                    return true;
                }
            }
        }
        false
    }

    /// Whether a request is answered, and granted.
    fn asks(&mut self, method: Method) -> bool {
        let at = self.peer.local_addr().unwrap();
        let (id, bytes) = self.client.request_bytes(method, |w| {
            if method == Method::ChannelBind {
                w.channel_number(CHANNEL);
                w.xor_peer_address(at);
            }
        });
        self.client.send(&bytes);
        let answer = self.client.try_answer(id);
        answer.is_some_and(|answer| {
            assert_eq!(answer.code(), 0, "{method:?}");
            true
        })
    }
}

impl Tally {
    /// This and another.
    pub(crate) fn with(mut self, other: Self) -> Self {
        self.sent += other.sent;
        self.lost += other.lost;
        self.requests += other.requests;
        self.unanswered += other.unanswered;
        self.refreshes.extend(other.refreshes);
        self
    }

    /// Fails unless everything arrived and every request was answered.
    pub(crate) fn assert_whole(&self) {
        assert_eq!((self.lost, self.unanswered), (0, 0), "of {}", self.sent);
        assert!(self.sent > 0 && self.requests > 0);
    }
}
