//! Series of percentiles.

use std::time::Duration;

use super::{
    definition::Percentiles,
    handle::KindHandle,
    read::{Merged, Points},
};
use crate::{
    error::{Result, out_of_range},
    model::summary::{Summary, percentiles::Sketch},
    series::Query,
    time::Timestamp,
};

/// A series of percentiles of an open store. Clones share it.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::{Forebay, time::hours};
///
/// let bay = Forebay::open("memory:").await?;
/// let latency = bay.percentiles("latency")?;
/// for millis in 1..=100 {
///     latency.record("home", f64::from(millis)).await?;
/// }
/// let p95 = latency.quantile("home", 0.95, hours(1)).await?.expect("there are values");
/// assert!((p95 - 95.0).abs() <= 0.95); // within 1 %
/// # Ok(()) }
/// ```
pub type PercentilesHandle = KindHandle<Percentiles>;

/// The distribution of values: the answer of a series of percentiles.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::{series::Query, time::hours};
/// # let bay = forebay::Forebay::open("memory:").await?;
/// let latency = bay.percentiles("latency")?;
/// latency.record("home", 0.25).await?;
/// let hour = latency.query(["home"], &Query::last(hours(1))).await?.total;
/// assert_eq!((hour.count(), hour.min(), hour.quantile(0.5), hour.max()), (1, Some(0.25), Some(0.25), Some(0.25)));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distribution(Sketch);

impl Distribution {
    /// The number of values.
    pub fn count(&self) -> u64 {
        self.0.count()
    }

    /// The smallest value.
    pub fn min(&self) -> Option<f64> {
        self.0.bounds.map(|(min, _)| min)
    }

    /// The largest value.
    pub fn max(&self) -> Option<f64> {
        self.0.bounds.map(|(_, max)| max)
    }

    /// About the value of a rank: that of ⌊q · (n - 1)⌋, counted from 0, of n values by size. `q` is 0 (the smallest) to 1 (the
    /// largest); 0.95 is the 95th percentile. `None`: there is no value, or `q` is something else.
    ///
    /// It is within 1 % of that value, as long as the magnitudes of the positive values differ by less than 13 powers of ten, and
    /// those of the negative ones by less than four. Smaller ones count as if they were about the smallest that is told apart.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        if (0.0..=1.0).contains(&q) { self.0.quantile(q) } else { None }
    }
}

impl PercentilesHandle {
    /// About the value of a rank of `key` over the last `span`, by the store's clock, including now, as
    /// [`Distribution::quantile`]. The span is widened to whole buckets. `None`: there is no value.
    ///
    /// # Errors
    /// As [`distribution_between`](Self::distribution_between), and [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) for a
    /// `q` that is not 0 to 1.
    ///
    /// # Examples
    /// As of [`PercentilesHandle`].
    pub async fn quantile(&self, key: impl AsRef<str>, q: f64, span: Duration) -> Result<Option<f64>> {
        if !(0.0..=1.0).contains(&q) {
            return Err(out_of_range(format!("series {}: quantile {q}: 0 to 1", self.name())));
        }
        let now = self.store_time(&key).await;
        let span = (now.minus(span), now.plus(Duration::from_micros(1)));
        Ok(self.merged([key], span, distribution).await?.value.quantile(q))
    }

    /// Reads the distribution of the values of 1 to 1 000 keys together from `from` until before `to`, and answers the exact span,
    /// which is widened to whole buckets.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a key that is empty, longer than 512 bytes or there twice, or for
    /// no key or too many, [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) if the span has more than 20 000 buckets of
    /// all keys; and when the store does not answer.
    ///
    /// # Cost
    /// One round trip for each partition that has one of the keys, all at the same time. It reads coarse buckets inside and fine
    /// ones at the edges, each with 12 bytes for each of its bins.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # use forebay::time::hours;
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let (latency, now) = (bay.percentiles("latency")?, bay.clock().now());
    /// latency.record("home", 0.080).await?;
    /// latency.record("about", 0.020).await?;
    /// let site = latency.distribution_between(["home", "about"], now.minus(hours(1)), now.plus(hours(1))).await?;
    /// assert_eq!((site.value.count(), site.value.max()), (2, Some(0.080)));
    /// # Ok(()) }
    /// ```
    pub async fn distribution_between<K: AsRef<str>>(
        &self,
        keys: impl IntoIterator<Item = K>,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Merged<Distribution>> {
        self.merged(keys, (from, to), distribution).await
    }

    /// Reads the distribution of each point of a query, of 1 to 1 000 keys together. The query has a span, and may have a step, a
    /// zone, and its own time.
    ///
    /// # Errors
    /// As [`distribution_between`](Self::distribution_between) and [`SeriesHandle::query`](crate::series::SeriesHandle::query),
    /// and [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a query that computes anything.
    ///
    /// # Cost
    /// As [`distribution_between`](Self::distribution_between).
    ///
    /// # Examples
    /// As of [`Distribution`].
    pub async fn query<K: AsRef<str>>(
        &self,
        keys: impl IntoIterator<Item = K>,
        query: &Query,
    ) -> Result<Points<Distribution>> {
        self.read(keys, query, distribution).await
    }
}

fn distribution(summary: &Summary) -> Distribution {
    match summary {
        Summary::Percentiles(sketch) => Distribution(sketch.clone()),
        _ => Distribution::default(),
    }
}
