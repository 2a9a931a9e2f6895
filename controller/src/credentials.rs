//! Credentials for signalling servers: which relays a client is given, under which name and password, and for how long.
//!
//! ```text
//!   a round --> Offer: relays that may be named, their URLs as ready text, how much each has free; once a round
//!                 |--> choose: two of them in different zones, by what is free
//!                 |--> snapshot: all of them, signed; a signalling server mints from it while no controller answers
//!                 v
//!   a caller --> Desk: its rate, who is revoked, the newest secret that is good --> names and passwords (protocol)
//! ```
//!
//! Responsible for all of that as values: the offer, the choice and the snapshot are pure, with time and randomness as
//! arguments, and the desk alone holds what changes. Not responsible for HTTP (`api`), for which relays may be named
//! (`policy::offer`), nor for the form of names and passwords (`taciturn_protocol::credentials`).
//!
//! Calls do not depend on the loop. What it offered last is good for [`LAST_OFFER`] without another round. Every controller
//! mints, whether it leads, stands by or only tries (`--dry-run`): each sees the fleet itself, and naming a relay changes
//! nothing in it. What a standby cannot know is which relays the leader holds back in the seconds before it drains them;
//! such a relay, should it be named, answers as one that drains.

mod bucket;
mod choose;
mod desk;
mod offer;
mod region;
mod settings;
mod snapshot;
mod tally;
#[cfg(test)]
pub(crate) mod tests;
mod urls;

use std::time::Duration;

pub use bucket::Bucket;
pub use choose::{Hint, choose};
pub use desk::{Answer, Desk, NoRevocations, Refused, Revoked, Wanted};
pub use offer::{Candidate, Offer, Warmth};
pub use settings::{Limit, MintingSecret, Settings, Subject};
pub use snapshot::{Payload, SnapshotError, SnapshotKey, SnapshotRelay};
pub use urls::{Host, urls};

/// For so long after the round that it is of an offer is made use of. The same as the time for which a fleet that nobody
/// hears of goes on being offered (`policy::offer`).
pub const LAST_OFFER: Duration = Duration::from_secs(300);
