//! Payloads between two allocations, at a steady pace both ways: what comes through, and how long it takes.
//!
//! ```text
//!   near --> relay: near's allocation --> far's allocation --> far       even numbers
//!   far  --> relay: far's allocation --> near's allocation --> near      odd numbers
//! ```
//!
//! Responsible for the payloads and their times. Not responsible for allocations (`caller`).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use taciturn_protocol::time::Instant;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::caller::Caller;
use super::failure::Failure;
use super::{Effort, Report};
use crate::clock::Clock;

/// How long the last payload may be on its way.
const GRACE: Duration = Duration::from_secs(1);
/// Attempts to get the first payload through, which waits for channels to be bound.
const WARM_UPS: u32 = 5;
/// What every payload begins with: a word, and its number.
const MARK: &[u8; 8] = b"taciturn";
/// The shortest payload: the mark and the number.
pub(super) const SHORTEST: usize = MARK.len() + 4;
/// The number of payloads that count for nothing.
const UNCOUNTED: u32 = u32::MAX;

/// Relays `effort.count` payloads between `near` and `far`.
pub(super) async fn relay_between(
    near: &Caller,
    far: &Caller,
    effort: &Effort,
) -> Result<Report, Failure> {
    // The client asks for a permission when it sends, so each side sends once into the void: whatever left now would meet a
    // side that is not open yet, and be a loss in the relay's figures.
    for (from, to) in [(far, near), (near, far)] {
        let payload = payload(UNCOUNTED, effort.size);
        from.notes.hold_payloads(true);
        let opened = timeout(effort.patience, from.relayed.send_to(&payload, to.address));
        let opened = opened.await;
        from.notes.hold_payloads(false);
        if !matches!(opened, Ok(Ok(_))) {
            return Err(from.failure());
        }
    }
    if !comes_through(near, far, effort).await {
        return Err(Failure::NothingRelayed);
    }
    let ledger = Ledger::new(effort.count);
    let exchange = async {
        tokio::join!(
            send_all(near, far, effort, &ledger),
            collect_all(near, far, effort, &ledger)
        )
    };
    // What is lost is never collected.
    let _ = timeout(effort.pace * effort.count + GRACE, exchange).await;
    let dscp = [near, far].map(|caller| caller.notes.dscp());
    let dscp = dscp
        .into_iter()
        .flatten()
        .reduce(|one, other| one.and(other));
    ledger.report(dscp)
}

/// Whether anything comes through at all, in both directions.
async fn comes_through(near: &Caller, far: &Caller, effort: &Effort) -> bool {
    for (from, to) in [(near, far), (far, near)] {
        let mut arrived = false;
        for _ in 0..WARM_UPS {
            let exchange = async {
                from.relayed
                    .send_to(&payload(UNCOUNTED, effort.size), to.address)
                    .await
                    .ok()?;
                receive(to, from, effort.size).await
            };
            arrived = timeout(effort.patience / WARM_UPS, exchange)
                .await
                .is_ok_and(|number| number.is_some());
            if arrived {
                break;
            }
        }
        if !arrived {
            return false;
        }
    }
    true
}

async fn send_all(near: &Caller, far: &Caller, effort: &Effort, ledger: &Ledger) {
    for number in 0..effort.count {
        let (from, to) = if number % 2 == 0 {
            (near, far)
        } else {
            (far, near)
        };
        ledger.sent(number);
        // What cannot be sent is lost, and counted as such.
        let sent = from
            .relayed
            .send_to(&payload(number, effort.size), to.address)
            .await;
        if sent.is_err() {
            return;
        }
        if !effort.pace.is_zero() {
            sleep(effort.pace).await;
        }
    }
}

/// Receives on both sides until everything has come, or both connections have ended.
async fn collect_all(near: &Caller, far: &Caller, effort: &Effort, ledger: &Ledger) {
    let both = async {
        tokio::join!(
            collect(near, far, effort, ledger),
            collect(far, near, effort, ledger)
        )
    };
    tokio::select! {
        _ = both => {}
        () = ledger.complete.notified() => {}
    }
}

/// Receives at `at` what `from` sends.
async fn collect(at: &Caller, from: &Caller, effort: &Effort, ledger: &Ledger) {
    while let Some(number) = receive(at, from, effort.size).await {
        ledger.received(number);
    }
}

/// The number of the next whole payload from `from`; `None` when the connection has ended.
async fn receive(at: &Caller, from: &Caller, size: usize) -> Option<u32> {
    let mut buffer = vec![0; 2048];
    loop {
        let (length, sender) = at.relayed.recv_from(&mut buffer).await.ok()?;
        let Some(read) = buffer.get(..length) else {
            continue;
        };
        let number = read
            .get(MARK.len()..SHORTEST)
            .and_then(|four| four.try_into().ok())
            .map(u32::from_be_bytes);
        if let Some(number) = number
            && sender == from.address
            && read == payload(number, size)
        {
            return Some(number);
        }
    }
}

/// A payload of `size` bytes that says its number, and no more than its number.
fn payload(number: u32, size: usize) -> Vec<u8> {
    let mut payload = Vec::with_capacity(size);
    payload.extend_from_slice(MARK);
    payload.extend_from_slice(&number.to_be_bytes());
    payload.resize(size.max(SHORTEST), 0xA5);
    payload
}

/// When each payload left, and how long it was on its way.
struct Ledger {
    clock: Clock,
    rows: Mutex<Vec<Row>>,
    /// Told once, when every payload has come.
    complete: Notify,
}

#[derive(Clone, Copy, Default)]
struct Row {
    sent_at: Option<Instant>,
    took: Option<Duration>,
}

impl Ledger {
    fn new(count: u32) -> Self {
        Self {
            clock: Clock::start(),
            rows: Mutex::new(vec![Row::default(); count as usize]),
            complete: Notify::new(),
        }
    }

    fn sent(&self, number: u32) {
        let now = self.clock.instant();
        self.with(number, |row| row.sent_at = Some(now));
    }

    fn received(&self, number: u32) {
        let now = self.clock.instant();
        self.with(number, |row| {
            if let (Some(sent_at), None) = (row.sent_at, row.took) {
                row.took = Some(now.saturating_since(sent_at));
            }
        });
        if self.is_complete() {
            self.complete.notify_one();
        }
    }

    fn with(&self, number: u32, change: impl FnOnce(&mut Row)) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(row) = rows.get_mut(number as usize) {
            change(row);
        }
    }

    fn is_complete(&self) -> bool {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.iter().all(|row| row.took.is_some())
    }

    fn report(&self, dscp: Option<Result<(), u8>>) -> Result<Report, Failure> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut times: Vec<Duration> = rows.iter().filter_map(|row| row.took).collect();
        times.sort_unstable();
        let (sent, received) = (rows.len(), times.len());
        if received > 0 && 2 * received < sent {
            return Err(Failure::Lossy { sent, received });
        }
        let (Some(median), Some(worst)) = (times.get(times.len() / 2), times.last()) else {
            return Err(Failure::NothingRelayed);
        };
        Ok(Report {
            sent: u32::try_from(sent).unwrap_or(u32::MAX),
            received: u32::try_from(received).unwrap_or(u32::MAX),
            median: *median,
            worst: *worst,
            dscp: dscp.into(),
        })
    }
}
