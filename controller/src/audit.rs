//! The audit trail: what was decided, done and refused, as lines that can only be added to without it showing.
//!
//! Responsible for the form of the lines, for their chain of hashes, for keeping them through a full disk and a crash in the
//! middle of a line, and for judging a trail ([`verify`]). Not responsible for what is worth a line: the loop, the API and
//! the reload say so. Neither user names, addresses of clients nor secrets belong in it.
//!
//! ```text
//!   {"seq":7,"time":"2026-11-22T00:10:04Z","prev":"<hash of line 6>","kind":"action","body":{..},"hash":"<hash>"}
//! ```
//!
//! The hash is SHA-256, in hexadecimal, over all bytes of the line before `,"hash":`. So no byte can be changed, no line left
//! out, put in or moved, unless every line after it is written anew. What a chain by itself cannot show is that its last
//! lines were taken away; who keeps a head elsewhere ([`Head`] is logged and answered by the API) can.

mod ledger;
mod line;
mod verify;

#[cfg(test)]
mod tests;

use serde::Serialize;

pub use ledger::{Audit, AuditState};
pub use verify::{Fault, Verified, verify, verify_file};

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The trail begins: which fleet, and what was there before.
    Begin,
    /// A line that was cut off by a crash was set aside.
    TornLine,
    /// Lines could not be written and are not here.
    Gap,
    /// A controller has started.
    Start,
    /// It ends.
    Stop,
    /// A configuration was put in force, or refused.
    Configuration,
    /// What was decided, where it is not what was decided before.
    Decision,
    /// Something is about to be done.
    Intent,
    /// What came of it.
    Outcome,
    /// An order was turned down.
    Refusal,
    /// The lease has changed hands.
    Lease,
    /// An operator has ordered something.
    Operator,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Begin,
        Self::TornLine,
        Self::Gap,
        Self::Start,
        Self::Stop,
        Self::Configuration,
        Self::Decision,
        Self::Intent,
        Self::Outcome,
        Self::Refusal,
        Self::Lease,
        Self::Operator,
    ];

    /// The word in the trail.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Begin => "begin",
            Self::TornLine => "torn-line",
            Self::Gap => "gap",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Configuration => "configuration",
            Self::Decision => "decision",
            Self::Intent => "intent",
            Self::Outcome => "outcome",
            Self::Refusal => "refusal",
            Self::Lease => "lease",
            Self::Operator => "operator",
        }
    }
}

/// The last line of a trail: whoever keeps this elsewhere can tell later that nothing up to it was taken away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Head {
    /// Its number, from 1; 0 before the first.
    pub seq: u64,
    /// Its hash in hexadecimal; zeros before the first.
    pub hash: String,
}

impl Default for Head {
    fn default() -> Self {
        Self {
            seq: 0,
            hash: line::FIRST_PREV.to_owned(),
        }
    }
}
