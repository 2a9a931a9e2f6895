//! A fleet in memory: provider, relays and audit trail in one, with faults that a test sets.
//!
//! It keeps the rules that the real ones keep: a token launches once, an end is by id, a relay obeys no older epoch, and
//! its drain does not depend on who is alive.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use taciturn_protocol::credentials::RevocationList;
use taciturn_protocol::status::Phase;
use taciturn_protocol::time::UnixTime;

use crate::apply::AuditSink;
use crate::clock::Clock;
use crate::clock::hand::Hand;
use crate::fleet::{DrainReport, Group, InstanceId, LaunchToken, Lifecycle, Loads, Report, ZoneId};
use crate::observe::{DrainOrder, RelayError, Relays};
use crate::provider::{
    Capabilities, Ended, Instance, LaunchOrder, Listing, Provider, ProviderError,
};

pub(super) fn id(name: &str) -> InstanceId {
    InstanceId::try_from(name).unwrap()
}

pub(super) fn zone(name: &str) -> ZoneId {
    ZoneId::try_from(name).unwrap()
}

/// One instance and its relay.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub(super) zone: ZoneId,
    pub(super) lifecycle: Lifecycle,
    pub(super) born: u64,
    pub(super) address: SocketAddr,
    pub(super) allocations: u64,
    pub(super) drain: Option<DrainReport>,
    /// Who may make nothing new there.
    pub(super) revocations: RevocationList,
    pub(super) epoch: u64,
    /// Its samples stand still here.
    pub(super) frozen: Option<u64>,
    /// Its admin API never answers.
    pub(super) hangs: bool,
}

/// What does not go as it should.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    pub(super) list_hangs: bool,
    pub(super) list_incomplete: bool,
    /// Launches happen, and their answer never comes.
    pub(super) launch_hangs: bool,
    /// Ends happen, and their answer never comes.
    pub(super) terminate_hangs: bool,
    /// The list shows ends this late, in seconds.
    pub(super) ends_show_after: u64,
    pub(super) audit_fails_at: Option<&'static str>,
    /// The process sleeps for this long when it has just written this down.
    pub(super) sleeps_at: Option<(&'static str, Duration)>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) machines: BTreeMap<InstanceId, Machine>,
    pub(super) faults: Faults,
    /// Everything that changed something, in order.
    pub(super) done: Vec<String>,
    pub(super) audit: Vec<(String, serde_json::Value)>,
    tokens: BTreeMap<LaunchToken, Vec<InstanceId>>,
    gone: BTreeMap<InstanceId, u64>,
    pub(super) statuses: u64,
}

/// The fleet; clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct World {
    state: Arc<Mutex<State>>,
    clock: Clock,
    hand: &'static Hand,
}

impl World {
    pub(super) fn new() -> (Self, &'static Hand) {
        let (clock, hand) = Hand::clock();
        let world = Self {
            state: Arc::default(),
            clock,
            hand,
        };
        (world, hand)
    }

