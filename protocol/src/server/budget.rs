//! How many answers an unauthenticated source gets, so that the relay is a poor mirror for spoofed packets.
//!
//! A table of fixed size: 16,384 places of 8 bytes, each the time up to which a source has spent its answers. Sources
//! that share a place share its budget. No memory, task or timer grows with the number of sources. Not responsible for
//! authenticated traffic, which is never counted.

use alloc::boxed::Box;
use alloc::vec;
use core::net::IpAddr;
use core::time::Duration;

use ahash::RandomState;

use crate::time::Instant;

const PLACES: usize = 16_384;

/// Answers that a silent source may get at once.
const BURST: u32 = 20;

/// The budgets of all sources.
#[derive(Debug)]
pub(super) struct AnswerBudget {
    hasher: RandomState,
    spent_until: Box<[Instant]>,
    per_second: u32,
}

impl AnswerBudget {
    /// `per_second` answers for each source prefix (IPv4 /32, IPv6 /64); 0 lifts the limit.
    pub(super) fn new(per_second: u32, seed: [u64; 4]) -> Self {
        Self {
            hasher: RandomState::with_seeds(seed[0], seed[1], seed[2], seed[3]),
            spent_until: vec![Instant::ZERO; PLACES].into_boxed_slice(),
            per_second,
        }
    }

    /// Another rate for every source, from now on. What was spent at the rate before it is forgotten, as it would be paid
    /// at the wrong price.
    pub(super) fn change(&mut self, per_second: u32) {
        if self.per_second != per_second {
            self.per_second = per_second;
            self.spent_until.fill(Instant::ZERO);
        }
    }

    /// Takes one answer from the source's budget, when it has one.
    pub(super) fn spend(&mut self, source: IpAddr, now: Instant) -> bool {
        if self.per_second == 0 {
            return true;
        }
        if !self.has_left(source, now) {
            return false;
        }
        let place = self.place(source);
        let cost = Duration::from_secs(1) / self.per_second;
        self.spent_until[place] = self.spent_until[place].max(now) + cost;
        true
    }

    /// Whether the source has an answer left.
    pub(super) fn has_left(&self, source: IpAddr, now: Instant) -> bool {
        if self.per_second == 0 {
            return true;
        }
        let cost = Duration::from_secs(1) / self.per_second;
        let spent = self.spent_until[self.place(source)].max(now);
        spent.saturating_since(now) <= cost * (BURST - 1)
    }

    fn place(&self, source: IpAddr) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "only the low bits choose a place"
        )]
        let hash = self.hasher.hash_one(prefix(source)) as usize;
        hash % PLACES
    }
}

/// The part of a source address that one customer holds.
pub(super) fn prefix(source: IpAddr) -> u64 {
    match source {
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        // 2002::/16 and the like never collide with an IPv4 source, whose upper half is zero.
        IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64 | 1 << 63,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{Ipv4Addr, Ipv6Addr};

    /// a source gets a burst of 20 and then its rate; another source is not touched; 0 lifts the limit.
    #[test]
    fn a_source_gets_its_burst_and_then_its_rate() {
        let mut budget = AnswerBudget::new(10, [1, 2, 3, 4]);
        let source = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
        let mut now = Instant::from_nanos(5_000_000_000);
        assert_eq!((0..100).filter(|_| budget.spend(source, now)).count(), 20);
        assert!(budget.spend(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 8)), now));
        now = now + Duration::from_secs(1);
        assert_eq!((0..100).filter(|_| budget.spend(source, now)).count(), 10);
        let mut lifted = AnswerBudget::new(0, [1, 2, 3, 4]);
        assert_eq!(
            (0..100_000).filter(|_| lifted.spend(source, now)).count(),
            100_000
        );
    }

    /// the addresses of one IPv6 /64 share a budget.
    #[test]
    fn an_ipv6_prefix_shares_its_budget() {
        let mut budget = AnswerBudget::new(10, [1, 2, 3, 4]);
        let now = Instant::from_nanos(1);
        let granted = (0..100_u16)
            .filter(|&n| {
                budget.spend(
                    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, n)),
                    now,
                )
            })
            .count();
        assert_eq!(granted, 20);
        let next_door = "2001:db8:0:2::1".parse().expect("written here");
        assert!(budget.spend(next_door, now), "another /64");
    }

    /// no IPv6 prefix is taken for an IPv4 source, whatever its bits.
    #[test]
    fn families_do_not_share_budgets() {
        let one = prefix("198.51.100.7".parse().expect("written here"));
        for other in ["198.51.100.8", "0:0:c633:6407::1", "8000:0:c633:6407::1"] {
            assert_ne!(one, prefix(other.parse().expect("written here")), "{other}");
        }
    }
}
