//! A bounded number of columns for any number of points.

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

/// Equal steps of time, each of which is drawn as one column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    /// The time at which the first column begins, in microseconds.
    pub start: i64,
    /// The length of a column, in microseconds.
    pub width: i64,
    pub columns: usize,
}

impl Grid {
    /// At most `most` columns or one more, for points that are `step` long and within `span`.
    ///
    /// If several points share a column, columns begin at round local times of a zone that is `offset` µs ahead of UTC. The
    /// first and the last column may then cover a part of their width.
    pub(super) fn new(span: &Range<Timestamp>, step: Duration, most: usize, offset: i64) -> Self {
        let (from, to) = (span.start.as_micros(), span.end.as_micros());
        let step = i64::try_from(step.as_micros()).unwrap_or(i64::MAX).max(1);
        let width = width(step, to.saturating_sub(from), most);
        let start = if width == step {
            from
        } else {
            floor(from.saturating_add(offset), width).saturating_sub(offset)
        };
        let columns = to.saturating_sub(start).max(0).unsigned_abs().div_ceil(width.unsigned_abs());
        Self { start, width, columns: usize::try_from(columns).unwrap_or(0) }
    }

    /// The column of a time; `None` outside of all.
    pub(super) fn place(&self, at: Timestamp) -> Option<usize> {
        let place = at.as_micros().saturating_sub(self.start).div_euclid(self.width);
        usize::try_from(place).ok().filter(|place| *place < self.columns)
    }

    /// The time at which a column begins, or the one before it ends.
    pub(super) fn edge(&self, column: usize) -> Timestamp {
        let length = i64::try_from(column).unwrap_or(i64::MAX).saturating_mul(self.width);
        Timestamp::from_micros(self.start.saturating_add(length))
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

    fn grid(start: i64, step: u64, points: u32, most: usize, offset: i64) -> Grid {
        let start = Timestamp::from_secs(start);
        Grid::new(&(start..start.plus(secs(step) * points)), secs(step), most, offset)
    }

    #[test]
    fn few_points_have_a_column_each() {
        assert_eq!(grid(7, 10, 3, 3, 0), Grid { start: 7 * SECOND, width: 10 * SECOND, columns: 3 });
    }

    #[test]
    fn many_points_share_columns_that_begin_at_round_local_times() {
        let india = 19_800 * SECOND;
        let grid = grid(0, 3_600, 48, 3, india);
        assert_eq!(grid, Grid { start: -india, width: 86_400 * SECOND, columns: 3 }, "midnight there");
        let places = [-india, -india - 1, 0, 18 * 3_600 * SECOND, 67 * 3_600 * SECOND];
        let places = places.map(|at| grid.place(Timestamp::from_micros(at)));
        assert_eq!(places, [Some(0), None, Some(0), Some(0), None]);
    }

    #[test]
    fn a_step_that_divides_no_round_width_is_multiplied() {
        let grid = grid(0, 7, 10, 5, 0);
        assert_eq!((grid.width, grid.columns), (14 * SECOND, 5));
    }

    #[test]
    fn extreme_times_do_not_overflow() {
        for (from, to) in
            [(i64::MIN, i64::MAX), (i64::MAX, i64::MIN), (i64::MAX, i64::MAX), (i64::MIN, i64::MIN)]
        {
            let span = Timestamp::from_micros(from)..Timestamp::from_micros(to);
            for step in [Duration::ZERO, hours(1), Duration::MAX] {
                let grid = Grid::new(&span, step, 300, -SECOND);
                assert!(grid.columns <= 301 && grid.edge(0) <= grid.edge(grid.columns));
                let _ = (grid.place(span.start), grid.place(span.end), grid.edge(usize::MAX));
            }
        }
    }

    proptest! {
        #[test]
        fn every_point_has_a_column_and_columns_are_few(
            start in -1_000_000..1_000_000_i64,
            step in 1..100_000_u64,
            points in 1..400_u32,
            most in 1..100_usize,
            offset in -86_400..86_400_i64,
        ) {
            let grid = grid(start, step, points, most, offset * SECOND);
            for point in 0..points {
                let at = Timestamp::from_secs(start).plus(secs(step) * point);
                let place = grid.place(at);
                prop_assert!(place.is_some_and(|place| grid.edge(place) <= at && at < grid.edge(place + 1)));
            }
            prop_assert!(grid.columns <= most + 1);
        }
    }
}
