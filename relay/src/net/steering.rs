//! Which socket of a group a datagram is queued on: requests on one, media on another, so that neither waits behind the
//! other or is lost for it.
//!
//! Responsible for the program that the kernel runs on each datagram before it is queued (classic BPF,
//! `SO_ATTACH_REUSEPORT_CBPF`). Not responsible for binding the group, nor for what the sockets are read for: the program
//! sorts, it checks nothing, and any datagram may still come on either socket.
//!
//! ```text
//!  bound first to last:   data 0   data 1  ..  data N-1   control 0   control 1  ..  control N-1
//!                           |                                 |
//!                           +---- keyed hash of the client's address and port, modulo N ----+
//! ```
//!
//! The hash is the same for both kinds: all that a client sends reaches the two sockets of one worker, which holds its
//! allocation. Nothing but the source is hashed, since the rest of the 5-tuple is the group's; and the key is random, so
//! that nobody can choose ports which all meet at one worker.
//!
//! The kernel joins datagrams of one flow and one size into trains before it asks, and sorts a train by its first one.

use std::{io, net::SocketAddr};

use super::{
    faults::Operation,
    sys::{self, Instruction},
    udp::UdpSocket,
};

// Instructions of classic BPF (linux/bpf_common.h): A is the accumulator, X the index register, M[0..16] the memory.
/// A = 32 bits at k.
const LOAD_WORD: u16 = 0x20;
/// A = 16 bits at k.
const LOAD_HALF: u16 = 0x28;
/// A = the byte at k.
const LOAD_BYTE: u16 = 0x30;
/// A = 16 bits at X + k.
const LOAD_HALF_AT_INDEX: u16 = 0x48;
/// A = the length of the payload.
const LOAD_LENGTH: u16 = 0x80;
/// A = k.
const LOAD_CONSTANT: u16 = 0x00;
/// A = `M[k]`.
const LOAD_MEMORY: u16 = 0x60;
/// X = `M[k]`.
const LOAD_INDEX_MEMORY: u16 = 0x61;
/// X = 4 * (the low 4 bits of the byte at k): the length of an IPv4 header.
const LOAD_INDEX_HEADER: u16 = 0xb1;
/// `M[k]` = A.
const STORE: u16 = 0x02;
/// X = A.
const COPY_TO_INDEX: u16 = 0x07;
const ADD: u16 = 0x04;
const MULTIPLY: u16 = 0x24;
const MODULO: u16 = 0x94;
const SHIFT_RIGHT: u16 = 0x74;
const XOR: u16 = 0xa4;
/// A ^= X.
const XOR_INDEX: u16 = 0xac;
const IF_EQUAL: u16 = 0x15;
const IF_AT_LEAST: u16 = 0x35;
/// Whether A and k have a bit in common.
const IF_ANY_BIT: u16 = 0x45;
/// Ends with A.
const RETURN: u16 = 0x16;
/// Added to an offset: counted from the IP header and not from the payload (`SKF_NET_OFF`, -0x100000).
const FROM_IP_HEADER: u32 = 0xfff0_0000;

/// Length of a STUN header (RFC 8489 §5), and what it holds.
const STUN_HEADER: u32 = 20;
const COOKIE_OFFSET: u32 = 4;
const COOKIE: u32 = 0x2112_a442;
const NOT_STUN: u32 = 0xc000;
const SEND_INDICATION: u32 = 0x0016;

const UDP: u32 = 17;

/// Words that the hash takes in at most: a port, and four of an IPv6 address.
const WORDS: usize = 5;

/// What makes the hash this relay's own. To be filled from a random source.
#[derive(Clone, Copy)]
pub struct SteeringKey {
    first: u32,
    factors: [u32; WORDS + 1],
}

impl SteeringKey {
    /// Bytes of randomness that a key is made of.
    pub const BYTES: usize = 4 * (WORDS + 2);

    /// A key from random bytes.
    pub fn new(bytes: &[u8; Self::BYTES]) -> Self {
        let mut words = bytes
            .as_chunks()
            .0
            .iter()
            .map(|word| u32::from_ne_bytes(*word));
        let mut word = || words.next().unwrap_or_default();
        Self {
            first: word(),
            // An even factor would lose a bit.
            factors: std::array::from_fn(|_| word() | 1),
        }
    }
}

impl std::fmt::Debug for SteeringKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SteeringKey")
    }
}

