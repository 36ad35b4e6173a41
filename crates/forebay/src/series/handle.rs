//! The handle of a series: counting.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::{bound::KeyBound, cover::MAX_AHEAD, definition::Series, labels::Labels};
use crate::{
    applied::one_for_all,
    engine::step::{Point, SeriesPart},
    error::{Error, Result, out_of_range},
    key::{Count, Key, Name},
    model::{
        resolution::{Grid, Resolution},
        summary::SummaryKind,
    },
    once::{Place, RequestItem},
    store::Store,
    time::{Timestamp, When},
};

/// A series of an open store. Clones share it.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::{Forebay, time::hours};
///
/// let bay = Forebay::open("memory:").await?;
/// let hits = bay.series("hits")?;
/// hits.add("user:42", 3).await?;
/// hits.add("user:42", 4).await?;
/// assert_eq!(hits.sum("user:42", hours(1)).await?, 7);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct SeriesHandle {
    pub(super) store: Store,
    pub(super) grid: Arc<Grid>,
    /// The grid of the [`limited`](Self::limited) series.
    limited: Arc<Grid>,
    /// The kind of its summaries, if it is none of hits.
    pub(super) summaries: Option<SummaryKind>,
    pub(super) labels: Labels,
    /// The bound on keys in a shared store.
    pub(super) bound: Option<Arc<KeyBound>>,
    /// That of the [`limited`](Self::limited) series.
    limited_bound: Option<Arc<KeyBound>>,
    /// Counts that were refused because no resolution keeps their time. For people: the atomic needs no order.
    late: Arc<AtomicU64>,
}

/// Whether a series accepts a point.
#[derive(Clone, Debug)]
pub(crate) enum Acceptance {
    /// It does, if the point is added with these times: its own, and the time of the store's clock.
    Accepted { at: Timestamp, now: Timestamp },
    /// No resolution keeps its time: the error of adding it.
    Late(Error),
}

impl SeriesHandle {
    pub(crate) fn new(store: Store, series: Series) -> Result<Self> {
        let handle = Self::open(store, series, None)?;
        for grid in [&handle.grid, &handle.limited] {
            handle.store.engine().series_define(grid);
        }
        Ok(handle)
    }

    /// A series of hits, or of summaries.
    pub(super) fn open(store: Store, series: Series, summaries: Option<SummaryKind>) -> Result<Self> {
        let bound = series.key_bound();
        let (grid, limited, labels) = series.build()?;
        store.set_kind(&grid.name, summaries.map_or("hits", SummaryKind::word))?;
        for grid in [&grid, &limited] {
            if let Some(keys) = bound {
                store.engine().series_bound(&grid.name, keys);
            }
        }
        let shared = bound.filter(|_| store.engine().is_shared());
        let [bound, limited_bound] =
            [&grid, &limited].map(|grid| Some(Arc::new(KeyBound::new(&store, (grid, summaries), shared?))));
        Ok(Self { store, grid, limited, summaries, labels, bound, limited_bound, late: Arc::default() })
    }

    /// Counts `n` (1 to 2^31) for `key` now, by the store's clock.
    ///
    /// # Errors
    /// As [`add_at`](Self::add_at).
    ///
    /// # Cancellation
    /// Dropping the future may leave it counted; it is never counted twice.
    ///
    /// # Cost
    /// One round trip, shared with other calls of this process to the host; none on the embedded engine.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let hits = bay.series("hits")?;
    /// hits.add("user:42", 1).await?;
    /// # Ok(()) }
    /// ```
    pub async fn add(&self, key: impl AsRef<str>, n: u64) -> Result<()> {
        let key = self.written_key(key.as_ref())?;
        let n = self.count(n)?;
        let now = self.now(key, When::EngineClock).await;
        self.add_admitted(key, n, now, now).await
    }

    /// Counts a point that was [admitted](Self::admit) at `now`.
    pub(crate) async fn add_admitted(
        &self,
        key: Key<'_>,
        n: Count,
        at: Timestamp,
        now: Timestamp,
    ) -> Result<()> {
        self.claim(&[(key.as_str(), at)]).await?;
        self.store.engine().series_add(&self.stored_part(key), vec![point(key, n, at)], now).await
    }

