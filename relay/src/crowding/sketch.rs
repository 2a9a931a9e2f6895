//! Who sends most, in a fixed amount of memory whatever the number of senders.
//!
//! Responsible for counting (space-saving: whoever sends more than one part in [`COUNTERS`] has a counter) and for telling
//! those who crowd others out from those who merely are there. Not responsible for when to count (`watch`).

use std::net::SocketAddr;

/// Flows that have a counter at once.
const COUNTERS: usize = 32;
/// Bits by which the number of flows is estimated.
const BITS: usize = 1024;
/// Fewer than one part in so many of what comes is nobody's crowd.
const LEAST_PART: u64 = 32;
/// How many times the mean of the others a flow must bring. With this, equal flows that are too much together are left alone:
/// none of them is the cause.
const TIMES_THE_OTHERS: u64 = 2;
/// The same when it is not the only one of its size: many that are heavy, and others that are far lighter than any of them. More
/// than from a call with a picture to one without.
const FAR_HEAVIER: u64 = 16;

/// A flow that crowds others out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crowder {
    /// Where it comes from.
    pub(crate) source: SocketAddr,
    /// Its part of what came, in per cent.
    pub(crate) percent: u8,
}

/// Counters of the heaviest flows.
#[derive(Clone, Debug)]
pub(crate) struct Sketch {
    // Apart, so that looking for one reads two lines of the cache.
    keys: [u32; COUNTERS],
    flows: Vec<Count>,
    total: u64,
    seen: [u64; BITS / 64],
}

#[derive(Clone, Copy, Debug)]
struct Count {
    source: SocketAddr,
    weight: u64,
    /// What the counter's former holders brought, at most.
    inherited: u64,
}

impl Count {
    /// What the flow has brought for certain.
    const fn certain(&self) -> u64 {
        self.weight.saturating_sub(self.inherited)
    }
}

