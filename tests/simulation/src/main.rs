//! Storms from the command line: many seeds at once, or one with its transcript.
//!
//! Responsible for threads and for what is printed; a storm itself knows nothing of either.
#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    reason = "figures and transcripts are what this program is for"
)]

use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::{Result, bail};
use clap::Parser;
use sha2::{Digest, Sha256};
use taciturn_simulation::{CODES, Figures, Outcome, run};

/// Runs simulated storms against the TURN server and holds each step against a reference.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Threads; the result is the same with any number. Default: one for each processor.
    #[arg(long)]
    threads: Option<NonZero<usize>>,
    /// Runs this seed alone.
    #[arg(long, conflicts_with_all = ["seeds", "from", "threads"])]
    seed: Option<u64>,
    /// Prints what happens in it, line by line.
    #[arg(long, requires = "seed")]
    transcript: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(seed) = arguments.seed {
        return one(seed, arguments.transcript);
    }
    let threads = arguments
        .threads
        .or_else(|| thread::available_parallelism().ok())
        .map_or(1, NonZero::get);
    let summary = many(arguments.from, arguments.seeds, threads)?;
    println!("{summary}");
    Ok(())
}

fn one(seed: u64, with_text: bool) -> Result<()> {
    let outcome = run(seed, None, with_text);
    if let Some(text) = &outcome.text {
        print!("{text}");
    }
    if let Some(broken) = outcome.broken {
        bail!("seed {seed}: {broken}");
    }
    println!("seed {seed}: {:?}", outcome.figures);
    println!("transcript {}", hex(&outcome.digest));
    Ok(())
}

/// What one thread has found, in the order of its seeds.
type Found = Vec<(u64, [u8; 32])>;

fn many(from: u64, seeds: u64, threads: usize) -> Result<String> {
    let next = AtomicU64::new(0);
    // Threads take small runs of seeds, so that none is left with a long one at the end.
    const RUN: u64 = 100;
    let worker = || -> Result<(Found, Figures)> {
        let (mut found, mut figures) = (Found::new(), Figures::default());
        loop {
            let begin = next.fetch_add(RUN, Ordering::Relaxed);
            if begin >= seeds {
                return Ok((found, figures));
            }
            for nth in begin..(begin + RUN).min(seeds) {
                let outcome = run(from + nth, None, false);
                good(&outcome)?;
                found.push((nth, outcome.digest));
                figures = figures.plus(outcome.figures);
            }
        }
    };
    let (mut found, mut figures) = (Found::new(), Figures::default());
    thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        for worker in workers {
            let (part, sum) = worker.join().expect("a storm does not panic")?;
            found.extend(part);
            figures = figures.plus(sum);
        }
        Ok(())
    })?;
    found.sort_unstable();
    let mut digest = Sha256::new();
    for (_, part) in &found {
        digest.update(part);
    }
    let Figures {
        steps,
        answers,
        relayed,
        handed_over,
        dropped,
        held_off,
        spoilt,
        restarts,
        calls,
        seconds,
    } = figures;
    let by_code = CODES.iter().zip(answers);
    let by_code: Vec<String> = by_code
        .map(|(code, count)| match code {
            0 => format!("{count} granted"),
            code => format!("{count} with {code}"),
        })
        .collect();
    Ok(format!(
        "{seeds} seeds from {from}: no invariant broken\n\
         {steps} steps judged, {restarts} restarts, {} hours simulated, {spoilt} packets lost or doubled\n\
         requests answered: {}; {held_off} guesses not looked at\n\
         {relayed} payloads relayed ({handed_over} inside), {dropped} dropped, {calls} calls after the storms\n\
         transcripts {}",
        seconds / 3600,
        by_code.join(", "),
        hex(&digest.finalize())
    ))
}

fn good(outcome: &Outcome) -> Result<()> {
    let Some(broken) = &outcome.broken else {
        return Ok(());
    };
    let seed = outcome.seed;
    bail!(
        "seed {seed}: {broken}\n\
         again: cargo run --release -p taciturn-simulation -- --seed {seed} --transcript"
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
