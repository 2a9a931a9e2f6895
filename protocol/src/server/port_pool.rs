//! The relayed ports of one worker on one address.
//!
//! Responsible for giving out free ports uniformly at random (RFC 6056), even ones and pairs on request, and for
//! keeping a freed port back so that a peer's late packets never reach a stranger. Free, used and quarantined ports
//! always add up to the range. Not responsible for opening sockets: a port may turn out to be in use by somebody else.

use alloc::boxed::Box;
use alloc::vec;
use core::ops::RangeInclusive;

use rand_core::RngCore;

/// Which port a client asked for (RFC 8656 §18.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Any port.
    Any,
    /// An even port.
    Even,
    /// An even port whose successor is free too.
    Pair,
}

impl Wanted {
    /// Of a word of free ports those that fit.
    const fn fitting(self, free: u64) -> u64 {
        match self {
            Self::Any => free,
            Self::Even => free & EVEN,
            // A pair never spans two words: its even port is never the last bit.
            Self::Pair => free & (free >> 1) & EVEN,
        }
    }
}

/// Ports of one range, each free, used or in quarantine.
#[derive(Debug)]
pub(super) struct PortPool {
    ports: RangeInclusive<u16>,
    // One bit for each port from 0 on: 8 KiB make every look-up an index.
    free: Box<[u64]>,
    free_count: u32,
    used_count: u32,
}

/// Even ports of a word.
const EVEN: u64 = 0x5555_5555_5555_5555;

/// Draws before the free ports are counted instead. With half of the range taken one in 65,536 allocations gets so far.
const DRAWS: usize = 16;

impl PortPool {
    /// All ports of the range, free.
    pub(super) fn new(ports: RangeInclusive<u16>) -> Self {
        let mut free = vec![0_u64; 1024].into_boxed_slice();
        let mut free_count = 0;
        for port in ports.clone() {
            free[usize::from(port) / 64] |= 1 << (port % 64);
            free_count += 1;
        }
        Self {
            ports,
            free,
            free_count,
            used_count: 0,
        }
    }

    /// Takes a free port, uniformly at random among those that fit.
    pub(super) fn take(&mut self, wanted: Wanted, random: &mut impl RngCore) -> Option<u16> {
        let port = self
            .draw(wanted, random)
            .or_else(|| self.count_off(wanted, random))?;
        self.take_exactly(port);
        Some(port)
    }

    /// Draws among all ports of the range until one fits, which is uniform among those that do.
    fn draw(&self, wanted: Wanted, random: &mut impl RngCore) -> Option<u16> {
        let (first, last) = (*self.ports.start(), *self.ports.end());
        let count = u32::from(last.checked_sub(first)?) + 1;
        (0..DRAWS).find_map(|_| {
            let port = first + u16::try_from(below(count, random)).ok()?;
            let word = wanted.fitting(self.free[usize::from(port) / 64]);
            (word >> (port % 64) & 1 == 1).then_some(port)
        })
    }

    /// Draws among those that fit, by counting them: for when they are few, or none.
    #[cold]
    fn count_off(&self, wanted: Wanted, random: &mut impl RngCore) -> Option<u16> {
        let fitting = self.free.iter().map(|&word| wanted.fitting(word));
        let count: u32 = fitting.clone().map(u64::count_ones).sum();
        if count == 0 {
            return None;
        }
        let mut nth = below(count, random);
        for (index, mut candidates) in fitting.enumerate() {
            let ones = candidates.count_ones();
            if nth >= ones {
                nth -= ones;
                continue;
            }
            for _ in 0..nth {
                candidates &= candidates - 1;
            }
            let port = u16::try_from(index * 64).ok()?
                + u16::try_from(candidates.trailing_zeros()).ok()?;
            return Some(port);
        }
        None
    }

    /// Takes this port, when it is free.
    pub(super) fn take_exactly(&mut self, port: u16) -> bool {
        if !self.is_free(port) {
            return false;
        }
        self.free[usize::from(port) / 64] &= !(1 << (port % 64));
        self.free_count -= 1;
        self.used_count += 1;
        true
    }

    /// A used port goes into quarantine.
    pub(super) fn quarantine(&mut self, port: u16) {
        debug_assert!(
            self.ports.contains(&port) && !self.is_free(port),
            "only a used port goes into quarantine"
        );
        self.used_count = self.used_count.saturating_sub(1);
    }

    /// A port comes out of quarantine.
    pub(super) fn release(&mut self, port: u16) {
        if self.ports.contains(&port) && !self.is_free(port) {
            self.free[usize::from(port) / 64] |= 1 << (port % 64);
            self.free_count += 1;
        }
    }

    /// Free, used and quarantined ports.
    pub(super) fn counts(&self) -> [u32; 3] {
        let total = u32::from(*self.ports.end()) + 1 - u32::from(*self.ports.start());
        [
            self.free_count,
            self.used_count,
            total - self.free_count - self.used_count,
        ]
    }

    fn is_free(&self, port: u16) -> bool {
        self.free[usize::from(port) / 64] >> (port % 64) & 1 == 1
    }
}

