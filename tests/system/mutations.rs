//! Random and mutated messages from a fixed seed, beside calls that must not notice.
//!
//! Responsible for many inputs without a judgement of each. Not responsible for those with a known answer (`bad_input`).

use std::io::{Read, Write};
use std::net::Shutdown;

use rustls::StreamOwned;
use taciturn_protocol::wire::Method;

use crate::calls::{Call, Canaries};
use crate::client::{Client, Over, binding, connect, send_indication, tls_connection};
use crate::running::{Running, Setup};

/// A generator of numbers that look random, the same in every run (xorshift64*).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.roll() >> 33).unwrap() % bound.max(1)
    }

    fn byte(&mut self) -> u8 {
        self.roll().to_be_bytes()[0]
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.byte()).collect()
    }
}

/// Valid messages of every kind that this client could send.
fn originals(call: &mut Call) -> Vec<Vec<u8>> {
    let peer = call.peer.local_addr().unwrap();
    let client = &mut call.client;
    vec![
        binding(1),
        client
            .request_bytes(Method::Allocate, |w| {
                w.requested_transport(17);
                w.even_port(true);
                w.dont_fragment();
            })
            .1,
        client.request_bytes(Method::Refresh, |w| w.lifetime(600)).1,
        client
            .request_bytes(Method::CreatePermission, |w| w.xor_peer_address(peer))
            .1,
        client
            .request_bytes(Method::ChannelBind, |w| {
                w.channel_number(0x4001);
                w.xor_peer_address(peer);
            })
            .1,
        send_indication(peer, b"some payload", |w| w.dont_fragment()),
        client.channel_bytes(0x4ABC, b"some more payload"),
        vec![0x16, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0],
    ]
}

/// A message with a few things wrong, or none of one at all.
fn mutated(dice: &mut Dice, originals: &[Vec<u8>]) -> Vec<u8> {
    if dice.below(8) == 0 {
        let length = dice.below(200);
        return dice.bytes(length);
    }
    let mut bytes = originals[dice.below(originals.len())].clone();
    for _ in 0..=dice.below(4) {
        let at = dice.below(bytes.len());
        match dice.below(8) {
            0 => bytes.truncate(at),
            1 => {
                let length = dice.below(40);
                let tail = dice.bytes(length);
                bytes.splice(at..at, tail);
            }
            // Lengths are where parsers fail.
            2 if bytes.len() > 4 => {
                let extreme = [[0, 0], [0, 1], [0xFF, 0xFC], [0xFF, 0xFF], [0x7F, 0xFF]];
                bytes[2..4].copy_from_slice(&extreme[dice.below(extreme.len())]);
            }
            3 if bytes.len() > 24 => {
                bytes[22..24].copy_from_slice(&[0xFF, 0xFD]);
            }
            4 => {
                let other = &originals[dice.below(originals.len())];
                bytes.extend_from_slice(&other[dice.below(other.len())..]);
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << dice.below(8);
                }
            }
        }
    }
    bytes
}

fn start() -> Running {
    let mut setup = Setup::on_loopback(2);
    // What is not answered is closed soon, so that no half of a message stays behind for long.
    setup.limits += "\nhandshake-timeout = \"2s\"";
    setup.start()
}

/// 20,000 random and mutated datagrams → no call loses anything and the process is the same.
#[test]
fn mutated_datagrams_harm_no_call() {
    let mut relay = start();
    let canaries = Canaries::start(&relay);
    let mut dice = Dice(0x7AC1_7042);
    // Half of them come from the owner of an allocation, so that they get as far as possible.
    let mut owner = Call::open(&relay, Over::Udp, "mallory");
    let mut stranger = Client::of(&relay, Over::Udp, "mallory");
    let originals = originals(&mut owner);
    for turn in 0..20_000_u32 {
        let sender = if turn % 2 == 0 {
            &mut owner.client
        } else {
            &mut stranger
        };
        sender.send(&mutated(&mut dice, &originals));
        // Never more on the way than a socket's buffer holds.
        if turn % 64 < 2 {
            let id = turn.to_be_bytes()[3] | 1;
            sender.send(&binding(id));
            while sender.receive().expect("an answer")[8..20] != [id; 12] {}
        }
    }
    canaries.finish();
    relay.assert_alive();
}

/// the same on streams, in the clear, inside TLS, and instead of TLS.
#[test]
fn mutated_streams_harm_no_call() {
    let mut relay = start();
    let canaries = Canaries::start(&relay);
    let mut dice = Dice(0x5EED);
    let mut owner = Call::open(&relay, Over::Tcp, "mallory");
    let originals = originals(&mut owner);
    for turn in 0..400 {
        let mut bytes: Vec<u8> = (0..3)
            .flat_map(|_| mutated(&mut dice, &originals))
            .collect();
        let listener = relay.listener(["tcp", "auto", "tls", "auto"][turn % 4]);
        let mut stream = connect(listener);
        let inside = turn % 4 > 1;
        if inside && turn % 8 > 5 {
            bytes.splice(0..0, [0x16, 3, 1]);
        } else if inside {
            let mut tls = StreamOwned::new(tls_connection(&relay.certificate, &[]), stream);
            // The relay closes when it has seen enough, whether everything was written or not.
            let _ = tls.write_all(&bytes);
            tls.conn.send_close_notify();
            let _ = tls.flush();
            let _ = tls.sock.shutdown(Shutdown::Write);
            let _ = tls.read_to_end(&mut Vec::new());
            continue;
        }
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    canaries.finish();
    relay.assert_alive();
}
