//! What every relayed payload carries, and the judgement whether one that arrived is the one that was sent.
//!
//! Responsible for the byte layout and its checksum. Not responsible for counting (see `ledger`) nor for sockets.
//!
//! ```text
//!  0        8       12       16       24       32         40
//!  +--------+--------+--------+--------+--------+----------+--------------
//!  |run mark|flow    |direct. |sequence|sent at |checksum  | fill ...
//!  +--------+--------+--------+--------+--------+----------+--------------
//! ```
//! All integers are little endian. The checksum covers the header before it, the fill after it, and the length.

use std::fmt;

/// Bytes before the fill; also the smallest payload.
pub(crate) const HEADER_LEN: usize = 40;

const CHECKED_HEADER_LEN: usize = 32;

/// Which way a payload travels: `Forward` from the first end of a flow (the client) to the second, `Backward` the other way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Direction {
    /// First end to second end: client to peer.
    Forward,
    /// Second end to first end: peer to client.
    Backward,
}

impl Direction {
    const fn code(self) -> u32 {
        match self {
            Self::Forward => 0x6332_7001,
            Self::Backward => 0x7032_6302,
        }
    }
}

/// What the header of a payload says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Stamp {
    /// Number of the flow, from 0.
    pub(crate) flow: u32,
    /// Which way it travels.
    pub(crate) direction: Direction,
    /// Number of the payload in its flow and direction, from 0.
    pub(crate) sequence: u64,
    /// When it was sent, in nanoseconds since the run began.
    pub(crate) sent_nanos: u64,
}

/// Why a payload is not one of ours, whole.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum BadPayload {
    /// Shorter than the header.
    TooShort,
    /// The mark is not that of this run.
    ForeignMark,
    /// Some byte differs from what was sent, or the length does.
    Checksum,
    /// The direction is neither of the two.
    Direction,
}

impl fmt::Display for BadPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooShort => "shorter than the header",
            Self::ForeignMark => "not marked by this run",
            Self::Checksum => "checksum differs",
            Self::Direction => "unknown direction",
        })
    }
}

/// The bytes after the header: random-looking, different for each flow and direction, and their digest, computed once.
#[derive(Debug)]
pub(crate) struct Fill {
    bytes: Vec<u8>,
    digest: u64,
}

impl Fill {
    /// Makes the fill of payloads of `payload_len` bytes (at least [`HEADER_LEN`]) on one flow and direction.
    pub(crate) fn new(flow: u32, direction: Direction, payload_len: usize) -> Self {
        let mut state = (u64::from(flow) << 32) ^ u64::from(direction.code());
        let mut bytes = Vec::with_capacity(payload_len);
        while bytes.len() < payload_len.saturating_sub(HEADER_LEN) {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            bytes.extend_from_slice(&mix(state).to_le_bytes());
        }
        bytes.truncate(payload_len.saturating_sub(HEADER_LEN));
        let digest = digest(&bytes);
        Self { bytes, digest }
    }

    /// Length of a whole payload with this fill.
    pub(crate) fn payload_len(&self) -> usize {
        self.bytes.len() + HEADER_LEN
    }
}

/// Appends one payload to `out`. `run` is the mark that all payloads of one run share.
pub(crate) fn write(out: &mut Vec<u8>, run: u64, stamp: Stamp, fill: &Fill) {
    let mut header = [0_u8; CHECKED_HEADER_LEN];
    header[0..8].copy_from_slice(&run.to_le_bytes());
    header[8..12].copy_from_slice(&stamp.flow.to_le_bytes());
    header[12..16].copy_from_slice(&stamp.direction.code().to_le_bytes());
    header[16..24].copy_from_slice(&stamp.sequence.to_le_bytes());
    header[24..32].copy_from_slice(&stamp.sent_nanos.to_le_bytes());
    out.extend_from_slice(&header);
    out.extend_from_slice(&checksum(&header, fill.digest).to_le_bytes());
    out.extend_from_slice(&fill.bytes);
}

/// Reads and verifies one payload, of any flow. `expected` is the fill that it should have: where it does, its digest is known
/// already, and a comparison costs less than another digest.
pub(crate) fn parse(payload: &[u8], run: u64, expected: &Fill) -> Result<Stamp, BadPayload> {
    let (header, rest) = payload
        .split_first_chunk::<CHECKED_HEADER_LEN>()
        .ok_or(BadPayload::TooShort)?;
    let (claimed, fill) = rest.split_first_chunk::<8>().ok_or(BadPayload::TooShort)?;
    if word(header, 0) != run {
        return Err(BadPayload::ForeignMark);
    }
    let fill_digest = if fill == expected.bytes {
        expected.digest
    } else {
        digest(fill)
    };
    if checksum(header, fill_digest) != u64::from_le_bytes(*claimed) {
        return Err(BadPayload::Checksum);
    }
    let [f0, f1, f2, f3, d0, d1, d2, d3] = word(header, 8).to_le_bytes();
    let direction = match u32::from_le_bytes([d0, d1, d2, d3]) {
        code if code == Direction::Forward.code() => Direction::Forward,
        code if code == Direction::Backward.code() => Direction::Backward,
        _ => return Err(BadPayload::Direction),
    };
    Ok(Stamp {
        flow: u32::from_le_bytes([f0, f1, f2, f3]),
        direction,
        sequence: word(header, 16),
        sent_nanos: word(header, 24),
    })
}

fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0_u8; 8];
    for (to, from) in word.iter_mut().zip(bytes.iter().skip(at)) {
        *to = *from;
    }
    u64::from_le_bytes(word)
}

fn checksum(header: &[u8; CHECKED_HEADER_LEN], fill_digest: u64) -> u64 {
    mix(digest(header) ^ fill_digest.rotate_left(17))
}

/// Position-dependent 64-bit digest of `bytes` and their number. Four lanes, so that the multiplications overlap: a packet
/// of 1200 bytes must cost the generator tens of nanoseconds, not hundreds.
fn digest(bytes: &[u8]) -> u64 {
    const MULTIPLIER: u64 = 0x9fb2_1c65_1e98_df25;
    let mut lanes = [
        0x243f_6a88_85a3_08d3_u64,
        0x1319_8a2e_0370_7344,
        0xa409_3822_299f_31d0,
        0x082e_fa98_ec4e_6c89,
    ];
    let mut absorb = |block: &[u8; 32]| {
        for (lane, word) in lanes.iter_mut().zip(block.as_chunks::<8>().0) {
            *lane = (*lane ^ u64::from_le_bytes(*word))
                .wrapping_mul(MULTIPLIER)
                .rotate_left(29);
        }
    };
    let (blocks, tail) = bytes.as_chunks::<32>();
    blocks.iter().for_each(&mut absorb);
    if !tail.is_empty() {
        let mut block = [0_u8; 32];
        block[..tail.len()].copy_from_slice(tail);
        absorb(&block);
    }
    lanes
        .iter()
        .fold(bytes.len() as u64, |sum, lane| mix(sum ^ lane))
}

/// A bijective scrambler: each input bit changes about half of the output bits.
pub(crate) const fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: u64 = 0x1234_5678_9abc_def0;
    const STAMP: Stamp = Stamp {
        flow: 7,
        direction: Direction::Backward,
        sequence: 42,
        sent_nanos: 99,
    };

    /// Judged with the fill that it should have, and with another flow's: the outcome must not differ.
    fn judge(payload: &[u8], run: u64, len: usize) -> Result<Stamp, BadPayload> {
        let own = parse(payload, run, &Fill::new(7, Direction::Backward, len));
        let other = parse(payload, run, &Fill::new(8, Direction::Backward, len));
        assert_eq!(own, other);
        own
    }

    fn sample(len: usize) -> Vec<u8> {
        let mut out = Vec::new();
        write(
            &mut out,
            RUN,
            STAMP,
            &Fill::new(7, Direction::Backward, len),
        );
        out
    }

    #[test]
    fn a_whole_payload_reads_back_at_every_length() {
        for len in [HEADER_LEN, 41, 71, 72, 73, 172, 1200, 1500] {
            let payload = sample(len);
            assert_eq!(payload.len(), len);
            assert_eq!(judge(&payload, RUN, len), Ok(STAMP));
        }
    }

    #[test]
    fn any_flipped_bit_is_caught() {
        let payload = sample(172);
        for at in 0..payload.len() * 8 {
            let mut damaged = payload.clone();
            damaged[at / 8] ^= 1 << (at % 8);
            assert!(judge(&damaged, RUN, 172).is_err(), "bit {at}");
        }
    }

    #[test]
    fn a_cut_or_lengthened_payload_is_caught() {
        let payload = sample(172);
        for len in 0..payload.len() {
            assert!(judge(&payload[..len], RUN, 172).is_err(), "length {len}");
        }
        for extra in 1..8 {
            let mut longer = payload.clone();
            longer.resize(payload.len() + extra, 0);
            assert_eq!(judge(&longer, RUN, 172), Err(BadPayload::Checksum));
        }
    }

    #[test]
    fn swapped_words_are_caught() {
        let mut payload = sample(172);
        let (first, second) = payload[40..].split_at_mut(8);
        first.swap_with_slice(&mut second[..8]);
        assert_eq!(judge(&payload, RUN, 172), Err(BadPayload::Checksum));
    }

    #[test]
    fn a_payload_of_another_run_is_foreign() {
        assert_eq!(
            judge(&sample(172), RUN + 1, 172),
            Err(BadPayload::ForeignMark)
        );
    }
}
