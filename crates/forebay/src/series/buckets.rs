//! Reads the buckets of a key as they are kept, for an export.

use std::time::Duration;

use super::{cover::Run, finest::finest, handle::SeriesHandle};
use crate::{
    error::{Error, ErrorKind, Result, Retry},
    time::Timestamp,
};

/// The maximum number of buckets of a page: a day of the default resolutions is a tenth of it.
const PAGE: i64 = 100_000;

/// Buckets of one length, one after the other.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::time::{hours, mins};
/// # let bay = forebay::Forebay::open("memory:").await?;
/// let hits = bay.series("hits")?;
/// hits.add("user:42", 5).await?;
/// let now = bay.clock().now();
/// let page = hits.buckets("user:42", now.minus(hours(1)), now.plus(mins(1))).next().await?.expect("an hour");
/// assert_eq!(page.iter().flat_map(|buckets| &buckets.counts).sum::<u64>(), 5);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Buckets {
    /// When the first bucket begins.
    pub start: Timestamp,
    /// The length of each.
    pub step: Duration,
    /// The count of each; zero where nothing was counted.
    pub counts: Vec<u64>,
}

/// Reads the buckets of a key, page by page: that of [`SeriesHandle::buckets`].
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::time::days;
/// # let bay = forebay::Forebay::open("memory:").await?;
/// let hits = bay.series("hits")?;
/// let now = bay.clock().now();
/// let mut reader = hits.buckets("user:42", now.minus(days(700)), now);
/// let mut lengths = vec![];
/// while let Some(page) = reader.next().await? {
///     lengths.extend(page.iter().map(|buckets| buckets.step.as_secs()));
/// }
/// lengths.dedup();
/// assert_eq!(lengths, [86_400, 900, 60, 10]);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct BucketReader {
    series: SeriesHandle,
    key: String,
    /// The start of the next page.
    at: Timestamp,
    to: Timestamp,
    /// The store's time at the first page, which decides what is kept.
    now: Option<Timestamp>,
    most: i64,
}

impl SeriesHandle {
    /// Reads the buckets of `key` from `from` until before `to`: at each time those of the finest resolution that is kept there.
    ///
    /// Each time is in exactly one bucket. The first and the last bucket are whole, so that they may extend beyond the span. A
    /// bucket whose retention ends within a minute, or a quarter of the retention, is read from the next coarser resolution.
    /// Added to another series of the same resolutions at the start of its bucket, each count is in the same bucket again, and
    /// in the same ones that are coarser.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # use forebay::time::hours;
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let (hits, now) = (bay.series("hits")?, bay.clock().now());
    /// hits.add_at("user:42", 5, now.minus(hours(30))).await?;
    /// hits.add_at("user:42", 7, now).await?;
    ///
    /// let mut reader = hits.buckets("user:42", now.minus(hours(48)), now);
    /// let mut found = vec![];
    /// while let Some(page) = reader.next().await? {
    ///     for buckets in page {
    ///         found.extend(buckets.counts.iter().filter(|n| **n > 0).map(|n| (buckets.step.as_secs(), *n)));
    ///     }
    /// }
    /// assert_eq!(found, [(60, 5), (10, 7)]);
    /// # Ok(()) }
    /// ```
    pub fn buckets(&self, key: impl Into<String>, from: Timestamp, to: Timestamp) -> BucketReader {
        BucketReader { series: self.clone(), key: key.into(), at: from, to, now: None, most: PAGE }
    }
}

