//! The actions of the Auto Scaling API that the controller uses, and some that its operators do.
//!
//! Responsible for what each does and answers, in the service's words where those are known. Not responsible for time
//! (`life`) nor for answers that get lost (`http`).

use std::collections::BTreeMap;

use crate::group::{Group, Machine, State};
use crate::query::{element, list, members, text, time};

/// Status, code and words of a refusal.
pub(crate) type Refusal = (u16, &'static str, String);

type Parameters = BTreeMap<String, String>;

fn invalid(words: impl Into<String>) -> Refusal {
    (400, "ValidationError", words.into())
}

fn of<'a>(parameters: &'a Parameters, name: &str) -> &'a str {
    parameters.get(name).map_or("", String::as_str)
}

fn number(parameters: &Parameters, name: &str) -> Result<u32, Refusal> {
    of(parameters, name)
        .parse()
        .map_err(|_| invalid(format!("{name} is no number")))
}

impl Group {
    /// Does what `action` asks; the inside of its result.
    pub(crate) fn act(&mut self, action: &str, parameters: &Parameters) -> Result<String, Refusal> {
        if self.denied.contains(action) {
            return Err((
                403,
                "AccessDenied",
                format!(
                    "User: arn:aws:sts::111122223333:assumed-role/controller/i-0 is not authorized to perform: \
                     autoscaling:{action} on resource: {}",
                    self.name
                ),
            ));
        }
        self.settle();
        match action {
            "DescribeAutoScalingGroups" => self.describe_groups(parameters),
            "DescribeAutoScalingInstances" => self.describe_instances(parameters),
            "DescribeInstanceRefreshes" => {
                self.named(parameters).map(|()| self.describe_refreshes())
            }
            "DescribeScalingActivities" => {
                self.named(parameters).map(|()| self.describe_activities())
            }
            "DescribeLifecycleHooks" => self.named(parameters).map(|()| self.describe_hooks()),
            "DescribePolicies" => Ok(members("ScalingPolicies", &self.policies, |name| {
                text("PolicyName", name) + &text("AutoScalingGroupName", &self.name)
            })),
            "DescribeScheduledActions" => Ok(members(
                "ScheduledUpdateGroupActions",
                &self.scheduled,
                |name| {
                    text("ScheduledActionName", name) + &text("AutoScalingGroupName", &self.name)
                },
            )),
            "LaunchInstances" if self.launch_instances => self.launch_instances(parameters),
            "SetDesiredCapacity" => self.set_desired(parameters),
            "TerminateInstanceInAutoScalingGroup" => self.terminate(parameters),
            "RecordLifecycleActionHeartbeat" => self.heartbeat(parameters),
            "CompleteLifecycleAction" => self.complete(parameters),
            "SuspendProcesses" => self.suspend(parameters, true),
            "ResumeProcesses" => self.suspend(parameters, false),
            "SetInstanceProtection" => self.protect(parameters),
            "UpdateAutoScalingGroup" => self.update(parameters),
            "StartInstanceRefresh" => {
                self.named(parameters)?;
                self.refreshes.insert(0, "Pending".to_owned());
                Ok(text(
                    "InstanceRefreshId",
                    "08b91cf7-8fa6-48af-b6a6-d227f40f1b9b",
                ))
            }
            _ => Err((
                400,
                "InvalidAction",
                format!("Could not find operation {action} for version 2011-01-01"),
            )),
        }
    }

    /// The request names this group.
    fn named(&self, parameters: &Parameters) -> Result<(), Refusal> {
        let name = of(parameters, "AutoScalingGroupName");
        if name == self.name {
            Ok(())
        } else {
            Err(invalid(format!("Group {name} not found")))
        }
    }

