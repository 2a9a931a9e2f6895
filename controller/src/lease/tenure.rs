//! When a controller leads, and when it has stopped to: the rule alone, without clock or store.
//!
//! ```text
//!             the record stood unchanged for ttl, or is free           somebody else's record, or released
//!   standby ------------------------------------------------> leading --------------------------------------> standby
//!                 write(epoch + 1) on that version                |  ^
//!                                                   until - longest  |  write on my own version
//!                                                                 v  |
//!                                                          leads no more, may again
//! ```
//!
//! Responsible for what to read or write next and for the moment from which nothing may be begun. Time is this process's own
//! monotonic clock: neither side trusts the other's wall clock. The lease runs from before a write was asked for, a rival's
//! waiting from after it saw what was written, so that on clocks of equal pace the two never overlap; where the paces differ
//! or a process sleeps between looking and acting, epochs make up for it. Not responsible for the store (`lease`).

use std::time::Duration;

use taciturn_protocol::time::{Instant, Now};

use super::{LeaseError, Record, Seen};
use crate::fleet::Leadership;

/// How long a lease lasts and what depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How long a record must stand unchanged before somebody else takes over.
    pub ttl: Duration,
    /// How often the holder renews it; standbys look as often.
    pub renew: Duration,
    /// The longest operation: nothing is begun when less than this is left.
    pub longest: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(30),
            renew: Duration::from_secs(10),
            longest: Duration::from_secs(10),
        }
    }
}

impl Terms {
    /// What is wrong with them, if anything is.
    pub fn fault(&self) -> Option<String> {
        let enough = self.renew + self.longest;
        if self.renew.is_zero() {
            Some("renew is zero; renew every 10 s".to_owned())
        } else if self.ttl <= enough {
            Some(format!(
                "a lease of {} s ends before it is renewed (every {} s) and the longest operation is over ({} s); make ttl longer",
                self.ttl.as_secs_f64(),
                self.renew.as_secs_f64(),
                self.longest.as_secs_f64(),
            ))
        } else {
            None
        }
    }
}

/// What to do next about the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing for this long.
    Wait(Duration),
    /// Read it, and tell [`Tenure::read`].
    Read,
    /// Write it on this condition, and tell [`Tenure::written`].
    Write {
        /// The version that must still stand there; `None`: nothing may.
        expected: Option<String>,
        /// What to write.
        record: Record,
    },
}

/// One controller's part in the lease.
#[derive(Clone, Debug)]
pub struct Tenure {
    /// Names this process and no other one.
    holder: String,
    terms: Terms,
    role: Role,
    /// What stood in the record when it was last read or written, and since when it has.
    stands: Option<Stands>,
    /// Before this moment nothing is read or written.
    due: Instant,
    /// The latest write that may have happened: first asked for then.
    asked: Option<(Record, Instant)>,
    /// Why the record is not known, if it is not.
    trouble: Option<String>,
    /// The highest epoch that has ever been seen.
    highest: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Standby,
    /// It leads until then, in this epoch.
    Leading {
        epoch: u64,
        until: Instant,
    },
    Released,
}

#[derive(Clone, Debug)]
struct Stands {
    seen: Option<Seen>,
    since: Instant,
    /// It may have changed since: a write of ours had no answer, or found something else.
    doubtful: bool,
}

impl Tenure {
    /// A standby that has read nothing yet. `holder` names this process and no other, restarts of it included.
    pub fn new(holder: String, terms: Terms) -> Self {
        Self {
            holder,
            terms,
            role: Role::Standby,
            stands: None,
            due: Instant::ZERO,
            asked: None,
            trouble: None,
            highest: 0,
        }
    }

    /// What to do at `now`.
    pub fn next(&self, now: Now) -> Step {
        if self.role == Role::Released {
            return Step::Wait(self.terms.ttl);
        }
        let wait = self.due.saturating_since(now.instant);
        if !wait.is_zero() {
            return Step::Wait(wait);
        }
        let Some(stands) = self.stands.as_ref().filter(|stands| !stands.doubtful) else {
            return Step::Read;
        };
        let expected = stands.seen.as_ref().map(|seen| seen.version.clone());
        match (self.role, &stands.seen) {
            (Role::Leading { epoch, .. }, Some(seen)) if self.is_mine(&seen.record, epoch) => {
                Step::Write {
                    expected,
                    record: Record {
                        renewals: seen.record.renewals.saturating_add(1),
                        ..seen.record.clone()
                    },
                }
            }
            _ if self.may_take(stands, now.instant) => Step::Write {
                expected,
                record: Record {
                    holder: self.holder.clone(),
                    epoch: self.highest.saturating_add(1).max(now.unix.as_secs()),
                    renewals: 0,
                },
            },
            _ => Step::Read,
        }
    }

    /// What was read at `now`.
    pub fn read(&mut self, now: Instant, answer: Result<Option<Seen>, LeaseError>) {
        if self.role == Role::Released {
            return;
        }
        match answer {
            Ok(seen) => self.sees(now, seen),
            Err(error) => {
                self.trouble = Some(error.to_string());
                self.due = now + self.pause();
            }
        }
    }