    /// As [`add_admitted`](Self::add_admitted), as the part `nth` of an item of a request that is carried out once.
    pub(crate) async fn add_admitted_once(
        &self,
        (item, nth): (&RequestItem, usize),
        key: Key<'_>,
        n: Count,
        at: Timestamp,
        now: Timestamp,
    ) -> Result<()> {
        self.claim(&[(key.as_str(), at)]).await?;
        item.count(nth, self.part(key.as_str()), point(key, n, at), now).await
    }

    /// Counts `n` (1 to 2^31) for `key` at a time.
    ///
    /// By the store's clock, the time must be at most 5 minutes ahead, and within the retention of the coarsest resolution. A
    /// point that the finer resolutions no longer keep is counted in the coarser ones.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a key that is empty, longer than 512 bytes, or not made of the
    /// [labels](Series::labels) of the series, [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) for another `n` or time,
    /// [`ErrorKind::Overloaded`](crate::ErrorKind::Overloaded) for a new key beyond [`Series::max_keys`]; and when the
    /// store does not answer.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # use forebay::time::{hours, mins};
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let hits = bay.series("hits")?;
    /// hits.add_at("user:42", 1, bay.clock().now().minus(mins(90))).await?;
    /// assert_eq!(hits.sum("user:42", hours(1)).await?, 0);
    /// assert_eq!(hits.sum("user:42", hours(2)).await?, 1);
    /// # Ok(()) }
    /// ```
    pub async fn add_at(&self, key: impl AsRef<str>, n: u64, at: Timestamp) -> Result<()> {
        self.add_many([(key, n, at)], When::EngineClock).await
    }

    /// Counts many points (key, n, at): all of them, or none if one is refused. `when` is the store's clock, or the time of a
    /// replay.
    ///
    /// # Errors
    /// As [`add_at`](Self::add_at). Points that were counted before the store failed, or may have been, make it advise
    /// [`Retry::Unknown`](crate::Retry::Unknown): a repetition could count them twice.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # use forebay::{When, time::hours};
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let (hits, now) = (bay.series("hits")?, bay.clock().now());
    /// hits.add_many([("user:42", 1, now), ("user:7", 2, now)], When::EngineClock).await?;
    /// assert_eq!(hits.sum("user:7", hours(1)).await?, 2);
    /// # Ok(()) }
    /// ```
    pub async fn add_many<K: AsRef<str>>(
        &self,
        points: impl IntoIterator<Item = (K, u64, Timestamp)>,
        when: When,
    ) -> Result<()> {
        let engine = self.store.engine();
        let mut batches: Vec<(u16, Timestamp, Vec<Point>)> = vec![];
        for (key, n, at) in points {
            let (key, n) = (self.written_key(key.as_ref())?, self.count(n)?);
            let index = self.stored_part(key).index;
            let mut position = batches.iter().position(|(other, ..)| *other == index);
            if position.is_none() {
                position = Some(batches.len());
                batches.push((index, self.now(key, when).await, vec![]));
            }
            let (_, now, points) = &mut batches[position.expect("it was just pushed")];
            self.check_time(n, at, *now)?;
            points.push(point(key, n, at));
        }
        if self.bound.is_some() {
            let points = batches.iter().flat_map(|(_, _, points)| points);
            self.claim(&points.map(|point| (&*point.key, point.at)).collect::<Vec<_>>()).await?;
        }
        let part = |index| SeriesPart::new(self.grid.clone(), index);
        // A single point has one partition; joining many futures costs allocations.
        if batches.len() == 1 {
            let (index, now, points) = batches.swap_remove(0);
            return engine.series_add(&part(index), points, now).await;
        }
        let add = async |(index, now, points)| engine.series_add(&part(index), points, now).await;
        one_for_all(futures::future::join_all(batches.into_iter().map(add)).await)
    }

