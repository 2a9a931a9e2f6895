//! `taciturn relay`: reads the configuration and runs the relay.
//!
//! Responsible for nothing else: `taciturn_relay::run` owns start-up and shut-down.

use crate::check_config;
use crate::cli::RelayOptions;

pub(crate) fn run(options: &RelayOptions) -> anyhow::Result<()> {
    let config = check_config::load(&options.config)?;
    start(config)
}

fn start(config: taciturn_relay::config::Config) -> anyhow::Result<()> {
    anyhow::bail!("realm {}: this build has no packet path", config.realm.as_str())
}
