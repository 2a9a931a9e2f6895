//! `taciturn controller`: reads the configuration, opens the log and runs the fleet controller.
//!
//! Not responsible for start-up and shut-down, nor for what is logged: `taciturn_controller::run` owns both.

use anyhow::Context;
use taciturn_controller::config::{Log, LogFormat, LogLevel};
use taciturn_controller::run::{self, Options};
use tracing_subscriber::filter::LevelFilter;

use crate::check_config;
use crate::cli::ControllerOptions;
use crate::log::{self, Format};

pub(crate) fn run(options: &ControllerOptions) -> anyhow::Result<()> {
    let config = check_config::controller::load(&options.config)?;
    open_log(config.log)?;
    let options = Options {
        config: options.config.clone(),
        dry_run: options.dry_run,
    };
    run::run(config, options).context("the controller cannot run")
}

fn open_log(log: Log) -> anyhow::Result<()> {
    let format = match log.format {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
        LogFormat::Journald => Format::Journald,
    };
    let level = match log.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // The level changes with a restart, which ends no call.
    log::open(format, level).map(drop)
}
