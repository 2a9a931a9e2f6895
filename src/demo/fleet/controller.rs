//! The demo's controller: `taciturn controller` as a process of its own.
//!
//! Responsible for starting it, and for saying why when it cannot start. Not responsible for its end (`place`).

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use super::ask::Api;

/// How long it may take until it answers. Machines that are busy building something are slow.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(100);
/// So many lines of its log are shown when it cannot start.
const TAIL: usize = 6;

/// The process.
#[derive(Debug)]
pub(crate) struct Controller {
    child: Child,
    log: PathBuf,
}

impl Controller {
    /// Starts it with this configuration, away from the terminal: what is typed there is for the demo.
    pub(crate) fn start(config: &Path, log: PathBuf) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("this program's own file cannot be found")?;
        let written = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&log)
            .with_context(|| format!("{} cannot be written", log.display()))?;
        let child = Command::new(&program)
            .args(["controller", "--config"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(written)
            .process_group(0)
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        Ok(Self { child, log })
    }

    /// Returns when it answers.
    pub(crate) async fn answers(&mut self, api: &Api) -> anyhow::Result<()> {
        let begun = Instant::now();
        while api.read("/v1/fleet").await.is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "the controller cannot start ({status}); its log ends with\n{}",
                    self.tail()
                );
            }
            if begun.elapsed() > PATIENCE {
                bail!(
                    "the controller does not answer; its log ends with\n{}",
                    self.tail()
                );
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// Returns when it has ended.
    pub(crate) async fn ended(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }

    fn tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(TAIL);
        lines.get(from..).unwrap_or_default().join("\n")
    }
}
