//! Asks a configuration's provider and lease one thing a line, and prints each answer as a line of JSON: for hand checks, and
//! for tests against clouds that are not ours.
//!
//! ```text
//!   echo 'list' | cargo run --example ask_provider controller.toml
//!   list | launch ZONE COUNT TOKEN | terminate ID | extend ID | finish ID | lease | take HOLDER [VERSION]
//! ```
//!
//! Not responsible for asking the right thing: unlike a controller it has no policy, no brakes and no lease of its own.

use std::error::Error;
use std::io::{BufRead, Write};
use std::path::Path;

use serde_json::{Value, json};
use taciturn_controller::clock::Clock;
use taciturn_controller::config::{self, ControllerConfig};
use taciturn_controller::fleet::{InstanceId, LaunchToken, ZoneId};
use taciturn_controller::lease::{self, Lease, Record};
use taciturn_controller::provider::{self, LaunchOrder, Provider};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::args().nth(1).ok_or("name the controller.toml")?;
    let config = config::load(Path::new(&file)).map_err(|errors| errors.to_string())?;
    let provider = provider::open(&config, Path::new("."), Clock::start(), false).await?;
    let lease = lease::open(&config.lease.kind).await?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = ask(&words, provider.as_ref(), lease.as_ref(), &config).await?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

async fn ask(
    words: &[&str],
    provider: &dyn Provider,
    lease: &dyn Lease,
    config: &ControllerConfig,
) -> Result<Value, Box<dyn Error>> {
    let id = |text: &str| InstanceId::try_from(text);
    Ok(match words {
        ["list"] => said(provider.list().await),
        ["launch", zone, count, token] => {
            let order = LaunchOrder {
                zone: ZoneId::try_from(*zone)?,
                count: count.parse()?,
                token: LaunchToken::try_from(*token)?,
            };
            said(provider.launch(&order).await)
        }
        ["terminate", which] => said(provider.terminate(&id(which)?).await),
        ["extend", which] => said(provider.extend(&id(which)?).await),
        ["finish", which] => said(provider.finish(&id(which)?).await),
        ["lease"] => said(lease.read().await.map(|seen| {
            seen.map(|seen| json!({ "record": seen.record, "version": seen.version }))
        })),
        ["take", holder, rest @ ..] => {
            let record = Record {
                holder: format!("{}/{holder}", config.fleet),
                epoch: 1,
                renewals: 0,
            };
            said(lease.write(rest.first().copied(), &record).await)
        }
        _ => return Err(format!("{words:?}: no such question").into()),
    })
}

/// `{"ok": ...}` or `{"error": "words"}`.
fn said<T: serde::Serialize, E: Error>(answer: Result<T, E>) -> Value {
    match answer {
        Ok(it) => json!({ "ok": it }),
        Err(error) => json!({ "error": error.to_string() }),
    }
}
