//! The account of one flow in one direction: what was sent, and what became of it.
//!
//! Responsible for the judgement of each arrival and for the counts. Not responsible for bytes (see `payload`) or sockets.

use crate::payload::{self, Direction, Fill};
use serde::Serialize;
use std::ops::AddAssign;

/// Counts of one flow and direction, or the sum over many.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub(crate) struct Tally {
    /// Payloads handed to the kernel.
    pub(crate) sent: u64,
    /// Payloads that arrived whole, once, at the right flow and from the right source.
    pub(crate) delivered: u64,
    /// Arrivals that are no payload of this run, are damaged, or were never sent.
    pub(crate) bad: u64,
    /// Whole payloads that came from another source or channel, or belong to another flow or direction.
    pub(crate) wrong_source: u64,
    /// Whole payloads that had arrived before.
    pub(crate) duplicate: u64,
}

impl Tally {
    /// Payloads that never arrived.
    pub(crate) const fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.delivered)
    }

    /// Whether the server relayed something, and nothing wrongly. Loss is allowed: UDP may lose.
    pub(crate) const fn is_sound(&self) -> bool {
        self.delivered > 0 && self.bad == 0 && self.wrong_source == 0 && self.duplicate == 0
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.delivered += other.delivered;
        self.bad += other.bad;
        self.wrong_source += other.wrong_source;
        self.duplicate += other.duplicate;
    }
}

/// What came in at one end of a flow.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arrival<'a> {
    /// A relayed payload.
    Payload {
        /// The bytes, without any TURN framing.
        bytes: &'a [u8],
        /// Whether it came from the address (or on the channel) that this flow owns.
        source_matches: bool,
    },
    /// Something that is neither a payload nor an expected control message.
    Garbage,
}

/// The judgement on one arrival.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Judgement {
    /// Right in every respect, and new.
    Delivered {
        /// Its number in its flow and direction.
        sequence: u64,
        /// When it was sent, in nanoseconds since the run began.
        sent_nanos: u64,
    },
    /// Damaged, foreign or never sent.
    Bad,
    /// Whole, but not from where, or not to where, it belongs.
    WrongSource,
    /// Whole, but already delivered.
    Duplicate,
}

/// The account of one flow in one direction.
#[derive(Debug)]
pub(crate) struct Ledger {
    run: u64,
    flow: u32,
    direction: Direction,
    fill: Fill,
    seen: Vec<u64>,
    tally: Tally,
}

impl Ledger {
    /// Opens an empty account of payloads of `payload_len` bytes.
    pub(crate) fn new(run: u64, flow: u32, direction: Direction, payload_len: usize) -> Self {
        Self {
            run,
            flow,
            direction,
            fill: Fill::new(flow, direction, payload_len),
            seen: Vec::new(),
            tally: Tally {
                sent: 0,
                delivered: 0,
                bad: 0,
                wrong_source: 0,
                duplicate: 0,
            },
        }
    }

    /// The counts so far.
    pub(crate) const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Appends the payload `ahead` places after the last one that was recorded as sent.
    pub(crate) fn write(&self, out: &mut Vec<u8>, ahead: u64, sent_nanos: u64) {
        let stamp = payload::Stamp {
            flow: self.flow,
            direction: self.direction,
            sequence: self.tally.sent + ahead,
            sent_nanos,
        };
        payload::write(out, self.run, stamp, &self.fill);
    }

    /// Length of each payload.
    pub(crate) fn payload_len(&self) -> usize {
        self.fill.payload_len()
    }

    /// Records that the next `count` payloads left.
    pub(crate) const fn record_sent(&mut self, count: u64) {
        self.tally.sent += count;
    }

    /// Judges and counts one arrival at the receiving end of this flow and direction.
    pub(crate) fn record(&mut self, arrival: Arrival<'_>) -> Judgement {
        let judgement = self.judge(arrival);
        match judgement {
            Judgement::Delivered { .. } => self.tally.delivered += 1,
            Judgement::Bad => self.tally.bad += 1,
            Judgement::WrongSource => self.tally.wrong_source += 1,
            Judgement::Duplicate => self.tally.duplicate += 1,
        }
        judgement
    }

