//! What a comparison shows: medians, ratios, and how they came about.
//!
//! Responsible for the arithmetic over rounds and for Markdown and JSON. Not responsible for measuring.

use super::machine::Provenance;
use super::rows::{Aim, Effort, Load, Row};
use super::servers::{Kind, Workbench};
use anyhow::Result;
use serde_json::{Value, json};
use std::fmt::Write;

/// One run of one row.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// The figures as the generator prints them; null when the run could not be made.
    pub(crate) report: Value,
    /// Why it does not count.
    pub(crate) failure: Option<String>,
}

/// All runs so far.
#[derive(Debug)]
pub(crate) struct Comparison {
    provenance: Provenance,
    servers: [String; 2],
    labels: [&'static str; 2],
    rounds: usize,
    effort: Effort,
    rows: Vec<Row>,
    runs: Vec<[Vec<Measured>; 2]>,
}

/// A figure inside a report: where it is, what divides it for the table, and its decimals.
#[derive(Clone, Copy, Debug)]
struct Figure {
    pointer: &'static str,
    divisor: f64,
    decimals: usize,
}

const fn figure(pointer: &'static str, divisor: f64, decimals: usize) -> Figure {
    Figure {
        pointer,
        divisor,
        decimals,
    }
}

const CPU: Figure = figure("/server/cpu_ns_per_packet", 1.0, 0);
const USER: Figure = figure("/server/user_ns_per_packet", 1.0, 0);
const RATE: Figure = figure("/packets_per_second", 1000.0, 1);
const UTILISATION: Figure = figure("/server/utilisation_of_rest", 0.01, 0);
const GENERATOR: Figure = figure("/generator_utilisation", 0.01, 0);
const ALLOCATION_CPU: Figure = figure("/server/cpu_us_per_allocation", 1.0, 1);
const ALLOCATION_MEMORY: Figure = figure("/server/resident_kib_per_allocation", 1.0, 2);
const P50: Figure = figure("/latency/p50_us", 1.0, 0);
const P99: Figure = figure("/latency/p99_us", 1.0, 0);

const ALLOCATION_FIGURES: [(&str, Figure); 6] = [
    ("CPU us / allocation", ALLOCATION_CPU),
    (
        "CPU us / deletion",
        figure("/server/cpu_us_per_deletion", 1.0, 1),
    ),
    ("RSS KiB / allocation", ALLOCATION_MEMORY),
    (
        "descriptors / allocation",
        figure("/server/descriptors_per_allocation", 1.0, 2),
    ),
    ("allocations / s", figure("/allocations_per_second", 1.0, 0)),
    ("deletions / s", figure("/deletions_per_second", 1.0, 0)),
];

impl Comparison {
    /// Nothing measured yet.
    pub(crate) fn new(
        bench: &Workbench,
        kinds: [Kind; 2],
        rounds: usize,
        effort: Effort,
        rows: &[Row],
    ) -> Result<Self> {
        Ok(Self {
            provenance: Provenance::collect(),
            servers: kinds.map(|kind| bench.version(kind)),
            labels: kinds.map(Kind::label),
            rounds,
            effort,
            rows: rows.to_vec(),
            runs: rows.iter().map(|_| [Vec::new(), Vec::new()]).collect(),
        })
    }

    /// Adds one run of a row by one side (0: baseline, 1: candidate).
    pub(crate) fn add(&mut self, row: usize, side: usize, measured: Measured) {
        self.runs[row][side].push(measured);
    }

    /// The day of the comparison.
    pub(crate) fn date(&self) -> &str {
        &self.provenance.date
    }

    /// Whether every run counted.
    pub(crate) fn is_sound(&self) -> bool {
        self.runs
            .iter()
            .flatten()
            .flatten()
            .all(|measured| measured.failure.is_none())
    }

    /// The tables, with how they were made.
    pub(crate) fn to_markdown(&self) -> String {
        let mut out = String::new();
        self.write_markdown(&mut out)
            .expect("writing to a String does not fail");
        out
    }

