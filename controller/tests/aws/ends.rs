//! Ends: by id, once; and the words to the hook that waits.

use std::time::Duration;

use taciturn_cloud_sim::{State, Trouble};
use taciturn_controller::fleet::Lifecycle;
use taciturn_controller::provider::{Ended, Provider, ProviderError};

use crate::{Bench, good, instance};

const FIRST: &str = "i-00000000000000001";

fn state(bench: &Bench) -> Option<State> {
    let cloud = bench.server.cloud();
    cloud.group.machines.get(FIRST).map(|it| it.state)
}

fn desired(bench: &Bench) -> u32 {
    bench.server.cloud().group.desired
}

#[tokio::test]
async fn an_end_is_by_id_with_one_less_desired_and_the_hook_holds_it() {
    let bench = Bench::new(good(3));
    let id = instance(FIRST);
    assert_eq!(bench.aws.terminate(&id).await, Ok(Ended::Ending));
    assert_eq!(
        (state(&bench), desired(&bench)),
        (Some(State::TerminatingWait), 2)
    );
    let asked = bench.server.asked("TerminateInstanceInAutoScalingGroup");
    assert_eq!(asked[0].parameter("InstanceId"), FIRST);
    assert_eq!(asked[0].parameter("ShouldDecrementDesiredCapacity"), "true");
    let listing = bench.listed().await;
    assert_eq!(listing.instances[0].lifecycle, Lifecycle::TerminatingWait);

    bench.aws.extend(&id).await.expect("the hook waits");
    bench.server.advance(Duration::from_secs(7100));
    assert_eq!(state(&bench), Some(State::TerminatingWait));
    bench.aws.finish(&id).await.expect("the hook waits");
    assert_eq!(state(&bench), None);
    bench
        .aws
        .finish(&id)
        .await
        .expect("nothing waits any more, which is what was wanted");
    let error = bench
        .aws
        .extend(&id)
        .await
        .expect_err("nothing waits any more");
    assert!(matches!(error, ProviderError::Refused(_)), "{error}");
}

/// The backstop: the service ends what nobody completes.
#[tokio::test]
async fn a_hook_that_nobody_completes_runs_out() {
    let bench = Bench::new(good(3));
    bench.aws.terminate(&instance(FIRST)).await.expect("ends");
    bench.server.advance(Duration::from_secs(7201));
    assert_eq!(state(&bench), None);
    assert_eq!(bench.listed().await.instances.len(), 2);
}

/// scaling rules, lesson 5: terminate exactly once per id; a second decrement would walk the group to its minimum.
#[tokio::test]
async fn a_second_end_of_the_same_instance_takes_nothing_away() {
    let bench = Bench::new(good(5));
    let id = instance(FIRST);
    assert_eq!(bench.aws.terminate(&id).await, Ok(Ended::Ending));
    for _ in 0..3 {
        assert_eq!(bench.aws.terminate(&id).await, Ok(Ended::Already));
    }
    // Nor by a controller that remembers nothing of it, nor after it is gone.
    assert_eq!(bench.another().terminate(&id).await, Ok(Ended::Already));
    bench.aws.finish(&id).await.expect("the hook waits");
    assert_eq!(bench.another().terminate(&id).await, Ok(Ended::Already));
    assert_eq!(desired(&bench), 4);
    assert_eq!(
        bench
            .server
            .asked("TerminateInstanceInAutoScalingGroup")
            .len(),
        1
    );
}

#[tokio::test]
async fn an_end_whose_answer_is_lost_is_looked_at_before_it_is_asked_again() {
    let bench = Bench::new(good(5));
    let id = instance(FIRST);
    bench.server.fail(
        "TerminateInstanceInAutoScalingGroup",
        Trouble::DroppedAfter,
        1,
    );
    let error = bench.aws.terminate(&id).await;
    assert!(matches!(error, Err(ProviderError::Unknown(_))), "{error:?}");
    assert_eq!(bench.aws.terminate(&id).await, Ok(Ended::Already));
    assert_eq!(desired(&bench), 4);
    assert_eq!(
        bench
            .server
            .asked("TerminateInstanceInAutoScalingGroup")
            .len(),
        1
    );
}

/// What was not answered may still be on its way, and a description may lag behind it.
#[tokio::test]
async fn an_end_that_does_not_show_yet_is_not_asked_again_at_once() {
    let bench = Bench::new(good(5));
    let id = instance(FIRST);
    bench
        .server
        .fail("TerminateInstanceInAutoScalingGroup", Trouble::Dropped, 1);
    for _ in 0..3 {
        let error = bench.aws.terminate(&id).await;
        assert!(matches!(error, Err(ProviderError::Unknown(_))), "{error:?}");
    }
    assert_eq!(
        bench
            .server
            .asked("TerminateInstanceInAutoScalingGroup")
            .len(),
        1
    );
    assert_eq!(desired(&bench), 5);
}

#[tokio::test]
async fn the_groups_minimum_holds_and_the_remedy_is_named() {
    let mut group = good(2);
    group.min = 2;
    let bench = Bench::new(group);
    let error = bench.aws.terminate(&instance(FIRST)).await;
    let words = error.expect_err("two is the least").to_string();
    assert!(words.contains("lower the group's MinSize"), "{words}");
    assert_eq!(
        (state(&bench), desired(&bench)),
        (Some(State::InService), 2)
    );
    // It was refused, so it has not happened: once there is room it does.
    bench.server.cloud().group.min = 0;
    assert_eq!(
        bench.aws.terminate(&instance(FIRST)).await,
        Ok(Ended::Ending)
    );
}

#[tokio::test]
async fn throttled_ends_are_tried_again_and_happen_once() {
    let bench = Bench::new(good(3));
    let throttled = Trouble::Refused {
        status: 400,
        code: "Throttling".to_owned(),
        message: "Rate exceeded".to_owned(),
    };
    bench
        .server
        .fail("TerminateInstanceInAutoScalingGroup", throttled, 2);
    assert_eq!(
        bench.aws.terminate(&instance(FIRST)).await,
        Ok(Ended::Ending)
    );
    assert_eq!(desired(&bench), 2);
}

#[tokio::test]
async fn what_somebody_set_aside_or_what_is_in_no_group_is_not_ended() {
    let bench = Bench::new(good(3));
    if let Some(machine) = bench.server.cloud().group.machines.get_mut(FIRST) {
        machine.state = State::Standby;
    }
    let error = bench.aws.terminate(&instance(FIRST)).await;
    let words = error.expect_err("it is not ours to end").to_string();
    assert!(words.contains("Standby"), "{words}");
    assert_eq!(
        bench.aws.terminate(&instance("i-f00")).await,
        Ok(Ended::Already)
    );
    assert!(
        bench
            .server
            .asked("TerminateInstanceInAutoScalingGroup")
            .is_empty()
    );
}

#[tokio::test]
async fn an_instance_of_another_group_is_not_ended() {
    let bench = Bench::with(good(3), |settings| {
        "others".clone_into(&mut settings.auto_scaling_group);
    });
    let error = bench.aws.terminate(&instance(FIRST)).await;
    let words = error.expect_err("it is somebody else's").to_string();
    assert!(words.contains("belongs to the group"), "{words}");
    assert!(
        bench
            .server
            .asked("TerminateInstanceInAutoScalingGroup")
            .is_empty()
    );
}
