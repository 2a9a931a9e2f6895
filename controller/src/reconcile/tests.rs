//! The loop on a fleet in memory, with a clock that the test moves.

mod faults;
mod orders;
mod restarts;
mod revoking;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Controller, Handle, Parts, Published, Reread, Settings};
use crate::clock::hand::Hand;
use crate::lease::{Keeper, Lease, NoLease, Terms};
use crate::observe::{DryRunRelays, Relays};
use crate::policy::{Capacity, Policy};
use crate::provider::Provider;
use crate::provider::dry_run::DryRun;
use crate::revocations::Revocations;
use world::{World, zone};

/// How long a call may take where a fault lets one hang, by the real clock.
const HANG: Duration = Duration::from_millis(100);
/// The same where nothing hangs: nothing is timed here.
const PATIENCE: Duration = Duration::from_secs(60);

fn policy() -> Policy {
    let capacity = Capacity {
        allocations: Some(100.0),
        ..Capacity::default()
    };
    Policy {
        fleet: "test".to_owned(),
        allowed_zones: ["z-1", "z-2", "z-3"].map(zone).into(),
        min: 2,
        max: 8,
        zone_loss_floor: false,
        capacity: BTreeMap::from([("default".to_owned(), capacity)]),
        ..Policy::default()
    }
}

/// One controller, and the world that it may share with others.
struct Rig {
    world: World,
    hand: &'static Hand,
    lease: Arc<dyn Lease>,
    keeper: Arc<Keeper>,
    controller: Controller,
    handle: Handle,
}

/// How a controller differs from the usual one.
struct Setup {
    lease: Arc<dyn Lease>,
    patience: Duration,
    dry_run: bool,
    reread: Option<Reread>,
    revocations: Arc<Revocations>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            lease: Arc::new(NoLease::default()),
            patience: PATIENCE,
            dry_run: false,
            reread: None,
            revocations: Arc::default(),
        }
    }
}

impl Rig {
    fn new() -> Self {
        Self::alone(Setup::default())
    }

    fn alone(setup: Setup) -> Self {
        let (world, hand) = World::new();
        Self::on(&world, hand, setup)
    }

    /// One whose calls are given up soon, as some of them hang.
    fn hurried() -> Self {
        Self::alone(Setup {
            patience: HANG,
            ..Setup::default()
        })
    }

    /// A controller on a world that is there.
    fn on(world: &World, hand: &'static Hand, setup: Setup) -> Self {
        let clock = world.clock();
        let terms = Terms::default();
        let lease = setup.lease;
        let keeper = Arc::new(Keeper::new(Arc::clone(&lease), "test", terms, clock));
        let provider: Arc<dyn Provider> = Arc::new(world.clone());
        let relays: Arc<dyn Relays> = Arc::new(world.clone());
        let dry_run = setup.dry_run;
        let (controller, handle) = Controller::new(Parts {
            provider: if dry_run {
                Arc::new(DryRun::new(provider))
            } else {
                provider
            },
            relays: if dry_run {
                Arc::new(DryRunRelays(world.clone()))
            } else {
                relays
            },
            keeper: Arc::clone(&keeper),
            audit: Arc::new(world.clone()),
            clock,
            policy: policy(),
            revocations: setup.revocations,
            reread: setup.reread,
            settings: Settings {
                dry_run,
                provider_timeout: setup.patience,
                relay_timeout: setup.patience,
                ..Settings::default()
            },
        });
        Self {
            world: world.clone(),
            hand,
            lease,
            keeper,
            controller,
            handle,
        }
    }

    /// The same process, started anew: what it knew is lost, and its lease was given up.
    async fn restarted(self) -> Self {
        self.keeper.release().await;
        let setup = Setup {
            lease: self.lease,
            ..Setup::default()
        };
        Self::on(&self.world, self.hand, setup)
    }

    async fn round(&mut self) -> Arc<Published> {
        self.hand.pass(Duration::from_secs(10));
        self.keeper.tend().await;
        self.controller.round().await
    }

    async fn rounds(&mut self, count: usize) -> Arc<Published> {
        for _ in 1..count {
            self.round().await;
        }
        self.round().await
    }

    /// Until `done` holds of the world, for two hours at most.
    async fn until(&mut self, what: &str, done: impl Fn(&World) -> bool) -> Arc<Published> {
        for _ in 0..720 {
            let published = self.round().await;
            if done(&self.world) {
                return published;
            }
        }
        let published = self.handle.latest();
        panic!(
            "never {what}: {:?}, {:?}, {:?}",
            published.plan.summary,
            published.plan.brakes,
            self.world.state().done
        );
    }
}

