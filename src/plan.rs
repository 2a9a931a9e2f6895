//! `taciturn plan`: what the policy would do about a fleet, from a file, and why.
//!
//! Responsible for files and for both forms of the output. Not for the plan: `taciturn_controller::policy` makes it.

use std::fs::File;
use std::io::{Read as _, Write};
use std::path::Path;

use anyhow::{Context as _, bail};
use taciturn_controller::config;
use taciturn_controller::fleet::Snapshot;
use taciturn_controller::policy::{self, Plan, Policy};

use crate::cli::PlanOptions;

/// A snapshot of ten thousand relays is a third of that.
const MOST_BYTES: u64 = 32 << 20;

pub(crate) fn run(options: &PlanOptions, out: &mut dyn Write) -> anyhow::Result<()> {
    let snapshot = snapshot(&options.fleet)?;
    let mut policy = match &options.policy {
        Some(file) => policy(file)?,
        None => Policy {
            fleet: "fleet".to_owned(),
            ..Policy::default()
        },
    };
    if policy.allowed_zones.is_empty() {
        eprintln!(
            "note: no allowed zones are given; every zone of the snapshot's group counts as allowed"
        );
        policy.allowed_zones = snapshot.fleet.group.zones.clone();
    }
    let plan = policy::plan(&snapshot.fleet, &policy, snapshot.now);
    if options.json {
        serde_json::to_writer_pretty(&mut *out, &plan).map_err(std::io::Error::from)?;
        writeln!(out)?;
        Ok(())
    } else {
        print(&plan, out)
    }
}

/// Reads a policy; everything that is wrong with it goes to standard error, one line each.
pub(crate) fn policy(file: &Path) -> anyhow::Result<Policy> {
    config::load_policy(file).map_err(|errors| {
        eprintln!("{errors}");
        anyhow::anyhow!("{}: the policy has errors", file.display())
    })
}

fn snapshot(path: &Path) -> anyhow::Result<Snapshot> {
    let file = File::open(path).with_context(|| format!("{}: cannot be opened", path.display()))?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("{}: cannot be read", path.display()))?;
    if bytes.len() as u64 > MOST_BYTES {
        bail!(
            "{}: is longer than {} MiB: this is no snapshot of a fleet",
            path.display(),
            MOST_BYTES >> 20
        );
    }
    let snapshot: Snapshot = serde_json::from_slice(&bytes).map_err(|error| {
        anyhow::anyhow!(
            "{}: {error}; a snapshot is what GET /v1/fleet?form=snapshot gives",
            path.display()
        )
    })?;
    if snapshot.format != Snapshot::FORMAT {
        bail!(
            "{}: format = {:?}: this version reads \"{}\"",
            path.display(),
            snapshot.format,
            Snapshot::FORMAT
        );
    }
    if let Some(words) = snapshot.contradiction() {
        bail!("{}: {words}", path.display());
    }
    Ok(snapshot)
}

fn print(plan: &Plan, out: &mut dyn Write) -> anyhow::Result<()> {
    let need = &plan.need;
    writeln!(out, "{}", plan.summary)?;
    writeln!(out)?;
    let dimension = need
        .dimension
        .map_or_else(String::new, |dimension| format!(", by {dimension}"));
    writeln!(
        out,
        "need       {} relays, of which there are {}",
        need.need, need.have
    )?;
    writeln!(out, "  load     {}{dimension}", need.reactive)?;
    writeln!(out, "  forecast {}", need.forecast)?;
    writeln!(
        out,
        "  zone     {} to survive the loss of one",
        need.zone_loss
    )?;
    writeln!(out, "  schedule {}", need.schedule)?;
    writeln!(out, "  minimum  {}", need.minimum)?;
    writeln!(
        out,
        "  to shrink to {} now, {} within the window",
        need.need_down, need.held
    )?;
    let offered: Vec<&str> = plan.offered.iter().map(|id| id.as_str()).collect();
    writeln!(out, "offered    {}", or_none(&offered.join(" ")))?;
    section(
        out,
        "actions",
        plan.actions.iter().map(|action| {
            let relay = action
                .act
                .relay()
                .map_or_else(String::new, |id| format!(" {id}"));
            format!(
                "{}{relay} [{}] {}",
                action.act.as_str(),
                action.reason.as_str(),
                action.words
            )
        }),
    )?;
    section(
        out,
        "brakes",
        plan.brakes.iter().map(|brake| {
            let detail = serde_json::to_value(brake).unwrap_or_default();
            format!("{}{}", brake.as_str(), details(&detail))
        }),
    )?;
    section(
        out,
        "alarms",
        plan.alarms.iter().map(|alarm| {
            let relay = alarm
                .relay
                .as_ref()
                .map_or_else(String::new, |id| format!(" {id}"));
            format!("{}{relay} {}", alarm.kind.as_str(), alarm.words)
        }),
    )
}

fn section(
    out: &mut dyn Write,
    name: &str,
    lines: impl Iterator<Item = String>,
) -> anyhow::Result<()> {
    let lines: Vec<String> = lines.collect();
    if lines.is_empty() {
        writeln!(out, "{name:<10} none")?;
    } else {
        writeln!(out, "{name}")?;
        for line in lines {
            writeln!(out, "  {line}")?;
        }
    }
    Ok(())
}

/// What a brake says beside its name.
fn details(brake: &serde_json::Value) -> String {
    let fields = brake.as_object().into_iter().flatten();
    fields
        .filter(|(key, _)| *key != "brake")
        .map(|(key, value)| match value.as_str() {
            Some(words) => format!(" {key}: {words}"),
            None => format!(" {key}: {value}"),
        })
        .collect()
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}
