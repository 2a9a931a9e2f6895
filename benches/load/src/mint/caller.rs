//! One caller: a connection that is kept open, and one question after the other on it.
//!
//! Responsible for as much of HTTP as that needs, and for looking at every answer. Not responsible for how many callers there
//! are.

use crate::histogram::Histogram;
use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);

/// Asks for credentials.
pub(super) struct Caller {
    api: SocketAddr,
    request: String,
    stream: Option<TcpStream>,
    answer: Vec<u8>,
}

impl Caller {
    /// For a user whose name has this number in it.
    pub(super) fn new(api: SocketAddr, token: &str, number: usize) -> Self {
        let body = format!("{{\"user\":\"caller-{number}\"}}");
        let request = format!(
            "POST /v1/ice-servers HTTP/1.1\r\nHost: {api}\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Self {
            api,
            request,
            stream: None,
            answer: Vec::with_capacity(4096),
        }
    }

    /// Whether credentials come.
    pub(super) fn is_answered(&mut self) -> bool {
        self.ask().is_ok()
    }

    /// Asks until `over`; how long each answer took that began while it was measured. `pause`: from one question to the next.
    pub(super) fn ask_until(
        &mut self,
        over: &AtomicBool,
        measuring: &AtomicBool,
        pause: Option<Duration>,
    ) -> Result<Histogram> {
        let mut latencies = Histogram::new();
        let mut due = Instant::now();
        while !over.load(Ordering::Relaxed) {
            if let Some(pause) = pause {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                due += pause;
            }
            let measured = measuring.load(Ordering::Relaxed);
            // Behind schedule the wait before the question is part of it.
            let begun = pause.map_or_else(Instant::now, |pause| due - pause);
            self.ask()?;
            if measured {
                let nanos = begun.elapsed().as_nanos();
                latencies.record(u64::try_from(nanos).unwrap_or(u64::MAX));
            }
        }
        Ok(latencies)
    }

    fn ask(&mut self) -> Result<()> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect_timeout(&self.api, PATIENCE)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream
            }
        };
        stream.write_all(self.request.as_bytes())?;
        self.answer.clear();
        let mut part = [0; 4096];
        loop {
            let read = stream.read(&mut part)?;
            if read == 0 {
                bail!("the connection was closed within an answer");
            }
            self.answer.extend_from_slice(&part[..read]);
            if is_whole(&self.answer)? {
                break;
            }
        }
        let text = str::from_utf8(&self.answer).context("an answer that is no text")?;
        if !text.starts_with("HTTP/1.1 200 ") || text.matches("\"urls\":[\"turn:").count() != 2 {
            bail!("not an answer with two relays: {text}");
        }
        self.stream = Some(stream);
        Ok(())
    }
}

/// Whether an answer has come to its end.
fn is_whole(answer: &[u8]) -> Result<bool> {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(false);
    };
    let head = str::from_utf8(&answer[..end]).context("a head that is no text")?;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .context("an answer without its length")?;
    Ok(answer.len() >= end + 4 + length.parse::<usize>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_where_its_length_says() {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n";
        for (body, whole) in [("", false), ("ab", false), ("abc", true)] {
            let answer = format!("{head}{body}");
            assert_eq!(is_whole(answer.as_bytes()).expect("a head"), whole);
        }
        assert!(!is_whole(b"HTTP/1.1 200").expect("no head yet"));
        assert!(is_whole(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
