//! Commands of the operator's own as a provider: for any cloud that has a command line.
//!
//! Responsible for running them, bounded in time and size, and for believing their answers only when they make sense. Not
//! responsible for what they do. The form of both is in `docs/operations.md`.
//!
//! ```text
//!   stdin                                             stdout
//!   {"operation":"list"}                              {"complete":true,"instances":[..],"launched":{..}}
//!   {"operation":"launch","zone":Z,"count":N,"token":T}   {"instances":[ID, ..]}
//!   {"operation":"terminate","id":ID}                 {"ended":"ending"} or {"ended":"already"}
//!   {"operation":"extend","id":ID}, "finish"          {}
//!   any                                               {"error":"no-capacity", "words":".."}: nothing has happened
//! ```

mod answer;
mod command;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use serde_json::json;

use super::{Capabilities, Ended, LaunchOrder, Listing, Provider, ProviderError};
use crate::config;
use crate::fleet::InstanceId;
use command::Command;

/// The provider that runs the commands of `[provider.exec]`: each is a list of words, the first the program; no shell looks
/// at them.
#[derive(Debug)]
pub struct Exec {
    settings: config::Exec,
}

impl Exec {
    /// With these commands.
    pub fn new(settings: config::Exec) -> Self {
        Self { settings }
    }

    /// Runs one; `None`: there is no such command.
    async fn run(&self, words: &[String], question: serde_json::Value) -> Option<command::Run> {
        let command = Command::new(words, self.settings.timeout)?;
        Some(command.run(&question.to_string()).await)
    }
}

const UNSUPPORTED: ProviderError = ProviderError::Unsupported("exec");

#[async_trait]
impl Provider for Exec {
    fn name(&self) -> &'static str {
        "exec"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            launches: !self.settings.launch.is_empty(),
            terminates: !self.settings.terminate.is_empty(),
            hooks: !self.settings.finish.is_empty(),
        }
    }

    async fn list(&self) -> Result<Listing, ProviderError> {
        let question = json!({ "operation": "list" });
        let run = self.run(&self.settings.list, question).await;
        let mut listing = answer::listing(run.ok_or(UNSUPPORTED)?)?;
        listing.group.fixed |= self.settings.launch.is_empty();
        Ok(listing)
    }

    async fn launch(&self, order: &LaunchOrder) -> Result<Vec<InstanceId>, ProviderError> {
        let question = json!({
            "operation": "launch",
            "zone": order.zone,
            "count": order.count,
            "token": order.token,
        });
        let run = self.run(&self.settings.launch, question).await;
        answer::launch(run.ok_or(UNSUPPORTED)?, order)
    }

    async fn terminate(&self, id: &InstanceId) -> Result<Ended, ProviderError> {
        let question = json!({ "operation": "terminate", "id": id });
        let run = self.run(&self.settings.terminate, question).await;
        answer::ended(run.ok_or(UNSUPPORTED)?)
    }

    async fn extend(&self, id: &InstanceId) -> Result<(), ProviderError> {
        let question = json!({ "operation": "extend", "id": id });
        let run = self.run(&self.settings.extend, question).await;
        answer::nothing(run.ok_or(UNSUPPORTED)?)
    }

    async fn finish(&self, id: &InstanceId) -> Result<(), ProviderError> {
        let question = json!({ "operation": "finish", "id": id });
        let run = self.run(&self.settings.finish, question).await;
        answer::nothing(run.ok_or(UNSUPPORTED)?)
    }
}
