//! Calls that go on while somebody floods the relay, and what is lost of them, by when it was sent.
//!
//! Responsible for keeping their pace and for counting. Not responsible for setting them up (`flow`), nor for the flood.

use crate::flow::End;
use crate::histogram::Histogram;
use crate::ledger::Arrival;
use crate::link::{Burst, DATAGRAM_MAX};
use anyhow::Result;
use std::time::{Duration, Instant};

const PAYLOAD_BYTES: usize = 172;
/// From one payload to the next, each way.
const PAUSE: Duration = Duration::from_millis(20);

/// When a payload was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Before the flood.
    Before,
    /// While the relay may still be finding out.
    Onset,
    /// Afterwards, for as long as the flood lasts.
    Steady,
}

impl Phase {
    /// In the order of time.
    pub(crate) const ALL: [Self; 3] = [Self::Before, Self::Onset, Self::Steady];
}

/// What was sent and delivered in one direction in one phase.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    pub(crate) sent: u64,
    pub(crate) delivered: u64,
}

impl Count {
    /// The share that was lost, in per cent.
    pub(crate) fn lost_percent(self) -> f64 {
        let lost = self.sent.saturating_sub(self.delivered);
        lost as f64 * 100.0 / self.sent.max(1) as f64
    }
}

/// All calls.
#[derive(Debug)]
pub(crate) struct Calls {
    calls: Vec<Call>,
    begun: Instant,
    burst: Burst,
    /// By phase, and by end that sent: client, peer.
    counts: [[Count; 2]; Phase::ALL.len()],
    times: [Histogram; Phase::ALL.len()],
}

#[derive(Debug)]
struct Call {
    ends: [End; 2],
    next: Instant,
}

impl Calls {
    /// Calls over these flows, which do not all speak at once.
    pub(crate) fn new(flows: Vec<[End; 2]>) -> Self {
        let begun = Instant::now();
        let count = u32::try_from(flows.len().max(1)).unwrap_or(u32::MAX);
        let calls = flows.into_iter().zip(0..).map(|(ends, number)| Call {
            ends,
            next: begun + PAUSE * number / count,
        });
        Self {
            calls: calls.collect(),
            begun,
            burst: Burst::default(),
            counts: Default::default(),
            times: std::array::from_fn(|_| Histogram::new()),
        }
    }

    /// Sends what is due and hears what has come.
    pub(crate) fn turn(&mut self, phase: Phase) -> Result<()> {
        self.listen()?;
        let now = Instant::now();
        let stamp = nanos(now.saturating_duration_since(self.begun));
        for call in &mut self.calls {
            if now < call.next {
                continue;
            }
            // What a late generator has left out is not sent in a burst afterwards.
            call.next = (call.next + PAUSE).max(now);
            for (end, count) in call.ends.iter_mut().zip(&mut self.counts[phase as usize]) {
                self.burst.clear();
                end.write_frame(self.burst.next_frame(), PAYLOAD_BYTES, |out| {
                    let filled = out.len() + PAYLOAD_BYTES;
                    out.extend_from_slice(&(phase as u64).to_be_bytes());
                    out.extend_from_slice(&stamp.to_be_bytes());
                    out.resize(filled, 0x16);
                });
                count.sent += end.send(&self.burst)? as u64;
            }
        }
        Ok(())
    }

    /// Hears what has come and sends nothing more.
    pub(crate) fn listen(&mut self) -> Result<()> {
        let (begun, counts, times) = (self.begun, &mut self.counts, &mut self.times);
        for call in &mut self.calls {
            for (from, to) in [(0, 1), (1, 0)] {
                call.ends[to].receive(64, &mut [0; DATAGRAM_MAX], |arrival| {
                    let Arrival::Payload {
                        bytes,
                        source_matches: true,
                    } = arrival
                    else {
                        return;
                    };
                    let words = bytes.as_chunks::<8>().0;
                    if let [phase, stamp, ..] = words
                        && let Ok(phase) = usize::try_from(u64::from_be_bytes(*phase))
                        && let Some(counts) = counts.get_mut(phase)
                    {
                        counts[from].delivered += 1;
                        let taken =
                            nanos(begun.elapsed()).saturating_sub(u64::from_be_bytes(*stamp));
                        times[phase].record(taken);
                    }
                })?;
            }
        }
        Ok(())
    }

    /// What was sent in these phases, from the clients to their peers and back.
    pub(crate) fn counts(&self, phases: &[Phase]) -> [Count; 2] {
        [0, 1].map(|end| {
            let mut sum = Count::default();
            for phase in phases {
                let count = self.counts[*phase as usize][end];
                sum.sent += count.sent;
                sum.delivered += count.delivered;
            }
            sum
        })
    }

    /// A quantile of the time on the way, in milliseconds.
    pub(crate) fn quantile_ms(&self, phase: Phase, per_mille: u64) -> Option<f64> {
        self.times[phase as usize]
            .quantile_micros(per_mille)
            .map(|micros| micros / 1000.0)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