/// Makes the kernel choose among the sockets of a group, which are 2 N in the order in which they were bound, and alone on
/// their address: each client gets a pair `i`, `N + i`. STUN other than Send indications comes on `N + i`; ChannelData, Send
/// indications and what is neither, on `i`.
///
/// # Errors
///
/// `InvalidInput` when the sockets are no pairs; otherwise what the kernel says. It goes on choosing among all of them by a
/// hash of its own then, which takes no account of pairs.
pub fn steer(group: &[UdpSocket], key: &SteeringKey) -> io::Result<()> {
    let no_pairs = || io::Error::new(io::ErrorKind::InvalidInput, "no pairs of sockets");
    let first = group.first().ok_or_else(no_pairs)?;
    if !group.len().is_multiple_of(2) {
        return Err(no_pairs());
    }
    let pairs = u32::try_from(group.len() / 2).map_err(|_| no_pairs())?;
    first.faults.check(Operation::Steer)?;
    let program = program(first.local_addr(), pairs, key);
    sys::attach_group_program(first.borrow(), &program)
}

/// The program for a group of `2 * pairs` sockets on this address.
fn program(address: SocketAddr, pairs: u32, key: &SteeringKey) -> Vec<Instruction> {
    let mut program = Program(Vec::with_capacity(64));
    program.load_source_port(address.is_ipv4());
    program.hash(address.is_ipv4(), key);
    program.then(MODULO, pairs);
    program.choose(pairs);
    program.0
}

/// A program as it grows.
struct Program(Vec<Instruction>);

impl Program {
    /// Where the hash is kept between two words, and the number of the pair at the end.
    const KEPT: u32 = 0;

    fn then(&mut self, code: u16, k: u32) {
        self.0.push(Instruction::new(code, k, 0, 0));
    }

    /// So many instructions are passed over when the condition holds, and so many when it does not.
    fn branch(&mut self, condition: u16, k: u32, holds: u8, fails: u8) {
        self.0.push(Instruction::new(condition, k, holds, fails));
    }

    fn load_source_port(&mut self, v4: bool) {
        if v4 {
            self.then(LOAD_INDEX_HEADER, FROM_IP_HEADER);
            self.then(LOAD_HALF_AT_INDEX, FROM_IP_HEADER);
        } else {
            self.then(LOAD_BYTE, FROM_IP_HEADER + 6);
            self.branch(IF_EQUAL, UDP, 0, 2);
            self.then(LOAD_HALF, FROM_IP_HEADER + 40);
            // At least 0: always.
            self.branch(IF_AT_LEAST, 0, 1, 0);
            // Behind extension headers the port is out of reach without a loop; the address must do.
            self.then(LOAD_CONSTANT, 0);
        }
    }

    /// The hash of what was loaded and of the source address.
    fn hash(&mut self, v4: bool, key: &SteeringKey) {
        let source: &[u32] = if v4 { &[12] } else { &[8, 12, 16, 20] };
        let [of_port, of_address @ .., last] = &key.factors;
        self.then(XOR, key.first);
        self.mix(*of_port);
        for (offset, factor) in source.iter().zip(of_address) {
            self.then(STORE, Self::KEPT);
            self.then(LOAD_WORD, FROM_IP_HEADER + offset);
            self.then(LOAD_INDEX_MEMORY, Self::KEPT);
            self.then(XOR_INDEX, 0);
            self.mix(*factor);
        }
        self.mix(*last);
    }

    /// A product carries upwards only, so its upper half is brought down.
    fn mix(&mut self, factor: u32) {
        self.then(MULTIPLY, factor);
        self.then(COPY_TO_INDEX, 0);
        self.then(SHIFT_RIGHT, 16);
        self.then(XOR_INDEX, 0);
    }

    /// The socket of this pair by what the payload is. A load beyond its end would end the program with socket 0, hence the
    /// look at the length before all.
    fn choose(&mut self, pairs: u32) {
        self.then(STORE, Self::KEPT);
        self.then(LOAD_LENGTH, 0);
        self.branch(IF_AT_LEAST, STUN_HEADER, 0, 8);
        self.then(LOAD_WORD, COOKIE_OFFSET);
        self.branch(IF_EQUAL, COOKIE, 0, 6);
        self.then(LOAD_HALF, 0);
        self.branch(IF_ANY_BIT, NOT_STUN, 4, 0);
        self.branch(IF_EQUAL, SEND_INDICATION, 3, 0);
        self.then(LOAD_MEMORY, Self::KEPT);
        self.then(ADD, pairs);
        self.then(RETURN, 0);
        self.then(LOAD_MEMORY, Self::KEPT);
        self.then(RETURN, 0);
    }
}