    /// Counts a point as an item of a request that is [carried out once](crate::Forebay::once): by one of its attempts. `at` is
    /// as for [`add_at`](Self::add_at); `None` is now.
    ///
    /// # Errors
    /// As [`add_at`](Self::add_at); [`ErrorKind::Ambiguous`](crate::ErrorKind::Ambiguous) with
    /// [`Retry::Never`](crate::Retry::Never) when it can no longer be known whether an earlier attempt counted it.
    pub async fn add_once(
        &self,
        item: &RequestItem,
        key: impl AsRef<str>,
        n: u64,
        at: Option<Timestamp>,
    ) -> Result<()> {
        let (key, n) = (self.written_key(key.as_ref())?, self.count(n)?);
        let part = self.part(key.as_str());
        if item.is_applied(&Place::Series(part)).await? {
            return Ok(());
        }
        let now = self.now(key, When::EngineClock).await;
        let at = at.unwrap_or(now);
        self.check_time(n, at, now)?;
        self.add_admitted_once((item, 0), key, n, at, now).await
    }

    /// Checks whether the series accepts `n` for `key` at `at` (`None`: now), before a limit is charged for it. A late point is
    /// counted in [`late`](Self::late). An accepted point is added with the times of the answer, so that it cannot become late
    /// in between.
    ///
    /// # Errors
    /// As [`add_at`](Self::add_at), also for a new key beyond the maximum. A time that is no longer kept is [`Acceptance::Late`].
    pub(crate) async fn admit(
        &self,
        key: Key<'_>,
        n: Count,
        at: Option<Timestamp>,
        when: When,
    ) -> Result<Acceptance> {
        let key = self.written_key(key.as_str())?;
        let now = self.now(key, when).await;
        let at = at.unwrap_or(now);
        if self.is_kept(at, now) {
            self.check_time(n, at, now)?;
            self.store.engine().series_room(&self.grid.name, key.as_str())?;
            if let Some(bound) = &self.bound {
                bound.check(key, at).await?;
            }
            return Ok(Acceptance::Accepted { at, now });
        }
        self.late.fetch_add(n.get(), Ordering::Relaxed);
        Ok(Acceptance::Late(self.too_old(at, now)))
    }

    /// Deletes all counts of `key`.
    ///
    /// # Errors
    /// As [`total`](Self::total).
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::time::hours;
    /// let hits = bay.series("hits")?;
    /// hits.add("user:42", 1).await?;
    /// hits.delete("user:42").await?;
    /// assert_eq!(hits.sum("user:42", hours(1)).await?, 0);
    /// # Ok(()) }
    /// ```
    pub async fn delete(&self, key: impl AsRef<str>) -> Result<()> {
        let key = self.key(key.as_ref())?;
        let now = self.now(key, When::EngineClock).await;
        self.store.engine().series_delete(&self.part(key.as_str()), key.as_str(), now).await?;
        self.doubt(key.as_str()).await;
        Ok(())
    }

