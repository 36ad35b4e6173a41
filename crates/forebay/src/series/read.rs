//! Sums, and the short forms of queries.

use std::time::Duration;

use super::{cover::plan_sum, filter::Filter, handle::SeriesHandle, query::Query, range::Range, step::Step};
use crate::{error::Result, time::Timestamp};

/// A count and its span: the answer of [`SeriesHandle::total`].
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # use forebay::time::hours;
/// # let bay = forebay::Forebay::open("memory:").await?;
/// let (hits, now) = (bay.series("hits")?, bay.clock().now());
/// hits.add_at("user:42", 5, now.minus(hours(1))).await?;
/// let total = hits.total("user:42", now.minus(hours(2)), now).await?;
/// assert!(total.sum == 5 && total.from <= now.minus(hours(2)) && total.to >= now);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Total {
    /// The count.
    pub sum: u64,
    /// The start of the span: the `from` of the query, widened to the finest bucket that is still kept there. Later, if no
    /// bucket is kept there.
    pub from: Timestamp,
    /// The end of the span, exclusive: widened likewise, and at most the bucket that is 5 minutes ahead.
    pub to: Timestamp,
    /// Whether points may be missing that other hosts accepted while the one of this key was down. They are added within
    /// seconds after it is back.
    pub partial: bool,
}

impl SeriesHandle {
    /// Sums the counts of `key` over the last `span`, by the store's clock, including now.
    ///
    /// # Errors
    /// As [`total`](Self::total).
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let hits = bay.series("hits")?;
    /// hits.add("user:42", 3).await?;
    /// assert_eq!(hits.sum("user:42", forebay::time::mins(1)).await?, 3);
    /// # Ok(()) }
    /// ```
    pub async fn sum(&self, key: impl AsRef<str>, span: Duration) -> Result<u64> {
        let now = self.store_time(&key).await;
        Ok(self.total_as_of(key, now.minus(span), after(now), now).await?.sum)
    }

    /// Sums the counts of `key` from `from` until before `to`.
    ///
    /// # Errors
    /// As [`total`](Self::total).
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let hits = bay.series("hits")?;
    /// hits.add("user:42", 3).await?;
    /// let now = bay.clock().now();
    /// let hour = forebay::time::hours(1);
    /// assert_eq!(hits.sum_between("user:42", now.minus(hour), now.plus(hour)).await?, 3);
    /// # Ok(()) }
    /// ```
    pub async fn sum_between(&self, key: impl AsRef<str>, from: Timestamp, to: Timestamp) -> Result<u64> {
        Ok(self.total(key, from, to).await?.sum)
    }

    /// Sums the counts of `key` from `from` until before `to`, and returns the exact span of the sum: the edges are widened to
    /// the finest buckets that are still kept there.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a key that is empty or longer than 512 bytes,
    /// [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) if the span has more than a million buckets; and when the store
    /// does not answer.
    ///
    /// # Cost
    /// One round trip. It reads coarse buckets inside and fine ones at the edges: about 200 for a day of 10 s buckets.
    pub async fn total(&self, key: impl AsRef<str>, from: Timestamp, to: Timestamp) -> Result<Total> {
        let now = self.store_time(&key).await;
        self.total_as_of(key, from, to, now).await
    }

    /// As [`total`](Self::total), with `now` as the current time: it decides what is still kept, and how finely. For replays
    /// of old traffic.
    ///
    /// # Errors
    /// As [`total`](Self::total).
    pub async fn total_as_of(
        &self,
        key: impl AsRef<str>,
        from: Timestamp,
        to: Timestamp,
        now: Timestamp,
    ) -> Result<Total> {
        let key = self.key(key.as_ref())?;
        let cover = plan_sum(&self.grid.resolutions, from, to, now);
        let read = self.read_covers(&[key], &[&cover]).await?.remove(0);
        Ok(Total { sum: read.sum(), from: cover.from, to: cover.to, partial: read.partial })
    }

