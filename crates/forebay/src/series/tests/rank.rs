//! The largest and the smallest keys, against a plain count.

use std::collections::BTreeMap;

use super::{super::*, NOON, in_memory, in_redis};
use crate::{
    ErrorKind, Timestamp,
    engine::step::Which,
    time::{When, days, hours, mins},
};

/// The counts that were added, with their times.
type Added = Vec<(String, Timestamp, u64)>;

fn ranked() -> Series {
    Series::new("hits").partitions(2).ranked()
}

/// A number that looks random, the same in each run.
fn scattered(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

/// Counts of 700 keys over two and a half days, most of them recent. `is_even`: all keys have about the same.
async fn fill(series: &SeriesHandle, rounds: u64, is_even: bool) -> Added {
    let (mut seed, mut added) = (7, vec![]);
    let now = series.store_time("").await;
    for round in 0..rounds {
        let mut points = vec![];
        for place in 0..700 {
            let n = if is_even { 90 + scattered(&mut seed) % 21 } else { 1 + 50_000 / (1 + place) };
            let ago = match scattered(&mut seed) % 4 {
                0 => hours(scattered(&mut seed) % 60),
                1 => mins(scattered(&mut seed) % 600),
                _ => mins(scattered(&mut seed) % 3),
            };
            // The counts go to other keys in each round.
            let key = format!("k{:03}", (place * 13 + round * u64::from(!is_even)) % 700);
            points.push((key, n, now.minus(ago)));
        }
        added.extend(points.iter().map(|(key, n, at)| (key.clone(), *at, *n)));
        series.add_many(points, When::EngineClock).await.expect("counts");
        if round % 2 == 0 {
            seal(series).await;
        }
    }
    added
}

async fn seal(series: &SeriesHandle) {
    for part in series.parts() {
        series.store.engine().series_seal(&part, Which::All).await.expect("seals");
    }
}

/// The counts of each key in the span of an answer.
fn count(added: &Added, found: &Ranking) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for (key, _, n) in added.iter().filter(|(_, at, _)| (found.from..found.to).contains(at)) {
        *sums.entry(key.clone()).or_default() += n;
    }
    sums
}

fn check(added: &Added, found: &Ranking, limit: usize) {
    let mut sums: Vec<(String, u64)> = count(added, found).into_iter().collect();
    sums.sort_by(|(a, x), (b, y)| (y, a).cmp(&(x, b)));
    let rows: Vec<(String, u64)> = found.rows.iter().map(|row| (row.key.clone(), row.sum)).collect();
    if found.is_exact {
        assert_eq!(rows, sums[..limit.min(sums.len())]);
        return;
    }
    for row in &rows {
        assert!(sums.contains(row), "a count that is not exact: {row:?}");
    }
    assert!(rows.is_sorted_by_key(|(_, sum)| std::cmp::Reverse(*sum)));
    let last = rows.last().map_or(0, |(_, sum)| *sum);
    let missed = sums.iter().filter(|row| !rows.contains(row)).map(|(_, sum)| *sum).max().unwrap_or(0);
    assert!(missed <= found.at_most_missed.max(last), "{missed} was missed, not {}", found.at_most_missed);
}

/// The questions that are asked, each with whether lists of skewed counts answer it exactly.
fn questions(now: Timestamp) -> Vec<RankQuery> {
    let midnight = now.minus(std::time::Duration::from_secs(now.as_secs().unsigned_abs() % 86_400));
    vec![
        RankQuery::between(midnight.minus(days(2)), midnight.minus(days(1))),
        RankQuery::between(midnight.minus(days(2)), midnight),
        RankQuery::between(midnight, midnight.plus(days(1))),
        RankQuery::last(hours(24)),
        RankQuery::last(hours(1)),
        RankQuery::last(mins(2)),
        RankQuery::last(days(30)),
        RankQuery::between(now, now),
    ]
}

async fn the_largest_are_found(series: SeriesHandle, is_even: bool) -> usize {
    let mut exact = 0;
    for rounds in [1, 4] {
        let added = fill(&series, rounds, is_even).await;
        for limit in [1, 10, 300] {
            for question in questions(series.store_time("").await) {
                let found = series.top(&question.clone().limit(limit)).await.expect("answers");
                check(&added, &found, limit);
                exact += usize::from(found.is_exact);
            }
        }
        for page in series.keys(&KeyQuery::new().limit(1_000)).await.expect("lists").keys {
            series.delete(page).await.expect("deletes");
        }
    }
    exact
}

#[tokio::test]
async fn the_largest_keys_are_found_in_memory() {
    for is_even in [false, true] {
        let (series, _) = in_memory(ranked()).await;
        assert_eq!(the_largest_are_found(series, is_even).await, 48, "each answer is exact");
    }
}

#[tokio::test]
async fn the_largest_keys_are_found_in_redis() {
    for (is_even, least) in [(false, 24), (true, 8)] {
        let (series, _) = in_redis(ranked(), NOON).await;
        let exact = the_largest_are_found(series, is_even).await;
        assert!(exact >= least, "{exact} of 48 are exact, even: {is_even}");
    }
}

