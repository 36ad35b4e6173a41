//! The keys with the largest and the smallest counts.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use futures::future::try_join_all;

use super::{
    cover::{Cover, plan_sum},
    erase::runs,
    groups::MAX_FILTERED_KEYS,
    handle::SeriesHandle,
    labels::Labels,
    rank_query::{RankQuery, RankSpan},
    read::after,
};
use crate::{
    engine::step::{Rank, RankLevel, Ranked},
    error::{Error, Result, out_of_range},
    time::{Timestamp, hours},
};

/// The counts of so many candidates for each row are read, and no more: where so many keys have nearly the same counts, others do
/// not make the answer exact.
const CANDIDATES_PER_ROW: usize = 50;

/// The maximum number of rows of a ranking.
pub const MAX_RANKED: usize = 1_000;

/// Keys by their counts: the answer of [`SeriesHandle::top`] and [`bottom`](SeriesHandle::bottom).
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// use forebay::{series::RankQuery, time::hours};
/// let hits = bay.series("hits")?;
/// hits.add("user:1", 5).await?;
/// let top = hits.top(&RankQuery::last(hours(1))).await?;
/// assert!(top.is_exact && top.at_most_missed == 0 && top.rows.len() == 1);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ranking {
    /// The keys with their counts, which are exact; keys with the same count by their bytes.
    pub rows: Vec<RankedKey>,
    /// The largest count of any key that was not looked at, at most. It is 0 if all were.
    pub at_most_missed: u64,
    /// Whether no other key belongs here: the last row has more than `at_most_missed`.
    pub is_exact: bool,
    /// The start of the span, as in [`Total`](super::Total).
    pub from: Timestamp,
    /// The end of the span, exclusive.
    pub to: Timestamp,
    /// Whether counts or keys may be missing, as in [`Total::partial`](super::Total::partial).
    pub partial: bool,
}

/// A key and its count.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// use forebay::{Series, series::RankQuery, time::hours};
/// let requests = bay.series(Series::new("requests").labels(["endpoint", "status"]))?;
/// requests.add("/cart|200", 3).await?;
/// requests.add("/cart|500", 1).await?;
/// let top = requests.top(&RankQuery::last(hours(1)).by(["endpoint"])).await?;
/// assert_eq!((top.rows[0].labels[0].1.as_str(), top.rows[0].sum), ("/cart", 4));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RankedKey {
    /// The key; of a group, the one with the values of its labels alone.
    pub key: String,
    /// The labels of the key, or those by which it is grouped.
    pub labels: Vec<(String, String)>,
    /// The count in the span.
    pub sum: u64,
}

/// The rows that come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Largest,
    Smallest,
}

/// The keys that were looked at, with their counts, and what is left.
#[derive(Debug, Default)]
struct Looked {
    sums: Vec<(String, u64)>,
    /// The largest count of any other key, at most.
    others: u64,
    partial: bool,
}

impl SeriesHandle {
    /// The keys with the largest counts in a span. Keys without a count there are left out.
    ///
    /// A store in this process looks at all keys. A shared store does so for at most 10 000 keys; for more, the series has to be
    /// [ranked](super::Series::ranked): the partitions keep lists of their largest keys, and of any other key it is known how many
    /// counts it has at most.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) for another limit than 1 to 1 000, and for more than 10 000 keys of a
    /// filter or of groups in a shared store, unless the series is ranked and there are no groups; else as
    /// [`query_by`](Self::query_by).
    ///
    /// # Cost
    /// Of a ranked series two or three round trips for each partition: its lists, and the counts of those keys that may belong to the
    /// answer. Else that of `query_by`.
    ///
    /// # Examples
    /// As of [`RankQuery`].
    pub async fn top(&self, query: &RankQuery) -> Result<Ranking> {
        let cover = self.rank_cover(query).await?;
        if !query.by.is_empty() {
            let looked = self.look_at_all(query, &cover).await?;
            return Ok(self.ranking(query, &cover, looked, Order::Largest));
        }
        let mut best: Option<Ranking> = None;
        for level in levels(&cover) {
            let Some(looked) = self.look_at_ranked(query, &cover, level).await? else { continue };
            let found = self.ranking(query, &cover, looked, Order::Largest);
            if found.is_exact {
                return Ok(found);
            }
            best = best.filter(|best| best.at_most_missed <= found.at_most_missed).or(Some(found));
        }
        Ok(match best {
            Some(best) => best,
            None => self.ranking(query, &cover, self.look_at_all(query, &cover).await?, Order::Largest),
        })
    }

