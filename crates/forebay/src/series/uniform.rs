//! Reads the buckets of many keys as they are kept, for callers that compute something of their own.

use super::{
    cover::Cover,
    handle::SeriesHandle,
    run::{MAX_BUCKETS, Read},
    uniform_plan::UniformPlan,
    uniform_query::UniformQuery,
};
use crate::{
    error::{Result, out_of_range},
    model::resolution::Resolution,
    time::Timestamp,
};

/// The buckets of some keys: the answer of [`SeriesHandle::uniform_buckets`].
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::{series::UniformQuery, time::{hours, secs}};
/// # let bay = forebay::Forebay::open("memory:").await?;
/// let hits = bay.series("hits")?;
/// hits.add("user:42", 5).await?;
/// let now = bay.clock().now();
/// let query = UniformQuery::ending_between(now.minus(hours(1)), now.plus(hours(1)));
/// let found = hits.uniform_buckets(&["user:42", "user:7"], &query).await?;
/// assert_eq!((found.resolution.step, found.keys.len()), (secs(10), 2));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UniformBuckets {
    /// The resolution of all buckets: the finest that keeps the oldest one.
    pub resolution: Resolution,
    /// When the first bucket begins.
    pub start: Timestamp,
    /// The buckets of each key, in the order of the keys.
    pub keys: Vec<KeyBuckets>,
    /// Whether points may be missing, as in [`Total::partial`](super::Total::partial).
    pub partial: bool,
}

/// The buckets of a key, and what lies around them.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::{series::UniformQuery, time::hours};
/// # let bay = forebay::Forebay::open("memory:").await?;
/// let hits = bay.series("hits")?;
/// hits.add("user:42", 5).await?;
/// let now = bay.clock().now();
/// let query = UniformQuery::ending_between(now.minus(hours(1)), now.plus(hours(1)));
/// let found = hits.uniform_buckets(&["user:42"], &query).await?;
/// let key = &found.keys[0];
/// assert_eq!((key.before, key.counts.iter().sum::<u64>(), key.after), (0, 5, 0));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyBuckets {
    /// The sum of the earlier buckets that the resolution keeps: of those within 100 000 times the coarsest bucket of the series.
    pub before: u64,
    /// The count of each bucket; zero where nothing was counted.
    pub counts: Vec<u64>,
    /// The sum of the later buckets, likewise, up to those of points that are ahead of the clock.
    pub after: u64,
}

impl SeriesHandle {
    /// The finest resolution that keeps the bucket around `at` at a time; the coarsest if none does.
    pub fn resolution_at(&self, at: Timestamp, now: Timestamp) -> Resolution {
        self.grid.resolutions[UniformPlan::resolution(&self.grid.resolutions, at, now)]
    }

    /// Reads the buckets of keys, all of one resolution, with the sums of all buckets before and after them.
    ///
    /// A key that has no counts has zeros. The answers of keys on different hosts are not of one moment.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a key that is empty or longer than 512 bytes,
    /// [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) for more than a million buckets of all keys, or 20 million with
    /// those before and after them; and when the store does not answer.
    ///
    /// # Cost
    /// For 1 000 keys or a million buckets, one round trip for each partition. The sums read coarse buckets where there are some:
    /// a few hundred for each key. A series of one resolution has none.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// use forebay::{series::UniformQuery, time::{mins, secs}};
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let hits = bay.series("hits")?;
    /// let now = hits.store_time("user:42").await;
    /// hits.add_at("user:42", 6, now.minus(mins(30))).await?;
    ///
    /// let minute = UniformQuery::ending_between(now.minus(mins(1)), now);
    /// let buckets = hits.uniform_buckets(&["user:42"], &minute).await?;
    /// assert_eq!((buckets.resolution.step, buckets.keys[0].before), (secs(10), 6));
    /// assert!(buckets.keys[0].counts == [0; 6]);
    /// # Ok(()) }
    /// ```
    pub async fn uniform_buckets<K: AsRef<str>>(
        &self,
        keys: &[K],
        query: &UniformQuery,
    ) -> Result<UniformBuckets> {
        let keys = keys.iter().map(|key| self.key(key.as_ref())).collect::<Result<Vec<_>>>()?;
        let now = match query.now {
            Some(now) => now,
            None => self.store_time(keys.first().map_or("", |key| key.as_str())).await,
        };
        let plan = UniformPlan::new(&self.grid.resolutions, query, now);
        let resolution = self.grid.resolutions[plan.resolution];
        self.check_window(&plan, keys.len())?;
        let (mut read, mut partial) = (Vec::with_capacity(keys.len()), false);
        self.read_in_batches(&keys, &plan.covers(), |_, key| {
            partial |= key.partial;
            read.push(plan.split(key));
        })
        .await?;
        Ok(UniformBuckets { resolution, start: plan.start, keys: read, partial })
    }

    fn check_window(&self, plan: &UniformPlan, keys: usize) -> Result<()> {
        let inside = plan.window.buckets().saturating_mul(i64::try_from(keys).unwrap_or(i64::MAX));
        if inside <= MAX_BUCKETS {
            return Ok(());
        }
        Err(out_of_range(format!(
            "series {}: {inside} buckets of {keys} keys: at most {MAX_BUCKETS}; ask for fewer keys or a shorter range",
            self.grid.name
        )))
    }
}

impl UniformPlan {
    /// Takes the parts of a key's answer apart.
    fn split(&self, read: Read) -> KeyBuckets {
        let mut runs = read.counts.into_iter();
        let mut part =
            |cover: &Cover| -> Vec<u64> { runs.by_ref().take(cover.runs.len()).flatten().collect() };
        let sum = |counts: Vec<u64>| counts.into_iter().fold(0, u64::saturating_add);
        let before = sum(part(&self.before));
        let counts = part(&self.window);
        KeyBuckets { before, counts, after: sum(part(&self.after)) }
    }
}
