//! The counts as they are checked in: `counts.toml`.

use std::collections::BTreeMap;

use anyhow::Context;
use toml::Table;

use crate::environment::Environment;

/// Counts, and where they were made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// What they depend on.
    pub(crate) environment: Environment,
    /// Instructions an operation, by case.
    pub(crate) instructions: BTreeMap<String, u64>,
}

impl Record {
    /// Reads a record.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let table: Table = text.parse()?;
        let section = |name: &str| {
            let section = table.get(name).and_then(|value| value.as_table());
            section.with_context(|| format!("no section [{name}]"))
        };
        let environment = section("environment")?;
        let word = |key: &str| {
            let word = environment.get(key).and_then(|value| value.as_str());
            word.map(str::to_owned)
                .with_context(|| format!("no text `{key}` in [environment]"))
        };
        let instructions = section("instructions")?.iter().map(|(case, count)| {
            let count = count.as_integer().and_then(|count| count.try_into().ok());
            let count = count.with_context(|| format!("`{case}` has no count"))?;
            Ok((case.clone(), count))
        });
        Ok(Self {
            environment: Environment {
                rustc: word("rustc")?,
                valgrind: word("valgrind")?,
                libc: word("libc")?,
                processor: word("processor")?,
            },
            instructions: instructions.collect::<anyhow::Result<_>>()?,
        })
    }

    /// The record as it is written.
    pub(crate) fn to_text(&self) -> String {
        let Environment {
            rustc,
            valgrind,
            libc,
            processor,
        } = &self.environment;
        let mut text = format!(
            "# Instructions an operation, in user space; README.md says how they are counted. Written by\n\
             # `UPDATE_INSTRUCTIONS=1 cargo run --release -p taciturn-instructions`; do not edit.\n\n\
             [environment]\nrustc = \"{rustc}\"\nvalgrind = \"{valgrind}\"\nlibc = \"{libc}\"\nprocessor = \"{processor}\"\n\n\
             [instructions]\n"
        );
        for (case, count) in &self.instructions {
            text.push_str(&format!("\"{case}\" = {count}\n"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let record = Record {
            environment: Environment {
                rustc: "rustc 1.95.0".to_owned(),
                valgrind: "valgrind-3.19.0".to_owned(),
                libc: "glibc 2.36".to_owned(),
                processor: "x86_64 avx2".to_owned(),
            },
            instructions: [("wire: one".to_owned(), 12), ("wire: two".to_owned(), 3)].into(),
        };
        assert_eq!(Record::parse(&record.to_text()).expect("sound"), record);
    }

    #[test]
    fn the_record_names_the_cases_that_there_are() {
        let text = std::fs::read_to_string(crate::RECORD).expect("the record is checked in");
        let recorded = Record::parse(&text).expect("a sound record");
        let mut counter = crate::Counter::default();
        crate::cases::run(&mut counter).expect("every case does what it is named for");
        let mut names: Vec<&str> = counter.regions().map(|(name, _)| name).collect();
        names.sort_unstable();
        let recorded: Vec<&str> = recorded.instructions.keys().map(String::as_str).collect();
        assert_eq!(names, recorded);
    }
}
