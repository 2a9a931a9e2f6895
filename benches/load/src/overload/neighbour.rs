//! A call that goes on beside the load: a slow flow both ways, and what is lost of it.
//!
//! Not responsible for setting the flow up (see `flow`).

use crate::flow::End;
use crate::histogram::Histogram;
use crate::ledger::Arrival;
use crate::link::{Burst, DATAGRAM_MAX};
use anyhow::Result;
use std::time::{Duration, Instant};

const PAYLOAD_BYTES: usize = 172;

/// One call, whose ends each send a payload every so often.
#[derive(Debug)]
pub(crate) struct Neighbour {
    ends: [End; 2],
    begun: Instant,
    pause: Duration,
    next: Instant,
    burst: Burst,
    /// Sent by and delivered from each end.
    sent: [u64; 2],
    delivered: [u64; 2],
    times: Histogram,
}

impl Neighbour {
    /// A call over this flow.
    pub(crate) fn new(ends: [End; 2], pause: Duration) -> Self {
        let now = Instant::now();
        Self {
            ends,
            begun: now,
            pause,
            next: now,
            burst: Burst::default(),
            sent: [0; 2],
            delivered: [0; 2],
            times: Histogram::new(),
        }
    }

    /// Sends what is due and hears what has come.
    pub(crate) fn turn(&mut self) -> Result<()> {
        self.listen()?;
        let now = Instant::now();
        if now < self.next {
            return Ok(());
        }
        self.next = now + self.pause;
        let stamp = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        for (end, sent) in self.ends.iter_mut().zip(&mut self.sent) {
            self.burst.clear();
            end.write_frame(self.burst.next_frame(), PAYLOAD_BYTES, |out| {
                out.extend_from_slice(&stamp.to_be_bytes());
                out.resize(out.len() + PAYLOAD_BYTES - 8, 0);
            });
            *sent += end.send(&self.burst)? as u64;
        }
        Ok(())
    }

    /// Hears what has come and sends nothing more.
    pub(crate) fn listen(&mut self) -> Result<()> {
        let begun = self.begun;
        for (from, to) in [(0, 1), (1, 0)] {
            let (delivered, times) = (&mut self.delivered[from], &mut self.times);
            self.ends[to].receive(64, &mut [0; DATAGRAM_MAX], |arrival| {
                if let Arrival::Payload {
                    bytes,
                    source_matches: true,
                } = arrival
                    && let Some(stamp) = bytes.first_chunk().copied()
                {
                    *delivered += 1;
                    let now = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
                    times.record(now.saturating_sub(u64::from_be_bytes(stamp)));
                }
            })?;
        }
        Ok(())
    }

    /// The share that was lost from the client to the peer, and from the peer to the client.
    pub(crate) fn lost(&self) -> [f64; 2] {
        [0, 1].map(|end| {
            let lost = self.sent[end].saturating_sub(self.delivered[end]);
            lost as f64 / self.sent[end].max(1) as f64
        })
    }

    /// A quantile of the time on the way, in milliseconds.
    pub(crate) fn quantile_ms(&self, per_mille: u64) -> Option<f64> {
        self.times
            .quantile_micros(per_mille)
            .map(|micros| micros / 1000.0)
    }
}