    fn describe_groups(&self, parameters: &Parameters) -> Result<String, Refusal> {
        let names = list(parameters, "AutoScalingGroupNames");
        if !names.is_empty() && !names.contains(&self.name) {
            return Ok(members(
                "AutoScalingGroups",
                std::iter::empty::<()>(),
                |()| String::new(),
            ));
        }
        let ids: Vec<&String> = self.machines.keys().collect();
        let (from, next) = self.paged(parameters, ids.len())?;
        let here = ids.into_iter().skip(from).take(self.page);
        let instances = members("Instances", here, |id| self.instance(id, false));
        Ok(members("AutoScalingGroups", [()], |()| {
            self.described() + &instances
        }) + &next)
    }

    /// Where the page begins, and the element that names the next one.
    fn paged(&self, parameters: &Parameters, all: usize) -> Result<(usize, String), Refusal> {
        let token = of(parameters, "NextToken");
        let from: usize = match token.strip_prefix("page-") {
            None if token.is_empty() => 0,
            Some(from) => from
                .parse()
                .map_err(|_| (400, "InvalidNextToken", "The token is invalid.".to_owned()))?,
            None => return Err((400, "InvalidNextToken", "The token is invalid.".to_owned())),
        };
        let end = from.saturating_add(self.page);
        let next = if end < all {
            text("NextToken", &format!("page-{end}"))
        } else {
            String::new()
        };
        Ok((from, next))
    }

    fn described(&self) -> String {
        let mut xml = text("AutoScalingGroupName", &self.name)
            + &text("MinSize", &self.min.to_string())
            + &text("MaxSize", &self.max.to_string())
            + &text("DesiredCapacity", &self.desired.to_string())
            + &text("HealthCheckType", &self.health_check)
            + &text(
                "NewInstancesProtectedFromScaleIn",
                &self.protects_new.to_string(),
            )
            + &text("CapacityRebalance", &self.rebalances_capacity.to_string())
            + &text("DeletionProtection", &self.deletion_protection)
            + &text("VPCZoneIdentifier", "subnet-0a,subnet-0b");
        let zones = |of: fn(&crate::Zone) -> &str| -> String {
            let zones = self.zones.iter();
            zones.map(|zone| text("member", of(zone))).collect()
        };
        xml += &element("AvailabilityZones", &zones(|zone| &zone.name));
        if self.gives_zone_ids {
            xml += &element("AvailabilityZoneIds", &zones(|zone| &zone.id));
        }
        xml += &members("SuspendedProcesses", &self.suspended, |name| {
            text("ProcessName", name)
        });
        if let Some(seconds) = self.max_lifetime {
            xml += &text("MaxInstanceLifetime", &seconds.to_string());
        }
        if self.warm_pool {
            xml += &element("WarmPoolConfiguration", &text("PoolState", "Stopped"));
        }
        match (&self.template, &self.mixed) {
            (Some((id, version)), None) => xml += &template(id, version),
            (Some((id, version)), Some(mixed)) => {
                let distribution = text(
                    "OnDemandPercentageAboveBaseCapacity",
                    &mixed.on_demand_percentage.to_string(),
                );
                let overrides =
                    members("Overrides", &mixed.overrides, |it| text("InstanceType", it));
                let specification = text("LaunchTemplateId", id) + &text("Version", version);
                let launch = element("LaunchTemplateSpecification", &specification) + &overrides;
                xml += &element(
                    "MixedInstancesPolicy",
                    &(element("LaunchTemplate", &launch)
                        + &element("InstancesDistribution", &distribution)),
                );
            }
            (None, _) => xml += &text("LaunchConfigurationName", "old"),
        }
        xml
    }

    /// An instance as it is described with its group, or by itself.
    fn instance(&self, id: &str, by_itself: bool) -> String {
        let Some(machine) = self.machines.get(id) else {
            return String::new();
        };
        let mut xml = text("InstanceId", id);
        if by_itself {
            xml += &text("AutoScalingGroupName", &self.name);
        }
        if let Some(zone) = self.zones.get(machine.zone) {
            xml += &text("AvailabilityZone", &zone.name);
            if self.gives_zone_ids {
                xml += &text("AvailabilityZoneId", &zone.id);
            }
        }
        let health = match (machine.healthy, by_itself) {
            (true, true) => "HEALTHY",
            (true, false) => "Healthy",
            (false, true) => "UNHEALTHY",
            (false, false) => "Unhealthy",
        };
        xml += &text("InstanceType", &self.instance_type);
        xml += &text("LifecycleState", machine.state.as_str());
        xml += &text("HealthStatus", health);
        xml += &text("ProtectedFromScaleIn", &machine.protected.to_string());
        if let Some((id, _)) = &self.template {
            xml += &template(id, &machine.version);
        }
        xml
    }

