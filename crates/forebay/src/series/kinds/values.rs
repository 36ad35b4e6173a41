//! Recording values, of gauges and of percentiles.

use super::{definition::Values, handle::KindHandle};
use crate::{
    error::Result,
    model::summary::{Observed, gauge::checked},
    once::RequestItem,
    time::{Timestamp, When},
};

impl<K: Values> KindHandle<K> {
    /// Records a value of `key` now, by the store's clock. It counts once.
    ///
    /// A value is a number from -1e290 to 1e290; zero has no sign.
    ///
    /// # Errors
    /// As [`record_at`](Self::record_at).
    ///
    /// # Cancellation
    /// Dropping the future may leave it recorded; it is never recorded twice.
    ///
    /// # Cost
    /// One round trip, shared with other calls of this process to the host; none on the embedded engine.
    ///
    /// # Examples
    /// As of [`GaugeHandle`](super::GaugeHandle) and [`PercentilesHandle`](super::PercentilesHandle).
    pub async fn record(&self, key: impl AsRef<str>, value: f64) -> Result<()> {
        let what = self.value(value)?;
        self.observe(vec![(key, what, None)], When::EngineClock).await
    }

    /// Records a value of `key` at a time.
    ///
    /// By the store's clock, the time must be at most 5 minutes ahead, and within the retention of the coarsest resolution.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a key that is empty or longer than 512 bytes,
    /// [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) for another time, and for a value that is no number (NaN),
    /// infinite or beyond 1e290, [`ErrorKind::Overloaded`](crate::ErrorKind::Overloaded) for a new key beyond the maximum of
    /// keys; and when the store does not answer.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # use forebay::time::hours;
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let temperature = bay.gauge("temperature")?;
    /// temperature.record_at("attic", 21.5, bay.clock().now().minus(hours(2))).await?;
    /// assert!(temperature.stats("attic", hours(1)).await?.is_none());
    /// assert!(temperature.record("attic", f64::NAN).await.is_err());
    /// # Ok(()) }
    /// ```
    pub async fn record_at(&self, key: impl AsRef<str>, value: f64, at: Timestamp) -> Result<()> {
        self.record_many([(key, value, at)], When::EngineClock).await
    }

    /// Records many (key, value, at): all of them, or none if one is refused. `when` is the store's clock, or the time of a
    /// replay.
    ///
    /// # Errors
    /// As [`record_at`](Self::record_at). If the store fails half-way, some may be recorded.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # use forebay::{When, time::hours};
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let (latency, now) = (bay.percentiles("latency")?, bay.clock().now());
    /// latency.record_many([("home", 0.120, now), ("home", 0.080, now)], When::EngineClock).await?;
    /// assert_eq!(latency.quantile("home", 1.0, hours(1)).await?, Some(0.120));
    /// # Ok(()) }
    /// ```
    pub async fn record_many<T: AsRef<str>>(
        &self,
        points: impl IntoIterator<Item = (T, f64, Timestamp)>,
        when: When,
    ) -> Result<()> {
        let point = |(key, value, at)| Ok((key, self.value(value)?, Some(at)));
        self.observe(points.into_iter().map(point).collect::<Result<_>>()?, when).await
    }

    /// Records a value as an item of a request that is [carried out once](crate::Forebay::once). `at` is as for
    /// [`record_at`](Self::record_at); `None` is now.
    ///
    /// # Errors
    /// As [`SeriesHandle::add_once`](crate::series::SeriesHandle::add_once), and for a value as [`record_at`](Self::record_at).
    pub async fn record_once(
        &self,
        item: &RequestItem,
        key: impl AsRef<str>,
        value: f64,
        at: Option<Timestamp>,
    ) -> Result<()> {
        let what = self.value(value)?;
        self.observe_once(item, key.as_ref(), what, at).await
    }

    fn value(&self, value: f64) -> Result<Observed> {
        let value =
            checked(value).map_err(|error| error.in_context(format_args!("series {}", self.name())))?;
        Ok(Observed::Value(value))
    }
}
