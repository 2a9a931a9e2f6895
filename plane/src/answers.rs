//! Answers that say what is wrong, in the one form that all of them have: `{"error": "..."}`.
//!
//! Not responsible for answers to what makes sense.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Longest request body.
pub const BODY_BYTES: usize = 16 * 1024;

/// An error.
pub fn refusal(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}

/// The same, before it is written down.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    error: String,
}

impl Refusal {
    /// With this status.
    pub fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self {
            status,
            error: error.into(),
        }
    }

    /// The request makes no sense.
    pub fn bad(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        refusal(self.status, &self.error)
    }
}

/// The body, or why it is not taken.
///
/// # Errors
/// It is too long, or breaks off.
pub fn body(read: Result<Bytes, BytesRejection>) -> Result<Bytes, Refusal> {
    read.map_err(|rejection| match rejection.status() {
        status @ StatusCode::PAYLOAD_TOO_LARGE => Refusal::new(
            status,
            format!("the body is longer than {BODY_BYTES} bytes"),
        ),
        _ => Refusal::bad("the body cannot be read"),
    })
}

/// What a body says, which is an object: nothing else is asked for anywhere.
///
/// # Errors
/// It is not that.
pub fn json_of<T: for<'b> serde::Deserialize<'b>>(body: &[u8]) -> Result<T, Refusal> {
    // Values in a list, in the order of the keys, would be taken for the object too.
    if body.trim_ascii_start().first() == Some(&b'[') {
        return Err(Refusal::bad("the body is a list; write an object, {...}"));
    }
    serde_json::from_slice(body).map_err(|error| {
        Refusal::bad(format!(
            "the body is not the JSON that is asked for: {error}"
        ))
    })
}

/// There is no such path; `paths` are those that there are, in words.
pub fn no_such_path(uri: &Uri, paths: &str) -> Response {
    let cut = uri.path().floor_char_boundary(100);
    let path = &uri.path()[..cut];
    refusal(
        StatusCode::NOT_FOUND,
        &format!("there is no {path}; there are {paths}"),
    )
}

/// There is such a path, and this is not what can be done to it.
pub async fn no_such_method(method: Method) -> Response {
    let method = method.as_str();
    let method = &method[..method.floor_char_boundary(20)];
    refusal(
        StatusCode::METHOD_NOT_ALLOWED,
        &format!("{method} is not for this path; the Allow header says what is"),
    )
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Order {
        epoch: u64,
        reason: String,
    }

    /// an order is an object with names in it; its values alone, in a list, are none.
    #[test]
    fn values_without_their_names_are_no_order() {
        let said = json_of::<Order>(b" {\"epoch\":1,\"reason\":\"x\"}");
        let order = Order {
            epoch: 1,
            reason: "x".to_owned(),
        };
        assert_eq!(said.ok(), Some(order));
        for body in ["[1,\"x\"]", " \r\n\t[1,\"x\"]", "[]"] {
            let refused = json_of::<Order>(body.as_bytes()).map_err(|refusal| refusal.error);
            let words = "the body is a list; write an object, {...}".to_owned();
            assert_eq!(refused, Err(words), "{body}");
        }
        for body in [
            "",
            "null",
            "1",
            "\"x\"",
            "{}",
            "{\"epoch\":1,\"reason\":\"x\"}]",
        ] {
            let refused = json_of::<Order>(body.as_bytes()).map_err(|refusal| refusal.status);
            assert_eq!(refused, Err(StatusCode::BAD_REQUEST), "{body}");
        }
    }
}
