//! Options of `taciturn doctor`.
//!
//! Responsible for names, defaults and help texts. Not for doing anything.

use std::path::PathBuf;

use clap::Args;

pub(super) const EXIT_CODES: &str = "\
Exit codes:
  0  nothing has to be mended; what is doubtful is said
  1  something has to be mended before a controller runs here
  2  the command line or the configuration is wrong";

/// Options of `taciturn doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorOptions {
    /// The controller's configuration; configs/controller.aws.toml and configs/controller.local.toml explain every key
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,

    /// Print one JSON object: the worst verdict, and each finding with check, verdict, words and remedy
    #[arg(long)]
    pub(crate) json: bool,
}