    /// Everything, each run included.
    pub(crate) fn to_json(&self) -> Value {
        let rows: Vec<Value> = self.rows.iter().zip(&self.runs).map(|(row, sides)| {
            let runs = |side: usize| -> Vec<Value> {
                sides[side].iter().map(|measured| json!({ "report": measured.report, "failure": measured.failure })).collect()
            };
            json!({ "name": row.name, "title": row.title, "aim": aim_text(row.aim, sides),
                "cpu_ratio": ratio_text(sides, CPU), "baseline": runs(0), "candidate": runs(1) })
        }).collect();
        json!({
            "date": self.provenance.date, "commit": self.provenance.commit, "kernel": self.provenance.kernel,
            "processor": self.provenance.processor, "command": self.provenance.command,
            "baseline": self.servers[0], "candidate": self.servers[1], "rounds": self.rounds,
            "seconds": self.effort.duration.as_secs_f64(), "warm_up_seconds": self.effort.warm_up.as_secs_f64(), "rows": rows,
        })
    }

    fn write_markdown(&self, out: &mut String) -> std::fmt::Result {
        let [baseline, candidate] = &self.servers;
        let made = &self.provenance;
        writeln!(out, "# {candidate} beside {baseline}\n")?;
        writeln!(out, "- date: {}", made.date)?;
        writeln!(out, "- commit: {}", made.commit)?;
        writeln!(out, "- machine: {}, Linux {}", made.processor, made.kernel)?;
        writeln!(out, "- command: `{}`", made.command)?;
        writeln!(
            out,
            "- {} rounds, row by row in alternation; medians, and medians of each round's ratio; {} s a run after {} s of warm-up; server on core 0, generator on core 1, loopback\n",
            self.rounds,
            self.effort.duration.as_secs_f64(),
            self.effort.warm_up.as_secs_f64()
        )?;
        self.write_short(out)?;
        self.write_traffic(out)?;
        self.write_allocations(out)?;
        self.write_failures(out)
    }

    /// The figure of each row alone, for pages that have no room for more.
    fn write_short(&self, out: &mut String) -> std::fmt::Result {
        let [a, b] = self.labels;
        writeln!(
            out,
            "| CPU ns for each verified packet | {a} | {b} | ratio | aim |"
        )?;
        writeln!(out, "|---|---|---|---|---|")?;
        for (row, sides) in self.rows.iter().zip(&self.runs) {
            if matches!(row.load, Load::Traffic(_)) {
                writeln!(
                    out,
                    "| {} | {} | {} | {} | {} |",
                    row.title,
                    median_text(&sides[0], CPU),
                    median_text(&sides[1], CPU),
                    ratio_text(sides, CPU),
                    aim_text(row.aim, sides)
                )?;
            }
        }
        writeln!(out)
    }

    fn write_traffic(&self, out: &mut String) -> std::fmt::Result {
        let [a, b] = self.labels;
        let traffic = || {
            self.rows
                .iter()
                .zip(&self.runs)
                .filter(|(row, _)| matches!(row.load, Load::Traffic(_)))
        };
        if traffic().next().is_none() {
            return Ok(());
        }
        writeln!(
            out,
            "CPU is the scheduler's run time of the server process for each delivered and verified packet (user part in brackets)."
        )?;
        writeln!(
            out,
            "Busy is the server's share of its core, or of what a load beside it leaves (`--ballast`; packets/s are then fewer). A server far from 100 % waits for the generator,\nand pays for waking up; beside a generator that is 100 % busy its CPU for each packet is overstated.\n"
        )?;
        writeln!(
            out,
            "| row | CPU ns {a} | CPU ns {b} | **ratio** | each round | aim | kpps {a} | kpps {b} | busy % {a} / {b} | generator busy % | p50 us {a} / {b} | p99 us {a} / {b} | lost % {a} / {b} |"
        )?;
        writeln!(out, "|---|---|---|---|---|---|---|---|---|---|---|---|---|")?;
        for (row, sides) in traffic() {
            let cpu = |side: &[Measured]| {
                format!("{} ({})", median_text(side, CPU), median_text(side, USER))
            };
            let both = |figure| {
                format!(
                    "{} / {}",
                    median_text(&sides[0], figure),
                    median_text(&sides[1], figure)
                )
            };
            writeln!(
                out,
                "| {} | {} | {} | **{}** | {} | {} | {} | {} | {} | {} | {} | {} | {} / {} |",
                row.title,
                cpu(&sides[0]),
                cpu(&sides[1]),
                ratio_text(sides, CPU),
                round_ratios_text(sides, CPU),
                aim_text(row.aim, sides),
                median_text(&sides[0], RATE),
                median_text(&sides[1], RATE),
                both(UTILISATION),
                both(GENERATOR),
                both(P50),
                both(P99),
                loss_text(&sides[0]),
                loss_text(&sides[1]),
            )?;
        }
        writeln!(out)
    }

