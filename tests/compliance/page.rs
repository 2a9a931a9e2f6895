//! Writes `docs/compliance.md`.
//!
//! Responsible for the page's form; not for its truth.

use crate::marks::Mark;
use crate::requirements::{Claim, Line, Requirements, Section};
use std::fmt::Write as _;

const HEAD: &str = "# Compliance

Generated from `docs/requirements.toml` and from the marks over the tests; do not edit. `UPDATE_COMPLIANCE=1 cargo test --test
compliance` writes it anew, and the test fails while it is out of date, while a claimed line has no test, or while a test names
a line that does not exist.

*done*: at least one test names the line. *not claimed*: with the reason; tests listed there show that it is refused as it
should be. *not shown*: no promise yet.
";

/// The whole page.
pub(crate) fn write(requirements: &Requirements, marks: &[Mark]) -> String {
    let mut page = HEAD.to_owned();
    page.push_str("\n| section | done | not claimed | not shown |\n|---|---|---|---|\n");
    for section in &requirements.sections {
        let count = |status| {
            let of_line = |line: &&Line| Status::of(line, marks) == status;
            section.lines.iter().filter(of_line).count()
        };
        let (done, not_claimed) = (count(Status::Done), count(Status::NotClaimed));
        let Section { id, title, lines } = section;
        let not_shown = lines.len() - done - not_claimed;
        writeln!(
            page,
            "| {id} {title} | {done} | {not_claimed} | {not_shown} |"
        )
        .expect("a String takes any text");
    }
    for section in &requirements.sections {
        write_section(&mut page, section, marks);
    }
    page
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Done,
    NotClaimed,
    NotShown,
}

impl Status {
    fn of(line: &Line, marks: &[Mark]) -> Self {
        match &line.claim {
            Claim::Not(_) => Self::NotClaimed,
            Claim::Claimed | Claim::OnceShown if marks.iter().any(|mark| mark.id == line.id) => {
                Self::Done
            }
            Claim::Claimed | Claim::OnceShown => Self::NotShown,
        }
    }
}

fn write_section(page: &mut String, section: &Section, marks: &[Mark]) {
    let Section { id, title, lines } = section;
    write!(
        page,
        "\n## {id} {title}\n\n| line | keyword | what | status | tests |\n|---|---|---|---|---|\n"
    )
    .expect("a String takes any text");
    for line in lines {
        let mut what = line.summary.clone();
        if let Some(note) = &line.note {
            write!(what, "; *{note}*").expect("a String takes any text");
        }
        let status = match (Status::of(line, marks), &line.claim) {
            (_, Claim::Not(reason)) => format!("not claimed: {reason}"),
            (Status::Done, _) => "done".to_owned(),
            (Status::NotClaimed | Status::NotShown, _) => "not shown".to_owned(),
        };
        let tests: Vec<String> = marks
            .iter()
            .filter(|mark| mark.id == line.id)
            .map(link)
            .collect();
        writeln!(
            page,
            "| {} | {} | {} | {} | {} |",
            line.id,
            line.keyword,
            cell(&what),
            cell(&status),
            tests.join("<br>")
        )
        .expect("a String takes any text");
    }
}

fn link(mark: &Mark) -> String {
    format!("[{}](../{})", mark.test, mark.file)
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_tells_done_from_not_claimed_and_not_shown() {
        let requirements = Requirements::parse(
            r#"
            [[section]]
            id = "1"
            title = "First"
            lines.S-01 = { keyword = "MUST", summary = "a | b", note = "but" }
            lines.S-02 = { keyword = "SHOULD", summary = "two", not-claimed = "later" }
            lines.S-03 = { keyword = "MUST", summary = "three" }
            "#,
        )
        .expect("the sample is sound");
        let (id, file, test) = (
            "S-01".to_owned(),
            "relay/a.rs".to_owned(),
            "a_test".to_owned(),
        );
        let page = write(&requirements, &[Mark { id, file, test }]);
        for line in [
            "| 1 First | 1 | 1 | 1 |",
            "| S-01 | MUST | a \\| b; *but* | done | [a_test](../relay/a.rs) |",
            "| S-02 | SHOULD | two | not claimed: later |  |",
            "| S-03 | MUST | three | not shown |  |",
        ] {
            assert!(
                page.lines().any(|found| found == line),
                "{line} is not in\n{page}"
            );
        }
    }
}
