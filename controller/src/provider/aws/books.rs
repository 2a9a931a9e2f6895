//! The group as the API describes it, in our nouns.
//!
//! Responsible for reading what was answered, without a call of its own: what cannot be read makes the list incomplete, never
//! shorter. Not responsible for zones being allowed (`policy`).

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_autoscaling::types::{
    AutoScalingGroup, AutoScalingInstanceDetails, Instance as Described, InstanceRefreshStatus,
    LaunchTemplateSpecification,
};

use super::call::plain;
use crate::fleet::{Group, InstanceId, Lifecycle, ZoneId};
use crate::provider::{Instance, Listing};

/// Zones' ids by their names in this account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Zones {
    configured: BTreeMap<String, ZoneId>,
}

impl Zones {
    pub(super) fn new(configured: &BTreeMap<String, ZoneId>) -> Self {
        Self {
            configured: configured.clone(),
        }
    }

    /// The zone of an answer that gives an id, a name or both. A name that nobody has mapped is a zone that nobody has
    /// allowed: its id here is one that no zone has.
    pub(super) fn zone(&self, id: Option<&str>, name: Option<&str>) -> Option<ZoneId> {
        if let Some(id) = id.filter(|id| !id.is_empty()) {
            return ZoneId::try_from(id).ok();
        }
        let name = name.filter(|name| !name.is_empty())?;
        match self.configured.get(name) {
            Some(id) => Some(id.clone()),
            None => ZoneId::try_from(format!("unknown:{name}")).ok(),
        }
    }

    /// The same, with what the API says of instances: a group that names its zones alone may have instances that say both.
    fn learnt(&self, groups: &[AutoScalingGroup]) -> Self {
        let mut learnt = self.clone();
        let instances = groups.iter().flat_map(AutoScalingGroup::instances);
        for it in instances {
            let id = it
                .availability_zone_id()
                .and_then(|id| ZoneId::try_from(id).ok());
            if let (Some(name), Some(id)) = (it.availability_zone(), id) {
                learnt.configured.insert(name.to_owned(), id);
            }
        }
        learnt
    }

    /// This account's name of a zone.
    pub(super) fn name(&self, zone: &ZoneId) -> Option<&str> {
        self.configured
            .iter()
            .find_map(|(name, id)| (id == zone).then_some(name.as_str()))
    }
}

/// A list in the making.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) group: Group,
    pub(super) instances: BTreeMap<InstanceId, Instance>,
    /// The API gives ids of zones, so it takes them too.
    pub(super) gives_zone_ids: bool,
    /// Why the list is not all there is.
    pub(super) gaps: Vec<String>,
}

impl Books {
    /// Reads the pages that describe `name`.
    ///
    /// # Errors
    /// There is no such group in them.
    pub(super) fn read(
        name: &str,
        pages: &[AutoScalingGroup],
        zones: &Zones,
    ) -> Result<Self, String> {
        let zones = &zones.learnt(pages);
        let mut books = Self::default();
        let mut found = 0_u32;
        for group in pages {
            if group.auto_scaling_group_name() != Some(name) {
                continue;
            }
            found += 1;
            books.group(group, zones);
            match &group.instances {
                Some(instances) => instances.iter().for_each(|it| books.described(it, zones)),
                None => books
                    .gaps
                    .push("the answer names no instances at all".to_owned()),
            }
        }
        match found {
            0 => Err(format!(
                "there is no Auto Scaling group \"{name}\" here; correct provider.aws.auto-scaling-group or provider.aws.region"
            )),
            _ => Ok(books),
        }
    }

    fn group(&mut self, group: &AutoScalingGroup, zones: &Zones) {
        let number = |value: Option<i32>| value.and_then(|value| u32::try_from(value).ok());
        self.group.min = number(group.min_size);
        self.group.max = number(group.max_size);
        self.group.desired = number(group.desired_capacity);
        // Figures that are missing are read as zeros: what does not fit together was not said.
        let fits = |it: &Group| Some(it.min? <= it.desired? && it.desired? <= it.max?);
        if fits(&self.group) != Some(true) {
            self.gaps.push(format!(
                "the group's figures contradict each other: MinSize {:?}, DesiredCapacity {:?}, MaxSize {:?}",
                self.group.min, self.group.desired, self.group.max
            ));
        }
        let ids = group.availability_zone_ids();
        self.gives_zone_ids |= !ids.is_empty();
        if ids.is_empty() {
            let named = group.availability_zones().iter();
            self.group
                .zones
                .extend(named.filter_map(|name| zones.zone(None, Some(name))));
        } else {
            self.group
                .zones
                .extend(ids.iter().filter_map(|id| zones.zone(Some(id), None)));
        }
        self.group.image = template(group).and_then(image);
        for process in group.suspended_processes() {
            match process.process_name() {
                Some("Launch") => self.group.launch_suspended = true,
                Some("Terminate") => self.group.terminate_suspended = true,
                Some(_) | None => {}
            }
        }
    }

