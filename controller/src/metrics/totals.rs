//! What adds up since the controller's start: actions, calls to the provider and to relays, drains, launches, reloads.
//!
//! Not responsible for adding up (`reconcile::Counters`).

use std::collections::BTreeMap;
use std::sync::Arc;

use taciturn_plane::metrics::{Family, Source};

use crate::api::Rounds;
use crate::reconcile::{Counters, Histogram};

/// Shows the loop's counters.
#[derive(Debug)]
pub(super) struct Totals(pub(super) Arc<dyn Rounds>);

/// How a launch can fail: words of `reconcile::outcome_word`.
const FAILURES: [&str; 4] = ["no_capacity", "refused", "failed", "unknown"];

impl Source for Totals {
    fn families(&self) -> Vec<Family> {
        let latest = self.0.latest();
        let counters = &latest.counters;
        let mut families = of_actions(counters);
        families.extend(of_calls(counters));
        families.extend(of_rounds(counters));
        families
    }
}

fn of_actions(counters: &Counters) -> Vec<Family> {
    let actions = counters
        .actions
        .iter()
        .map(|((action, reason, outcome), count)| ([*action, *reason, *outcome], *count));
    let mut failures: BTreeMap<&str, u64> = FAILURES.into_iter().map(|word| (word, 0)).collect();
    for ((action, _, outcome), count) in &counters.actions {
        if *action == "launch"
            && let Some(failed) = failures.get_mut(outcome)
        {
            *failed += count;
        }
    }
    vec![
        Family::counters(
            "taciturn_controller_actions_total",
            "Actions that were tried, with the reason for them and what became of them.",
            ["action", "reason", "outcome"],
            actions,
        ),
        Family::counters(
            "taciturn_controller_launch_failures_total",
            "Launches that brought nothing, by what became of them.",
            ["code"],
            failures.into_iter().map(|(code, count)| ([code], count)),
        ),
        Family::counter(
            "taciturn_controller_undrains_total",
            "Drains that were taken back, as the relay was needed again.",
            counters.undrains,
        ),
        Family::counter(
            "taciturn_controller_drain_deadline_hits_total",
            "Relays that were ended at their deadline with allocations left.",
            counters.deadline_hits,
        ),
        histogram(
            "taciturn_controller_drain_seconds",
            "From the start of a drain to the end of the instance.",
            &counters.drain_seconds,
        ),
        histogram(
            "taciturn_controller_launch_seconds",
            "From the order of a launch to a relay that is ready.",
            &counters.launch_seconds,
        ),
    ]
}

fn of_calls(counters: &Counters) -> Vec<Family> {
    let throttled = counters
        .provider_requests
        .iter()
        .filter(|((_, outcome), _)| *outcome == "throttled")
        .map(|(_, count)| count);
    vec![
        Family::counters(
            "taciturn_controller_provider_requests_total",
            "Calls to the provider, by operation and what became of them.",
            ["operation", "code"],
            counters
                .provider_requests
                .iter()
                .map(|((operation, code), count)| ([*operation, *code], *count)),
        ),
        Family::counter(
            "taciturn_controller_provider_throttled_total",
            "Calls that the provider turned away as too many.",
            throttled.sum::<u64>(),
        ),
        Family::counters(
            "taciturn_controller_relay_requests_total",
            "Calls to relays, by operation and what became of them.",
            ["operation", "code"],
            counters
                .relay_requests
                .iter()
                .map(|((operation, code), count)| ([*operation, *code], *count)),
        ),
    ]
}

fn of_rounds(counters: &Counters) -> Vec<Family> {
    let (taken, refused) = counters.reloads;
    let mut families = vec![
        Family::counter(
            "taciturn_controller_rounds_total",
            "Rounds that came to their end.",
            counters.rounds,
        ),
        Family::gauge(
            "taciturn_controller_round_seconds",
            "How long the latest round took.",
            counters.round_seconds,
        ),
        Family::counters(
            "taciturn_controller_config_reloads_total",
            "Reloads of the configuration, taken and refused.",
            ["result"],
            [(["taken"], taken), (["refused"], refused)],
        ),
    ];
    families.extend(counters.last_successful.map(|time| {
        Family::gauge(
            "taciturn_controller_last_successful_round_timestamp_seconds",
            "When a round last saw a complete list, in seconds since 1970-01-01 UTC.",
            time.as_secs(),
        )
    }));
    families
}

/// Prometheus's buckets are cumulative, and so are the loop's; the exposition adds up.
fn histogram(name: &'static str, help: &'static str, histogram: &Histogram) -> Family {
    let mut below = 0;
    let mut counts: Vec<u64> = histogram
        .counts
        .iter()
        .map(|count| {
            let own = count.saturating_sub(below);
            below = *count;
            own
        })
        .collect();
    counts.push(histogram.count.saturating_sub(below));
    Family::histogram(name, help, histogram.bounds, &counts, histogram.sum)
}