    /// The series that counts what the limits of an event denied. Without the limit, it would be counted in this series.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::{Event, Limit, time::hours};
    /// let (limit, hits) = (bay.limit(Limit::per_minute("hits", 1))?, bay.series("hits")?);
    /// let event = bay.event(Event::new("hit").limit(&limit).series(&hits))?;
    /// for _ in 0..3 {
    ///     let _ = event.hit("user:42", 1).await?;
    /// }
    /// assert_eq!(hits.limited().sum("user:42", hours(1)).await?, 2);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn limited(&self) -> Self {
        Self { grid: self.limited.clone(), bound: self.limited_bound.clone(), ..self.clone() }
    }

    /// How much this process refused because no resolution keeps its time.
    pub fn late(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }

    /// The number of keys; `None` in a shared store, which does not count them.
    pub fn key_count(&self) -> Option<u64> {
        self.store.engine().series_keys(&self.grid.name).map(|count| count.keys)
    }

    /// The number of times that this process refused a new key because of [`Series::max_keys`].
    pub fn refused_keys(&self) -> u64 {
        if let Some(bound) = &self.bound {
            return bound.refused();
        }
        self.store.engine().series_keys(&self.grid.name).map_or(0, |count| count.refused)
    }

    /// The name of the series.
    pub fn name(&self) -> &Name {
        &self.grid.name
    }

    /// Its resolutions, from the finest to the coarsest.
    pub fn resolutions(&self) -> &[Resolution] {
        &self.grid.resolutions
    }

    /// Makes keys that are about to be added to members of a bounded series.
    pub(super) async fn claim(&self, points: &[(&str, Timestamp)]) -> Result<()> {
        match &self.bound {
            Some(bound) => bound.claim(points).await,
            None => Ok(()),
        }
    }

    /// Notes that a key may have no count any more.
    pub(super) async fn doubt(&self, key: &str) {
        if let Some(bound) = &self.bound {
            bound.doubt(key).await;
        }
    }

    pub(crate) fn part(&self, key: &str) -> SeriesPart {
        SeriesPart::new(self.grid.clone(), self.grid.partition_of(key))
    }

    /// All partitions that have points.
    pub(super) fn parts(&self) -> impl Iterator<Item = SeriesPart> + '_ {
        let count = if self.store.engine().is_shared() { self.grid.partitions } else { 1 };
        (0..count).map(|index| SeriesPart::new(self.grid.clone(), index))
    }

    /// The partition with the points of `key`. A store in this process has no partitions, so that a maximum of keys refuses
    /// all points or none.
    pub(super) fn stored_part(&self, key: Key<'_>) -> SeriesPart {
        if self.store.engine().is_shared() {
            return self.part(key.as_str());
        }
        SeriesPart::new(self.grid.clone(), 0)
    }

    pub(super) fn key<'a>(&self, text: &'a str) -> Result<Key<'a>> {
        Key::new(text).map_err(|error| error.in_context(format_args!("series {}", self.grid.name)))
    }

    /// A key that gets counts.
    pub(super) fn written_key<'a>(&self, text: &'a str) -> Result<Key<'a>> {
        self.labels
            .check(text)
            .map_err(|error| error.in_context(format_args!("series {}", self.grid.name)))?;
        self.key(text)
    }

    fn count(&self, n: u64) -> Result<Count> {
        Count::new(n).map_err(|error| error.in_context(format_args!("series {}", self.grid.name)))
    }

    /// Whether any resolution keeps a time: the coarsest one has the longest retention.
    fn is_kept(&self, at: Timestamp, now: Timestamp) -> bool {
        self.grid.resolutions.last().is_some_and(|coarsest| coarsest.keeps(coarsest.bucket(at), now))
    }

    /// Refuses a time that is too far ahead, or no longer kept.
    pub(super) fn check_time(&self, n: Count, at: Timestamp, now: Timestamp) -> Result<()> {
        let name = &self.grid.name;
        if at > now.plus(MAX_AHEAD) {
            let (ahead, most) = (at.since(now).as_secs(), MAX_AHEAD.as_secs());
            let text = format!("series {name}: time {at} is {ahead} s ahead of the clock: at most {most}");
            return Err(out_of_range(text));
        }
        if !self.is_kept(at, now) {
            self.late.fetch_add(n.get(), Ordering::Relaxed);
            return Err(self.too_old(at, now));
        }
        Ok(())
    }

    fn too_old(&self, at: Timestamp, now: Timestamp) -> Error {
        let kept = self.grid.resolutions.last().map_or(0, |coarsest| coarsest.retention.as_secs());
        let (name, ago) = (&self.grid.name, now.since(at).as_secs());
        out_of_range(format!(
            "series {name}: time {at} is {ago} s ago: at most {kept}, the longest retention"
        ))
    }

    /// The time of the store's clock, which decides what is kept of `key`. For a remote store it is an estimate, off by at most
    /// a round trip.
    pub async fn store_time(&self, key: impl AsRef<str>) -> Timestamp {
        self.store.engine().series_now(&self.part(key.as_ref())).await
    }

    pub(super) async fn now(&self, key: Key<'_>, when: When) -> Timestamp {
        match when {
            When::EngineClock => self.store_time(key.as_str()).await,
            When::At(now) => now,
        }
    }
}

fn point(key: Key<'_>, n: Count, at: Timestamp) -> Point {
    Point { key: key.as_str().into(), at, n: n.get() }
}