    pub(super) const fn clock(&self) -> Clock {
        self.clock
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn now(&self) -> u64 {
        self.clock.unix().as_secs()
    }

    /// An instance that has served for an hour.
    pub(super) fn add(&self, name: &str, in_zone: &str, allocations: u64) {
        let born = self.now() - 3600;
        let machine = self.machine(zone(in_zone), born, allocations);
        self.state().machines.insert(id(name), machine);
    }

    fn machine(&self, zone: ZoneId, born: u64, allocations: u64) -> Machine {
        let number = {
            let state = self.state();
            u8::try_from(state.tokens.len() + state.machines.len()).unwrap()
        };
        Machine {
            zone,
            lifecycle: Lifecycle::InService,
            born,
            address: SocketAddr::from(([127, 0, 9, number + 1], 9641)),
            allocations,
            drain: None,
            revocations: RevocationList::default(),
            epoch: 0,
            frozen: None,
            hangs: false,
        }
    }

    /// What changed something and begins with this.
    pub(super) fn done(&self, what: &str) -> Vec<String> {
        let state = self.state();
        let done = state.done.iter().filter(|done| done.starts_with(what));
        done.cloned().collect()
    }

    pub(super) fn present(&self) -> BTreeSet<String> {
        let state = self.state();
        state.machines.keys().map(ToString::to_string).collect()
    }

    pub(super) fn all(&self, change: impl Fn(&mut Machine)) {
        self.state().machines.values_mut().for_each(change);
    }

    pub(super) fn change(&self, name: &str, change: impl FnOnce(&mut Machine)) {
        change(self.state().machines.get_mut(&id(name)).unwrap());
    }

    fn relay<T>(
        &self,
        id: &InstanceId,
        ask: impl FnOnce(&mut Machine, u64) -> Result<T, RelayError>,
    ) -> Option<Result<T, RelayError>> {
        let now = self.now();
        let mut state = self.state();
        state.statuses += 1;
        match state.machines.get_mut(id) {
            Some(machine) if machine.hangs => None,
            Some(machine) => Some(ask(machine, now)),
            None => Some(Err(RelayError::Unreachable("no route".to_owned()))),
        }
    }
}

impl Machine {
    fn report(&self, now: u64) -> Report {
        let ready = self.drain.is_none() && now >= self.born + 20;
        let phase = match &self.drain {
            Some(_) if self.allocations == 0 => Phase::Drained,
            Some(_) => Phase::Draining,
            None if ready => Phase::Ready,
            None => Phase::Launching,
        };
        #[expect(clippy::cast_precision_loss, reason = "small numbers of a test")]
        let allocations = self.allocations as f64;
        Report {
            boot_id: format!("boot-{}", self.born),
            sequence: self.frozen.unwrap_or(now - self.born),
            time: UnixTime::from_secs(now),
            phase,
            ready,
            zone_id: Some(self.zone.clone()),
            load: Loads {
                allocations: Some(allocations),
                ..Loads::default()
            },
            epoch: self.epoch,
            revocations: Some(self.revocations.stamp()),
            drain: self.drain.clone().map(|drain| DrainReport {
                allocations_remaining: self.allocations,
                ..drain
            }),
            ..Report::default()
        }
    }

    fn admit(&mut self, epoch: u64) -> Result<(), RelayError> {
        if epoch < self.epoch {
            return Err(RelayError::OlderEpoch { seen: self.epoch });
        }
        self.epoch = epoch;
        Ok(())
    }
}

#[async_trait]
impl Provider for World {
    fn name(&self) -> &'static str {
        "world"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            launches: true,
            terminates: true,
            hooks: false,
        }
    }

    async fn list(&self) -> Result<Listing, ProviderError> {
        if self.state().faults.list_hangs {
            pending::<()>().await;
        }
        let now = self.now();
        let mut state = self.state();
        let late = state.faults.ends_show_after;
        let ended: Vec<InstanceId> = state
            .gone
            .iter()
            .filter(|(_, at)| **at + late <= now)
            .map(|(id, _)| id.clone())
            .collect();
        for id in ended {
            state.machines.remove(&id);
            state.gone.remove(&id);
        }
        let incomplete = state.faults.list_incomplete;
        let instances = state.machines.iter().map(|(id, machine)| Instance {
            id: id.clone(),
            zone: machine.zone.clone(),
            lifecycle: machine.lifecycle,
            instance_type: String::new(),
            image: String::new(),
            age: Some(Duration::from_secs(now - machine.born)),
            admin: Some(machine.address),
            unhealthy: false,
        });
        Ok(Listing {
            complete: !incomplete,
            group: Group {
                zones: ["z-1", "z-2", "z-3"].map(zone).into(),
                ..Group::default()
            },
            instances: instances.take(if incomplete { 1 } else { 1000 }).collect(),
            launched: BTreeMap::new(),
        })
    }

    async fn launch(&self, order: &LaunchOrder) -> Result<Vec<InstanceId>, ProviderError> {
        let known = self.state().tokens.get(&order.token).cloned();
        let launched = if let Some(known) = known {
            known
        } else {
            let mut new = Vec::new();
            for number in 0..order.count {
                let machine = self.machine(order.zone.clone(), self.now(), 0);
                let name = id(&format!("n{}-{number}", self.state().tokens.len()));
                let mut state = self.state();
                state.done.push(format!("launch {name} {}", order.zone));
                state.machines.insert(name.clone(), machine);
                new.push(name);
            }
            self.state().tokens.insert(order.token.clone(), new.clone());
            new
        };
        if self.state().faults.launch_hangs {
            pending::<()>().await;
        }
        Ok(launched)
    }

    async fn terminate(&self, id: &InstanceId) -> Result<Ended, ProviderError> {
        let now = self.now();
        {
            let mut state = self.state();
            state.done.push(format!("terminate {id}"));
            if state.gone.insert(id.clone(), now).is_some() || !state.machines.contains_key(id) {
                return Ok(Ended::Already);
            }
        }
        if self.state().faults.terminate_hangs {
            pending::<()>().await;
        }
        Ok(Ended::Ending)
    }

    async fn extend(&self, _: &InstanceId) -> Result<(), ProviderError> {
        Err(ProviderError::Unsupported("world"))
    }

    async fn finish(&self, _: &InstanceId) -> Result<(), ProviderError> {
        Err(ProviderError::Unsupported("world"))
    }
}

