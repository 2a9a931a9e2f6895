//! `taciturn doctor`: says what has to be mended before a controller can work here, and how.
//!
//! Responsible for both forms of the output and for the exit code. `taciturn_controller::doctor` looks.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use taciturn_controller::config;
use taciturn_controller::doctor::{self, Finding, Verdict};

use crate::cli::DoctorOptions;

/// The configuration is wrong: nothing has been looked at.
const WRONG: u8 = 2;

pub(crate) fn run(options: &DoctorOptions, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let config = match config::load(&options.config) {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("{errors}");
            return Ok(ExitCode::from(WRONG));
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime can be made")?;
    let findings = runtime.block_on(doctor::examine(&config));
    // A name that is still being asked for is not waited for.
    runtime.shutdown_background();
    let worst = doctor::worst(&findings);
    if options.json {
        let all = serde_json::json!({ "worst": worst, "findings": findings });
        writeln!(out, "{all:#}")?;
    } else {
        print(&findings, out)?;
    }
    Ok(match worst {
        Verdict::Good | Verdict::Doubtful => ExitCode::SUCCESS,
        Verdict::Bad => ExitCode::FAILURE,
    })
}

fn print(findings: &[Finding], out: &mut dyn Write) -> anyhow::Result<()> {
    for finding in findings {
        writeln!(
            out,
            "{:<8}  {}: {}",
            finding.verdict.as_str(),
            finding.check,
            finding.words
        )?;
        if let Some(remedy) = &finding.remedy {
            writeln!(out, "          mend: {remedy}")?;
        }
    }
    let count = |verdict| {
        let all = findings.iter();
        all.filter(|finding| finding.verdict == verdict).count()
    };
    writeln!(
        out,
        "{} good, {} doubtful, {} bad",
        count(Verdict::Good),
        count(Verdict::Doubtful),
        count(Verdict::Bad)
    )?;
    Ok(())
}