    fn describe_instances(&self, parameters: &Parameters) -> Result<String, Refusal> {
        let ids = list(parameters, "InstanceIds");
        if ids.len() > 50 {
            return Err(invalid("The number of instance ids must be at most 50"));
        }
        let here: Vec<&String> = self
            .machines
            .keys()
            .filter(|id| ids.is_empty() || ids.contains(*id))
            .collect();
        let (from, next) = self.paged(parameters, here.len())?;
        let here = here.into_iter().skip(from).take(self.page);
        Ok(members("AutoScalingInstances", here, |id| self.instance(id, true)) + &next)
    }

    fn describe_refreshes(&self) -> String {
        members("InstanceRefreshes", &self.refreshes, |status| {
            text("AutoScalingGroupName", &self.name) + &text("Status", status)
        })
    }

    fn describe_activities(&self) -> String {
        let newest = self.activities.iter().rev().take(100);
        members("Activities", newest, |activity| {
            text("ActivityId", "1")
                + &text("AutoScalingGroupName", &self.name)
                + &text("Description", &activity.description)
                + &text("Cause", &activity.cause)
                + &text(
                    "StartTime",
                    &time(self.epoch.saturating_add(activity.at.as_secs())),
                )
                + &text("StatusCode", activity.status)
        })
    }

    fn describe_hooks(&self) -> String {
        members("LifecycleHooks", &self.hooks, |hook| {
            let transition = if hook.terminating {
                "autoscaling:EC2_INSTANCE_TERMINATING"
            } else {
                "autoscaling:EC2_INSTANCE_LAUNCHING"
            };
            text("LifecycleHookName", &hook.name)
                + &text("AutoScalingGroupName", &self.name)
                + &text("LifecycleTransition", transition)
                + &text("HeartbeatTimeout", &hook.heartbeat.as_secs().to_string())
                + &text("DefaultResult", &hook.default_result)
        })
    }

    fn launch_instances(&mut self, parameters: &Parameters) -> Result<String, Refusal> {
        self.named(parameters)?;
        let count = number(parameters, "RequestedCapacity")?;
        let token = of(parameters, "ClientToken").to_owned();
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_/".contains(c);
        if token.len() > 64 || !token.chars().all(fits) {
            return Err(invalid(
                "Value at 'clientToken' failed to satisfy constraint: [A-Za-z0-9\\-_\\/]+, at most 64 characters",
            ));
        }
        let asked = format!("{:?}", parameters);
        if let Some((before, answer)) = self.tokens.get(&token).filter(|_| !token.is_empty()) {
            return if *before == asked {
                Ok(answer.clone())
            } else {
                Err((
                    400,
                    "IdempotentParameterMismatch",
                    "The client token was used with other parameters before.".to_owned(),
                ))
            };
        }
        if self.template.is_none() {
            return Err(invalid(
                "LaunchInstances is not supported for groups that use a launch configuration.",
            ));
        }
        let zone = self.chosen_zone(parameters)?;
        if self.desired.saturating_add(count) > self.max {
            return Err(invalid(format!(
                "You are trying to launch {count} instances, which is above max size ({}).",
                self.max
            )));
        }
        if self.suspended.contains("Launch") {
            return Err(invalid("The Launch process of the group is suspended."));
        }
        let answer = self.launched(zone, count, &token);
        self.tokens.insert(token, (asked, answer.clone()));
        Ok(answer)
    }

