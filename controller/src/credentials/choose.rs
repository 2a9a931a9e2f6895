//! Which relays a caller gets: different zones, the nearest first, by what is free.
//!
//! Responsible for the choice alone: the same offer and the same random numbers give the same relays. Not responsible for
//! what may be chosen from (`offer`).

use std::sync::Arc;

use rand_core::RngCore;

use super::offer::{Candidate, Offer};

/// Where the caller's clients are, as far as the caller says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hint {
    /// A region, by its name or as zone ids have it.
    pub region: Option<String>,
    /// A zone's id.
    pub zone: Option<String>,
}

impl Hint {
    /// 0: that zone. 1: that region. 2: elsewhere, or nothing is known.
    fn distance(&self, candidate: &Candidate) -> u8 {
        let zone = candidate.zone.as_str();
        if self.zone.as_deref() == Some(zone) {
            return 0;
        }
        let of_zone = self.zone.as_deref().map(super::region::of_zone);
        let near = [self.region.as_deref(), of_zone]
            .into_iter()
            .flatten()
            .any(|region| {
                candidate.region == region || candidate.region_name.as_deref() == Some(region)
            });
        if near { 1 } else { 2 }
    }
}

/// At most `wanted` relays of the offer, the nearest first. No two are in one zone as long as there are zones that have none
/// yet; among those, the nearest; among those, two are drawn by what they have free, and of the two the one is taken that has
/// been named less often for what it has. So shares follow what is free, and a whole round's callers do not all meet at the
/// relay that was the emptiest when the fleet was looked at.
pub fn choose<'o>(
    offer: &'o Offer,
    wanted: usize,
    hint: &Hint,
    random: &mut impl RngCore,
) -> Vec<&'o Arc<Candidate>> {
    let mut left: Vec<(u8, &Arc<Candidate>)> = offer
        .candidates()
        .iter()
        .map(|candidate| (hint.distance(candidate), candidate))
        .collect();
    let mut chosen: Vec<(u8, &Arc<Candidate>)> = Vec::with_capacity(wanted.min(left.len()));
    while chosen.len() < wanted && !left.is_empty() {
        let is_new = |(_, candidate): &&(u8, &Arc<Candidate>)| {
            chosen.iter().all(|(_, taken)| taken.zone != candidate.zone)
        };
        let fresh = left.iter().any(|each| is_new(&each));
        let open = |each: &&(u8, &Arc<Candidate>)| !fresh || is_new(each);
        let nearest = left
            .iter()
            .filter(open)
            .map(|(distance, _)| *distance)
            .min();
        let pool: Vec<(u8, &Arc<Candidate>)> = left
            .iter()
            .filter(open)
            .filter(|(distance, _)| Some(*distance) == nearest)
            .copied()
            .collect();
        let Some(taken) = better_of_two(&pool, random) else {
            break;
        };
        left.retain(|(_, candidate)| !Arc::ptr_eq(candidate, taken.1));
        chosen.push(taken);
    }
    chosen.sort_by_key(|(distance, _)| *distance);
    chosen.into_iter().map(|(_, candidate)| candidate).collect()
}

type Near<'o> = (u8, &'o Arc<Candidate>);

fn better_of_two<'o>(pool: &[Near<'o>], random: &mut impl RngCore) -> Option<Near<'o>> {
    let sum: f64 = pool.iter().map(|(_, candidate)| candidate.weight).sum();
    let mut draw = || {
        let mut point = unit(random) * sum;
        let drawn = pool.iter().find(|(_, candidate)| {
            point -= candidate.weight;
            point < 0.0
        });
        // Sums of fractions may end a hair below the last.
        drawn.or_else(|| pool.last()).copied()
    };
    let (first, second) = (draw()?, draw()?);
    let burden = |(_, candidate): Near<'_>| f64::from(candidate.given()) / candidate.weight;
    Some(if burden(second) < burden(first) {
        second
    } else {
        first
    })
}

/// From 0 up to, and without, 1.
fn unit(random: &mut impl RngCore) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "53 bits are what a double holds"
    )]
    let bits = (random.next_u64() >> 11) as f64;
    bits / 9_007_199_254_740_992.0
}