    /// The keys with the smallest counts in a span, of at most 10 000. Keys without a count in the span come first: those that have
    /// one at another time which is kept.
    ///
    /// # Errors
    /// As [`top`](Self::top) of a series that is not ranked.
    ///
    /// # Cost
    /// As of [`query_by`](Self::query_by).
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::{series::RankQuery, time::hours};
    /// let hits = bay.series("hits")?;
    /// for (key, n) in [("user:1", 5), ("user:2", 8)] {
    ///     hits.add(key, n).await?;
    /// }
    /// assert_eq!(hits.bottom(&RankQuery::last(hours(1))).await?.rows[0].key, "user:1");
    /// # Ok(()) }
    /// ```
    pub async fn bottom(&self, query: &RankQuery) -> Result<Ranking> {
        let cover = self.rank_cover(query).await?;
        Ok(self.ranking(query, &cover, self.look_at_all(query, &cover).await?, Order::Smallest))
    }

    /// The buckets of the span.
    async fn rank_cover(&self, query: &RankQuery) -> Result<Cover> {
        let name = &self.grid.name;
        if !(1..=MAX_RANKED).contains(&query.limit) {
            let limit = query.limit;
            return Err(out_of_range(format!(
                "series {name}: limit {limit} of a ranking: 1 to {MAX_RANKED}"
            )));
        }
        let now = match query.now {
            Some(now) => now,
            None => self.store_time("").await,
        };
        let (from, to) = match query.span {
            RankSpan::Between(from, to) => (from, to),
            RankSpan::Last(span) => (now.minus(span), after(now)),
        };
        if from > to {
            let text = format!("series {name}: a ranking from {from} to {to}: it ends before it begins");
            return Err(out_of_range(text));
        }
        Ok(plan_sum(&self.grid.resolutions, from, to, now))
    }

    /// The counts of all keys of the filter, added up by group.
    async fn look_at_all(&self, query: &RankQuery, cover: &Cover) -> Result<Looked> {
        let places = self.label_places(&query.by)?;
        let (keys, mut partial) = self.all_keys(&self.key_filter(&query.filter)?).await?;
        let mut sums: BTreeMap<String, u64> = BTreeMap::new();
        let read = keys.iter().map(|key| self.key(key)).collect::<Result<Vec<_>>>()?;
        self.read_in_batches(&read, &[cover], |at, read| {
            partial |= read.partial;
            let key = if places.is_empty() { keys[at].clone() } else { self.group_key(&keys[at], &places) };
            let sum = sums.entry(key).or_default();
            *sum = sum.saturating_add(read.sum());
        })
        .await?;
        Ok(Looked { sums: sums.into_iter().collect(), others: 0, partial })
    }

    /// The key with some of the values of a key.
    fn group_key(&self, key: &str, places: &[usize]) -> String {
        let mut values = self.labels.split(key);
        for (place, value) in values.iter_mut().enumerate() {
            if !places.contains(&place) {
                value.clear();
            }
        }
        Labels::join(&values)
    }