impl Sketch {
    /// Nothing counted.
    pub(crate) fn new() -> Self {
        Self {
            keys: [0; COUNTERS],
            flows: Vec::with_capacity(COUNTERS),
            total: 0,
            seen: [0; BITS / 64],
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.flows.clear();
        self.total = 0;
        self.seen = [0; BITS / 64];
    }

    /// All that was counted.
    pub(crate) const fn total(&self) -> u64 {
        self.total
    }

    /// Counts a flow. Equal keys are one flow; they are to be spread evenly and unpredictably over their upper bits.
    pub(crate) fn add(&mut self, key: u32, source: SocketAddr, weight: u64) {
        self.total = self.total.saturating_add(weight);
        let bit = (key >> (32 - BITS.ilog2())) as usize;
        self.seen[bit / 64] |= 1 << (bit % 64);
        let used = self.flows.len();
        if let Some(at) = self.keys[..used].iter().position(|each| *each == key) {
            self.flows[at].weight += weight;
        } else if used < COUNTERS {
            self.keys[used] = key;
            self.flows.push(Count {
                source,
                weight,
                inherited: 0,
            });
        } else if let Some((at, least)) = self
            .flows
            .iter_mut()
            .enumerate()
            .min_by_key(|(_, count)| count.weight)
        {
            self.keys[at] = key;
            *least = Count {
                source,
                inherited: least.weight,
                weight: least.weight + weight,
            };
        }
    }

    /// How many flows there were, by how many of the bits they have left unset.
    fn distinct(&self) -> u64 {
        let set: u32 = self.seen.iter().map(|word| word.count_ones()).sum();
        let unset = (BITS - set as usize).max(1);
        let estimate = BITS as f64 * (BITS as f64 / unset as f64).ln();
        // At most 7,100, and never negative.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small positive number"
        )]
        let estimate = estimate.round() as u64;
        estimate.max(self.flows.len() as u64)
    }

    /// Those who crowd the others out, heaviest first: each brings a good part of all, and clearly more than those who are not
    /// among them bring in the mean. Alone, a flow crowds whoever comes next.
    pub(crate) fn crowders(&self) -> Vec<Crowder> {
        let mut counts: Vec<&Count> = self.flows.iter().collect();
        counts.sort_by_key(|count| std::cmp::Reverse(count.certain()));
        let (mut rest, mut others) = (self.total, self.distinct());
        let is_alone = others == 1;
        let (mut crowders, mut each_so_far) = (0, true);
        for (count, so_many) in counts.iter().zip(1..) {
            let brought = count.certain();
            rest = rest.saturating_sub(brought);
            others = others.saturating_sub(1);
            if brought * LEAST_PART < self.total || (others == 0 && !is_alone) {
                break;
            }
            let exceeds = |times: u64| brought * others.max(1) > times * rest;
            each_so_far &= exceeds(TIMES_THE_OTHERS);
            if each_so_far || exceeds(FAR_HEAVIER) {
                crowders = so_many;
            }
        }
        let crowder = |count: &&Count| Crowder {
            source: count.source,
            percent: u8::try_from(count.certain() * 100 / self.total.max(1)).unwrap_or(100),
        };
        counts.iter().take(crowders).map(crowder).collect()
    }

    /// Those who bring at least a good part of all.
    pub(crate) fn heavy(&self) -> impl Iterator<Item = SocketAddr> {
        let total = self.total;
        self.flows
            .iter()
            .filter(move |count| total > 0 && count.certain() * LEAST_PART >= total)
            .map(|count| count.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(number: u32) -> SocketAddr {
        let port = u16::try_from(number % 50_000).expect("it fits") + 1000;
        SocketAddr::from((
            std::net::Ipv4Addr::from(0x7f00_0001 + number / 50_000),
            port,
        ))
    }

    /// Spreads numbers as the keyed hash does.
    fn key(number: u32) -> u32 {
        let mixed = (number ^ 0x5bd1_e995).wrapping_mul(0x9e37_79b1);
        (mixed ^ mixed >> 16).wrapping_mul(0x85eb_ca6b)
    }

    /// Each flow of `flows`, with what it brings in a turn, for many turns.
    fn counted(flows: &[(u32, u64)], turns: u64) -> Sketch {
        let mut sketch = Sketch::new();
        for _ in 0..turns {
            for (number, weight) in flows {
                if *weight > 0 {
                    sketch.add(key(*number), source(*number), *weight);
                }
            }
        }
        sketch
    }

    fn found(sketch: &Sketch) -> Vec<SocketAddr> {
        sketch.crowders().iter().map(|each| each.source).collect()
    }

    #[test]
    fn one_that_sends_far_more_than_its_neighbours_crowds() {
        for neighbours in [1, 5, 20, 500] {
            let mut flows = vec![(0, 3000)];
            flows.extend((1..=neighbours).map(|number| (number, 1)));
            let sketch = counted(&flows, 10);
            assert_eq!(found(&sketch), [source(0)], "{neighbours}");
            assert!(sketch.crowders()[0].percent >= 80);
        }
    }

    #[test]
    fn several_that_crowd_are_all_found_heaviest_first() {
        let mut flows: Vec<(u32, u64)> = (0..12)
            .map(|number| (number, 400 + u64::from(number)))
            .collect();
        flows.extend((100..130).map(|number| (number, 2)));
        let expected: Vec<_> = (0..12).rev().map(source).collect();
        assert_eq!(found(&counted(&flows, 20)), expected);
    }

    /// However few their neighbours are.
    #[test]
    fn many_that_crowd_a_few_are_found_by_how_much_heavier_they_are() {
        for (crowders, neighbours) in [(2, 1), (12, 1), (16, 4)] {
            let mut flows: Vec<(u32, u64)> = (0..crowders).map(|number| (number, 300)).collect();
            flows.extend((100..100 + neighbours).map(|number| (number, 2)));
            let mut found = found(&counted(&flows, 20));
            found.sort();
            assert_eq!(found, (0..crowders).map(source).collect::<Vec<_>>());
        }
    }

    /// Too many calls of one kind, or of several, are no crowd: nobody among them is the cause.
    #[test]
    fn equal_flows_and_a_mixture_of_calls_crowd_nobody() {
        for flows in [2, 3, 20, 400] {
            let equal: Vec<(u32, u64)> = (0..flows).map(|number| (number, 10)).collect();
            assert_eq!(found(&counted(&equal, 20)), [], "{flows} equal flows");
        }
        // As many with video at eight times the packets of those without.
        let mixed: Vec<(u32, u64)> = (0..40)
            .map(|number| (number, if number % 2 == 0 { 8 } else { 1 }))
            .collect();
        assert_eq!(found(&counted(&mixed, 20)), []);
    }

    /// A crowd of strangers who come once each hides nobody, and makes nobody heavier than it is.
    #[test]
    fn passers_by_neither_hide_a_crowder_nor_become_one() {
        let mut sketch = Sketch::new();
        for turn in 0..20_000 {
            sketch.add(key(1_000_000 + turn), source(turn), 1);
            if turn % 4 == 0 {
                sketch.add(key(7), source(60_000), 1);
            }
        }
        assert_eq!(found(&sketch), [source(60_000)]);
        assert_eq!(sketch.heavy().collect::<Vec<_>>(), [source(60_000)]);
        assert_eq!(sketch.crowders()[0].percent, 20);
        assert_eq!(sketch.total(), 25_000);
    }

    #[test]
    fn the_number_of_flows_is_estimated_within_a_tenth() {
        for flows in [1_u32, 10, 100, 1000] {
            let equal: Vec<(u32, u64)> = (0..flows).map(|number| (number, 1)).collect();
            let estimate = counted(&equal, 1).distinct();
            let wrong = estimate.abs_diff(flows.into()) * 10;
            assert!(wrong <= u64::from(flows), "{estimate} for {flows}");
        }
    }

    #[test]
    fn what_is_forgotten_counts_no_more() {
        let mut sketch = counted(&[(0, 100), (1, 1), (2, 1)], 10);
        sketch.clear();
        assert_eq!((sketch.total(), found(&sketch)), (0, vec![]));
        assert_eq!(sketch.heavy().count(), 0);
        sketch.add(key(1), source(1), 5);
        assert_eq!(found(&sketch), [source(1)], "the only one");
        assert_eq!(sketch.heavy().collect::<Vec<_>>(), [source(1)]);
    }
}