    /// As [`total`](Self::total), of all keys of a filter together.
    ///
    /// # Errors
    /// As [`query_by`](Self::query_by).
    ///
    /// # Cost
    /// A list of the [keys](Self::keys), and for each 1 000 of them one round trip for each partition.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::{Series, series::Filter, time::hours};
    /// let requests = bay.series(Series::new("requests").labels(["endpoint", "status"]))?;
    /// for key in ["/cart|500", "/checkout|200", "/checkout|500"] {
    ///     requests.add(key, 2).await?;
    /// }
    /// let now = bay.clock().now();
    /// let failed = Filter::new().label("status", "500");
    /// assert_eq!(requests.total_by(&failed, now.minus(hours(1)), now.plus(hours(1))).await?.sum, 4);
    /// # Ok(()) }
    /// ```
    pub async fn total_by(&self, filter: &Filter, from: Timestamp, to: Timestamp) -> Result<Total> {
        let (keys, mut partial) = self.all_keys(&self.key_filter(filter)?).await?;
        let cover = plan_sum(&self.grid.resolutions, from, to, self.store_time("").await);
        let keys = keys.iter().map(|key| self.key(key)).collect::<Result<Vec<_>>>()?;
        let mut sum = 0_u64;
        self.read_in_batches(&keys, &[&cover], |_, read| {
            partial |= read.partial;
            sum = sum.saturating_add(read.sum());
        })
        .await?;
        Ok(Total { sum, from: cover.from, to: cover.to, partial })
    }

    /// Reads the counts of `key` from `from` until before `to`, zero-filled.
    ///
    /// The points begin at multiples of `step`. The first and the last count only what is inside the span, and [`Range`] tells
    /// whether that is a part of their interval. So the points add up to the [`total`](Self::total) over the same span.
    ///
    /// `step` is a multiple of the finest resolution. Without a step, it is the finest one with at most 1 500 points. If such
    /// fine buckets are no longer kept at `from`, the step becomes longer, and the answer says so.
    ///
    /// # Errors
    /// As [`total`](Self::total); [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) for another step, for more than
    /// 100 000 points, or for a range that ends before it begins.
    ///
    /// # Cost
    /// One round trip.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # use forebay::time::{hours, mins};
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let (hits, now) = (bay.series("hits")?, bay.clock().now());
    /// hits.add_at("user:42", 5, now.minus(mins(30))).await?;
    /// let range = hits.range("user:42", now.minus(hours(1)), now, Some(mins(10))).await?;
    /// assert_eq!((range.sum(), range.coarsened), (5, false));
    /// # Ok(()) }
    /// ```
    pub async fn range(
        &self,
        key: impl AsRef<str>,
        from: Timestamp,
        to: Timestamp,
        step: Option<Duration>,
    ) -> Result<Range> {
        self.query(key, &Query { step: step.map(Step::Fixed), ..Query::between(from, to) }).await
    }

    /// Reads a [`range`](Self::range) over the last `span`, by the store's clock, including now.
    ///
    /// # Errors
    /// As [`range`](Self::range).
    pub async fn last(&self, key: impl AsRef<str>, span: Duration, step: Option<Duration>) -> Result<Range> {
        self.query(key, &Query { step: step.map(Step::Fixed), ..Query::last(span) }).await
    }

    /// As [`range`](Self::range), with `now` as the current time.
    ///
    /// # Errors
    /// As [`range`](Self::range).
    pub async fn range_as_of(
        &self,
        key: impl AsRef<str>,
        from: Timestamp,
        to: Timestamp,
        step: Option<Duration>,
        now: Timestamp,
    ) -> Result<Range> {
        let query = Query { step: step.map(Step::Fixed), ..Query::between(from, to) };
        self.query(key, &query.as_of(now)).await
    }
}

/// The exclusive end of a span that includes `now`.
pub(super) fn after(now: Timestamp) -> Timestamp {
    now.plus(Duration::from_micros(1))
}
