//! `taciturn probe`: which ways to a relay work from here, and why the others do not.
//!
//! Responsible for the order of things and the exit code. Not responsible for trying, which is `taciturn_relay::probe`'s.

mod report;
mod sources;

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use taciturn_relay::probe::{self, Effort, Target, paths};

use crate::cli::ProbeOptions;
use report::{Report, Row};
use sources::Attempt;

/// When what was asked for is wrong and nothing was tried.
const USAGE: u8 = 2;
/// When some paths work and some do not.
const SOME: u8 = 3;

/// Tries everything and tells; what it could not even begin with goes to standard error.
pub(crate) fn run(options: &ProbeOptions, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let prepared = sources::attempts(options).and_then(|attempts| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("no sockets can be waited for")?;
        Ok((attempts, runtime))
    });
    let (attempts, runtime) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            eprintln!("taciturn: {error:#}");
            return Ok(ExitCode::from(USAGE));
        }
    };
    let report = runtime.block_on(try_all(options, &attempts, out))?;
    report.finish(out)?;
    let works = report.rows.iter().filter(|row| row.works()).count();
    Ok(match works {
        0 => ExitCode::FAILURE,
        all if all == report.rows.len() => ExitCode::SUCCESS,
        _ => ExitCode::from(SOME),
    })
}

/// One after the other, so that no path disturbs another's figures.
async fn try_all(
    options: &ProbeOptions,
    attempts: &[Attempt],
    out: &mut dyn Write,
) -> anyhow::Result<Report> {
    let effort = Effort {
        count: options.count,
        size: options.size,
        pace: Duration::from_millis(20),
        patience: options.timeout,
    };
    let mut report = Report::begin(options.json, attempts, out)?;
    let proxy = match &options.proxy {
        None => None,
        Some((host, port)) => Some(proxy_address(host, *port).await),
    };
    for attempt in attempts {
        // A proxy that cannot be found stands in the way of TCP and TLS alone.
        let proxy = match &proxy {
            Some(Err(failure)) if attempt.path.transport.is_stream() => {
                report.add(Row::failed(attempt, None, failure.clone()), out)?;
                continue;
            }
            Some(Ok(address)) => Some(*address),
            Some(Err(_)) | None => None,
        };
        match attempt.path.targets(&attempt.trust, proxy).await {
            Err(failure) => report.add(Row::failed(attempt, None, failure), out)?,
            Ok(targets) => {
                for target in &targets {
                    report.add(try_one(attempt, target, effort).await, out)?;
                }
            }
        }
    }
    Ok(report)
}

async fn try_one(attempt: &Attempt, target: &Target, effort: Effort) -> Row {
    match probe::check(target, &attempt.login, effort).await {
        Ok(found) => Row::found(attempt, target, found),
        Err(failure) => Row::failed(attempt, Some(target), failure),
    }
}

async fn proxy_address(host: &str, port: u16) -> Result<SocketAddr, probe::Failure> {
    let found = paths::resolve(host, port)
        .await
        .map_err(|_| probe::Failure::ProxyUnreachable("its name does not resolve".to_owned()))?;
    found
        .first()
        .copied()
        .ok_or_else(|| probe::Failure::ProxyUnreachable("its name has no address".to_owned()))
}
