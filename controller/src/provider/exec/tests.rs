//! Commands that answer, and commands that do everything else.

use std::time::Duration;

use super::*;
use crate::fleet::{LaunchToken, ZoneId};

fn shell(script: &str) -> Vec<String> {
    ["/bin/sh", "-c", script].map(str::to_owned).to_vec()
}

fn nothing() -> config::Exec {
    config::Exec {
        list: Vec::new(),
        launch: Vec::new(),
        terminate: Vec::new(),
        extend: Vec::new(),
        finish: Vec::new(),
        timeout: Duration::from_secs(30),
    }
}

/// One script for everything.
fn exec(script: &str) -> Exec {
    let command = shell(script);
    Exec::new(config::Exec {
        list: command.clone(),
        launch: command.clone(),
        terminate: command.clone(),
        extend: command.clone(),
        finish: command,
        timeout: Duration::from_secs(2),
    })
}

fn order(count: u32) -> LaunchOrder {
    LaunchOrder {
        zone: ZoneId::try_from("z-1").expect("a zone"),
        count,
        token: LaunchToken::try_from("t-1").expect("a token"),
    }
}

fn id() -> InstanceId {
    InstanceId::try_from("i-1").expect("an id")
}

const LIST: &str = r#"{"complete":true,"launched":{"t-1":["i-1"]},"instances":[{"id":"i-1","zone":"z-1","age":12.5,
    "lifecycle":"in-service","admin":"127.0.0.1:9641"}]}"#;

#[tokio::test]
async fn the_question_is_told_and_the_answer_believed() {
    let listing = exec(&format!("cat > /dev/null; echo '{LIST}'"))
        .list()
        .await
        .expect("a list");
    assert_eq!(listing.instances[0].id, id());
    assert_eq!(
        listing.instances[0].age,
        Some(Duration::from_millis(12_500))
    );
    assert_eq!(listing.launched[&order(1).token], [id()]);
    // Each says what it was asked in the words of a refusal.
    let echo = exec(
        r#"read -r asked; printf '{"error":"refused","words":"%s"}' "$(echo "$asked" | tr -d '"')""#,
    );
    let said = |error: Option<ProviderError>| error.expect("a refusal").to_string();
    assert_eq!(said(echo.list().await.err()), "refused: {operation:list}");
    assert_eq!(
        said(echo.launch(&order(2)).await.err()),
        "refused: {count:2,operation:launch,token:t-1,zone:z-1}"
    );
    assert_eq!(
        said(echo.terminate(&id()).await.err()),
        "refused: {id:i-1,operation:terminate}"
    );
    assert_eq!(
        said(echo.extend(&id()).await.err()),
        "refused: {id:i-1,operation:extend}"
    );
    assert_eq!(
        said(echo.finish(&id()).await.err()),
        "refused: {id:i-1,operation:finish}"
    );
}

