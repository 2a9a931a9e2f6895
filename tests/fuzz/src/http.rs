//! A connection that is only bytes: what a client sends, and what it gets back.
//!
//! Responsible for carrying a whole exchange without a socket, a clock or a second thread, and for what holds of every answer. The
//! bytes 1 to 5 of an input stand for what a fuzzer would need long to guess: the right token, and headers that every request has.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use axum::Router;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::service::TowerToHyperService;
use tokio::runtime::{Builder, Runtime};

/// The longest answer to anything here, in bytes: the largest page that is served is far below it.
const LONGEST: usize = 1 << 20;

thread_local! {
    static RUNTIME: RefCell<Runtime> =
        RefCell::new(Builder::new_current_thread().build().expect("a runtime without drivers"));
}

/// What is sent for an input, and whether the right token is in it.
pub fn spelled(input: &[u8], token: &str) -> (Vec<u8>, bool) {
    let mut sent = Vec::with_capacity(input.len() + 256);
    let mut has_token = false;
    for (at, byte) in input.iter().enumerate() {
        match byte {
            1 => {
                has_token = true;
                sent.extend_from_slice(b"Authorization: Bearer ");
                sent.extend_from_slice(token.as_bytes());
                sent.extend_from_slice(b"\r\n");
            }
            2 => sent.extend_from_slice(b"Content-Type: application/json\r\n"),
            3 => sent.extend_from_slice(b" HTTP/1.1\r\nHost: 127.0.0.1\r\n"),
            // All the rest is the body.
            4 => {
                let length = input.len() - at - 1;
                sent.extend_from_slice(format!("Content-Length: {length}\r\n\r\n").as_bytes());
            }
            5 => sent.extend_from_slice(b"\r\n\r\n"),
            _ => sent.push(*byte),
        }
    }
    (sent, has_token)
}

/// Everything that is answered to `sent`, which comes in pieces of up to `piece` bytes.
pub fn exchange(routes: &Router, sent: Vec<u8>, piece: usize) -> Vec<u8> {
    let got = Arc::new(Mutex::new(Vec::new()));
    let pipe = Pipe {
        sent,
        at: 0,
        piece: piece.max(1),
        got: Arc::clone(&got),
    };
    let service = TowerToHyperService::new(routes.clone());
    let connection = hyper::server::conn::http1::Builder::new()
        .half_close(true)
        .serve_connection(pipe, service);
    // An error is a connection that ends; what was answered before is there.
    let _ended = RUNTIME.with_borrow(|runtime| runtime.block_on(connection));
    let got = got.lock().expect("no other thread").clone();
    check(&got);
    got
}

/// The first status of an answer; none where a connection was closed without one.
pub fn status(answer: &[u8]) -> Option<u16> {
    let text = answer.get(9..12)?;
    str::from_utf8(text).ok()?.parse().ok()
}

fn check(answer: &[u8]) {
    assert!(answer.len() <= LONGEST, "{} bytes", answer.len());
    if answer.is_empty() {
        return;
    }
    assert!(answer.starts_with(b"HTTP/1."), "no answer: {answer:?}");
    let status = status(answer).expect("an answer has a status");
    assert!(
        (200..500).contains(&status) || status == 503,
        "status {status}"
    );
}

struct Pipe {
    sent: Vec<u8>,
    at: usize,
    piece: usize,
    got: Arc<Mutex<Vec<u8>>>,
}

impl Read for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let left = self.sent.len() - self.at;
        let count = self.piece.min(left).min(buffer.remaining());
        let at = self.at;
        buffer.put_slice(&self.sent[at..at + count]);
        self.at += count;
        Poll::Ready(Ok(()))
    }
}

impl Write for Pipe {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut got = self.got.lock().expect("no other thread");
        got.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
