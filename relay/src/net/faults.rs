//! Errors on demand, so that tests can see what a relay does when the kernel refuses.
//!
//! Responsible for deciding which call fails with which errno. Not responsible for the reaction. Compiled in only for this
//! crate's own tests and under the feature `fault-injection`; otherwise the check is an empty function that the compiler
//! removes.

#[cfg(any(test, feature = "fault-injection"))]
pub(super) use injected::Seam;
#[cfg(any(test, feature = "fault-injection"))]
pub use injected::{Faults, install};

/// A kind of call that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Binding a socket.
    Bind,
    /// One `recvmmsg`.
    Receive,
    /// A send that begins with a single datagram.
    Send,
    /// A send that begins with a segmented send.
    SendTrain,
    /// Telling the kernel how to choose among the sockets of a group.
    Steer,
}

#[cfg(not(any(test, feature = "fault-injection")))]
#[derive(Debug, Default)]
pub(super) struct Seam;

#[cfg(not(any(test, feature = "fault-injection")))]
impl Seam {
    pub(super) const fn installed() -> Self {
        Self
    }

    #[expect(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "the same face as the seam that injects"
    )]
    #[inline(always)]
    pub(super) const fn check(&self, _operation: Operation) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(any(test, feature = "fault-injection"))]
mod injected {
    use std::{
        io,
        sync::{
            Arc, Mutex, PoisonError,
            atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering},
        },
    };

    use super::Operation;

    /// The plan that sockets bound from now on follow.
    static INSTALLED: Mutex<Option<Arc<Faults>>> = Mutex::new(None);

    /// Which calls fail, shared by a test and the sockets that it afflicts; may be changed while they run.
    #[derive(Debug, Default)]
    pub struct Faults {
        plans: [Plan; 5],
    }

    #[derive(Debug, Default)]
    struct Plan {
        errno: AtomicI32,
        per_thousand: AtomicU32,
        calls: AtomicU32,
        injected: AtomicU64,
    }

    impl Faults {
        /// Nothing fails yet.
        pub fn new() -> Arc<Self> {
            Arc::new(Self::default())
        }

        /// From now on `per_thousand` of 1000 calls fail with `errno`, evenly spread; 0 ends it.
        pub fn set(&self, operation: Operation, errno: i32, per_thousand: u32) {
            let plan = &self.plans[operation as usize];
            plan.errno.store(errno, Ordering::Relaxed);
            plan.calls.store(0, Ordering::Relaxed);
            plan.per_thousand
                .store(per_thousand.min(1000), Ordering::Relaxed);
        }

        /// How many calls have been made to fail.
        pub fn injected(&self, operation: Operation) -> u64 {
            self.plans[operation as usize]
                .injected
                .load(Ordering::Relaxed)
        }

        fn check(&self, operation: Operation) -> io::Result<()> {
            let plan = &self.plans[operation as usize];
            let share = plan.per_thousand.load(Ordering::Relaxed);
            if share == 0 {
                return Ok(());
            }
            // The nth call fails when the running total of shares passes a whole number there: even, and the same each run.
            let nth = plan.calls.fetch_add(1, Ordering::Relaxed) % 1000;
            if (nth + 1) * share / 1000 == nth * share / 1000 {
                return Ok(());
            }
            plan.injected.fetch_add(1, Ordering::Relaxed);
            Err(io::Error::from_raw_os_error(
                plan.errno.load(Ordering::Relaxed),
            ))
        }
    }

    /// Makes every socket that this process binds from now on follow `faults`; `None` ends it for later sockets.
    pub fn install(faults: Option<Arc<Faults>>) {
        *INSTALLED.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    /// Where a socket asks whether its next call fails.
    #[derive(Debug, Default)]
    pub(in super::super) struct Seam(Option<Arc<Faults>>);

    impl Seam {
        pub(in super::super) fn installed() -> Self {
            Self(
                INSTALLED
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone(),
            )
        }

        pub(in super::super) const fn of(faults: Arc<Faults>) -> Self {
            Self(Some(faults))
        }

        pub(in super::super) fn check(&self, operation: Operation) -> io::Result<()> {
            self.0
                .as_ref()
                .map_or(Ok(()), |faults| faults.check(operation))
        }
    }
}
