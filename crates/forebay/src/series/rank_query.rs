//! Questions for the keys with the largest or smallest counts.

use std::time::Duration;

use super::filter::Filter;
use crate::time::Timestamp;

/// A question for the keys of a series with the largest or the smallest counts in a span.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// use forebay::{series::{Filter, RankQuery}, time::hours};
/// let hits = bay.series("hits")?;
/// for (key, n) in [("user:1", 5), ("user:2", 8), ("host:1", 9)] {
///     hits.add(key, n).await?;
/// }
/// let users = RankQuery::last(hours(24)).filter(Filter::new().prefix("user:")).limit(1);
/// let top = hits.top(&users).await?;
/// assert_eq!((top.rows[0].key.as_str(), top.rows[0].sum, top.is_exact), ("user:2", 8, true));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a question does nothing until it is given to `SeriesHandle::top` or `bottom`"]
pub struct RankQuery {
    pub(super) span: RankSpan,
    pub(super) limit: usize,
    pub(super) filter: Filter,
    pub(super) by: Vec<String>,
    pub(super) now: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RankSpan {
    Between(Timestamp, Timestamp),
    Last(Duration),
}

impl RankQuery {
    /// The first 10 keys by their counts from `from` until before `to`.
    pub fn between(from: Timestamp, to: Timestamp) -> Self {
        Self::of(RankSpan::Between(from, to))
    }

    /// The first 10 keys by their counts over the last `span`, by the store's clock, including now.
    pub fn last(span: Duration) -> Self {
        Self::of(RankSpan::Last(span))
    }

    fn of(span: RankSpan) -> Self {
        Self { span, limit: 10, filter: Filter::new(), by: vec![], now: None }
    }

    /// At most so many rows, 1 to 1 000, default 10.
    pub fn limit(mut self, rows: usize) -> Self {
        self.limit = rows;
        self
    }

    /// Only keys of a filter.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    /// Ranks groups of keys with the same values of these labels, in place of keys.
    pub fn by(mut self, labels: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.by = labels.into_iter().map(Into::into).collect();
        self
    }

    /// Takes `now` for the current time, which decides what is still kept. For replays of old traffic.
    pub fn as_of(mut self, now: Timestamp) -> Self {
        self.now = Some(now);
        self
    }
}
