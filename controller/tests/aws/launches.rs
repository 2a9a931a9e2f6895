//! Launches: in the zone that was asked for, once, or not at all and with the reason.

use std::time::Duration;

use taciturn_cloud_sim::Trouble;
use taciturn_controller::config::AwsLaunch;
use taciturn_controller::provider::{Provider, ProviderError};

use crate::{Bench, allowed, good, order, zone};

fn refused(words: &ProviderError, wanted: &str) {
    assert!(matches!(words, ProviderError::Refused(_)), "{words}");
    assert!(words.to_string().contains(wanted), "{words}");
}

#[tokio::test]
async fn a_launch_is_in_the_zone_that_was_asked_for_and_says_which_instances() {
    let bench = Bench::new(good(1));
    let ids = bench
        .aws
        .launch(&order("apse2-az2", 2, "t-1"))
        .await
        .expect("launched");
    assert_eq!(ids.len(), 2);
    let listing = bench.listed().await;
    for id in &ids {
        let it = listing
            .instances
            .iter()
            .find(|it| it.id == *id)
            .expect("listed");
        assert_eq!(it.zone, zone("apse2-az2"));
    }
    let asked = bench.server.asked("LaunchInstances");
    assert_eq!(asked[0].parameter("ClientToken"), "t-1");
    assert_eq!(asked[0].parameter("RetryStrategy"), "none");
    assert_eq!(
        asked[0].parameter("AvailabilityZoneIds.member.1"),
        "apse2-az2"
    );
    assert!(bench.server.asked("SetDesiredCapacity").is_empty());
}

#[tokio::test]
async fn where_the_api_knows_names_alone_the_zone_is_named_by_the_configured_map() {
    let mut group = good(0);
    group.gives_zone_ids = false;
    let bench = Bench::with(group, |settings| {
        settings
            .zone_ids
            .insert("ap-southeast-2b".to_owned(), zone("apse2-az1"));
    });
    bench
        .aws
        .launch(&order("apse2-az1", 1, "t-1"))
        .await
        .expect("launched");
    let asked = bench.server.asked("LaunchInstances");
    assert_eq!(
        asked[0].parameter("AvailabilityZones.member.1"),
        "ap-southeast-2b"
    );
    let error = bench.aws.launch(&order("apse2-az2", 1, "t-2")).await;
    refused(&error.expect_err("no name for it"), "provider.aws.zone-ids");
}

#[tokio::test]
async fn every_token_that_a_plan_may_make_is_one_that_the_api_takes() {
    let bench = Bench::new(good(0));
    let long = "x".repeat(128);
    for token in ["fleet-1795305600-7", "a.b:c/d_e", long.as_str()] {
        let order = order("apse2-az1", 1, token);
        let first = bench.aws.launch(&order).await.expect("launched");
        assert_eq!(bench.aws.launch(&order).await, Ok(first));
    }
    assert_eq!(bench.machines(), 3);
}

/// Sovereignty: each launch checks its zone again.
#[tokio::test]
async fn nothing_is_launched_in_a_zone_that_is_not_allowed() {
    let bench = Bench::new(good(0));
    let error = bench.aws.launch(&order("apse2-akl1-az1", 1, "t-1")).await;
    refused(
        &error.expect_err("it is in Auckland"),
        "not an allowed zone",
    );
    assert!(bench.server.cloud().requests.is_empty(), "nobody was asked");
}

/// Chaos: launch accepted, response lost: token retry, one instance.
#[tokio::test]
async fn a_launch_whose_answer_is_lost_happens_once() {
    let bench = Bench::new(good(0));
    for trouble in [
        Trouble::DroppedAfter,
        Trouble::Cut { permille: 300 },
        Trouble::Torn { permille: 900 },
    ] {
        bench.server.fail("LaunchInstances", trouble, 1);
    }
    // All three tries of the first call are lost, each in its way.
    let error = bench.aws.launch(&order("apse2-az1", 1, "t-1")).await;
    assert!(matches!(error, Err(ProviderError::Unknown(_))), "{error:?}");
    assert_eq!(bench.machines(), 1);
    let ids = bench
        .aws
        .launch(&order("apse2-az1", 1, "t-1"))
        .await
        .expect("the same launch");
    assert_eq!((ids.len(), bench.machines()), (1, 1));
    assert_eq!(bench.server.asked("LaunchInstances").len(), 4);
    // So does a controller that comes after this one and was told the token.
    let again = bench.another().launch(&order("apse2-az1", 1, "t-1")).await;
    assert_eq!(again, Ok(ids));
    assert_eq!(bench.machines(), 1);
}

