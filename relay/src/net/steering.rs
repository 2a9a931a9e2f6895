//! Which socket of a group a datagram is queued on: requests on one, media on another, and on a third the media of those
//! who crowd others out, so that none waits behind another or is lost for it.
//!
//! Responsible for the program that the kernel runs on each datagram before it is queued (classic BPF,
//! `SO_ATTACH_REUSEPORT_CBPF`). Not responsible for binding the group, nor for what the sockets are read for: the program
//! sorts, it checks nothing, and any datagram may still come on either socket.
//!
//! ```text
//!  bound first to last:   data 0  ..  data N-1   control 0  ..  control N-1   apart 0  ..  apart N-1
//!                           |                      |                            |
//!                           +--- keyed hash of the client's address and port, modulo N ---+
//! ```
//!
//! The hash is the same for all kinds: all that a client sends reaches the three sockets of one worker, which holds its
//! allocation. Flows that are set apart are told by the same hash, whole: one of 2^32 others would go with them. Nothing but
//! the source is hashed, since the rest of the 5-tuple is the group's; and the key is random, so that nobody can choose ports
//! which all meet at one worker.
//!
//! The kernel joins datagrams of one flow and one size into trains before it asks, and sorts a train by its first one.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

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

/// Sockets of a worker in a group.
const KINDS: usize = 3;
/// Hashes that the program compares with: a condition passes over 255 instructions at most.
const MOST_APART: usize = 200;

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

impl SteeringKey {
    /// What the program computes for a source.
    fn hash(&self, port: u16, address: IpAddr) -> u32 {
        let [of_port, of_address @ .., last] = &self.factors;
        let mut hash = mix(u32::from(port) ^ self.first, *of_port);
        let mut take = |word: u32, factor: &u32| hash = mix(hash ^ word, *factor);
        match address {
            IpAddr::V4(v4) => take(v4.to_bits(), &of_address[0]),
            IpAddr::V6(v6) => {
                for (bytes, factor) in v6.octets().as_chunks().0.iter().zip(of_address) {
                    take(u32::from_be_bytes(*bytes), factor);
                }
            }
        }
        mix(hash, *last)
    }
}

/// A product carries upwards only, so its upper half is brought down.
const fn mix(word: u32, factor: u32) -> u32 {
    let product = word.wrapping_mul(factor);
    product ^ product >> 16
}

/// How the kernel chooses among the sockets of a group.
#[derive(Clone, Copy, Debug)]
pub struct Steering {
    key: SteeringKey,
    v4: bool,
    workers: u32,
}

impl Steering {
    /// Makes the kernel choose among the sockets of a group, which are 3 N in the order in which they were bound, and alone on
    /// their address: each client gets `i`, `N + i` and `2 N + i`. STUN other than Send indications comes on `N + i`;
    /// ChannelData, Send indications and what is neither, on `i`, or on `2 N + i` from those who are set apart.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when the sockets are not three for each worker; otherwise what the kernel says. It goes on choosing
    /// among all of them by a hash of its own then, which takes no account of what belongs together.
    pub fn begin(group: &[UdpSocket], key: &SteeringKey) -> io::Result<Self> {
        let no_group = || io::Error::new(io::ErrorKind::InvalidInput, "not three sockets a worker");
        let first = group.first().ok_or_else(no_group)?;
        if !group.len().is_multiple_of(KINDS) {
            return Err(no_group());
        }
        let this = Self {
            key: *key,
            v4: first.local_addr().is_ipv4(),
            workers: u32::try_from(group.len() / KINDS).map_err(|_| no_group())?,
        };
        this.set_apart(first, &[])?;
        Ok(this)
    }

    /// Sets these flows apart from now on, and no others. `member` is any socket of the group. What is queued already stays
    /// where it is.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for more flows than a condition can pass over; otherwise what the kernel says, which goes on as it did
    /// before.
    pub fn set_apart(&self, member: &UdpSocket, flows: &[SocketAddr]) -> io::Result<()> {
        member.faults.check(Operation::Steer)?;
        let mut apart: Vec<u32> = flows.iter().map(|flow| self.flow(flow)).collect();
        if !self.v4 {
            // Who hides the port behind extension headers is not spared for it.
            apart.extend(flows.iter().map(|flow| self.key.hash(0, flow.ip())));
        }
        if apart.len() > MOST_APART {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "too many flows",
            ));
        }
        sys::attach_group_program(member.borrow(), &self.program(&apart))
    }

    /// What tells a flow from others: as long as the group lives, the same for all that comes from one address and port.
    /// Nobody outside can tell what it will be.
    #[inline]
    pub fn flow(&self, source: &SocketAddr) -> u32 {
        self.key.hash(source.port(), source.ip())
    }

    fn program(&self, apart: &[u32]) -> Vec<Instruction> {
        let mut program = Program(Vec::with_capacity(128));
        program.load_source_port(self.v4);
        program.hash(self.v4, &self.key);
        program.then(STORE, Program::HASH);
        program.then(MODULO, self.workers);
        program.choose(self.workers, apart);
        program.0
    }
}

/// A program as it grows.
struct Program(Vec<Instruction>);

impl Program {
    /// Where the hash is kept between two words, and the number of the worker at the end.
    const KEPT: u32 = 0;
    /// Where the whole hash is kept.
    const HASH: u32 = 1;

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

    /// The socket of this worker by what the payload is, and from whom. A load beyond its end would end the program with
    /// socket 0, hence the look at the length before all.
    fn choose(&mut self, workers: u32, apart: &[u32]) {
        self.then(STORE, Self::KEPT);
        self.then(LOAD_LENGTH, 0);
        self.branch(IF_AT_LEAST, STUN_HEADER, 0, 8);
        self.then(LOAD_WORD, COOKIE_OFFSET);
        self.branch(IF_EQUAL, COOKIE, 0, 6);
        self.then(LOAD_HALF, 0);
        self.branch(IF_ANY_BIT, NOT_STUN, 4, 0);
        self.branch(IF_EQUAL, SEND_INDICATION, 3, 0);
        self.then(LOAD_MEMORY, Self::KEPT);
        self.then(ADD, workers);
        self.then(RETURN, 0);
        if !apart.is_empty() {
            self.then(LOAD_MEMORY, Self::HASH);
        }
        // Over those that come after it, and over the two that follow them all.
        for (hash, over) in apart.iter().zip((2..2 + apart.len()).rev()) {
            let over = u8::try_from(over).unwrap_or(u8::MAX);
            self.branch(IF_EQUAL, *hash, over, 0);
        }
        self.then(LOAD_MEMORY, Self::KEPT);
        self.then(RETURN, 0);
        if !apart.is_empty() {
            self.then(LOAD_MEMORY, Self::KEPT);
            self.then(ADD, 2 * workers);
            self.then(RETURN, 0);
        }
    }
}
