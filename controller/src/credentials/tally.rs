//! How many credentials were minted, and why others were not: counts alone, as whom they were for is nobody's business.
//!
//! Responsible for the counts and the names of their metrics. Not responsible for minting (`desk`).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use taciturn_plane::metrics::{Family, Source};

use super::desk::{Desk, Refused};

/// Why a caller got nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    NotConfigured,
    Rate,
    Request,
    RevokedUser,
    NoSecret,
    NoFleet,
    NoRelay,
}

impl Reason {
    const ALL: [Self; 7] = [
        Self::NotConfigured,
        Self::Rate,
        Self::Request,
        Self::RevokedUser,
        Self::NoSecret,
        Self::NoFleet,
        Self::NoRelay,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::NotConfigured => "not_configured",
            Self::Rate => "rate",
            Self::Request => "request",
            Self::RevokedUser => "revoked_user",
            Self::NoSecret => "no_secret",
            Self::NoFleet => "no_fleet",
            Self::NoRelay => "no_relay",
        }
    }

    const fn of(refused: &Refused) -> Self {
        match refused {
            Refused::NotConfigured => Self::NotConfigured,
            Refused::Rate(_) => Self::Rate,
            Refused::Wrong(_) => Self::Request,
            Refused::RevokedUser => Self::RevokedUser,
            Refused::NoSecret => Self::NoSecret,
            Refused::NoFleet(_) => Self::NoFleet,
            Refused::NoRelay => Self::NoRelay,
        }
    }
}

/// The counts of refusals.
#[derive(Debug, Default)]
pub(super) struct Tally([AtomicU64; Reason::ALL.len()]);

impl Tally {
    pub(super) fn note(&self, refused: Option<&Refused>) {
        if let Some(refused) = refused {
            self.count(Reason::of(refused));
        }
    }

    pub(super) fn count(&self, reason: Reason) {
        if let Some(count) = self.0.get(reason as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn total(&self) -> u64 {
        self.0
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum()
    }
}

impl Source for Desk {
    fn families(&self) -> Vec<Family> {
        let terms = self.terms.load();
        let minted = terms
            .iter()
            .flat_map(|terms| &terms.lines)
            .map(|(name, line)| {
                let count = line.minted.load(Ordering::Relaxed);
                ([name.to_string()], count)
            });
        let refused = Reason::ALL.iter().zip(&self.tally.0);
        let refused =
            refused.map(|(reason, count)| ([reason.as_str()], count.load(Ordering::Relaxed)));
        let mut zones: BTreeMap<String, u64> = BTreeMap::new();
        for candidate in self.offer().iter().flat_map(|offer| offer.candidates()) {
            *zones.entry(candidate.zone.to_string()).or_default() += 1;
        }
        vec![
            Family::counters(
                "taciturn_controller_credentials_minted_total",
                "Credentials minted, by who asked for them.",
                ["subject"],
                minted,
            ),
            Family::counters(
                "taciturn_controller_credentials_refused_total",
                "Questions for credentials or for the snapshot of the fleet that got neither, by reason.",
                ["reason"],
                refused,
            ),
            Family::gauges(
                "taciturn_controller_credentials_offered_relays",
                "Relays that credentials name at present, by zone.",
                ["zone"],
                zones.into_iter().map(|(zone, count)| ([zone], count)),
            ),
        ]
    }
}