#[tokio::test]
async fn a_command_that_does_not_read_its_question_may_answer() {
    let launched = exec(r#"exec <&-; echo '{"instances":["i-1"]}'"#)
        .launch(&order(1))
        .await;
    assert_eq!(launched, Ok(vec![id()]));
    let ended = exec(r#"echo '{"ended":"already"}'"#).terminate(&id()).await;
    assert_eq!(ended, Ok(Ended::Already));
    assert_eq!(exec("echo '{}'").finish(&id()).await, Ok(()));
}

#[tokio::test]
async fn words_are_arguments_and_never_a_shells() {
    let words = [
        "/bin/echo",
        "{\"error\":\"failed\",\"words\":\"$(id) ; *\"}",
    ];
    let provider = Exec::new(config::Exec {
        list: words.map(str::to_owned).to_vec(),
        ..nothing()
    });
    let error = provider.list().await.expect_err("a refusal");
    assert_eq!(error.to_string(), "failed: $(id) ; *");
    assert_eq!(provider.launch(&order(1)).await, Err(UNSUPPORTED));
    assert_eq!(provider.terminate(&id()).await, Err(UNSUPPORTED));
    let capabilities = provider.capabilities();
    assert!(!capabilities.launches && !capabilities.terminates && !capabilities.hooks);
}

/// scaling rules, "hang 60 s": the loop goes on, and what was begun is not known.
#[tokio::test]
async fn a_command_that_hangs_is_killed_with_what_it_started() {
    let mark = format!("{}.{}", std::process::id(), 1234);
    let hanging = exec(&format!("sleep 7{mark} & sleep 7{mark}"));
    let launched = hanging.launch(&order(1)).await;
    assert!(
        matches!(&launched, Err(ProviderError::Unknown(why)) if why.contains("2s")),
        "{launched:?}"
    );
    let listed = hanging.list().await;
    assert!(
        matches!(listed, Err(ProviderError::Failed(_))),
        "{listed:?}"
    );
    let is_left = || {
        std::fs::read_dir("/proc")
            .expect("processes")
            .flatten()
            .any(|entry| {
                let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
                line.starts_with(b"sleep\0") && String::from_utf8_lossy(&line).contains(&mark)
            })
    };
    for _ in 0..500 {
        if !is_left() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("something it started is left");
}

#[tokio::test]
async fn an_answer_that_is_not_one_leaves_a_launch_unknown_and_a_list_unused() {
    let endless =
        "while :; do echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; done";
    for script in [
        "true",
        "echo nonsense",
        "echo '{'",
        "echo '{\"instances\":[\"i-1\"]} more'",
        "echo '{\"instances\":[\"i-1\"],\"zone\":1}'",
        "echo '{\"instances\":[\"\"]}'",
        "echo '{\"instances\":[\"i-1\",\"i-1\"]}'",
        "echo '{\"instances\":[\"i-1\",\"i-2\",\"i-3\"]}'",
        "echo '{\"instances\":[\"i-1\"]}'; exit 3",
        "echo '{\"error\":\"unheard-of\"}'",
        "printf '\\377\\376'",
        "echo '{\"complete\":true}'",
        "kill -9 $$",
        endless,
    ] {
        let command = exec(script);
        let launched = command.launch(&order(2)).await;
        assert!(
            matches!(launched, Err(ProviderError::Unknown(_))),
            "{script}: {launched:?}"
        );
        let listed = command.list().await;
        assert!(
            matches!(listed, Err(ProviderError::Failed(_))),
            "{script}: {listed:?}"
        );
        let ended = command.terminate(&id()).await;
        assert!(
            matches!(ended, Err(ProviderError::Unknown(_))),
            "{script}: {ended:?}"
        );
    }
}

#[tokio::test]
async fn lists_that_contradict_themselves_are_not_used() {
    for (list, words) in [
        (
            r#"{"complete":true,"instances":[{"id":"a","zone":"z"},{"id":"a","zone":"z"}]}"#,
            "a twice",
        ),
        (
            r#"{"complete":true,"instances":[{"id":"a","zone":"z","admin":"0.0.0.0:1"}]}"#,
            "cannot be asked",
        ),
        (
            r#"{"complete":true,"instances":[{"id":"a","zone":"z","age":-1}]}"#,
            "not a number of seconds",
        ),
        (
            r#"{"complete":true,"instances":[{"id":"a","zone":"z","age":1e300}]}"#,
            "not a number of seconds",
        ),
        (
            r#"{"complete":true,"instances":[{"id":"a","zone":"z","image":"a\u0007"}]}"#,
            "image",
        ),
        (r#"{"complete":true,"instances":[{"id":"a"}]}"#, "zone"),
        (r#"{"instances":[]}"#, "complete"),
        (
            r#"{"complete":true,"complete":true,"instances":[]}"#,
            "duplicate",
        ),
    ] {
        let listed = exec(&format!("cat <<'E'\n{list}\nE")).list().await;
        assert!(
            matches!(&listed, Err(ProviderError::Failed(why)) if why.contains(words)),
            "{list}: {listed:?}"
        );
    }
}

#[tokio::test]
async fn what_a_command_refuses_has_not_happened_and_its_complaint_is_passed_on() {
    for (kind, wanted) in [
        ("throttled", ProviderError::Throttled("x y".to_owned())),
        ("no-capacity", ProviderError::NoCapacity("x y".to_owned())),
        ("refused", ProviderError::Refused("x y".to_owned())),
        ("failed", ProviderError::Failed("x y".to_owned())),
    ] {
        let script = format!(r#"printf %s '{{"error":"{kind}","words":"x\ny"}}'; exit 1"#);
        assert_eq!(exec(&script).launch(&order(1)).await, Err(wanted));
    }
    let complaint = exec("echo 'no such\nregion' >&2; exit 4").list().await;
    assert!(
        matches!(&complaint, Err(ProviderError::Failed(why)) if why.contains("no such region") && why.contains('4')),
        "{complaint:?}"
    );
    let missing = Exec::new(config::Exec {
        list: vec!["/nothing/here".to_owned()],
        launch: vec!["/nothing/here".to_owned()],
        ..nothing()
    });
    let launched = missing.launch(&order(1)).await;
    assert!(
        matches!(launched, Err(ProviderError::Failed(_))),
        "nothing has happened: {launched:?}"
    );
}

/// The page that people write their commands by.
#[tokio::test]
async fn the_page_says_what_is_understood() {
    let page = include_str!("../../../../docs/operations.md");
    let (_, section) = page
        .split_once("\n## Commands as a provider\n")
        .expect("the section");
    let (_, rest) = section.split_once("```json\n").expect("an example");
    let (list, _) = rest.split_once("```").expect("its end");
    let listing = exec(&format!("cat <<'E'\n{list}\nE"))
        .list()
        .await
        .expect("a list");
    assert_eq!(listing.instances.len(), 1);
    assert_eq!(listing.launched.len(), 1);
    let says = |answer: &str| {
        assert!(section.contains(&format!("`{answer}`")), "{answer}");
        exec(&format!("echo '{answer}'"))
    };
    let launched = says(r#"{"instances":["vm-17","vm-18"]}"#)
        .launch(&order(2))
        .await;
    assert_eq!(launched.map(|ids| ids.len()), Ok(2));
    let ended = says(r#"{"ended":"ending"}"#).terminate(&id()).await;
    assert_eq!(ended, Ok(Ended::Ending));
    let ended = says(r#"{"ended":"already"}"#).terminate(&id()).await;
    assert_eq!(ended, Ok(Ended::Already));
    assert_eq!(says("{}").extend(&id()).await, Ok(()));
    let refused = says(r#"{"error":"no-capacity","words":"..."}"#)
        .launch(&order(1))
        .await;
    assert!(
        matches!(refused, Err(ProviderError::NoCapacity(_))),
        "{refused:?}"
    );
}