    fn write_allocations(&self, out: &mut String) -> std::fmt::Result {
        let [a, b] = self.labels;
        for (row, sides) in self
            .rows
            .iter()
            .zip(&self.runs)
            .filter(|(row, _)| matches!(row.load, Load::Allocations))
        {
            writeln!(
                out,
                "{} {}, each a user of its own, with the full 401 exchange:\n",
                self.effort.allocations, row.title
            )?;
            writeln!(out, "| figure | {a} | {b} | **ratio** |")?;
            writeln!(out, "|---|---|---|---|")?;
            for (title, figure) in ALLOCATION_FIGURES {
                let [first, second] = [
                    median_text(&sides[0], figure),
                    median_text(&sides[1], figure),
                ];
                writeln!(
                    out,
                    "| {title} | {first} | {second} | **{}** |",
                    ratio_text(sides, figure)
                )?;
            }
            writeln!(out, "\nAim: {}.\n", aim_text(row.aim, sides))?;
        }
        Ok(())
    }

    fn write_failures(&self, out: &mut String) -> std::fmt::Result {
        let mut clean = true;
        for (row, sides) in self.rows.iter().zip(&self.runs) {
            for (side, label) in sides.iter().zip(self.labels) {
                let failed: Vec<&str> = side
                    .iter()
                    .filter_map(|measured| measured.failure.as_deref())
                    .collect();
                if let Some(first) = failed.first() {
                    clean = false;
                    writeln!(
                        out,
                        "- {} on {label}: {} of {} runs failed; the first: {first}",
                        row.name,
                        failed.len(),
                        side.len()
                    )?;
                }
            }
        }
        if clean {
            writeln!(
                out,
                "Every payload that arrived was whole, new, on its own flow and from the right source."
            )?;
        }
        Ok(())
    }
}

/// The figures of one run, for the progress lines.
pub(crate) fn one_line(measured: &Measured) -> String {
    let show = |figure| median_text(std::slice::from_ref(measured), figure);
    match &measured.failure {
        Some(failure) => format!("FAILED: {failure} {}", measured.report),
        None if measured.report.pointer(CPU.pointer).is_some() => {
            format!(
                "{:>7} ns/packet {:>8} kpps, busy {} %, generator {} %, p50 {} us",
                show(CPU),
                show(RATE),
                show(UTILISATION),
                show(GENERATOR),
                show(P50)
            )
        }
        None => ALLOCATION_FIGURES
            .map(|(title, figure)| format!("{} {title}", show(figure)))
            .join(", "),
    }
}

/// A figure of a run that counts.
fn value(measured: &Measured, figure: Figure) -> Option<f64> {
    if measured.failure.is_some() {
        return None;
    }
    measured.report.pointer(figure.pointer)?.as_f64()
}

fn median(side: &[Measured], figure: Figure) -> Option<f64> {
    middle(
        side.iter()
            .filter_map(|measured| value(measured, figure))
            .collect(),
    )
}

fn middle(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[half]),
        _ => Some(f64::midpoint(values[half - 1], values[half])),
    }
}

fn median_text(side: &[Measured], figure: Figure) -> String {
    median(side, figure).map_or_else(
        || "-".to_owned(),
        |value| format!("{:.*}", figure.decimals, value / figure.divisor),
    )
}

/// Candidate / baseline of each round. Rounds are paired, as the two runs of a round are seconds apart.
fn round_ratios(sides: &[Vec<Measured>; 2], figure: Figure) -> Vec<f64> {
    sides[0]
        .iter()
        .zip(&sides[1])
        .filter_map(|(baseline, candidate)| {
            let (baseline, candidate) = (value(baseline, figure)?, value(candidate, figure)?);
            (baseline > 0.0).then(|| candidate / baseline)
        })
        .collect()
}