    fn chosen_zone(&self, parameters: &Parameters) -> Result<usize, Refusal> {
        let names = list(parameters, "AvailabilityZones");
        let ids = list(parameters, "AvailabilityZoneIds");
        if !names.is_empty() && !ids.is_empty() {
            return Err(invalid(
                "You cannot specify both AvailabilityZones and AvailabilityZoneIds.",
            ));
        }
        if names.is_empty() && ids.is_empty() {
            return Err(invalid(
                "Either AvailabilityZones or SubnetIds must be specified for groups with multiple Availability Zones.",
            ));
        }
        let here = |zone: &crate::Zone| names.contains(&zone.name) || ids.contains(&zone.id);
        self.zones
            .iter()
            .position(here)
            .ok_or_else(|| invalid("The Availability Zone is not in the group's configuration."))
    }

    fn launched(&mut self, zone: usize, count: u32, token: &str) -> String {
        let (name, id, has_capacity) = match self.zones.get(zone) {
            Some(zone) => (zone.name.clone(), zone.id.clone(), zone.has_capacity),
            None => Default::default(),
        };
        let place = text("InstanceType", &self.instance_type)
            + &text("MarketType", "on-demand")
            + &text("SubnetId", "subnet-0a")
            + &text("AvailabilityZone", &name)
            + &text("AvailabilityZoneId", &id);
        let (instances, errors) = if has_capacity {
            self.desired = self.desired.saturating_add(count);
            let cause = format!("a user request launched {count} instances synchronously");
            let ids: Vec<String> = (0..count).map(|_| self.begin(zone, &cause)).collect();
            let ids: String = ids.iter().map(|id| text("member", id)).collect();
            let collection = place + &element("InstanceIds", &ids);
            (element("member", &collection), String::new())
        } else {
            let words = format!(
                "We currently do not have sufficient {} capacity in the Availability Zone you requested ({name}).",
                self.instance_type
            );
            self.note("Launching a new EC2 instance", &words, "Failed");
            let error = place
                + &text("ErrorCode", "InsufficientInstanceCapacity")
                + &text("ErrorMessage", &words);
            (String::new(), element("member", &error))
        };
        text("AutoScalingGroupName", &self.name)
            + &text("ClientToken", token)
            + &element("Instances", &instances)
            + &element("Errors", &errors)
    }

    fn set_desired(&mut self, parameters: &Parameters) -> Result<String, Refusal> {
        self.named(parameters)?;
        let desired = number(parameters, "DesiredCapacity")?;
        if desired > self.max {
            return Err(invalid(format!(
                "New SetDesiredCapacity value {desired} is above max value {} for the AutoScalingGroup.",
                self.max
            )));
        }
        if desired < self.min {
            return Err(invalid(format!(
                "New SetDesiredCapacity value {desired} is below min value {} for the AutoScalingGroup.",
                self.min
            )));
        }
        let cause = format!(
            "At {} a user request explicitly set group desired capacity changing the desired capacity from {} to {desired}.",
            time(self.unix()),
            self.desired
        );
        self.note("Setting the desired capacity", &cause, "Successful");
        self.desired = desired;
        self.settle();
        Ok(String::new())
    }

    fn terminate(&mut self, parameters: &Parameters) -> Result<String, Refusal> {
        let id = of(parameters, "InstanceId").to_owned();
        let decrements = of(parameters, "ShouldDecrementDesiredCapacity") == "true";
        let Some(machine) = self.machines.get(&id) else {
            return Err(invalid(format!(
                "Instance Id not found - No managed instance found for instance ID: {id}"
            )));
        };
        let ending = matches!(machine.state, State::Terminating | State::TerminatingWait);
        if decrements && self.desired <= self.min {
            return Err(invalid(format!(
                "Currently, desiredSize equals minSize ({}). Terminating instance without replacement will violate group's min \
                 size constraint. Either set shouldDecrementDesiredCapacity flag to false or lower group's min size.",
                self.min
            )));
        }
        if decrements {
            // Also for one that is ending already: the decrement is of the group.
            self.desired = self.desired.saturating_sub(1);
        }
        self.note(
            &format!("Terminating EC2 instance: {id}"),
            "instance was taken out of service in response to a user request",
            "InProgress",
        );
        if !ending {
            self.end(&id);
        }
        self.settle();
        let activity = text("ActivityId", "1")
            + &text("AutoScalingGroupName", &self.name)
            + &text(
                "Cause",
                "instance was taken out of service in response to a user request",
            )
            + &text("StartTime", &time(self.unix()))
            + &text("StatusCode", "InProgress");
        Ok(element("Activity", &activity))
    }