    /// What became at `now` of the write that was asked for at `asked`.
    pub fn written(
        &mut self,
        asked: Instant,
        now: Instant,
        record: &Record,
        answer: Result<String, LeaseError>,
    ) {
        if self.role == Role::Released {
            return;
        }
        match answer {
            Ok(version) => {
                let record = record.clone();
                self.leads(&record, asked);
                self.stands = Some(Stands {
                    seen: Some(Seen { record, version }),
                    since: now,
                    doubtful: false,
                });
                self.asked = None;
                self.trouble = None;
                self.due = asked + self.terms.renew;
            }
            Err(LeaseError::Failed(words)) => {
                self.trouble = Some(words);
                self.due = now + self.pause();
            }
            Err(error @ (LeaseError::Conflict | LeaseError::Unreadable(_))) => {
                self.doubts(error.to_string());
            }
            Err(error @ LeaseError::Unknown(_)) => {
                // Asked again for the same write, the first time counts: it may have been that one which came through.
                if self.asked.as_ref().is_none_or(|(was, _)| was != record) {
                    self.asked = Some((record.clone(), asked));
                }
                self.doubts(error.to_string());
                self.due = now + self.pause();
            }
        }
    }

    /// Whether it may act at `now`, and in which epoch.
    pub fn leadership(&self, now: Instant) -> Leadership {
        match self.role {
            Role::Leading { epoch, until } => {
                let held = until.saturating_since(now) > self.terms.longest;
                let obstacle = (!held).then(|| {
                    let why = self.trouble.as_deref().unwrap_or("it slept or was slow");
                    format!("the lease was not renewed in time: {why}")
                });
                Leadership {
                    held,
                    epoch,
                    obstacle,
                }
            }
            Role::Standby | Role::Released => Leadership {
                held: false,
                // Of whoever leads: what relays have obeyed in it is no surprise.
                epoch: self.highest,
                obstacle: Some(self.obstacle()),
            },
        }
    }

    /// How much longer the lease is good; zero where it is not held.
    pub fn left(&self, now: Instant) -> Duration {
        match self.role {
            Role::Leading { until, .. } => until.saturating_since(now),
            Role::Standby | Role::Released => Duration::ZERO,
        }
    }

    /// Gives the lease up: it may not act from now on. Returns what to write so that nobody has to wait for ttl.
    pub fn release(&mut self) -> Option<Step> {
        let role = std::mem::replace(&mut self.role, Role::Released);
        let stands = self.stands.as_ref().filter(|stands| !stands.doubtful)?;
        let seen = stands.seen.as_ref()?;
        match role {
            Role::Leading { epoch, .. } if self.is_mine(&seen.record, epoch) => Some(Step::Write {
                expected: Some(seen.version.clone()),
                record: Record {
                    holder: String::new(),
                    epoch,
                    renewals: seen.record.renewals.saturating_add(1),
                },
            }),
            Role::Leading { .. } | Role::Standby | Role::Released => None,
        }
    }

    fn sees(&mut self, now: Instant, seen: Option<Seen>) {
        self.trouble = None;
        let record = seen.as_ref().map(|seen| &seen.record);
        self.highest = self.highest.max(record.map_or(0, |record| record.epoch));
        let mine = match (record, self.role) {
            // A write that had no answer came through.
            (Some(record), _) if self.asked.as_ref().is_some_and(|(was, _)| was == record) => true,
            (Some(record), Role::Leading { epoch, .. }) => self.is_mine(record, epoch),
            (Some(_) | None, _) => false,
        };
        if let Some((record, asked)) = self.asked.take_if(|(was, _)| record == Some(was)) {
            self.leads(&record, asked);
        } else if !mine {
            self.role = Role::Standby;
        }
        let unchanged = self
            .stands
            .as_ref()
            .filter(|stands| stands.seen == seen)
            .map(|stands| stands.since);
        // What was there once and is not now may be there again: somebody leads, as far as anybody knows.
        self.stands = Some(Stands {
            seen,
            since: unchanged.unwrap_or(now),
            doubtful: false,
        });
        let at_once = mine || self.stands.as_ref().is_some_and(|s| self.may_take(s, now));
        if !at_once {
            self.due = now + self.terms.renew;
        }
    }

    fn leads(&mut self, record: &Record, asked: Instant) {
        let until = match self.role {
            Role::Leading { epoch, until } if epoch == record.epoch => {
                until.max(asked + self.terms.ttl)
            }
            Role::Leading { .. } | Role::Standby | Role::Released => asked + self.terms.ttl,
        };
        self.highest = self.highest.max(record.epoch);
        self.role = Role::Leading {
            epoch: record.epoch,
            until,
        };
    }

    fn doubts(&mut self, why: String) {
        self.trouble = Some(why);
        if let Some(stands) = &mut self.stands {
            stands.doubtful = true;
        }
    }

    fn is_mine(&self, record: &Record, epoch: u64) -> bool {
        record.holder == self.holder && record.epoch == epoch
    }

    fn may_take(&self, stands: &Stands, now: Instant) -> bool {
        let stood = now.saturating_since(stands.since) >= self.terms.ttl;
        match &stands.seen {
            // Never written, unless somebody took it away: then it has been seen, and somebody may still lead by it.
            None => self.highest == 0 || stood,
            Some(seen) => seen.record.holder.is_empty() || stood,
        }
    }

    /// After something failed: soon again, as a lease may run out meanwhile.
    fn pause(&self) -> Duration {
        (self.terms.renew / 5).max(Duration::from_millis(10))
    }

    fn obstacle(&self) -> String {
        let held = self.stands.as_ref().and_then(|stands| stands.seen.as_ref());
        match (self.role, &self.trouble, held) {
            (Role::Released, _, _) => "this controller has given the lease up".to_owned(),
            (_, Some(trouble), _) => format!("the lease is not known: {trouble}"),
            (_, None, Some(seen)) if !seen.record.holder.is_empty() => {
                let Record { holder, epoch, .. } = &seen.record;
                format!("{holder} holds the lease in epoch {epoch}")
            }
            (_, None, _) => "the lease has not been taken yet".to_owned(),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;
