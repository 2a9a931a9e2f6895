//! Ten thousand storms, as many in every run of the tests. A million is `scripts/assure simulation`.
//!
//! In four parts, so that a machine with several processors is done sooner.

use taciturn_simulation::{CODES, Figures, run};

const PART: u64 = 2_500;

/// Runs one part, and asserts that things really happened in it.
fn storms(part: u64) {
    let mut figures = Figures::default();
    for seed in part * PART..(part + 1) * PART {
        let outcome = run(seed, None, false);
        if let Some(broken) = outcome.broken {
            panic!(
                "seed {seed}: {broken}\n\
                 again: cargo run --release -p taciturn-simulation -- --seed {seed} --transcript"
            );
        }
        figures = figures.plus(outcome.figures);
    }
    // Far below what a part has, far above what an empty storm would have.
    for (code, count) in CODES.iter().zip(figures.answers) {
        assert!(count > PART / 100, "answers of {code}: {figures:?}");
    }
    assert!(
        figures.relayed > 20 * PART && figures.dropped > 5 * PART,
        "{figures:?}"
    );
    assert!(figures.held_off > PART / 100, "{figures:?}");
    assert!(figures.handed_over > PART / 100, "{figures:?}");
    assert!(figures.spoilt > 5 * PART, "{figures:?}");
    assert!(
        figures.calls > PART && figures.restarts > PART / 10,
        "{figures:?}"
    );
}

/// G-08, G-22, A-37: after every step of 2,500 storms the relay holds, answers and relays what a naive reference says, whatever network,
/// clients, strangers, clocks and operator do; then everybody gets a call, and nothing is left of it.
#[test]
fn the_first_quarter_of_ten_thousand_storms_breaks_nothing() {
    storms(0);
}

/// G-08, A-08, A-12: the second, with ports that run out, quotas, pairs of ports and tokens of others.
#[test]
fn the_second_quarter_of_ten_thousand_storms_breaks_nothing() {
    storms(1);
}

/// G-08, A-13, A-15: the third, with peers on this relay, on its host and behind closed doors, and policies that change.
#[test]
fn the_third_quarter_of_ten_thousand_storms_breaks_nothing() {
    storms(2);
}

/// G-08, G-12, A-01: the last, with clocks that pass 32 bits, and sources that prove nothing and ask a lot.
#[test]
fn the_last_quarter_of_ten_thousand_storms_breaks_nothing() {
    storms(3);
}
