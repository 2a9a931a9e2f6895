//! From a configuration to the provider that the loop uses.
//!
//! Responsible for which provider it is and what is wrapped around it. Not responsible for any of them.

use std::path::Path;
use std::sync::Arc;

use super::Provider;
use super::aws::Aws;
use super::dry_run::DryRun;
use super::exec::Exec;
use super::limited::{RateLimited, Rates};
use super::local::Local;
use super::static_list::Static;
use crate::clock::Clock;
use crate::config::{self, ControllerConfig};

/// The provider of `config`, with its calls bounded. In a dry run nothing but lists comes through to it. `state_directory` is
/// where local relays are kept unless the configuration says otherwise.
///
/// # Errors
/// It cannot be used, in words: a directory that cannot be made.
pub async fn open(
    config: &ControllerConfig,
    state_directory: &Path,
    clock: Clock,
    dry_run: bool,
) -> Result<Arc<dyn Provider>, String> {
    let allowed = &config.allowed_zones;
    let inner: Arc<dyn Provider> = match &config.provider {
        config::Provider::Local(local) => {
            Arc::new(Local::new(local.clone(), state_directory, allowed.clone())?)
        }
        config::Provider::Aws(aws) => {
            Arc::new(Aws::open(&aws.into(), allowed, config.relays.admin_port).await)
        }
        config::Provider::Static(relays) => Arc::new(Static::new(relays.clone())),
        config::Provider::Exec(exec) => Arc::new(Exec::new(exec.clone())),
    };
    let limited = Arc::new(RateLimited::new(inner, Rates::default(), clock));
    Ok(if dry_run {
        Arc::new(DryRun::new(limited))
    } else {
        limited
    })
}
