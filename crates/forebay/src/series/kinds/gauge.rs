//! Series of gauges.

use std::time::Duration;

use super::{
    definition::Gauge,
    handle::KindHandle,
    read::{Merged, Points},
};
use crate::{
    error::Result,
    model::summary::{Summary, gauge::Readings},
    series::Query,
    time::Timestamp,
};

/// A series of gauges of an open store: the last value, the smallest, the largest and the average. Clones share it.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::{Forebay, time::hours};
///
/// let bay = Forebay::open("memory:").await?;
/// let temperature = bay.gauge("temperature")?;
/// for value in [20.5, 22.0, 21.25] {
///     temperature.record("attic", value).await?;
/// }
/// let hour = temperature.stats("attic", hours(1)).await?.expect("there are values");
/// assert_eq!((hour.min, hour.max, hour.average, hour.count), (20.5, 22.0, 21.25, 3));
/// # Ok(()) }
/// ```
pub type GaugeHandle = KindHandle<Gauge>;

/// A summary of the values of a gauge. There is at least one.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::{series::GaugeStats, time::hours};
/// # let bay = forebay::Forebay::open("memory:").await?;
/// let temperature = bay.gauge("temperature")?;
/// temperature.record("attic", 21.5).await?;
/// if let Some(GaugeStats { last, at, average, .. }) = temperature.stats("attic", hours(1)).await? {
///     println!("{last} at {at}, on average {average}");
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct GaugeStats {
    /// The value with the latest time; of several at one time the largest.
    pub last: f64,
    /// The time of the last value.
    pub at: Timestamp,
    /// The smallest value.
    pub min: f64,
    /// The largest value.
    pub max: f64,
    /// The average of the values.
    pub average: f64,
    /// The sum of the values.
    pub sum: f64,
    /// The number of the values.
    pub count: u64,
}

impl GaugeHandle {
    /// Reads what the values of `key` over the last `span` come to, by the store's clock, including now. The span is widened to
    /// whole buckets. `None`: there is no value.
    ///
    /// # Errors
    /// As [`stats_between`](Self::stats_between).
    ///
    /// # Examples
    /// As of [`GaugeHandle`].
    pub async fn stats(&self, key: impl AsRef<str>, span: Duration) -> Result<Option<GaugeStats>> {
        let now = self.store_time(&key).await;
        let span = (now.minus(span), now.plus(Duration::from_micros(1)));
        Ok(self.merged([key], span, stats).await?.value)
    }

    /// Reads what the values of 1 to 1 000 keys together come to from `from` until before `to`, and answers the exact span, which
    /// is widened to whole buckets.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a key that is empty, longer than 512 bytes or there twice, or for
    /// no key or too many, [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) if the span has more than 200 000 buckets of
    /// all keys; and when the store does not answer.
    ///
    /// # Cost
    /// One round trip for each partition that has one of the keys, all at the same time. It reads coarse buckets inside and fine
    /// ones at the edges. In a shared store a bucket is 70 bytes, and 120 neighbours come together.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # use forebay::time::hours;
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let (temperature, now) = (bay.gauge("temperature")?, bay.clock().now());
    /// temperature.record("attic", 25.0).await?;
    /// temperature.record("cellar", 12.0).await?;
    /// let house = temperature.stats_between(["attic", "cellar"], now.minus(hours(1)), now.plus(hours(1))).await?;
    /// assert_eq!(house.value.map(|house| (house.min, house.average)), Some((12.0, 18.5)));
    /// # Ok(()) }
    /// ```
    pub async fn stats_between<K: AsRef<str>>(
        &self,
        keys: impl IntoIterator<Item = K>,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Merged<Option<GaugeStats>>> {
        self.merged(keys, (from, to), stats).await
    }

    /// Reads the points of a query, of 1 to 1 000 keys together. A point without a value is `None`. The query has a span, and may
    /// have a step, a zone, and its own time.
    ///
    /// # Errors
    /// As [`stats_between`](Self::stats_between) and [`SeriesHandle::query`](crate::series::SeriesHandle::query), and
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a query that computes anything.
    ///
    /// # Cost
    /// As [`stats_between`](Self::stats_between).
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// use forebay::{series::Query, time::mins};
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let temperature = bay.gauge("temperature")?;
    /// temperature.record("attic", 25.0).await?;
    /// let hour = temperature.query(["attic"], &Query::last_points(60, mins(1))).await?;
    /// assert_eq!(hour.values[59].map(|minute| minute.last), Some(25.0));
    /// assert!(hour.values[58].is_none());
    /// # Ok(()) }
    /// ```
    pub async fn query<K: AsRef<str>>(
        &self,
        keys: impl IntoIterator<Item = K>,
        query: &Query,
    ) -> Result<Points<Option<GaugeStats>>> {
        self.read(keys, query, stats).await
    }
}

fn stats(summary: &Summary) -> Option<GaugeStats> {
    let Summary::Gauge(readings) = summary else { return None };
    let Readings { count, at, last, min, max, .. } = *readings;
    let sum = readings.sum();
    // A rounded quotient may be beyond the values by its last digit.
    let average = (sum / count as f64).clamp(min, max);
    (count > 0).then(|| GaugeStats { last, at: Timestamp::from_micros(at), min, max, average, sum, count })
}
