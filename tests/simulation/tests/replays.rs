//! A seed has one transcript, however and wherever it is run.

use std::process::Command;

use taciturn_simulation::run;

/// G-07: one seed twice is one transcript, byte for byte; another seed is another.
#[test]
fn a_seed_replays_byte_for_byte() {
    let mut digests = Vec::new();
    for seed in [0, 1, 77, 1_000_003, u64::MAX] {
        let (first, second) = (run(seed, None, true), run(seed, None, true));
        assert_eq!(first.text, second.text);
        assert_eq!(first.digest, second.digest);
        let text = first.text.expect("it was asked for");
        assert!(
            text.lines().count() > 100,
            "something happens in seed {seed}"
        );
        // Keeping the text changes nothing.
        assert_eq!(run(seed, None, false).digest, first.digest);
        digests.push(first.digest);
    }
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), 5);
}

fn command(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_taciturn-simulation"))
        .args(arguments)
        .output()
        .expect("the command is built");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// G-07: with one thread and with three, the same seeds give the same transcripts.
#[test]
fn the_number_of_threads_changes_nothing() {
    let run = |threads| command(&["--seeds", "350", "--from", "5000", "--threads", threads]);
    let alone = run("1");
    assert!(
        alone.contains("350 seeds from 5000: no invariant broken"),
        "{alone}"
    );
    assert_eq!(alone, run("3"));
}

/// G-07: the command prints the transcript that the tests see.
#[test]
fn the_command_prints_the_transcript_of_a_seed() {
    let printed = command(&["--seed", "77", "--transcript"]);
    let text = run(77, None, true).text.expect("it was asked for");
    assert!(printed.starts_with(&text));
}
