//! A relay under a load that does not change, for hours or days, while everything else that happens to one keeps happening.
//!
//! Responsible for what shows with time alone: memory that grows, and losses and errors that are rare. Not responsible for the most
//! that a relay can carry (`benches`), nor for each kind of change (`reloads`, `churn`).

use std::env;
use std::mem::take;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, Issuer, KeyPair};
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;

use crate::changes::{FAILED, change, configuration, reloads, shown};
use crate::churn::{assert_nothing_left, churn_until};
use crate::client::{Client, peer_at};
use crate::flock::{Ended, Flock, Tally, mixed};
use crate::reloads::{publish, trusting};
use crate::running::{REALM, Running, Setup, eventually, loopback};
use crate::scale::{is_long, scale};
use crate::trend::Trend;
use crate::upgrades::LISTENERS;
use crate::vitals::{cpu_ticks, held_at_first, memory_kib, record};

/// Calls last so long at most, and are then followed by others: credentials and nonces last an hour.
const SHIFT: Duration = Duration::from_secs(1800);
/// Of the whole time, what comes before memory is expected to be level: a quarter, but not more than this.
const WARM_UP: Duration = Duration::from_secs(3600);
const SAMPLES: u32 = 2000;

/// What is asked for.
struct Load {
    calls: u64,
    allocations_a_second: u64,
    lasts: Duration,
    shift: Duration,
    between_changes: Duration,
}

impl Load {
    fn asked() -> Self {
        let calls = scale(8, 50);
        if !is_long() {
            return Self {
                calls,
                allocations_a_second: 20,
                lasts: Duration::from_secs(2),
                shift: Duration::from_secs(1),
                between_changes: Duration::from_millis(400),
            };
        }
        let hours = env::var("HOURS").map_or(72.0, |hours| hours.parse().expect("a number"));
        let lasts = Duration::from_secs_f64(hours * 3600.0);
        Self {
            calls,
            allocations_a_second: 50,
            lasts,
            shift: SHIFT.min(lasts / 4),
            // The first fifty add a MiB, as each thread keeps room for what a reload takes.
            between_changes: Duration::from_secs(60).min(lasts / 240),
        }
    }
}

/// Certificate and key change in turn with the configuration.
struct Changes {
    text: String,
    config: Arc<ClientConfig>,
    issuer: Issuer<'static, KeyPair>,
    made: usize,
}

impl Changes {
    fn new(relay: &Running) -> Self {
        let key = std::fs::read_to_string(relay.directory().join("key.pem")).unwrap();
        let key = KeyPair::from_pem(&key).unwrap();
        Self {
            text: configuration(relay),
            config: trusting([&relay.certificate]),
            issuer: Issuer::new(CertificateParams::new([REALM.to_owned()]).unwrap(), key),
            made: 0,
        }
    }

    fn make(&mut self, relay: &Running) {
        if self.made.is_multiple_of(2) {
            let limits = format!("[limits]\nqueue-age = \"{}ms\"\n", 500 + self.made % 400);
            change(relay, &self.text.replace("[limits]\n", &limits), "applied");
        } else {
            let (certificate, chain, key) = self.renewed();
            publish(relay, self.made / 2, &chain, &key);
            eventually("the new certificate", || {
                shown(relay, &self.config) == certificate
            });
        }
        self.made += 1;
    }

    /// Another key, and a certificate for it that whoever trusts the relay's first one trusts too.
    fn renewed(&self) -> (CertificateDer<'static>, String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([REALM.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (
            certificate.der().clone(),
            certificate.pem(),
            key.serialize_pem(),
        )
    }
}

fn start() -> Running {
    let host = loopback();
    let mut setup = Setup {
        listeners: LISTENERS
            .map(|(transport, port)| (transport, format!("{host}:{port}")))
            .to_vec(),
        relayed: format!("addresses = [\"{host}\"]\nports = \"20000-29999\""),
        // Its lines are kept until the end, and calls write some at every other level.
        log_level: "warn",
        more: "[nonce]\nlifetime = \"1h\"\n".to_owned(),
        ..Setup::on_loopback(2)
    };
    // What a machine with few descriptors can promise, so that there is nothing to warn about.
    setup.limits += "\nconnections-per-source = 0\nallocations = 1000\nconnections = 1000";
    setup.start()
}

