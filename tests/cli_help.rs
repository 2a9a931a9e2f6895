//! The help texts, as a stranger meets them.
#![cfg(all(feature = "relay", feature = "controller"))]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::process::Command;

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_taciturn"))
        .args(arguments)
        .env("COLUMNS", "100")
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn every_command_explains_itself_and_its_exit_codes() {
    for command in [
        vec![],
        vec!["relay"],
        vec!["check-config"],
        vec!["demo"],
        vec!["probe"],
        vec!["controller"],
        vec!["doctor"],
        vec!["audit"],
        vec!["audit", "verify"],
        vec!["credentials"],
        vec!["credentials", "mint"],
        vec!["credentials", "key"],
        vec!["credentials", "secret"],
        vec!["man"],
        vec!["completions"],
    ] {
        let (code, help, _) = run(&[command.as_slice(), &["--help"]].concat());
        assert_eq!(code, Some(0));
        assert!(help.contains("Usage: taciturn"), "{help}");
        assert!(help.contains("Exit codes:"), "{help}");
        assert!(
            help.lines().all(|line| line.chars().count() <= 100),
            "{help}"
        );
    }
}

#[test]
fn the_first_page_names_every_command() {
    let (_, help, _) = run(&["--help"]);
    for command in [
        "relay",
        "check-config",
        "demo",
        "probe",
        "controller",
        "audit",
        "credentials",
    ] {
        assert!(
            help.lines()
                .any(|line| line.trim_start().starts_with(command)),
            "{command} in {help}"
        );
    }
}

#[test]
fn a_wrong_command_line_has_its_own_exit_code() {
    for wrong in [
        &["relay"][..],
        &["credentials", "mint", "--user", "a"],
        &[
            "credentials",
            "mint",
            "--secret-file",
            "f",
            "--user",
            "a",
            "--ttl",
            "1",
        ],
        &["credentials", "secret", "--force"],
        &[
            "credentials",
            "key",
            "--user",
            "a",
            "--realm",
            "b",
            "--password",
            "c",
        ],
        &["demon"],
    ] {
        assert_eq!(run(wrong).0, Some(2), "{wrong:?}");
    }
}
