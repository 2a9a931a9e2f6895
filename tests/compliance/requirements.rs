//! `docs/requirements.toml` as data: sections, lines, and what is claimed.
//!
//! Responsible for refusing a malformed file and for naming what is unshown; not for the page (`page`).

use crate::marks::Mark;
use std::collections::BTreeSet;
use toml::{Table, Value};

/// All sections in the order of the file.
#[derive(Debug)]
pub(crate) struct Requirements {
    pub(crate) sections: Vec<Section>,
}

/// A section with its lines in the order of their ids as written.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) lines: Vec<Line>,
}

/// One requirement.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) id: String,
    pub(crate) keyword: String,
    pub(crate) summary: String,
    pub(crate) note: Option<String>,
    pub(crate) claim: Claim,
}

/// What the project says about a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Promised: a test must name it.
    Claimed,
    /// Counts from the day that a test names it.
    OnceShown,
    /// Not promised, with the reason.
    Not(String),
}

impl Requirements {
    /// Reads the file; the error says which line is wrong and why.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let document: Table = text.parse().map_err(|error| format!("{error}"))?;
        let sections = document
            .get("section")
            .and_then(Value::as_array)
            .ok_or("there is no [[section]]")?;
        let sections = sections
            .iter()
            .map(Section::parse)
            .collect::<Result<Vec<_>, _>>()?;
        let mut seen = BTreeSet::new();
        for line in sections.iter().flat_map(|section| &section.lines) {
            if !seen.insert(line.id.clone()) {
                return Err(format!("{} stands in two sections", line.id));
            }
        }
        Ok(Self { sections })
    }

    /// Whether a mark may name this line.
    pub(crate) fn knows(&self, id: &str) -> bool {
        self.lines().any(|line| line.id == id)
    }

    /// Claimed lines that no mark names, with their summaries.
    pub(crate) fn unshown(&self, marks: &[Mark]) -> Vec<String> {
        self.lines()
            .filter(|line| line.claim == Claim::Claimed)
            .filter(|line| !marks.iter().any(|mark| mark.id == line.id))
            .map(|line| format!("{}: {}", line.id, line.summary))
            .collect()
    }

    fn lines(&self) -> impl Iterator<Item = &Line> {
        self.sections.iter().flat_map(|section| &section.lines)
    }
}

impl Section {
    fn parse(value: &Value) -> Result<Self, String> {
        let id = text(value, "id").ok_or("a section has no id")?;
        let at = |fault: &str| format!("section {id}: {fault}");
        only(value, &["id", "title", "claimed", "not-claimed", "lines"]).map_err(|key| at(&key))?;
        let title = text(value, "title").ok_or_else(|| at("no title"))?;
        let claim = match (text(value, "not-claimed"), value.get("claimed")) {
            (Some(reason), _) => Claim::Not(reason),
            (None, Some(Value::Boolean(false))) => Claim::OnceShown,
            (None, None) => Claim::Claimed,
            (None, Some(_)) => return Err(at("`claimed` can only be false")),
        };
        let lines = value
            .get("lines")
            .and_then(Value::as_table)
            .ok_or_else(|| at("no lines"))?;
        let mut lines = lines
            .iter()
            .map(|(id, value)| Line::parse(id, value, &claim))
            .collect::<Result<Vec<_>, _>>()?;
        lines.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(Self { id, title, lines })
    }
}

impl Line {
    fn parse(id: &str, value: &Value, of_section: &Claim) -> Result<Self, String> {
        let at = |fault: &str| format!("{id}: {fault}");
        only(value, &["keyword", "summary", "note", "not-claimed"]).map_err(|key| at(&key))?;
        let keyword = text(value, "keyword").ok_or_else(|| at("no keyword"))?;
        if !keyword
            .split(", ")
            .all(|word| ["MUST", "SHOULD", "policy"].contains(&word))
        {
            return Err(at("keyword is made of MUST, SHOULD and policy"));
        }
        Ok(Self {
            id: id.to_owned(),
            keyword,
            summary: text(value, "summary").ok_or_else(|| at("no summary"))?,
            note: text(value, "note"),
            claim: text(value, "not-claimed").map_or_else(|| of_section.clone(), Claim::Not),
        })
    }
}

fn text(value: &Value, key: &str) -> Option<String> {
    let text = value.get(key)?.as_str()?;
    (!text.is_empty()).then(|| text.to_owned())
}

fn only(value: &Value, known: &[&str]) -> Result<(), String> {
    let table = value.as_table().ok_or("not a table")?;
    match table.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(format!("unknown key {key}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r#"
        [[section]]
        id = "1"
        title = "First"
        lines.S-01 = { keyword = "MUST", summary = "one" }
        lines.S-02 = { keyword = "SHOULD, policy", summary = "two", not-claimed = "later" }
        [[section]]
        id = "2"
        title = "Second"
        claimed = false
        lines.A-01 = { keyword = "policy", summary = "three" }
    "#;

    fn mark(id: &str) -> Mark {
        let (id, file, test) = (id.to_owned(), "a.rs".to_owned(), "a_test".to_owned());
        Mark { id, file, test }
    }

    #[test]
    fn only_claimed_lines_without_a_mark_are_unshown() {
        let requirements = Requirements::parse(SAMPLE).expect("the sample is sound");
        assert_eq!(requirements.unshown(&[]), ["S-01: one"]);
        assert!(requirements.unshown(&[mark("S-01")]).is_empty());
        assert!(requirements.knows("A-01"));
        assert!(!requirements.knows("S-99"));
    }

    #[test]
    fn a_malformed_file_is_refused_with_the_line_named() {
        for (from, to, fault) in [
            ("MUST", "SHALL", "S-01: keyword"),
            (
                "summary = \"one\"",
                "sumary = \"one\"",
                "S-01: unknown key sumary",
            ),
            ("lines.A-01", "lines.S-01", "S-01 stands in two sections"),
            ("claimed = false", "claimed = true", "section 2: `claimed`"),
            ("title = \"First\"", "", "section 1: no title"),
        ] {
            let error = Requirements::parse(&SAMPLE.replacen(from, to, 1)).expect_err(to);
            assert!(error.starts_with(fault), "{error}");
        }
    }
}