/// Memory over time, in hours and KiB, while changes are made; until `ends`.
fn watch(
    relay: &Running,
    load: &Load,
    (begun, ends): (Instant, Duration),
    changes: &mut Changes,
    samples: &mut Vec<(f64, f64)>,
) {
    loop {
        let passed = begun.elapsed();
        if passed >= ends {
            return;
        }
        if passed >= load.between_changes * u32::try_from(changes.made + 1).unwrap() {
            changes.make(relay);
        }
        samples.push((passed.as_secs_f64() / 3600.0, memory_kib(relay) as f64));
        thread::sleep(load.lasts / SAMPLES);
    }
}

/// G-14: calls, allocations that come and go, reloads and new certificates for as long as is asked for (`HOURS`): nothing is lost,
/// nothing is refused, nothing is complained about, and memory does not grow. In less than half an hour it is still getting warm.
#[test]
fn a_steady_load_loses_nothing_and_memory_stays_level() {
    let load = Load::asked();
    let mut relay = start();
    let before = held_at_first(&relay);
    let said = relay.log();
    let (begun, spent) = (Instant::now(), cpu_ticks(&relay));
    let peers = (loopback(), 0).into();
    let mut changes = Changes::new(&relay);
    let (mut samples, mut all) = (Vec::new(), Tally::default());
    let over = AtomicBool::new(false);
    let cycles = thread::scope(|scope| {
        let _ended = Ended(&over);
        let churning = scope.spawn(|| churn_until(&relay, load.allocations_a_second, &over));
        while begun.elapsed() < load.lasts {
            let ends = (begun.elapsed() + load.shift).min(load.lasts);
            let mut flock = Flock::of((0..load.calls).map(|number| {
                let client = Client::of(&relay, mixed(number), &format!("caller-{number}"));
                (client, peer_at(peers))
            }));
            let watching = || watch(&relay, &load, (begun, ends), &mut changes, &mut samples);
            let ((), tally) = flock.beside(watching);
            let ending = flock.disperse();
            tally.assert_whole();
            ending.assert_whole();
            all = take(&mut all).with(tally).with(ending);
            // They are not asked for; there may be very many.
            all.refreshes.clear();
        }
        over.store(true, Ordering::Relaxed);
        churning.join().expect("allocations that come and go")
    });
    let seconds = begun.elapsed().as_secs_f64();
    record("hours", format!("{:.2}", seconds / 3600.0));
    record(
        "payloads of calls, lost; a second",
        format!(
            "{} {}; {:.0}",
            all.sent,
            all.lost,
            all.sent as f64 / seconds
        ),
    );
    record(
        "requests of calls, unanswered",
        format!("{} {}", all.requests, all.unanswered),
    );
    record("allocations that came and went", cycles);
    record("reloads and new certificates", changes.made);
    let spent = (cpu_ticks(&relay) - spent) as f64 / seconds;
    record("processor, of 100", format!("{spent:.0}"));

    assert_nothing_left(&relay, before);
    assert_eq!(relay.log(), said, "nothing more to complain about");
    for metric in [FAILED, "taciturn_relay_tls_handshake_failures_total"] {
        assert_eq!(relay.metric(metric), 0, "{metric}");
    }
    assert_eq!(reloads(&relay, "refused"), 0);
    assert!(changes.made >= 2, "a reload and a certificate");

    let warm = WARM_UP.min(load.lasts / 4).as_secs_f64() / 3600.0;
    let level = samples.partition_point(|(hours, _)| *hours < warm);
    let (first, level) = (samples[0].1, &samples[level..]);
    let trend = Trend::of(level).expect("enough samples");
    record(
        "memory at first, after the warm-up and at the end, KiB",
        format!("{first} {} {}", level[0].1, level[level.len() - 1].1),
    );
    record(
        "samples after the warm-up; growth in KiB an hour, with 95 % confidence",
        format!(
            "{}; {:.1}, {:.1} to {:.1}",
            level.len(),
            trend.slope,
            trend.least,
            trend.most
        ),
    );
    if is_long() {
        assert!(!trend.is_growth(), "{trend:?}");
    }
    relay.assert_alive();
}
