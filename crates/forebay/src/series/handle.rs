//! Counting by time, and asking for it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    definition::Series,
    query::{RangePlan, Run, plan_range, plan_sum},
    resolution::{Grid, Resolution},
};
use crate::{
    bay::Forebay,
    engine::step::{Point, SeriesPart, Span},
    error::{Error, Result, invalid, out_of_range},
    key::{Name, check_key},
    time::{Timestamp, When, mins},
};

/// A point may be this far ahead of the clock: clocks of hosts differ, years do not.
pub const MAX_AHEAD: Duration = mins(5);

/// The most buckets a sum reads.
const MAX_BUCKETS: i64 = 1_000_000;

/// A series of an open store. Clones share it.
#[derive(Clone, Debug)]
pub struct SeriesHandle {
    bay: Forebay,
    grid: Arc<Grid>,
    /// The grid of the series that counts what limits kept out of this one.
    limited: Arc<Grid>,
    /// Counts that were refused since their last bucket had gone. A tally for people: no order needed.
    late: Arc<AtomicU64>,
}

/// Counts at regular times.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Range {
    /// When the first point begins: a multiple of `step` at or before what was asked for.
    pub start: Timestamp,
    /// The length of a point: what was asked for, or more where so fine a bucket is no longer kept.
    pub step: Duration,
    /// The count of each point, zero where nothing was counted.
    pub values: Vec<u64>,
}

impl Range {
    /// The sum of all points.
    pub fn sum(&self) -> u64 {
        self.values.iter().fold(0, |sum, n| sum.saturating_add(*n))
    }
}

/// Whether a series takes a point.
#[derive(Clone, Debug)]
pub(crate) enum Admission {
    /// It does, if it is added with these times: when it happened, and what the store's clock shows.
    Accepted { at: Timestamp, now: Timestamp },
    /// No resolution keeps its time any more: why it is refused.
    Late(Error),
}

