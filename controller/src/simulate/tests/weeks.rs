//! Weeks: the telehealth month, holidays, the change of clocks, and a log of one small day.

use super::*;
use crate::policy::Schedule;

/// A policy for the made-up service, with a forecast; relays of 50 allocations.
fn telehealth() -> Policy {
    let mut policy = Policy {
        max: 60,
        ..policy()
    };
    policy.forecast.mode = ForecastMode::Floor;
    policy.forecast.timezone = ZONE.to_owned();
    policy.forecast.holidays = HOLIDAYS.iter().map(|day| (*day).to_owned()).collect();
    policy
}

/// Scaling rules, flapping: at most four changes of direction a day on smooth load; and a month in a moment.
#[test]
fn a_simulated_month_blocks_nothing_and_cuts_nothing() {
    let trace = generate(Span::Month, 1, 300);
    let options = Options {
        room: Some(50),
        interval: Duration::from_secs(60),
        ..Options::default()
    };
    let comparison = simulate(&trace, &telehealth(), &options);
    let score = comparison.keepers.first().expect("the policy's own");
    assert_eq!((score.blocked, score.cut), (0, 0), "{comparison}");
    assert!(score.ratio < 1.6, "{comparison}");
    assert!(score.turns_mean <= 4.0, "{comparison}");
}

/// Scaling rules, flapping.
#[test]
fn a_smooth_day_changes_direction_four_times_at_most() {
    // One hump in a day, in steps of ten minutes, three times.
    let hump = |step: f64| 1.0 + 14.0 * (core::f64::consts::PI * step / 144.0).sin().powi(4);
    let day: Vec<(usize, f64)> = (0..144)
        .map(|step| (10, hump(f64::from(step)).round()))
        .collect();
    let days: Vec<(usize, f64)> = [&day[..], &day[..], &day[..]].concat();
    let ledger = replay(&plain(&days), &policy(), &[]);
    let turns = ledger.turns_by_day();
    assert!(turns.values().all(|turns| *turns <= 4), "{turns:?}");
    assert!(ledger.done("drain").count() > 6, "it did follow the load");
    assert_eq!((ledger.blocked, ledger.cut), (0, 0));
}

/// Scaling rules, forecast: the season is that of the day's class, so a public holiday has no floor of a weekday.
#[test]
fn a_holiday_that_the_policy_knows_costs_less() {
    // The month's last Wednesday to Friday with a surge, a flash crowd, and Good Friday.
    let mut trace = generate(Span::Week, 1, 300);
    trace.rows = trace.rows.split_off(2 * 1440);
    trace.rows.truncate(3 * 1440);
    trace.start = trace.start.plus_secs(2 * 86_400);
    let hours = |holidays: bool| {
        let mut policy = telehealth();
        if !holidays {
            policy.forecast.holidays.clear();
        }
        let settings = Settings {
            interval: 60,
            ..settings()
        };
        let ledger = with_policy(&trace, &policy, &settings, &[]);
        assert_eq!((ledger.blocked, ledger.cut), (0, 0));
        ledger.relay_seconds / 3600
    };
    let (knows, does_not) = (hours(true), hours(false));
    assert!(knows + 20 < does_not, "{knows} and {does_not} relay-hours");
}

/// Scaling rules, schedule: times are local, before and after the change of clocks.
#[test]
fn a_schedule_follows_the_clock_through_the_end_of_daylight_saving() {
    let mut policy = policy();
    policy.schedule.push(Schedule {
        days: ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
            .map(str::to_owned)
            .into(),
        from: "08:00".to_owned(),
        to: "18:00".to_owned(),
        timezone: ZONE.to_owned(),
        min: 8,
    });
    // From Saturday 4 April 2026, 12:00 UTC: the clocks go back at 16:00 UTC.
    let mut trace = plain(&[(36 * 60, 1.0)]);
    trace.start = taciturn_protocol::time::UnixTime::from_secs(1_775_304_000);
    let ledger = replay(&trace, &policy, &[]);
    let launches: Vec<u64> = ledger.done("launch").map(|deed| deed.at / MINUTE).collect();
    // 08:00 is 22:00 UTC now, ten hours after the start, and on the next day too; it was 21:00 before.
    let mornings = [600..610, 2040..2050];
    let in_time = |minute: &u64| mornings.iter().any(|morning| morning.contains(minute));
    assert!(launches.iter().all(in_time), "{launches:?}");
    let drains: Vec<u64> = ledger.done("drain").map(|deed| deed.at / MINUTE).collect();
    // At the start six serve, and two are needed; 18:00 is 20 hours after the start.
    let evening = drains.iter().filter(|minute| **minute > 600).min();
    assert!(
        evening.is_some_and(|minute| (1200..1240).contains(minute)),
        "{drains:?}"
    );
}

/// Scaling rules, decision log: what a small day looks like to whoever reads it. `UPDATE_GOLDEN=1` writes it anew.
#[test]
fn the_decisions_of_a_small_day_are_as_written_down() {
    let trace = plain(&[(30, 2.0), (60, 12.0), (180, 2.0)]);
    let outage = mishap(
        40 * MINUTE,
        5 * MINUTE,
        Fault::NoCapacity(simulated_zone(1)),
    );
    let ledger = replay(&trace, &policy(), &[outage]);
    let log = ledger.decisions.join("\n") + "\n";
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/simulate/tests/small-day.txt"
    );
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &log).expect("the golden log can be written");
    }
    let golden = std::fs::read_to_string(path).expect("the golden log is in the repository");
    assert_eq!(log, golden, "run with UPDATE_GOLDEN=1 if this is meant");
}
