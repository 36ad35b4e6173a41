//! Runs queries: one round trip for each partition.

use super::{
    cover::{Cover, Run},
    derive::{add_counts, derive},
    handle::SeriesHandle,
    plan::MAX_POINTS,
    query::Query,
    query_plan::QueryPlan,
    range::{Range, Ranges},
};
use crate::{
    engine::step::Span,
    error::{Result, invalid, out_of_range},
    key::Key,
};

/// The maximum number of buckets that a query reads.
pub(super) const MAX_BUCKETS: i64 = 1_000_000;

/// The most buckets that a query of any number of keys reads.
const MAX_READ: i64 = 20_000_000;

/// The maximum number of keys of a query.
pub const MAX_KEYS: usize = 1_000;

/// The buckets of one key.
#[derive(Clone, Debug, Default)]
pub(super) struct Read {
    /// The counts of each run.
    pub counts: Vec<Vec<u64>>,
    /// Whether points may be missing.
    pub partial: bool,
}

impl Read {
    /// The sum of all its buckets.
    pub(super) fn sum(&self) -> u64 {
        self.counts.iter().flatten().copied().fold(0, u64::saturating_add)
    }

    /// Adds those of another key.
    pub(super) fn add(&mut self, other: &Self) {
        add_counts(&mut self.counts, &other.counts);
        self.partial |= other.partial;
    }
}

impl SeriesHandle {
    /// Runs a query for `key`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a key that is empty or longer than 512 bytes, for an unknown zone,
    /// and for options that do not fit together; [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) for a step that is not
    /// a multiple of the finest resolution, for a range that ends before it begins, and for more than 100 000 points or a million
    /// buckets; and when the store does not answer.
    ///
    /// # Cost
    /// One round trip. Averages, minima and maxima read each bucket of the finest resolution; all else reads coarse buckets
    /// inside the points.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// use forebay::{series::{Function, Order, Query}, time::{hours, mins}};
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let hits = bay.series("hits")?;
    /// hits.add("user:42", 6).await?;
    ///
    /// let query = Query::last(hours(1)).step(mins(1)).compute(Function::Moving(5)).order(Order::NewestFirst).limit(10);
    /// let range = hits.query("user:42", &query).await?;
    /// assert_eq!((range.values[0], range.columns.moving_average[0]), (6, Some(1.2)));
    /// # Ok(()) }
    /// ```
    pub async fn query(&self, key: impl AsRef<str>, query: &Query) -> Result<Range> {
        let key = self.key(key.as_ref())?;
        let plan = self.plan(1, key.as_str(), query).await?;
        let read = self.read_covers(&[key], &plan.covers().collect::<Vec<_>>()).await?.remove(0);
        Ok(self.answer(&plan, &read, query))
    }

    /// Runs a query for 1 to 1 000 keys, and for the sum of their counts.
    ///
    /// All keys are read with the same points. The answers of keys on different hosts are not of one moment.
    ///
    /// # Errors
    /// As [`query`](Self::query), where the bounds on points and buckets hold for all keys together;
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for no key, too many, or a key that is there twice. If one partition
    /// does not answer, there is no answer.
    ///
    /// # Cost
    /// One round trip for each partition that has one of the keys, all at the same time.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// use forebay::{series::Query, time::{hours, mins}};
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let hits = bay.series("hits")?;
    /// hits.add("user:42", 2).await?;
    /// hits.add("user:7", 3).await?;
    ///
    /// let answer = hits.query_many(["user:7", "user:42", "user:1"], &Query::last(hours(1)).step(mins(1))).await?;
    /// assert_eq!(answer.ranges.iter().map(|range| range.sum()).collect::<Vec<_>>(), [3, 2, 0]);
    /// assert_eq!(answer.total.sum(), 5);
    /// # Ok(()) }
    /// ```
    pub async fn query_many<K: AsRef<str>>(
        &self,
        keys: impl IntoIterator<Item = K>,
        query: &Query,
    ) -> Result<Ranges> {
        let texts: Vec<K> = keys.into_iter().take(MAX_KEYS + 1).collect();
        let keys = texts.iter().map(|key| self.key(key.as_ref())).collect::<Result<Vec<_>>>()?;
        self.check_keys(&keys)?;
        let plan = self.plan(keys.len(), keys[0].as_str(), query).await?;
        let mut reads = self.read_covers(&keys, &plan.covers().collect::<Vec<_>>()).await?;
        let ranges = reads.iter().map(|read| self.answer(&plan, read, query)).collect();
        let mut all = reads.swap_remove(0);
        for read in &reads {
            all.add(read);
        }
        Ok(Ranges { ranges, total: self.answer(&plan, &all, query) })
    }

    pub(super) fn check_keys(&self, keys: &[Key<'_>]) -> Result<()> {
        let name = &self.grid.name;
        if keys.is_empty() || keys.len() > MAX_KEYS {
            let found = if keys.is_empty() { "no key" } else { "more keys" };
            return Err(invalid(format!("series {name}: {found}: a query has 1 to {MAX_KEYS}")));
        }
        let mut sorted: Vec<&str> = keys.iter().map(|key| key.as_str()).collect();
        sorted.sort_unstable();
        match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(invalid(format!("series {name}: key {:?} is there twice", pair[0]))),
            None => Ok(()),
        }
    }

