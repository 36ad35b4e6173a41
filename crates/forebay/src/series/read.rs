//! Asking for what was counted.

use std::time::Duration;

use super::{
    handle::SeriesHandle,
    query::{Cover, RangePlan, plan_range, plan_sum},
};
use crate::{
    engine::step::Span,
    error::{Error, Result, out_of_range},
    time::{Timestamp, When, micros},
};

/// The most buckets a sum or a range reads.
const MAX_BUCKETS: i64 = 1_000_000;

/// Counts at regular times.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Range {
    /// When the first point begins: a multiple of `step` at or before what was asked for.
    pub start: Timestamp,
    /// The length of a point.
    pub step: Duration,
    /// The count of each point, zero where nothing was counted. The first and the last point may be longer than what
    /// was asked for: they count what is in the span alone.
    pub values: Vec<u64>,
    /// The span that the points count, as in [`Total`].
    pub from: Timestamp,
    /// Until before when.
    pub to: Timestamp,
    /// `step` is longer than what was asked for, since so fine a bucket is not kept at `from` any more.
    pub coarsened: bool,
}

impl Range {
    /// The sum of all points: the same as the sum over the same span at the same time.
    pub fn sum(&self) -> u64 {
        self.values.iter().fold(0, |sum, n| sum.saturating_add(*n))
    }

    /// Whether the first point counts a part of its time only.
    pub fn is_first_partial(&self) -> bool {
        self.from > self.start
    }

    /// Whether the last point counts a part of its time only.
    pub fn is_last_partial(&self) -> bool {
        let points = i64::try_from(self.values.len()).unwrap_or(i64::MAX);
        self.to.as_micros() < self.start.as_micros().saturating_add(points.saturating_mul(micros(self.step)))
    }
}

/// A count, and the span that it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Total {
    /// What was counted.
    pub sum: u64,
    /// From when: what was asked for, widened to the finest bucket that is still kept there; later where no bucket is.
    pub from: Timestamp,
    /// Until before when: widened likewise, and at most the bucket that is 5 minutes ahead.
    pub to: Timestamp,
}

impl SeriesHandle {
    /// What was counted for `key` in the last `span`, by the store's clock, including now.
    ///
    /// # Errors
    /// As [`total`](Self::total).
    pub async fn sum(&self, key: impl AsRef<str>, span: Duration) -> Result<u64> {
        let key = self.key(key.as_ref())?;
        let now = self.now(key, When::EngineClock).await;
        Ok(self.total_as_of(key, now.minus(span), after(now), now).await?.sum)
    }

    /// What was counted for `key` from `from` until before `to`.
    ///
    /// # Errors
    /// As [`total`](Self::total).
    pub async fn sum_between(&self, key: impl AsRef<str>, from: Timestamp, to: Timestamp) -> Result<u64> {
        Ok(self.total(key, from, to).await?.sum)
    }

    /// What was counted for `key` from `from` until before `to`, and the span that this is of.
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
    pub async fn total(&self, key: impl AsRef<str>, from: Timestamp, to: Timestamp) -> Result<Total> {
        let key = self.key(key.as_ref())?;
        let now = self.now(key, When::EngineClock).await;
        self.total_as_of(key, from, to, now).await
    }

    /// As [`total`](Self::total), as though it were `now`: what is still kept, and how finely, is told from that. For
    /// replays of old traffic.
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
        let counts = self.read(key, &cover).await?;
        let sum = counts.into_iter().flatten().fold(0, u64::saturating_add);
        Ok(Total { sum, from: cover.from, to: cover.to })
    }

    /// The counts of `key` from `from` until before `to`, zero-filled.
    ///
    /// The points begin at multiples of `step`; the first and the last count what is in the span alone, and a
    /// [`Range`] tells if that is a part of their time. So they add up to the [`total`](Self::total) over the same
    /// span.
    ///
    /// `step` is a multiple of the finest resolution; without one it is the finest that gives at most 1 500 points.
    /// Where so fine a bucket is not kept any more, it is made longer, and the answer says so.
    ///
    /// # Errors
    /// As [`total`](Self::total); [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) for another step, for more
    /// than 100 000 points, or a range that ends before it begins.
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
        let now = self.now(key, When::EngineClock).await;
        self.range_as_of(key, from, to, step, now).await
    }

    /// [`range`](Self::range) over the last `span`, by the store's clock, including now.
    ///
    /// # Errors
    /// As [`range`](Self::range).
    pub async fn last(&self, key: impl AsRef<str>, span: Duration, step: Option<Duration>) -> Result<Range> {
        let key = self.key(key.as_ref())?;
        let now = self.now(key, When::EngineClock).await;
        self.range_as_of(key, now.minus(span), after(now), step, now).await
    }

    /// As [`range`](Self::range), as though it were `now`.
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
        let (key, name) = (self.key(key.as_ref())?, &self.grid.name);
        if from >= to {
            return Err(out_of_range(format!(
                "series {name}: from {from} to {to}: a range ends after it begins"
            )));
        }
        let plan = plan_range(&self.grid.resolutions, from, to, step, now)
            .map_err(|error| Error::new(error.kind(), format!("series {name}: {error}")))?;
        let counts = self.read(key, &plan.cover).await?;
        let values = self.points(&plan, &counts);
        let RangePlan { cover: Cover { from, to, .. }, start, step: met, .. } = plan;
        Ok(Range { start, step: met, values, from, to, coarsened: step.is_some_and(|step| step < met) })
    }

    /// Adds the buckets of a range up to its points.
    fn points(&self, plan: &RangePlan, counts: &[Vec<u64>]) -> Vec<u64> {
        let mut values = vec![0u64; plan.points];
        for (run, counts) in plan.cover.runs.iter().zip(counts) {
            let resolution = &self.grid.resolutions[run.resolution];
            for (bucket, n) in run.buckets.clone().zip(counts) {
                let offset = resolution.start(bucket).as_micros() - plan.start.as_micros();
                let place = usize::try_from(offset / micros(plan.step)).ok();
                if let Some(value) = place.and_then(|place| values.get_mut(place)) {
                    *value = value.saturating_add(*n);
                }
            }
        }
        values
    }

    async fn read(&self, key: &str, cover: &Cover) -> Result<Vec<Vec<u64>>> {
        let buckets = cover.buckets();
        if buckets > MAX_BUCKETS {
            return Err(out_of_range(format!(
                "series {}: {buckets} buckets: at most {MAX_BUCKETS}; ask for a shorter range",
                self.grid.name
            )));
        }
        let spans = cover.runs.iter().map(|run| Span {
            key,
            resolution: self.grid.resolutions[run.resolution],
            from: run.buckets.start,
            to: run.buckets.end,
        });
        self.store.engine().series_read(&self.part(key), &spans.collect::<Vec<_>>()).await
    }
}

/// The first moment after `now`: where a span ends that includes it.
fn after(now: Timestamp) -> Timestamp {
    now.plus(Duration::from_micros(1))
}
