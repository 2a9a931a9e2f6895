//! Refuses answers that are not whole.
//!
//! Responsible for one question, asked of every answer before its content is believed: is it one XML document from its first
//! element to its last? The decoder of the SDK reads as far as it can and calls that the answer: a list that was cut short, or
//! broken in its middle, would look like a shorter list, and every relay behind the break like one that is gone. Not
//! responsible for what the document says.

use std::collections::BTreeSet;

use aws_sdk_autoscaling::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_autoscaling::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_autoscaling::error::BoxError;
use xmlparser::{ElementEnd, Token, Tokenizer};

/// Looks at each answer of a client.
#[derive(Debug)]
pub(super) struct Whole;

impl Intercept for Whole {
    fn name(&self) -> &'static str {
        "Whole"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _settings: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.response().body().bytes().unwrap_or_default();
        check(body).map_err(Into::into)
    }
}

/// Whether `body` is one whole document.
///
/// # Errors
/// Where it breaks.
pub(super) fn check(body: &[u8]) -> Result<(), String> {
    let text = str::from_utf8(body).map_err(|_| "the answer is not text".to_owned())?;
    // Each open element with the names of its children: in this protocol only members of a list repeat.
    let mut open: Vec<(&str, BTreeSet<&str>)> = Vec::new();
    let mut roots = 0_u32;
    for token in Tokenizer::from(text) {
        match token.map_err(|error| format!("the answer is broken: {error}"))? {
            Token::ElementStart { local, .. } => {
                let name = local.as_str();
                match open.last_mut() {
                    Some((parent, seen)) => {
                        if !seen.insert(name) && name != "member" {
                            return Err(format!("the answer says {name} twice in one {parent}"));
                        }
                    }
                    None => roots += 1,
                }
                open.push((name, BTreeSet::new()));
            }
            // Never used by the protocol; the decoder would end its list at one that it cannot read.
            Token::Attribute { value, .. } if value.as_str().contains('&') => {
                return Err("the answer has an attribute that cannot be read".to_owned());
            }
            Token::ElementEnd { end, .. } => match end {
                ElementEnd::Open => {}
                ElementEnd::Empty => {
                    open.pop();
                }
                ElementEnd::Close(_, local) => {
                    if open.pop().is_none_or(|(name, _)| name != local.as_str()) {
                        return Err(format!(
                            "the answer ends {local} where something else is open"
                        ));
                    }
                }
            },
            Token::Declaration { .. }
            | Token::ProcessingInstruction { .. }
            | Token::Comment { .. }
            | Token::DtdStart { .. }
            | Token::EmptyDtd { .. }
            | Token::EntityDeclaration { .. }
            | Token::DtdEnd { .. }
            | Token::Attribute { .. }
            | Token::Text { .. }
            | Token::Cdata { .. } => {}
        }
    }
    match (open.last(), roots) {
        (Some((name, _)), _) => Err(format!("the answer ends in the middle of {name}")),
        (None, 1) => Ok(()),
        (None, 0) => Err("the answer is empty".to_owned()),
        (None, _) => Err("the answer has more than one document".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "<?xml version=\"1.0\"?>\n<A xmlns=\"http://a\"><R><I><member><Z>a</Z></member>\
                         <member><Z>b</Z></member></I><N/></R></A>\n";

    #[test]
    fn a_whole_answer_passes() {
        assert_eq!(check(WHOLE.as_bytes()), Ok(()));
        assert_eq!(check(b"<A/>"), Ok(()));
    }

    #[test]
    fn an_answer_that_is_cut_anywhere_does_not() {
        let end = WHOLE.trim_end().len();
        for cut in 0..end {
            assert!(check(&WHOLE.as_bytes()[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn neither_does_one_that_is_broken_contradicts_itself_or_is_something_else() {
        for body in [
            "",
            "{}",
            "500 Internal Server Error",
            "<A><B></A></B>",
            "<A></A><A></A>",
            "<A><I><member/></I><I/></A>",
            "<A><B>1</B><B>2</B></A>",
            "<A><B <C/></A>",
            "<A b=\"&x\"/>",
            "<!DOCTYPE html><html><p>sorry<p>sorry</html>",
        ] {
            assert!(check(body.as_bytes()).is_err(), "{body}");
        }
        assert!(check(b"\xff<A/>").is_err());
    }
}
