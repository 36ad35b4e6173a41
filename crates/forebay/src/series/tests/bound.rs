//! The bound on keys in a shared store: never one more, and none refused for a key that is gone.

use std::collections::BTreeSet;

use forebay_testkit::{Redis as Server, Reply, unique_prefix};

use super::{super::*, NOON};
use crate::{
    Clock, ErrorKind, Event, Forebay, Limit, ManualClock, Retry,
    engine::step::MemberStep,
    time::{hours, mins, secs},
};

async fn process(prefix: &str) -> (Forebay, ManualClock) {
    let hand = ManualClock::at(NOON);
    let options = Forebay::options().clock(Clock::from(hand.clone())).prefix(prefix);
    (options.open(&Server::shared().url()).await.expect("opens"), hand)
}

fn bounded(keys: u64) -> Series {
    Series::new("hits").partitions(4).max_keys(keys)
}

async fn keys(series: &SeriesHandle) -> BTreeSet<String> {
    series.keys(&KeyQuery::new().limit(10_000)).await.expect("lists").keys.into_iter().collect()
}

/// Makes all doubtful members of a prefix due, as if minutes had passed on the server.
fn let_doubts_be_due(prefix: &str) {
    let name = format!("{prefix}:members:{{hits}}:doubtful");
    let Reply::Array(doubtful) = Server::shared().command(["ZRANGE", &name, "0", "-1"]) else {
        panic!("a list")
    };
    for key in doubtful {
        let Reply::Text(key) = key else { panic!("a key: {key:?}") };
        Server::shared().command(["ZADD", &name, "1", &key]);
    }
}

/// Keys of four partitions, from three processes at once, singly and in batches.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn there_are_never_more_keys_than_the_bound_allows() {
    let prefix = unique_prefix();
    let mut tasks = vec![];
    for number in 0..24usize {
        let (bay, _) = process(&prefix).await;
        let series = bay.series(bounded(100)).expect("valid");
        tasks.push(tokio::spawn(async move {
            let (mut added, now) = (BTreeSet::new(), series.store_time("").await);
            for turn in 0..40 {
                let keys: Vec<String> =
                    (0..=turn % 3).map(|i| format!("k{}", (turn * 7 + number * 5 + i * 11) % 300)).collect();
                let points: Vec<_> = keys.iter().cloned().map(|key| (key, 1, now)).collect();
                match series.add_many(points, crate::When::EngineClock).await {
                    Ok(()) => added.extend(keys),
                    Err(error) => {
                        assert_eq!(
                            (error.kind(), error.retry()),
                            (ErrorKind::Overloaded, Retry::Later),
                            "{error}"
                        );
                        assert!(error.to_string().contains("at most 100 (max_keys)"), "{error}");
                    }
                }
            }
            added
        }));
    }
    let mut added = BTreeSet::new();
    for task in tasks {
        added.extend(task.await.expect("ends"));
    }
    let (bay, _) = process(&prefix).await;
    let series = bay.series(bounded(100)).expect("valid");
    assert_eq!(keys(&series).await, added, "what was refused has no count");
    assert!(added.len() > 90 && added.len() <= 100, "{} keys", added.len());
    // Those that were refused in a batch are the room that is left.
    for number in 0..300 {
        series.add(format!("x{number}"), 1).await.ok();
    }
    assert_eq!(keys(&series).await.len(), 100);
    assert_eq!(series.refused_keys(), 300 - u64::try_from(100 - added.len()).expect("few"));
}

#[tokio::test]
async fn a_key_that_is_gone_makes_room_and_one_that_came_back_does_not() {
    let prefix = unique_prefix();
    let ((bay, hand), (other, _)) = (process(&prefix).await, process(&prefix).await);
    let (series, theirs) = (bay.series(bounded(3)).expect("valid"), other.series(bounded(3)).expect("valid"));
    for key in ["a", "b", "c"] {
        series.add(key, 1).await.expect("fits");
        theirs.add(key, 1).await.expect("is there");
    }
    series.delete("a").await.expect("deletes");
    series.delete("b").await.expect("deletes");
    // Another process adds without asking: it has known the key for less than two minutes.
    theirs.add("b", 1).await.expect("is known");
    hand.advance(secs(2));
    assert_eq!(series.add("d", 1).await.expect_err("too early to tell").kind(), ErrorKind::Overloaded);
    let_doubts_be_due(&prefix);
    hand.advance(secs(2));
    series.add("d", 1).await.expect("a is gone");
    hand.advance(secs(2));
    assert_eq!(series.add("e", 1).await.expect_err("b is there").kind(), ErrorKind::Overloaded);
    assert_eq!(keys(&series).await, ["b", "c", "d"].map(str::to_owned).into());
    series.rename("d", "f").await.expect_err("there is no room for both, for a while");
    series
        .delete_between("c", NOON.minus(hours(24 * 1_000)), series.store_time("").await.plus(hours(24)))
        .await
        .ok();
    series.merge("d", "b").await.expect("moves");
    let_doubts_be_due(&prefix);
    hand.advance(mins(3));
    series.add("f", 1).await.expect("d is gone");
}