impl BucketReader {
    /// The key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The next page: at most 100 000 buckets in order of time. `None` after the last one.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a key that is empty or longer than 512 bytes; [`ErrorKind::Unavailable`] if counts that
    /// other hosts accepted for this key are not added yet, or if buckets left their retention between two pages; and when the
    /// store does not answer. After an error the same page can be read again.
    ///
    /// # Cost
    /// One round trip.
    pub async fn next(&mut self) -> Result<Option<Vec<Buckets>>> {
        let (series, key) = (&self.series, self.series.key(&self.key)?);
        let now = match self.now {
            Some(now) => now,
            None => series.store_time(&self.key).await,
        };
        let cover = finest(&series.grid.resolutions, self.at, self.to, now, self.most);
        if cover.runs.is_empty() {
            return Ok(None);
        }
        let read = series.read_covers(&[key], &[&cover]).await?.remove(0);
        if read.partial {
            return Err(self.unavailable("counts that other hosts accepted are not added yet"));
        }
        let later = series.store_time(&self.key).await;
        if cover.runs.iter().any(|run| self.has_left(run, later)) {
            return Err(self.unavailable("buckets left their retention while they were read; begin again"));
        }
        let buckets = |(run, counts): (&Run, Vec<u64>)| {
            let resolution = series.grid.resolutions[run.resolution];
            Buckets { start: resolution.start(run.buckets.start), step: resolution.step, counts }
        };
        let page = cover.runs.iter().zip(read.counts).map(buckets).collect();
        (self.now, self.at) = (Some(now), cover.to);
        Ok(Some(page))
    }

    /// Whether the store may have dropped a bucket of a run whose count a coarser resolution still has.
    fn has_left(&self, run: &Run, now: Timestamp) -> bool {
        let resolutions = &self.series.grid.resolutions;
        run.resolution + 1 < resolutions.len() && !resolutions[run.resolution].keeps(run.buckets.start, now)
    }

    fn unavailable(&self, why: &str) -> Error {
        let text = format!("series {}: key {:?}: {why}", self.series.grid.name, self.key);
        Error::new(ErrorKind::Unavailable, text).with_retry(Retry::Later)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Clock, Forebay, ManualClock, Series,
        model::resolution::Resolution,
        time::{When, mins, secs},
    };

    const NOON: Timestamp = Timestamp::from_secs(1_790_000_000 - 1_790_000_000 % 86_400 + 43_200);

    async fn series() -> (SeriesHandle, ManualClock) {
        let hand = ManualClock::at(NOON);
        let bay = Forebay::options().clock(Clock::from(hand.clone())).open("memory:").await.expect("opens");
        let resolutions = [(secs(1), mins(5)), (secs(60), mins(60))];
        let resolutions = resolutions.map(|(step, kept)| Resolution::new(step, kept).expect("valid"));
        (bay.series(Series::new("hits").resolutions(resolutions.to_vec())).expect("valid"), hand)
    }

    async fn all(mut reader: BucketReader) -> Vec<(Timestamp, u64, u64)> {
        let mut found = vec![];
        while let Some(page) = reader.next().await.expect("answers") {
            for Buckets { start, step, counts } in page {
                let counts = counts.into_iter().enumerate().filter(|(_, n)| *n > 0);
                found.extend(counts.map(|(place, n)| {
                    (start.plus(step * u32::try_from(place).expect("few")), step.as_secs(), n)
                }));
            }
        }
        found
    }

    #[tokio::test]
    async fn each_count_is_read_once_whatever_the_length_of_a_page() {
        let (series, _) = series().await;
        let points = (0..40).map(|n| ("k", n + 1, NOON.minus(secs(83 * n))));
        series.add_many(points, When::EngineClock).await.expect("kept");
        let whole = series.buckets("k", NOON.minus(mins(70)), NOON.plus(secs(1)));
        let found = all(whole.clone()).await;
        assert_eq!(found.iter().map(|(_, _, n)| n).sum::<u64>(), 40 * 41 / 2);
        assert!(found.iter().any(|(_, step, _)| *step == 1) && found.iter().any(|(_, step, _)| *step == 60));
        for most in [1, 7, 100, 301] {
            assert_eq!(all(BucketReader { most, ..whole.clone() }).await, found, "{most}");
        }
    }

    #[tokio::test]
    async fn a_bucket_that_leaves_between_pages_is_an_error_and_no_loss() {
        let (series, hand) = series().await;
        series.add_at("k", 1, NOON.minus(mins(4)).plus(secs(20))).await.expect("kept");
        let mut reader = series.buckets("k", NOON.minus(mins(60)), NOON);
        reader.most = 70;
        assert!(reader.next().await.expect("answers").is_some());
        hand.advance(secs(200));
        let error = reader.next().await.expect_err("they left");
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Later));
    }
}
