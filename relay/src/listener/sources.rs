//! How many connections each source has: one client, or one network, cannot take every slot.
//!
//! Responsible for counting by prefix, in a table whose size does not depend on how many sources there are. Not
//! responsible for the count of all connections (`established`).

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Counters, a power of two: many times as many as sources that are near their cap, so that sharing one is rare.
const COUNTERS: usize = 1 << 16;

/// Connections by source prefix.
///
/// Sources whose hashes meet share a counter and a cap. The hash is keyed at start, so that nobody can choose whom to
/// share one with.
pub(super) struct Sources {
    counters: Box<[AtomicU32]>,
    key: RandomState,
}

/// One connection in its source's count; dropping it takes it out again.
pub(super) struct SourceSlot {
    among: Arc<Sources>,
    at: usize,
}

impl Sources {
    pub(super) fn new() -> Self {
        Self {
            counters: (0..COUNTERS).map(|_| AtomicU32::new(0)).collect(),
            key: RandomState::new(),
        }
    }

    /// Counts a connection of `source`, unless it has `most` already.
    pub(super) fn take(self: &Arc<Self>, source: IpAddr, most: u32) -> Option<SourceSlot> {
        let at = self.counter_of(source);
        self.counters[at]
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                (count < most).then_some(count + 1)
            })
            .ok()
            .map(|_| SourceSlot {
                among: Arc::clone(self),
                at,
            })
    }

    fn counter_of(&self, source: IpAddr) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "only the lower bits of the hash are wanted"
        )]
        let hash = self.key.hash_one(prefix(source)) as usize;
        hash % COUNTERS
    }
}

/// What one subscriber has: an IPv4 address, or the /64 that an IPv6 host picks its addresses from.
fn prefix(source: IpAddr) -> (bool, u64) {
    match source.to_canonical() {
        IpAddr::V4(v4) => (false, u64::from(v4.to_bits())),
        IpAddr::V6(v6) => (true, (v6.to_bits() >> 64) as u64),
    }
}

impl Drop for SourceSlot {
    fn drop(&mut self) {
        self.among.counters[self.at].fetch_sub(1, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for SourceSlot {
    /// Says nothing: where it counts would narrow down who it counts for.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SourceSlot").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_its_own_cap_and_gets_back_what_it_returns() {
        let sources = Arc::new(Sources::new());
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let slots: Vec<_> = (0..3).map(|_| sources.take(ip("192.0.2.1"), 3)).collect();
        assert!(slots.iter().all(Option::is_some));
        assert!(sources.take(ip("192.0.2.1"), 3).is_none());
        assert!(sources.take(ip("::ffff:192.0.2.1"), 3).is_none());
        // Two of many, as one of them may share the counter by chance.
        let others = (2..10).filter_map(|last| sources.take(ip(&format!("192.0.2.{last}")), 3));
        assert!(others.count() >= 6);
        drop(slots);
        assert!(sources.take(ip("192.0.2.1"), 1).is_some());
        assert!(
            sources
                .counters
                .iter()
                .all(|count| count.load(Ordering::Relaxed) == 0)
        );
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_are_one_source() {
        let prefix_of = |text: &str| prefix(text.parse().unwrap());
        assert_eq!(
            prefix_of("2001:db8:1:2::1"),
            prefix_of("2001:db8:1:2:ffff::")
        );
        assert_ne!(prefix_of("2001:db8:1:2::1"), prefix_of("2001:db8:1:3::1"));
        assert_ne!(prefix_of("::1"), prefix_of("0.0.0.0"));
    }
}
