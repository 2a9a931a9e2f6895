//! Relays as processes on this host, each on an address of its own in 127.0.0.0/8: a fleet to try things out with.
//!
//! Responsible for starting, finding and ending them. Relays outlive the controller: everything that is known of one is in
//! its directory, and a controller that starts finds them again. Not responsible for what relays do (`taciturn relay`).
//!
//! ```text
//!   directory/secret.key                  the credentials' secret, made at the first start
//!   directory/lock                        held while anything is changed, as two controllers may share a directory
//!   directory/instances/ID/instance.json  what was launched, and by which token; written before the process is started
//!   directory/instances/ID/run.json       the process: its number and when it started
//!   directory/instances/ID/ending         the end was asked for; when
//!   directory/instances/ID/relay.toml, relay.log, state/
//!   directory/ended/ID/                   the same, of the last that have ended
//! ```

mod directory;
mod processes;
mod relay_file;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{Capabilities, Ended, Instance, LaunchOrder, Listing, Provider, ProviderError};
use crate::config;
use crate::fleet::{Group, InstanceId, LaunchToken, Lifecycle, ZoneId};
use directory::{Directory, Record, Stored};
use processes::{Process, SinceBoot};
use relay_file::RelayFile;

/// The port of each relay's admin API.
const ADMIN_PORT: u16 = 9641;
/// How long a relay may take to end after SIGTERM before it is killed.
const GRACE: Duration = Duration::from_secs(2);
/// After this time an end that was asked for and has not come about is asked for again.
const FORGOTTEN: Duration = Duration::from_secs(15);

/// The relays of one directory.
#[derive(Clone, Debug)]
pub struct Local {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: config::Local,
    allowed: BTreeSet<ZoneId>,
    program: PathBuf,
    directory: Directory,
}

impl Local {
    /// Relays below `state_directory`, unless the settings name another directory. Relays are told which zones are allowed.
    ///
    /// # Errors
    /// The directory cannot be made, or this program's own file cannot be found; in words.
    pub fn new(
        settings: config::Local,
        state_directory: &Path,
        allowed: BTreeSet<ZoneId>,
    ) -> Result<Self, String> {
        let program = match &settings.program {
            Some(program) => program.clone(),
            None => std::env::current_exe().map_err(|error| {
                format!("this program's own file cannot be found: {error}; name it in provider.local.program")
            })?,
        };
        let path = settings
            .directory
            .clone()
            .unwrap_or_else(|| state_directory.join("relays"));
        let directory = Directory::open(&path).map_err(|error| {
            format!(
                "provider.local.directory = \"{}\": {error}; name a directory that this user may write in",
                path.display()
            )
        })?;
        // Credentials may be minted before anything is launched.
        directory
            .lock()
            .and_then(|_lock| directory.make_secret())
            .map_err(|error| error.to_string())?;
        Ok(Self {
            shared: Arc::new(Shared {
                settings,
                allowed,
                program,
                directory,
            }),
        })
    }

    /// The file that holds the secret of the relays' credentials.
    pub fn secret_file(&self) -> PathBuf {
        self.shared.directory.secret()
    }

    /// Does what waits for the disk where it keeps nobody waiting. It is done to its end even when the caller has gone.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, ProviderError> + Send + 'static,
    ) -> Result<T, ProviderError> {
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || work(&shared))
            .await
            .unwrap_or_else(|error| Err(ProviderError::Unknown(error.to_string())))
    }
}