    /// The counts of the keys that may be the largest, by the lists of a level; `None` if there are none for the whole span.
    async fn look_at_ranked(
        &self,
        query: &RankQuery,
        cover: &Cover,
        level: RankLevel,
    ) -> Result<Option<Looked>> {
        let filter = self.key_filter(&query.filter)?;
        let fits = |key: &str| filter.fits(key);
        let rank = Rank {
            runs: &runs(&self.grid.resolutions, cover),
            start: cover.from,
            end: cover.to,
            level,
            fits: &fits,
            most: MAX_FILTERED_KEYS,
        };
        let engine = self.store.engine();
        let ask = async |part| {
            let partial = engine.series_may_wait(&part).await;
            Ok::<_, Error>((engine.series_rank(&part, &rank).await?, partial))
        };
        let mut looked = Looked::default();
        let mut candidates: Vec<(Reverse<u64>, String)> = vec![];
        for (answer, partial) in try_join_all(self.parts().map(ask)).await? {
            let Some(Ranked { keys, others }) = answer else { return Ok(None) };
            candidates.extend(keys.into_iter().map(|(key, at_most)| (Reverse(at_most), key)));
            looked.others = looked.others.max(others);
            looked.partial |= partial;
        }
        candidates.sort_unstable();
        self.look_at_largest(&candidates, query.limit, cover, &mut looked).await?;
        Ok(Some(looked))
    }

    /// Reads the counts of candidates, which are in the order of what they have at most, until no other one can be among the first
    /// `limit`, or there are too many: the threshold algorithm of Fagin, Lotem and Naor (2001).
    async fn look_at_largest(
        &self,
        candidates: &[(Reverse<u64>, String)],
        limit: usize,
        cover: &Cover,
        looked: &mut Looked,
    ) -> Result<()> {
        let mut largest: BTreeSet<(u64, usize)> = BTreeSet::new();
        let mut done = 0;
        while let Some((Reverse(at_most), _)) = candidates.get(done) {
            let last = largest.first().map_or(0, |(sum, _)| *sum);
            if largest.len() == limit && (last > *at_most || done >= CANDIDATES_PER_ROW * limit) {
                looked.others = looked.others.max(*at_most);
                break;
            }
            let batch = &candidates[done..candidates.len().min(done + done.max(2 * limit))];
            let keys = batch.iter().map(|(_, key)| self.key(key)).collect::<Result<Vec<_>>>()?;
            self.read_in_batches(&keys, &[cover], |at, read| {
                looked.partial |= read.partial;
                let sum = read.sum();
                largest.insert((sum, done + at));
                if largest.len() > limit {
                    largest.pop_first();
                }
                looked.sums.push((keys[at].as_str().to_owned(), sum));
            })
            .await?;
            done += batch.len();
        }
        Ok(())
    }

    fn ranking(&self, query: &RankQuery, cover: &Cover, looked: Looked, order: Order) -> Ranking {
        let Looked { mut sums, others, partial } = looked;
        match order {
            Order::Largest => {
                sums.retain(|(_, sum)| *sum > 0);
                sums.sort_unstable_by(|(a, x), (b, y)| (Reverse(x), a).cmp(&(Reverse(y), b)));
            }
            Order::Smallest => sums.sort_unstable_by(|(a, x), (b, y)| (x, a).cmp(&(y, b))),
        }
        sums.truncate(query.limit);
        let last = if sums.len() == query.limit { sums.last().map_or(0, |(_, sum)| *sum) } else { 0 };
        let row = |(key, sum): (String, u64)| {
            let is_shown = |label: &str| query.by.is_empty() || query.by.iter().any(|by| *by == *label);
            let labels = self.labels_of(&key).filter(|(label, _)| is_shown(label));
            let labels = labels.map(|(label, value)| (label.to_owned(), value)).collect();
            RankedKey { key, labels, sum }
        };
        Ranking {
            rows: sums.into_iter().map(row).collect(),
            at_most_missed: others,
            is_exact: others == 0 || last > others,
            from: cover.from,
            to: cover.to,
            partial,
        }
    }
}

/// The levels of lists to ask for a span, those that answer it best first.
fn levels(cover: &Cover) -> impl Iterator<Item = RankLevel> {
    let is_short = cover.to.since(cover.from) <= hours(12);
    let mut levels = [RankLevel::Coarse, RankLevel::Fine];
    if is_short {
        levels.reverse();
    }
    levels.into_iter()
}