    /// Plans a query with so many lines, and checks its number of points. The host of `key` tells the time.
    pub(super) async fn plan(&self, lines: usize, key: &str, query: &Query) -> Result<QueryPlan> {
        let now = match query.now {
            Some(now) => now,
            // The clocks of hosts differ by less than points may be ahead.
            None => self.store_time(key).await,
        };
        let name = &self.grid.name;
        let plan = QueryPlan::new(&self.grid.resolutions, query, now)
            .map_err(|error| error.in_context(format_args!("series {name}")))?;
        let points = u64::try_from(plan.points().saturating_mul(lines)).unwrap_or(u64::MAX);
        if points > MAX_POINTS {
            return Err(out_of_range(format!(
                "series {name}: {points} points, with those of all lines, before the range and of the previous period: at most \
                 {MAX_POINTS}; ask for a longer step or a shorter range"
            )));
        }
        Ok(plan)
    }

    pub(super) fn answer(&self, plan: &QueryPlan, read: &Read, query: &Query) -> Range {
        let mut range = derive(plan, &self.grid.resolutions, &read.counts, query);
        range.partial = read.partial;
        if let Some(previous) = &mut range.previous {
            previous.partial = read.partial;
        }
        range
    }

    /// Reads the buckets of covers: one answer for each key, with the runs of all covers in order.
    pub(super) async fn read_covers(&self, keys: &[Key<'_>], covers: &[&Cover]) -> Result<Vec<Read>> {
        let each: i64 = covers.iter().map(|cover| cover.buckets()).sum();
        let buckets = each.saturating_mul(i64::try_from(keys.len()).unwrap_or(i64::MAX));
        if buckets > MAX_BUCKETS {
            return Err(out_of_range(format!(
                "series {}: {buckets} buckets: at most {MAX_BUCKETS}; ask for a shorter range",
                self.grid.name
            )));
        }
        let mut partitions: Vec<(u16, Vec<usize>)> = vec![];
        for (place, key) in keys.iter().enumerate() {
            let index = self.part(key.as_str()).index;
            match partitions.iter_mut().find(|(other, _)| *other == index) {
                Some((_, places)) => places.push(place),
                None => partitions.push((index, vec![place])),
            }
        }
        let mut parts = Vec::with_capacity(partitions.len());
        for (_, places) in &partitions {
            let keys = places.iter().map(|place| keys[*place].as_str()).collect();
            parts.push(self.read_partition(keys, covers));
        }
        let answers = futures::future::try_join_all(parts).await?;
        let mut reads = vec![Read::default(); keys.len()];
        for ((_, places), answers) in partitions.iter().zip(answers) {
            places.iter().zip(answers).for_each(|(place, read)| reads[*place] = read);
        }
        Ok(reads)
    }

    /// Reads the buckets of covers of many keys, as many at a time as a query may have, and gives each key's place and answer to
    /// `take`, in the order of the keys.
    pub(super) async fn read_in_batches(
        &self,
        keys: &[Key<'_>],
        covers: &[&Cover],
        mut take: impl FnMut(usize, Read),
    ) -> Result<()> {
        let each = covers.iter().map(|cover| cover.buckets()).sum::<i64>().max(1);
        let all = each.saturating_mul(i64::try_from(keys.len()).unwrap_or(i64::MAX));
        if all > MAX_READ || each > MAX_BUCKETS {
            let (name, count) = (&self.grid.name, keys.len());
            let most = if each > MAX_BUCKETS { MAX_BUCKETS } else { MAX_READ };
            return Err(out_of_range(format!(
                "series {name}: {all} buckets of {count} keys: at most {most}; ask for fewer keys or a shorter range, or give \
                 the series a coarser resolution with as long a retention"
            )));
        }
        let group = usize::try_from(MAX_BUCKETS / each).unwrap_or(1).clamp(1, MAX_KEYS);
        let mut place = 0;
        for keys in keys.chunks(group) {
            for read in self.read_covers(keys, covers).await? {
                take(place, read);
                place += 1;
            }
        }
        Ok(())
    }

    /// Reads keys of one partition.
    async fn read_partition(&self, keys: Vec<&str>, covers: &[&Cover]) -> Result<Vec<Read>> {
        let runs: Vec<&Run> = covers.iter().flat_map(|cover| &cover.runs).collect();
        let mut spans = Vec::with_capacity(keys.len() * runs.len());
        for key in &keys {
            spans.extend(runs.iter().map(|run| Span {
                key,
                resolution: self.grid.resolutions[run.resolution],
                from: run.buckets.start,
                to: run.buckets.end,
            }));
        }
        let (engine, part) = (self.store.engine(), self.part(keys[0]));
        // Before the read: what is handed over after the question is in no answer yet.
        let partial = engine.series_may_wait(&part).await;
        let mut counts = engine.series_read(&part, &spans).await?.into_iter();
        let read = |_| Read { counts: counts.by_ref().take(runs.len()).collect(), partial };
        Ok(keys.iter().map(read).collect())
    }
}
