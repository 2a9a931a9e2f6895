//! Options of the commands of a running fleet: `controller`, and `audit` of what it wrote.
//!
//! Responsible for names, defaults and help texts. Not for doing anything.

use std::path::PathBuf;

use clap::{Args, Subcommand};

const EXIT_CODES: &str = "\
Exit codes:
  0  every line is as it was written, and the head is among them if one was given
  1  the file cannot be read
  2  the command line is wrong
  3  a line was changed, left out, put in or moved, or the last one was cut off; the first such line is named
  4  every line is as it was written, but the line with the given head is not among them";

/// Options of `taciturn controller`.
#[derive(Debug, Args)]
pub(crate) struct ControllerOptions {
    /// The configuration; configs/controller.aws.toml and controller.local.toml explain every key
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,

    /// Launch, drain and end nothing: only say what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Commands of `taciturn audit`.
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Say whether an audit trail is whole, or which line is the first that is not
    ///
    /// Each line has the hash of the line before it, so that none can be changed, left out, put in or moved without the ones
    /// after it. That lines were taken from the end shows only to who knows a head: a hash that the controller has logged, or
    /// given at /v1/audit, and that was kept elsewhere.
    #[command(after_help = EXIT_CODES)]
    Verify(VerifyOptions),
}

/// Options of `taciturn audit verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyOptions {
    /// The trail: audit.jsonl in the controller's state directory
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// The hash of a line that is known to have been written
    #[arg(long, value_name = "HASH", value_parser = parse_hash)]
    pub(crate) head: Option<String>,
}

/// 64 hexadecimal digits.
fn parse_hash(text: &str) -> Result<String, String> {
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("write the 64 hexadecimal digits of a line's hash".to_owned())
    }
}
