//! A key that is used once takes no memory for long.

use std::sync::Arc;

use super::{SYNC, disk::Disk, engine, start};
use crate::{
    Clock, Name, When,
    engine::{
        embedded::Embedded,
        step::{Point, SeriesPart, Span, Take},
    },
    model::{
        rate::rule::Rule,
        resolution::{Grid, Resolution},
    },
    time::{millis, mins, secs},
};

/// How many: `scripts/faults limit` sets a million.
fn keys() -> usize {
    std::env::var("FOREBAY_TEST_KEYS").map_or(100_000, |n| n.parse().expect("a number"))
}

#[tokio::test]
async fn keys_that_come_once_are_gone_when_they_count_nothing_and_a_window_later() {
    let hand = start();
    let engine = Embedded::in_memory(Clock::from(hand.clone()));
    let limit = Name::new("once").expect("valid");
    let rules = [
        Rule::fixed_window(5, secs(60), secs(0)).expect("valid"),
        Rule::sliding_window(5, secs(60)).expect("valid"),
        Rule::token_bucket(5, secs(60), 5).expect("valid"),
    ];
    let all = keys();
    for n in 0..all {
        let (key, rule) = (n.to_string(), rules[n % 3]);
        let take = Take { limit: &limit, key: &key, rule, cost: 1, within: secs(1) };
        assert!(engine.take(take, When::EngineClock).await.expect("answers").allowed);
    }
    assert_eq!(engine.keys(), all);
    hand.advance(mins(1));
    engine.sweep();
    assert!(engine.keys() > 0, "what was taken in the last window still overlaps");
    hand.advance(mins(1));
    engine.sweep();
    assert!(engine.keys() <= all.div_ceil(3), "only those of the sliding window are kept for longer");
    hand.advance(mins(1));
    engine.sweep();
    assert_eq!(engine.keys(), 0);
}

/// The buckets of an hour share a chunk, which went when the last of them had, used or not.
#[tokio::test]
async fn a_key_of_a_series_goes_with_its_last_count_and_comes_back_from_the_file_until_then() {
    let (hand, disk) = (start(), Disk::default());
    let second = Resolution::new(secs(1), secs(30)).expect("valid");
    let grid = Grid {
        name: Name::new("s").expect("valid"),
        resolutions: [second].into(),
        partitions: 1,
        is_ranked: false,
    };
    let part = SeriesPart::new(Arc::new(grid), 0);
    let count = async |engine: &Embedded| {
        let last = second.bucket(hand_now(&hand)) + 1;
        let span = Span { key: "k", resolution: second, from: last - 40, to: last };
        engine.series_read(&part, &[span]).await.expect("answers").concat().iter().sum::<u64>()
    };
    let file = engine(disk.opener(), SYNC, &hand).await;
    hand.advance(millis(300));
    let point = Point { key: "k".into(), at: hand_now(&hand), n: 7 };
    file.series_add(&part, vec![point], hand_now(&hand)).await.expect("counts");
    hand.advance(millis(30_100));
    file.close().await.expect("closes");
    let file = engine(disk.opener(), SYNC, &hand).await;
    file.sweep();
    assert_eq!(count(&file).await, 7, "kept for another 0.6 s");
    hand.advance(millis(600));
    file.sweep();
    assert_eq!(file.keys(), 0);
    file.close().await.expect("closes");
    let file = engine(disk.opener(), SYNC, &hand).await;
    assert_eq!(file.keys(), 0, "gone from the file too");
    file.close().await.expect("closes");
}

fn hand_now(hand: &crate::ManualClock) -> crate::Timestamp {
    Clock::from(hand.clone()).now()
}