#[async_trait]
impl Provider for Local {
    fn name(&self) -> &'static str {
        "local"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            launches: true,
            terminates: true,
            hooks: false,
        }
    }

    async fn list(&self) -> Result<Listing, ProviderError> {
        self.on_disk(Shared::list).await
    }

    async fn launch(&self, order: &LaunchOrder) -> Result<Vec<InstanceId>, ProviderError> {
        let order = order.clone();
        self.on_disk(move |shared| shared.launch(&order)).await
    }

    async fn terminate(&self, id: &InstanceId) -> Result<Ended, ProviderError> {
        let asked = id.clone();
        let begun = self.on_disk(move |shared| shared.begin_end(&asked)).await?;
        let Some(process) = begun else {
            return Ok(Ended::Already);
        };
        // A task of its own: what was begun is finished when the caller's patience ends first.
        let (local, id) = (self.clone(), id.clone());
        let ending = tokio::spawn(async move {
            process.end(GRACE).await;
            local.on_disk(move |shared| shared.finish_end(&id)).await
        });
        ending
            .await
            .unwrap_or_else(|error| Err(ProviderError::Unknown(error.to_string())))?;
        Ok(Ended::Ending)
    }

    async fn extend(&self, _: &InstanceId) -> Result<(), ProviderError> {
        Err(ProviderError::Unsupported("local"))
    }

    async fn finish(&self, _: &InstanceId) -> Result<(), ProviderError> {
        Err(ProviderError::Unsupported("local"))
    }
}

impl Shared {
    fn list(&self) -> Result<Listing, ProviderError> {
        let now = SinceBoot::now();
        let mut launched: BTreeMap<LaunchToken, Vec<InstanceId>> = BTreeMap::new();
        let mut instances = Vec::new();
        for stored in self.directory.instances()? {
            let process = Process::of(&stored);
            if process.is_none() && stored.run.is_none() {
                // Its launch has not come as far as a process, and never will unless its token is asked for again.
                continue;
            }
            let record = &stored.record;
            launched
                .entry(record.token.clone())
                .or_default()
                .push(record.id.clone());
            instances.extend(instance(&stored, process.is_some(), &now));
        }
        for record in self.directory.ended()? {
            launched.entry(record.token).or_default().push(record.id);
        }
        let zones = &self.settings.zones;
        let room = u32::from(self.settings.per_zone)
            .saturating_mul(u32::try_from(zones.len()).unwrap_or(u32::MAX));
        Ok(Listing {
            complete: true,
            group: Group {
                max: Some(room),
                zones: zones.iter().cloned().collect(),
                image: Some(self.settings.image.clone()),
                instance_type: Some("local".to_owned()),
                ..Group::default()
            },
            instances,
            launched,
        })
    }