#[tokio::test]
async fn load_launches_and_when_it_is_gone_relays_are_drained_and_then_ended_once() {
    let mut rig = Rig::new();
    for (name, place) in [("a", "z-1"), ("b", "z-2")] {
        rig.world.add(name, place, 10);
    }
    let published = rig.rounds(40).await;
    assert_eq!(
        rig.world.done(""),
        Vec::<String>::new(),
        "{:?}",
        published.plan
    );
    assert!(
        published.plan.brakes.is_empty(),
        "{:?}",
        published.plan.brakes
    );

    rig.world.all(|machine| machine.allocations = 90);
    let launched = |world: &World| world.done("launch").len() >= 2;
    let published = rig.until("launched", launched).await;
    rig.rounds(10).await;
    let counters = &published.counters;
    assert!(counters.actions.keys().any(|(act, ..)| *act == "launch"));

    rig.world
        .all(|machine| machine.allocations = machine.allocations.min(3));
    let drained = |world: &World| !world.done("drain").is_empty();
    rig.until("drained", drained).await;
    assert_eq!(
        rig.world.done("terminate"),
        Vec::<String>::new(),
        "calls go on"
    );
    rig.world.all(|machine| {
        if machine.drain.is_some() {
            machine.allocations = 0;
        }
    });
    rig.until("ended", |world| world.done("terminate").len() == 1)
        .await;
    let drains = rig.world.done("drain");
    let ends = rig.world.done("terminate");
    let victim = ends[0].split(' ').nth(1).unwrap();
    assert!(
        drains[0].starts_with(&format!("drain {victim} ")),
        "{drains:?}"
    );
    assert!(rig.handle.latest().counters.drain_seconds.count >= 1);
    assert!(rig.handle.latest().counters.launch_seconds.count >= 2);

    let audit = rig.world.state().audit.clone();
    let of = |kind: &str, act: &str| {
        let entries = audit.iter().filter(|(one, body)| {
            one == kind && body.pointer(&format!("/action/act/{act}")).is_some()
        });
        entries.count()
    };
    for act in ["launch", "withhold", "drain", "terminate"] {
        assert!(of("intent", act) >= 1, "{act}");
        assert_eq!(of("intent", act), of("outcome", act), "{act}");
    }
}

#[tokio::test]
async fn rounds_are_published_and_only_changes_are_told_as_decisions() {
    let mut rig = Rig::new();
    rig.world.add("a", "z-1", 10);
    rig.world.add("b", "z-2", 10);
    rig.rounds(60).await;
    let before = rig.handle.latest();
    assert_eq!(before.snapshot.format, crate::fleet::Snapshot::FORMAT);
    assert_eq!(before.snapshot.fleet.relays.len(), 2);
    assert_eq!(before.counters.rounds, 60);
    assert!(before.counters.last_successful.is_some());
    assert!(before.lease_seconds > 0.0);
    let told = before.decisions.len();
    assert!((2..10).contains(&told), "{told}");
    rig.rounds(10).await;
    assert_eq!(rig.handle.latest().decisions.len(), told);
    // Now and then it says that it is there.
    rig.rounds(30).await;
    assert_eq!(rig.handle.latest().decisions.len(), told + 1);
    let requests = &rig.handle.latest().counters.provider_requests;
    assert_eq!(requests.get(&("list", "ok")), Some(&100));
}

/// Scaling rules, dry run: it decides, says so, and changes nothing.
#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let mut rig = Rig::alone(Setup {
        dry_run: true,
        ..Setup::default()
    });
    rig.world.add("a", "z-1", 95);
    rig.world.add("b", "z-2", 95);
    rig.rounds(40).await;
    rig.world.all(|machine| machine.allocations = 0);
    for name in ["c", "d", "e", "f"] {
        rig.world.add(name, "z-3", 0);
    }
    rig.world.change("b", |machine| {
        machine.drain = Some(crate::fleet::DrainReport {
            source: "operator".to_owned(),
            ..Default::default()
        });
    });
    rig.rounds(400).await;
    let published = rig.handle.latest();
    let tried: u64 = published.counters.actions.values().sum();
    assert!(tried > 0);
    assert!(
        published
            .counters
            .actions
            .keys()
            .all(|(.., outcome)| *outcome == "dry_run")
    );
    let acts: std::collections::BTreeSet<&str> = published
        .counters
        .actions
        .keys()
        .map(|(act, ..)| *act)
        .collect();
    assert!(
        acts.contains("launch") && acts.contains("withhold"),
        "{acts:?}"
    );
    assert_eq!(rig.world.done(""), Vec::<String>::new());
}
