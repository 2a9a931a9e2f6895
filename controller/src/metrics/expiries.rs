//! When the controller's own certificates expire.
//!
//! Not responsible for certificates of relays, which show theirs themselves.

use std::sync::Arc;

use arc_swap::ArcSwap;
use taciturn_plane::metrics::{Family, Source};

/// When which certificate expires: a short word for it, and unix time in seconds. Exchanged when the configuration is read
/// again.
#[derive(Debug, Default)]
pub struct Expiries(ArcSwap<Vec<(&'static str, u64)>>);

impl Expiries {
    /// These, from the next scrape on.
    pub fn install(&self, expiries: Vec<(&'static str, u64)>) {
        self.0.store(Arc::new(expiries));
    }
}

impl Source for Expiries {
    fn families(&self) -> Vec<Family> {
        let expiries = self.0.load();
        vec![Family::gauges(
            "taciturn_controller_certificate_expiry_timestamp_seconds",
            "When the first certificate of a chain of the controller's own expires, in seconds since 1970-01-01 UTC.",
            ["certificate"],
            expiries.iter().map(|(name, expiry)| ([*name], *expiry)),
        )]
    }
}
