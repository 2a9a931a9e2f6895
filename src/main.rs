//! The `taciturn` command: hands its arguments to one file for each sub-command and reports what went wrong.
//!
//! Responsible for exit codes and for printing an error once. No logic of its own.
#![forbid(unsafe_code)]

#[cfg(feature = "controller")]
mod audit;
#[cfg(any(feature = "relay", feature = "controller"))]
mod check_config;
mod cli;
#[cfg(feature = "controller")]
mod controller;
mod credentials;
#[cfg(feature = "relay")]
mod demo;
#[cfg(feature = "controller")]
mod doctor;
#[cfg(any(feature = "relay", feature = "controller"))]
mod log;
#[cfg(feature = "manual")]
mod manual;
#[cfg(feature = "controller")]
mod plan;
#[cfg(feature = "relay")]
mod probe;
#[cfg(feature = "relay")]
mod relay;
#[cfg(feature = "controller")]
mod simulate;
#[cfg(feature = "controller")]
mod top;

use std::io;
use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("taciturn: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        #[cfg(feature = "relay")]
        Command::Probe(options) => return probe::run(&options, &mut io::stdout().lock()),
        #[cfg(feature = "relay")]
        Command::Relay(options) => relay::run(&options),
        #[cfg(feature = "controller")]
        Command::Audit(command) => return audit::run(&command, &mut io::stdout().lock()),
        #[cfg(feature = "controller")]
        Command::Controller(options) => controller::run(&options),
        #[cfg(any(feature = "relay", feature = "controller"))]
        Command::CheckConfig(options) => check_config::run(&options, &mut io::stdout().lock()),
        #[cfg(feature = "relay")]
        Command::Demo(options) => demo::run(options),
        #[cfg(feature = "controller")]
        Command::Doctor(options) => return doctor::run(&options, &mut io::stdout().lock()),
        #[cfg(feature = "controller")]
        Command::Plan(options) => plan::run(&options, &mut io::stdout().lock()),
        #[cfg(feature = "controller")]
        Command::Simulate(options) => simulate::run(&options, &mut io::stdout().lock()),
        #[cfg(feature = "controller")]
        Command::Top(options) => top::run(&options, &mut io::stdout().lock()),
        Command::Credentials(command) => credentials::run(command, &mut io::stdout().lock()),
        #[cfg(feature = "manual")]
        Command::Man(options) => manual::pages(&options, &mut io::stdout().lock()),
        #[cfg(feature = "manual")]
        Command::Completions(options) => manual::completions(&options, &mut io::stdout().lock()),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// Whether the reader of our output has seen enough (`taciturn ... | head`).
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
