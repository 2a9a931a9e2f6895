//! A bucket: objects by path, written on condition.
//!
//! Responsible for `GET` and for `PUT` with `If-None-Match: *` and `If-Match`. Not responsible for anything else that S3 does.

use std::collections::BTreeMap;

use crate::http::{Answer, Request};

/// The bucket's objects, by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Text and entity tag of each object.
    pub objects: BTreeMap<String, (String, String)>,
    /// Writes that took effect.
    pub writes: u64,
    /// It is one of the stores that do not know conditional writes, and write whatever is asked for.
    pub ignores_conditions: bool,
    /// Requests are refused: the caller may do nothing.
    pub denied: bool,
}

impl Bucket {
    /// Answers a request.
    pub(crate) fn answer(&mut self, request: &Request) -> Answer {
        if self.denied {
            return refusal(403, "AccessDenied", "Access Denied");
        }
        let path = request
            .path
            .split('?')
            .next()
            .unwrap_or_default()
            .to_owned();
        let known = self.objects.get(&path).cloned();
        match request.method.as_str() {
            "GET" => match known {
                Some((body, tag)) => Answer {
                    status: 200,
                    headers: vec![("etag", tag)],
                    body,
                },
                None => refusal(404, "NoSuchKey", "The specified key does not exist."),
            },
            "PUT" => {
                let tag = known.as_ref().map(|(_, tag)| tag.as_str());
                let known_here = |name: &str| {
                    let value = request.headers.get(name).map(String::as_str);
                    value.filter(|_| !self.ignores_conditions)
                };
                let none = known_here("if-none-match");
                let only = known_here("if-match");
                match (none, only, tag) {
                    (Some("*"), _, Some(_)) => {
                        return refusal(
                            412,
                            "PreconditionFailed",
                            "At least one of the pre-conditions you specified did not hold",
                        );
                    }
                    (_, Some(_), None) => {
                        return refusal(404, "NoSuchKey", "The specified key does not exist.");
                    }
                    (_, Some(only), Some(tag)) if only != tag => {
                        return refusal(
                            412,
                            "PreconditionFailed",
                            "At least one of the pre-conditions you specified did not hold",
                        );
                    }
                    _ => {}
                }
                self.writes += 1;
                let tag = format!("\"{:032x}\"", self.writes);
                let body = String::from_utf8_lossy(&request.body).into_owned();
                self.objects.insert(path, (body, tag.clone()));
                Answer {
                    status: 200,
                    headers: vec![("etag", tag)],
                    body: String::new(),
                }
            }
            _ => refusal(
                405,
                "MethodNotAllowed",
                "The specified method is not allowed against this resource.",
            ),
        }
    }
}

fn refusal(status: u16, code: &str, message: &str) -> Answer {
    Answer::xml(
        status,
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>"
        ),
    )
}
