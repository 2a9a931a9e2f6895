//! Counts calls: how many there are, how each ended, and above all how many were cut.
//!
//! A call is cut when it ends otherwise than by its own hang-up: its payloads stay unanswered, or the relay knows nothing of
//! it any more when it hangs up. Responsible for judging and counting. Not responsible for sending anything (`call`).

use std::collections::BTreeMap;
use std::net::IpAddr;

/// So many payloads without an answer in a row, and the call is cut: four seconds at its pace. Counted by what was sent, not
/// by a clock, so that a machine that was asleep has cut nobody.
const MOST_UNANSWERED: u64 = 80;

/// Whether a call's payloads still come back.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pulse {
    sent: u64,
    /// The number after the latest that came back.
    answered: u64,
}

impl Pulse {
    /// The number of the payload that is sent now.
    pub(crate) const fn send(&mut self) -> u64 {
        let number = self.sent;
        self.sent += 1;
        number
    }

    /// This payload came back.
    pub(crate) fn answered(&mut self, number: u64) {
        if number < self.sent {
            self.answered = self.answered.max(number + 1);
        }
    }

    /// Nothing has come back for too long.
    pub(crate) const fn is_silent(&self) -> bool {
        self.sent - self.answered > MOST_UNANSWERED
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It hung up, and the relay had carried it until then.
    HungUp,
    /// Its payloads stayed unanswered.
    Silent,
    /// The relay knew nothing of it when it hung up.
    Lost,
}

/// All calls of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    live: BTreeMap<IpAddr, u64>,
    /// Calls that have begun.
    pub(crate) begun: u64,
    /// Calls that ended by their own hang-up.
    pub(crate) hung_up: u64,
    /// Calls that ended otherwise.
    pub(crate) cut: u64,
    /// Calls that no relay took, or for which there were no credentials.
    pub(crate) turned_away: u64,
}

impl Tally {
    /// A call has begun through the relay at this address.
    pub(crate) fn begin(&mut self, relay: IpAddr) {
        self.begun += 1;
        *self.live.entry(relay).or_default() += 1;
    }

    /// It has ended.
    pub(crate) fn end(&mut self, relay: IpAddr, ending: Ending) {
        match ending {
            Ending::HungUp => self.hung_up += 1,
            Ending::Silent | Ending::Lost => self.cut += 1,
        }
        if let Some(live) = self.live.get_mut(&relay) {
            *live -= 1;
            if *live == 0 {
                self.live.remove(&relay);
            }
        }
    }

    /// Calls that are held now.
    pub(crate) fn live(&self) -> u64 {
        self.live.values().sum()
    }

    /// Those of them through the relay at this address.
    pub(crate) fn through(&self, relay: IpAddr) -> u64 {
        self.live.get(&relay).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELAY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 40, 1, 1));

    #[test]
    fn a_call_whose_payloads_come_back_is_not_silent() {
        let mut pulse = Pulse::default();
        for _ in 0..1000 {
            let number = pulse.send();
            // Every second one is lost on its way, which a call lives through.
            if number % 2 == 0 {
                pulse.answered(number);
            }
            assert!(!pulse.is_silent());
        }
    }

    #[test]
    fn a_call_whose_relay_has_died_becomes_silent() {
        let mut pulse = Pulse::default();
        let number = pulse.send();
        pulse.answered(number);
        let sent = (0..).take_while(|_| {
            pulse.send();
            !pulse.is_silent()
        });
        assert_eq!(sent.count() as u64, MOST_UNANSWERED);
    }

    #[test]
    fn an_answer_to_what_was_never_sent_counts_for_nothing() {
        let mut pulse = Pulse::default();
        for _ in 0..=MOST_UNANSWERED {
            pulse.send();
        }
        pulse.answered(u64::MAX);
        assert!(pulse.is_silent());
    }

    #[test]
    fn a_call_counts_as_cut_unless_it_hung_up() {
        let mut tally = Tally::default();
        for ending in [Ending::HungUp, Ending::Silent, Ending::Lost, Ending::HungUp] {
            tally.begin(RELAY);
            assert_eq!((tally.live(), tally.through(RELAY)), (1, 1));
            tally.end(RELAY, ending);
        }
        assert_eq!((tally.begun, tally.hung_up, tally.cut), (4, 2, 2));
        assert_eq!((tally.live(), tally.through(RELAY)), (0, 0));
    }
}