    fn described(&mut self, it: &Described, zones: &Zones) {
        self.add(
            zones,
            &Entry {
                id: it.instance_id(),
                zone: (it.availability_zone_id(), it.availability_zone()),
                lifecycle: it.lifecycle_state().map(|state| state.as_str()),
                instance_type: it.instance_type(),
                template: it.launch_template(),
                health: it.health_status(),
            },
        );
    }

    /// Adds what was asked for by its id.
    pub(super) fn detailed(&mut self, it: &AutoScalingInstanceDetails, zones: &Zones) {
        self.add(
            zones,
            &Entry {
                id: it.instance_id(),
                zone: (it.availability_zone_id(), it.availability_zone()),
                lifecycle: it.lifecycle_state(),
                instance_type: it.instance_type(),
                template: it.launch_template(),
                health: it.health_status(),
            },
        );
    }

    fn add(&mut self, zones: &Zones, entry: &Entry<'_>) {
        self.gives_zone_ids |= entry.zone.0.is_some();
        match entry.instance(zones) {
            Ok(instance) => {
                let id = instance.id.clone();
                let before = self.instances.insert(id.clone(), instance);
                if before.is_some_and(|before| self.instances.get(&id) != Some(&before)) {
                    self.gaps
                        .push(format!("the answer says two different things of {id}"));
                }
            }
            Err(gap) => self.gaps.push(gap),
        }
    }

    /// The list.
    pub(super) fn listing(self) -> Listing {
        Listing {
            complete: self.gaps.is_empty(),
            group: self.group,
            instances: self.instances.into_values().collect(),
            launched: BTreeMap::new(),
        }
    }

    /// Instances that count towards the desired capacity.
    pub(super) fn counted(&self) -> u32 {
        let counts =
            |it: &&Instance| matches!(it.lifecycle, Lifecycle::Pending | Lifecycle::InService);
        u32::try_from(self.instances.values().filter(counts).count()).unwrap_or(u32::MAX)
    }

    pub(super) fn ids(&self) -> BTreeSet<InstanceId> {
        self.instances.keys().cloned().collect()
    }
}

/// What two forms of answers say alike of an instance.
struct Entry<'a> {
    id: Option<&'a str>,
    /// Id and name.
    zone: (Option<&'a str>, Option<&'a str>),
    lifecycle: Option<&'a str>,
    instance_type: Option<&'a str>,
    template: Option<&'a LaunchTemplateSpecification>,
    health: Option<&'a str>,
}

impl Entry<'_> {
    fn instance(&self, zones: &Zones) -> Result<Instance, String> {
        let id = self.id.unwrap_or_default();
        let id = InstanceId::try_from(id)
            .map_err(|why| format!("an instance's id (\"{}\") {why}", plain(id)))?;
        let zone = zones
            .zone(self.zone.0, self.zone.1)
            .ok_or_else(|| format!("the answer does not say in which zone {id} is"))?;
        let lifecycle = self
            .lifecycle
            .and_then(lifecycle)
            .ok_or_else(|| match self.lifecycle {
                Some(word) => format!(
                    "{id} is in the state \"{}\", which is not known",
                    plain(word)
                ),
                None => format!("the answer does not say in which state {id} is"),
            })?;
        Ok(Instance {
            id,
            zone,
            lifecycle,
            instance_type: self.instance_type.map(plain).unwrap_or_default(),
            image: self.template.and_then(image).unwrap_or_default(),
            age: None,
            admin: None,
            unhealthy: self
                .health
                .is_some_and(|health| health.eq_ignore_ascii_case("unhealthy")),
        })
    }
}

/// The state in our words; `None`: one that is not known here.
pub(super) fn lifecycle(word: &str) -> Option<Lifecycle> {
    // DescribeAutoScalingInstances writes the same words with other capitals at times.
    Some(match word.to_ascii_lowercase().as_str() {
        "pending" | "pending:wait" | "pending:proceed" => Lifecycle::Pending,
        "inservice" => Lifecycle::InService,
        "terminating:wait" => Lifecycle::TerminatingWait,
        "terminating" | "terminating:proceed" | "terminating:retained" | "terminated" => {
            Lifecycle::Terminating
        }
        "standby" | "enteringstandby" | "detaching" | "detached" | "quarantined" => {
            Lifecycle::SetAside
        }
        word if word.starts_with("warmed:")
            || word.starts_with("replacingrootvolume")
            || word == "rootvolumereplaced" =>
        {
            Lifecycle::SetAside
        }
        _ => return None,
    })
}

/// Whether a refresh in this state replaces instances, or is about to. What is not known does.
pub(crate) fn refreshes(status: Option<&InstanceRefreshStatus>) -> bool {
    let over = matches!(
        status,
        Some(
            InstanceRefreshStatus::Successful
                | InstanceRefreshStatus::Failed
                | InstanceRefreshStatus::Cancelled
                | InstanceRefreshStatus::RollbackFailed
                | InstanceRefreshStatus::RollbackSuccessful
        )
    );
    !over
}

