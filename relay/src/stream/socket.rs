//! Bytes between a connection's socket, its TLS and its buffers; nothing here blocks.
//!
//! Responsible for reading and writing as much as the kernel has or takes. Not responsible for when, nor for what the
//! bytes are.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use rustls::ServerConnection;
use taciturn_protocol::time::Instant;

use super::CloseReason;
use super::queue::SendQueue;

/// Frames are given to TLS in runs of about this size: a few full records for one write, little enough that what waits
/// longer can still be dropped.
const TLS_RUN: usize = 64 * 1024;

/// One read. `Ok(0)` when nothing is there; `ended` tells whether nothing will ever be.
pub(super) fn read_plain(
    mut stream: &TcpStream,
    into: &mut [u8],
    ended: &mut bool,
) -> Result<usize, CloseReason> {
    if *ended {
        return Ok(0);
    }
    loop {
        match stream.read(into) {
            Ok(0) => {
                *ended = true;
                return Ok(0);
            }
            Ok(count) => return Ok(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err(CloseReason::Reset),
        }
    }
}

/// One read, decrypted into `plain`, together with what TLS had decrypted before.
pub(super) fn read_records(
    stream: &TcpStream,
    tls: &mut ServerConnection,
    records: &mut [u8],
    plain: &mut [u8],
    ended: &mut bool,
) -> Result<usize, CloseReason> {
    let mut filled = 0;
    take_plaintext(tls, plain, &mut filled, ended);
    let count = read_plain(stream, records, ended)?;
    let mut input = &records[..count];
    while !input.is_empty() {
        // rustls takes a few KiB at a time and refuses more only while plaintext is waiting, which is taken below.
        let taken = tls.read_tls(&mut input).map_err(|_| CloseReason::Tls)?;
        if tls.process_new_packets().is_err() {
            // The alert says why; whether it arrives does not matter.
            let _ = tls.write_tls(&mut &*stream);
            return Err(CloseReason::Tls);
        }
        take_plaintext(tls, plain, &mut filled, ended);
        if taken == 0 {
            // Records behind close_notify mean nothing.
            break;
        }
    }
    Ok(filled)
}

fn take_plaintext(
    tls: &mut ServerConnection,
    plain: &mut [u8],
    filled: &mut usize,
    ended: &mut bool,
) {
    while *filled < plain.len() {
        match tls.reader().read(&mut plain[*filled..]) {
            Ok(0) => {
                *ended = true;
                return;
            }
            Ok(count) => *filled += count,
            // Nothing more for now: the one error that the reader has while the stream has not ended.
            Err(_) => return,
        }
    }
}

/// Writes until the queue is empty or the kernel takes no more. Returns the bytes sent.
pub(super) fn write_plain(
    now: Instant,
    mut stream: &TcpStream,
    queue: &mut SendQueue,
) -> io::Result<usize> {
    let mut sent = 0;
    while !queue.is_empty() {
        let pending = queue.pending();
        match stream.write(pending) {
            Ok(count) => {
                let all = count == pending.len();
                queue.consume(now, count);
                sent += count;
                if !all {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}

/// The same through TLS: whole frames are encrypted only once the kernel has taken all records before, so that what
/// waits stays plain and can still be dropped.
pub(super) fn write_records(
    now: Instant,
    stream: &TcpStream,
    tls: &mut ServerConnection,
    queue: &mut SendQueue,
) -> io::Result<usize> {
    let mut sent = 0;
    loop {
        sent += send_records(stream, tls)?;
        if queue.is_empty() || tls.wants_write() {
            return Ok(sent);
        }
        let run = queue.whole_frames(TLS_RUN);
        tls.writer().write_all(&queue.pending()[..run])?;
        queue.consume(now, run);
    }
}

/// Writes the records that TLS has ready, as far as the kernel takes them.
pub(super) fn send_records(stream: &TcpStream, tls: &mut ServerConnection) -> io::Result<usize> {
    let mut sent = 0;
    while tls.wants_write() {
        match tls.write_tls(&mut &*stream) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}
