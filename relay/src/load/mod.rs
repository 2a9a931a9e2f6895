//! How full the relay is: measured every second, shown to whoever scales a fleet, and acted on when it is too much.
//!
//! Responsible for one sample a second, for telling the workers to shed new allocations and to take them again, and for
//! saying so in the log. Not responsible for counting (`counters`), nor for what becomes of a client that is shed
//! (`taciturn_protocol::server`).
//!
//! ```text
//!  counters, /proc, network cards -- reading --> meter --> LoadSample --> admin API, metrics
//!                                                  |
//!                                                overload --> Message::Shed, readiness, log
//! ```

mod cards;
mod meter;
mod metrics;
mod overload;
mod reading;
mod sample;

use core::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use taciturn_protocol::time::UnixTime;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::counters::Totals;
use crate::readiness::SharedReadiness;
use crate::worker::{Message, Outbox};

use cards::Cards;
use meter::Meter;
use reading::{Reading, SystemFiles};

pub use reading::Process;
pub use sample::{LoadSample, Part, Parts};

/// The allowances of an AWS network card (ENA), as its counters `*_allowance_exceeded` name them.
pub const ALLOWANCES: [&str; 5] = ["bw_in", "bw_out", "pps", "conntrack", "linklocal"];
/// The one that no call takes part in: requests to the host's name and time servers and its instance metadata.
pub(crate) const LINK_LOCAL: usize = 4;

/// The time from one sample to the next.
const INTERVAL: Duration = Duration::from_secs(1);

/// What the load is compared with. A reload may change it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoadSettings {
    /// Live allocations by configuration.
    pub allocations: u64,
    /// Relayed ports on all relayed addresses of a family, by [`taciturn_protocol::address::Family::index`].
    pub ports: [u64; 2],
    /// Datagrams that this host can receive in a second, where that has been measured.
    pub packets_per_second: Option<NonZeroU64>,
    /// Payload bits that this host can pass on in a second, where that has been measured.
    pub bits_per_second: Option<NonZeroU64>,
    /// The share of a core at which new allocations are shed; `None`: they never are, whatever fills up.
    pub busiest_core: Option<f64>,
}

/// The load of one relay: anybody may ask for the latest sample, one task takes them.
#[derive(Debug)]
pub struct LoadSampler {
    latest: ArcSwap<LoadSample>,
    settings: ArcSwap<LoadSettings>,
}

/// What samples are taken from, and who is told what follows from them.
#[derive(Debug)]
pub struct LoadSources {
    /// The relay's clock.
    pub clock: Clock,
    /// The counters of all workers.
    pub totals: Totals,
    /// The workers, who shed new allocations.
    pub outboxes: Vec<Outbox>,
    /// What is shown to those who send new clients.
    pub readiness: Arc<SharedReadiness>,
}

impl LoadSampler {
    /// Takes the first sample, which knows everything but rates, and tells what follows from it.
    pub fn new(settings: LoadSettings, sources: LoadSources) -> (Arc<Self>, Sampling) {
        let started = sources.clock.unix();
        let mut meter = Meter::default();
        let mut cards = Cards::default();
        let mut files = SystemFiles::default();
        let sample = meter.observe(sources.read(started, &mut cards, &mut files), &settings);
        let overloaded = sample.overloaded;
        let sampler = Arc::new(Self {
            latest: ArcSwap::from_pointee(sample),
            settings: ArcSwap::from_pointee(settings),
        });
        let sampling = Sampling {
            sampler: Arc::clone(&sampler),
            sources,
            cards,
            files,
            meter,
            started,
        };
        // A relay can be full from the start, of descriptors for instance. Later only changes are told.
        if overloaded {
            sampling.tell(&sampler.latest());
        }
        (sampler, sampling)
    }

    /// The latest sample.
    pub fn latest(&self) -> Arc<LoadSample> {
        self.latest.load_full()
    }

    /// What the load is compared with.
    pub fn settings(&self) -> LoadSettings {
        **self.settings.load()
    }

    /// From the next sample on the load is compared with this.
    pub fn replace(&self, settings: LoadSettings) {
        self.settings.store(Arc::new(settings));
    }
}

impl LoadSources {
    fn read(&self, started: UnixTime, cards: &mut Cards, files: &mut SystemFiles) -> Reading {
        let now = self.clock.now();
        let mut reading = Reading {
            at: now.instant,
            unix: now.unix,
            allowance_exceeded: cards.read(),
            process: Process::read(started, files),
            ..Reading::default()
        };
        reading.count(&self.totals, files);
        reading
    }
}

/// The task that takes samples.
#[derive(Debug)]
pub struct Sampling {
    sampler: Arc<LoadSampler>,
    sources: LoadSources,
    cards: Cards,
    files: SystemFiles,
    meter: Meter,
    started: UnixTime,
}

impl Sampling {
    /// Takes a sample every second, for as long as the runtime lives.
    pub async fn run(mut self) {
        let mut ticks = tokio::time::interval(INTERVAL);
        // After a stall the next sample covers all of it: rates are computed from the time that has really passed.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            self.sample();
        }
    }

    fn sample(&mut self) {
        let reading = self
            .sources
            .read(self.started, &mut self.cards, &mut self.files);
        let sample = self.meter.observe(reading, &self.sampler.settings());
        if sample.overloaded != self.sampler.latest().overloaded {
            self.tell(&sample);
        }
        self.sampler.latest.store(Arc::new(sample));
    }

    fn tell(&self, sample: &LoadSample) {
        self.sources.readiness.set_overloaded(sample.overloaded);
        for outbox in &self.sources.outboxes {
            outbox.send(Message::Shed(sample.overloaded));
        }
        if sample.overloaded {
            let causes: Vec<&str> = self.meter.causes().map(Part::as_str).collect();
            warn!(
                parts = causes.join(","),
                utilisation = sample.utilisation(),
                "overloaded: new allocations are refused, established ones go on"
            );
        } else {
            info!("no longer overloaded: new allocations are taken again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::Counters;
    use crate::phase::SharedPhase;
    use crate::worker::Inbox;

    #[test]
    fn what_the_first_sample_finds_is_told_as_well() {
        let counters = Arc::new(Counters::default());
        counters.allocations.set(100);
        let totals = Totals::new(vec![Arc::clone(&counters)]);
        let (inbox, outbox) = Inbox::new().expect("an event descriptor");
        let phase = SharedPhase::launching();
        phase.set(taciturn_protocol::status::Phase::Ready);
        let readiness = Arc::new(SharedReadiness::new(Arc::new(phase), totals.clone()));
        let settings = LoadSettings {
            allocations: 100,
            ports: [1000, 0],
            packets_per_second: None,
            bits_per_second: None,
            busiest_core: Some(0.9),
        };
        let sources = LoadSources {
            clock: Clock::start(),
            totals,
            outboxes: vec![outbox],
            readiness: Arc::clone(&readiness),
        };
        let (sampler, mut sampling) = LoadSampler::new(settings, sources);
        assert!(sampler.latest().overloaded);
        assert!(matches!(inbox.message(), Some(Message::Shed(true))));
        assert!(!readiness.read().ready);
        sampling.sample();
        assert!(inbox.message().is_none(), "once");
    }
}
