//! Samples of a metric, and the values that an expression has.

use std::ops::Range;

use super::Labels;

/// Samples at regular times, without gaps. Times are milliseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Samples {
    /// The time of the first one.
    pub(crate) first: i64,
    /// The time between two of them, at least 1.
    pub(crate) step: i64,
    pub(crate) values: Vec<f64>,
}

/// The samples of a metric with certain labels.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stream {
    pub(crate) labels: Labels,
    pub(crate) samples: Samples,
}

/// The instants at which a query is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instants {
    pub(crate) start: i64,
    pub(crate) step: i64,
    pub(crate) count: usize,
}

/// The values of an expression for certain labels, one for each instant.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) labels: Labels,
    pub(crate) values: Vec<Option<f64>>,
}

impl Samples {
    /// The time of a sample.
    pub(crate) fn time(&self, index: usize) -> i64 {
        self.first.saturating_add(self.step.saturating_mul(i64::try_from(index).unwrap_or(i64::MAX)))
    }

    /// The positions of the samples after `from`, up to `to` inclusive.
    pub(super) fn within(&self, from: i64, to: i64) -> Range<usize> {
        let until = |time: i64| {
            let steps = time.saturating_sub(self.first).div_euclid(self.step).saturating_add(1);
            usize::try_from(steps).unwrap_or(0).min(self.values.len())
        };
        until(from)..until(to).max(until(from))
    }
}

impl Instants {
    /// One instant.
    pub(crate) fn once(at: i64) -> Self {
        Self { start: at, step: 1, count: 1 }
    }

    /// All of them, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = i64> {
        let Self { start, step, count } = *self;
        (0..count).map(move |index| start + step * i64::try_from(index).unwrap_or(0))
    }

    /// The last one.
    pub(crate) fn end(&self) -> i64 {
        self.iter().last().unwrap_or(self.start)
    }
}

impl Row {
    /// Whether the row has any value.
    pub(super) fn has_values(&self) -> bool {
        self.values.iter().any(Option::is_some)
    }
}
