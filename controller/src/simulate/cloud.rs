//! The simulated provider and the relays' admin APIs: answers, and how they fail.
//!
//! Responsible for the same words as `provider::Provider` has, without the waiting. Not responsible for when it is asked.

use taciturn_protocol::time::UnixTime;

use super::fault::{Fault, GroupChange, Mishap, Which};
use super::host::{Host, Life};
use super::ledger::Deed;
use super::world::World;
use crate::fleet::{Group, InstanceId, LaunchToken, Report, ZoneId};
use crate::policy::Outcome;
use crate::provider::{Ended, LaunchOrder, Listing, ProviderError};

/// How long an ended instance stays on the list.
const ENDING: u64 = 20;
/// How long a termination hook waits for a word.
const HOOK: u64 = 7200;
/// How late the list shows a launch whose answer was lost.
const LATE: u64 = 90;
/// The group's name for the current image.
const IMAGE: &str = "image-1";

impl World<'_> {
    /// A new machine that boots in `zone`; its number.
    pub(super) fn start_host(&mut self, zone: &ZoneId) -> usize {
        let at = self.hosts.len();
        let id = InstanceId::try_from(format!("sim-{at:05}")).expect("letters and digits");
        let boots = self.settings.boot as f64 * self.booting.between(0.8, 1.2);
        let serves = self.now + u64::from(super::chance::whole(boots));
        self.hosts.push(Host {
            id,
            zone: zone.clone(),
            image: IMAGE.to_owned(),
            launched: self.now,
            serves: (self.now >= self.troubles.broken_image).then_some(serves),
            life: Life::Runs,
            boot: 0,
            live: 0,
            room: self.settings.room,
            drain: None,
            epoch: 0,
            silent: 0,
            deaf: 0,
            frozen: None,
            dead: None,
        });
        self.listed.push(at);
        self.desired += 1;
        let present = u32::try_from(self.listed.len()).unwrap_or(u32::MAX);
        self.ledger.most_relays = self.ledger.most_relays.max(present);
        at
    }

    /// `Provider::list`
    pub(super) fn list(&self) -> Result<Listing, ProviderError> {
        let now = self.now;
        if now < self.troubles.list_fails {
            return Err(ProviderError::Failed("internal failure".to_owned()));
        }
        if now < self.troubles.throttled {
            return Err(ProviderError::Throttled("rate exceeded".to_owned()));
        }
        let lost = self.troubles.launch_answer_lost;
        let late = lost > 0 && now < lost + LATE;
        let shown = |host: &&Host| !late || now >= host.launched + LATE;
        let shown = self.present().filter(shown);
        let mut listing = Listing {
            complete: true,
            group: self.group(),
            instances: shown.map(|host| host.instance(now)).collect(),
            ..Listing::default()
        };
        if now < self.troubles.list_truncated {
            listing.instances.truncate(self.listed.len() / 2);
            listing.complete = false;
        }
        if now < self.troubles.list_empty {
            listing.instances.clear();
        }
        Ok(listing)
    }

    fn group(&self) -> Group {
        let now = self.now;
        let in_force = |(until, value): (u64, u32), usual| if now < until { value } else { usual };
        Group {
            min: Some(in_force(self.troubles.min, self.settings.group.0)),
            max: Some(in_force(self.troubles.max, self.settings.group.1)),
            desired: Some(self.desired),
            zones: self.settings.zones.iter().cloned().collect(),
            image: Some(IMAGE.to_owned()),
            instance_type: None,
            launch_suspended: false,
            terminate_suspended: now < self.troubles.terminate_suspended,
            refresh_active: now < self.troubles.refresh_active,
            fixed: false,
        }
    }

    /// `GET /v1/status` of each relay on the provider's list, in its order.
    pub(super) fn status(&self, id: &InstanceId) -> Result<Report, String> {
        self.host(id)
            .ok_or_else(|| "no such host".to_owned())
            .and_then(|host| host.report(self.now, self.wall()))
    }

    /// A STUN Binding to the data path.
    pub(super) fn stun(&self, id: &InstanceId) -> bool {
        self.host(id).is_some_and(|host| host.is_up(self.now))
    }

    /// `Provider::launch`
    pub(super) fn launch(
        &mut self,
        order: &LaunchOrder,
        epoch: u64,
    ) -> Result<Vec<InstanceId>, ProviderError> {
        let launched = self.launch_unless_troubled(order);
        let lost = self.now < self.troubles.launch_answer_lost;
        let (relays, new) = match &launched {
            Ok((relays, new)) => (relays.clone(), *new),
            Err(_) => (Vec::new(), false),
        };
        self.ledger.deed(Deed {
            at: self.now,
            epoch,
            act: "launch",
            relays,
            happened: new,
            live: 0,
            deadline: 0,
        });
        match launched {
            Ok(_) if lost => Err(ProviderError::Unknown("no answer within 10s".to_owned())),
            Ok((relays, _)) => Ok(relays),
            Err(error) => Err(error),
        }
    }

    /// The instances of the launch, and whether they are new.
    fn launch_unless_troubled(
        &mut self,
        order: &LaunchOrder,
    ) -> Result<(Vec<InstanceId>, bool), ProviderError> {
        let now = self.now;
        if now < self.troubles.throttled {
            return Err(ProviderError::Throttled("rate exceeded".to_owned()));
        }
        if let Some(known) = self.tokens.get(&order.token) {
            return Ok((known.clone(), false));
        }
        if self
            .troubles
            .no_capacity
            .get(&order.zone)
            .is_some_and(|until| now < *until)
        {
            return Err(ProviderError::NoCapacity(format!(
                "{} has none",
                order.zone
            )));
        }
        let most = self.group().max.unwrap_or(u32::MAX);
        if self.desired + order.count > most {
            return Err(ProviderError::Refused(format!(
                "the group's maximum is {most}"
            )));
        }
        let relays = self.launch_plainly(&order.zone, order.count);
        self.tokens.insert(order.token.clone(), relays.clone());
        Ok((relays, true))
    }

    fn launch_plainly(&mut self, zone: &ZoneId, count: u32) -> Vec<InstanceId> {
        let hosts: Vec<usize> = (0..count).map(|_| self.start_host(zone)).collect();
        let ids = hosts.into_iter().filter_map(|at| self.hosts.get(at));
        ids.map(|host| host.id.clone()).collect()
    }

    /// A launch by one of the compared algorithms, which knows no tokens.
    pub(super) fn launch_without_token(&mut self, zone: &ZoneId, count: u32) {
        let number = self.hosts.len();
        let token = format!("{zone}-{number}");
        let token = LaunchToken::try_from(token).expect("a name with a number is a name");
        let order = LaunchOrder {
            zone: zone.clone(),
            count,
            token,
        };
        // One that fails is tried again in the next round, as those algorithms do.
        let _ = self.launch(&order, 0);
    }

    /// `Provider::terminate`; calls that are live there are cut.
    pub(super) fn terminate(
        &mut self,
        id: &InstanceId,
        epoch: u64,
    ) -> Result<Ended, ProviderError> {
        self.end(id, epoch, "terminate")
    }

    /// The same by one of the compared algorithms, without a drain before.
    pub(super) fn kill(&mut self, id: &InstanceId) {
        // As with launches: the next round tries again.
        let _ = self.end(id, 0, "kill");
    }

    /// `Provider::finish`: the same for an instance that a hook keeps.
    pub(super) fn finish(&mut self, id: &InstanceId, epoch: u64) -> Result<Ended, ProviderError> {
        self.end(id, epoch, "finish")
    }

    fn end(
        &mut self,
        id: &InstanceId,
        epoch: u64,
        act: &'static str,
    ) -> Result<Ended, ProviderError> {
        let (now, wall) = (self.now, self.wall());
        if now < self.troubles.throttled {
            return Err(ProviderError::Throttled("rate exceeded".to_owned()));
        }
        if now < self.troubles.terminate_suspended && act != "finish" {
            return Err(ProviderError::Refused("Terminate is suspended".to_owned()));
        }
        let Some(at) = super::world::number(id).filter(|at| *at < self.hosts.len()) else {
            return Ok(Ended::Already);
        };
        let Some(host) = self.hosts.get_mut(at) else {
            return Ok(Ended::Already);
        };
        let ends = matches!(host.life, Life::Runs)
            || (matches!(host.life, Life::Waits { .. }) && act == "finish");
        let over = host
            .drain
            .as_ref()
            .is_some_and(|drain| drain.deadline <= wall);
        let live = host.live;
        if ends {
            host.life = Life::Ends { gone: now + ENDING };
        }
        self.ledger.deed(Deed {
            at: now,
            epoch,
            act,
            relays: vec![id.clone()],
            happened: ends,
            live,
            deadline: 0,
        });
        if !ends {
            return Ok(Ended::Already);
        }
        self.desired = self.desired.saturating_sub(1);
        let cut = u64::from(self.drop_calls(at, now));
        self.ledger.cut += cut;
        self.ledger.cut_early += if over { 0 } else { cut };
        Ok(Ended::Ending)
    }

    /// `Provider::extend`
    pub(super) fn extend(&mut self, id: &InstanceId) -> Result<(), ProviderError> {
        let now = self.now;
        if let Some(host) = self.host_mut(id)
            && let Life::Waits { until } = &mut host.life
        {
            *until = now + HOOK;
        }
        Ok(())
    }

    /// `POST /v1/drain`
    pub(super) fn drain(&mut self, id: &InstanceId, deadline: UnixTime, epoch: u64) -> Outcome {
        let wall = self.wall();
        self.order(id, epoch, "drain", |host| {
            let new = host.drain.is_none();
            host.begin_drain(wall, "operator", deadline, "by the fleet's plan");
            new
        })
    }

    /// `DELETE /v1/drain`
    pub(super) fn undrain(&mut self, id: &InstanceId, epoch: u64) -> Outcome {
        self.order(id, epoch, "undrain", |host| host.drain.take().is_some())
    }

    /// An order to a relay; `change` says whether it changed anything.
    fn order(
        &mut self,
        id: &InstanceId,
        epoch: u64,
        act: &'static str,
        change: impl FnOnce(&mut Host) -> bool,
    ) -> Outcome {
        let now = self.now;
        let Some(host) = self.host_mut(id).filter(|host| host.is_up(now)) else {
            return failed("connection refused");
        };
        if host.silent > now || host.deaf > now {
            return failed("no answer within 2s");
        }
        let live = host.live;
        let (happened, outcome) = if host.epoch > epoch {
            (false, Outcome::OlderEpoch { seen: host.epoch })
        } else {
            host.epoch = epoch;
            let done = Outcome::Done {
                instances: Vec::new(),
            };
            (change(host), done)
        };
        let deadline = host
            .drain
            .as_ref()
            .map_or(0, |drain| drain.deadline.as_secs());
        self.ledger.deed(Deed {
            at: now,
            epoch,
            act,
            relays: vec![id.clone()],
            happened,
            live,
            deadline,
        });
        outcome
    }

    /// Lets a mishap happen; whether there was anything that it could befall.
    pub(super) fn strike(&mut self, mishap: &Mishap) -> bool {
        let (now, wall) = (self.now, self.wall());
        let until = now + mishap.lasts;
        match &mishap.fault {
            Fault::Silent(which) => self.each(which, |host| host.silent = until),
            Fault::Deaf(which) => self.each(which, |host| host.deaf = until),
            Fault::Frozen(which) => self.each(which, |host| {
                host.frozen = Some((until, host.fresh_report(now, wall)));
            }),
            Fault::Restarts(which) => self.restart(which),
            Fault::EndedElsewhere(which) => self.each(which, |host| {
                host.life = Life::Waits { until: now + HOOK };
                host.begin_drain(
                    wall,
                    "metadata",
                    wall.plus_secs(HOOK - 600),
                    "the instance ends",
                );
            }),
            Fault::ZoneLost(zone) => self.lose(zone, until),
            Fault::ListFails => set(&mut self.troubles.list_fails, until),
            Fault::ListTruncated => set(&mut self.troubles.list_truncated, until),
            Fault::ListEmpty => set(&mut self.troubles.list_empty, until),
            Fault::Throttled => set(&mut self.troubles.throttled, until),
            Fault::LaunchAnswerLost => set(&mut self.troubles.launch_answer_lost, until),
            Fault::BrokenImage => set(&mut self.troubles.broken_image, until),
            Fault::NoCapacity(zone) => {
                self.troubles.no_capacity.insert(zone.clone(), until);
                true
            }
            Fault::Group(change) => self.change_group(*change, until),
            Fault::Offshore => {
                let zone = ZoneId::try_from("elsewhere-1").expect("a plain name");
                self.start_host(&zone);
                true
            }
            Fault::Outage => {
                self.begin_outage(until);
                true
            }
            // These befall controllers; `befall` does not come here with them.
            Fault::ClockJumps { .. } | Fault::Killed(_) | Fault::Paused { .. } => true,
        }
    }

    /// Relays that a mishap befalls; whether there are any.
    fn befallen(&self, which: &Which) -> Vec<usize> {
        let serves = |at: &&usize| {
            let host = self.hosts.get(**at);
            host.is_some_and(|host| host.is_up(self.now) && host.life == Life::Runs)
        };
        let drains = |at: &&usize| {
            let host = self.hosts.get(**at);
            host.is_some_and(|host| host.drain.is_some() && host.live > 0)
        };
        let up = self.listed.iter().filter(serves);
        match which {
            Which::All => up.copied().collect(),
            Which::Oldest => up.copied().take(1).collect(),
            Which::Draining => up.filter(drains).copied().take(1).collect(),
            Which::Percent(percent) => {
                let share = up.clone().count() * usize::try_from(*percent).unwrap_or(0);
                up.copied().take(share.div_ceil(100)).collect()
            }
        }
    }

    fn each(&mut self, which: &Which, mut strike: impl FnMut(&mut Host)) -> bool {
        let befallen = self.befallen(which);
        for at in &befallen {
            if let Some(host) = self.hosts.get_mut(*at) {
                strike(host);
            }
        }
        !befallen.is_empty()
    }

    fn restart(&mut self, which: &Which) -> bool {
        let befallen = self.befallen(which);
        for at in &befallen {
            let lost = self.drop_calls(*at, self.now);
            self.ledger.lost += u64::from(lost);
            if let Some(host) = self.hosts.get_mut(*at) {
                host.serves = Some(self.now + 5);
            }
        }
        !befallen.is_empty()
    }

    fn lose(&mut self, zone: &ZoneId, until: u64) -> bool {
        self.troubles.no_capacity.insert(zone.clone(), until);
        for at in self.listed.clone() {
            let there = self.hosts.get_mut(at).filter(|host| host.zone == *zone);
            if let Some(host) = there {
                host.dead = Some(self.now);
                let lost = self.drop_calls(at, self.now);
                self.ledger.lost += u64::from(lost);
            }
        }
        true
    }

    fn change_group(&mut self, change: GroupChange, until: u64) -> bool {
        match change {
            GroupChange::Min(min) => self.troubles.min = (until, min),
            GroupChange::Max(max) => self.troubles.max = (until, max),
            GroupChange::TerminateSuspended => self.troubles.terminate_suspended = until,
            GroupChange::RefreshActive => self.troubles.refresh_active = until,
            // As Auto Scaling does it: the group follows at once, in zones of its own choice.
            GroupChange::Desired(by) if by >= 0 => {
                for number in 0..by.unsigned_abs() {
                    let at =
                        usize::try_from(number).unwrap_or(0) % self.settings.zones.len().max(1);
                    if let Some(zone) = self.settings.zones.get(at) {
                        self.start_host(zone);
                    }
                }
            }
            GroupChange::Desired(by) => {
                self.desired = self.desired.saturating_sub(by.unsigned_abs());
                for _ in 0..by.unsigned_abs() {
                    let ends = Mishap {
                        at: self.now,
                        lasts: 0,
                        fault: Fault::EndedElsewhere(Which::Oldest),
                    };
                    self.strike(&ends);
                }
            }
        }
        true
    }
}

fn set(place: &mut u64, until: u64) -> bool {
    *place = until;
    true
}

fn failed(words: &str) -> Outcome {
    Outcome::Failed {
        words: words.to_owned(),
    }
}
