//! More packets than the relay can take, from a thread of its own.
//!
//! Responsible for offering them at a rate, or as fast as one core can when that is less. Reads nothing back: what the relay
//! passes on ends in full sockets, so that the generator's time goes into sending.

use crate::flow::End;
use crate::link::Burst;
use anyhow::{Context, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Payloads in one send.
const BURST: u64 = 32;

/// Sending, until it is stopped.
#[derive(Debug)]
pub(crate) struct Pressure {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Offered>>,
}

/// What was sent.
#[derive(Debug)]
pub(crate) struct Offered {
    /// Payloads that the kernel took.
    pub(crate) payloads: u64,
    /// In which time.
    pub(crate) elapsed: Duration,
    /// The ends, to be given back.
    pub(crate) flows: Vec<[End; 2]>,
}

impl Pressure {
    /// Sends payloads of this size from one side of all flows: 0 is the client's, 1 the peer's.
    pub(crate) fn begin(
        mut flows: Vec<[End; 2]>,
        side: usize,
        payload_len: usize,
        per_second: f64,
    ) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let work = move || {
            let begun = Instant::now();
            let mut burst = Burst::default();
            let mut payloads = 0_u64;
            let mut turn = 0;
            while !seen.load(Ordering::Relaxed) {
                if payloads as f64 > begun.elapsed().as_secs_f64() * per_second {
                    thread::yield_now();
                    continue;
                }
                let lanes = flows.len();
                let end = &mut flows[turn % lanes][side];
                turn += 1;
                burst.clear();
                for _ in 0..BURST {
                    end.write_frame(burst.next_frame(), payload_len, |out| {
                        out.resize(out.len() + payload_len, 0x16);
                    });
                }
                payloads += end.send(&burst).context("cannot send")? as u64;
            }
            let elapsed = begun.elapsed();
            Ok(Offered {
                payloads,
                elapsed,
                flows,
            })
        };
        let thread = thread::Builder::new()
            .name("pressure".to_owned())
            .spawn(work)
            .context("cannot start a thread")?;
        Ok(Self { stop, thread })
    }

    /// Stops sending.
    pub(crate) fn end(self) -> Result<Offered> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(offered) => offered,
            Err(_) => anyhow::bail!("the sending thread panicked"),
        }
    }
}

/// Threads that do nothing but take time on the relay's core: with three of them the relay has a quarter of it, and one other
/// core can offer several times what it can carry.
#[derive(Debug)]
pub(crate) struct Brake {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Brake {
    /// Begins to take time on the core that the calling thread is pinned to.
    pub(crate) fn begin(threads: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let spin = |_| {
            let seen = Arc::clone(&stop);
            thread::spawn(move || {
                while !seen.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        };
        let threads = (0..threads).map(spin).collect();
        Self { stop, threads }
    }
}

impl Drop for Brake {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // It does nothing that could fail.
            let _ = thread.join();
        }
    }
}
