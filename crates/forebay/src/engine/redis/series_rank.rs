//! The largest keys of a partition of a series on a Redis host: lists that are kept where counts come into chunks (`lua/ranks.lua`).

use std::{collections::HashMap, time::Duration};

use redis::Value;

use super::{
    Redis, chunk,
    open_list::{OpenList, TopLists},
    reply::unexpected,
    script::Script,
};
use crate::{
    engine::step::{Rank, RankLevel, Ranked, SeriesPart},
    error::Result,
    model::resolution::{MAX_COUNT, Resolution},
    time::{Timestamp, days, mins},
};

/// The time for which lists of other buckets than the coarsest are kept, and their bucket.
const FINE_LIFE: Duration = days(2);

/// Points may be ahead of the server's clock by that, and a list begins with its first count.
const AHEAD: Duration = mins(5);

/// The largest number below which each whole number is a double.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// The answer of the lists of some buckets.
#[derive(Debug, Default)]
struct Lists {
    /// Of each key how much more than the others it has at most.
    keys: HashMap<String, u64>,
    /// The count that any key has at most which is in no list.
    others: u64,
}

impl Redis {
    /// Lets a partition have lists of its largest keys.
    pub(super) async fn series_keep_ranks(&self, part: &SeriesPart) -> Result<()> {
        let lists = self.lists_of_keys(part, self.host.server_time().await);
        let ranked: Vec<&Resolution> = part.grid.ranked().collect();
        let mut call = self.host.call(Script::SeriesRank, 1 + lists.len(), 256 + 64 * lists.len());
        call.command.arg(self.keys.series_open(part)).arg(lists);
        call.command.arg(chunk::longest_life(&part.grid).as_millis().to_string()).arg(AHEAD.as_secs());
        for (place, resolution) in ranked.into_iter().enumerate() {
            let life = if place == 0 { resolution.retention + 2 * AHEAD } else { FINE_LIFE };
            call.command.arg(resolution.step.as_secs()).arg((resolution.step + life).as_millis().to_string());
        }
        self.host.run_one(call).await?;
        self.open_buckets.note_ranked(part, true);
        Ok(())
    }

    /// First the open buckets, then the lists: a count that comes into a list in between is seen twice, which only makes what its key
    /// has at most larger.
    pub(crate) async fn series_rank(&self, part: &SeriesPart, rank: &Rank<'_>) -> Result<Option<Ranked>> {
        let strange = || unexpected(self.host.name(), "a question for the largest keys of a series");
        let place = match rank.level {
            RankLevel::Coarse => 0,
            RankLevel::Fine => 1,
        };
        let Some(resolution) = part.grid.ranked().nth(place).copied() else { return Ok(None) };
        let open = self.host.query(redis::cmd("HGETALL").arg(self.keys.series_open(part))).await?;
        let open = OpenList::read(open).ok_or_else(strange)?;
        let now = self.host.server_time().await;
        let tops = open.tops.iter().find(|tops| tops.step == resolution.step.as_secs());
        if !tops.is_some_and(|tops| is_complete(*tops, resolution, rank, now)) {
            return Ok(None);
        }
        let mut at_most: HashMap<String, u64> = HashMap::new();
        let within = |start: &i64| (rank.start..rank.end).contains(&Timestamp::from_secs(*start));
        self.each_open(part, open.starts().filter(within), "", |key, n| {
            if (rank.fits)(&key) {
                let sum = at_most.entry(key).or_default();
                *sum = sum.saturating_add(n);
            }
        })
        .await?;
        let Lists { keys, others } = self.lists_of_ranks(part, resolution, rank).await?;
        for (key, n) in keys.into_iter().filter(|(key, _)| (rank.fits)(key)) {
            let sum = at_most.entry(key).or_default();
            *sum = sum.saturating_add(n);
        }
        let keys = at_most.into_iter().map(|(key, n)| (key, n.saturating_add(others).min(MAX_COUNT)));
        Ok(Some(cut(keys.collect(), others, rank.most)))
    }

