//! Options of `taciturn top`.
//!
//! Responsible for names, defaults and help texts. Not for doing anything.

use core::time::Duration;
use std::path::PathBuf;

use clap::Args;
use taciturn_controller::durations;

/// Options of `taciturn top`.
#[derive(Debug, Args)]
pub(crate) struct TopOptions {
    /// The controller's API: http://ADDRESS:PORT, https://NAME:PORT or unix:/PATH
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9640")]
    pub(crate) url: String,

    /// A file with the token of token-file or reader-token-file, where the API asks for one
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,

    /// A file with the authority that signed the API's certificate, PEM; https needs it
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,

    /// Print one page of text and end
    #[arg(long)]
    pub(crate) once: bool,

    /// How often the controller is asked, 500ms to 1h
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = interval)]
    pub(crate) interval: Duration,
}

fn interval(text: &str) -> Result<Duration, String> {
    let duration = durations::parse(text)?;
    if (Duration::from_millis(500)..=Duration::from_secs(3600)).contains(&duration) {
        Ok(duration)
    } else {
        Err("write a duration from 500ms to 1h".to_owned())
    }
}
