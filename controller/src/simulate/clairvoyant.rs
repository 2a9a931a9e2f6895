//! The fewest relay-hours with which all calls could have been carried by somebody who knew them all before.
//!
//! Responsible for that reckoning, which is a bound and not a plan: nobody reaches it. It knows every call's beginning and
//! end. It launches so that a relay is ready the second it is needed, and pays for the time that it boots. It ends a relay the
//! second it is not needed, and its calls move to others for nothing: no drain is ever waited for. It keeps a relay through a
//! lull that is shorter than a boot. It never has fewer than the policy's minimum. It has no headroom, and survives no loss.
//!
//! Not responsible for comparing anything with it (`score`).

use super::Settings;
use super::demand::Demand;
use super::trace::Trace;

/// Live allocations in each second, if nobody cuts or blocks anything.
#[derive(Clone, Debug)]
pub(super) struct Load(Vec<u32>);

impl Load {
    pub(super) fn of(trace: &Trace, seed: u64) -> Self {
        let length = usize::try_from(trace.length().as_secs()).unwrap_or(usize::MAX);
        let mut steps = vec![0_i64; length + 1];
        for call in Demand::new(trace, seed) {
            let begins = usize::try_from(call.at).unwrap_or(length).min(length);
            let ends = usize::try_from(call.at + call.lasts)
                .unwrap_or(length)
                .min(length);
            if let Some(step) = steps.get_mut(begins) {
                *step += 1;
            }
            if let Some(step) = steps.get_mut(ends) {
                *step -= 1;
            }
        }
        let mut live = 0_i64;
        let live = steps.iter().take(length).map(|step| {
            live += step;
            u32::try_from(live).unwrap_or(0)
        });
        Self(live.collect())
    }

    /// The most, and the first second at which it is.
    pub(super) fn peak(&self) -> (u32, u64) {
        let seconds = self.0.iter().zip(0_u64..);
        seconds.fold(
            (0, 0),
            |best, (live, at)| {
                if *live > best.0 { (*live, at) } else { best }
            },
        )
    }

    /// Relays that are needed in each second, where each carries up to `carries` allocations.
    pub(super) fn relays(&self, carries: f64) -> Vec<u32> {
        let needed = |live: &u32| super::chance::whole((f64::from(*live) / carries).ceil());
        self.0.iter().map(needed).collect()
    }

    /// Relay-hours, where each relay carries up to `carries` allocations.
    pub(super) fn least_hours(&self, carries: f64, settings: &Settings) -> f64 {
        let needed = self.relays(carries);
        let most = needed.iter().copied().max().unwrap_or(0);
        let least = settings.bounds.0;
        let always = u64::from(least) * u64::try_from(needed.len()).unwrap_or(0);
        let more: u64 = (least + 1..=most.max(least))
            .map(|relay| Self::seconds_of(&needed, relay, settings.boot))
            .sum();
        (always + more) as f64 / 3600.0
    }

    /// For how long the relay that is needed when `relay` are exists, boots included.
    fn seconds_of(needed: &[u32], relay: u32, boot: u64) -> u64 {
        let mut seconds = 0;
        // How long it has not been needed; `None`: it was never.
        let mut idle: Option<u64> = None;
        for needed in needed {
            if *needed >= relay {
                seconds += match idle {
                    None => boot,
                    Some(lull) => lull.min(boot),
                };
                seconds += 1;
                idle = Some(0);
            } else if let Some(lull) = &mut idle {
                *lull += 1;
            }
        }
        seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::testing::{plain, settings};

    #[test]
    fn the_optimum_pays_for_boots_and_for_lulls_that_are_shorter() {
        // Needed for 100 seconds, idle for 50, needed for 100, idle for 500, needed for 1.
        let spell = |count, needed| core::iter::repeat_n(needed, count);
        let needed: Vec<u32> = spell(100, 1)
            .chain(spell(50, 0))
            .chain(spell(100, 2))
            .chain(spell(500, 0))
            .chain(spell(1, 1))
            .collect();
        assert_eq!(
            Load::seconds_of(&needed, 1, 150),
            150 + 100 + 50 + 100 + 150 + 1
        );
        assert_eq!(Load::seconds_of(&needed, 2, 150), 150 + 100);
        assert_eq!(Load::seconds_of(&needed, 3, 150), 0);
    }

    #[test]
    fn the_load_is_that_of_the_calls() {
        let trace = plain(&[(60, 15.0), (120, 0.0)]);
        let load = Load::of(&trace, 1);
        let (peak, at) = load.peak();
        // 15 in a minute that last 20 minutes are 300.
        assert!((270..340).contains(&peak) && at > 1800, "{peak} at {at}");
        let settings = Settings {
            bounds: (2, 10),
            ..settings()
        };
        let hours = load.least_hours(1000.0, &settings);
        assert!(
            (hours - 2.0 * 3.0).abs() < 1e-9,
            "the minimum alone: {hours}"
        );
        assert!(load.least_hours(50.0, &settings) > hours + 3.0);
    }
}
