//! Queries: the span, the length of a point, and what is computed beside the counts.

use std::time::Duration;

use super::step::Step;
use crate::time::Timestamp;

/// A query of a series: which points, and what is computed from them.
///
/// Without further options the answer has the counts, zero-filled, the oldest first. A query is a plain value, which can be run
/// for many keys and more than once.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::{series::{CalendarUnit, Function, Previous, Query}, time::hours};
/// # let bay = forebay::Forebay::open("memory:").await?;
/// let hits = bay.series("hits")?;
/// hits.add("user:42", 7).await?;
///
/// let day = Query::last_points(24, hours(1)).compute(Function::Rate).previous(Previous::Span);
/// let day = hits.query("user:42", &day).await?;
/// assert_eq!((day.values[23], day.columns.rate.len()), (7, 24));
/// assert_eq!(day.previous.expect("it was requested").sum(), 0);
///
/// let week = Query::last_points(7, CalendarUnit::Day).zone("Europe/Berlin").compute(Function::Cumulative);
/// let week = hits.query("user:42", &week).await?;
/// assert_eq!(week.columns.cumulative.last(), Some(&Some(7)));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a query does nothing until it is given to `SeriesHandle::query`"]
pub struct Query {
    pub(super) span: QuerySpan,
    pub(super) step: Option<Step>,
    pub(super) zone: String,
    pub(super) now: Option<Timestamp>,
    pub(super) functions: Vec<Function>,
    pub(super) fill: Fill,
    pub(super) previous: Option<Previous>,
    pub(super) order: Order,
    pub(super) limit: Option<usize>,
}

/// The span of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QuerySpan {
    Between(Timestamp, Timestamp),
    /// Up to now.
    Last(Duration),
    /// The last points of the step, up to now.
    Points(usize),
}

/// A value that is computed for each point, beside its count. The result is a column of [`Columns`](super::Columns).
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::{series::{Function, Query}, time::hours};
/// # let bay = forebay::Forebay::open("memory:").await?;
/// let hits = bay.series("hits")?;
/// hits.add("user:42", 36).await?;
/// let hour = hits.query("user:42", &Query::last_points(1, hours(1)).compute(Function::Moving(3))).await?;
/// assert_eq!((hour.columns.moving_sum[0], hour.columns.moving_average[0]), (Some(36), Some(12.0)));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Function {
    /// The count per second. Of a partial point, only the counted part of its interval divides.
    Rate,
    /// The average count of the buckets of a point, as of [`Min`](Self::Min).
    Average,
    /// The smallest count of the buckets of a point.
    ///
    /// The buckets are those of the finest resolution that is kept at the start of the range; [`Columns::bucket`] names their
    /// length. Buckets without a count are zero. Buckets that begin after the store's now are left out. The first bucket and
    /// the last one may be cut by the span.
    ///
    /// Points of the calendar begin at the edges of these buckets then, and the answer says so (`coarsened`).
    ///
    /// [`Columns::bucket`]: super::Columns::bucket
    Min,
    /// The largest count of the buckets of a point, as of [`Min`](Self::Min).
    Max,
    /// The sum and the average of a point and the points before it, so many in all (1 to 10 000).
    ///
    /// The points before the range are read, too, and the first point is whole here: it also has what was counted before
    /// `from`. Where points before the range are not kept with these edges, there is no value.
    Moving(usize),
    /// The sum of all points of the range up to this one.
    Cumulative,
    /// The count minus that of the point before. As of [`Moving`](Self::Moving), the first point is whole, and the point before
    /// it is read.
    Difference,
}

/// The value of a gap: a point without any count.
///
/// Counts have no other gaps: whether nothing happened or nothing was sent is the same. The filled points are in
/// [`Columns::filled`](super::Columns::filled); the counts, and what is computed from them, stay as they are.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::{series::{Fill, Filled, Query}, time::hours};
/// # let bay = forebay::Forebay::open("memory:").await?;
/// let hits = bay.series("hits")?;
/// hits.add_at("user:42", 4, bay.clock().now().minus(hours(1))).await?;
/// let hours = Query::last_points(2, hours(1)).fill(Fill::Previous);
/// let hours = hits.query("user:42", &hours).await?;
/// assert_eq!((hours.values[1], hours.columns.filled[0], hours.columns.filled[1]), (0, Some(Filled::Count(4)), Some(Filled::Count(4))));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fill {
    /// Zero, as the counts themselves have it. There is no further column.
    #[default]
    Zero,
    /// Nothing.
    Null,
    /// The nearest earlier count of the range. A gap before the first count stays empty.
    Previous,
    /// A straight line between the nearest counts of the range, by the number of points. A gap before the first count or after
    /// the last one stays empty.
    Linear,
}

/// The earlier period that stands beside the points.
///
/// Points of the calendar go back by whole days, weeks or months. The first and the last of them are cut after the same time
/// since their start as those of the range: today until noon stands beside yesterday until noon.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::{series::{CalendarUnit, Previous, Query}, time::days};
/// # let bay = forebay::Forebay::open("memory:").await?;
/// let hits = bay.series("hits")?;
/// hits.add_at("user:42", 4, bay.clock().now().minus(days(1))).await?;
/// let today = Query::last_points(1, CalendarUnit::Day).zone("Europe/Berlin").previous(Previous::Points(1));
/// let yesterday = hits.query("user:42", &today).await?.previous.expect("it was requested");
/// assert!(yesterday.sum() <= 4); // cut after the same time since its start as today
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Previous {
    /// The span directly before, of the same length: rounded to the nearest whole bucket that is kept there, or by the
    /// calendar, the same number of points.
    Span,
    /// The same span so much earlier: whole buckets that are kept there. Only for fixed steps.
    By(Duration),
    /// The same span so many points earlier, at least 1.
    Points(usize),
}

