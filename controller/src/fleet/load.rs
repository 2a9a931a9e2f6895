//! What relays carry and can carry, along each dimension that can run out.
//!
//! Not responsible for how much of it may be used (`policy`).

use std::fmt;

use serde::{Deserialize, Serialize};

/// What can run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dimension {
    /// Datagrams received in a second.
    Packets,
    /// Payload bits passed on in a second.
    Bits,
    /// The share of its core that the busiest worker needs.
    Core,
    /// Live allocations.
    Allocations,
    /// Relayed ports in use.
    Ports,
}

impl Dimension {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Packets,
        Self::Bits,
        Self::Core,
        Self::Allocations,
        Self::Ports,
    ];

    /// The word in metrics, logs and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Packets => "packets",
            Self::Bits => "bits",
            Self::Core => "core",
            Self::Allocations => "allocations",
            Self::Ports => "ports",
        }
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A value for each dimension; what is not known is `None`, which is not zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Loads {
    /// [`Dimension::Packets`]: a second.
    pub packets: Option<f64>,
    /// [`Dimension::Bits`]: a second.
    pub bits: Option<f64>,
    /// [`Dimension::Core`]: 0 to 1.
    pub core: Option<f64>,
    /// [`Dimension::Allocations`]
    pub allocations: Option<f64>,
    /// [`Dimension::Ports`]
    pub ports: Option<f64>,
}

impl Loads {
    /// The value along `dimension`.
    pub const fn of(&self, dimension: Dimension) -> Option<f64> {
        match dimension {
            Dimension::Packets => self.packets,
            Dimension::Bits => self.bits,
            Dimension::Core => self.core,
            Dimension::Allocations => self.allocations,
            Dimension::Ports => self.ports,
        }
    }

    /// Another value along `dimension`.
    #[must_use]
    pub const fn with(mut self, dimension: Dimension, value: Option<f64>) -> Self {
        let place = match dimension {
            Dimension::Packets => &mut self.packets,
            Dimension::Bits => &mut self.bits,
            Dimension::Core => &mut self.core,
            Dimension::Allocations => &mut self.allocations,
            Dimension::Ports => &mut self.ports,
        };
        *place = value;
        self
    }

    /// The sum along each dimension of what is known of either.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Dimension::ALL.into_iter().fold(self, |sum, dimension| {
            let value = match (self.of(dimension), other.of(dimension)) {
                (Some(a), Some(b)) => Some(a + b),
                (a, b) => a.or(b),
            };
            sum.with(dimension, value)
        })
    }

    /// The greater along each dimension of what is known of either.
    #[must_use]
    pub fn greater(self, other: Self) -> Self {
        Dimension::ALL
            .into_iter()
            .fold(self, |greatest, dimension| {
                let value = match (self.of(dimension), other.of(dimension)) {
                    (Some(a), Some(b)) => Some(a.max(b)),
                    (a, b) => a.or(b),
                };
                greatest.with(dimension, value)
            })
    }

    /// So many times as much.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        Dimension::ALL.into_iter().fold(self, |times, dimension| {
            times.with(dimension, self.of(dimension).map(|value| value * factor))
        })
    }

    /// These values, and where they are not known those of `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Dimension::ALL.into_iter().fold(self, |known, dimension| {
            known.with(
                dimension,
                self.of(dimension).or_else(|| other.of(dimension)),
            )
        })
    }
}