/// A uniform number below `bound`, which is not zero (Lemire's method without bias).
fn below(bound: u32, random: &mut impl RngCore) -> u32 {
    loop {
        let product = u64::from(random.next_u32()) * u64::from(bound);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the low half is what is wanted"
        )]
        let low = product as u32;
        if low >= bound || low >= bound.wrapping_neg() % bound {
            return (product >> 32) as u32;
        }
    }
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    reason = "a missing port is the failure that the test looks for"
)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use rand_chacha::ChaCha12Rng;
    use rand_core::SeedableRng;

    fn random() -> ChaCha12Rng {
        ChaCha12Rng::seed_from_u64(7)
    }

    /// T-25, T-28: every port of the range is given out once, never another, and then none.
    #[test]
    fn every_port_is_given_once() {
        let mut pool = PortPool::new(50_000..=50_099);
        let mut random = random();
        let mut given: Vec<u16> = (0..100)
            .map(|_| pool.take(Wanted::Any, &mut random).unwrap())
            .collect();
        assert_eq!(pool.take(Wanted::Any, &mut random), None);
        assert_ne!(
            given,
            {
                let mut sorted = given.clone();
                sorted.sort_unstable();
                sorted
            },
            "the order is random"
        );
        given.sort_unstable();
        assert!(given.iter().copied().eq(50_000..=50_099));
        assert_eq!(pool.counts(), [0, 100, 0]);
    }

    /// T-33: a freed port is counted in quarantine and given again only when it is released.
    #[test]
    fn a_freed_port_waits_in_quarantine() {
        let mut pool = PortPool::new(50_000..=50_000);
        let mut random = random();
        let port = pool.take(Wanted::Any, &mut random).unwrap();
        pool.quarantine(port);
        assert_eq!(pool.counts(), [0, 0, 1]);
        assert_eq!(pool.take(Wanted::Any, &mut random), None);
        pool.release(port);
        assert_eq!(pool.counts(), [1, 0, 0]);
        assert_eq!(pool.take(Wanted::Any, &mut random), Some(50_000));
    }

    /// T-19, T-23, T-24: even ports and pairs, until none fits.
    #[test]
    fn even_ports_and_pairs_are_found_while_there_are_any() {
        let mut random = random();
        let mut pool = PortPool::new(50_001..=50_006);
        let pair = pool.take(Wanted::Pair, &mut random).unwrap();
        assert!(pair == 50_002 || pair == 50_004);
        assert!(pool.take_exactly(pair + 1));
        let even = pool.take(Wanted::Even, &mut random).unwrap();
        assert_eq!(even % 2, 0);
        assert_eq!(
            pool.take(Wanted::Pair, &mut random).is_some(),
            even == 50_006
        );
    }

    /// A-09, T-25: 10^5 ports are uniform over the range (chi-squared over 64 bins, 63 degrees of freedom, p > 0.001), and one
    /// says nothing about the next (their correlation is within 3.3 standard errors of none, p > 0.001).
    #[test]
    fn ports_are_uniform() {
        let mut random = random();
        let mut bins = [0_u32; 64];
        let draws = 100_000_u32;
        let mut pool = PortPool::new(49_152..=65_535);
        let (mut before, mut together) = (0.0, 0.0);
        for _ in 0..draws {
            let port = pool.take(Wanted::Any, &mut random).unwrap();
            bins[usize::from(port - 49_152) / 256] += 1;
            let place = f64::from(port) - 57_343.5;
            together += before * place;
            before = place;
            pool.quarantine(port);
            pool.release(port);
        }
        let expected = f64::from(draws) / 64.0;
        let chi: f64 = bins
            .iter()
            .map(|&n| (f64::from(n) - expected).powi(2) / expected)
            .sum();
        assert!(chi < 103.4, "chi-squared {chi}");
        let variance = 16_384_f64.powi(2) / 12.0;
        let correlation = together / f64::from(draws) / variance;
        let error = f64::from(draws).sqrt().recip();
        assert!(correlation.abs() < 3.3 * error, "{correlation}");
    }

    /// So are those that are left when nearly all are taken (63 degrees of freedom again).
    #[test]
    fn the_last_ports_are_uniform_too() {
        let mut random = random();
        let mut pool = PortPool::new(49_152..=65_535);
        let left = |port: u16| port % 256 == 7;
        for port in (49_152..=65_535).filter(|&port| !left(port)) {
            assert!(pool.take_exactly(port));
        }
        let mut bins = [0_u32; 64];
        let draws = 6_400_u32;
        for _ in 0..draws {
            let port = pool.take(Wanted::Any, &mut random).unwrap();
            assert!(left(port));
            bins[usize::from(port - 49_152) / 256] += 1;
            pool.quarantine(port);
            pool.release(port);
        }
        let expected = f64::from(draws) / 64.0;
        let chi: f64 = bins
            .iter()
            .map(|&n| (f64::from(n) - expected).powi(2) / expected)
            .sum();
        assert!(chi < 103.4, "chi-squared {chi}");
    }
}
