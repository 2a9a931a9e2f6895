//! `taciturn simulate`: replays a trace of load against the policy, or makes one.
//!
//! Responsible for files and for both forms of the output. Not for the figures: `taciturn_controller::simulate` has them.

use std::fs::{self, File};
use std::io::{Read as _, Write};
use std::path::Path;

use anyhow::{Context as _, bail};
use taciturn_controller::simulate::{self, MOST_BYTES, Options, Span, Trace, ZONE};

use crate::cli::{Generated, SimulateOptions};
use crate::plan;

pub(crate) fn run(options: &SimulateOptions, out: &mut dyn Write) -> anyhow::Result<()> {
    if let Some(generated) = options.generate {
        return generate(generated, options, out);
    }
    let (Some(trace), Some(policy)) = (&options.trace, &options.policy) else {
        bail!("--trace and --policy are needed, or --generate");
    };
    let policy = plan::policy(policy)?;
    let trace = read(trace)?;
    let settings = Options {
        seed: options.seed,
        boot: options.boot,
        interval: options.interval,
        room: options.relay_carries,
        zones: options.zones,
        scenario: options.scenario,
        compare: options.compare,
    };
    let comparison = simulate::simulate(&trace, &policy, &settings);
    if let Some(file) = &options.decisions {
        let mut text = comparison.decisions.join("\n");
        text.push('\n');
        fs::write(file, text).with_context(|| format!("{}: cannot be written", file.display()))?;
    }
    if options.json {
        serde_json::to_writer_pretty(&mut *out, &comparison).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        write!(out, "{comparison}")?;
    }
    Ok(())
}

fn generate(
    generated: Generated,
    options: &SimulateOptions,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let span = Span::from(generated);
    let trace = simulate::generate(span, options.seed, options.peak);
    let comment = format!(
        "made up from seed {}, about {} allocations at the peak of a usual weekday, {ZONE}",
        options.seed, options.peak
    );
    out.write_all(trace.write(&simulate::zone(), &comment).as_bytes())?;
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<Trace> {
    let file = File::open(path).with_context(|| format!("{}: cannot be opened", path.display()))?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("{}: cannot be read", path.display()))?;
    if bytes.len() as u64 > MOST_BYTES {
        bail!(
            "{}: is longer than {} MiB; cut it into several, or use longer intervals",
            path.display(),
            MOST_BYTES >> 20
        );
    }
    let Ok(text) = String::from_utf8(bytes) else {
        bail!("{}: is not UTF-8 text; a trace is CSV", path.display());
    };
    Trace::read(&text).map_err(|error| anyhow::anyhow!("{}:{error}", path.display()))
}
