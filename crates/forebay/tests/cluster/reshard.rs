//! Slots that the tools of Redis and Valkey move under load: no count of a limit, a series, a buffer or a plain key is lost or doubled.
//!
//! `FOREBAY_SLOTS` slots are moved, 100 without it; `scripts/faults cluster` has 1 000. All have keys: those of all groups
//! of limits and of all partitions are among them.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use forebay::{Error, Forebay, Retry, sink::MemorySink, time::secs};
use forebay_testkit::{Redis, RedisCluster, Reply as Answer, eventually, unique_prefix, without};
use futures::future::join_all;
use tokio::task::{JoinHandle, block_in_place};

use crate::nodes::Structures;

const WRITERS: usize = 32;

/// The acknowledged counts of a key in the limit, the series, the buffer and a plain counter.
pub(crate) type Counts = [u64; 4];

#[derive(Clone, Default)]
pub(crate) struct Load {
    pub stop: Arc<AtomicBool>,
    pub acknowledged: Arc<AtomicU64>,
    pub refused: Arc<AtomicU64>,
}

impl Load {
    /// Counts one more, unless a slot moved for too long.
    fn record(&self, answer: Result<(), Error>, count: &mut u64) {
        match answer {
            Ok(()) => {
                *count += 1;
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                let text = format!("{error:?}");
                let told =
                    ["on the move", "on its way", "have moved"].iter().any(|words| text.contains(words));
                let waited = error.retry() == Retry::Now && told;
                assert!(waited, "{error:?}");
                self.refused.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Waits for so many further counts.
    pub(crate) async fn more(&self, counts: u64, writers: &[Writer]) {
        let until = self.acknowledged.load(Ordering::Relaxed) + counts;
        eventually("more counts", async || {
            self.acknowledged.load(Ordering::Relaxed) >= until || writers.iter().any(JoinHandle::is_finished)
        })
        .await;
    }
}

pub(crate) type Writer = JoinHandle<Vec<(String, Counts)>>;

pub(crate) async fn take(structures: &Structures, key: &str) -> Result<(), Error> {
    let taken = structures.limit.take(key).await?;
    assert!(taken.is_allowed() && !taken.is_degraded(), "{taken:?}");
    Ok(())
}

pub(crate) async fn incr(bay: &Forebay, key: &str) -> Result<(), Error> {
    let mut map = bay.cluster().map();
    let ticket = map.incr(key, 1);
    map.run().await.get(ticket)?;
    Ok(())
}

/// Adds one to each of the keys in turn.
pub(crate) async fn write(structures: Structures, keys: Vec<String>, load: Load) -> Vec<(String, Counts)> {
    let mut own: Vec<(String, Counts)> = keys.into_iter().map(|key| (key, [0; 4])).collect();
    loop {
        for (key, counts) in &mut own {
            if load.stop.load(Ordering::Relaxed) {
                return own;
            }
            let [taken, points, rows, plain] = counts;
            load.record(take(&structures, key).await, taken);
            load.record(structures.series.add(key.as_str(), 1).await, points);
            load.record(structures.buffer.row(key.as_str()).add("n", 1).await, rows);
            load.record(incr(&structures.bay, key).await, plain);
        }
    }
}

/// The slots of all groups and partitions, and of as many of the plain keys as make `count`.
fn slots(structures: &Structures, keys: &[String], count: usize) -> Vec<u16> {
    let mut slots: BTreeSet<u16> = (0..2_000).flat_map(|key| structures.slots(&format!("k{key}"))).collect();
    assert!((90..=96).contains(&slots.len()), "64 groups and 2 times 16 partitions: {}", slots.len());
    for key in keys {
        if slots.len() < count {
            slots.extend(structures.bay.cluster().route(key).slot);
        }
    }
    assert_eq!(slots.len(), count);
    slots.into_iter().collect()
}

fn keys_in(node: &Redis, slot: u16) -> i64 {
    match node.command(["CLUSTER", "COUNTKEYSINSLOT", &slot.to_string()]) {
        Answer::Integer(keys) => keys,
        other => panic!("a number, not {other:?}"),
    }
}

/// How often all nodes sent a call on, by the kind of the refusal.
fn redirects(cluster: &RedisCluster) -> BTreeMap<&'static str, u64> {
    let of = |node: &Redis, kind: &str| {
        let Answer::Text(info) = node.command(["INFO", "errorstats"]) else { panic!("no INFO") };
        let line = format!("errorstat_{kind}:count=");
        info.lines().find_map(|have| have.strip_prefix(&line)?.parse().ok()).unwrap_or(0)
    };
    let all = |kind| cluster.nodes().iter().map(|node| of(node, kind)).sum();
    ["ASK", "MOVED", "TRYAGAIN", "UNTOUCHED"].into_iter().map(|kind| (kind, all(kind))).collect()
}

/// Moves slots with many keys off a primary, which has no others, while all of them are written.
async fn run(moves: impl FnOnce(&RedisCluster, &[u16])) {
    let count: usize = env::var("FOREBAY_SLOTS").map_or(100, |slots| slots.parse().expect("a number"));
    let cluster = block_in_place(RedisCluster::start_with_spare);
    let structures = Structures::open(&cluster.url()).await;
    let prefix = unique_prefix();
    let keys: Vec<String> = (0..count * 2).map(|key| format!("{prefix}{key}")).collect();
    let slots = slots(&structures, &keys, count);
    block_in_place(|| slots.iter().for_each(|&slot| cluster.move_slot(slot, &cluster.nodes()[3], || ())));
    let once: Vec<String> = (0..count * 20).map(|key| format!("once{key}")).collect();
    for keys in once.chunks(200) {
        let taken = join_all(keys.iter().map(|key| take(&structures, key))).await;
        for taken in taken {
            taken.expect("an answer");
        }
    }
    let sink = MemorySink::new();
    let flushing = structures.buffer.flush_to(sink.clone()).every(secs(1)).spawn();
    let load = Load::default();
    let shares = keys.chunks(keys.len().div_ceil(WRITERS));
    let writers: Vec<Writer> =
        shares.map(|keys| tokio::spawn(write(structures.clone(), keys.to_vec(), load.clone()))).collect();
    let round = 5 * keys.len() as u64;
    load.more(round, &writers).await;
    block_in_place(|| {
        let empty: Vec<u16> =
            slots.iter().copied().filter(|&slot| keys_in(&cluster.nodes()[3], slot) == 0).collect();
        assert!(empty.is_empty(), "slots without keys: {empty:?}");
    });
    let before = (load.acknowledged.load(Ordering::Relaxed), block_in_place(|| redirects(&cluster)));
    block_in_place(|| moves(&cluster, &slots));
    let mut met = block_in_place(|| redirects(&cluster));
    for (kind, times) in &mut met {
        *times -= before.1[kind];
    }
    println!(
        "{} counts while {count} slots moved; {} were refused after a second; the nodes sent on {met:?}",
        load.acknowledged.load(Ordering::Relaxed) - before.0,
        load.refused.load(Ordering::Relaxed)
    );
    assert!(met["MOVED"] > 0, "no call met a slot that moved");
    let followed: u64 = structures.bay.cluster().hosts().iter().map(|host| host.redirects.moved).sum();
    assert!(followed > 0, "no redirect was counted");
    load.more(round, &writers).await;
    load.stop.store(true, Ordering::Relaxed);
    let mut counts = vec![];
    for writer in writers {
        counts.extend(writer.await.expect("no other error"));
    }
    flushing.stop().await.expect("a last flush");
    eventually("all to be flushed", async || structures.buffer.flush().await.is_ok()).await;
    check(&structures, &sink, &counts, &once).await;
}

pub(crate) async fn check(
    structures: &Structures,
    sink: &MemorySink,
    counts: &[(String, Counts)],
    once: &[String],
) {
    let mut wrong = vec![];
    for (key, expected) in counts {
        let [taken, points, rows] = structures.counted(sink, key).await;
        let mut map = structures.bay.cluster().map();
        let ticket = map.incr(key, 0);
        let plain = map.run().await.get(ticket).expect("an answer").cast_unsigned();
        if [taken, points, rows, plain] != *expected {
            wrong.push((key, *expected, [taken, points, rows, plain]));
        }
    }
    assert!(wrong.is_empty(), "key, acknowledged, counted: {wrong:?}");
    for keys in once.chunks(200) {
        let used = join_all(keys.iter().map(|key| structures.limit.peek(key))).await;
        let used: Vec<u64> = used.into_iter().map(|used| used.expect("an answer").used()).collect();
        assert!(used.iter().all(|&used| used == 1), "{used:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn redis_cli_reshards_under_load_without_a_count_lost_or_doubled() {
    if without("redis") {
        return;
    }
    run(|cluster, slots| {
        let [first, .., spare] = cluster.nodes() else { panic!("four nodes") };
        cluster.reshard(spare, first, slots.len());
        assert!(
            slots.iter().all(|&slot| cluster.owner(slot).port() == first.port()),
            "some slots have not moved"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn valkey_migrates_slots_under_load_without_a_count_lost_or_doubled() {
    if without("redis") {
        return;
    }
    let Answer::Text(info) = Redis::shared().command(["INFO", "server"]) else { panic!("no INFO") };
    if !info.contains("\nvalkey_version:9.") {
        println!("NOT TESTED: CLUSTER MIGRATESLOTS, which Valkey 9 has");
        return;
    }
    run(|cluster, slots| {
        let [first, second, _, spare] = cluster.nodes() else { panic!("four nodes") };
        for (from, to) in [(spare, first), (first, second)] {
            cluster.migrate_slots(from, to, slots);
            assert!(
                slots.iter().all(|&slot| cluster.owner(slot).port() == to.port()),
                "some slots have not moved"
            );
        }
    })
    .await;
}