#[tokio::test]
async fn a_token_for_something_else_is_refused() {
    let bench = Bench::new(good(0));
    bench
        .aws
        .launch(&order("apse2-az1", 1, "t-1"))
        .await
        .expect("launched");
    let error = bench.aws.launch(&order("apse2-az2", 1, "t-1")).await;
    refused(
        &error.expect_err("another zone"),
        "IdempotentParameterMismatch",
    );
    assert_eq!(bench.machines(), 1);
}

/// Chaos: no capacity in one zone.
#[tokio::test]
async fn a_zone_without_machines_says_so() {
    let mut group = good(0);
    group.zones[1].has_capacity = false;
    let bench = Bench::new(group);
    let error = bench.aws.launch(&order("apse2-az1", 1, "t-1")).await;
    let error = error.expect_err("it has none");
    assert!(matches!(error, ProviderError::NoCapacity(_)), "{error}");
    assert!(error.to_string().contains("InsufficientInstanceCapacity"));
    assert!(
        bench
            .aws
            .launch(&order("apse2-az2", 1, "t-2"))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn throttling_is_waited_for_and_then_said() {
    let bench = Bench::new(good(0));
    let throttled = || Trouble::Refused {
        status: 400,
        code: "Throttling".to_owned(),
        message: "Rate exceeded".to_owned(),
    };
    bench.server.fail("LaunchInstances", throttled(), 2);
    bench
        .aws
        .launch(&order("apse2-az1", 1, "t-1"))
        .await
        .expect("the third try");
    bench.server.fail("LaunchInstances", throttled(), 3);
    let error = bench.aws.launch(&order("apse2-az1", 1, "t-2")).await;
    assert!(
        matches!(error, Err(ProviderError::Throttled(_))),
        "{error:?}"
    );
    assert_eq!(bench.machines(), 1);
    assert_eq!(bench.server.asked("LaunchInstances").len(), 6, "bounded");
}

#[tokio::test]
async fn a_failure_of_the_service_is_tried_again_with_the_same_token() {
    let bench = Bench::new(good(0));
    bench
        .server
        .fail("LaunchInstances", Trouble::Page { status: 500 }, 1);
    bench.server.fail(
        "LaunchInstances",
        Trouble::Refused {
            status: 503,
            code: "ServiceUnavailable".to_owned(),
            message: "try later".to_owned(),
        },
        1,
    );
    bench
        .aws
        .launch(&order("apse2-az1", 1, "t-1"))
        .await
        .expect("the third try");
    assert_eq!(bench.machines(), 1);
}

/// Chaos: the API hangs. A call ends within its time, and what it did is not known.
#[tokio::test]
async fn a_call_that_hangs_ends_in_time() {
    let bench = Bench::with(good(0), |settings| {
        settings.attempt_timeout = Duration::from_secs(1);
        settings.operation_timeout = Duration::from_secs(2);
    });
    bench
        .server
        .fail("", Trouble::Late(Duration::from_secs(25)), 9);
    let bound = Duration::from_secs(20);
    let error = tokio::time::timeout(bound, bench.aws.list())
        .await
        .expect("in time");
    assert!(matches!(error, Err(ProviderError::Failed(_))), "{error:?}");
    bench.server.cloud().faults.clear();
    bench
        .server
        .fail("LaunchInstances", Trouble::Late(Duration::from_secs(25)), 9);
    let order = order("apse2-az1", 1, "t-1");
    let launch = bench.aws.launch(&order);
    let error = tokio::time::timeout(bound, launch).await.expect("in time");
    assert!(matches!(error, Err(ProviderError::Unknown(_))), "{error:?}");
    bench.server.cloud().faults.clear();
    let ids = bench.aws.launch(&order).await.expect("the same launch");
    assert_eq!((ids.len(), bench.machines()), (1, 1));
}

#[tokio::test]
async fn a_denial_names_the_permission_that_is_missing() {
    let mut group = good(1);
    group.denied.insert("LaunchInstances".to_owned());
    let bench = Bench::new(group);
    let error = bench.aws.launch(&order("apse2-az1", 1, "t-1")).await;
    refused(
        &error.expect_err("it is not allowed to"),
        "allow autoscaling:LaunchInstances",
    );
    assert!(
        bench.server.asked("SetDesiredCapacity").is_empty(),
        "what is not permitted is not done in another way"
    );
}

#[tokio::test]
async fn the_groups_maximum_holds_in_both_ways() {
    let mut group = good(0);
    group.max = 2;
    let bench = Bench::new(group.with_machines(2));
    let error = bench.aws.launch(&order("apse2-az1", 1, "t-1")).await;
    refused(&error.expect_err("full"), "MaxSize");
    bench.server.cloud().group.launch_instances = false;
    let error = bench.aws.launch(&order("apse2-az1", 1, "t-2")).await;
    refused(&error.expect_err("full"), "MaxSize");
    assert_eq!(bench.machines(), 2);
}

/// scaling rules, decision 2: where LaunchInstances is not known, the desired capacity is raised.
#[tokio::test]
async fn an_api_without_launch_instances_has_its_desired_capacity_raised() {
    let mut group = good(3);
    group.launch_instances = false;
    let bench = Bench::new(group);
    let token = order("apse2-az1", 2, "t-1");
    bench.aws.launch(&token).await.expect("raised");
    assert_eq!(bench.machines(), 5);
    let asked = bench.server.asked("SetDesiredCapacity");
    assert_eq!(asked[0].parameter("DesiredCapacity"), "5");
    assert_eq!(asked[0].parameter("HonorCooldown"), "false");
    let spread: Vec<u32> = bench.server.cloud().group.by_zone().into_values().collect();
    assert_eq!(
        spread.iter().sum::<u32>(),
        5,
        "the group spreads them by itself"
    );
    assert!(spread.iter().all(|zone| *zone <= 2), "{spread:?}");
    // The list says which instances the token brought.
    let listing = bench.listed().await;
    assert_eq!(listing.launched[&token.token].len(), 2);
    // The same token again is the same launch.
    let ids = bench.aws.launch(&token).await.expect("the same launch");
    assert_eq!((ids.len(), bench.machines()), (2, 5));
    assert_eq!(bench.server.asked("SetDesiredCapacity").len(), 1);
}

#[tokio::test]
async fn a_group_with_a_launch_configuration_is_raised_too() {
    let mut group = good(1);
    group.template = None;
    let bench = Bench::new(group);
    bench
        .aws
        .launch(&order("apse2-az1", 1, "t-1"))
        .await
        .expect("raised");
    assert_eq!(bench.machines(), 2);
}

#[tokio::test]
async fn a_raise_whose_answer_is_lost_happens_once() {
    let bench = Bench::with(good(2), |settings| {
        settings.launch = AwsLaunch::DesiredCapacity
    });
    bench
        .server
        .fail("SetDesiredCapacity", Trouble::DroppedAfter, 1);
    let token = order("apse2-az1", 1, "t-1");
    let error = bench.aws.launch(&token).await;
    assert!(matches!(error, Err(ProviderError::Unknown(_))), "{error:?}");
    assert_eq!(bench.machines(), 3);
    let ids = bench.aws.launch(&token).await.expect("the same launch");
    assert_eq!((ids.len(), bench.machines()), (1, 3));
    assert_eq!(bench.server.asked("SetDesiredCapacity").len(), 1);
}

#[tokio::test]
async fn a_raise_that_was_lost_and_lowered_since_is_found_in_the_groups_history() {
    let bench = Bench::with(good(2), |settings| {
        settings.launch = AwsLaunch::DesiredCapacity
    });
    bench
        .server
        .fail("SetDesiredCapacity", Trouble::DroppedAfter, 1);
    let token = order("apse2-az1", 1, "t-1");
    bench.aws.launch(&token).await.expect_err("lost");
    // Somebody takes one away, in another way than through this controller.
    let victim = bench.server.cloud().group.machines.keys().next().cloned();
    bench
        .another()
        .terminate(&crate::instance(&victim.expect("one is there")))
        .await
        .expect("ends");
    assert_eq!(bench.machines(), 2);
    bench.aws.launch(&token).await.expect("it has happened");
    assert_eq!(bench.server.asked("SetDesiredCapacity").len(), 1);
    assert_eq!(bench.machines(), 2);
}

/// The service lags, and throttles the second try: what was asked the first time is not forgotten by that.
#[tokio::test]
async fn a_lost_raise_is_remembered_when_its_next_try_is_refused() {
    let bench = Bench::with(good(2), |settings| {
        settings.launch = AwsLaunch::DesiredCapacity
    });
    bench
        .server
        .fail("SetDesiredCapacity", Trouble::DroppedAfter, 1);
    let token = order("apse2-az1", 1, "t-1");
    bench.aws.launch(&token).await.expect_err("lost");
    assert_eq!(bench.machines(), 3);
    let old = "<DescribeAutoScalingGroupsResponse><DescribeAutoScalingGroupsResult><AutoScalingGroups><member>\
               <AutoScalingGroupName>relays</AutoScalingGroupName><MinSize>0</MinSize><MaxSize>200</MaxSize>\
               <DesiredCapacity>2</DesiredCapacity><AvailabilityZoneIds><member>apse2-az1</member></AvailabilityZoneIds>\
               <Instances/></member></AutoScalingGroups></DescribeAutoScalingGroupsResult>\
               </DescribeAutoScalingGroupsResponse>";
    let nothing_yet = "<DescribeScalingActivitiesResponse><DescribeScalingActivitiesResult><Activities/>\
                       </DescribeScalingActivitiesResult></DescribeScalingActivitiesResponse>";
    let said = |text: &str| Trouble::Said(text.to_owned());
    bench.server.fail("DescribeAutoScalingGroups", said(old), 1);
    bench
        .server
        .fail("DescribeScalingActivities", said(nothing_yet), 1);
    let refused = Trouble::Refused {
        status: 400,
        code: "AccessDenied".to_owned(),
        message: "not at this hour".to_owned(),
    };
    bench.server.fail("SetDesiredCapacity", refused, 1);
    let error = bench.aws.launch(&token).await.expect_err("not now");
    assert!(matches!(error, ProviderError::Refused(_)), "{error:?}");
    bench.aws.launch(&token).await.expect("it has happened");
    assert_eq!(bench.machines(), 3);
}

#[tokio::test]
async fn a_raise_that_did_not_happen_is_asked_again() {
    let bench = Bench::with(good(2), |settings| {
        settings.launch = AwsLaunch::DesiredCapacity
    });
    bench.server.fail("SetDesiredCapacity", Trouble::Dropped, 1);
    let token = order("apse2-az1", 1, "t-1");
    bench.aws.launch(&token).await.expect_err("lost");
    assert_eq!(bench.machines(), 2);
    bench.aws.launch(&token).await.expect("raised");
    assert_eq!(bench.machines(), 3);
}

/// A description lags behind what was written: the next raise must not take the one before back.
#[tokio::test]
async fn a_raise_is_never_reckoned_from_a_description_that_lags() {
    let bench = Bench::with(good(2), |settings| {
        settings.launch = AwsLaunch::DesiredCapacity
    });
    bench
        .aws
        .launch(&order("apse2-az1", 3, "t-1"))
        .await
        .expect("raised");
    let old = "<DescribeAutoScalingGroupsResponse><DescribeAutoScalingGroupsResult><AutoScalingGroups><member>\
               <AutoScalingGroupName>relays</AutoScalingGroupName><MinSize>0</MinSize><MaxSize>200</MaxSize>\
               <DesiredCapacity>2</DesiredCapacity><AvailabilityZoneIds><member>apse2-az1</member></AvailabilityZoneIds>\
               <Instances/></member></AutoScalingGroups></DescribeAutoScalingGroupsResult>\
               </DescribeAutoScalingGroupsResponse>";
    bench.server.fail(
        "DescribeAutoScalingGroups",
        Trouble::Said(old.to_owned()),
        1,
    );
    bench
        .aws
        .launch(&order("apse2-az1", 1, "t-2"))
        .await
        .expect("raised");
    let asked = bench.server.asked("SetDesiredCapacity");
    assert_eq!(asked[1].parameter("DesiredCapacity"), "6");
}

/// Sovereignty: a raise lets the group choose the zone, so all of its zones have to be allowed ones.
#[tokio::test]
async fn a_group_with_an_offshore_zone_is_never_raised() {
    let mut group = good(2);
    group.launch_instances = false;
    group.zones.push(taciturn_cloud_sim::Zone {
        name: "ap-southeast-2-akl-1a".to_owned(),
        id: "apse2-akl1-az1".to_owned(),
        has_capacity: true,
    });
    let bench = Bench::new(group);
    let error = bench.aws.launch(&order("apse2-az1", 1, "t-1")).await;
    refused(
        &error.expect_err("Auckland is a zone of the group"),
        "apse2-akl1-az1",
    );
    assert!(bench.server.asked("SetDesiredCapacity").is_empty());
    assert!(!allowed().contains(&zone("apse2-akl1-az1")));
}
