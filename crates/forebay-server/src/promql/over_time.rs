//! Functions of the samples of a window.

use super::{
    Samples,
    arithmetic::{Sum, larger, smaller},
    expression::OverTime,
};

/// A window: samples after `from`, up to `to` inclusive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) from: i64,
    pub(super) to: i64,
}

/// Samples, and what a counter lost in its resets before each of them.
#[derive(Clone, Debug)]
pub(super) struct Windowed<'a> {
    samples: &'a Samples,
    /// The sum of the values before each reset; empty if there was none.
    resets: Vec<f64>,
}

impl<'a> Windowed<'a> {
    pub(super) fn new(samples: &'a Samples) -> Self {
        let values = &samples.values;
        let mut resets = vec![];
        if values.windows(2).any(|pair| pair[1] < pair[0]) {
            let mut lost = 0.0;
            resets.push(lost);
            for pair in values.windows(2) {
                lost += if pair[1] < pair[0] { pair[0] } else { 0.0 };
                resets.push(lost);
            }
        }
        Self { samples, resets }
    }

    /// The value of a function over a window, and the number of samples that were read. `None` if the window is empty, or too
    /// short for the function.
    pub(super) fn value(&self, function: OverTime, parameter: f64, span: Span) -> (Option<f64>, usize) {
        let window = self.samples.within(span.from, span.to);
        if window.is_empty() {
            return (None, 1);
        }
        if matches!(function, OverTime::Rate | OverTime::Increase) {
            return (self.increase(function == OverTime::Rate, span), 2);
        }
        let values = &self.samples.values[window];
        let value = match function {
            OverTime::Sum => sum(values),
            OverTime::Average => sum(values) / values.len() as f64,
            OverTime::Min => values.iter().copied().fold(f64::NAN, smaller),
            OverTime::Max => values.iter().copied().fold(f64::NAN, larger),
            OverTime::Count => values.len() as f64,
            OverTime::Last => values[values.len() - 1],
            OverTime::StandardDeviation => variance(values).sqrt(),
            OverTime::Variance => variance(values),
            OverTime::Quantile => quantile(parameter, values),
            _ => 1.0,
        };
        (Some(value), values.len())
    }

    /// The increase of a counter over a window, extrapolated to its edges; by the second if `per_second`.
    ///
    /// An edge is reached if a sample is near to it. Else the counter is taken to begin or end half a step beyond its first or
    /// last sample. It never begins before it was zero.
    ///
    /// # Source
    /// `extrapolatedRate` of <https://github.com/prometheus/prometheus/blob/main/promql/functions.go>
    fn increase(&self, per_second: bool, Span { from, to }: Span) -> Option<f64> {
        let window = self.samples.within(from, to);
        let (first, last) = (window.start, window.end - 1);
        if first == last {
            return None;
        }
        let Samples { values, step, .. } = self.samples;
        let lost =
            self.resets.get(last).zip(self.resets.get(first)).map_or(0.0, |(last, first)| last - first);
        let increase = values[last] - values[first] + lost;
        let secs = |millis: i64| millis as f64 / 1_000.0;
        let sampled = secs(self.samples.time(last) - self.samples.time(first));
        let (between, near) = (secs(*step), secs(*step) * 1.1);
        let reach = |distance: f64| if distance < near { distance } else { between / 2.0 };
        let mut to_start = reach(secs(self.samples.time(first) - from));
        if increase > 0.0 && values[first] >= 0.0 {
            to_start = to_start.min(sampled * (values[first] / increase));
        }
        let to_end = reach(secs(to - self.samples.time(last)));
        let factor = (sampled + to_start + to_end) / sampled;
        Some(if per_second { increase * (factor / secs(to - from)) } else { increase * factor })
    }
}

fn sum(values: &[f64]) -> f64 {
    let mut sum = Sum::default();
    for value in values {
        sum.add(*value);
    }
    sum.value()
}

fn variance(values: &[f64]) -> f64 {
    let mean = sum(values) / values.len() as f64;
    let squares: Vec<f64> = values.iter().map(|value| (value - mean).powi(2)).collect();
    sum(&squares) / values.len() as f64
}

/// The value below which a part of the values is, interpolated between its neighbours.
fn quantile(part: f64, values: &[f64]) -> f64 {
    if part.is_nan() {
        return f64::NAN;
    }
    if !(0.0..=1.0).contains(&part) {
        return if part < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = part * (sorted.len() - 1) as f64;
    // A rank is at most the number of values.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 0 to the number of values"
    )]
    let lower = rank.floor() as usize;
    let upper = (lower + 1).min(sorted.len() - 1);
    let weight = rank - rank.floor();
    sorted[lower] * (1.0 - weight) + sorted[upper] * weight
}
