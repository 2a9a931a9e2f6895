//! `taciturn relay`: reads the configuration, opens the log and runs the relay.
//!
//! Not responsible for start-up and shut-down, nor for what is logged: `taciturn_relay::run` owns both.

use anyhow::Context;
use taciturn_relay::config::Log;
use taciturn_relay::events::LevelSwitch;

use crate::check_config;
use crate::cli::RelayOptions;
use crate::log;

pub(crate) fn run(options: &RelayOptions) -> anyhow::Result<()> {
    let config = check_config::relay::load(&options.config)?;
    let level = open_log(&config.log)?;
    taciturn_relay::run::run(config, level).context("the relay cannot start")
}

/// Opens the log as the relay's configuration says.
///
/// # Errors
/// The journal cannot be reached.
pub(crate) fn open_log(log: &Log) -> anyhow::Result<LevelSwitch> {
    let switch = log::open(log.format, log.level)?;
    Ok(LevelSwitch::new(switch))
}
