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
    error::{Result, invalid, out_of_range},
    key::{Name, check_key},
    time::{Timestamp, mins},
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
    /// Points that came after their last bucket had gone. A tally for people: no order needed.
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

impl SeriesHandle {
    pub(crate) fn new(bay: Forebay, series: Series) -> Result<Self> {
        let (grid, limited) = series.build()?;
        Ok(Self { bay, grid, limited, late: Arc::default() })
    }

    /// Counts `n` (1 to 2^31) for `key` now.
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
        let now = self.bay.clock().now();
        self.add_many([(key, n, now)], now).await
    }

    /// Counts `n` (1 to 2^31) for `key` at a time: any that is still kept, at most 5 minutes ahead.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a key that is empty or longer than 512 bytes,
    /// [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) for another `n` or time; and when the store does not
    /// answer.
    pub async fn add_at(&self, key: impl AsRef<str>, n: u64, at: Timestamp) -> Result<()> {
        self.add_many([(key, n, at)], self.bay.clock().now()).await
    }

    /// Counts many points (key, n, at), all or, if one is refused, none. Points older than every retention are
    /// dropped and tallied in [`late`](Self::late), no error. `now` is usually the clock's, or the time
    /// of a replay.
    ///
    /// # Errors
    /// As [`add_at`](Self::add_at). When the store fails half-way some may be counted.
    pub async fn add_many<K: AsRef<str>>(
        &self,
        points: impl IntoIterator<Item = (K, u64, Timestamp)>,
        now: Timestamp,
    ) -> Result<()> {
        let mut by_part: Vec<(u16, Vec<Point>)> = vec![];
        for (key, n, at) in points {
            let point = self.checked(key.as_ref(), n, at, now)?;
            if !self.is_kept(at, now) {
                self.late.fetch_add(n, Ordering::Relaxed);
                continue;
            }
            let index = self.grid.partition_of(&point.key);
            match by_part.iter_mut().find(|(part, _)| *part == index) {
                Some((_, points)) => points.push(point),
                None => by_part.push((index, vec![point])),
            }
        }
        let engine = self.bay.engine();
        // A single hit goes to one partition; to wait for many at once costs allocations.
        if by_part.len() == 1 {
            let (index, points) = by_part.swap_remove(0);
            return engine.series_add(&SeriesPart { grid: self.grid.clone(), index }, points, now).await;
        }
        let adds = by_part.into_iter().map(async |(index, points)| {
            engine.series_add(&SeriesPart { grid: self.grid.clone(), index }, points, now).await
        });
        futures::future::join_all(adds).await.into_iter().collect()
    }

    /// What was counted for `key` in the last `span`.
    ///
    /// # Errors
    /// As [`sum_between`](Self::sum_between).
    pub async fn sum(&self, key: impl AsRef<str>, span: Duration) -> Result<u64> {
        let now = self.bay.clock().now();
        self.sum_between(key, now.minus(span), now).await
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
        self.sum_as_of(key, from, to, self.bay.clock().now()).await
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
            plan_range(&self.grid.resolutions, from, to, step, self.bay.clock().now())?;
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
        self.bay.engine().series_delete(&self.part(key), key, self.bay.clock().now()).await
    }

    /// The series that counts what the limits of an event kept out of this one.
    #[must_use]
    pub fn limited(&self) -> Self {
        Self { grid: self.limited.clone(), ..self.clone() }
    }

    /// How much this process dropped because no resolution keeps its time any more.
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
        let key = self.key(key)?;
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
        Ok(Point { key: key.into(), at, n })
    }
}
