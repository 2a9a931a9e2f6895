//! Slips in a configuration: a key that nobody knows, fit to be shown, and the one that was probably meant.
//!
//! Not responsible for which keys there are, nor for the form of the report.

/// A key longer than any of ours is no slip of the finger.
const LONGEST: usize = 64;

/// The candidate that is at most a third of its length away, with `_` read as `-`; `None` beyond 64 bytes, as the
/// comparison takes quadratic time.
pub fn nearest(
    unknown: &str,
    candidates: impl Iterator<Item = &'static str>,
) -> Option<&'static str> {
    if unknown.len() > LONGEST {
        return None;
    }
    let unknown = unknown.to_lowercase().replace('_', "-");
    candidates
        .map(|candidate| (distance(&unknown, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// A key that may be anything, fit for one line of a terminal: escaped, and cut after 64 characters.
pub fn printable(key: &str) -> String {
    let escaped: String = key
        .chars()
        .take(LONGEST)
        .flat_map(char::escape_debug)
        .collect();
    if key.chars().count() > LONGEST {
        format!("{escaped}...")
    } else {
        escaped
    }
}

/// Levenshtein's distance in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (slot, to) in row.iter_mut().skip(1).zip(&b) {
            let above = *slot;
            let substituted = diagonal + usize::from(from != *to);
            left = substituted.min(above + 1).min(left + 1);
            diagonal = above;
            *slot = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 3] = ["realm", "pseudonym-rotation", "ports"];

    #[test]
    fn a_slip_of_the_finger_finds_its_key() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        let near = |unknown| nearest(unknown, KEYS.into_iter());
        assert_eq!(near("relm"), Some("realm"));
        assert_eq!(near("Pseudonym_Rotation"), Some("pseudonym-rotation"));
        assert_eq!(near("colour"), None);
        assert_eq!(near(&"ports".repeat(20)), None);
    }

    /// A-26: what is shown of a key is one short line, whatever stands in it.
    #[test]
    fn a_hostile_key_is_shown_on_one_line() {
        let shown = printable(&format!("a\r\n\u{1b}[31m{}", "b".repeat(1000)));
        assert!(shown.starts_with(r"a\r\n\u{1b}[31mb"), "{shown}");
        assert!(shown.ends_with("b..."));
        assert!(shown.len() < 100);
    }
}
