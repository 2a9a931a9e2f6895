//! Counts beside those of the record.
//!
//! Responsible for what counts as a difference. Not responsible for whether the two may be compared (`environment`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// A count may differ by this part of what was recorded: where code lies, and so what is inlined, moves with changes
/// elsewhere.
const TOLERANCE_PERCENT: u64 = 2;
/// And by this many instructions, which is the whole of two percent where a case has few.
const TOLERANCE_INSTRUCTIONS: u64 = 3;

/// One case in the record and now.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    case: String,
    recorded: Option<u64>,
    found: Option<u64>,
}

impl Row {
    /// Better counts as different too: what is not recorded can be lost again unseen.
    fn holds(&self) -> bool {
        let (Some(recorded), Some(found)) = (self.recorded, self.found) else {
            return false;
        };
        let tolerance = (recorded * TOLERANCE_PERCENT / 100).max(TOLERANCE_INSTRUCTIONS);
        recorded.abs_diff(found) <= tolerance
    }

    fn change(&self) -> String {
        match (self.recorded, self.found) {
            (Some(recorded), Some(found)) => {
                let percent = (found as f64 / recorded.max(1) as f64 - 1.0) * 100.0;
                format!("{percent:+.1} %")
            }
            (None, _) => "not recorded".to_owned(),
            (Some(_), None) => "no such case".to_owned(),
        }
    }
}

/// All cases, in the record or not.
#[derive(Debug)]
pub(crate) struct Comparison(Vec<Row>);

impl Comparison {
    /// Compares.
    pub(crate) fn of(recorded: &BTreeMap<String, u64>, found: &BTreeMap<String, u64>) -> Self {
        let cases: BTreeSet<&String> = recorded.keys().chain(found.keys()).collect();
        let rows = cases.into_iter().map(|case| Row {
            case: case.clone(),
            recorded: recorded.get(case).copied(),
            found: found.get(case).copied(),
        });
        Self(rows.collect())
    }

    /// How many cases there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether every case is as recorded.
    pub(crate) fn holds(&self) -> bool {
        self.0.iter().all(Row::holds)
    }

    /// The cases that differ, or all of them; nothing when there is none.
    pub(crate) fn table(&self, everything: bool) -> String {
        let shown = self.0.iter().filter(|row| everything || !row.holds());
        let shown: Vec<&Row> = shown.collect();
        let Some(width) = shown.iter().map(|row| row.case.len()).max() else {
            return String::new();
        };
        let mut text = format!(
            "{:width$}  {:>9}  {:>9}  change\n",
            "case", "recorded", "now"
        );
        let number = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |n| n.to_string());
        for row in shown {
            let (recorded, found) = (number(row.recorded), number(row.found));
            let mark = if row.holds() { "" } else { " <-" };
            let (case, change) = (&row.case, row.change());
            writeln!(
                text,
                "{case:width$}  {recorded:>9}  {found:>9}  {change}{mark}"
            )
            .expect("a string takes every text");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(counts: &[(&str, u64)]) -> BTreeMap<String, u64> {
        let owned = counts.iter().map(|(case, n)| ((*case).to_owned(), *n));
        owned.collect()
    }

    #[test]
    fn two_percent_and_three_instructions_are_no_difference() {
        let recorded = counts(&[("few", 20), ("many", 1000)]);
        let within = counts(&[("few", 23), ("many", 980)]);
        assert!(Comparison::of(&recorded, &within).holds());
        assert_eq!(Comparison::of(&recorded, &within).table(false), "");
    }

    #[test]
    fn worse_better_new_and_gone_are_all_named() {
        let recorded = counts(&[("better", 1000), ("gone", 5), ("same", 7), ("worse", 1000)]);
        let found = counts(&[("better", 900), ("new", 5), ("same", 7), ("worse", 1021)]);
        let comparison = Comparison::of(&recorded, &found);
        assert!(!comparison.holds());
        let table = comparison.table(false);
        let rows: Vec<&str> = table.lines().skip(1).collect();
        assert_eq!(rows.len(), 4, "{table}");
        assert!(rows[0].starts_with("better") && rows[0].ends_with("-10.0 % <-"));
        assert!(rows[1].starts_with("gone") && rows[1].contains("no such case"));
        assert!(rows[2].starts_with("new") && rows[2].contains("not recorded"));
        assert!(rows[3].starts_with("worse") && rows[3].contains("+2.1 %"));
        assert_eq!(comparison.table(true).lines().count(), 6);
    }
}
