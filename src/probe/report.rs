//! What was found, as a table for people or as JSON for programs.
//!
//! The shape of the JSON is a contract: keys are added, never renamed or removed, and `version` rises when a meaning changes.
//!
//! ```text
//!   { "version": 1,
//!     "result": "all" | "some" | "none",
//!     "paths": [ {
//!       "uri", "transport": "udp" | "tcp" | "tls", "host", "port",
//!       "address": "IP:PORT" that was tried, of the proxy if one was used | null,
//!       "proxy": true | false,
//!       "works": true | false,
//!       "problem": null | { "code", "message", "advice" },
//!       "round_trip_ms": null | { "median", "worst" },
//!       "payloads": null | { "sent", "received" },
//!       "loss": null | 0.0 to 1.0,
//!       "dscp": null | { "sent", "outcome": "kept" | "changed" | "not_measurable", "received": null | 0 to 63 }
//!     } ] }
//! ```
//!
//! Not responsible for finding anything out.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use taciturn_relay::probe::paths::Path;
use taciturn_relay::probe::{self, DSCP, DscpOutcome, Failure, Route, Target};

use super::sources::Attempt;

/// Everything so far.
pub(crate) struct Report {
    pub(crate) rows: Vec<Row>,
    json: bool,
    /// Width of the first column.
    width: usize,
}

/// One path and what was found on it.
pub(crate) struct Row {
    path: Path,
    address: Option<SocketAddr>,
    proxy: bool,
    outcome: Result<probe::Report, Failure>,
}

impl Row {
    pub(crate) fn found(attempt: &Attempt, target: &Target, found: probe::Report) -> Self {
        Self::new(attempt, Some(target), Ok(found))
    }

    pub(crate) fn failed(attempt: &Attempt, target: Option<&Target>, why: Failure) -> Self {
        Self::new(attempt, target, Err(why))
    }

    fn new(
        attempt: &Attempt,
        target: Option<&Target>,
        outcome: Result<probe::Report, Failure>,
    ) -> Self {
        Self {
            path: attempt.path.clone(),
            address: target.map(|target| target.route.first_hop()),
            proxy: target.is_some_and(|target| matches!(target.route, Route::Proxy { .. })),
            outcome,
        }
    }

    pub(crate) const fn works(&self) -> bool {
        self.outcome.is_ok()
    }

    fn advice(&self, failure: &Failure) -> String {
        failure.advice(self.path.transport, &self.path.place())
    }

    fn write(&self, width: usize, out: &mut dyn Write) -> io::Result<()> {
        let uri = self.path.uri();
        let address = self
            .address
            .map_or_else(|| "-".to_owned(), |address| address.to_string());
        let way = if self.proxy { " (proxy)" } else { "" };
        match &self.outcome {
            Ok(found) => {
                let times = format!("{} / {}", ms(found.median), ms(found.worst));
                let lost = found.sent.saturating_sub(found.received);
                let loss = format!("{lost} of {}", found.sent);
                writeln!(
                    out,
                    "{uri:width$}  works  {times:>17}  {loss:>9}  {:<18}  {address}{way}",
                    words(found.dscp)
                )
            }
            Err(failure) => {
                writeln!(out, "{uri:width$}  NO     {failure}  {address}{way}")?;
                writeln!(out, "    -> {}", self.advice(failure))
            }
        }
    }

    fn json(&self) -> Value {
        let found = self.outcome.as_ref().ok();
        let problem = self.outcome.as_ref().err().map(|failure| {
            json!({
                "code": failure.code(),
                "message": failure.to_string(),
                "advice": self.advice(failure),
            })
        });
        json!({
            "uri": self.path.uri(),
            "transport": self.path.transport.as_str(),
            "host": self.path.host.to_string(),
            "port": self.path.port,
            "address": self.address.map(|address| address.to_string()),
            "proxy": self.proxy,
            "works": self.works(),
            "problem": problem,
            "round_trip_ms": found.map(|found| json!({
                "median": found.median.as_secs_f64() * 1000.0,
                "worst": found.worst.as_secs_f64() * 1000.0,
            })),
            "payloads": found.map(|found| json!({ "sent": found.sent, "received": found.received })),
            "loss": found.map(|found| {
                f64::from(found.sent.saturating_sub(found.received)) / f64::from(found.sent.max(1))
            }),
            "dscp": found.map(|found| {
                let (outcome, received) = match found.dscp {
                    DscpOutcome::Kept => ("kept", Some(DSCP)),
                    DscpOutcome::Changed(other) => ("changed", Some(other)),
                    DscpOutcome::NotMeasurable => ("not_measurable", None),
                };
                json!({ "sent": DSCP, "outcome": outcome, "received": received })
            }),
        })
    }
}

fn words(dscp: DscpOutcome) -> String {
    match dscp {
        DscpOutcome::Kept => "kept".to_owned(),
        DscpOutcome::Changed(other) => format!("changed to {other}"),
        DscpOutcome::NotMeasurable => "not shown by TCP".to_owned(),
    }
}

fn ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

impl Report {
    /// A report on these attempts; for people its head is printed now, and each row as it is found.
    pub(crate) fn begin(json: bool, attempts: &[Attempt], out: &mut dyn Write) -> io::Result<Self> {
        let widths = attempts.iter().map(|attempt| attempt.path.uri().len());
        let width = widths.max().unwrap_or(0).max("path".len());
        if !json {
            writeln!(
                out,
                "{:width$}  result  {:>16}  {:>9}  {:<18}  address",
                "path", "round trip", "lost", "DSCP"
            )?;
            out.flush()?;
        }
        Ok(Self {
            rows: Vec::new(),
            json,
            width,
        })
    }

    pub(crate) fn add(&mut self, row: Row, out: &mut dyn Write) -> io::Result<()> {
        if !self.json {
            row.write(self.width, out)?;
            out.flush()?;
        }
        self.rows.push(row);
        Ok(())
    }

    /// The rest: an explanation for people, everything for programs.
    pub(crate) fn finish(&self, out: &mut dyn Write) -> io::Result<()> {
        let working = self.rows.iter().filter(|row| row.works()).count();
        if self.json {
            let result = match working {
                0 => "none",
                all if all == self.rows.len() => "all",
                _ => "some",
            };
            let rows: Vec<Value> = self.rows.iter().map(Row::json).collect();
            let object = json!({ "version": 1, "result": result, "paths": rows });
            writeln!(out, "{object:#}")?;
        } else {
            writeln!(
                out,
                "\n{working} of {} {}.",
                self.rows.len(),
                if working == 1 { "works" } else { "work" }
            )?;
            if working > 0 {
                writeln!(
                    out,
                    "Round trip: median / worst, from here to the relay and back; on the way a payload crosses the relay twice,\n\
                     through one allocation and then another. DSCP: {DSCP} (EF) was sent; what came back has passed the network\n\
                     both ways and the relay."
                )?;
            }
        }
        out.flush()
    }
}
