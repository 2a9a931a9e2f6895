//! The audit trail: what was decided, done and refused, as lines that can only be added to without it showing.
//!
//! Responsible for the form of the lines, for their chain of hashes, for keeping them through a full disk and a crash in the
//! middle of a line, and for judging a trail ([`verify()`]). Not responsible for what is worth a line: the loop, the API and
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
pub use line::hex;
pub use verify::{Fault, Verified, verify, verify_file};

/// Kinds of lines that the trail writes about itself; all others are their writers'.
mod kind {
    /// The trail begins: which fleet, and what was there before.
    pub(super) const BEGIN: &str = "begin";
    /// A line that was cut off by a crash was set aside.
    pub(super) const TORN_LINE: &str = "torn-line";
    /// Lines could not be written and are not here.
    pub(super) const GAP: &str = "gap";
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
