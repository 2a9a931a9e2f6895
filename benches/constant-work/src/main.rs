//! `taciturn-constant-work`: whether the time that a refusal takes tells what was wrong.
//!
//! Two classes of input that must cost the same are measured in random order, and Welch's t-test says whether their times
//! are told apart. Not responsible for how long anything takes; that is seen by `benches/instructions` and `benches/load`.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a program for people at a terminal")]

mod cases;
mod meter;
mod relay;
mod welch;

use std::process::ExitCode;

use cases::Case;
use meter::{Meter, Outcome};

/// Measurements of each case by default, as many as the goal asks for.
const SAMPLES: usize = 1_000_000;
/// The seed by default: which class comes when, and which of its inputs.
const SEED: u64 = 1;
/// Times whose |t| reaches this are taken to be different.
const THRESHOLD: f64 = 4.5;

const USAGE: &str = "usage: taciturn-constant-work [--samples N] [--seed N] [CASE...]
       taciturn-constant-work list";

fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("taciturn-constant-work: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// What is asked for on the command line.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    samples: usize,
    seed: u64,
    /// Names, or beginnings of names; none: all.
    cases: Vec<String>,
}

impl Wanted {
    fn parse(arguments: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut wanted = Self {
            samples: SAMPLES,
            seed: SEED,
            cases: Vec::new(),
        };
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let mut number = || -> anyhow::Result<u64> {
                let text = arguments.next().unwrap_or_default();
                text.parse().map_err(|_| {
                    anyhow::anyhow!("{argument} takes a number, not `{text}`\n{USAGE}")
                })
            };
            match argument.as_str() {
                "--samples" => wanted.samples = usize::try_from(number()?)?,
                "--seed" => wanted.seed = number()?,
                option if option.starts_with('-') => {
                    anyhow::bail!("`{option}` is not known\n{USAGE}")
                }
                _ => wanted.cases.push(argument),
            }
        }
        anyhow::ensure!(
            wanted.samples >= meter::FEWEST,
            "--samples is at least {}, or no share of them says anything",
            meter::FEWEST
        );
        Ok(wanted)
    }

    fn wants(&self, case: &Case) -> bool {
        self.cases.is_empty()
            || self
                .cases
                .iter()
                .any(|name| case.name.starts_with(name.as_str()))
    }
}

fn run(arguments: impl Iterator<Item = String>) -> anyhow::Result<ExitCode> {
    let wanted = Wanted::parse(arguments)?;
    let mut cases = cases::all()?;
    if wanted.cases == ["list"] {
        for case in &cases {
            println!("{:<28} {}", case.name, case.classes.join(" | "));
        }
        return Ok(ExitCode::SUCCESS);
    }
    cases.retain(|case| wanted.wants(case));
    anyhow::ensure!(!cases.is_empty(), "no case begins so; `list` names them");
    println!(
        "{} samples of each case, seed {}; |t| is the greatest over {} crops\n",
        wanted.samples,
        wanted.seed,
        welch::KEPT.len()
    );
    println!(
        "{:<28} {:>9} {:>9} {:>9}  {:>6}  verdict",
        "case", "median ns", "median ns", "|t|", "kept"
    );
    let mut good = true;
    for case in &mut cases {
        let outcome = Meter::new(wanted.seed, wanted.samples).measure(case)?;
        good &= outcome.is_as_it_should(case);
        println!("{}", line(case, &outcome));
    }
    let said = match (good, cases.iter().any(|case| case.leaks)) {
        (true, true) => "no time tells what was wrong, and the meter sees the controls",
        (true, false) => "no time tells what was wrong; without a control, that says little",
        (false, _) => "NOT as it should be: see the verdicts",
    };
    println!("\n{said}");
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

impl Outcome {
    /// Below the threshold; for a control, which leaks on purpose, above it.
    fn is_as_it_should(&self, case: &Case) -> bool {
        (self.greatest.t.abs() < THRESHOLD) != case.leaks
    }
}

fn line(case: &Case, outcome: &Outcome) -> String {
    let verdict = match (case.leaks, outcome.is_as_it_should(case)) {
        (false, true) => "not told apart",
        (false, false) => "TOLD APART",
        (true, true) => "told apart, as it must be",
        (true, false) => "NOT SEEN: the meter is blind",
    };
    format!(
        "{:<28} {:>9.1} {:>9.1} {:>9.2}  {:>5.1}%  {verdict}  ({})",
        case.name,
        outcome.medians[0],
        outcome.medians[1],
        outcome.greatest.t.abs(),
        outcome.greatest.kept * 100.0,
        case.classes.join(" | ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> anyhow::Result<Wanted> {
        Wanted::parse(text.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn the_command_line_is_read() -> anyhow::Result<()> {
        let expected = Wanted {
            samples: 5000,
            seed: 7,
            cases: vec!["proof".to_owned()],
        };
        assert_eq!(parse("--samples 5000 proof --seed 7")?, expected);
        assert_eq!(parse("")?.samples, SAMPLES);
        for wrong in ["--samples", "--samples x", "--sample 5", "--samples 10"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        Ok(())
    }

    /// a case fails above the threshold, a control below it.
    #[test]
    fn a_control_must_leak_and_nothing_else_may() -> anyhow::Result<()> {
        for case in &cases::all()? {
            for (t, leaks) in [(0.0, false), (4.4, false), (4.6, true), (-90.0, true)] {
                let outcome = Outcome {
                    medians: [1.0, 1.0],
                    greatest: welch::Cropped { kept: 1.0, t },
                };
                assert_eq!(
                    outcome.is_as_it_should(case),
                    leaks == case.leaks,
                    "{}",
                    case.name
                );
            }
        }
        Ok(())
    }
}
