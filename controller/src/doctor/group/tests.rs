use std::path::Path;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region};
use aws_sdk_autoscaling::config::{Credentials, SharedCredentialsProvider};
use taciturn_cloud_sim::{Group, Hook, Mixed, Pace, Server, State, Trouble, Zone};

use super::super::{Verdict, worst};
use super::*;
use crate::config::{Provider, parse};

fn config(more: &str) -> ControllerConfig {
    let text = format!(
        "fleet = \"test\"\n[sovereignty]\nallowed-zone-ids = [\"apse2-az1\", \"apse2-az2\", \"apse2-az3\"]\n\
         [provider]\nkind = \"aws\"\n[provider.aws]\nauto-scaling-group = \"relays\"\nregion = \"ap-southeast-2\"\n\
         termination-hook = \"drain\"\noperation-timeout = \"5s\"\n{more}"
    );
    let parsed = parse(&text, Path::new("controller.toml"), &mut |path| {
        panic!("{} is read", path.display())
    });
    parsed.unwrap_or_else(|errors| panic!("{errors}"))
}

/// A group that suits the default policy: 2 relays at least, 20 at most, 4 more while others drain.
fn good() -> Group {
    Group::good("relays", 1, 24).with_machines(3)
}

async fn ask(server: &Server, config: &ControllerConfig) -> Vec<Finding> {
    let credentials = Credentials::new("AKIDEXAMPLE", "not-a-secret", None, None, "test");
    let sdk = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("ap-southeast-2"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .endpoint_url(server.url())
        .build();
    let Provider::Aws(written) = &config.provider else {
        panic!("the provider is aws");
    };
    examine_over(&sdk, config, written).await
}

async fn of(group: Group, more: &str) -> Vec<Finding> {
    let server = Server::start(group, Pace::Still).unwrap();
    ask(&server, &config(more)).await
}

#[tokio::test]
async fn a_good_group_has_nothing_to_be_mended() {
    let findings = of(good(), "").await;
    assert_eq!(worst(&findings), Verdict::Good, "{findings:#?}");
}

/// One thing is wrong with a group at a time: it alone is found, with what mends it.
#[tokio::test]
async fn each_thing_that_is_wrong_is_found_and_mended_by_its_command() {
    type Change = fn(&mut Group);
    let cases: [(&str, Change, Verdict, &str); 26] = [
        (
            "protection",
            |it| it.protects_new = false,
            Verdict::Bad,
            "update-auto-scaling-group --region ap-southeast-2 --auto-scaling-group-name relays --new-instances-protected-from-scale-in",
        ),
        (
            "an open instance",
            |it| it.machines.values_mut().for_each(|it| it.protected = false),
            Verdict::Bad,
            "set-instance-protection",
        ),
        (
            "rebalancing",
            |it| it.suspended.clear(),
            Verdict::Bad,
            "suspend-processes --region ap-southeast-2 --auto-scaling-group-name relays --scaling-processes AZRebalance",
        ),
        (
            "no launches",
            |it| {
                it.suspended.insert("Launch".to_owned());
            },
            Verdict::Bad,
            "resume-processes",
        ),
        (
            "no ends",
            |it| {
                it.suspended.insert("Terminate".to_owned());
            },
            Verdict::Bad,
            "--scaling-processes Terminate",
        ),
        (
            "no hook",
            |it| it.hooks.clear(),
            Verdict::Bad,
            "--heartbeat-timeout 7200 --default-result CONTINUE",
        ),
        (
            "a hook on launches",
            |it| it.hooks[0].terminating = false,
            Verdict::Bad,
            "autoscaling:EC2_INSTANCE_TERMINATING",
        ),
        (
            "a hook that is over at once",
            |it| it.hooks[0].heartbeat = Duration::from_secs(30),
            Verdict::Bad,
            "put-lifecycle-hook",
        ),
        (
            "a hook that is over before a drain",
            |it| it.hooks[0].heartbeat = Duration::from_secs(3600),
            Verdict::Doubtful,
            "put-lifecycle-hook",
        ),
        (
            "a hook that abandons",
            |it| it.hooks[0].default_result = "ABANDON".to_owned(),
            Verdict::Doubtful,
            "put-lifecycle-hook",
        ),
        (
            "another hook",
            |it| {
                it.hooks.push(Hook {
                    name: "other".to_owned(),
                    ..it.hooks[0].clone()
                })
            },
            Verdict::Doubtful,
            "--lifecycle-hook-name other",
        ),
        (
            "an open version",
            |it| it.template = Some(("lt-1".to_owned(), "$Latest".to_owned())),
            Verdict::Bad,
            "--launch-template LaunchTemplateId=lt-1,Version=N",
        ),
        (
            "a launch configuration",
            |it| it.template = None,
            Verdict::Bad,
            "--launch-template",
        ),
        (
            "spot",
            |it| {
                it.mixed = Some(Mixed {
                    on_demand_percentage: 20,
                    overrides: Vec::new(),
                })
            },
            Verdict::Bad,
            "--launch-template",
        ),
        (
            "several types",
            |it| {
                it.mixed = Some(Mixed {
                    on_demand_percentage: 100,
                    overrides: vec!["a".to_owned(), "b".to_owned()],
                })
            },
            Verdict::Bad,
            "--launch-template",
        ),
        (
            "a small maximum",
            |it| it.max = 23,
            Verdict::Bad,
            "--max-size 24",
        ),
        (
            "a large minimum",
            |it| it.min = 3,
            Verdict::Bad,
            "--min-size 1",
        ),
        (
            "no room below the minimum",
            |it| it.min = 2,
            Verdict::Doubtful,
            "--min-size 1",
        ),
        (
            "health checks",
            |it| it.health_check = "ELB".to_owned(),
            Verdict::Bad,
            "--health-check-type EC2",
        ),
        (
            "a policy",
            |it| it.policies.push("cpu-60".to_owned()),
            Verdict::Bad,
            "delete-policy --region ap-southeast-2 --auto-scaling-group-name relays --policy-name cpu-60",
        ),
        (
            "a scheduled action",
            |it| it.scheduled.push("night shift".to_owned()),
            Verdict::Bad,
            "--scheduled-action-name 'night shift'",
        ),
        (
            "a warm pool",
            |it| it.warm_pool = true,
            Verdict::Bad,
            "delete-warm-pool",
        ),
        (
            "a refresh",
            |it| it.refreshes.insert(0, "InProgress".to_owned()),
            Verdict::Bad,
            "cancel-instance-refresh",
        ),
        (
            "capacity rebalancing",
            |it| it.rebalances_capacity = true,
            Verdict::Bad,
            "--no-capacity-rebalance",
        ),
        (
            "a lifetime",
            |it| it.max_lifetime = Some(604_800),
            Verdict::Bad,
            "--max-instance-lifetime 0",
        ),
        (
            "deletion",
            |it| it.deletion_protection = "none".to_owned(),
            Verdict::Doubtful,
            "--deletion-protection",
        ),
    ];
    for (what, change, verdict, remedy) in cases {
        let mut group = good();
        change(&mut group);
        let findings = of(group, "").await;
        assert_eq!(worst(&findings), verdict, "{what}: {findings:#?}");
        let wrong: Vec<&Finding> = findings
            .iter()
            .filter(|it| it.verdict != Verdict::Good)
            .collect();
        assert_eq!(wrong.len(), 1, "{what}: {wrong:#?}");
        let said = wrong[0].remedy.clone().unwrap_or_default();
        assert!(said.contains(remedy), "{what}: {said}");
    }
}

/// Sovereignty: Local Zones and zones of other countries inside an allowed region are named.
#[tokio::test]
async fn an_offshore_zone_of_the_group_is_named_with_its_country() {
    let mut group = good();
    group.zones.push(Zone {
        name: "ap-southeast-2-akl-1a".to_owned(),
        id: "apse2-akl1-az1".to_owned(),
        has_capacity: true,
    });
    let findings = of(group, "").await;
    assert_eq!(worst(&findings), Verdict::Bad);
    let said = findings
        .iter()
        .find(|it| it.words.contains("apse2-akl1-az1"))
        .unwrap();
    assert!(
        said.words.contains("a Local Zone in Auckland, New Zealand"),
        "{}",
        said.words
    );
    assert!(
        said.remedy
            .as_deref()
            .unwrap()
            .contains("--vpc-zone-identifier")
    );
}

#[tokio::test]
async fn names_without_ids_have_to_be_mapped() {
    let mut group = good();
    group.gives_zone_ids = false;
    let findings = of(group.clone(), "").await;
    let unmapped = findings.iter().filter(|it| it.check == "zones");
    assert_eq!(unmapped.count(), 3, "{findings:#?}");
    let map = "[provider.aws.zone-ids]\nap-southeast-2a = \"apse2-az3\"\nap-southeast-2b = \"apse2-az1\"\n\
               ap-southeast-2c = \"apse2-az2\"\n";
    let mapped = of(group.clone(), map).await;
    assert_eq!(worst(&mapped), Verdict::Good, "{mapped:#?}");
    // The same map where the API gives ids, and gives another one.
    group.gives_zone_ids = true;
    let swapped = map
        .replace("az3", "az9")
        .replace("az1", "az3")
        .replace("az9", "az1");
    let findings = of(group, &swapped).await;
    let wrong = findings
        .iter()
        .filter(|it| it.words.contains("and the API says"));
    assert_eq!(wrong.count(), 2, "{findings:#?}");
}

#[tokio::test]
async fn what_is_set_aside_or_offshore_already_is_named() {
    let mut group = good();
    let mut zones = group.machines.values_mut();
    zones.next().unwrap().state = State::Standby;
    let findings = of(group, "").await;
    let said = findings
        .iter()
        .find(|it| it.words.contains("set instances aside"))
        .unwrap();
    assert!(said.remedy.as_deref().unwrap().contains("exit-standby"));

    let mut group = good();
    "apse4-az1".clone_into(&mut group.zones[0].id);
    let findings = of(group, "").await;
    assert!(
        findings
            .iter()
            .any(|it| it.words.contains("is in apse4-az1")),
        "{findings:#?}"
    );
}

#[tokio::test]
async fn a_denial_names_its_permission_and_is_not_taken_for_an_answer() {
    for action in [
        "DescribePolicies",
        "DescribeScheduledActions",
        "DescribeLifecycleHooks",
        "DescribeInstanceRefreshes",
    ] {
        let mut group = good();
        group.denied.insert(action.to_owned());
        let findings = of(group, "").await;
        let wrong: Vec<&Finding> = findings
            .iter()
            .filter(|it| it.verdict != Verdict::Good)
            .collect();
        assert_eq!(wrong.len(), 1, "{wrong:#?}");
        assert_eq!(wrong[0].check, "permissions");
        let remedy = wrong[0].remedy.as_deref().unwrap();
        assert!(
            remedy.contains(&format!("allow autoscaling:{action}")),
            "{remedy}"
        );
    }
    let mut group = good();
    group.denied.insert("DescribeAutoScalingGroups".to_owned());
    let findings = of(group, "").await;
    assert_eq!((findings.len(), findings[0].check), (1, "credentials"));
}

#[tokio::test]
async fn a_group_that_is_elsewhere_or_an_api_that_is_silent_is_no_good_group() {
    let mut group = good();
    "others".clone_into(&mut group.name);
    let findings = of(group, "").await;
    assert!(
        findings[0]
            .remedy
            .as_deref()
            .unwrap()
            .contains("auto-scaling-group"),
        "{findings:#?}"
    );

    for trouble in [
        Trouble::Dropped,
        Trouble::Cut { permille: 500 },
        Trouble::Page { status: 502 },
    ] {
        let server = Server::start(good(), Pace::Still).unwrap();
        server.fail("", trouble.clone(), 99);
        let findings = ask(&server, &config("")).await;
        assert_eq!(worst(&findings), Verdict::Bad, "{trouble:?}: {findings:#?}");
    }
}
