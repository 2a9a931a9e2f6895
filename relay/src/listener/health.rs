//! The one page of HTTPS that the TURN port serves: `GET /live`, so that a load balancer or a browser can see that the
//! relay is there.
//!
//! Responsible for one request and one answer as text. Not responsible for TLS, and not for readiness (`admin`). Only
//! the request line is looked at: the less is parsed before authentication, the better.

/// Longest request head that is read.
pub(super) const REQUEST_MAX: usize = 8 * 1024;

const LIVE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\
    Cache-Control: no-store\r\nConnection: close\r\n\r\nok";
const NOT_FOUND: &[u8] =
    b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\
    Cache-Control: no-store\r\nConnection: close\r\n\r\nnot found";

/// The answer to a request, once its head is complete.
pub(super) fn answer(request: &[u8]) -> Option<&'static [u8]> {
    let complete = request.windows(4).any(|window| window == b"\r\n\r\n");
    if !complete {
        return None;
    }
    let mut words = request.split(|byte| matches!(byte, b' ' | b'\r'));
    let (method, target) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let full = if target == b"/live" { LIVE } else { NOT_FOUND };
    if method == b"HEAD" {
        Some(head_of(full))
    } else {
        Some(full)
    }
}

fn head_of(answer: &'static [u8]) -> &'static [u8] {
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .map_or(answer.len(), |at| at + 4);
    &answer[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_is_answered_and_nothing_else_is_found() {
        assert_eq!(answer(b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n"), Some(LIVE));
        assert_eq!(answer(b"GET / HTTP/1.1\r\n\r\n"), Some(NOT_FOUND));
        assert_eq!(
            answer(b"GET /live/../metrics HTTP/1.1\r\n\r\n"),
            Some(NOT_FOUND)
        );
        assert_eq!(answer(b"GET\r\n\r\n"), Some(NOT_FOUND));
    }

    #[test]
    fn an_answer_waits_for_the_whole_head() {
        let request = b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n";
        for len in 0..request.len() {
            assert_eq!(answer(&request[..len]), None);
        }
    }

    #[test]
    fn the_lengths_are_right_and_head_has_no_body() {
        for (full, body) in [(LIVE, "ok"), (NOT_FOUND, "not found")] {
            let text = String::from_utf8(full.to_vec()).expect("text");
            assert!(text.ends_with(&format!("\r\n\r\n{body}")));
            assert!(text.contains(&format!("Content-Length: {}\r\n", body.len())));
        }
        let head = answer(b"HEAD /live HTTP/1.1\r\n\r\n").expect("complete");
        assert!(head.starts_with(b"HTTP/1.1 200 OK\r\n") && head.ends_with(b"\r\n\r\n"));
    }
}
