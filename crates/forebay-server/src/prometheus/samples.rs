//! Buckets to samples.
//!
//! Numbers in, numbers out: no store, no clock.

use super::names::Form;
use crate::promql::Samples;

/// The counts of a key in buckets of one length.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts<'a> {
    /// When the first bucket begins, in milliseconds.
    pub(super) start: i64,
    /// The length of a bucket, in milliseconds.
    pub(super) step: i64,
    /// The sum of all earlier buckets that are kept.
    pub(super) before: u64,
    pub(super) inside: &'a [u64],
    /// The sum of all later buckets.
    pub(super) after: u64,
}

/// The samples of a key: one at the end of each bucket, from its first bucket that is not zero to its last one. A counter is
/// zero before that.
pub(super) fn samples(counts: Counts<'_>, form: Form) -> Samples {
    let Counts { start, step, before, inside, after } = counts;
    let used = |count: &u64| *count > 0;
    let first = if before > 0 { 0 } else { inside.iter().position(used).unwrap_or(inside.len()) };
    let end = if after > 0 { inside.len() } else { inside.iter().rposition(used).map_or(0, |last| last + 1) };
    let inside = inside.get(first..end).unwrap_or_default();
    let mut total = before;
    let value = |count: &u64| {
        total = total.saturating_add(*count);
        if form == Form::Total { total as f64 } else { *count as f64 }
    };
    let ends = i64::try_from(first).unwrap_or(0) + 1;
    Samples { first: start + step * ends, step, values: inside.iter().map(value).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(before: u64, counts: &[u64], after: u64) -> (i64, Vec<f64>, Vec<f64>) {
        let counts = Counts { start: 1_000, step: 10, before, inside: counts, after };
        let (gauge, counter) = (samples(counts, Form::Increments), samples(counts, Form::Total));
        assert_eq!((gauge.first, gauge.values.len()), (counter.first, counter.values.len()));
        (gauge.first, gauge.values, counter.values)
    }

    #[test]
    fn a_key_has_samples_from_its_first_count_to_its_last() {
        assert_eq!(found(0, &[0, 2, 0, 3, 0], 0), (1_020, vec![2.0, 0.0, 3.0], vec![2.0, 2.0, 5.0]));
        assert_eq!(found(7, &[0, 2, 0], 0), (1_010, vec![0.0, 2.0], vec![7.0, 9.0]));
        assert_eq!(found(0, &[0, 2, 0], 1), (1_020, vec![2.0, 0.0], vec![2.0, 2.0]));
        assert_eq!(found(7, &[0, 0], 1), (1_010, vec![0.0, 0.0], vec![7.0, 7.0]));
        for (before, after) in [(0, 0), (7, 0), (0, 7)] {
            assert_eq!(found(before, &[0, 0], after).1, Vec::<f64>::new(), "{before} {after}");
        }
        assert_eq!(found(u64::MAX, &[1], 0).2, [u64::MAX as f64]);
    }
}
