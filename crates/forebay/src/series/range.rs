//! The answer of a query: points over time.

use super::{plan::Plan, step::Step};
use crate::{
    model::resolution::Resolution,
    time::{Timestamp, micros},
};

/// Counts by time: the answer of [`SeriesHandle::range`](super::SeriesHandle::range) and
/// [`SeriesHandle::calendar_range`](super::SeriesHandle::calendar_range).
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # use forebay::time::{hours, mins};
/// # let bay = forebay::Forebay::open("memory:").await?;
/// let hits = bay.series("hits")?;
/// hits.add("user:42", 5).await?;
/// let range = hits.last("user:42", hours(1), Some(mins(5))).await?;
/// assert_eq!((range.step, range.sum(), range.values.len()), (mins(5).into(), 5, 13));
/// for (start, n) in range.starts.iter().zip(&range.values) {
///     println!("{start}: {n}");
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Range {
    /// The length of a point.
    pub step: Step,
    /// When each point begins. The oldest one contains the `from` of the query.
    pub starts: Vec<Timestamp>,
    /// When the newest point ends.
    pub end: Timestamp,
    /// The count of each point; zero where nothing was counted. The oldest and the newest point may extend beyond the span. They
    /// count only what is inside it.
    pub values: Vec<u64>,
    /// The start of the counted span, as in [`Total`](super::Total).
    pub from: Timestamp,
    /// The end of the counted span, exclusive.
    pub to: Timestamp,
    /// Whether `step` is longer than requested, or a point begins elsewhere than in the calendar, because buckets that end there
    /// are no longer kept. `starts` has the real starts: the nearest that are kept.
    pub coarsened: bool,
    /// Whether points may be missing, as in [`Total::partial`](super::Total::partial).
    pub partial: bool,
}

impl Range {
    /// The sum of all points. It equals the [`total`](super::SeriesHandle::total) over the same span at the same time.
    pub fn sum(&self) -> u64 {
        self.values.iter().fold(0, |sum, n| sum.saturating_add(*n))
    }

    /// When the oldest point begins.
    pub fn start(&self) -> Timestamp {
        self.starts.first().copied().unwrap_or(self.end)
    }

    /// Whether the oldest point counts only a part of its interval.
    pub fn is_first_partial(&self) -> bool {
        self.from > self.start()
    }

    /// Whether the newest point counts only a part of its interval.
    pub fn is_last_partial(&self) -> bool {
        self.to < self.end
    }

    pub(super) fn new(plan: Plan, values: Vec<u64>) -> Self {
        let Plan { cover, step, starts, end, coarsened } = plan;
        Self { step, starts, end, values, from: cover.from, to: cover.to, coarsened, partial: false }
    }
}

impl Plan {
    /// Adds the buckets up to the points. `counts` has those of each run of the cover.
    pub(super) fn values(&self, resolutions: &[Resolution], counts: &[Vec<u64>]) -> Vec<u64> {
        let mut values = vec![0u64; self.starts.len()];
        for (point, _, n) in self.cells(resolutions, counts) {
            values[point] = values[point].saturating_add(n);
        }
        values
    }

    /// Each bucket: its point, its start in microseconds, and its count. What begins before the first point belongs to that one.
    pub(super) fn cells<'a>(
        &'a self,
        resolutions: &'a [Resolution],
        counts: &'a [Vec<u64>],
    ) -> impl Iterator<Item = (usize, i64, u64)> + 'a {
        let mut point = 0;
        let buckets = self.cover.runs.iter().zip(counts).flat_map(|(run, counts)| {
            let step = micros(resolutions[run.resolution].step);
            run.buckets.clone().zip(counts).map(move |(bucket, n)| (bucket * step, *n))
        });
        buckets.map(move |(start, n)| {
            while self.starts.get(point + 1).is_some_and(|next| next.as_micros() <= start) {
                point += 1;
            }
            (point, start, n)
        })
    }
}