fn ratio_text(sides: &[Vec<Measured>; 2], figure: Figure) -> String {
    middle(round_ratios(sides, figure))
        .map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"))
}

fn round_ratios_text(sides: &[Vec<Measured>; 2], figure: Figure) -> String {
    let ratios: Vec<String> = round_ratios(sides, figure)
        .iter()
        .map(|ratio| format!("{ratio:.2}"))
        .collect();
    ratios.join(" ")
}

/// The aim of a row and whether the figures reach it.
fn aim_text(aim: Option<Aim>, sides: &[Vec<Measured>; 2]) -> String {
    let candidate = |figure| median(&sides[1], figure);
    let (text, reached) = match aim {
        None => return "-".to_owned(),
        Some(Aim::Ratio(most)) => (
            format!("<= {most:.2}"),
            middle(round_ratios(sides, CPU)).map(|ratio| ratio <= most),
        ),
        Some(Aim::CpuNanos(most)) => (
            format!("<= {most} ns"),
            candidate(CPU).map(|nanos| nanos <= most),
        ),
        Some(Aim::P50Micros(most)) => (
            format!("p50 <= {most} us"),
            candidate(P50).map(|micros| micros <= most),
        ),
        Some(Aim::Allocation(micros, kib)) => (
            format!("<= {micros} us CPU and <= {kib} KiB"),
            candidate(ALLOCATION_CPU)
                .zip(candidate(ALLOCATION_MEMORY))
                .map(|(cpu, memory)| cpu <= micros && memory <= kib),
        ),
    };
    match reached {
        Some(true) => format!("{text}: met"),
        Some(false) => format!("{text}: missed"),
        None => text,
    }
}

fn loss_text(side: &[Measured]) -> String {
    let sum = |name: &str| {
        side.iter()
            .filter_map(|measured| measured.report.get(name)?.as_f64())
            .sum::<f64>()
    };
    let (lost, sent) = (sum("lost"), sum("sent"));
    if sent > 0.0 {
        format!("{:.2}", 100.0 * lost / sent)
    } else {
        "-".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(cpu: f64) -> Measured {
        Measured {
            report: json!({ "server": { "cpu_ns_per_packet": cpu }, "sent": 200, "lost": 1 }),
            failure: None,
        }
    }

    #[test]
    fn medians_and_paired_ratios_skip_failed_runs() {
        let failed = Measured {
            report: Value::Null,
            failure: Some("refused".to_owned()),
        };
        let sides = [
            vec![run(2000.0), run(1000.0), run(9000.0), failed],
            vec![run(1000.0), run(800.0), run(1800.0), run(1.0)],
        ];
        assert_eq!(median(&sides[0], CPU), Some(2000.0));
        assert_eq!(median(&sides[1], CPU), Some(900.0));
        assert_eq!(ratio_text(&sides, CPU), "0.50");
        assert_eq!(loss_text(&sides[1]), "0.50");
    }

    #[test]
    fn an_aim_is_met_or_missed_by_the_median_and_open_without_figures() {
        let sides = [
            vec![run(2000.0), run(2000.0), run(2000.0)],
            vec![run(1000.0), run(1300.0), run(1900.0)],
        ];
        let text = |aim| aim_text(Some(aim), &sides);
        assert_eq!(round_ratios_text(&sides, CPU), "0.50 0.65 0.95");
        assert_eq!(text(Aim::Ratio(0.65)), "<= 0.65: met");
        assert_eq!(text(Aim::Ratio(0.64)), "<= 0.64: missed");
        assert_eq!(text(Aim::CpuNanos(1299.0)), "<= 1299 ns: missed");
        assert_eq!(text(Aim::P50Micros(20.0)), "p50 <= 20 us");
        assert_eq!(aim_text(None, &sides), "-");
    }

    #[test]
    fn a_side_without_runs_shows_a_dash() {
        assert_eq!(median_text(&[], CPU), "-");
        assert_eq!(ratio_text(&[vec![run(1.0)], vec![]], CPU), "-");
    }
}
