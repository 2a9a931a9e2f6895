//! Answers that are malformed, cut short or contradict themselves: survived, and never read as a complete list.

use std::sync::LazyLock;

use proptest::prelude::*;
use taciturn_cloud_sim::{Server, Trouble};
use taciturn_controller::provider::{Provider, ProviderError};

use crate::{Bench, good, instance, order};

/// One bench for all cases of a property: a port for each would be slow.
fn with_bench<T>(run: impl AsyncFnOnce(&Bench) -> T) -> T {
    static TURN: LazyLock<std::sync::Mutex<()>> = LazyLock::new(std::sync::Mutex::default);
    let _turn = TURN
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let bench = Bench::with(good(3), |settings| settings.tries = 1);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(run(&bench))
}

/// A whole answer to a description of the group with three instances.
fn whole() -> String {
    "<DescribeAutoScalingGroupsResponse xmlns=\"http://autoscaling.amazonaws.com/doc/2011-01-01/\">\
     <DescribeAutoScalingGroupsResult><AutoScalingGroups><member><AutoScalingGroupName>relays</AutoScalingGroupName>\
     <MinSize>1</MinSize><MaxSize>9</MaxSize><DesiredCapacity>3</DesiredCapacity><AvailabilityZoneIds>\
     <member>apse2-az1</member></AvailabilityZoneIds><Instances>"
        .to_owned()
        + &["i-01", "i-02", "i-03"].map(member).concat()
        + "</Instances></member></AutoScalingGroups></DescribeAutoScalingGroupsResult><ResponseMetadata>\
           <RequestId>1</RequestId></ResponseMetadata></DescribeAutoScalingGroupsResponse>"
}

fn member(id: &str) -> String {
    format!(
        "<member><InstanceId>{id}</InstanceId><AvailabilityZoneId>apse2-az1</AvailabilityZoneId>\
         <LifecycleState>InService</LifecycleState><HealthStatus>Healthy</HealthStatus></member>"
    )
}

fn says(server: &Server, action: &str, body: &str) {
    let mut cloud = server.cloud();
    cloud.faults.clear();
    cloud.requests.clear();
    drop(cloud);
    server.fail(action, Trouble::Said(body.to_owned()), 1);
}

/// Three instances, or a word that it is not so.
async fn is_no_short_list(bench: &Bench, body: &str) -> Result<(), TestCaseError> {
    says(&bench.server, "DescribeAutoScalingGroups", body);
    match bench.aws.list().await {
        Ok(listing) if listing.complete => {
            let ids: Vec<&str> = listing.instances.iter().map(|it| it.id.as_str()).collect();
            prop_assert!(ids.len() >= 3, "{ids:?} of {body}");
        }
        Ok(_) | Err(_) => {}
    }
    Ok(())
}

#[test]
fn the_whole_answer_is_a_complete_list_of_three() {
    with_bench(async |bench| {
        says(&bench.server, "DescribeAutoScalingGroups", &whole());
        let listing = bench.listed().await;
        assert!(listing.complete);
        assert_eq!(listing.instances.len(), 3);
    });
}

/// Chaos: a list that is truncated. Cut at every place, with a length that fits the rest.
#[test]
fn an_answer_that_is_cut_anywhere_is_no_list() {
    with_bench(async |bench| {
        let whole = whole();
        for cut in 0..whole.len() {
            says(&bench.server, "DescribeAutoScalingGroups", &whole[..cut]);
            let answer = bench.aws.list().await;
            assert!(answer.is_err(), "cut at {cut}: {answer:?}");
        }
    });
}

