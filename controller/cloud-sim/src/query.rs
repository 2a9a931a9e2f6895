//! The query protocol: parameters in a form, answers in XML.
//!
//! Responsible for both encodings. Not responsible for any action.

use std::collections::BTreeMap;

/// The parameters of a form.
pub(crate) fn parameters(form: &[u8]) -> BTreeMap<String, String> {
    let form = String::from_utf8_lossy(form);
    let pairs = form.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        })
        .collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| str::from_utf8(hex).ok());
        match (first, hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = after;
            }
            (other, _) => {
                bytes.push(*other);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The members of a list parameter.
pub(crate) fn list(parameters: &BTreeMap<String, String>, name: &str) -> Vec<String> {
    (1..=1000)
        .map_while(|number| parameters.get(&format!("{name}.member.{number}")).cloned())
        .collect()
}

/// An element with text in it.
pub(crate) fn text(name: &str, value: &str) -> String {
    format!("<{name}>{}</{name}>", escaped(value))
}

/// An element with elements in it.
pub(crate) fn element(name: &str, inner: &str) -> String {
    format!("<{name}>{inner}</{name}>")
}

/// A list of members, each of which is elements.
pub(crate) fn members<T>(
    name: &str,
    all: impl IntoIterator<Item = T>,
    one: impl Fn(T) -> String,
) -> String {
    let inner: String = all
        .into_iter()
        .map(|it| element("member", &one(it)))
        .collect();
    element(name, &inner)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// The answer of an action that was done.
pub(crate) fn answer(action: &str, result: &str, request: u64) -> String {
    let metadata = element("ResponseMetadata", &text("RequestId", &request_id(request)));
    format!(
        "<{action}Response xmlns=\"http://autoscaling.amazonaws.com/doc/2011-01-01/\">{}{metadata}</{action}Response>",
        element(&format!("{action}Result"), result)
    )
}

/// The answer of an action that was not.
pub(crate) fn error(status: u16, code: &str, message: &str, request: u64) -> String {
    let kind = if status < 500 { "Sender" } else { "Receiver" };
    let inner = text("Type", kind) + &text("Code", code) + &text("Message", message);
    format!(
        "<ErrorResponse xmlns=\"http://autoscaling.amazonaws.com/doc/2011-01-01/\">{}{}</ErrorResponse>",
        element("Error", &inner),
        text("RequestId", &request_id(request))
    )
}

fn request_id(number: u64) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

/// A moment as the API writes it.
pub(crate) fn time(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (mut year, mut left) = (1970_u64, days);
    loop {
        let leap =
            year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let length = if leap { 366 } else { 365 };
        if left < length {
            let february = if leap { 29 } else { 28 };
            let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
            let mut month = 1;
            for length in months {
                if left < length {
                    break;
                }
                left -= length;
                month += 1;
            }
            let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
            return format!(
                "{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z",
                left + 1
            );
        }
        left -= length;
        year += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_decoded() {
        let parameters = parameters(b"Action=X&A.member.1=a%20b&A.member.2=c%2Fd+e&Empty=");
        assert_eq!(list(&parameters, "A"), ["a b", "c/d e"]);
        assert_eq!(parameters.get("Empty").map(String::as_str), Some(""));
    }

    #[test]
    fn moments_are_written() {
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(time(951_827_696), "2000-02-29T12:34:56Z");
        assert_eq!(time(1_795_305_600), "2026-11-22T00:00:00Z");
    }
}
