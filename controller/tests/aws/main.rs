//! The provider `aws` through the real SDK, against a simulated group that behaves as the service does.
//!
//! Responsible for what the provider promises to whoever plans: lists that are whole or say that they are not, launches that
//! happen once, ends that happen once, and no desired capacity that is written downward. The wire format is checked against
//! an implementation that is not ours in `tests/interop`.

mod broken;
mod ends;
mod launches;
mod lists;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_autoscaling::config::{Credentials, SharedCredentialsProvider};
use taciturn_cloud_sim::{Group, Pace, Server};
use taciturn_controller::config::{self, AwsAddress, AwsLaunch};
use taciturn_controller::fleet::{InstanceId, LaunchToken, ZoneId};
use taciturn_controller::provider::aws::{Aws, Settings};
use taciturn_controller::provider::{LaunchOrder, Listing, Provider};

/// A group behind a port, and the provider that talks to it.
struct Bench {
    server: Server,
    aws: Aws,
    settings: Settings,
}

impl Bench {
    fn new(group: Group) -> Self {
        Self::with(group, |_| {})
    }

    fn with(group: Group, change: impl FnOnce(&mut Settings)) -> Self {
        let server = Server::start(group, Pace::Still).expect("a free port of loopback");
        let mut settings = settings();
        change(&mut settings);
        let aws = Aws::over(&sdk(&server.url()), &settings, &allowed(), 9641);
        Self {
            server,
            aws,
            settings,
        }
    }

    /// Another controller of the same group, which remembers nothing.
    fn another(&self) -> Aws {
        Aws::over(&sdk(&self.server.url()), &self.settings, &allowed(), 9641)
    }

    async fn listed(&self) -> Listing {
        self.aws.list().await.expect("a list")
    }

    /// Instances that count, by the group's own books.
    fn machines(&self) -> usize {
        let cloud = self.server.cloud();
        let machines = cloud.group.machines.values();
        machines.filter(|it| it.state.counts()).count()
    }
}

impl Drop for Bench {
    /// scaling rules, decision 1: the desired capacity is never written downward, whatever a test did.
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let downward = downward(&self.server);
        assert!(downward.is_empty(), "{downward:#?}");
    }
}

/// Writes of a desired capacity below the one before. The simulator's history has both figures.
fn downward(server: &Server) -> Vec<String> {
    let cloud = server.cloud();
    let causes = cloud.group.causes();
    let written = causes.iter().filter_map(|cause| {
        let (_, figures) = cause.split_once("changing the desired capacity from ")?;
        let (from, to) = figures.trim_end_matches('.').split_once(" to ")?;
        let (from, to): (u32, u32) = (from.parse().ok()?, to.parse().ok()?);
        (to < from).then(|| (*cause).to_owned())
    });
    written.collect()
}

fn settings() -> Settings {
    Settings {
        // Names that never resolve: no resolver is asked for long.
        address: AwsAddress::Name("{id}.invalid".to_owned()),
        ..Settings::from(&config::Aws {
            auto_scaling_group: "relays".to_owned(),
            region: "ap-southeast-2".to_owned(),
            termination_hook: "drain".to_owned(),
            attempt_timeout: Duration::from_secs(5),
            operation_timeout: Duration::from_secs(15),
            launch: AwsLaunch::Automatic,
            address: AwsAddress::ResourceNameDns,
            zone_ids: BTreeMap::new(),
        })
    }
}

fn sdk(url: &str) -> SdkConfig {
    let credentials = Credentials::new("AKIDEXAMPLE", "not-a-secret", None, None, "test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("ap-southeast-2"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .endpoint_url(url)
        .build()
}

fn zone(text: &str) -> ZoneId {
    ZoneId::try_from(text).expect("a zone id")
}

fn instance(text: &str) -> InstanceId {
    InstanceId::try_from(text).expect("an instance id")
}

fn allowed() -> BTreeSet<ZoneId> {
    ["apse2-az1", "apse2-az2", "apse2-az3"].map(zone).into()
}

fn order(zone_id: &str, count: u32, token: &str) -> LaunchOrder {
    LaunchOrder {
        zone: zone(zone_id),
        count,
        token: LaunchToken::try_from(token).expect("a token"),
    }
}

fn good(machines: u32) -> Group {
    Group::good("relays", 0, 200).with_machines(machines)
}
