//! HTTP CONNECT (RFC 9110 §9.3.6): how a TCP connection leaves a network that only lets its proxy out.
//!
//! Responsible for one request and its bounded answer. Not responsible for logging in to a proxy.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::failure::Failure;

/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 8 * 1024;

/// Asks the proxy at the other end of `stream` for a connection to `authority`, `host:port`.
pub(super) async fn tunnel<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    authority: &str,
) -> Result<(), Failure> {
    let lost = |error: std::io::Error| Failure::ProxyUnreachable(error.kind().to_string());
    let request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(lost)?;
    stream.flush().await.map_err(lost)?;
    let mut answer = Vec::with_capacity(512);
    loop {
        if let Some(verdict) = judge(&answer) {
            return verdict;
        }
        let room = MAX_ANSWER - answer.len();
        let mut limited = (&mut *stream).take(room as u64);
        if limited.read_buf(&mut answer).await.map_err(lost)? == 0 {
            // Its end, or more than any proxy says.
            return Err(Failure::ProxyNonsense);
        }
    }
}

/// What the answer comes to; `None` while its head is not complete.
fn judge(answer: &[u8]) -> Option<Result<(), Failure>> {
    let beginning = b"HTTP/1.";
    let same = answer
        .iter()
        .zip(beginning)
        .all(|(read, wanted)| read == wanted);
    if !same {
        return Some(Err(Failure::ProxyNonsense));
    }
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(match status(answer) {
        // What comes after the head would be the relay's, and a relay never speaks first.
        Some(200..=299) if answer.len() == end + 4 => Ok(()),
        Some(407) => Err(Failure::ProxyLogin),
        Some(code @ 300..=599) => Err(Failure::ProxyRefused(code)),
        _ => Err(Failure::ProxyNonsense),
    })
}

/// The code in `HTTP/1.x NNN ...`.
fn status(answer: &[u8]) -> Option<u16> {
    let code = answer.get(9..12)?;
    if answer.get(8) != Some(&b' ') || !code.iter().all(u8::is_ascii_digit) {
        return None;
    }
    core::str::from_utf8(code).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answered(answer: &[u8]) -> Result<(), Failure> {
        let (mut ours, mut theirs) = tokio::io::duplex(256);
        let answer = answer.to_vec();
        let proxy = async move {
            let mut request = vec![0; 256];
            let read = theirs.read(&mut request).await.unwrap_or(0);
            assert!(request[..read].starts_with(b"CONNECT turn.example.org:443 HTTP/1.1\r\n"));
            // A client that has heard enough hangs up.
            let _ = theirs.write_all(&answer).await;
        };
        let asked = async move { tunnel(&mut ours, "turn.example.org:443").await };
        tokio::join!(asked, proxy).0
    }

    #[tokio::test]
    async fn an_answer_is_a_tunnel_a_refusal_or_nonsense() {
        for (answer, expected) in [
            (&b"HTTP/1.1 200 OK\r\n\r\n"[..], Ok(())),
            (
                b"HTTP/1.0 200 Connection established\r\nVia: x\r\n\r\n",
                Ok(()),
            ),
            (b"HTTP/1.1 407 Login\r\n\r\n", Err(Failure::ProxyLogin)),
            (b"HTTP/1.1 403 No\r\n\r\n", Err(Failure::ProxyRefused(403))),
            (b"HTTP/1.1 503 No\r\n\r\n", Err(Failure::ProxyRefused(503))),
            (b"HTTP/1.1 200 OK\r\n", Err(Failure::ProxyNonsense)),
            (b"HTTP/1.1 200 OK\r\n\r\nmore", Err(Failure::ProxyNonsense)),
            (b"HTTP/1.1 2x0 OK\r\n\r\n", Err(Failure::ProxyNonsense)),
            (b"HTTP/1.1 100 Go\r\n\r\n", Err(Failure::ProxyNonsense)),
            (b"SSH-2.0-x\r\n", Err(Failure::ProxyNonsense)),
            (b"", Err(Failure::ProxyNonsense)),
        ] {
            assert_eq!(answered(answer).await, expected, "{answer:?}");
        }
    }

    #[tokio::test]
    async fn an_endless_answer_is_nonsense() {
        let endless = [b"HTTP/1.1 200 OK\r\nX: ".to_vec(), vec![b'x'; 100_000]].concat();
        assert_eq!(answered(&endless).await, Err(Failure::ProxyNonsense));
    }
}
