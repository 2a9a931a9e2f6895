//! A bound on how often a provider is asked: a loop that went wrong must not use up an account's quota, nor launch a storm.
//!
//! Responsible for a token bucket for each kind of call. Not responsible for backing off (`policy`) when one is refused.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use taciturn_protocol::time::Instant;

use super::{Capabilities, Ended, LaunchOrder, Listing, Provider, ProviderError};
use crate::clock::Clock;
use crate::fleet::InstanceId;

/// A rate and how much of it may come at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Calls in a second, in the long run.
    pub per_second: f64,
    /// Calls at once.
    pub burst: f64,
}

/// The rates of each kind of call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Of lists.
    pub list: Rate,
    /// Of launches.
    pub launch: Rate,
    /// Of ends.
    pub terminate: Rate,
    /// Of words to termination hooks.
    pub hooks: Rate,
}

impl Default for Rates {
    /// Far above what a loop asks that works.
    fn default() -> Self {
        let rate = |per_second, burst| Rate { per_second, burst };
        Self {
            list: rate(5.0, 10.0),
            launch: rate(1.0, 10.0),
            terminate: rate(1.0, 10.0),
            hooks: rate(2.0, 20.0),
        }
    }
}

/// Refuses with [`ProviderError::Throttled`] what is too much; nothing waits.
pub struct RateLimited {
    inner: Arc<dyn Provider>,
    clock: Clock,
    list: Bucket,
    launch: Bucket,
    terminate: Bucket,
    hooks: Bucket,
}

impl RateLimited {
    /// Around `inner`.
    pub fn new(inner: Arc<dyn Provider>, rates: Rates, clock: Clock) -> Self {
        Self {
            inner,
            clock,
            list: Bucket::new(rates.list),
            launch: Bucket::new(rates.launch),
            terminate: Bucket::new(rates.terminate),
            hooks: Bucket::new(rates.hooks),
        }
    }

    fn take(&self, bucket: &Bucket, what: &str) -> Result<(), ProviderError> {
        if bucket.take(self.clock.instant()) {
            return Ok(());
        }
        Err(ProviderError::Throttled(format!(
            "this controller's own bound of {} {what} a second is reached",
            bucket.rate.per_second
        )))
    }
}

impl fmt::Debug for RateLimited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimited")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Provider for RateLimited {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn list(&self) -> Result<Listing, ProviderError> {
        self.take(&self.list, "lists")?;
        self.inner.list().await
    }

    async fn launch(&self, order: &LaunchOrder) -> Result<Vec<InstanceId>, ProviderError> {
        self.take(&self.launch, "launches")?;
        self.inner.launch(order).await
    }

    async fn terminate(&self, id: &InstanceId) -> Result<Ended, ProviderError> {
        self.take(&self.terminate, "ends")?;
        self.inner.terminate(id).await
    }

    async fn extend(&self, id: &InstanceId) -> Result<(), ProviderError> {
        self.take(&self.hooks, "words to hooks")?;
        self.inner.extend(id).await
    }

    async fn finish(&self, id: &InstanceId) -> Result<(), ProviderError> {
        self.take(&self.hooks, "words to hooks")?;
        self.inner.finish(id).await
    }
}

/// What is left of a rate.
struct Bucket {
    rate: Rate,
    left: Mutex<(f64, Option<Instant>)>,
}

impl Bucket {
    fn new(rate: Rate) -> Self {
        Self {
            rate,
            left: Mutex::new((rate.burst, None)),
        }
    }

    fn take(&self, now: Instant) -> bool {
        let mut state = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, last) = &mut *state;
        if let Some(last) = *last {
            let since = now.saturating_since(last).as_secs_f64();
            *left = (*left + since * self.rate.per_second).min(self.rate.burst);
        }
        *last = Some(now);
        if *left < 1.0 {
            return false;
        }
        *left -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::provider::dry_run::DryRun;
    use crate::provider::static_list::Static;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let bucket = Bucket::new(Rate {
            per_second: 2.0,
            burst: 3.0,
        });
        let at = |milliseconds| Instant::from_nanos(0) + Duration::from_millis(milliseconds);
        let taken: Vec<bool> = [
            0, 0, 0, 0, 499, 500, 500, 1000, 60_000, 60_000, 60_000, 60_000,
        ]
        .map(|time| bucket.take(at(time)))
        .into();
        let wanted = [1, 1, 1, 0, 0, 1, 0, 1, 1, 1, 1, 0].map(|given| given == 1);
        assert_eq!(taken, wanted);
        // A clock that stands still or goes back gives nothing.
        assert!(!bucket.take(at(0)));
    }

    #[tokio::test]
    async fn each_kind_of_call_has_its_own_bound() {
        let rate = Rate {
            per_second: 0.0,
            burst: 1.0,
        };
        let rates = Rates {
            list: rate,
            launch: rate,
            terminate: rate,
            hooks: rate,
        };
        let inner = Arc::new(Static::new(Vec::new()));
        let limited = RateLimited::new(inner, rates, Clock::start());
        let id = InstanceId::try_from("i-1").expect("an id");
        assert!(limited.list().await.is_ok());
        assert!(matches!(
            limited.list().await,
            Err(ProviderError::Throttled(_))
        ));
        assert_eq!(
            limited.terminate(&id).await,
            Err(ProviderError::Unsupported("static"))
        );
        assert!(matches!(
            limited.terminate(&id).await,
            Err(ProviderError::Throttled(_))
        ));
    }

    /// scaling rules, 0 and 6.A: a dry run mutates nothing, whatever is asked.
    #[tokio::test]
    async fn a_dry_run_lists_and_refuses_everything_else() {
        let inner: Arc<dyn Provider> = Arc::new(Static::new(Vec::new()));
        let dry = DryRun::new(inner);
        let id = InstanceId::try_from("i-1").expect("an id");
        let order = LaunchOrder {
            zone: crate::fleet::ZoneId::try_from("z-1").expect("a zone"),
            count: 1,
            token: crate::fleet::LaunchToken::try_from("t-1").expect("a token"),
        };
        assert!(dry.list().await.is_ok());
        assert_eq!(dry.launch(&order).await, Err(ProviderError::DryRun));
        assert_eq!(dry.terminate(&id).await, Err(ProviderError::DryRun));
        assert_eq!(dry.extend(&id).await, Err(ProviderError::DryRun));
        assert_eq!(dry.finish(&id).await, Err(ProviderError::DryRun));
        assert_eq!(dry.refused(), 4);
    }
}