/// Series without lists look at all keys.
#[tokio::test]
async fn a_series_that_is_not_ranked_is_looked_at_key_by_key() {
    let (series, _) = in_redis(Series::new("hits").partitions(2), NOON).await;
    assert_eq!(the_largest_are_found(series, true).await, 48);
}

/// A list that began later does not know the keys of before.
#[tokio::test]
async fn a_bucket_with_counts_from_before_its_lists_is_not_answered_from_them() {
    let (plain, _) = in_redis(Series::new("hits").partitions(1), NOON).await;
    let added = fill(&plain, 2, false).await;
    seal(&plain).await;
    let series = SeriesHandle::new(plain.store.clone(), ranked().partitions(1)).expect("valid");
    series.add("late", 1).await.expect("counts");
    seal(&series).await;
    let found = series.top(&RankQuery::last(hours(24)).limit(5)).await.expect("answers");
    assert!(found.is_exact && found.at_most_missed == 0, "each key was looked at: {found:?}");
    check(&added, &found, 5);
}

/// A program with the older definition must not add past the lists.
#[tokio::test]
async fn lists_have_what_programs_with_another_definition_add() {
    let (series, _) = in_redis(ranked().partitions(1), NOON).await;
    let plain = SeriesHandle::new(series.store.clone(), Series::new("hits").partitions(1)).expect("valid");
    let now = series.store_time("").await;
    let mut added = fill(&series, 2, false).await;
    for (key, n, at) in [("new", 1_000_000, now), ("old", 2_000_000, now.minus(hours(20)))] {
        plain.add_at(key, n, at).await.expect("counts");
        added.push((key.to_owned(), at, n));
    }
    seal(&plain).await;
    let found = series.top(&RankQuery::last(hours(24)).limit(2)).await.expect("answers");
    assert_eq!(found.rows.iter().map(|row| &*row.key).collect::<Vec<_>>(), ["old", "new"]);
    check(&added, &found, 2);
}

/// The counts of a key that moved are those of another one from then on.
#[tokio::test]
async fn lists_follow_merges_and_deletions() {
    let (series, _) = in_redis(ranked(), NOON).await;
    let added = fill(&series, 2, false).await;
    seal(&series).await;
    let day = RankQuery::last(hours(24)).limit(3);
    let before = series.top(&day).await.expect("answers");
    check(&added, &before, 3);
    let [first, second, third] = [0, 1, 2].map(|row: usize| before.rows[row].clone());
    series.merge(&second.key, "merged").await.expect("moves");
    series.merge(&third.key, "merged").await.expect("moves");
    series.delete(&first.key).await.expect("deletes");
    let found = series.top(&day).await.expect("answers");
    assert_eq!((&*found.rows[0].key, found.rows[0].sum), ("merged", second.sum + third.sum));
    assert!(found.is_exact && found.rows.iter().all(|row| ![&first, &second, &third].contains(&row)));
}

#[tokio::test]
async fn groups_and_filters_are_ranked_too() {
    for series in [in_memory(labelled()).await.0, in_redis(labelled(), NOON).await.0] {
        for endpoint in 0..20u64 {
            for (status, n) in [("200", 100 + endpoint), ("500", 20 - endpoint)] {
                series.add(format!("/{endpoint}|{status}"), n).await.expect("counts");
            }
        }
        let hour = RankQuery::last(hours(1)).limit(2);
        let failed =
            series.top(&hour.clone().filter(Filter::new().label("status", "500"))).await.expect("answers");
        assert_eq!(failed.rows.iter().map(|row| &*row.key).collect::<Vec<_>>(), ["/0|500", "/1|500"]);
        let by_status = series.top(&hour.clone().by(["status"])).await.expect("answers");
        let found: Vec<_> = by_status.rows.iter().map(|row| (row.labels.clone(), row.sum)).collect();
        let label = |value: &str| vec![("status".to_owned(), value.to_owned())];
        assert_eq!(found, [(label("200"), 2_190), (label("500"), 210)]);
        let least = series.bottom(&hour.clone().by(["endpoint"])).await.expect("answers");
        assert_eq!(
            least.rows.iter().map(|row| (&*row.key, row.sum)).collect::<Vec<_>>(),
            [("/0", 120), ("/1", 120)]
        );
        let long_ago = RankQuery::between(NOON.minus(days(500)), NOON.minus(days(499)));
        let none = series.bottom(&long_ago.limit(3)).await.expect("answers");
        assert_eq!(none.rows.iter().map(|row| row.sum).collect::<Vec<_>>(), [0, 0, 0]);
        let problem = series.top(&hour.by(["stat"])).await.expect_err("no such label");
        assert_eq!(problem.kind(), ErrorKind::Invalid);
    }
}

fn labelled() -> Series {
    ranked().labels(["endpoint", "status"])
}

#[tokio::test]
async fn a_ranking_that_cannot_be_is_refused() {
    let (series, _) = in_memory("hits").await;
    for query in [
        RankQuery::last(hours(1)).limit(0),
        RankQuery::last(hours(1)).limit(1_001),
        RankQuery::between(NOON, NOON.minus(mins(1))),
    ] {
        assert_eq!(series.top(&query).await.expect_err("it cannot be").kind(), ErrorKind::OutOfRange);
        assert_eq!(series.bottom(&query).await.expect_err("it cannot be").kind(), ErrorKind::OutOfRange);
    }
}