    /// Adds up the lists of the buckets of a span.
    async fn lists_of_ranks(
        &self,
        part: &SeriesPart,
        resolution: Resolution,
        rank: &Rank<'_>,
    ) -> Result<Lists> {
        let strange = || unexpected(self.host.name(), "a list of the largest keys of a series");
        let step = resolution.step.as_secs();
        let buckets = buckets(resolution, rank);
        let ask = |bucket| {
            let name = self.keys.series_top(part, step, bucket);
            redis::cmd("ZRANGE").arg(name).arg(0).arg(-1).arg("WITHSCORES").to_owned()
        };
        let mut lists = Lists::default();
        for answer in self.host.read_all(buckets.map(ask).collect()).await? {
            let scored = scores(answer).ok_or_else(strange)?;
            let bound = scored.iter().find(|(key, _)| key.is_empty()).map_or(0, |(_, bound)| *bound);
            lists.others = lists.others.saturating_add(bound);
            for (key, count) in scored.into_iter().filter(|(key, _)| !key.is_empty()) {
                let more = lists.keys.entry(key).or_default();
                *more = more.saturating_add(count.saturating_sub(bound));
            }
        }
        Ok(lists)
    }
}

/// The buckets of a resolution that the span touches.
fn buckets(resolution: Resolution, rank: &Rank<'_>) -> std::ops::Range<i64> {
    if rank.start >= rank.end {
        return 0..0;
    }
    let last = rank.end.minus(Duration::from_micros(1));
    resolution.bucket(rank.start)..resolution.bucket(last).saturating_add(1)
}

/// Whether all buckets of the span have lists without a gap, and none of these is gone.
fn is_complete(tops: TopLists, resolution: Resolution, rank: &Rank<'_>, now: Timestamp) -> bool {
    let start = resolution.span(rank.start).start;
    let is_since = tops.since == 0 || start.as_secs() >= tops.since;
    rank.start >= rank.end || is_since && start.plus(tops.kept) >= now.plus(AHEAD)
}

/// The largest of some keys.
fn cut(mut keys: Vec<(String, u64)>, mut others: u64, most: usize) -> Ranked {
    if keys.len() > most {
        keys.select_nth_unstable_by(most, |(_, a), (_, b)| b.cmp(a));
        others = others.max(keys[most].1);
        keys.truncate(most);
    }
    Ranked { keys, others }
}

/// The keys of a list with their counts.
fn scores(answer: Value) -> Option<Vec<(String, u64)>> {
    let scored: Vec<(String, f64)> = redis::from_redis_value(answer).ok()?;
    Some(scored.into_iter().map(|(key, score)| (key, count(score))).collect())
}

/// The count of a score. From 2^53 on a score is rounded: this is never less than the count was.
fn count(score: f64) -> u64 {
    let above = if score >= MAX_EXACT { score.next_up() } else { score };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count, which stops at the largest number"
    )]
    let count = above as u64;
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_off_bounds_the_others() {
        let keys = [("a", 5), ("b", 9), ("c", 7), ("d", 7)].map(|(key, n)| (key.to_owned(), n));
        let Ranked { mut keys, others } = cut(keys.to_vec(), 3, 2);
        keys.sort_unstable_by_key(|(_, n)| *n);
        assert_eq!((keys.len(), keys[1].1, keys[0].1, others), (2, 9, 7, 7));
        assert_eq!(
            cut(vec![("a".to_owned(), 5)], 3, 2),
            Ranked { keys: vec![("a".to_owned(), 5)], others: 3 }
        );
    }

    #[test]
    fn a_rounded_score_is_never_below_its_count() {
        assert_eq!([0.0, 1.0, 9_007_199_254_740_991.0].map(count), [0, 1, 9_007_199_254_740_991]);
        assert!(count(9_007_199_254_740_992.0) >= 9_007_199_254_740_993);
        assert!(count(9.223_372_036_854_775e18) >= 9_223_372_036_854_775_000);
    }
}
