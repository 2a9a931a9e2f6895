//! Options of the commands that describe this program to others: `man` and `completions`.
//!
//! Responsible for names, defaults and help texts. Not for doing anything.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

/// Options of `taciturn man`.
#[derive(Debug, Args)]
pub(crate) struct ManOptions {
    /// The directory to write them to; it is made if it is not there, and files of these names are replaced
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
}

/// Options of `taciturn completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsOptions {
    /// The shell that is to complete this command
    #[arg(value_enum, value_name = "SHELL")]
    pub(crate) shell: Shell,
}
