//! Sums up points to a bounded number of bars.

use std::{ops::Range, time::Duration};

use forebay::Timestamp;

/// Round widths in milliseconds and in seconds. Each divides the next.
const MILLIS: [i64; 6] = [1, 5, 10, 50, 100, 500];
const SECONDS: [i64; 15] =
    [1, 5, 10, 30, 60, 300, 600, 1_800, 3_600, 10_800, 21_600, 43_200, 86_400, 604_800, 2_419_200];

pub(super) const SECOND: i64 = 1_000_000;

/// Widths that are easy to read, in microseconds, shortest first.
pub(super) fn round_widths() -> impl Iterator<Item = i64> {
    MILLIS.into_iter().map(|millis| millis * 1_000).chain(SECONDS.into_iter().map(|secs| secs * SECOND))
}

/// Counts of `L` kinds in equal steps of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bars<const L: usize> {
    /// The time at which the first bar begins, in microseconds.
    pub start: i64,
    /// The length of a bar, in microseconds.
    pub width: i64,
    pub counts: Vec<[u64; L]>,
}

impl<const L: usize> Bars<L> {
    /// Sums up points, each `step` long and within `span`, to at most `most` bars or one more.
    ///
    /// If several points share a bar, bars begin at round local times of a zone that is `offset` µs ahead of UTC. The first
    /// and the last bar may then cover a part of their width.
    pub(super) fn new(
        points: impl IntoIterator<Item = (Timestamp, [u64; L])>,
        span: &Range<Timestamp>,
        step: Duration,
        most: usize,
        offset: i64,
    ) -> Self {
        let (from, to) = (span.start.as_micros(), span.end.as_micros());
        let step = i64::try_from(step.as_micros()).unwrap_or(i64::MAX).max(1);
        let width = width(step, to.saturating_sub(from), most);
        let start = if width == step {
            from
        } else {
            floor(from.saturating_add(offset), width).saturating_sub(offset)
        };
        let bars = to.saturating_sub(start).max(0).unsigned_abs().div_ceil(width.unsigned_abs());
        let bars = usize::try_from(bars).unwrap_or(0);
        let mut counts = vec![[0_u64; L]; bars];
        for (at, count) in points {
            let place = at.as_micros().saturating_sub(start).div_euclid(width);
            // A point outside the span has no bar.
            let Some(bar) = usize::try_from(place).ok().and_then(|place| counts.get_mut(place)) else {
                continue;
            };
            for (sum, n) in bar.iter_mut().zip(count) {
                *sum = sum.saturating_add(n);
            }
        }
        Self { start, width, counts }
    }

    /// The time from the first bar's beginning to the last one's end.
    pub(super) fn span(&self) -> Range<Timestamp> {
        let length = i64::try_from(self.counts.len()).unwrap_or(i64::MAX).saturating_mul(self.width);
        Timestamp::from_micros(self.start)..Timestamp::from_micros(self.start.saturating_add(length))
    }
}

/// The shortest good width with which `total` needs at most `most` bars, or one more if the first bar begins earlier.
fn width(step: i64, total: i64, most: usize) -> i64 {
    let least = total.max(0).unsigned_abs().div_ceil(most.max(1) as u64);
    let least = i64::try_from(least).unwrap_or(i64::MAX);
    if step >= least {
        return step;
    }
    // Round widths are less than 8 times apart. A step of 7 s divides none before a week, which is too long.
    let fits = |width: &i64| *width >= least && *width / 8 < least && *width % step == 0;
    let round = round_widths().find(fits);
    round.unwrap_or_else(|| {
        step.saturating_mul(least.unsigned_abs().div_ceil(step.unsigned_abs()).cast_signed())
    })
}

/// The last multiple of `width` at or before `at`.
pub(super) fn floor(at: i64, width: i64) -> i64 {
    at.saturating_sub(at.rem_euclid(width))
}

#[cfg(test)]
mod tests {
    use forebay::time::{hours, secs};
    use proptest::prelude::*;

    use super::*;

    fn bars(start: i64, step: u64, values: &[u64], most: usize, offset: i64) -> Bars<1> {
        let at = |place: usize| {
            Timestamp::from_secs(start).plus(secs(step) * u32::try_from(place).expect("short"))
        };
        let points = values.iter().enumerate().map(|(place, &n)| (at(place), [n]));
        Bars::new(points, &(at(0)..at(values.len())), secs(step), most, offset)
    }

    #[test]
    fn few_points_have_a_bar_each() {
        let bars = bars(7, 10, &[1, 0, 3], 3, 0);
        assert_eq!((bars.start, bars.width), (7 * SECOND, 10 * SECOND));
        assert_eq!(bars.counts, [[1], [0], [3]]);
    }

    #[test]
    fn many_points_share_bars_that_begin_at_round_local_times() {
        let india = 19_800 * SECOND;
        let bars = bars(0, 3_600, &[1; 48], 3, india);
        assert_eq!(bars.width, 86_400 * SECOND);
        assert_eq!(bars.start, -india, "midnight there");
        assert_eq!(bars.counts, [[19], [24], [5]]);
    }

    #[test]
    fn a_step_that_divides_no_round_width_is_multiplied() {
        let bars = bars(0, 7, &[1; 10], 5, 0);
        assert_eq!((bars.width, bars.counts.len()), (14 * SECOND, 5));
    }

    #[test]
    fn extreme_times_do_not_overflow() {
        for (from, to) in
            [(i64::MIN, i64::MAX), (i64::MAX, i64::MIN), (i64::MAX, i64::MAX), (i64::MIN, i64::MIN)]
        {
            let span = Timestamp::from_micros(from)..Timestamp::from_micros(to);
            for step in [Duration::ZERO, hours(1), Duration::MAX] {
                let points = [(span.start, [u64::MAX]), (span.start, [1]), (span.end, [1])];
                let bars = Bars::new(points, &span, step, 300, -SECOND);
                assert!(bars.counts.len() <= 301 && bars.span().start <= bars.span().end);
            }
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_bars_are_few(
            start in -1_000_000..1_000_000_i64,
            step in 1..100_000_u64,
            values in prop::collection::vec(0..1_000_u64, 0..400),
            most in 1..100_usize,
            offset in -86_400..86_400_i64,
        ) {
            let bars = bars(start, step, &values, most, offset * SECOND);
            prop_assert_eq!(bars.counts.iter().map(|[n]| n).sum::<u64>(), values.iter().sum::<u64>());
            prop_assert!(bars.counts.len() <= most + 1);
        }
    }
}