/// The launch template that new instances get.
pub(crate) fn template(group: &AutoScalingGroup) -> Option<&LaunchTemplateSpecification> {
    group.launch_template().or_else(|| {
        group
            .mixed_instances_policy()?
            .launch_template()?
            .launch_template_specification()
    })
}

/// A template and its version as one word. A version that is chosen at launch (`$Latest`) says nothing of the image.
fn image(template: &LaunchTemplateSpecification) -> Option<String> {
    let name = template
        .launch_template_id()
        .or_else(|| template.launch_template_name())?;
    let version = template.version()?;
    (!version.starts_with('$')).then(|| plain(&format!("{name}:{version}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_by_name_alone_is_mapped_or_of_no_allowed_zone() {
        let id = ZoneId::try_from("apse2-az1").expect("a name");
        let configured = BTreeMap::from([("ap-southeast-2a".to_owned(), id.clone())]);
        let zones = Zones::new(&configured);
        assert_eq!(zones.zone(None, Some("ap-southeast-2a")), Some(id.clone()));
        assert_eq!(
            zones.zone(Some("apse2-akl1-az1"), Some("ap-southeast-2a")),
            ZoneId::try_from("apse2-akl1-az1").ok(),
            "the API's word goes before the configured one"
        );
        assert_eq!(
            zones.zone(None, Some("apse2-az1")),
            ZoneId::try_from("unknown:apse2-az1").ok(),
            "a name that looks like an allowed id is none"
        );
        assert_eq!(zones.zone(Some(""), None), None);
        assert_eq!(zones.name(&id), Some("ap-southeast-2a"));
    }

    #[test]
    fn what_instances_say_of_their_zone_is_good_for_the_group_that_names_it() {
        let it = Described::builder()
            .instance_id("i-1")
            .availability_zone("ap-southeast-2a")
            .availability_zone_id("apse2-az3")
            .lifecycle_state("InService".into())
            .build();
        let group = AutoScalingGroup::builder()
            .auto_scaling_group_name("relays")
            .availability_zones("ap-southeast-2a")
            .availability_zones("ap-southeast-2b")
            .instances(it)
            .build();
        let books = Books::read("relays", &[group], &Zones::default()).expect("it is there");
        let zones: Vec<&str> = books.group.zones.iter().map(ZoneId::as_str).collect();
        assert_eq!(zones, ["apse2-az3", "unknown:ap-southeast-2b"]);
    }

    #[test]
    fn states_fold_and_unknown_ones_are_not_guessed() {
        assert_eq!(lifecycle("Pending:Wait"), Some(Lifecycle::Pending));
        assert_eq!(lifecycle("InService"), Some(Lifecycle::InService));
        assert_eq!(
            lifecycle("Terminating:Wait"),
            Some(Lifecycle::TerminatingWait)
        );
        assert_eq!(
            lifecycle("Terminating:Retained"),
            Some(Lifecycle::Terminating)
        );
        assert_eq!(lifecycle("Warmed:Stopped"), Some(Lifecycle::SetAside));
        assert_eq!(lifecycle("Napping"), None);
    }

    /// scaling rules, discovery: an answer that lacks something is no complete list.
    #[test]
    fn what_cannot_be_read_makes_the_list_incomplete_and_hides_nothing_else() {
        let described = |id: &str, state: &str| {
            Described::builder()
                .instance_id(id)
                .availability_zone("ap-southeast-2a")
                .lifecycle_state(state.into())
                .build()
        };
        let group = AutoScalingGroup::builder()
            .auto_scaling_group_name("relays")
            .min_size(1)
            .max_size(9)
            .desired_capacity(2)
            .availability_zones("ap-southeast-2a");
        let zones = Zones::default();
        let whole = group
            .clone()
            .instances(described("i-1", "InService"))
            .instances(described("i-2", "Pending"))
            .build();
        let listing = Books::read("relays", &[whole], &zones).map(Books::listing);
        let listing = listing.expect("the group is there");
        assert!(listing.complete);
        assert_eq!(listing.instances.len(), 2);

        for (what, broken) in [
            (
                "no state",
                Described::builder()
                    .instance_id("i-2")
                    .availability_zone("a")
                    .build(),
            ),
            ("no id", Described::builder().availability_zone("a").build()),
            ("a new state", described("i-2", "Napping")),
            ("a state of its own", described("i-1", "Terminating")),
        ] {
            let group = group
                .clone()
                .instances(described("i-1", "InService"))
                .instances(broken)
                .build();
            let listing = Books::read("relays", &[group], &zones).map(Books::listing);
            let listing = listing.expect("the group is there");
            assert!(!listing.complete, "{what}");
            assert_eq!(listing.instances.len(), 1, "{what}");
        }
        let silent = Books::read("relays", &[group.build()], &zones).map(Books::listing);
        assert!(!silent.expect("the group is there").complete);
        assert!(Books::read("others", &[], &zones).is_err());
    }
}
