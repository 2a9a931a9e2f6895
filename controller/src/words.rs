//! Counted things in sentences that people read.
//!
//! Responsible for "1 allocation" and "2 allocations". Not responsible for what the sentences say.

use std::fmt::Display;

/// `count` of `thing`, which is named as one of them and gets an "s" for any other number.
pub(crate) fn counted(count: impl Display, thing: &str) -> String {
    let count = count.to_string();
    let plural = if count == "1" { "" } else { "s" };
    format!("{count} {thing}{plural}")
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn one_is_not_many() {
        let said = |count: f64| counted(count, "allocation");
        assert_eq!(said(0.0), "0 allocations");
        assert_eq!(said(1.0), "1 allocation");
        assert_eq!(said(16.0), "16 allocations");
    }
}
