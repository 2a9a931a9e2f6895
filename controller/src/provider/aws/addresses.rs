//! Where relays' admin APIs are, found from their instance ids.
//!
//! Responsible for asking the system's resolver, seldom and never for long: an instance keeps its address as long as it
//! lives. Not responsible for what listens there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use taciturn_protocol::time::Instant;
use tokio::sync::Semaphore;

use super::settings::Settings;
use crate::clock::Clock;
use crate::fleet::InstanceId;

/// How long a list waits for addresses; a name that takes longer is there for the next one.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a name that has no address is not asked for again.
const REST: Duration = Duration::from_secs(20);
/// Names that are asked for at once. A resolver that hangs holds as many threads, no more.
const AT_ONCE: usize = 16;

/// What is known of one name.
#[derive(Clone, Copy, Debug)]
enum Known {
    /// It is being asked for.
    Asked,
    At(SocketAddr),
    /// It had none, then.
    NowhereSince(Instant),
}

/// What is known of all of them.
#[derive(Debug)]
pub(super) struct Addresses {
    settings: Settings,
    admin_port: u16,
    known: Arc<Mutex<BTreeMap<InstanceId, Known>>>,
    places: Arc<Semaphore>,
    clock: Clock,
}

impl Addresses {
    pub(super) fn new(settings: &Settings, admin_port: u16, clock: Clock) -> Self {
        let configured = settings.addresses.iter();
        let known = configured.map(|(id, at)| (id.clone(), Known::At(*at)));
        Self {
            settings: settings.clone(),
            admin_port,
            known: Arc::new(Mutex::new(known.collect())),
            places: Arc::new(Semaphore::new(AT_ONCE)),
            clock,
        }
    }

    /// The addresses of `wanted`, as far as they are known within a moment. Forgets all others.
    pub(super) async fn of(
        &self,
        wanted: &BTreeSet<InstanceId>,
    ) -> BTreeMap<InstanceId, SocketAddr> {
        let mut asked = tokio::task::JoinSet::new();
        for id in self.unknown(wanted) {
            let host = self.settings.host(&id);
            let port = self.admin_port;
            let known = Arc::clone(&self.known);
            let places = Arc::clone(&self.places);
            let clock = self.clock;
            // On its own: a name that is slow is still found when nobody waits for it any more.
            asked.spawn(tokio::spawn(async move {
                let _place = places.acquire().await;
                let found = tokio::net::lookup_host((host.as_str(), port)).await;
                let known_now = found
                    .ok()
                    .and_then(|mut all| all.next())
                    .map_or_else(|| Known::NowhereSince(clock.instant()), Known::At);
                locked(&known).insert(id, known_now);
            }));
        }
        let all = async { while asked.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(PATIENCE, all).await;
        asked.detach_all();

        let known = locked(&self.known);
        let at = |id: &InstanceId| match known.get(id) {
            Some(Known::At(address)) => Some((id.clone(), *address)),
            Some(Known::Asked | Known::NowhereSince(_)) | None => None,
        };
        wanted.iter().filter_map(at).collect()
    }

    /// Those of `wanted` to ask for now; they are marked as asked for.
    fn unknown(&self, wanted: &BTreeSet<InstanceId>) -> Vec<InstanceId> {
        let now = self.clock.instant();
        let mut known = locked(&self.known);
        known.retain(|id, state| {
            let configured = self.settings.addresses.contains_key(id);
            configured || wanted.contains(id) || matches!(state, Known::Asked)
        });
        let ask = |id: &&InstanceId| match known.get(*id) {
            None => true,
            Some(Known::NowhereSince(since)) => now.saturating_since(*since) >= REST,
            Some(Known::Asked | Known::At(_)) => false,
        };
        let ids: Vec<InstanceId> = wanted.iter().filter(ask).cloned().collect();
        known.extend(ids.iter().map(|id| (id.clone(), Known::Asked)));
        ids
    }
}

/// A map is whole between two statements that change it, even where a thread ended badly between them.
fn locked(
    known: &Mutex<BTreeMap<InstanceId, Known>>,
) -> std::sync::MutexGuard<'_, BTreeMap<InstanceId, Known>> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Aws, AwsAddress, AwsLaunch};

    fn settings(address: AwsAddress) -> Settings {
        Settings::from(&Aws {
            auto_scaling_group: "relays".to_owned(),
            region: "ap-southeast-2".to_owned(),
            termination_hook: "drain".to_owned(),
            attempt_timeout: Duration::from_secs(5),
            operation_timeout: Duration::from_secs(15),
            launch: AwsLaunch::Automatic,
            address,
            zone_ids: BTreeMap::new(),
        })
    }

    fn id(text: &str) -> InstanceId {
        InstanceId::try_from(text).expect("a name")
    }

    #[test]
    fn a_host_is_a_resource_name_or_a_name_with_the_id() {
        let mut by_resource = settings(AwsAddress::ResourceNameDns);
        assert_eq!(
            by_resource.host(&id("i-1")),
            "i-1.ap-southeast-2.compute.internal"
        );
        by_resource.region = "us-east-1".to_owned();
        assert_eq!(by_resource.host(&id("i-1")), "i-1.ec2.internal");
        let by_name = settings(AwsAddress::Name("{id}.relays.example".to_owned()));
        assert_eq!(by_name.host(&id("i-1")), "i-1.relays.example");
    }

    #[tokio::test]
    async fn given_addresses_go_first_and_a_name_without_one_has_none() {
        let mut settings = settings(AwsAddress::Name("{id}.invalid".to_owned()));
        let at = "127.0.1.1:9641".parse().expect("an address");
        settings.addresses.insert(id("i-1"), at);
        let addresses = Addresses::new(&settings, 9641, Clock::start());
        let wanted = BTreeSet::from([id("i-1"), id("i-2")]);
        assert_eq!(
            addresses.of(&wanted).await,
            BTreeMap::from([(id("i-1"), at)])
        );
    }
}
