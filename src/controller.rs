//! `taciturn controller`: reads the configuration, opens the log and runs the fleet controller.
//!
//! Not responsible for start-up and shut-down, nor for what is logged: `taciturn_controller::run` owns both.

use anyhow::Context;
use taciturn_controller::run::{self, Options};

use crate::check_config;
use crate::cli::ControllerOptions;
use crate::log;

pub(crate) fn run(options: &ControllerOptions) -> anyhow::Result<()> {
    let config = check_config::controller::load(&options.config)?;
    // The level changes with a restart, which ends no call.
    drop(log::open(config.log.format, config.log.level)?);
    let options = Options {
        config: options.config.clone(),
        dry_run: options.dry_run,
    };
    run::run(config, options).context("the controller cannot run")
}
