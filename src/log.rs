//! Where the log goes: standard error, from where a supervisor collects it, or the journal. Times are UTC.
//!
//! Responsible for opening it, for both daemons. Not responsible for what is logged.

use std::io;

use anyhow::Context;
use tracing::Subscriber;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry, reload};

/// The form of a line.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Format {
    Text,
    Json,
    Journald,
}

/// Opens the log, and returns what changes its level.
///
/// # Errors
/// The journal cannot be reached.
pub(crate) fn open(
    format: Format,
    level: LevelFilter,
) -> anyhow::Result<impl Fn(LevelFilter) + Send + Sync + 'static> {
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
fn ours(level: LevelFilter) -> Targets {
    // A target is matched by its beginning: all our crates have this one.
    Targets::new().with_target("taciturn", level)
}

fn lines<S>(format: Format) -> anyhow::Result<Box<dyn Layer<S> + Send + Sync>>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    Ok(match format {
        Format::Text => lines.with_ansi(false).boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
        Format::Journald => tracing_journald::layer()
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
