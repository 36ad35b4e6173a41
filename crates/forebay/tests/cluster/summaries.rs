//! Series of other kinds than hits on several hosts: unions across them, moves of slots, and a host that is down.

use std::sync::atomic::{AtomicBool, Ordering};

use forebay::{
    Forebay, Retry,
    series::{DistinctHandle, GaugeHandle, KeyQuery, PercentilesHandle},
    time::{days, hours},
};
use forebay_testkit::{Redis, unique_prefix, without};
use futures::future::join_all;
use tokio::task::block_in_place;

use crate::join::{move_slots, of};

const WRITERS: u64 = 12;

/// A store with a series of each kind.
struct Store {
    visitors: DistinctHandle,
    temperature: GaugeHandle,
    latency: PercentilesHandle,
    ended: AtomicBool,
}

impl Store {
    fn new(bay: &Forebay) -> Self {
        Self {
            visitors: bay.distinct("visitors").expect("valid"),
            temperature: bay.gauge("temperature").expect("valid"),
            latency: bay.percentiles("latency").expect("valid"),
            ended: AtomicBool::new(false),
        }
    }

    /// Adds to a key of each until it is over. Nobody is in doubt while slots move.
    async fn write(&self, writer: u64) -> (String, u64) {
        let (key, mut added) = (format!("key-{writer}"), 0);
        while !self.ended.load(Ordering::Relaxed) {
            self.visitors.add(&key, added.to_string()).await.expect("an answer");
            self.temperature.record(&key, added as f64).await.expect("an answer");
            self.latency.record(&key, 1.0 + added as f64).await.expect("an answer");
            added += 1;
        }
        (key, added)
    }

    /// Checks that keys have so many points of each kind together.
    async fn check(&self, keys: &[String], added: u64) {
        let now = self.latency.store_time("key-0").await;
        let (from, to) = (now.minus(days(1)), now.plus(hours(1)));
        let stats = self.temperature.stats_between(keys, from, to).await.expect("answers");
        assert_eq!(stats.value.map(|stats| stats.count), Some(added), "{keys:?}");
        let found = self.latency.distribution_between(keys, from, to).await.expect("answers");
        assert_eq!(found.value.count(), added, "{keys:?}");
    }
}

/// Slots leave a host and come back while points are added. What was acknowledged counts once, of every kind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn points_that_come_while_slots_move_count_once() {
    if without("redis") {
        return;
    }
    let servers: [Redis; 3] = block_in_place(|| std::array::from_fn(|_| Redis::start()));
    let (prefix, three) = (unique_prefix(), of("abc", &servers));
    let bay = Forebay::options().prefix(&prefix).open_hosts(three.clone()).await.expect("opens");
    let store = Store::new(&bay);
    let moves = async {
        for target in ["ac", "abc", "bc", "abc"] {
            move_slots(&prefix, &three, &of(target, &servers), 0).await;
        }
        store.ended.store(true, Ordering::Relaxed);
    };
    let writers = join_all((0..WRITERS).map(|writer| store.write(writer)));
    let (written, ()) = futures::join!(writers, moves);
    let (mut keys, mut all) = (vec![], 0);
    for (key, added) in written {
        assert!(added > 20, "{key}: {added}");
        store.check(std::slice::from_ref(&key), added).await;
        let count = store.visitors.count(&key, hours(1)).await.expect("answers");
        assert!((count as f64 / added as f64 - 1.0).abs() < 0.03, "{key}: {count} of {added}");
        all += added;
        keys.push(key);
    }
    store.check(&keys, all).await;
    keys.sort_unstable();
    let list = KeyQuery::new();
    let listed =
        futures::join!(store.visitors.keys(&list), store.temperature.keys(&list), store.latency.keys(&list));
    for listed in [listed.0, listed.1, listed.2] {
        assert_eq!(listed.expect("answers").keys, keys);
    }
}

/// Points of hits wait on another host. Those of other kinds are refused, and the keys of other hosts go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn points_for_a_host_that_is_down_are_refused() {
    if without("redis") {
        return;
    }
    let servers: [Redis; 3] = block_in_place(|| std::array::from_fn(|_| Redis::start()));
    let (prefix, three) = (unique_prefix(), of("abc", &servers));
    let bay = Forebay::options().prefix(&prefix).open_hosts(three).await.expect("opens");
    let temperature = bay.gauge("temperature").expect("valid");
    block_in_place(|| servers[1].kill());
    let (mut refused, mut taken) = (0, 0);
    for key in 0..60 {
        match temperature.record(format!("key-{key}"), 1.0).await {
            Ok(()) => taken += 1,
            Err(error) => {
                assert!(error.retry() != Retry::Never, "{error}");
                refused += 1;
            }
        }
    }
    assert!(taken > 10 && refused > 5, "{taken} taken, {refused} refused");
}