    fn launch(&self, order: &LaunchOrder) -> Result<Vec<InstanceId>, ProviderError> {
        let Some(zone) = self
            .settings
            .zones
            .iter()
            .position(|zone| *zone == order.zone)
        else {
            return Err(ProviderError::Refused(format!(
                "the zone {} is not among provider.local.zones",
                order.zone
            )));
        };
        let _lock = self.directory.lock()?;
        let known: Vec<InstanceId> = self
            .directory
            .ended()?
            .into_iter()
            .filter(|record| record.token == order.token)
            .map(|record| record.id)
            .collect();
        let mut ids = known;
        for stored in self.directory.instances()? {
            let lives = Process::of(&stored).is_some();
            if stored.ending.is_some() && !lives {
                // Whoever has ended it has not come as far as to say so.
                self.directory.bury(&stored.record.id)?;
                if stored.record.token == order.token {
                    ids.push(stored.record.id);
                }
            } else if stored.record.token == order.token {
                if stored.run.is_none() && !lives {
                    self.start(&stored.record)?;
                }
                ids.push(stored.record.id);
            } else if stored.run.is_none() && !lives {
                self.directory.remove(&stored.record.id)?;
            }
        }
        let asked = usize::try_from(order.count).unwrap_or(usize::MAX);
        while ids.len() < asked {
            match self.launch_one(zone, order) {
                Ok(id) => ids.push(id),
                // Some came: the list shows them under this token, and the next round asks for what is still missing.
                Err(_) if !ids.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(ids)
    }

    fn launch_one(&self, zone: usize, order: &LaunchOrder) -> Result<InstanceId, ProviderError> {
        let taken: BTreeSet<Ipv4Addr> = self
            .directory
            .instances()?
            .into_iter()
            .map(|stored| stored.record.address)
            .collect();
        let mut numbers = 1..=self.settings.per_zone;
        let free = numbers.find_map(|number| {
            let address = self.settings.address(u8::try_from(zone).ok()?, number);
            (!taken.contains(&address)).then_some((number, address))
        });
        let Some((number, address)) = free else {
            return Err(ProviderError::NoCapacity(format!(
                "provider.local.per-zone = {}: the zone {} is full",
                self.settings.per_zone, order.zone
            )));
        };
        let now = SinceBoot::now();
        let record = Record {
            id: directory::fresh_id(zone, number)?,
            zone: order.zone.clone(),
            address,
            token: order.token.clone(),
            image: self.settings.image.clone(),
            launched: now,
            boot: self.settings.boot_time,
        };
        let file = RelayFile {
            settings: &self.settings,
            allowed: &self.allowed,
            record: &record,
            secret: self.directory.secret(),
            state: self.directory.state(&record.id),
        };
        self.directory.make_secret()?;
        self.directory.write(&record, &file.text()?)?;
        self.start(&record)?;
        Ok(record.id)
    }

    /// Starts the process of an instance whose directory is written.
    fn start(&self, record: &Record) -> Result<(), ProviderError> {
        let environment = environment(&self.settings, record.address);
        let started = processes::start(
            &self.program,
            &self.directory.config(&record.id),
            &self.directory.log(&record.id),
            record.boot,
            &environment,
        );
        match started {
            Ok(run) => self.directory.write_run(&record.id, run),
            Err(error) => {
                self.directory.remove(&record.id)?;
                Err(ProviderError::Failed(format!(
                    "{} cannot be started: {error}",
                    self.program.display()
                )))
            }
        }
    }

    /// Notes that an instance is to end. `None` when there is nothing left to do.
    fn begin_end(&self, id: &InstanceId) -> Result<Option<Process>, ProviderError> {
        let _lock = self.directory.lock()?;
        let Some(stored) = self.directory.instance(id)? else {
            return Ok(None);
        };
        let now = SinceBoot::now();
        let process = Process::of(&stored);
        if process.is_some()
            && stored
                .ending
                .as_ref()
                .is_some_and(|asked| !is_forgotten(asked, &now))
        {
            return Ok(None);
        }
        let Some(process) = process else {
            self.directory.bury(id)?;
            return Ok(None);
        };
        self.directory.mark_ending(id, &now)?;
        Ok(Some(process))
    }

    fn finish_end(&self, id: &InstanceId) -> Result<(), ProviderError> {
        let _lock = self.directory.lock()?;
        match self.directory.instance(id)? {
            Some(stored) if Process::of(&stored).is_some() => Err(ProviderError::Unknown(format!(
                "the process of {id} goes on after SIGKILL"
            ))),
            Some(_) => self.directory.bury(id),
            None => Ok(()),
        }
    }
}

/// What a relay finds in its environment beside what this process has.
fn environment(settings: &config::Local, address: Ipv4Addr) -> BTreeMap<&'static str, String> {
    let endpoint = |port| {
        let endpoint = format!("http://{address}:{port}");
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint)
    };
    settings.metadata_port.map(endpoint).into_iter().collect()
}

fn is_forgotten(asked: &SinceBoot, now: &SinceBoot) -> bool {
    now.since(asked).is_none_or(|since| since > FORGOTTEN)
}

/// As the list shows it; one that was to end and has ended is not shown.
fn instance(stored: &Stored, lives: bool, now: &SinceBoot) -> Option<Instance> {
    let record = &stored.record;
    let age = now.since(&record.launched);
    let is_ending = stored
        .ending
        .as_ref()
        .is_some_and(|asked| !is_forgotten(asked, now));
    if stored.ending.is_some() && !lives {
        return None;
    }
    let lifecycle = if is_ending {
        Lifecycle::Terminating
    } else if lives && age.is_some_and(|age| age < record.boot) {
        Lifecycle::Pending
    } else {
        Lifecycle::InService
    };
    Some(Instance {
        id: record.id.clone(),
        zone: record.zone.clone(),
        lifecycle,
        instance_type: "local".to_owned(),
        image: record.image.clone(),
        age,
        admin: Some(SocketAddr::from((record.address, ADMIN_PORT))),
        unhealthy: !lives || (stored.ending.is_some() && !is_ending),
    })
}
