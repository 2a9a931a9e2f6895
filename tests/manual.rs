//! The manual pages and the completions, as they are made from the command that was built.
//!
//! Not responsible for their words, which are the help texts.
#![cfg(all(feature = "relay", feature = "controller", feature = "manual"))]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_taciturn");

fn output(arguments: &[&str]) -> String {
    let output = Command::new(PROGRAM).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Commands as the help of the command above them lists them, each with its words: `credentials`, `credentials mint`.
fn commands() -> BTreeSet<Vec<String>> {
    let mut known = BTreeSet::from([vec![]]);
    let mut open = vec![Vec::<String>::new()];
    while let Some(above) = open.pop() {
        let mut arguments: Vec<&str> = above.iter().map(String::as_str).collect();
        arguments.push("-h");
        let help = output(&arguments);
        let listed = help
            .lines()
            .skip_while(|line| *line != "Commands:")
            .skip(1)
            .take_while(|line| line.starts_with("  "))
            .filter(|line| !line.starts_with("   "))
            .filter_map(|line| line.split_whitespace().next())
            .filter(|name| *name != "help");
        for name in listed {
            let mut command = above.clone();
            command.push(name.to_owned());
            known.insert(command.clone());
            open.push(command);
        }
    }
    known
}

/// The pages by their names, in a directory of this process's own that is gone afterwards.
fn pages(of: &str) -> BTreeMap<String, String> {
    let place: PathBuf =
        std::env::temp_dir().join(format!("taciturn-manual-{of}-{}", std::process::id()));
    let names = output(&["man", "--out", place.to_str().unwrap()]);
    let pages = names
        .lines()
        .map(|name| {
            let file = PathBuf::from(name);
            let text = std::fs::read_to_string(&file).unwrap();
            (file.file_name().unwrap().to_str().unwrap().to_owned(), text)
        })
        .collect();
    std::fs::remove_dir_all(place).unwrap();
    pages
}

#[test]
fn every_command_has_its_manual_page() {
    let pages: BTreeSet<String> = pages("names").into_keys().collect();
    let wanted: BTreeSet<String> = commands()
        .into_iter()
        .map(|words| {
            let name: Vec<String> = ["taciturn".to_owned()].into_iter().chain(words).collect();
            format!("{}.1", name.join("-"))
        })
        .collect();
    assert!(wanted.contains("taciturn-credentials-mint.1"), "{wanted:?}");
    assert_eq!(pages, wanted);
}

#[test]
fn a_manual_page_says_what_each_exit_code_means() {
    for (name, page) in pages("codes") {
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "SEE ALSO"] {
            assert!(
                page.lines()
                    .any(|line| line == format!(".SH {section}")
                        || line == format!(".SH \"{section}\"")),
                "{name} has no {section}: {page}"
            );
        }
        let (_, status) = page.split_once("EXIT STATUS").unwrap();
        for code in ["0", "1", "2"] {
            assert!(
                status.contains(&format!("\n\\fB{code}\\fR\n")),
                "{name} does not say what {code} means: {status}"
            );
        }
        assert!(
            page.starts_with(".ie") || page.contains("\n.TH TACITURN"),
            "{page}"
        );
    }
}

#[test]
fn a_manual_page_shows_every_option_of_the_help() {
    let pages = pages("options");
    for words in commands() {
        let mut arguments: Vec<&str> = words.iter().map(String::as_str).collect();
        arguments.push("--help");
        let help = output(&arguments);
        let name: Vec<&str> = ["taciturn"]
            .into_iter()
            .chain(words.iter().map(String::as_str))
            .collect();
        let page = &pages[&format!("{}.1", name.join("-"))];
        let options = help.lines().filter_map(|line| {
            let line = line.trim_start();
            let long = line.strip_prefix("-h, ").unwrap_or(line);
            long.starts_with("--")
                .then(|| long.split([' ', '=']).next())
                .flatten()
        });
        for option in options {
            let escaped = option.replace('-', "\\-");
            assert!(page.contains(&escaped), "{name:?} lacks {option}: {page}");
        }
    }
}

/// bash itself completes the words that are typed so far.
#[test]
fn a_real_bash_completes_commands_and_options() {
    let script = output(&["completions", "bash"]);
    let complete = |typed: &[&str]| -> BTreeSet<String> {
        let line = typed.join(" ");
        let asked = format!(
            "{script}\nCOMP_WORDS=({line}{last})\nCOMP_CWORD={at}\n\
             _taciturn taciturn '{word}' '{before}'\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
            last = if typed.last() == Some(&"") { " ''" } else { "" },
            at = typed.len() - 1,
            word = typed[typed.len() - 1],
            before = typed[typed.len() - 2],
        );
        let output = Command::new("bash")
            .args(["--norc", "-c", &asked])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let replies = String::from_utf8(output.stdout).unwrap();
        replies.lines().map(str::to_owned).collect()
    };
    assert_eq!(
        complete(&["taciturn", "che"]),
        BTreeSet::from(["check-config".to_owned()])
    );
    let first = complete(&["taciturn", ""]);
    for command in commands().into_iter().filter(|words| words.len() == 1) {
        assert!(first.contains(&command[0]), "{command:?} in {first:?}");
    }
    assert!(complete(&["taciturn", "credentials", "mint", "--se"]).contains("--secret-file"));
    assert!(complete(&["taciturn", "credentials", "mint", "--hash", ""]).contains("sha256"));
}

#[test]
fn completions_are_there_for_every_usual_shell() {
    for (shell, sign) in [
        ("bash", "complete -F _taciturn"),
        ("zsh", "#compdef taciturn"),
        ("fish", "complete -c taciturn"),
        ("elvish", "edit:completion"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let script = output(&["completions", shell]);
        assert!(script.contains(sign), "{shell}: {script}");
        assert!(script.contains("check-config"), "{shell}: {script}");
    }
}
