//! What happens to machines by itself: they boot, wait for hooks, end; the group keeps its desired number.
//!
//! Responsible for doing in virtual time what the service does in minutes. Not responsible for requests.

use std::time::Duration;

use crate::group::{Activity, Change, Group, Machine, State};

impl Group {
    /// Moves time, and does everything that falls due on the way, in its order.
    pub fn advance(&mut self, by: Duration) {
        let end = self.now.saturating_add(by);
        self.settle();
        while let Some(next) = self.next_event().filter(|at| *at <= end) {
            self.now = next;
            self.settle();
        }
        self.now = end;
    }

    fn next_event(&self) -> Option<Duration> {
        self.machines.values().filter_map(|it| it.until).min()
    }

    /// Does what is due now, until nothing more is.
    pub(crate) fn settle(&mut self) {
        // A group whose machines boot and end at once could go on for ever if it contradicted itself.
        for _ in 0..1000 {
            let due = self
                .machines
                .iter()
                .find(|(_, it)| it.until.is_some_and(|until| until <= self.now))
                .map(|(id, _)| id.clone());
            match due {
                Some(id) => self.next_state(&id),
                None => {
                    if !self.converge() {
                        return;
                    }
                }
            }
        }
    }

    fn next_state(&mut self, id: &str) {
        let Some(machine) = self.machines.get(id) else {
            return;
        };
        match machine.state {
            State::Pending => match self.hook(false) {
                Some((heartbeat, _)) => self.enter(id, State::PendingWait, Some(heartbeat)),
                None => self.enter(id, State::InService, None),
            },
            // The time to complete it is over: the default result counts.
            State::PendingWait => match self.hook(false) {
                Some((_, default)) if default == "ABANDON" => self.end(id),
                Some(_) | None => self.enter(id, State::InService, None),
            },
            State::TerminatingWait => self.enter(id, State::Terminating, Some(self.end_time)),
            State::Terminating => {
                let zone = machine.zone;
                self.machines.remove(id);
                self.changed(id, zone, false);
            }
            State::InService | State::Standby => self.enter(id, machine.state, None),
        }
    }

    pub(crate) fn enter(&mut self, id: &str, state: State, lasts: Option<Duration>) {
        let now = self.now;
        if let Some(machine) = self.machines.get_mut(id) {
            machine.state = state;
            machine.since = now;
            machine.until = lasts.map(|lasts| now.saturating_add(lasts));
        }
    }

    /// The hook for this transition: heartbeat and default result.
    pub(crate) fn hook(&self, terminating: bool) -> Option<(Duration, String)> {
        let hook = self
            .hooks
            .iter()
            .find(|hook| hook.terminating == terminating)?;
        Some((hook.heartbeat, hook.default_result.clone()))
    }

    /// Ends a machine: a hook may hold it.
    pub(crate) fn end(&mut self, id: &str) {
        match self.hook(true) {
            Some((heartbeat, _)) => self.enter(id, State::TerminatingWait, Some(heartbeat)),
            None => self.enter(id, State::Terminating, Some(self.end_time)),
        }
    }

    pub(crate) fn counted(&self) -> u32 {
        let counted = self.machines.values().filter(|it| it.state.counts());
        u32::try_from(counted.count()).unwrap_or(u32::MAX)
    }

    /// One step towards the desired capacity; whether there was one.
    fn converge(&mut self) -> bool {
        let have = self.counted();
        if have < self.desired && !self.suspended.contains("Launch") {
            let Some(zone) = self.emptiest_zone() else {
                return false;
            };
            let cause = format!(
                "At {} an instance was started in response to a difference between desired and actual capacity, increasing the \
                 capacity from {have} to {}.",
                crate::query::time(self.unix()),
                have + 1
            );
            self.begin(zone, &cause);
            return true;
        }
        if have > self.desired && !self.suspended.contains("Terminate") {
            let Some(victim) = self.victim() else {
                return false;
            };
            self.note(
                &format!("Terminating EC2 instance: {victim}"),
                "an instance was taken out of service in response to a difference between desired and actual capacity",
                "Successful",
            );
            self.end(&victim);
            return true;
        }
        false
    }

    /// The zone with the fewest machines among those that have some to give.
    fn emptiest_zone(&self) -> Option<usize> {
        let machines = |zone: usize| {
            let here = |it: &&Machine| it.zone == zone && it.state.counts();
            self.machines.values().filter(here).count()
        };
        let open = self
            .zones
            .iter()
            .enumerate()
            .filter(|(_, zone)| zone.has_capacity);
        open.map(|(index, _)| index)
            .min_by_key(|index| (machines(*index), *index))
    }

    /// Whom the group would end: the oldest without protection in the fullest zone.
    fn victim(&self) -> Option<String> {
        let mut open: Vec<(&String, &Machine)> = self
            .machines
            .iter()
            .filter(|(_, it)| it.state == State::InService && !it.protected)
            .collect();
        let here = |zone: usize| open.iter().filter(|(_, it)| it.zone == zone).count();
        let fullest = (0..self.zones.len()).max_by_key(|zone| here(*zone))?;
        open.retain(|(_, it)| it.zone == fullest);
        open.first().map(|(id, _)| (*id).clone())
    }

    /// Launches a machine.
    pub(crate) fn begin(&mut self, zone: usize, cause: &str) -> String {
        let id = format!("i-{:017x}", self.ever.len() + 1);
        self.ever.push(id.clone());
        let version = self
            .template
            .as_ref()
            .map_or_else(String::new, |(_, version)| {
                // Asked for by name, it is resolved when the machine is launched.
                if version.starts_with('$') {
                    "7".to_owned()
                } else {
                    version.clone()
                }
            });
        self.machines.insert(
            id.clone(),
            Machine {
                zone,
                state: State::Pending,
                since: self.now,
                until: Some(self.now.saturating_add(self.boot_time)),
                protected: self.protects_new,
                healthy: true,
                version,
            },
        );
        self.note(
            &format!("Launching a new EC2 instance: {id}"),
            cause,
            "Successful",
        );
        self.changed(&id, zone, true);
        id
    }

    pub(crate) fn note(&mut self, description: &str, cause: &str, status: &'static str) {
        self.activities.push(Activity {
            at: self.now,
            description: description.to_owned(),
            cause: cause.to_owned(),
            status,
        });
    }

    fn changed(&mut self, id: &str, zone: usize, began: bool) {
        let zone = self.zones.get(zone).map(|zone| zone.id.clone());
        self.changes.push(Change {
            id: id.to_owned(),
            zone: zone.unwrap_or_default(),
            began,
        });
    }

    /// Seconds since 1970, as this group sees them.
    pub(crate) fn unix(&self) -> u64 {
        self.epoch.saturating_add(self.now.as_secs())
    }
}
