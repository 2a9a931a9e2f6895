//! What a command's answer means.
//!
//! Responsible for refusing everything that is not exactly an answer to what was asked: a launch or an end that was answered
//! otherwise may have happened, a list is not to be used. Not responsible for running commands.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::command::Run;
use crate::fleet::InstanceId;
use crate::provider::{Ended, LaunchOrder, Listing, ProviderError, is_no_destination};

/// Instances that a list may have.
const MOST: usize = 10_000;
/// The longest explanation that is passed on.
const WORDS: usize = 300;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Launched {
    instances: Vec<InstanceId>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    ended: Ended,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// The command's own word that nothing has happened.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refusal {
    error: Kind,
    #[serde(default)]
    words: String,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Throttled,
    NoCapacity,
    Refused,
    Failed,
}

/// To `list`. Whatever is wrong with it, nothing has happened.
pub(super) fn listing(run: Run) -> Result<Listing, ProviderError> {
    let listing: Listing = read(run).map_err(|error| {
        if let ProviderError::Unknown(words) = error {
            ProviderError::Failed(words)
        } else {
            error
        }
    })?;
    check(&listing).map_err(|words| ProviderError::Failed(format!("the list {words}")))?;
    Ok(listing)
}

/// To `launch`.
pub(super) fn launch(run: Run, order: &LaunchOrder) -> Result<Vec<InstanceId>, ProviderError> {
    let Launched { instances } = read(run)?;
    let different: BTreeSet<_> = instances.iter().collect();
    if different.len() != instances.len() {
        return Err(unknown("the answer to a launch names an instance twice"));
    }
    if u32::try_from(instances.len()).map_or(true, |came| came > order.count) {
        return Err(unknown(
            "the answer to a launch names more instances than were asked for",
        ));
    }
    Ok(instances)
}

/// To `terminate`.
pub(super) fn ended(run: Run) -> Result<Ended, ProviderError> {
    let End { ended } = read(run)?;
    Ok(ended)
}

/// To `extend` and `finish`.
pub(super) fn nothing(run: Run) -> Result<(), ProviderError> {
    let Nothing {} = read(run)?;
    Ok(())
}

fn read<T: DeserializeOwned>(run: Run) -> Result<T, ProviderError> {
    let (success, output, words) = match run {
        Run::NotStarted(words) => return Err(ProviderError::Failed(words)),
        Run::Killed(words) => return Err(ProviderError::Unknown(words)),
        Run::Ended {
            success,
            output,
            words,
        } => (success, output, words),
    };
    if let Ok(Refusal { error, words }) = serde_json::from_slice(&output) {
        let words = one_line(&words);
        return Err(match error {
            Kind::Throttled => ProviderError::Throttled(words),
            Kind::NoCapacity => ProviderError::NoCapacity(words),
            Kind::Refused => ProviderError::Refused(words),
            Kind::Failed => ProviderError::Failed(words),
        });
    }
    if !success {
        return Err(ProviderError::Unknown(words));
    }
    serde_json::from_slice(&output)
        .map_err(|error| ProviderError::Unknown(format!("{words}, and its answer: {error}")))
}

fn check(listing: &Listing) -> Result<(), String> {
    if listing.instances.len() > MOST {
        return Err(format!("has more than {MOST} instances"));
    }
    let mut ids = BTreeSet::new();
    for instance in &listing.instances {
        let id = &instance.id;
        if !ids.insert(id) {
            return Err(format!("names {id} twice"));
        }
        if instance.admin.is_some_and(is_no_destination) {
            return Err(format!("gives {id} an address that cannot be asked"));
        }
        for text in [&instance.image, &instance.instance_type] {
            if text.len() > 128 || text.chars().any(char::is_control) {
                return Err(format!("gives {id} an image or type that cannot be so"));
            }
        }
    }
    Ok(())
}

fn unknown(words: &str) -> ProviderError {
    ProviderError::Unknown(words.to_owned())
}

fn one_line(words: &str) -> String {
    let line = words.chars().map(|c| if c.is_control() { ' ' } else { c });
    line.take(WORDS).collect()
}
