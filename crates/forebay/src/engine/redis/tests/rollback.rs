//! A store that goes back to its last snapshot, a clock that steps back, and writers that died: counts are there once, but for
//! those after the snapshot.

use forebay_testkit::{Redis as Server, eventually, unique_prefix};

use super::sealing::{open, part, point, sum};
use crate::{
    engine::{
        redis::Redis,
        step::{SeriesPart, Which},
    },
    model::resolution::Resolution,
    time::{Timestamp, days, secs},
};

/// The sum of each resolution, all of which keep everything.
async fn sums(redis: &Redis, part: &SeriesPart) -> Vec<u64> {
    let mut sums = vec![];
    for &resolution in &part.grid.resolutions {
        sums.push(sum(redis, part, resolution, "k").await);
    }
    sums.dedup();
    sums
}

async fn add(redis: &Redis, part: &SeriesPart, at: Timestamp, n: u64) {
    redis.series_add(part, vec![point("k", at, n)], redis.series_now(part).await).await.expect("counts");
}

/// Counts that were sealed after the snapshot are in the open bucket again, and those of chunks are not there twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_goes_back_between_a_count_and_its_chunk_has_what_its_snapshot_had() {
    for seals_before in [false, true] {
        let server = Server::builder().option("save", "").start();
        let (prefix, part) = (unique_prefix(), part(&Resolution::defaults()));
        let redis = open(&server.url(), &prefix).await;
        let at = redis.series_now(&part).await.minus(secs(3));
        add(&redis, &part, at, 5).await;
        if seals_before {
            redis.series_seal(&part, Which::All).await.expect("seals");
            add(&redis, &part, at, 2).await;
        }
        let kept = if seals_before { 7 } else { 5 };
        server.command(["SAVE"]);
        redis.series_seal(&part, Which::All).await.expect("seals");
        add(&redis, &part, at, 100).await;
        assert_eq!(sums(&redis, &part).await, [100 + kept]);
        tokio::task::block_in_place(|| {
            server.kill();
            server.restart();
        });
        // The same process goes on: it knows of other open buckets, and of a later sequence.
        eventually("the server", async || redis.series_seal(&part, Which::All).await.is_ok()).await;
        assert_eq!(
            sums(&redis, &part).await,
            [kept],
            "what came after the snapshot is lost, and nothing is doubled"
        );
        let now = redis.series_now(&part).await;
        redis.series_add(&part, vec![point("k", at, 1)], now).await.expect("counts");
        assert_eq!(sums(&redis, &part).await, [kept + 1]);
        redis.series_seal(&part, Which::All).await.expect("seals");
        assert_eq!(sums(&redis, &part).await, [kept + 1]);
    }
}

/// The clock of the writers steps back over the edges of buckets that were sealed, and forward again.
#[tokio::test]
async fn a_clock_that_steps_back_over_the_edge_of_a_bucket_counts_once() {
    let (prefix, part) = (unique_prefix(), part(&Resolution::defaults()));
    let redis = open(&Server::shared().url(), &prefix).await;
    let edge = part.grid.resolutions[0].span(redis.series_now(&part).await).start;
    let mut expected = 0;
    for (step, steps) in [(1, 11u64), (2, 1), (3, 86_401), (4, 0), (5, 61), (6, 901)] {
        let now = edge.minus(secs(steps));
        redis.series_add(&part, vec![point("k", now, step)], now).await.expect("counts");
        expected += step;
        if step % 2 == 0 {
            redis.series_seal(&part, Which::All).await.expect("seals");
        }
        let coarsest = part.grid.resolutions[3];
        assert_eq!(sum(&redis, &part, coarsest, "k").await, expected);
    }
    redis.series_seal(&part, Which::All).await.expect("seals");
    assert_eq!(sum(&redis, &part, part.grid.resolutions[1], "k").await, expected);
}

/// Nobody writes or seals for two days: whoever comes then finds all of it, and moves it to the resolutions that still keep it.
#[tokio::test]
async fn buckets_that_all_writers_left_open_are_sealed_by_whoever_comes() {
    let (prefix, part) = (unique_prefix(), part(&Resolution::defaults()));
    let redis = open(&Server::shared().url(), &prefix).await;
    let now = redis.series_now(&part).await;
    let before = now.minus(days(2));
    // As the buckets of then would be there: points of two days ago go to an open bucket only in tests.
    let name = redis.keys.series_bucket(&part, part.grid.resolutions[0].span(before).start.as_secs());
    let (open_list, start) =
        (redis.keys.series_open(&part), part.grid.resolutions[0].span(before).start.as_secs().to_string());
    Server::shared().command(["HSET", &name, "k", "41", "", &" ".repeat(65)]);
    Server::shared().command(["HSET", &open_list, &start, "10/86400,60/604800,900/2592000,86400/63072000"]);
    let other = open(&Server::shared().url(), &prefix).await;
    let [ten, minute, quarter, day] = [0, 1, 2, 3].map(|place| part.grid.resolutions[place]);
    for seals in [false, true] {
        if seals {
            other.series_seal(&part, Which::Due).await.expect("looks");
            other.series_seal(&part, Which::All).await.expect("seals");
        }
        for (resolution, expected) in [(minute, 41), (quarter, 41), (day, 41)] {
            assert_eq!(sum(&other, &part, resolution, "k").await, expected, "sealed: {seals}");
        }
    }
    assert_eq!(sum(&other, &part, ten, "k").await, 0, "it does not keep that time any more");
    assert!(Server::shared().command(["EXISTS", &name]) == forebay_testkit::Reply::Integer(0));
}
