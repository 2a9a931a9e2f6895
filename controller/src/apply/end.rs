//! The last look before an instance ends, which nobody can take back.
//!
//! Responsible for the question alone, as pure functions of what was seen a moment ago. A plan may be seconds old: meanwhile
//! an operator may have taken a drain back, a call may have come, somebody else may have ended it.

use taciturn_protocol::time::UnixTime;

use crate::fleet::{Lifecycle, Relay, Report};
use crate::observe::RelayError;
use crate::policy::{Outcome, Reason};
use crate::provider::{Listing, ProviderError};
use crate::words::counted;

/// What was seen of one relay a moment ago.
#[derive(Debug)]
pub(super) struct LastLook<'a> {
    /// What is known of it since the round began.
    pub(super) relay: &'a Relay,
    /// What it says now.
    pub(super) status: &'a Result<Report, RelayError>,
    /// Whether its data path answers now; tried only where the status did not come.
    pub(super) stun: Option<bool>,
    /// Why it is to end.
    pub(super) reason: Reason,
    /// Whether the provider ends it already and waits for our word.
    pub(super) ends_anyway: bool,
    /// The deadline that it was given, whether it has said so or not.
    pub(super) ordered: Option<UnixTime>,
    /// Whether a drain is over when what is left carries nothing.
    pub(super) end_idle: bool,
    /// This controller's wall clock.
    pub(super) now: UnixTime,
}

/// Whether a list of this moment has the instance where it can be ended; otherwise what that makes of the action.
pub(super) fn listed(
    fresh: &Result<Listing, ProviderError>,
    relay: &Relay,
    known: usize,
) -> Result<(), Outcome> {
    let failed = |words: String| Err(Outcome::Failed { words });
    let listing = match fresh {
        Ok(listing) if !listing.complete => {
            return failed(
                "the list before the end is not complete; nothing is ended by it".into(),
            );
        }
        Ok(listing) if listing.instances.len() * 2 < known => {
            return failed(
                "the list before the end lacks most instances; it is not believed".into(),
            );
        }
        Ok(listing) => listing,
        Err(error) => return failed(format!("the list before the end failed: {error}")),
    };
    let Some(instance) = listing.instances.iter().find(|one| one.id == relay.id) else {
        return Err(Outcome::Nothing);
    };
    match instance.lifecycle {
        Lifecycle::Pending | Lifecycle::InService => Ok(()),
        Lifecycle::Terminating | Lifecycle::TerminatingWait => Err(Outcome::Nothing),
        Lifecycle::SetAside | Lifecycle::Unlisted => Err(Outcome::Refused {
            words: "the instance has been set aside by somebody; it is not ours to end".to_owned(),
        }),
    }
}

/// Whether no call is cut by the end that need not be: the relay confirms that it is empty, or its deadline has passed.
///
/// # Errors
/// What speaks against it, in words.
pub(super) fn may_end(look: &LastLook<'_>) -> Result<(), String> {
    match look.status {
        Ok(report) => says_so(report, look),
        Err(error) => silent(error, look),
    }
}

fn says_so(report: &Report, look: &LastLook<'_>) -> Result<(), String> {
    let left = allocations(report);
    // Both clocks have to say so: one of them may have jumped.
    let now = report.time.min(look.now);
    match &report.drain {
        Some(drain) if drain.deadline <= now || left == Some(0.0) => Ok(()),
        Some(drain) if look.end_idle && drain.idle_allocations >= drain.allocations_remaining => {
            Ok(())
        }
        Some(drain) => Err(format!(
            "its drain has {} left and a deadline in {} s",
            counted(drain.allocations_remaining, "allocation"),
            drain.deadline.as_secs().saturating_sub(now.as_secs()),
        )),
        None if report.ready => Err("it takes calls and does not drain".to_owned()),
        None if left == Some(0.0) => Ok(()),
        None => Err(match left {
            Some(left) => format!("it has {} and does not drain", counted(left, "allocation")),
            None => "it does not say how many allocations it has, and does not drain".to_owned(),
        }),
    }
}

/// Nothing came when it was asked: what it said last counts, and whether its data path is alive.
fn silent(error: &RelayError, look: &LastLook<'_>) -> Result<(), String> {
    let last = look.relay.report.as_ref();
    let drain = last.and_then(|report| report.drain.as_ref());
    let deadline = drain.map(|drain| drain.deadline).max(look.ordered);
    if deadline.is_some_and(|deadline| deadline <= look.now) {
        return Ok(());
    }
    if matches!(error, RelayError::Refused(_)) {
        return Err(format!(
            "it answers, but not to this controller ({error}): it may carry calls"
        ));
    }
    if look.stun == Some(true) {
        return Err(format!(
            "its admin API does not answer ({error}), but its data path does: it may carry calls"
        ));
    }
    let was_empty = last.is_some_and(|report| {
        allocations(report) == Some(0.0) && (report.drain.is_some() || !report.ready)
    });
    let gone = look.stun == Some(false) && look.ends_anyway;
    if last.is_none() || was_empty || gone || look.reason == Reason::Unhealthy {
        Ok(())
    } else {
        Err(format!(
            "it does not answer ({error}), and had calls when it did last"
        ))
    }
}

/// The greater of both counts: one is of the sample, the other of the moment.
fn allocations(report: &Report) -> Option<f64> {
    let drain = report.drain.as_ref();
    #[expect(
        clippy::cast_precision_loss,
        reason = "compared with zero alone, which is exact"
    )]
    let left = drain.map(|drain| drain.allocations_remaining as f64);
    match (report.load.allocations, left) {
        (Some(sampled), Some(left)) => Some(sampled.max(left)),
        (sampled, left) => sampled.or(left),
    }
}
