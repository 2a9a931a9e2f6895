//! Keeps the lease beside the rounds, and answers whether this controller may act at this moment.
//!
//! Responsible for carrying out the steps of a [`Tenure`] in time, whatever a round waits for. Not responsible for the rule.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{Lease, LeaseError, Step, Tenure, Terms};
use crate::clock::Clock;
use crate::fleet::Leadership;

/// A lease and this controller's part in it, shared by the round and by what renews it.
#[derive(Debug)]
pub struct Keeper {
    lease: Arc<dyn Lease>,
    tenure: Mutex<Tenure>,
    clock: Clock,
    terms: Terms,
}

impl Keeper {
    /// A standby. `holder` is how people call this controller; a random part is added, so that a process that was started
    /// again is not taken for the one before.
    pub fn new(lease: Arc<dyn Lease>, holder: &str, terms: Terms, clock: Clock) -> Self {
        let mut random = [0; 8];
        // Without randomness the start of the process still tells two apart on one host.
        let unique = match getrandom::fill(&mut random) {
            Ok(()) => u64::from_ne_bytes(random),
            Err(_) => clock.unix().as_secs() ^ u64::from(std::process::id()).rotate_left(32),
        };
        Self {
            lease,
            tenure: Mutex::new(Tenure::new(format!("{holder}/{unique:016x}"), terms)),
            clock,
            terms,
        }
    }

    /// Where the record is kept: "none", "file" or "s3".
    pub fn kind(&self) -> &'static str {
        self.lease.kind()
    }

    /// Whether this controller may act now, and its epoch.
    pub fn leadership(&self) -> Leadership {
        self.lock().leadership(self.clock.instant())
    }

    /// How much longer the lease is good; zero where it is not held.
    pub fn left(&self) -> Duration {
        self.lock().left(self.clock.instant())
    }

    /// Looked at before each thing that is done: whether the lease is held for longer than that can take, and still in
    /// the epoch in which it was decided.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn may_act(&self, epoch: u64) -> Result<(), String> {
        let now = self.leadership();
        if !now.held {
            let why = now.obstacle.unwrap_or_default();
            Err(format!("the lease is not held: {why}"))
        } else if now.epoch != epoch {
            let since = now.epoch;
            Err(format!(
                "this was decided in epoch {epoch}, and it is {since} now"
            ))
        } else {
            Ok(())
        }
    }

    /// Reads and writes until nothing is due, which is at most a few times, and returns for how long nothing will be.
    pub async fn tend(&self) -> Duration {
        // Read, take, and once more for one that was lost to somebody else.
        for _ in 0..4 {
            let step = self.lock().next(self.clock.now());
            match step {
                Step::Wait(wait) => return wait,
                Step::Read => {
                    let answer = timeout(self.terms.renew, self.lease.read()).await;
                    let answer = answer.unwrap_or_else(|_| Err(self.too_slow()));
                    self.lock().read(self.clock.instant(), answer);
                }
                Step::Write { expected, record } => {
                    let asked = self.clock.instant();
                    let write = self.lease.write(expected.as_deref(), &record);
                    let answer = timeout(self.terms.renew, write).await;
                    let answer = answer.unwrap_or_else(|_| Err(self.too_slow()));
                    let now = self.clock.instant();
                    self.lock().written(asked, now, &record, answer);
                }
            }
        }
        Duration::from_millis(100)
    }

    /// Tends the lease for as long as it is polled.
    pub async fn run(&self) {
        loop {
            let wait = self.tend().await;
            sleep(wait).await;
        }
    }

    /// Gives the lease up, at the end of the process: nothing may be done from now on, and nobody has to wait.
    pub async fn release(&self) {
        let step = self.lock().release();
        if let Some(Step::Write { expected, record }) = step {
            let write = self.lease.write(expected.as_deref(), &record);
            match timeout(self.terms.renew, write).await {
                Ok(Ok(_)) => tracing::info!(epoch = record.epoch, "lease given up"),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the lease could not be given up; it runs out")
                }
                Err(_) => tracing::warn!("the lease could not be given up in time; it runs out"),
            }
        }
    }

    fn too_slow(&self) -> LeaseError {
        LeaseError::Unknown(format!("none within {} s", self.terms.renew.as_secs_f64()))
    }

    fn lock(&self) -> MutexGuard<'_, Tenure> {
        self.tenure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
