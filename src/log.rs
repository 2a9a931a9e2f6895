//! Where the log goes: standard error, from where a supervisor collects it, or the journal. Times are UTC.
//!
//! Responsible for opening it, for both daemons. Not responsible for what is logged.

use std::io;

use anyhow::Context;
use taciturn_plane::{LogFormat, LogLevel};
use tracing::Subscriber;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry, reload};

/// Opens the log, and returns what changes its level.
///
/// # Errors
/// The journal cannot be reached.
pub(crate) fn open(
    format: LogFormat,
    level: LogLevel,
) -> anyhow::Result<impl Fn(LogLevel) + Send + Sync + 'static> {
    let (filter, handle) = reload::Layer::new(ours(level));
    let lines = lines(format)?;
    // Not `init()`: that would also take in what libraries write through the `log` crate.
    tracing::subscriber::set_global_default(Registry::default().with(filter).with(lines))
        .context("the log is open already")?;
    Ok(move |level| {
        // Only a subscriber that is gone makes this fail, and this one lives as long as the process.
        let _ = handle.reload(ours(level));
    })
}

/// Our own crates alone: libraries for TLS, HTTP and TURN log addresses, server names and whole messages as they please,
/// above all at trace level.
fn ours(level: LogLevel) -> Targets {
    // A target is matched by its beginning: all our crates have this one.
    Targets::new().with_target("taciturn", filter(level))
}

const fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

fn lines<S>(format: LogFormat) -> anyhow::Result<Box<dyn Layer<S> + Send + Sync>>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    Ok(match format {
        LogFormat::Text => lines.with_ansi(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Journald => tracing_journald::layer()
            .context(
                "[log] format = \"journald\": the journal's socket cannot be reached; is systemd-journald running here? \
                 otherwise write \"text\" or \"json\"",
            )?
            // Fields are named as in the other formats, in capitals and after ours: TACITURN_CLIENT.
            .with_field_prefix(Some("TACITURN".to_owned()))
            .with_syslog_identifier("taciturn".to_owned())
            .boxed(),
    })
}