    /// The machine that a hook holds, by the request's names.
    fn held(&self, parameters: &Parameters) -> Result<(String, State), Refusal> {
        self.named(parameters)?;
        let name = of(parameters, "LifecycleHookName");
        let id = of(parameters, "InstanceId");
        let Some(hook) = self.hooks.iter().find(|hook| hook.name == name) else {
            return Err(invalid(format!(
                "No Lifecycle Hook found with name {name} for group {}",
                self.name
            )));
        };
        let waits = if hook.terminating {
            State::TerminatingWait
        } else {
            State::PendingWait
        };
        let here = |machine: &&Machine| machine.state == waits;
        match self.machines.get(id).filter(here) {
            Some(machine) => Ok((id.to_owned(), machine.state)),
            None => Err(invalid(format!(
                "No active Lifecycle Action found with instance ID {id}"
            ))),
        }
    }

    fn heartbeat(&mut self, parameters: &Parameters) -> Result<String, Refusal> {
        let (id, state) = self.held(parameters)?;
        let heartbeat = self
            .hook(state == State::TerminatingWait)
            .map(|(heartbeat, _)| heartbeat);
        self.enter(&id, state, heartbeat);
        Ok(String::new())
    }

    fn complete(&mut self, parameters: &Parameters) -> Result<String, Refusal> {
        let (id, state) = self.held(parameters)?;
        let abandons = of(parameters, "LifecycleActionResult") == "ABANDON";
        match state {
            State::TerminatingWait => self.enter(&id, State::Terminating, Some(self.end_time)),
            State::PendingWait if abandons => self.end(&id),
            State::PendingWait => self.enter(&id, State::InService, None),
            State::Pending | State::InService | State::Terminating | State::Standby => {}
        }
        self.settle();
        Ok(String::new())
    }

    fn suspend(&mut self, parameters: &Parameters, suspends: bool) -> Result<String, Refusal> {
        self.named(parameters)?;
        for name in list(parameters, "ScalingProcesses") {
            if suspends {
                self.suspended.insert(name);
            } else {
                self.suspended.remove(&name);
            }
        }
        self.settle();
        Ok(String::new())
    }

    fn protect(&mut self, parameters: &Parameters) -> Result<String, Refusal> {
        self.named(parameters)?;
        let protected = of(parameters, "ProtectedFromScaleIn") == "true";
        for id in list(parameters, "InstanceIds") {
            let machine = self.machines.get_mut(&id);
            machine
                .ok_or_else(|| invalid(format!("The instance {id} is not part of the group")))?
                .protected = protected;
        }
        Ok(String::new())
    }

    fn update(&mut self, parameters: &Parameters) -> Result<String, Refusal> {
        self.named(parameters)?;
        let given = |name: &str, now: u32| match parameters.get(name) {
            Some(_) => number(parameters, name),
            None => Ok(now),
        };
        let (min, max) = (given("MinSize", self.min)?, given("MaxSize", self.max)?);
        if min > max {
            return Err(invalid(
                "Max bound must be greater than or equal to min bound",
            ));
        }
        (self.min, self.max) = (min, max);
        self.desired = self.desired.clamp(min, max);
        self.settle();
        Ok(String::new())
    }
}

fn template(id: &str, version: &str) -> String {
    let inner = text("LaunchTemplateId", id)
        + &text("LaunchTemplateName", "relay")
        + &text("Version", version);
    element("LaunchTemplate", &inner)
}
