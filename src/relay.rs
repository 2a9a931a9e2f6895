//! `taciturn relay`: reads the configuration, opens the log and runs the relay.
//!
//! Responsible for where the log goes. `taciturn_relay::run` owns start-up and shut-down.

use std::io;

use anyhow::Context;
use taciturn_relay::config::{Log, LogFormat, LogLevel};
use tracing_subscriber::filter::LevelFilter;

use crate::check_config;
use crate::cli::RelayOptions;

pub(crate) fn run(options: &RelayOptions) -> anyhow::Result<()> {
    let config = check_config::load(&options.config)?;
    open_log(&config.log);
    taciturn_relay::run::run(config).context("the relay cannot start")
}

/// Sends the log to standard error, from where a supervisor collects it.
pub(crate) fn open_log(log: &Log) {
    let level = match log.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let lines = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr);
    match log.format {
        // The journal collects standard error as well; a relay that is not run by systemd has no journal to talk to.
        LogFormat::Text | LogFormat::Journald => lines.with_ansi(false).init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
}
