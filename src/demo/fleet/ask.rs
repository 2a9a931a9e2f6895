//! Asks the controller's API one thing at a time, over loopback.
//!
//! Responsible for one HTTP request and its bounded answer. Not responsible for what is asked.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The controller answers from memory.
const PATIENCE: Duration = Duration::from_secs(3);
/// The longest answer that is read, in bytes.
const MAX_ANSWER: u64 = 8 * 1024 * 1024;

/// The API of the controller.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// The signalling server's token, for what only such a one may ask.
    pub(crate) token: String,
}

/// A status and the JSON behind it; `Null` when it is none.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) json: Value,
}

impl Answer {
    /// The JSON of a success; otherwise why not, in the controller's words.
    pub(crate) fn success(self) -> anyhow::Result<Value> {
        if self.status == 200 {
            return Ok(self.json);
        }
        let words = self.json["error"].as_str().unwrap_or("without a reason");
        Err(anyhow::anyhow!(
            "the controller answered {}: {words}",
            self.status
        ))
    }
}

impl Api {
    /// Asks for what anybody on this machine may read.
    pub(crate) async fn read(&self, path: &str) -> anyhow::Result<Value> {
        self.ask(&format!("GET {path}"), "", "").await?.success()
    }

    /// Asks for credentials, as a signalling server does.
    pub(crate) async fn ice_servers(&self, body: &Value) -> anyhow::Result<Value> {
        self.post("/v1/ice-servers", body).await?.success()
    }

    /// Asks as a signalling server; the answer may be a refusal.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        let token = format!(
            "Authorization: Bearer {}\r\nContent-Type: application/json\r\n",
            self.token
        );
        self.ask(&format!("POST {path}"), &token, &body.to_string())
            .await
    }

    async fn ask(&self, line: &str, fields: &str, body: &str) -> anyhow::Result<Answer> {
        let request = format!(
            "{line} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n{fields}\r\n{body}",
            self.address,
            body.len()
        );
        let whole = async {
            let mut stream = TcpStream::connect(self.address).await?;
            stream.write_all(request.as_bytes()).await?;
            let mut answer = Vec::new();
            stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        let answer = timeout(PATIENCE, whole)
            .await
            .context("the controller does not answer in time")?
            .context("the controller does not answer")?;
        parsed(&answer).context("the controller's answer is no HTTP")
    }
}

/// The status and the body, which ends with the connection.
fn parsed(answer: &[u8]) -> Option<Answer> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let (head, body) = (answer.get(..end)?, answer.get(end + 4..)?);
    let line = core::str::from_utf8(head).ok()?.lines().next()?;
    let mut words = line.split(' ');
    let is_http = words.next()?.starts_with("HTTP/1.");
    let status = words.next()?.parse().ok()?;
    is_http.then(|| Answer {
        status,
        json: serde_json::from_slice(body).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_status_and_json() {
        let answer =
            parsed(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"a\": 41}").expect("HTTP");
        assert_eq!(answer.success().expect("a success")["a"], 41);
    }

    #[test]
    fn a_refusal_is_told_in_the_words_of_the_controller() {
        let answer = parsed(b"HTTP/1.1 503 Unavailable\r\n\r\n{\"error\": \"no relay is ready\"}");
        let error = answer.expect("HTTP").success().expect_err("a refusal");
        assert_eq!(
            error.to_string(),
            "the controller answered 503: no relay is ready"
        );
    }

    #[test]
    fn what_is_no_http_is_refused() {
        for bytes in [
            &b""[..],
            b"HTTP/1.1 200 OK\r\n",
            b"SSH-2.0-x y\r\n\r\n",
            b"HTTP/1.1 x\r\n\r\n",
        ] {
            assert!(parsed(bytes).is_none(), "{bytes:?}");
        }
    }
}
