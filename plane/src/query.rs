//! The query of a request: a few known keys with plain values.
//!
//! Not responsible for percent-encoding: no value of ours needs any, so one that has it is no value of ours.

/// The keys and values of a query, each key once.
#[derive(Debug)]
pub struct Query<'q> {
    pairs: Vec<(&'q str, &'q str)>,
}

impl<'q> Query<'q> {
    /// Reads a query in which only these keys may stand.
    ///
    /// # Errors
    /// Another key, or one twice; in words.
    pub fn parse(query: Option<&'q str>, known: &[&str]) -> Result<Self, String> {
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        let parts = query.unwrap_or_default().split('&');
        for part in parts.filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            if !known.contains(&key) {
                return Err(format!(
                    "the query has a key that is none of {}",
                    known.join(", ")
                ));
            }
            if pairs.iter().any(|(other, _)| *other == key) {
                return Err(format!("the query has {key} twice"));
            }
            pairs.push((key, value));
        }
        Ok(Self { pairs })
    }

    /// The value of this key, where there is one.
    pub fn text(&self, key: &str) -> Option<&'q str> {
        self.pairs
            .iter()
            .find(|(other, _)| *other == key)
            .map(|(_, value)| *value)
    }

    /// The same as a number.
    ///
    /// # Errors
    /// It is none; in words.
    pub fn number(&self, key: &str) -> Result<Option<u64>, String> {
        self.text(key)
            .map(|value| {
                value
                    .parse()
                    .map_err(|_| format!("{key} in the query is not a whole number"))
            })
            .transpose()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_query_has_known_keys_once() {
        let known = ["limit", "after"];
        let parse = |query| Query::parse(Some(query), &known);
        let both = parse("limit=10&after=0-1-2").unwrap();
        assert_eq!(both.number("limit"), Ok(Some(10)));
        assert_eq!(both.text("after"), Some("0-1-2"));
        let none = Query::parse(None, &known).unwrap();
        assert_eq!(none.number("limit"), Ok(None));
        assert_eq!(parse("").unwrap().text("after"), None);
        for wrong in ["limit=1&limit=1", "limits=1", "limit=1&x", "%6cimit=1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        for wrong in ["limit=", "limit", "limit=-1", "limit=1.5", "limit=%31"] {
            assert!(parse(wrong).unwrap().number("limit").is_err(), "{wrong}");
        }
    }
}
