//! The self-test as a customer of the credentials' desk.
//!
//! Responsible for asking it as one subject of its own, so that tests are counted and slowed apart from calls. Not responsible
//! for the choice of relays, nor for names and passwords (`credentials`).

use std::time::Duration;

use taciturn_protocol::time::Now;

use super::{Denied, Mint, Minted, Reachable};
use crate::credentials::{Desk, Hint, Refused, Wanted};

/// What the desk calls it.
const SUBJECT: &str = "self-test";
/// Enough for two relays on each path where they do not all have the same listeners.
const RELAYS: usize = 4;

impl Mint for Desk {
    fn mint(&self, user: &str, ttl: Duration, now: Now) -> Result<Minted, Denied> {
        self.admit(SUBJECT, now).map_err(denied)?;
        let wanted = |ttl| Wanted {
            user: Some(user.to_owned()),
            ttl,
            relays: Some(RELAYS),
            hint: Hint::default(),
        };
        let answer = match Self::mint(self, SUBJECT, &wanted(Some(ttl)), now) {
            // Longer than anybody may have here: then as long as is usual.
            Err(Refused::Wrong(_)) => Self::mint(self, SUBJECT, &wanted(None), now),
            answer => answer,
        };
        let answer = answer.map_err(denied)?;
        let relays = answer.relays.iter().map(|candidate| Reachable {
            relay: candidate.id.to_string(),
            urls: candidate.urls.clone(),
        });
        Ok(Minted {
            relays: relays.collect(),
            username: answer.credentials.username,
            credential: answer.credentials.password,
            expires: answer.credentials.expires,
        })
    }
}

/// What a visitor can do about it: wait, or tell those who run the calls.
fn denied(refused: Refused) -> Denied {
    match refused {
        Refused::Rate(wait) => Denied::TooOften(wait),
        Refused::NotConfigured
        | Refused::Wrong(_)
        | Refused::RevokedUser
        | Refused::NoSecret
        | Refused::NoFleet(_)
        | Refused::NoRelay => Denied::NoRelay,
    }
}
