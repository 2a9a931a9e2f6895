//! How often tickets are honoured.
//!
//! Responsible for the budget of each ticket, for its rate, and for the rate of all together. Not responsible for whether a
//! ticket is genuine or expired: only those that are neither forged nor over come here, so that the memory is bounded by what
//! operators have made, and by [`Uses::MOST_TICKETS`] besides. A restart forgets the counts; expiry and rates still hold.

use std::collections::BTreeMap;
use std::time::Duration;

use taciturn_protocol::time::{Instant, Now, UnixTime};

use super::ticket::{Ticket, TicketId};

/// Of one ticket: some rooms of a clinic at once, then one every five seconds.
const OF_ONE: Rate = Rate {
    burst: 5.0,
    per_second: 0.2,
};
/// Of all tickets together.
const OF_ALL: Rate = Rate {
    burst: 50.0,
    per_second: 10.0,
};

/// Why a ticket is not honoured now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// It has been as often as it may.
    UsedUp,
    /// Again after this time; whole seconds, never zero.
    TooOften(Duration),
}

/// What has been honoured.
#[derive(Debug)]
pub struct Uses {
    tickets: BTreeMap<TicketId, Used>,
    all: Bucket,
}

#[derive(Debug)]
struct Used {
    times: u16,
    expires: UnixTime,
    bucket: Bucket,
}

impl Default for Uses {
    fn default() -> Self {
        Self {
            tickets: BTreeMap::new(),
            all: Bucket::new(OF_ALL),
        }
    }
}

impl Uses {
    /// Tickets whose uses are counted at a time. Beyond that a new one waits for another's end.
    pub const MOST_TICKETS: usize = 4096;

    /// One more use of this ticket, or of none, where none is needed.
    ///
    /// # Errors
    /// Why not; nothing is counted then.
    pub fn take(&mut self, ticket: Option<&Ticket>, now: Now) -> Result<(), Spent> {
        let Some(ticket) = ticket else {
            self.all.ready(now.instant)?;
            self.all.left -= 1.0;
            return Ok(());
        };
        if !self.tickets.contains_key(&ticket.id) && self.tickets.len() >= Self::MOST_TICKETS {
            self.tickets.retain(|_, used| used.expires > now.unix);
            if self.tickets.len() >= Self::MOST_TICKETS {
                return Err(Spent::TooOften(Duration::from_secs(60)));
            }
        }
        let used = self.tickets.entry(ticket.id).or_insert_with(|| Used {
            times: 0,
            expires: ticket.expires,
            bucket: Bucket::new(OF_ONE),
        });
        if used.times >= ticket.uses {
            return Err(Spent::UsedUp);
        }
        // Both are asked before one is taken from: a use that is turned away costs nobody anything.
        used.bucket.ready(now.instant)?;
        self.all.ready(now.instant)?;
        used.bucket.left -= 1.0;
        self.all.left -= 1.0;
        used.times += 1;
        Ok(())
    }

    /// How many tickets are remembered.
    pub fn len(&self) -> usize {
        self.tickets.len()
    }

    /// None is.
    pub fn is_empty(&self) -> bool {
        self.tickets.is_empty()
    }
}

#[derive(Clone, Copy, Debug)]
struct Rate {
    burst: f64,
    per_second: f64,
}

/// What is left of a rate.
#[derive(Debug)]
struct Bucket {
    rate: Rate,
    left: f64,
    at: Instant,
}

impl Bucket {
    const fn new(rate: Rate) -> Self {
        Self {
            rate,
            left: rate.burst,
            at: Instant::ZERO,
        }
    }

    /// Whether one more is there.
    fn ready(&mut self, now: Instant) -> Result<(), Spent> {
        let passed = now.saturating_since(self.at).as_secs_f64();
        self.left = (self.left + passed * self.rate.per_second).min(self.rate.burst);
        self.at = now;
        if self.left >= 1.0 {
            return Ok(());
        }
        let seconds = ((1.0 - self.left) / self.rate.per_second).ceil().max(1.0);
        Err(Spent::TooOften(Duration::from_secs_f64(seconds)))
    }
}
