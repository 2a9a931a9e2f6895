//! Lists: what is there, or the word that it is not all.

use std::collections::BTreeSet;
use std::time::Duration;

use taciturn_cloud_sim::{Hook, State, Trouble};
use taciturn_controller::fleet::Lifecycle;
use taciturn_controller::provider::{Provider, ProviderError};

use crate::{Bench, allowed, good, instance, order, zone};

#[tokio::test]
async fn a_list_says_what_the_group_is_and_what_is_in_it() {
    let bench = Bench::new(good(3));
    let listing = bench.listed().await;
    assert!(listing.complete);
    assert_eq!(
        (listing.group.min, listing.group.max, listing.group.desired),
        (Some(0), Some(200), Some(3))
    );
    assert_eq!(listing.group.zones, allowed());
    assert_eq!(
        listing.group.image.as_deref(),
        Some("lt-0a1b2c3d4e5f60718:7")
    );
    assert!(!listing.group.refresh_active && !listing.group.terminate_suspended);
    let zones: BTreeSet<_> = listing.instances.iter().map(|it| it.zone.clone()).collect();
    assert_eq!(zones, allowed());
    for it in &listing.instances {
        assert_eq!(it.lifecycle, Lifecycle::InService);
        assert_eq!(it.image, "lt-0a1b2c3d4e5f60718:7");
        assert_eq!(it.instance_type, "c7gn.large");
        assert!(!it.unhealthy);
    }
}

#[tokio::test]
async fn a_hundred_and_twenty_instances_come_in_pages_and_all_are_listed() {
    let bench = Bench::new(good(120));
    let listing = bench.listed().await;
    assert!(listing.complete);
    assert_eq!(listing.instances.len(), 120);
    assert_eq!(bench.server.asked("DescribeAutoScalingGroups").len(), 3);
}

/// scaling rules, discovery: a list whose last page cannot be had is not complete, and no shorter list.
#[tokio::test]
async fn a_page_that_cannot_be_had_makes_the_list_incomplete() {
    let bench = Bench::new(good(120));
    // The first page comes; the next ones end in the middle, each time.
    bench.server.fail(
        "DescribeAutoScalingGroups",
        Trouble::Late(Duration::ZERO),
        1,
    );
    bench.server.fail(
        "DescribeAutoScalingGroups",
        Trouble::Cut { permille: 500 },
        9,
    );
    let listing = bench.listed().await;
    assert!(!listing.complete);
    assert_eq!(
        listing.instances.len(),
        50,
        "what was read is there to be seen"
    );
}

#[tokio::test]
async fn pages_that_go_in_a_circle_end() {
    let bench = Bench::new(good(1));
    let body = "<DescribeAutoScalingGroupsResponse><DescribeAutoScalingGroupsResult><AutoScalingGroups/>\
                <NextToken>page-1</NextToken></DescribeAutoScalingGroupsResult></DescribeAutoScalingGroupsResponse>";
    bench.server.fail(
        "DescribeAutoScalingGroups",
        Trouble::Said(body.to_owned()),
        50,
    );
    let error = bench.aws.list().await.expect_err("no group in any page");
    assert!(matches!(error, ProviderError::Refused(_)), "{error}");
    assert!(bench.server.asked("DescribeAutoScalingGroups").len() <= 3);
}

#[tokio::test]
async fn an_instance_in_an_unmapped_zone_is_in_no_allowed_one() {
    let mut group = good(3);
    group.gives_zone_ids = false;
    let bench = Bench::with(group, |settings| {
        settings
            .zone_ids
            .insert("ap-southeast-2a".to_owned(), zone("apse2-az3"));
    });
    let listing = bench.listed().await;
    assert!(listing.complete);
    let zones: BTreeSet<String> = listing
        .instances
        .iter()
        .map(|it| it.zone.to_string())
        .collect();
    assert_eq!(
        zones,
        BTreeSet::from([
            "apse2-az3".to_owned(),
            "unknown:ap-southeast-2b".to_owned(),
            "unknown:ap-southeast-2c".to_owned(),
        ])
    );
}

/// Sovereignty: a Local Zone inside an allowed region has an id of its own, and is shown by it.
#[tokio::test]
async fn an_instance_in_a_local_zone_is_shown_where_it_is() {
    let mut group = good(0);
    "ap-southeast-2-akl-1a".clone_into(&mut group.zones[0].name);
    "apse2-akl1-az1".clone_into(&mut group.zones[0].id);
    let bench = Bench::new(group.with_machines(1));
    let listing = bench.listed().await;
    assert_eq!(listing.instances[0].zone, zone("apse2-akl1-az1"));
    assert!(!allowed().contains(&listing.instances[0].zone));
}

