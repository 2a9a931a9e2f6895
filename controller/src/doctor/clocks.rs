//! Whether this machine's clock can be right.
//!
//! Drain deadlines are points in time that controllers and relays have to agree on. Responsible for a clock that is plainly
//! wrong, and for one that differs from a relay's. Not responsible for setting it.

use std::time::Duration;

use taciturn_protocol::time::UnixTime;

use super::Finding;

const CHECK: &str = "clock";
const REMEDY: &str = "let the machine keep its clock: timedatectl set-ntp true, and look at: timedatectl timesync-status";
/// No controller has run before this moment: 2026-01-01.
const EARLIEST: UnixTime = UnixTime::from_secs(1_767_225_600);
/// More than a status takes to arrive.
const APART: Duration = Duration::from_secs(30);

pub(super) fn examine(now: UnixTime) -> Option<Finding> {
    (now < EARLIEST).then(|| {
        Finding::bad(
            CHECK,
            format!(
                "this machine believes that it is {} s after 1970, which is over long ago",
                now.as_secs()
            ),
            REMEDY,
        )
    })
}

/// How this clock and a relay's compare; `None`: near enough.
pub(super) fn apart(relay: &str, here: UnixTime, there: UnixTime) -> Option<Finding> {
    let apart = Duration::from_secs(here.as_secs().abs_diff(there.as_secs()));
    (apart > APART).then(|| {
        Finding::bad(
            CHECK,
            format!(
                "the clocks of {relay} and of this machine differ by {} s",
                apart.as_secs()
            ),
            format!("on both: {REMEDY}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_stands_at_its_beginning_is_seen() {
        assert!(examine(UnixTime::from_secs(0)).is_some());
        assert!(examine(UnixTime::from_secs(1_795_305_600)).is_none());
    }

    #[test]
    fn clocks_may_differ_by_what_an_answer_takes() {
        let at = UnixTime::from_secs;
        assert!(apart("i-1", at(1_795_305_600), at(1_795_305_610)).is_none());
        assert!(apart("i-1", at(1_795_305_600), at(1_795_309_200)).is_some());
        assert!(apart("i-1", at(1_795_309_200), at(1_795_305_600)).is_some());
    }
}