/// The order of the points of an answer.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::{series::{Order, Query}, time::hours};
/// # let bay = forebay::Forebay::open("memory:").await?;
/// let hits = bay.series("hits")?;
/// hits.add("user:42", 4).await?;
/// let newest = Query::last_points(24, hours(1)).order(Order::NewestFirst).limit(2);
/// assert_eq!(hits.query("user:42", &newest).await?.values, [4, 0]);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Order {
    /// By time.
    #[default]
    OldestFirst,
    /// By time, backwards.
    NewestFirst,
}

impl Query {
    /// Queries from `from` until before `to`.
    ///
    /// # Examples
    /// ```
    /// use forebay::{Timestamp, series::Query, time::{days, hours}};
    /// let midnight: Timestamp = "2026-01-01T00:00:00Z".parse()?;
    /// let new_year = Query::between(midnight, midnight.plus(days(1))).step(hours(1));
    /// # Ok::<(), forebay::Error>(())
    /// ```
    pub fn between(from: Timestamp, to: Timestamp) -> Self {
        Self::over(QuerySpan::Between(from, to), None)
    }

    /// Queries the last `span`, by the store's clock, including now.
    pub fn last(span: Duration) -> Self {
        Self::over(QuerySpan::Last(span), None)
    }

    /// Queries the last `points` points (1 to 100 000) of a step, by the store's clock: the last one contains now.
    ///
    /// If the buckets are not kept that long, the step becomes longer, and the answer has fewer points of the same span.
    pub fn last_points(points: usize, step: impl Into<Step>) -> Self {
        Self::over(QuerySpan::Points(points), Some(step.into()))
    }

    fn over(span: QuerySpan, step: Option<Step>) -> Self {
        Self {
            span,
            step,
            zone: "UTC".into(),
            now: None,
            functions: vec![],
            fill: Fill::Zero,
            previous: None,
            order: Order::OldestFirst,
            limit: None,
        }
    }

    /// Sets the length of a point: a multiple of the finest resolution, or a unit of the calendar. By default it is the finest
    /// resolution with at most 1 500 points.
    pub fn step(mut self, step: impl Into<Step>) -> Self {
        self.step = Some(step.into());
        self
    }

    /// Sets the time zone of a step of the calendar: a name of the IANA database. Default `UTC`.
    pub fn zone(mut self, zone: impl Into<String>) -> Self {
        self.zone = zone.into();
        self
    }

    /// Sets the current time, which decides what is still kept, and how finely. Default: the store's clock. For replays of old
    /// traffic.
    pub fn as_of(mut self, now: Timestamp) -> Self {
        self.now = Some(now);
        self
    }

    /// Adds a column. Of two [`Function::Moving`] the later one counts.
    pub fn compute(mut self, function: Function) -> Self {
        self.functions.push(function);
        self
    }

    /// Sets what stands for a gap; default zero.
    pub fn fill(mut self, fill: Fill) -> Self {
        self.fill = fill;
        self
    }

    /// Adds an earlier period, point by point.
    ///
    /// So that the points can be compared, a fixed step is made longer if its buckets are not kept in the earlier period.
    pub fn previous(mut self, previous: Previous) -> Self {
        self.previous = Some(previous);
        self
    }

    /// Sets the order of the points.
    pub fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// Cuts the answer to its first `points` points in its order (at least 1): the oldest or the newest. All is computed before
    /// that, so it makes no query cheaper.
    pub fn limit(mut self, points: usize) -> Self {
        self.limit = Some(points);
        self
    }

    /// Whether it asks for more than a span, a step, a zone and a time: only counts have all of that.
    pub(super) fn is_for_hits(&self) -> bool {
        let Self { span: _, step: _, zone: _, now: _, functions, fill, previous, order, limit } = self;
        let computes = !functions.is_empty() || *fill != Fill::Zero || previous.is_some();
        computes || *order != Order::OldestFirst || limit.is_some()
    }

    pub(super) fn computes(&self, function: Function) -> bool {
        self.functions.contains(&function)
    }

    /// The number of points of the moving window.
    pub(super) fn moving(&self) -> Option<usize> {
        let number = |function: &Function| match function {
            Function::Moving(points) => Some(*points),
            _ => None,
        };
        self.functions.iter().rev().find_map(number)
    }

    /// Whether something is computed from the single buckets of a point.
    pub(super) fn needs_buckets(&self) -> bool {
        [Function::Average, Function::Min, Function::Max].into_iter().any(|function| self.computes(function))
    }

    /// The number of points before the range that are needed; `None` if not even the whole first one is.
    pub(super) fn lead(&self) -> Option<usize> {
        let difference = self.computes(Function::Difference).then_some(1);
        difference.max(self.moving().map(|points| points.saturating_sub(1)))
    }
}