#[tokio::test]
async fn suspensions_refreshes_states_and_health_are_seen() {
    let mut group = good(3);
    group
        .suspended
        .extend(["Launch", "Terminate"].map(str::to_owned));
    group.refreshes = vec!["InProgress".to_owned(), "Successful".to_owned()];
    group.boot_time = Duration::from_secs(60);
    let ids: Vec<String> = group.machines.keys().cloned().collect();
    let machine = |group: &mut taciturn_cloud_sim::Group, index: usize| {
        group
            .machines
            .get_mut(&ids[index])
            .expect("it is there")
            .clone()
    };
    let mut aside = machine(&mut group, 0);
    aside.state = State::Standby;
    let mut ending = machine(&mut group, 1);
    ending.state = State::TerminatingWait;
    let mut ill = machine(&mut group, 2);
    ill.healthy = false;
    for (id, machine) in ids.iter().zip([aside, ending, ill]) {
        group.machines.insert(id.clone(), machine);
    }
    let bench = Bench::new(group);
    let listing = bench.listed().await;
    assert!(listing.complete);
    let group = &listing.group;
    assert!(group.launch_suspended && group.terminate_suspended && group.refresh_active);
    let states: Vec<(Lifecycle, bool)> = listing
        .instances
        .iter()
        .map(|it| (it.lifecycle, it.unhealthy))
        .collect();
    assert_eq!(
        states,
        [
            (Lifecycle::SetAside, false),
            (Lifecycle::TerminatingWait, false),
            (Lifecycle::InService, true)
        ]
    );
}

#[tokio::test]
async fn a_refresh_that_is_over_is_none() {
    let mut group = good(1);
    group.refreshes = ["Successful", "Cancelled", "RollbackSuccessful"]
        .map(str::to_owned)
        .into();
    let bench = Bench::new(group);
    assert!(!bench.listed().await.group.refresh_active);
    bench
        .server
        .cloud()
        .group
        .refreshes
        .insert(0, "SomethingNew".to_owned());
    assert!(
        bench.listed().await.group.refresh_active,
        "what is not known counts as active"
    );
}

#[tokio::test]
async fn a_group_that_is_not_there_is_an_error_and_no_empty_list() {
    let bench = Bench::with(good(3), |settings| {
        "others".clone_into(&mut settings.auto_scaling_group);
    });
    let error = bench.aws.list().await.expect_err("there is no such group");
    let words = error.to_string();
    assert!(words.contains("auto-scaling-group"), "{words}");
}

#[tokio::test]
async fn an_empty_group_is_a_complete_empty_list() {
    let listing = Bench::new(good(0)).listed().await;
    assert!(listing.complete && listing.instances.is_empty());
}

#[tokio::test]
async fn machines_boot_and_a_launch_hook_holds_them_until_somebody_lets_them_go() {
    let mut group = good(0);
    group.boot_time = Duration::from_secs(90);
    group.hooks.push(Hook {
        name: "join".to_owned(),
        terminating: false,
        heartbeat: Duration::from_secs(300),
        default_result: "ABANDON".to_owned(),
    });
    let bench = Bench::new(group);
    bench
        .aws
        .launch(&order("apse2-az1", 1, "t-1"))
        .await
        .expect("launched");
    let state = |listing: taciturn_controller::provider::Listing| listing.instances[0].lifecycle;
    assert_eq!(state(bench.listed().await), Lifecycle::Pending);
    bench.server.advance(Duration::from_secs(91));
    assert_eq!(state(bench.listed().await), Lifecycle::Pending);
    bench.server.advance(Duration::from_secs(200));
    assert_eq!(state(bench.listed().await), Lifecycle::Pending);
}

/// The service shows a launch late at times; it was answered, so it exists.
#[tokio::test]
async fn what_was_launched_is_listed_before_its_group_shows_it() {
    let bench = Bench::new(good(1));
    let ids = bench
        .aws
        .launch(&order("apse2-az1", 1, "t-1"))
        .await
        .expect("launched");
    let old = "<DescribeAutoScalingGroupsResponse><DescribeAutoScalingGroupsResult><AutoScalingGroups><member>\
               <AutoScalingGroupName>relays</AutoScalingGroupName><MinSize>0</MinSize><MaxSize>200</MaxSize>\
               <DesiredCapacity>1</DesiredCapacity><Instances><member><InstanceId>i-00000000000000001</InstanceId>\
               <AvailabilityZoneId>apse2-az3</AvailabilityZoneId><LifecycleState>InService</LifecycleState>\
               <HealthStatus>Healthy</HealthStatus></member></Instances></member></AutoScalingGroups>\
               </DescribeAutoScalingGroupsResult></DescribeAutoScalingGroupsResponse>";
    bench.server.fail(
        "DescribeAutoScalingGroups",
        Trouble::Said(old.to_owned()),
        1,
    );
    let listing = bench.listed().await;
    let listed: BTreeSet<_> = listing.instances.iter().map(|it| it.id.clone()).collect();
    assert_eq!(
        listed,
        BTreeSet::from([instance("i-00000000000000001"), ids[0].clone()])
    );
    assert_eq!(
        listing.launched.values().flatten().collect::<Vec<_>>(),
        [&ids[0]]
    );
}
