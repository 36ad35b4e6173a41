//! Series of different elements.

use std::time::Duration;

use super::{
    definition::Distinct,
    handle::{KindHandle, element},
    read::{Merged, Points},
};
use crate::{
    error::Result,
    model::summary::Summary,
    once::RequestItem,
    series::Query,
    time::{Timestamp, When},
};

/// A series of different elements of an open store. Clones share it.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::{Forebay, time::days};
///
/// let bay = Forebay::open("memory:").await?;
/// let visitors = bay.distinct("visitors")?;
/// visitors.add("home", "ada").await?;
/// visitors.add("home", "bob").await?;
/// visitors.add("home", "ada").await?;
/// assert_eq!(visitors.count("home", days(1)).await?, 2);
/// # Ok(()) }
/// ```
pub type DistinctHandle = KindHandle<Distinct>;

impl DistinctHandle {
    /// Adds an element (1 to 512 bytes) to the set of `key` now, by the store's clock.
    ///
    /// To add an element again changes nothing. So a call that failed may be repeated, whatever its [`Retry`](crate::Retry) says.
    ///
    /// # Errors
    /// As [`add_at`](Self::add_at).
    ///
    /// # Cancellation
    /// Dropping the future may leave it added.
    ///
    /// # Cost
    /// One round trip, shared with other calls of this process to the host; none on the embedded engine.
    ///
    /// # Examples
    /// As of [`DistinctHandle`].
    pub async fn add(&self, key: impl AsRef<str>, element: impl AsRef<str>) -> Result<()> {
        let what = self::element(self.name(), element.as_ref())?;
        self.observe(vec![(key, what, None)], When::EngineClock).await
    }

    /// Adds an element to the set of `key` at a time.
    ///
    /// By the store's clock, the time must be at most 5 minutes ahead, and within the retention of the coarsest resolution.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a key or an element that is empty or longer than 512 bytes,
    /// [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) for another time,
    /// [`ErrorKind::Overloaded`](crate::ErrorKind::Overloaded) for a new key beyond [`Distinct::max_keys`]; and when the store
    /// does not answer.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # use forebay::time::days;
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let visitors = bay.distinct("visitors")?;
    /// visitors.add_at("home", "ada", bay.clock().now().minus(days(2))).await?;
    /// assert_eq!(visitors.count("home", days(1)).await?, 0);
    /// assert_eq!(visitors.count("home", days(3)).await?, 1);
    /// # Ok(()) }
    /// ```
    pub async fn add_at(&self, key: impl AsRef<str>, element: impl AsRef<str>, at: Timestamp) -> Result<()> {
        self.add_many([(key, element, at)], When::EngineClock).await
    }

    /// Adds many (key, element, at): all of them, or none if one is refused. `when` is the store's clock, or the time of a
    /// replay.
    ///
    /// # Errors
    /// As [`add_at`](Self::add_at). If the store fails half-way, some may be added.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # use forebay::{When, time::hours};
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let (visitors, now) = (bay.distinct("visitors")?, bay.clock().now());
    /// visitors.add_many([("home", "ada", now), ("about", "ada", now)], When::EngineClock).await?;
    /// assert_eq!(visitors.count("about", hours(1)).await?, 1);
    /// # Ok(()) }
    /// ```
    pub async fn add_many<K: AsRef<str>, E: AsRef<str>>(
        &self,
        points: impl IntoIterator<Item = (K, E, Timestamp)>,
        when: When,
    ) -> Result<()> {
        let point = |(key, element, at): (K, E, Timestamp)| {
            Ok((key, self::element(self.name(), element.as_ref())?, Some(at)))
        };
        self.observe(points.into_iter().map(point).collect::<Result<_>>()?, when).await
    }

    /// Adds an element as an item of a request that is [carried out once](crate::Forebay::once). `at` is as for
    /// [`add_at`](Self::add_at); `None` is now.
    ///
    /// # Errors
    /// As [`SeriesHandle::add_once`](crate::series::SeriesHandle::add_once).
    pub async fn add_once(
        &self,
        item: &RequestItem,
        key: impl AsRef<str>,
        element: impl AsRef<str>,
        at: Option<Timestamp>,
    ) -> Result<()> {
        let what = self::element(self.name(), element.as_ref())?;
        self.observe_once(item, key.as_ref(), what, at).await
    }

    /// Counts the different elements of `key` over the last `span`, by the store's clock, including now. The span is widened to
    /// whole buckets: an hour, or a day where hours are no longer kept.
    ///
    /// # Errors
    /// As [`count_between`](Self::count_between).
    ///
    /// # Examples
    /// As of [`DistinctHandle`].
    pub async fn count(&self, key: impl AsRef<str>, span: Duration) -> Result<u64> {
        let now = self.store_time(&key).await;
        let span = (now.minus(span), now.plus(Duration::from_micros(1)));
        Ok(self.merged([key], span, count).await?.value)
    }

    /// Counts the different elements that 1 to 1 000 keys have together from `from` until before `to`, and answers the exact
    /// span, which is widened to whole buckets. An element that several keys have counts once.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a key that is empty, longer than 512 bytes or there twice, or for
    /// no key or too many, [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) if the span has more than 10 000 buckets of
    /// all keys; and when the store does not answer.
    ///
    /// # Cost
    /// One round trip for each partition that has one of the keys, all at the same time. The buckets come as they are, each of at
    /// most 12 KB: those of a month by days are 370 KB.
    ///
    /// # Examples
    /// As of [`Merged`].
    pub async fn count_between<K: AsRef<str>>(
        &self,
        keys: impl IntoIterator<Item = K>,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Merged<u64>> {
        self.merged(keys, (from, to), count).await
    }

    /// Counts the different elements of each point of a query, of 1 to 1 000 keys together. The total counts an element of several
    /// points once. The query has a span, and may have a step of whole hours or days, a zone, and its own time.
    ///
    /// # Errors
    /// As [`count_between`](Self::count_between) and [`SeriesHandle::query`](crate::series::SeriesHandle::query), and
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a query that computes anything.
    ///
    /// # Cost
    /// As [`count_between`](Self::count_between).
    ///
    /// # Examples
    /// As of [`Points`].
    pub async fn query<K: AsRef<str>>(
        &self,
        keys: impl IntoIterator<Item = K>,
        query: &Query,
    ) -> Result<Points<u64>> {
        self.read(keys, query, count).await
    }
}

fn count(summary: &Summary) -> u64 {
    match summary {
        Summary::Distinct(registers) => registers.count(),
        _ => 0,
    }
}
