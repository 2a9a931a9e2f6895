//! The group: its settings, its machines, and what it remembers.
//!
//! Responsible for holding them. What happens to them is in `life`, what can be asked of them in `answers`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// An Auto Scaling group with everything around it that its API shows.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// MinSize.
    pub min: u32,
    /// MaxSize.
    pub max: u32,
    /// DesiredCapacity.
    pub desired: u32,
    /// Its zones.
    pub zones: Vec<Zone>,
    /// Answers name zones' ids beside their names.
    pub gives_zone_ids: bool,
    /// `LaunchInstances` is known here.
    pub launch_instances: bool,
    /// The launch template and its version; `None`: a launch configuration.
    pub template: Option<(String, String)>,
    /// The instance type that machines get.
    pub instance_type: String,
    /// NewInstancesProtectedFromScaleIn.
    pub protects_new: bool,
    /// Suspended processes.
    pub suspended: BTreeSet<String>,
    /// HealthCheckType.
    pub health_check: String,
    /// A mixed-instances policy.
    pub mixed: Option<Mixed>,
    /// A warm pool is there.
    pub warm_pool: bool,
    /// CapacityRebalance.
    pub rebalances_capacity: bool,
    /// MaxInstanceLifetime, in seconds.
    pub max_lifetime: Option<u32>,
    /// DeletionProtection.
    pub deletion_protection: String,
    /// Lifecycle hooks.
    pub hooks: Vec<Hook>,
    /// Names of scaling policies.
    pub policies: Vec<String>,
    /// Names of scheduled actions.
    pub scheduled: Vec<String>,
    /// States of instance refreshes, the newest first.
    pub refreshes: Vec<String>,
    /// From launch to the end of Pending.
    pub boot_time: Duration,
    /// From the end of the hook to being gone.
    pub end_time: Duration,
    /// Instances that one answer names; the others are in the next pages.
    pub page: usize,
    /// Actions that the caller may not call.
    pub denied: BTreeSet<String>,
    /// The machines, by id. Those that are gone are not among them.
    pub machines: BTreeMap<String, Machine>,
    /// Ids of all machines that ever were.
    pub ever: Vec<String>,
    pub(crate) now: Duration,
    pub(crate) epoch: u64,
    pub(crate) activities: Vec<Activity>,
    pub(crate) tokens: BTreeMap<String, (String, String)>,
    pub(crate) changes: Vec<Change>,
}

/// A zone of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Its name in this account.
    pub name: String,
    /// Its id.
    pub id: String,
    /// It has machines to give.
    pub has_capacity: bool,
}

/// A lifecycle hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Its name.
    pub name: String,
    /// It holds instances that end; otherwise those that launch.
    pub terminating: bool,
    /// HeartbeatTimeout.
    pub heartbeat: Duration,
    /// DefaultResult.
    pub default_result: String,
}

/// A mixed-instances policy, as far as anybody asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mixed {
    /// OnDemandPercentageAboveBaseCapacity.
    pub on_demand_percentage: u32,
    /// Overrides of the instance type.
    pub overrides: Vec<String>,
}

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Index into the group's zones.
    pub zone: usize,
    /// Its state.
    pub state: State,
    /// When it entered it.
    pub since: Duration,
    /// When the state is over by itself, if ever.
    pub until: Option<Duration>,
    /// ProtectedFromScaleIn.
    pub protected: bool,
    /// HealthStatus is `Healthy`.
    pub healthy: bool,
    /// Its template's version.
    pub version: String,
}

/// A machine's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It boots.
    Pending,
    /// A hook holds it before it serves.
    PendingWait,
    /// It serves.
    InService,
    /// A hook holds it before it ends.
    TerminatingWait,
    /// It ends.
    Terminating,
    /// It is set aside.
    Standby,
}

impl State {
    /// The API's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::PendingWait => "Pending:Wait",
            Self::InService => "InService",
            Self::TerminatingWait => "Terminating:Wait",
            Self::Terminating => "Terminating",
            Self::Standby => "Standby",
        }
    }

    /// It counts towards the desired capacity.
    pub const fn counts(self) -> bool {
        matches!(self, Self::Pending | Self::PendingWait | Self::InService)
    }
}

/// One entry of the group's history.
#[derive(Clone, Debug)]
pub(crate) struct Activity {
    pub(crate) at: Duration,
    pub(crate) description: String,
    pub(crate) cause: String,
    pub(crate) status: &'static str,
}

/// A machine began or ended: whoever runs a real process for it acts on that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The machine.
    pub id: String,
    /// Its zone's id.
    pub zone: String,
    /// It began; otherwise it ended.
    pub began: bool,
}

impl Group {
    /// A group as it should be: three zones of Sydney, a hook for termination, a pinned template, nothing that acts by
    /// itself; machines boot in no time.
    pub fn good(name: &str, min: u32, max: u32) -> Self {
        let zone = |letter: char, id: &str| Zone {
            name: format!("ap-southeast-2{letter}"),
            id: id.to_owned(),
            has_capacity: true,
        };
        Self {
            name: name.to_owned(),
            min,
            max,
            desired: 0,
            zones: vec![
                zone('a', "apse2-az3"),
                zone('b', "apse2-az1"),
                zone('c', "apse2-az2"),
            ],
            gives_zone_ids: true,
            launch_instances: true,
            template: Some(("lt-0a1b2c3d4e5f60718".to_owned(), "7".to_owned())),
            instance_type: "c7gn.large".to_owned(),
            protects_new: true,
            suspended: BTreeSet::from(["AZRebalance".to_owned()]),
            health_check: "EC2".to_owned(),
            mixed: None,
            warm_pool: false,
            rebalances_capacity: false,
            max_lifetime: None,
            deletion_protection: "prevent-all-deletion".to_owned(),
            hooks: vec![Hook {
                name: "drain".to_owned(),
                terminating: true,
                heartbeat: Duration::from_secs(7200),
                default_result: "CONTINUE".to_owned(),
            }],
            policies: Vec::new(),
            scheduled: Vec::new(),
            refreshes: Vec::new(),
            boot_time: Duration::ZERO,
            end_time: Duration::ZERO,
            page: 50,
            denied: BTreeSet::new(),
            machines: BTreeMap::new(),
            ever: Vec::new(),
            now: Duration::ZERO,
            epoch: 0,
            activities: Vec::new(),
            tokens: BTreeMap::new(),
            changes: Vec::new(),
        }
    }

    /// The same with this many machines in service, spread over its zones.
    #[must_use]
    pub fn with_machines(mut self, count: u32) -> Self {
        self.desired = count;
        self.settle();
        self
    }

    /// Machines in a state that counts, by zone id.
    pub fn by_zone(&self) -> BTreeMap<String, u32> {
        let mut counts = BTreeMap::new();
        for machine in self.machines.values().filter(|it| it.state.counts()) {
            if let Some(zone) = self.zones.get(machine.zone) {
                *counts.entry(zone.id.clone()).or_default() += 1;
            }
        }
        counts
    }

    /// The causes in the group's history, the oldest first.
    pub fn causes(&self) -> Vec<&str> {
        let causes = self.activities.iter();
        causes.map(|activity| activity.cause.as_str()).collect()
    }

    /// What began and ended since this was asked last.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }
}
