//! The answer of a query: points over time.

use std::time::Duration;

use super::{plan::Plan, query::Order, step::Step};
use crate::time::Timestamp;

/// Counts by time, and what a [`Query`](super::Query) computes from them: the answer of
/// [`SeriesHandle::query`](super::SeriesHandle::query) and its short forms.
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
    /// The values that the query computes for each point.
    pub columns: Columns,
    /// The earlier period, in the same order. It has as many points and no columns.
    pub previous: Option<Box<Range>>,
}

/// The answer of a query for several keys: that of [`SeriesHandle::query_many`](super::SeriesHandle::query_many).
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::{series::Query, time::hours};
/// # let bay = forebay::Forebay::open("memory:").await?;
/// let hits = bay.series("hits")?;
/// for key in ["user:7", "user:42"] {
///     hits.add(key, 2).await?;
/// }
/// let answer = hits.query_many(["user:7", "user:42"], &Query::last(hours(1))).await?;
/// assert_eq!((answer.ranges[0].sum(), answer.ranges[1].sum(), answer.total.sum()), (2, 2, 4));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Ranges {
    /// The points of each key, in the order of the keys.
    pub ranges: Vec<Range>,
    /// The points of all keys together. Its columns are computed from the sums of the buckets.
    pub total: Range,
}

/// The columns that a [`Query`](super::Query) computes: a value for each point, in the order of the points. A column that was not requested
/// is empty.
///
/// A point has no value in any column if no part of it was counted (it is outside of `from` and `to` of the range), or if it
/// begins after the store's now.
///
/// Sums stop at the largest number of their type. Averages and rates are doubles: from 2^53 on they are rounded.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::{series::{Function, Query}, time::hours};
/// # let bay = forebay::Forebay::open("memory:").await?;
/// let hits = bay.series("hits")?;
/// hits.add("user:42", 36).await?;
/// let hour = Query::last_points(2, hours(1)).compute(Function::Cumulative).compute(Function::Max);
/// let columns = hits.query("user:42", &hour).await?.columns;
/// assert_eq!((columns.cumulative[1], columns.max[1]), (Some(36), Some(36)));
/// assert!(columns.rate.is_empty()); // it was not requested
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Columns {
    /// The count per second of the counted part of the point.
    pub rate: Vec<Option<f64>>,
    /// The average of the buckets.
    pub average: Vec<Option<f64>>,
    /// The smallest bucket.
    pub min: Vec<Option<u64>>,
    /// The largest bucket.
    pub max: Vec<Option<u64>>,
    /// The length of the buckets of `average`, `min` and `max`; `None` without these.
    pub bucket: Option<Duration>,
    /// The sum of the moving window.
    pub moving_sum: Vec<Option<u64>>,
    /// The average of the points of the moving window.
    pub moving_average: Vec<Option<f64>>,
    /// The sum of all points up to this one.
    pub cumulative: Vec<Option<u64>>,
    /// The count minus that of the point before.
    pub difference: Vec<Option<i64>>,
    /// The counts, with what stands for gaps.
    pub filled: Vec<Option<Filled>>,
}

/// A point after its gap is filled.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::{series::{Fill, Filled, Query}, time::hours};
/// # let bay = forebay::Forebay::open("memory:").await?;
/// let hits = bay.series("hits")?;
/// hits.add("user:42", 4).await?;
/// let filled = Query::last_points(3, hours(1)).fill(Fill::Null);
/// let filled = hits.query("user:42", &filled).await?.columns.filled;
/// assert!(filled[0].is_none() && matches!(filled[2], Some(Filled::Count(4))));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Filled {
    /// A count: that of the point, or the nearest earlier one.
    Count(u64),
    /// A place on the line between two counts.
    Between(f64),
}

impl Range {
    /// The sum of all points. It equals the [`total`](super::SeriesHandle::total) over the same span at the same time.
    pub fn sum(&self) -> u64 {
        self.values.iter().fold(0, |sum, n| sum.saturating_add(*n))
    }

    /// When the oldest point begins.
    pub fn start(&self) -> Timestamp {
        self.starts.first().min(self.starts.last()).copied().unwrap_or(self.end)
    }

    /// Whether the oldest point counts only a part of its interval.
    pub fn is_first_partial(&self) -> bool {
        self.from > self.start()
    }

    /// Whether the newest point counts only a part of its interval.
    pub fn is_last_partial(&self) -> bool {
        self.to < self.end
    }

    pub(super) fn new(plan: &Plan, values: Vec<u64>) -> Self {
        let Plan { cover, step, starts, end, coarsened } = plan.clone();
        Self {
            step,
            starts,
            end,
            values,
            from: cover.from,
            to: cover.to,
            coarsened,
            partial: false,
            columns: Columns::default(),
            previous: None,
        }
    }

    /// Brings the points into an order, and cuts them to the first ones. The points are in the order of time.
    pub(super) fn arrange(&mut self, order: Order, limit: Option<usize>) {
        let points = self.starts.len();
        let kept = limit.unwrap_or(points).min(points);
        match order {
            _ if kept == points => {}
            Order::OldestFirst => {
                self.end = self.starts[kept];
                self.to = self.to.min(self.end).max(self.from);
            }
            Order::NewestFirst => {
                self.from = self.from.max(self.starts[points - kept]).min(self.to);
            }
        }
        let cut = Cut { order, kept };
        cut.apply(&mut self.starts);
        cut.apply(&mut self.values);
        let Columns {
            rate,
            average,
            min,
            max,
            bucket: _,
            moving_sum,
            moving_average,
            cumulative,
            difference,
            filled,
        } = &mut self.columns;
        for column in [rate, average, moving_average] {
            cut.apply(column);
        }
        for column in [min, max, moving_sum, cumulative] {
            cut.apply(column);
        }
        cut.apply(difference);
        cut.apply(filled);
        if let Some(previous) = &mut self.previous {
            previous.arrange(order, limit);
        }
    }
}

/// An order, and the number of points that are left.
#[derive(Clone, Copy, Debug)]
struct Cut {
    order: Order,
    kept: usize,
}

impl Cut {
    fn apply<T>(self, column: &mut Vec<T>) {
        if self.order == Order::NewestFirst {
            column.reverse();
        }
        column.truncate(self.kept);
    }
}
