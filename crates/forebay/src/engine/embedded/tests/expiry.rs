//! What comes once and never again takes no memory for long.

use super::start;
use crate::{
    Clock, Name, When,
    engine::{embedded::Embedded, step::Take},
    limit::rule::Rule,
    time::{mins, secs},
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
