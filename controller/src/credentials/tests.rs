//! Offers, choices, answers and snapshots, with time and random numbers as a test wants them.
//!
//! Responsible for fleets that clients can be told how to reach. Not responsible for HTTP (`api::tests`).
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod choices;
mod minting;
mod snapshots;

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use taciturn_protocol::credentials::HmacHash;
use taciturn_protocol::time::Now;

use super::*;
use crate::fleet::{Endpoints, Fleet, Listening, Snapshot, Transport};
use crate::policy::tests::{NOW, calm, edit, id, policy, report, zone};
use crate::policy::{Policy, plan};
use crate::reconcile::{Counters, Published};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const OLDER: &[u8] = b"an older secret of thirty-two bytes";

fn random(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

fn later(seconds: u64) -> Now {
    Now {
        instant: NOW.instant + Duration::from_secs(seconds),
        unix: NOW.unix.plus_secs(seconds),
    }
}

/// Every relay listens on UDP 3478 of an address of its own.
fn reachable(fleet: &mut Fleet) {
    for (number, relay) in fleet.relays.values_mut().enumerate() {
        if let Some(report) = &mut relay.report {
            report.endpoints = Endpoints {
                addresses: vec![format!("192.0.2.{number}").parse().unwrap()],
                listeners: vec![Listening {
                    transport: Transport::Udp,
                    port: NonZeroU16::new(3478).unwrap(),
                }],
                tls_names: Vec::new(),
            };
        }
    }
}

/// A round over this fleet, as the plan judges it.
pub(crate) fn round(mut fleet: Fleet, policy: Policy, now: Now) -> Published {
    reachable(&mut fleet);
    Published {
        plan: plan(&fleet, &policy, now),
        snapshot: Snapshot {
            format: Snapshot::FORMAT.to_owned(),
            now,
            fleet,
        },
        policy: Arc::new(policy),
        outcomes: Vec::new(),
        decisions: VecDeque::new(),
        counters: Counters {
            rounds: 1,
            ..Counters::default()
        },
        dry_run: false,
        lease_seconds: 20.0,
        trend: Arc::default(),
    }
}

fn host() -> Host {
    Host {
        form: "{address}".to_owned(),
        tls_by_address: false,
    }
}

fn offer(fleet: Fleet) -> Offer {
    Offer::of(&round(fleet, policy(), NOW), &host(), &Warmth::default())
}

/// Candidates by name, zone and weight.
fn candidates(all: &[(&str, &str, f64)]) -> Offer {
    let candidate = |(name, place, weight): &(&str, &str, f64)| {
        let url = format!("turn:{name}.example.org:3478?transport=udp");
        Candidate::new(id(name), zone(place), *weight, vec![url])
    };
    Offer::with("example", NOW, all.iter().map(candidate).collect())
}

pub(crate) fn settings() -> Settings {
    let subject = |rate, burst| Subject {
        limit: Limit { rate, burst },
        max_ttl: None,
    };
    Settings {
        ttl: Duration::from_secs(3600),
        max_ttl: Duration::from_secs(86_400),
        host: host(),
        relays: 2,
        query_key: false,
        secrets: vec![
            MintingSecret::new("2026-11", SECRET, HmacHash::Sha256).unwrap(),
            MintingSecret::new("2026-10", OLDER, HmacHash::Sha1).unwrap(),
        ],
        subjects: BTreeMap::from([
            (Arc::from("signalling-1"), subject(50, 100)),
            (Arc::from("signalling-2"), subject(2, 3)),
        ]),
    }
}
