//! Buckets as an export reads them, from open buckets and from chunks.

use super::{NOON, in_memory, in_redis, two_steps};
use crate::{
    series::{Buckets, SeriesHandle},
    time::{When, mins, secs},
};

/// The buckets that are not zero: seconds before noon, length, count.
async fn read(series: &SeriesHandle) -> Vec<(u64, u64, u64)> {
    let mut reader = series.buckets("k", NOON.minus(mins(10)), NOON.plus(mins(10)));
    let mut found = vec![];
    while let Some(page) = reader.next().await.expect("answers") {
        for Buckets { mut start, step, counts } in page {
            for n in counts {
                if n > 0 {
                    found.push((NOON.since(start).as_secs(), step.as_secs(), n));
                }
                start = start.plus(step);
            }
        }
    }
    found
}

#[tokio::test]
async fn every_store_reads_the_same_buckets() {
    let points = (0..28).map(|n| ("k", n + 1, NOON.minus(secs(9 * n))));
    let (memory, _) = in_memory(two_steps()).await;
    memory.add_many(points.clone(), When::EngineClock).await.expect("kept");
    let found = read(&memory).await;
    assert_eq!(found.iter().map(|(_, _, n)| n).sum::<u64>(), 28 * 29 / 2);
    // Buckets of a second are kept for 30 s, of which the last quarter is left out.
    let seconds = found.iter().filter(|(_, step, _)| *step == 1).map(|(ago, _, n)| (*ago, *n));
    assert_eq!(seconds.collect::<Vec<_>>(), [(18, 3), (9, 2), (0, 1)], "{found:?}");

    // Redis decides by its own clock, so that the points are of now.
    let (redis, _) = in_redis(two_steps(), NOON).await;
    let now = redis.store_time("k").await;
    let points = (0..28).map(|n| ("k", n + 1, now.minus(secs(9 * n))));
    redis.add_many(points, When::EngineClock).await.expect("kept");
    let mut reader = redis.buckets("k", now.minus(mins(10)), now.plus(mins(1)));
    let mut sum = 0;
    while let Some(page) = reader.next().await.expect("answers") {
        sum += page.iter().flat_map(|buckets| &buckets.counts).sum::<u64>();
    }
    assert_eq!(sum, 28 * 29 / 2);
}