    fn judge(&mut self, arrival: Arrival<'_>) -> Judgement {
        let Arrival::Payload {
            bytes,
            source_matches,
        } = arrival
        else {
            return Judgement::Bad;
        };
        let Ok(stamp) = payload::parse(bytes, self.run, &self.fill) else {
            return Judgement::Bad;
        };
        if !source_matches || stamp.flow != self.flow || stamp.direction != self.direction {
            return Judgement::WrongSource;
        }
        if stamp.sequence >= self.tally.sent {
            return Judgement::Bad;
        }
        let Ok(word) = usize::try_from(stamp.sequence / 64) else {
            return Judgement::Bad;
        };
        if self.seen.len() <= word {
            self.seen.resize(word + 1, 0);
        }
        let bit = 1_u64 << (stamp.sequence % 64);
        if self.seen[word] & bit != 0 {
            return Judgement::Duplicate;
        }
        self.seen[word] |= bit;
        Judgement::Delivered {
            sequence: stamp.sequence,
            sent_nanos: stamp.sent_nanos,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: u64 = 77;

    fn ledger_and_payload() -> (Ledger, Vec<u8>) {
        let mut ledger = Ledger::new(RUN, 3, Direction::Forward, 172);
        let mut bytes = Vec::new();
        ledger.write(&mut bytes, 0, 5);
        ledger.record_sent(1);
        (ledger, bytes)
    }

    const fn from_right_source(bytes: &[u8]) -> Arrival<'_> {
        Arrival::Payload {
            bytes,
            source_matches: true,
        }
    }

    #[test]
    fn a_payload_that_arrives_once_is_delivered() {
        let (mut ledger, bytes) = ledger_and_payload();
        assert_eq!(
            ledger.record(from_right_source(&bytes)),
            Judgement::Delivered {
                sequence: 0,
                sent_nanos: 5
            }
        );
        assert_eq!(
            *ledger.tally(),
            Tally {
                sent: 1,
                delivered: 1,
                ..Tally::default()
            }
        );
        assert!(ledger.tally().is_sound());
    }

    #[test]
    fn a_payload_that_arrives_twice_is_a_duplicate() {
        let (mut ledger, bytes) = ledger_and_payload();
        ledger.record(from_right_source(&bytes));
        assert_eq!(
            ledger.record(from_right_source(&bytes)),
            Judgement::Duplicate
        );
        assert!(!ledger.tally().is_sound());
        assert_eq!(ledger.tally().delivered, 1);
    }

    #[test]
    fn a_payload_from_another_address_or_channel_is_misdirected() {
        let (mut ledger, bytes) = ledger_and_payload();
        assert_eq!(
            ledger.record(Arrival::Payload {
                bytes: &bytes,
                source_matches: false
            }),
            Judgement::WrongSource
        );
        assert!(!ledger.tally().is_sound());
    }

    #[test]
    fn a_payload_of_another_flow_or_direction_is_misdirected() {
        let (_, bytes) = ledger_and_payload();
        for mut other in [
            Ledger::new(RUN, 4, Direction::Forward, 172),
            Ledger::new(RUN, 3, Direction::Backward, 172),
        ] {
            other.record_sent(1);
            assert_eq!(
                other.record(from_right_source(&bytes)),
                Judgement::WrongSource
            );
            assert_eq!(other.tally().wrong_source, 1);
        }
    }

    #[test]
    fn a_damaged_foreign_or_never_sent_payload_is_bad() {
        let (mut ledger, mut bytes) = ledger_and_payload();
        let mut unsent = Ledger::new(RUN, 3, Direction::Forward, 172);
        assert_eq!(unsent.record(from_right_source(&bytes)), Judgement::Bad);
        bytes[100] ^= 1;
        assert_eq!(ledger.record(from_right_source(&bytes)), Judgement::Bad);
        assert_eq!(ledger.record(from_right_source(b"hello")), Judgement::Bad);
        assert_eq!(ledger.record(Arrival::Garbage), Judgement::Bad);
        assert_eq!(ledger.tally().bad, 3);
        assert_eq!(ledger.tally().lost(), 1);
    }
}