/// A process that died between its claim and its count, and one that came in between the look and the end of it.
#[tokio::test]
async fn members_that_never_got_a_count_are_given_up_unless_somebody_claims_them() {
    let prefix = unique_prefix();
    let (bay, hand) = process(&prefix).await;
    let series = bay.series(bounded(2)).expect("valid");
    let until = series.store_time("").await.plus(hours(1));
    let claim = MemberStep::Claim { keys: &[("dead", until), ("alive", until)], most: 2 };
    let engine = bay.engine();
    engine.series_members(series.name(), claim).await.expect("claims");
    assert_eq!(series.add("new", 1).await.expect_err("both may be added to").kind(), ErrorKind::Overloaded);
    let_doubts_be_due(&prefix);
    // The slow process goes on: it claims again before it adds.
    let due = engine.series_members(series.name(), MemberStep::Due { most: 10 }).await.expect("answers").due;
    assert_eq!(due.len(), 2);
    engine
        .series_members(series.name(), MemberStep::Claim { keys: &[("alive", until)], most: 2 })
        .await
        .expect("claims");
    engine
        .series_members(series.name(), MemberStep::Looked { gone: &due, kept: &[] })
        .await
        .expect("gives up");
    hand.advance(secs(2));
    series.add("new", 1).await.expect("one is given up");
    hand.advance(secs(2));
    assert_eq!(series.add("other", 1).await.expect_err("the other is not").kind(), ErrorKind::Overloaded);
}

/// All keys were new once, so there are more to look at than one look takes.
#[tokio::test]
async fn a_key_that_is_gone_is_found_behind_many_that_are_not() {
    let prefix = unique_prefix();
    let (bay, hand) = process(&prefix).await;
    let series = bay.series(bounded(1_200)).expect("valid");
    let now = series.store_time("").await;
    let points = (0..1_200).map(|number| (format!("k{number:04}"), 1, now));
    series.add_many(points, crate::When::EngineClock).await.expect("fit");
    series.delete("k1199").await.expect("deletes");
    let_doubts_be_due(&prefix);
    let mut looks = 0;
    while series.add("new", 1).await.is_err() {
        looks += 1;
        assert!(looks < 5, "three looks see all of them");
        hand.advance(secs(2));
    }
}

/// A hit under a key is counted by another way, with the same bound.
#[tokio::test]
async fn a_hit_with_an_idempotency_key_is_bound_too() {
    let prefix = unique_prefix();
    let (bay, _) = process(&prefix).await;
    let series = bay.series(bounded(10)).expect("valid");
    let event = bay.event(Event::new("hit").series(&series)).expect("valid");
    let mut accepted = 0;
    for number in 0..20 {
        match event.hit_keyed(&format!("request {number}"), format!("k{number}"), 1, None).await {
            Ok(hit) => accepted += u32::from(hit.is_accepted()),
            Err(refused) => {
                assert!(refused.error.kind() == ErrorKind::Overloaded && refused.is_nothing(), "{refused:?}");
            }
        }
    }
    assert_eq!((accepted, keys(&series).await.len()), (10, 10));
}

/// A limit must not be charged for a hit that the series cannot count.
#[tokio::test]
async fn a_new_key_beyond_the_bound_is_refused_before_its_event_charges() {
    let prefix = unique_prefix();
    let (bay, _) = process(&prefix).await;
    let (limit, series) =
        (bay.limit(Limit::per_hour("hits", 10)).expect("valid"), bay.series(bounded(1)).expect("valid"));
    let event = bay.event(Event::new("hit").limit(&limit).series(&series)).expect("valid");
    assert!(event.hit("a", 1).await.expect("fits").is_accepted());
    let refused = event.hit("b", 1).await.expect_err("no room");
    assert!(refused.error.kind() == ErrorKind::Overloaded && refused.is_nothing(), "{refused:?}");
    assert_eq!(limit.peek("b").await.expect("answers").remaining(), 10);
    for _ in 0..12 {
        let _ = event.hit("a", 1).await.expect("is a member");
    }
    // The denied hits are sent by then.
    bay.close().await.expect("closes");
    let (other, _) = process(&prefix).await;
    let series = other.series(bounded(1)).expect("valid");
    let counts = (keys(&series).await.len(), keys(&series.limited()).await.len());
    assert_eq!(counts, (1, 1), "each has its own bound");
}
