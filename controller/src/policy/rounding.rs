//! From figures to whole relays, without a surprise from any float.
//!
//! Not responsible for where the figures come from.

use crate::fleet::{Dimension, Loads};

/// More relays than any fleet has: figures beyond it are as good as infinite.
const MOST: f64 = 1_000_000.0;

/// More than any relay carries along any dimension.
const GREATEST: f64 = 1e15;

/// A measured figure: finite and not negative, or not known. A nonsensical one is not known, which is not zero.
pub(crate) fn figure(value: Option<f64>) -> Option<f64> {
    value
        .filter(|value| value.is_finite() && *value >= 0.0)
        .map(|value| value.min(GREATEST))
}

/// [`figure`] along each dimension.
pub(crate) fn figures(loads: Loads) -> Loads {
    Dimension::ALL.into_iter().fold(loads, |known, dimension| {
        known.with(dimension, figure(loads.of(dimension)))
    })
}

/// A figure that something is divided by: above zero, or not known.
pub(crate) fn divisor(value: Option<f64>) -> Option<f64> {
    figure(value).filter(|value| *value > 1e-9)
}

/// A share or factor of the policy: within `least` and `most`, and `least` where it is no number.
pub(crate) fn within(value: f64, least: f64, most: f64) -> f64 {
    if value.is_nan() {
        least
    } else {
        value.clamp(least, most)
    }
}

/// Relays that are enough for `units` of them. A billionth more than a whole number is that number: sums of floats differ
/// by as much when their order does.
pub(crate) fn enough(units: f64) -> u32 {
    whole((units - 1e-9).ceil())
}

/// Whole relays in `units` of them.
pub(crate) fn filled(units: f64) -> u32 {
    whole((units + 1e-9).floor())
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "clamped to what a u32 holds just before"
)]
fn whole(units: f64) -> u32 {
    within(units, 0.0, MOST) as u32
}
