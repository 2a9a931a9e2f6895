//! Messages that are almost right, from a fixed seed.
//!
//! Not responsible for sending them, nor for judging how they are answered.

use taciturn_protocol::wire::Method;

use crate::calls::Call;
use crate::client::{binding, send_indication};

/// A generator of numbers that look random, the same in every run (xorshift64*).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self) -> u64 {
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
pub(crate) fn originals(call: &mut Call) -> Vec<Vec<u8>> {
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
pub(crate) fn mutated(dice: &mut Dice, originals: &[Vec<u8>]) -> Vec<u8> {
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
