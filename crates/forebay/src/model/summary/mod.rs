//! Summaries: what the buckets of a series hold that counts something else than hits. One file for each kind.
//!
//! A summary takes single observations, and merges with another one: the order makes no difference. All inputs and outputs are
//! numbers and bytes: it uses no clock and no engine.

pub(crate) mod distinct;
pub(crate) mod gauge;
pub(crate) mod percentiles;

use std::sync::Arc;

use self::{distinct::Registers, gauge::Readings, percentiles::Sketch};
use crate::time::Timestamp;

/// The kind of the summaries of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum SummaryKind {
    /// The number of different elements.
    Distinct,
    /// The last value, the smallest, the largest, and the average.
    Gauge,
    /// The distribution of values.
    Percentiles,
}

impl SummaryKind {
    /// All kinds.
    #[cfg(any(test, feature = "redis"))]
    pub(crate) const ALL: &'static [Self] = &[Self::Distinct, Self::Gauge, Self::Percentiles];

    /// The word for it in configurations, in messages, and in the names of keys.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Distinct => "distinct",
            Self::Gauge => "gauge",
            Self::Percentiles => "percentiles",
        }
    }

    /// The number of the kind in a file. A number is never used for another kind.
    pub(crate) const fn number(self) -> u64 {
        match self {
            Self::Distinct => 1,
            Self::Gauge => 2,
            Self::Percentiles => 3,
        }
    }

    /// The kind of a number.
    pub(crate) fn of_number(number: u64) -> Option<Self> {
        match number {
            1 => Some(Self::Distinct),
            2 => Some(Self::Gauge),
            3 => Some(Self::Percentiles),
            _ => None,
        }
    }
}

/// An observation of a key at a time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Observation {
    pub key: Arc<str>,
    pub at: Timestamp,
    pub what: Observed,
}

/// The part of an observation beside its key and time. It is of the kind of its series.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Observed {
    /// An element of a set.
    Element(Arc<str>),
    /// A value that [`gauge::checked`] has passed.
    Value(f64),
}

/// The content of a bucket.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Summary {
    Distinct(Registers),
    Gauge(Readings),
    Percentiles(Sketch),
}

impl Summary {
    /// The summary of no observation.
    pub(crate) fn new(kind: SummaryKind) -> Self {
        match kind {
            SummaryKind::Distinct => Self::Distinct(Registers::default()),
            SummaryKind::Gauge => Self::Gauge(Readings::default()),
            SummaryKind::Percentiles => Self::Percentiles(Sketch::default()),
        }
    }

    /// The kind of it.
    pub(crate) fn kind(&self) -> SummaryKind {
        match self {
            Self::Distinct(_) => SummaryKind::Distinct,
            Self::Gauge(_) => SummaryKind::Gauge,
            Self::Percentiles(_) => SummaryKind::Percentiles,
        }
    }

    /// Takes an observation of its own kind.
    pub(crate) fn observe(&mut self, Observation { what, at, .. }: &Observation) {
        match (self, what) {
            (Self::Distinct(registers), Observed::Element(element)) => registers.add(element.as_bytes()),
            (Self::Gauge(readings), Observed::Value(value)) => readings.add(*value, *at),
            (Self::Percentiles(sketch), Observed::Value(value)) => sketch.add(*value),
            (summary, what) => unreachable!("{what:?} in {summary:?}: a series takes its own kind"),
        }
    }

    /// Takes all that another summary of its kind has.
    pub(crate) fn merge(&mut self, other: &Self) {
        match (self, other) {
            (Self::Distinct(registers), Self::Distinct(others)) => registers.merge(others),
            (Self::Gauge(readings), Self::Gauge(others)) => readings.merge(others),
            (Self::Percentiles(sketch), Self::Percentiles(other)) => sketch.merge(other),
            (summary, other) => unreachable!("{other:?} in {summary:?}: a series has one kind"),
        }
    }

    /// Whether it tells the same as one that took the same observations in another order: sums of floating point numbers differ in
    /// their last digits.
    #[cfg(any(test, feature = "conformance"))]
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Gauge(readings), Self::Gauge(others)) => readings.is_like(others),
            _ => self == other,
        }
    }

    /// Its form in a file.
    pub(crate) fn pack(&self) -> Vec<u8> {
        match self {
            Self::Distinct(registers) => registers.pack(),
            Self::Gauge(readings) => readings.pack(),
            Self::Percentiles(sketch) => sketch.pack(),
        }
    }

    /// Reads that form. `None`: it is another one.
    pub(crate) fn unpack(kind: SummaryKind, bytes: &[u8]) -> Option<Self> {
        match kind {
            SummaryKind::Distinct => Registers::unpack(bytes).map(Self::Distinct),
            SummaryKind::Gauge => Readings::unpack(bytes).map(Self::Gauge),
            SummaryKind::Percentiles => Sketch::unpack(bytes).map(Self::Percentiles),
        }
    }
}
