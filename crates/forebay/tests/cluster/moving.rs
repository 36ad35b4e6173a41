//! A slot that is half moved: some of its keys are on one node, and some on the other. What needs several of them waits, is refused
//! after a second with nothing done, and goes on when the move has ended. Each case moves the keys by hand.

use std::time::Duration;

use forebay::{
    Buffer, Error, ErrorKind, Forebay, Limit, Retry,
    buffer::BufferHandle,
    limit::{Charge, OnError},
    lock::{Attempt, Release},
    sink::MemorySink,
    time::{days, millis, mins, secs},
};
use forebay_testkit::{RedisCluster, SlotMove, eventually, unique_prefix, without};
use futures::future::BoxFuture;
use tokio::task::block_in_place;

use crate::{nodes::rows, points::whole};

/// How long a call waits at least before it is refused.
const PATIENCE: Duration = millis(800);

/// A call on the keys of one slot, which adds one where it is carried out.
type Call<'a, T> = &'a dyn Fn() -> BoxFuture<'static, Result<T, Error>>;

/// Which keys of a slot move first, in words and by their names.
#[derive(Clone, Copy)]
struct First(&'static str, fn(&str) -> bool);

const NONE: First = First("none", |_| false);
const GUARD: First = First("the guard", |key| key.ends_with(":guard"));
const REST: First = First("all but the guard", |key| !key.ends_with(":guard"));

/// Begins to move a slot to a node that does not have it, and moves some of its keys.
fn half_move(cluster: &RedisCluster, slot: u16, first: First) -> SlotMove<'_> {
    let owner = cluster.owner(slot).port();
    let to = cluster.nodes().iter().find(|node| node.port() != owner).expect("another");
    let moving = cluster.begin_move(slot, to);
    let keys = moving.keys();
    let gone: Vec<String> = keys.iter().filter(|key| (first.1)(key)).cloned().collect();
    assert_eq!(gone.is_empty(), first.0 == NONE.0, "{}: {keys:?}", first.0);
    moving.migrate(&gone);
    moving
}

/// Moves some keys of a slot. A call is refused then, and nothing of it is done. Another one waits, and is
/// carried out when the rest has moved.
async fn waits_for_the_rest<T: Send + std::fmt::Debug + 'static>(
    cluster: &RedisCluster,
    slot: u16,
    first: First,
    call: Call<'_, T>,
) -> T {
    let moving = block_in_place(|| half_move(cluster, slot, first));
    let what = first.0;
    let clock = forebay::Clock::system();
    let began = clock.monotonic();
    let error = call().await.expect_err("two nodes have its keys");
    let took = clock.monotonic().saturating_sub(began);
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Now), "{what}: {error}");
    assert!(error.to_string().contains("on the move"), "{what}: {error}");
    assert!(took >= PATIENCE, "{what}: {took:?}");
    let waiting = tokio::spawn(call());
    block_in_place(|| moving.end());
    waiting.await.expect("ends").unwrap_or_else(|error| panic!("{what}: {error}"))
}

async fn open(cluster: &RedisCluster) -> Forebay {
    Forebay::options().prefix(unique_prefix()).open(&cluster.url()).await.expect("opens")
}

/// A buffer of one partition with a row, its slot, and what adds one to the row.
fn buffer(bay: &Forebay) -> (BufferHandle, u16, impl Fn() -> BoxFuture<'static, Result<(), Error>>) {
    let buffer = bay.buffer(Buffer::new("rows").key("id").sum("n").partitions(1)).expect("valid");
    let route = bay.cluster().route_row(&buffer, ["a".into()]).expect("valid");
    let add = {
        let buffer = buffer.clone();
        move || -> BoxFuture<'static, Result<(), Error>> {
            let row = buffer.row("a").add("n", 1);
            Box::pin(row.into_future())
        }
    };
    (buffer, route.slot.expect("by slots"), add)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rows_wait_while_the_guard_and_the_live_generation_are_apart() {
    if without("redis") {
        return;
    }
    let cluster = block_in_place(RedisCluster::start);
    let bay = open(&cluster).await;
    let (buffer, slot, add) = buffer(&bay);
    let sink = MemorySink::new();
    let _ = buffer.flush_to(sink.clone());
    add().await.expect("buffered");
    let mut expected = 1;
    for first in [GUARD, REST] {
        waits_for_the_rest(&cluster, slot, first, &add).await;
        expected += 1;
    }
    // The guard is there and no generation is live anywhere: it must not begin one beside one that comes.
    for first in [NONE, GUARD] {
        buffer.flush().await.expect("flushed");
        assert_eq!(rows(&sink, &buffer, "a"), expected, "{}", first.0);
        waits_for_the_rest(&cluster, slot, first, &add).await;
        expected += 1;
    }
    buffer.flush().await.expect("flushed");
    assert_eq!(rows(&sink, &buffer, "a"), expected);
}

