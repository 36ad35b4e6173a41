//! Queries of series that keep summaries: the buckets of a plan, merged to points.

use futures::future::try_join_all;

use super::{definition::Kind, handle::KindHandle};
use crate::{
    engine::step::{Span, Summaries},
    error::{Result, invalid, out_of_range},
    key::Key,
    model::summary::{Summary, SummaryKind},
    series::{
        Query, Step,
        cover::{Cover, plan_sum},
        plan::Plan,
    },
    time::Timestamp,
};

/// Values over time, of all keys of a query together: the answer of such as [`KindHandle::query`](super::KindHandle).
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::{series::Query, time::hours};
/// # let bay = forebay::Forebay::open("memory:").await?;
/// let visitors = bay.distinct("visitors")?;
/// visitors.add("home", "ada").await?;
/// let day = visitors.query(["home"], &Query::last_points(24, hours(1))).await?;
/// assert_eq!((day.values.len(), day.values[23], day.total), (24, 1, 1));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Points<T> {
    /// The length of a point.
    pub step: Step,
    /// When each point begins, in order of time. The first one contains the `from` of the query.
    pub starts: Vec<Timestamp>,
    /// When the last point ends.
    pub end: Timestamp,
    /// The value of each point, from what is inside the span.
    pub values: Vec<T>,
    /// The value of the whole span.
    pub total: T,
    /// The start of the span, as in [`Total`](crate::series::Total).
    pub from: Timestamp,
    /// The end of the span, exclusive.
    pub to: Timestamp,
    /// Whether points are longer or begin elsewhere than requested, as in [`Range::coarsened`](crate::series::Range::coarsened).
    pub coarsened: bool,
}

/// The value of a span: the answer of such as `count_between`.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::time::hours;
/// # let bay = forebay::Forebay::open("memory:").await?;
/// let (visitors, now) = (bay.distinct("visitors")?, bay.clock().now());
/// visitors.add("home", "ada").await?;
/// visitors.add("about", "ada").await?;
/// let both = visitors.count_between(["home", "about"], now.minus(hours(2)), now.plus(hours(1))).await?;
/// assert!(both.value == 1 && both.from <= now.minus(hours(2)));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Merged<T> {
    /// The value.
    pub value: T,
    /// The start of the span: the `from` of the query, widened to the finest bucket that is still kept there. Later, if no
    /// bucket is kept there.
    pub from: Timestamp,
    /// The end of the span, exclusive: widened likewise.
    pub to: Timestamp,
}

/// The most buckets that a query reads, of all its keys: some 120 MB, if all are large, and some 20 MB of gauges.
fn most_buckets(kind: SummaryKind) -> i64 {
    match kind {
        SummaryKind::Distinct => 10_000,
        SummaryKind::Gauge => 200_000,
        SummaryKind::Percentiles => 20_000,
    }
}

impl<K: Kind> KindHandle<K> {
    /// Runs a query, and merges what the keys have.
    pub(super) async fn read<T: AsRef<str>, V>(
        &self,
        keys: impl IntoIterator<Item = T>,
        query: &Query,
        value: impl Fn(&Summary) -> V,
    ) -> Result<Points<V>> {
        if query.is_for_hits() {
            return Err(invalid(format!(
                "series {}: a query of a series of {} has a span, a step and a zone, and no functions, fill, previous period, \
                 order or limit",
                self.name(),
                Self::kind().word()
            )));
        }
        let texts: Vec<T> = keys.into_iter().take(crate::series::MAX_KEYS + 1).collect();
        let keys = self.checked_keys(&texts)?;
        let plan = self.series.plan(1, keys[0].as_str(), query).await?.main;
        let mut points = vec![Summary::new(Self::kind()); plan.starts.len()];
        let mut total = Summary::new(Self::kind());
        self.each_bucket(&keys, &plan.cover, |start, summary| {
            points[point_of(&plan, start)].merge(&summary);
            total.merge(&summary);
        })
        .await?;
        let Plan { cover, step, starts, end, coarsened } = plan;
        let (values, total) = (points.iter().map(&value).collect(), value(&total));
        Ok(Points { step, starts, end, values, total, from: cover.from, to: cover.to, coarsened })
    }

    /// Merges what the keys have from `from` until before `to`.
    pub(super) async fn merged<T: AsRef<str>, V>(
        &self,
        keys: impl IntoIterator<Item = T>,
        (from, to): (Timestamp, Timestamp),
        value: impl Fn(&Summary) -> V,
    ) -> Result<Merged<V>> {
        let texts: Vec<T> = keys.into_iter().take(crate::series::MAX_KEYS + 1).collect();
        let keys = self.checked_keys(&texts)?;
        let now = self.series.store_time(keys[0].as_str()).await;
        let cover = plan_sum(self.resolutions(), from, to, now);
        let mut total = Summary::new(Self::kind());
        self.each_bucket(&keys, &cover, |_, summary| total.merge(&summary)).await?;
        Ok(Merged { value: value(&total), from: cover.from, to: cover.to })
    }

    fn checked_keys<'a, T: AsRef<str>>(&self, texts: &'a [T]) -> Result<Vec<Key<'a>>> {
        let keys = texts.iter().map(|key| self.series.key(key.as_ref())).collect::<Result<Vec<_>>>()?;
        self.series.check_keys(&keys)?;
        Ok(keys)
    }

    /// Visits the summaries of a cover, each with the start of its bucket.
    async fn each_bucket(
        &self,
        keys: &[Key<'_>],
        cover: &Cover,
        mut visit: impl FnMut(Timestamp, Summary),
    ) -> Result<()> {
        let (name, most) = (self.name(), most_buckets(Self::kind()));
        let buckets = cover.buckets().saturating_mul(i64::try_from(keys.len()).unwrap_or(i64::MAX));
        if buckets > most {
            return Err(out_of_range(format!(
                "series {name}: {buckets} buckets: at most {most} of a series of {}; ask for a shorter range or for fewer keys",
                Self::kind().word()
            )));
        }
        let mut partitions: Vec<(u16, Vec<&str>)> = vec![];
        for key in keys {
            let index = self.series.part(key.as_str()).index;
            match partitions.iter_mut().find(|(other, _)| *other == index) {
                Some((_, keys)) => keys.push(key.as_str()),
                None => partitions.push((index, vec![key.as_str()])),
            }
        }
        let parts = partitions.iter().map(|(_, keys)| self.read_partition(keys, cover));
        for (resolution, summaries) in try_join_all(parts).await?.into_iter().flatten() {
            let resolution = self.resolutions()[resolution];
            for (bucket, summary) in summaries {
                visit(resolution.start(bucket), summary);
            }
        }
        Ok(())
    }

    /// Reads keys of one partition: of each run its resolution, and the summaries.
    async fn read_partition(&self, keys: &[&str], cover: &Cover) -> Result<Vec<(usize, Summaries)>> {
        let mut spans = Vec::with_capacity(keys.len() * cover.runs.len());
        for key in keys {
            spans.extend(cover.runs.iter().map(|run| Span {
                key,
                resolution: self.resolutions()[run.resolution],
                from: run.buckets.start,
                to: run.buckets.end,
            }));
        }
        let part = self.series.part(keys[0]);
        let read = self.series.store.engine().summary_read(Self::summaries(&part), &spans).await?;
        let runs = cover.runs.iter().map(|run| run.resolution).cycle();
        Ok(runs.zip(read).collect())
    }
}

/// The point that a bucket belongs to. No bucket belongs to two.
fn point_of(plan: &Plan, start: Timestamp) -> usize {
    plan.starts.partition_point(|point| *point <= start).saturating_sub(1)
}