#[test]
fn contradictions_are_seen() {
    let empty = "<Instances/>";
    with_bench(async |bench| {
        for (what, body) in [
            ("two lists", whole().replace("</Instances>", "</Instances><Instances/>")),
            ("no list", whole().replace("<Instances>", "<Machines>").replace("</Instances>", "</Machines>")),
            ("no desired capacity", whole().replace("<DesiredCapacity>3</DesiredCapacity>", "")),
            ("no maximum", whole().replace("<MaxSize>9</MaxSize>", "")),
            ("a maximum that is no number", whole().replace("<MaxSize>9<", "<MaxSize>-9<")),
            ("two states of one instance", whole().replace("</Instances>", &(member("i-01").replace("InService", "Pending") + "</Instances>"))),
            ("no state", whole().replacen("<LifecycleState>InService</LifecycleState>", "", 1)),
            ("no zone", whole().replacen("<AvailabilityZoneId>apse2-az1</AvailabilityZoneId>", "", 1)),
            ("an id that is none", whole().replace("i-02", "i 02")),
            ("another group", whole().replace(">relays<", ">others<")),
            ("no group", "<DescribeAutoScalingGroupsResponse><DescribeAutoScalingGroupsResult><AutoScalingGroups/></DescribeAutoScalingGroupsResult></DescribeAutoScalingGroupsResponse>".to_owned()),
            ("nothing", "<DescribeAutoScalingGroupsResponse/>".to_owned()),
            ("another answer", format!("<DescribePoliciesResponse><DescribePoliciesResult>{empty}</DescribePoliciesResult></DescribePoliciesResponse>")),
        ] {
            says(&bench.server, "DescribeAutoScalingGroups", &body);
            let answer = bench.aws.list().await;
            assert!(
                !answer.as_ref().is_ok_and(|listing| listing.complete),
                "{what}: {answer:?}"
            );
        }
    });
}

#[test]
fn answers_about_refreshes_that_cannot_be_read_make_no_list() {
    with_bench(async |bench| {
        for body in [
            "",
            "<a>",
            "{}",
            "<DescribeInstanceRefreshesResponse/>",
            "<DescribeInstanceRefreshesResponse><DescribeInstanceRefreshesResult/></DescribeInstanceRefreshesResponse>",
        ] {
            says(&bench.server, "DescribeInstanceRefreshes", body);
            let answer = bench.aws.list().await;
            assert!(answer.is_err(), "{body}: {answer:?}");
        }
    });
}

#[test]
fn a_launch_or_an_end_that_is_answered_with_nonsense_may_have_happened() {
    let bodies = [
        "",
        "<html>",
        "{\"ok\":true}",
        "<LaunchInstancesResponse><LaunchInstancesResult/></LaunchInstancesResponse>",
    ];
    with_bench(async |bench| {
        for (number, body) in bodies.into_iter().enumerate() {
            says(&bench.server, "LaunchInstances", body);
            let token = format!("nonsense-{number}");
            let answer = bench.aws.launch(&order("apse2-az1", 1, &token)).await;
            assert!(
                matches!(answer, Err(ProviderError::Unknown(_))),
                "{body}: {answer:?}"
            );
        }
    });
    for body in [
        "",
        "<html>",
        "<TerminateInstanceInAutoScalingGroupResponse>",
    ] {
        with_bench(async |bench| {
            says(&bench.server, "TerminateInstanceInAutoScalingGroup", body);
            let answer = bench.aws.terminate(&instance("i-00000000000000001")).await;
            assert!(
                matches!(answer, Err(ProviderError::Unknown(_))),
                "{body}: {answer:?}"
            );
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn bytes_that_were_changed_make_no_shorter_list(
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop::char::any()), 1..4),
        removed in prop::option::of((any::<prop::sample::Index>(), any::<prop::sample::Index>())),
    ) {
        let mut body: Vec<char> = whole().chars().collect();
        for (at, character) in &changes {
            let at = at.index(body.len());
            body[at] = *character;
        }
        if let Some((from, length)) = removed {
            // Shorter than a member: one that was cut out whole is one that nobody can miss.
            let from = from.index(body.len());
            let end = from + length.index(member("i-01").len());
            body.drain(from..end.min(body.len()));
        }
        let body: String = body.into_iter().collect();
        with_bench(async |bench| is_no_short_list(bench, &body).await)?;
    }

    #[test]
    fn noise_is_no_list(body in ".{0,300}") {
        with_bench(async |bench| {
            says(&bench.server, "DescribeAutoScalingGroups", &body);
            let answer = bench.aws.list().await;
            prop_assert!(answer.is_err(), "{answer:?}");
            Ok(())
        })?;
    }
}