impl SeriesHandle {
    pub(crate) fn new(bay: Forebay, series: Series) -> Result<Self> {
        let (grid, limited) = series.build()?;
        Ok(Self { bay, grid, limited, late: Arc::default() })
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
    /// One round trip, shared with whatever else this process asks the host at that time; none embedded.
    pub async fn add(&self, key: impl AsRef<str>, n: u64) -> Result<()> {
        let key = self.key(key.as_ref())?;
        let now = self.now(key, When::EngineClock).await;
        self.add_many([(key, n, now)], When::At(now)).await
    }

    /// Counts `n` (1 to 2^31) for `key` at a time: any that the coarsest resolution still keeps, at most 5 minutes
    /// ahead. The store's clock decides both.
    ///
    /// A point that the finer resolutions do not keep any more is counted in the coarser ones.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a key that is empty or longer than 512 bytes,
    /// [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) for another `n` or time; and when the store does not
    /// answer.
    pub async fn add_at(&self, key: impl AsRef<str>, n: u64, at: Timestamp) -> Result<()> {
        self.add_many([(key, n, at)], When::EngineClock).await
    }

    /// Counts many points (key, n, at), all or, if one is refused, none. `when` is the store's clock, or the time of a
    /// replay.
    ///
    /// # Errors
    /// As [`add_at`](Self::add_at). When the store fails half-way some may be counted.
    pub async fn add_many<K: AsRef<str>>(
        &self,
        points: impl IntoIterator<Item = (K, u64, Timestamp)>,
        when: When,
    ) -> Result<()> {
        let mut batches: Vec<(u16, Timestamp, Vec<Point>)> = vec![];
        for (key, n, at) in points {
            let key = self.key(key.as_ref())?;
            let index = self.grid.partition_of(key);
            let mut place = batches.iter().position(|(other, ..)| *other == index);
            if place.is_none() {
                place = Some(batches.len());
                batches.push((index, self.now(key, when).await, vec![]));
            }
            let (_, now, points) = &mut batches[place.expect("it was just pushed")];
            points.push(self.checked(key, n, at, *now)?);
        }
        let engine = self.bay.engine();
        let part = |index| SeriesPart { grid: self.grid.clone(), index };
        // A single hit goes to one partition; to wait for many at once costs allocations.
        if batches.len() == 1 {
            let (index, now, points) = batches.swap_remove(0);
            return engine.series_add(&part(index), points, now).await;
        }
        let adds = batches
            .into_iter()
            .map(async |(index, now, points)| engine.series_add(&part(index), points, now).await);
        futures::future::join_all(adds).await.into_iter().collect()
    }

    /// Whether the series takes `n` for `key` at `at` (`None`: now), before anything is charged for it. What is late is
    /// tallied in [`late`](Self::late). A point that is accepted is added with the times of the answer, so that it cannot
    /// become late in between.
    ///
    /// # Errors
    /// As [`add_at`](Self::add_at), except for a time that is not kept any more: that is [`Admission::Late`].
    pub(crate) async fn admit(
        &self,
        key: &str,
        n: u64,
        at: Option<Timestamp>,
        when: When,
    ) -> Result<Admission> {
        let key = self.key(key)?;
        let now = self.now(key, when).await;
        let at = at.unwrap_or(now);
        if self.is_kept(at, now) {
            self.checked(key, n, at, now)?;
            return Ok(Admission::Accepted { at, now });
        }
        self.late.fetch_add(n, Ordering::Relaxed);
        Ok(Admission::Late(self.too_old(at, now)))
    }

    /// What was counted for `key` in the last `span`.
    ///
    /// # Errors
    /// As [`sum_between`](Self::sum_between).
    pub async fn sum(&self, key: impl AsRef<str>, span: Duration) -> Result<u64> {
        let key = self.key(key.as_ref())?;
        let now = self.now(key, When::EngineClock).await;
        self.sum_as_of(key, now.minus(span), now, now).await
    }

    /// What was counted for `key` from `from` until before `to`.
    ///
    /// The edges are widened to the finest buckets that are still kept there.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a key that is empty or longer than 512 bytes,
    /// [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) if that would read more than a million buckets; and when
    /// the store does not answer.
    ///
    /// # Cost
    /// One round trip. Reads coarse buckets inside and fine ones at the edges: a day of 10 s buckets is some 200.
    pub async fn sum_between(&self, key: impl AsRef<str>, from: Timestamp, to: Timestamp) -> Result<u64> {
        let key = self.key(key.as_ref())?;
        let now = self.now(key, When::EngineClock).await;
        self.sum_as_of(key, from, to, now).await
    }

    /// As [`sum_between`](Self::sum_between), as though it were `now`: what is still kept, and how finely, is told from
    /// that. For replays of old traffic.
    ///
    /// # Errors
    /// As [`sum_between`](Self::sum_between).
    pub async fn sum_as_of(
        &self,
        key: impl AsRef<str>,
        from: Timestamp,
        to: Timestamp,
        now: Timestamp,
    ) -> Result<u64> {
        let key = self.key(key.as_ref())?;
        let runs = plan_sum(&self.grid.resolutions, from, to.min(now.plus(MAX_AHEAD)), now);
        let buckets: i64 = runs.iter().map(|run| run.buckets.end - run.buckets.start).sum();
        if buckets > MAX_BUCKETS {
            return Err(out_of_range(format!(
                "series {}: a sum over {buckets} buckets: at most {MAX_BUCKETS}; ask for a shorter range",
                self.grid.name
            )));
        }
        let counts = self.read(key, &runs).await?;
        Ok(counts.into_iter().flatten().fold(0, u64::saturating_add))
    }

    /// The counts of `key` from `from` until `to`, zero-filled.
    ///
    /// `step` is at least the finest resolution; without one the finest that gives at most 1 500 points.
    ///
    /// # Errors
    /// As [`sum_between`](Self::sum_between); [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) for more than
    /// 100 000 points, or a range that ends before it begins.
    ///
    /// # Cost
    /// One round trip.
    pub async fn range(
        &self,
        key: impl AsRef<str>,
        from: Timestamp,
        to: Timestamp,
        step: Option<Duration>,
    ) -> Result<Range> {
        let key = self.key(key.as_ref())?;
        if from >= to {
            return Err(out_of_range(format!(
                "series {}: from {from} to {to}: a range ends after it begins",
                self.grid.name
            )));
        }
        let RangePlan { run, per_point, start, step } =
            plan_range(&self.grid.resolutions, from, to, step, self.now(key, When::EngineClock).await)?;
        let counts = self.read(key, &[run]).await?;
        let sum = |point: &[u64]| point.iter().fold(0u64, |sum, n| sum.saturating_add(*n));
        Ok(Range { start, step, values: counts.concat().chunks(per_point).map(sum).collect() })
    }

    /// Forgets `key`.
    ///
    /// # Errors
    /// As [`sum_between`](Self::sum_between).
    pub async fn delete(&self, key: impl AsRef<str>) -> Result<()> {
        let key = self.key(key.as_ref())?;
        let now = self.now(key, When::EngineClock).await;
        self.bay.engine().series_delete(&self.part(key), key, now).await
    }

    /// The series that counts what the limits of an event kept out of this one.
    #[must_use]
    pub fn limited(&self) -> Self {
        Self { grid: self.limited.clone(), ..self.clone() }
    }

    /// How much this process refused because no resolution keeps its time any more.
    pub fn late(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }

    /// The series' name.
    pub fn name(&self) -> &Name {
        &self.grid.name
    }

    /// Its resolutions, from the finest to the coarsest.
    pub fn resolutions(&self) -> &[Resolution] {
        &self.grid.resolutions
    }

    async fn read(&self, key: &str, runs: &[Run]) -> Result<Vec<Vec<u64>>> {
        let span = |run: &Run| Span {
            key,
            resolution: self.grid.resolutions[run.resolution],
            from: run.buckets.start,
            to: run.buckets.end,
        };
        let spans: Vec<Span<'_>> = runs.iter().map(span).collect();
        self.bay.engine().series_read(&self.part(key), &spans).await
    }

    fn part(&self, key: &str) -> SeriesPart {
        SeriesPart { grid: self.grid.clone(), index: self.grid.partition_of(key) }
    }

    fn key<'a>(&self, key: &'a str) -> Result<&'a str> {
        check_key(key).map_err(|error| invalid(format!("series {}: {error}", self.grid.name)))
    }

    /// Whether any resolution still keeps a time: the coarsest keeps longest.
    fn is_kept(&self, at: Timestamp, now: Timestamp) -> bool {
        self.grid.resolutions.last().is_some_and(|coarsest| coarsest.keeps(coarsest.bucket(at), now))
    }

    fn checked(&self, key: &str, n: u64, at: Timestamp, now: Timestamp) -> Result<Point> {
        let name = &self.grid.name;
        if !(1..=1 << 31).contains(&n) {
            return Err(out_of_range(format!("series {name}: n {n}: 1 to 2147483648")));
        }
        if at > now.plus(MAX_AHEAD) {
            return Err(out_of_range(format!(
                "series {name}: time {at} is {} s ahead of the clock: at most {}",
                at.since(now).as_secs(),
                MAX_AHEAD.as_secs()
            )));
        }
        if !self.is_kept(at, now) {
            self.late.fetch_add(n, Ordering::Relaxed);
            return Err(self.too_old(at, now));
        }
        Ok(Point { key: key.into(), at, n })
    }

    fn too_old(&self, at: Timestamp, now: Timestamp) -> Error {
        let kept = self.grid.resolutions.last().map_or(0, |coarsest| coarsest.retention.as_secs());
        out_of_range(format!(
            "series {}: time {at} is {} s ago: at most {kept}, the longest retention",
            self.grid.name,
            now.since(at).as_secs()
        ))
    }

    /// The time that decides what is kept of `key`.
    async fn now(&self, key: &str, when: When) -> Timestamp {
        match when {
            When::EngineClock => self.bay.engine().series_now(&self.part(key)).await,
            When::At(now) => now,
        }
    }
}
