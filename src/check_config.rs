//! `taciturn check-config`: says what a relay or a controller would do with a configuration, or everything that is wrong.
//!
//! Responsible for telling the two files apart, by their keys. Not for judging either.

#[cfg(feature = "controller")]
pub(crate) mod controller;
#[cfg(feature = "relay")]
pub(crate) mod relay;

use std::io::Write;
use std::path::Path;

use crate::cli::CheckConfigOptions;

pub(crate) fn run(options: &CheckConfigOptions, out: &mut dyn Write) -> anyhow::Result<()> {
    let file = &options.file;
    #[cfg(feature = "controller")]
    if cfg!(not(feature = "relay")) || controller::is_one(file) {
        return controller::check(file, out);
    }
    #[cfg(feature = "relay")]
    relay::check(file, out)?;
    Ok(())
}

/// What the program would do, a line for each part of it.
fn print(file: &Path, summary: &[(&str, String)], out: &mut dyn Write) -> anyhow::Result<()> {
    writeln!(out, "ok: {}", file.display())?;
    for (name, value) in summary {
        writeln!(out, "  {name:<10} {value}")?;
    }
    Ok(())
}

fn counted(errors: usize) -> String {
    match errors {
        1 => "the configuration has an error".to_owned(),
        count => format!("the configuration has {count} errors"),
    }
}