#[async_trait]
impl Relays for World {
    async fn status(&self, id: &InstanceId, _: SocketAddr) -> Result<Report, RelayError> {
        match self.relay(id, |machine, now| Ok(machine.report(now))) {
            Some(answer) => answer,
            None => pending().await,
        }
    }

    async fn drain(
        &self,
        id: &InstanceId,
        _: SocketAddr,
        order: &DrainOrder,
    ) -> Result<(), RelayError> {
        let asked = self.relay(id, |machine, now| {
            machine.admit(order.epoch)?;
            let before = machine.drain.as_ref().map(|drain| drain.started);
            machine.drain = Some(DrainReport {
                source: "operator".to_owned(),
                started: before.unwrap_or_else(|| UnixTime::from_secs(now)),
                deadline: order.deadline,
                reason: order.reason.clone(),
                epoch: order.epoch,
                ..DrainReport::default()
            });
            Ok(())
        });
        let Some(answer) = asked else {
            return pending().await;
        };
        if answer.is_ok() {
            let words = format!("drain {id} {}", order.deadline.as_secs());
            self.state().done.push(words);
        }
        answer
    }

    async fn undrain(&self, id: &InstanceId, _: SocketAddr, epoch: u64) -> Result<(), RelayError> {
        let asked = self.relay(id, |machine, _| {
            machine.admit(epoch)?;
            machine.drain = None;
            Ok(())
        });
        let Some(answer) = asked else {
            return pending().await;
        };
        if answer.is_ok() {
            self.state().done.push(format!("undrain {id}"));
        }
        answer
    }

    async fn revoke(
        &self,
        id: &InstanceId,
        _: SocketAddr,
        list: &RevocationList,
    ) -> Result<(), RelayError> {
        let asked = self.relay(id, |machine, _| {
            if list.stamp() < machine.revocations.stamp() {
                return Err(RelayError::Refused("409: older".to_owned()));
            }
            machine.revocations = list.clone();
            Ok(())
        });
        let Some(answer) = asked else {
            return pending().await;
        };
        if answer.is_ok() {
            self.state().done.push(format!("revoke {id}"));
        }
        answer
    }

    async fn revocations(
        &self,
        id: &InstanceId,
        _: SocketAddr,
    ) -> Result<RevocationList, RelayError> {
        match self.relay(id, |machine, _| Ok(machine.revocations.clone())) {
            Some(answer) => answer,
            None => pending().await,
        }
    }

    async fn stun(&self, id: &InstanceId, _: SocketAddr) -> Option<bool> {
        Some(self.state().machines.contains_key(id))
    }
}

impl AuditSink for World {
    fn append(&self, kind: &str, body: &serde_json::Value) -> Result<(), String> {
        let mut state = self.state();
        if state.faults.audit_fails_at == Some(kind) {
            return Err("no space left on the device".to_owned());
        }
        state.audit.push((kind.to_owned(), body.clone()));
        if let Some((at, time)) = state.faults.sleeps_at
            && at == kind
        {
            state.faults.sleeps_at = None;
            self.hand.pass(time);
        }
        Ok(())
    }
}
