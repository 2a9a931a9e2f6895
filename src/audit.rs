//! `taciturn audit verify`: says whether a controller's audit trail is whole, and which line is the first that is not.
//!
//! Responsible for the words and the exit codes. Not for judging: `taciturn_controller::audit` does.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use taciturn_controller::audit::{Fault, Verified, verify_file};

use crate::cli::{AuditCommand, VerifyOptions};

/// A line is not as it was written.
const BROKEN: u8 = 3;
/// The trail is whole as far as it goes, and lacks what it is known to have had.
const CUT: u8 = 4;

pub(crate) fn run(command: &AuditCommand, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let AuditCommand::Verify(options) = command;
    let judged = verify_file(&options.file, options.head.as_deref())
        .with_context(|| format!("{} cannot be read", options.file.display()))?;
    match judged {
        Ok(whole) => tell(options, &whole, out),
        Err(fault) => {
            broken(options, &fault, out)?;
            Ok(ExitCode::from(BROKEN))
        }
    }
}

fn tell(
    options: &VerifyOptions,
    whole: &Verified,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let file = options.file.display();
    writeln!(out, "whole: {file}")?;
    writeln!(out, "  lines      {}", whole.head.seq)?;
    if let (Some(first), Some(last)) = (&whole.first, &whole.last) {
        writeln!(out, "  times      {first} to {last}")?;
    }
    writeln!(out, "  head       {}", whole.head.hash)?;
    if !whole.remarks.is_empty() {
        let lines: Vec<String> = whole.remarks.iter().map(u64::to_string).collect();
        writeln!(
            out,
            "  remarks    lines {} tell of lines that are missing or kept elsewhere",
            lines.join(", ")
        )?;
    }
    let Some(head) = &options.head else {
        writeln!(
            out,
            "  note       lines taken from the end cannot be seen without --head, a hash that was kept elsewhere"
        )?;
        return Ok(ExitCode::SUCCESS);
    };
    match whole.known {
        Some(line) => {
            writeln!(out, "  known      {head} is line {line}")?;
            Ok(ExitCode::SUCCESS)
        }
        None => {
            writeln!(
                out,
                "CUT: no line has the hash {head}: lines were taken from the end, or this is another trail"
            )?;
            Ok(ExitCode::from(CUT))
        }
    }
}

fn broken(options: &VerifyOptions, fault: &Fault, out: &mut dyn Write) -> anyhow::Result<()> {
    let file = options.file.display();
    writeln!(
        out,
        "BROKEN: {file}:{}: the line {}",
        fault.line, fault.words
    )?;
    if fault.torn {
        writeln!(
            out,
            "  It is the last, and has no end: a crash in the middle of writing leaves that. The next start of the controller \
             sets it aside and tells of it."
        )?;
    }
    match fault.line - 1 {
        0 => writeln!(out, "  Nothing before it can be relied on.")?,
        lines => writeln!(
            out,
            "  The {lines} lines before it are whole; their head is {}.",
            fault.before.head.hash
        )?,
    }
    Ok(())
}
