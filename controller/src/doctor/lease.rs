//! Whether the lease can be kept.
//!
//! Responsible for reading it, and for one write beside it that must not take effect. The lease itself is never written: it may
//! be somebody's at this moment.

use std::path::Path;

use super::{Finding, audit};
use crate::config::{ControllerConfig, LeaseKind};
use crate::lease::{self, Lease, LeaseError, Record, S3Lease};

const CHECK: &str = "lease";

pub(super) async fn examine(config: &ControllerConfig) -> Finding {
    match &config.lease.kind {
        LeaseKind::None => Finding::doubtful(
            CHECK,
            "there is none: a second controller would act beside this one, and nobody takes over when this one is gone",
            "[lease] kind = \"file\" for controllers on one machine, \"s3\" for several",
        ),
        LeaseKind::File { file } => {
            let directory = file.parent().filter(|it| !it.as_os_str().is_empty());
            let directory = directory.unwrap_or_else(|| Path::new("."));
            let tried = if config.state_directory.as_deref() == Some(directory) {
                audit::can_be_made(directory)
            } else {
                audit::writable(directory)
            };
            if let Err(error) = tried {
                return Finding::bad(
                    CHECK,
                    format!("{} cannot be written: {error}", file.display()),
                    format!(
                        "let its directory belong to the user that the controller runs as: install -d -o USER -m 0750 {}",
                        directory.display()
                    ),
                );
            }
            read(config).await
        }
        LeaseKind::S3 {
            bucket,
            key,
            region,
        } => {
            let finding = read(config).await;
            if finding.remedy.is_some() {
                return finding;
            }
            // Beside the lease: should the store ignore the condition, nothing of worth is written over.
            let beside = format!("{key}.doctor");
            match S3Lease::open(bucket, &beside, region).await {
                Ok(lease) => conditional(&lease, finding).await,
                Err(error) => Finding::bad(CHECK, error.to_string(), "[lease]"),
            }
        }
    }
}

/// Reads the lease.
async fn read(config: &ControllerConfig) -> Finding {
    let lease = match lease::open(&config.lease.kind).await {
        Ok(lease) => lease,
        Err(error) => return Finding::bad(CHECK, error.to_string(), "correct the section [lease]"),
    };
    match lease.read().await {
        Ok(None) => Finding::good(CHECK, format!("{}: nobody has held it yet", lease.kind())),
        Ok(Some(seen)) if seen.record.holder.is_empty() => Finding::good(
            CHECK,
            format!(
                "{}: nobody holds it; its last epoch was {}",
                lease.kind(),
                seen.record.epoch
            ),
        ),
        Ok(Some(seen)) => Finding::good(
            CHECK,
            format!(
                "{}: {} holds it, or was the last to, in epoch {}",
                lease.kind(),
                crate::provider::aws::plain(&seen.record.holder),
                seen.record.epoch
            ),
        ),
        Err(error) => failed(&error),
    }
}

/// Writes on a condition that does not hold.
async fn conditional(lease: &S3Lease, before: Finding) -> Finding {
    let record = Record {
        holder: String::new(),
        epoch: 0,
        renewals: 0,
    };
    match lease.write(Some("\"no-such-version\""), &record).await {
        Err(LeaseError::Conflict) => before,
        Ok(_) => Finding::bad(
            CHECK,
            format!(
                "{lease:?}: the store has written in spite of a condition that did not hold: two controllers would both lead"
            ),
            "keep the lease in a store with conditional writes (If-Match), and delete what stands there",
        ),
        Err(error) => failed(&error),
    }
}

fn failed(error: &LeaseError) -> Finding {
    // What fails at S3 says in its words what mends it.
    let words = error.to_string();
    match words.rsplit_once("; ") {
        Some((what, remedy)) => Finding::bad(CHECK, what, remedy),
        None => Finding::bad(
            CHECK,
            words,
            "correct the section [lease], and see that what it names can be reached",
        ),
    }
}
