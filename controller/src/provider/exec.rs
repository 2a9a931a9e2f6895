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

use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use super::{Capabilities, Ended, LaunchOrder, Listing, Provider, ProviderError};
use crate::durations::{human, words};
use crate::fleet::InstanceId;
use command::Command;

/// `[provider.exec]`: each command is a list of words, the first the program; no shell looks at them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct ExecSettings {
    /// Lists what exists. Required.
    pub list: Vec<String>,
    /// Launches; left out: nothing can be launched.
    pub launch: Vec<String>,
    /// Ends one; left out: nothing can be ended.
    pub terminate: Vec<String>,
    /// Asks a termination hook for more time; left out, like `finish`: there are no hooks.
    pub extend: Vec<String>,
    /// Tells a termination hook that the instance may end.
    pub finish: Vec<String>,
    /// How long one command may take before it is killed with all that it has started: 1 s to 10 m.
    #[serde(with = "human")]
    pub timeout: Duration,
}

impl Default for ExecSettings {
    fn default() -> Self {
        Self {
            list: Vec::new(),
            launch: Vec::new(),
            terminate: Vec::new(),
            extend: Vec::new(),
            finish: Vec::new(),
            timeout: Duration::from_secs(30),
        }
    }
}

impl ExecSettings {
    /// Everything that makes no sense: `key = value: what is wrong; remedy`.
    pub fn check(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.list.is_empty() {
            wrong.push(
                "provider.exec.list: is missing; write the command that lists what exists, such as [\"/usr/local/bin/relays\", \
                 \"list\"]"
                    .to_owned(),
            );
        }
        for (key, command) in self.commands() {
            if command
                .first()
                .is_some_and(|program| !program.starts_with('/'))
            {
                wrong.push(format!(
                    "provider.exec.{key} = {command:?}: its program is no absolute path; write where the program is"
                ));
            }
            if command.iter().any(|word| word.contains('\0')) {
                wrong.push(format!(
                    "provider.exec.{key} = {command:?}: has a zero byte; leave it out"
                ));
            }
        }
        if self.extend.is_empty() != self.finish.is_empty() {
            wrong.push(
                "provider.exec.extend, finish: one stands without the other; write both or none"
                    .to_owned(),
            );
        }
        let range = Duration::from_secs(1)..=Duration::from_secs(600);
        if !range.contains(&self.timeout) {
            wrong.push(format!(
                "provider.exec.timeout = \"{}\": is not \"1s\" to \"10m\"; write how long a command may take",
                words(self.timeout)
            ));
        }
        wrong
    }

    /// The commands by their keys; those that are left out are empty.
    pub fn commands(&self) -> [(&'static str, &[String]); 5] {
        [
            ("list", &self.list),
            ("launch", &self.launch),
            ("terminate", &self.terminate),
            ("extend", &self.extend),
            ("finish", &self.finish),
        ]
    }
}

/// The provider that runs them.
#[derive(Debug)]
pub struct Exec {
    settings: ExecSettings,
}

impl Exec {
    /// With these commands.
    pub fn new(settings: ExecSettings) -> Self {
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
