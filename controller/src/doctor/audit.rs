//! Whether what is done here can be written down.
//!
//! Responsible for the state directory and the audit trail in it. Nothing that stands there is changed.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;

use super::Finding;
use crate::config::ControllerConfig;

const CHECK: &str = "audit";
const FILE: &str = "audit.jsonl";

pub(super) fn examine(config: &ControllerConfig) -> Finding {
    let Some(directory) = &config.state_directory else {
        return Finding::doubtful(
            CHECK,
            "there is no state directory: nothing is written down, and the season is forgotten by a restart",
            "state-directory = \"/var/lib/taciturn-controller\"",
        );
    };
    let file = directory.join(FILE);
    let tried = if file.exists() {
        OpenOptions::new().append(true).open(&file).map(drop)
    } else {
        can_be_made(directory)
    };
    match tried {
        Ok(()) if !directory.exists() => Finding::good(
            CHECK,
            format!("{} is made by the first start", directory.display()),
        ),
        Ok(()) => Finding::good(CHECK, format!("{} can be written", file.display())),
        Err(error) => Finding::bad(
            CHECK,
            format!("{} cannot be written: {error}", file.display()),
            format!(
                "let it belong to the user that the controller runs as: install -d -o USER -m 0750 {}",
                directory.display()
            ),
        ),
    }
}

/// Whether a file can be made in the state directory, which a start of the controller makes where it is not there.
pub(super) fn can_be_made(directory: &Path) -> io::Result<()> {
    // An empty path is what is left above a relative name.
    let mut above = directory
        .ancestors()
        .filter(|it| !it.as_os_str().is_empty());
    let there = above
        .find(|it| it.exists())
        .unwrap_or_else(|| Path::new("."));
    writable(there)
}

/// Whether a file can be made in `directory`.
pub(super) fn writable(directory: &Path) -> io::Result<()> {
    let probe = directory.join(format!(".doctor-{}", std::process::id()));
    let made = OpenOptions::new().write(true).create_new(true).open(&probe);
    made.map(drop)?;
    std::fs::remove_file(&probe)
}