/// A flush renames the live generation to a key that neither node has.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_flush_waits_while_its_generation_is_on_the_way() {
    if without("redis") {
        return;
    }
    let cluster = block_in_place(RedisCluster::start);
    let bay = open(&cluster).await;
    let (buffer, slot, add) = buffer(&bay);
    let sink = MemorySink::new();
    let _ = buffer.flush_to(sink.clone());
    for (round, first) in (1..).zip([NONE, REST, GUARD]) {
        add().await.expect("buffered");
        let moving = block_in_place(|| half_move(&cluster, slot, first));
        buffer.flush().await.expect_err("the next key of its generation is on no node");
        assert_eq!(rows(&sink, &buffer, "a"), round - 1, "{}", first.0);
        block_in_place(|| moving.end());
        eventually("a flush", async || buffer.flush().await.is_ok()).await;
        assert_eq!(rows(&sink, &buffer, "a"), round, "{}", first.0);
    }
}

/// Unlike rows of a single partition, points have another place to go to.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn points_go_elsewhere_while_the_guard_and_the_chunks_are_apart_and_count_once() {
    if without("redis") {
        return;
    }
    let cluster = block_in_place(RedisCluster::start);
    let bay = open(&cluster).await;
    let series = bay.series("hits").expect("valid");
    let slot = bay.cluster().route_series(&series, "a").slot.expect("by slots");
    series.add("a", 1).await.expect("counted");
    for (sum, first) in (3..).step_by(2).zip([GUARD, REST]) {
        let moving = block_in_place(|| half_move(&cluster, slot, first));
        let clock = forebay::Clock::system();
        let began = clock.monotonic();
        series.add("a", 1).await.expect("another node takes it");
        let took = clock.monotonic().saturating_sub(began);
        assert!(took >= PATIENCE, "{}: {took:?}", first.0);
        let waiting = {
            let series = series.clone();
            tokio::spawn(async move { series.add("a", 1).await })
        };
        block_in_place(|| moving.end());
        waiting.await.expect("ends").expect("counted");
        eventually("all points", async || whole(&series, &bay, "a").await == Some(sum)).await;
    }
}

/// The queue of a lock is absent, so that only one of its keys can be on the way.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_lock_is_neither_given_nor_denied_while_its_slot_moves() {
    if without("redis") {
        return;
    }
    let cluster = block_in_place(RedisCluster::start);
    let bay = open(&cluster).await;
    let lock = bay.lock("report").ttl(mins(10));
    let slot = bay.cluster().route_lock("report").slot.expect("by slots");
    let attempt = {
        let lock = lock.clone();
        move || -> BoxFuture<'static, Result<Attempt<forebay::lock::Guard>, Error>> {
            let lock = lock.clone();
            Box::pin(async move { lock.try_acquire().await })
        }
    };
    let Attempt::Acquired(guard) = attempt().await.expect("answers") else { panic!("it is free") };
    let fence = guard.fence();
    let all = First("all that there is", |key| key.ends_with("{report}"));
    for first in [NONE, all] {
        let answer = waits_for_the_rest(&cluster, slot, first, &attempt).await;
        assert!(matches!(answer, Attempt::Held { .. }), "{}: {answer:?}", first.0);
        assert!(guard.is_held());
    }
    assert_eq!(guard.release().await.expect("answers"), Release::Released);
    let free = waits_for_the_rest(&cluster, slot, all, &attempt).await.acquired().expect("it is free");
    assert!(free.fence() > fence, "{} after {fence}", free.fence());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_limits_charge_both_or_none_while_their_keys_are_apart() {
    if without("redis") {
        return;
    }
    let cluster = block_in_place(RedisCluster::start);
    let bay = open(&cluster).await;
    let limit = |name| {
        let limit = Limit::new(name, 1_000, days(366)).on_error(OnError::Closed).deadline(secs(10));
        bay.limit(limit).expect("valid")
    };
    let both = [limit("one"), limit("two")];
    let slot = bay.cluster().route_limit("a").slot.expect("by slots");
    let take = || {
        let (bay, both) = (bay.clone(), both.clone());
        async move {
            let charges = both.map(|limit| Charge { limit, key: "a".into(), cost: 1 });
            bay.take_all(&charges).await.expect("a policy decides").allowed
        }
    };
    assert!(take().await);
    for (used, first) in (2..).zip([
        First("the first limit", |key| key.contains(":one:")),
        First("the second limit", |key| key.contains(":two:")),
    ]) {
        let moving = block_in_place(|| half_move(&cluster, slot, first));
        assert!(!take().await, "{}", first.0);
        let waiting = tokio::spawn(take());
        block_in_place(|| moving.end());
        assert!(waiting.await.expect("ends"), "{}", first.0);
        for limit in &both {
            assert_eq!(limit.peek("a").await.expect("answers").used(), used, "{}", first.0);
        }
    }
}
