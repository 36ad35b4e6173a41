//! Slots of a Redis Cluster that the engine's own tools move under a server's load: what callers see.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use forebay_testkit::{Redis, RedisCluster, Reply, wait_until, without};
use serde_json::Value;

use crate::{
    event::rows,
    redis::with_limit,
    support::{Client, Server},
};

const CALLERS: usize = 8;

/// The keys of a caller.
const KEYS: usize = 12;

/// The counts of a key's hits: the limit is charged first, so each hit that is counted was charged.
#[derive(Clone, Debug, Default)]
struct Counts {
    key: String,
    accepted: u64,
    /// Hits with an answer of 5xx, of which a part is in the series or in the buffer.
    partly: [u64; 2],
}

/// The counts of all callers together.
#[derive(Default)]
struct Load {
    ends: AtomicBool,
    answered: AtomicU64,
    refused: AtomicU64,
}

impl Load {
    fn more(&self, answers: u64) {
        let goal = self.answered.load(Ordering::Relaxed) + answers;
        wait_until("more answers", || self.answered.load(Ordering::Relaxed) >= goal);
    }

    /// Hits the keys of a caller in turn. No answer is 5xx but that of a hit whose slot moved for longer than a second.
    fn hit(&self, client: &Client, caller: usize) -> Vec<Counts> {
        let key = |number| Counts { key: format!("{caller}-{number}"), ..Counts::default() };
        let mut all: Vec<Counts> = (0..KEYS).map(key).collect();
        while !self.ends.load(Ordering::Relaxed) {
            for counts in &mut all {
                let answer = client.post("/v1/events/hit", format!(r#"{{"key":"{}"}}"#, counts.key));
                self.answered.fetch_add(1, Ordering::Relaxed);
                match answer.status {
                    202 => counts.accepted += 1,
                    503 => {
                        assert!(answer.body.contains("on the move"), "{}", answer.body);
                        self.refused.fetch_add(1, Ordering::Relaxed);
                        let applied: Value = answer.json()["applied"].clone();
                        for (count, part) in counts.partly.iter_mut().zip(["series", "buffer"]) {
                            assert_ne!(
                                applied[part], "unknown",
                                "a redirected call is never in doubt: {applied}"
                            );
                            *count += u64::from(applied[part] == "yes");
                        }
                    }
                    _ => panic!("{} {}", answer.status, answer.body),
                }
            }
        }
        all
    }
}

/// The slots that hold keys.
fn slots_with_keys(cluster: &RedisCluster) -> Vec<u16> {
    let mut slots = BTreeSet::new();
    for node in cluster.nodes() {
        let Reply::Array(keys) = node.command(["KEYS", "*"]) else { panic!("keys") };
        for key in keys {
            let Reply::Text(key) = key else { panic!("a key, not {key:?}") };
            let Reply::Integer(slot) = node.command(["CLUSTER", "KEYSLOT", &key]) else { panic!("a slot") };
            slots.insert(u16::try_from(slot).expect("a slot"));
        }
    }
    slots.into_iter().collect()
}

fn run(moves: impl FnOnce(&RedisCluster, &[u16])) {
    let cluster = RedisCluster::start_with_spare();
    let server = with_limit(&format!("store = {:?}", cluster.url()), "1000000/1d\"\ndeadline = \"30s\"");
    let load = Load::default();
    let counts: Vec<Counts> = std::thread::scope(|scope| {
        let caller = |caller| {
            let (client, load) = (server.client(), &load);
            scope.spawn(move || load.hit(&client, caller))
        };
        let callers: Vec<_> = (0..CALLERS).map(caller).collect();
        let moved = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            load.more(500);
            let slots = slots_with_keys(&cluster);
            // Series and buffers of the example have 16 partitions each, and keys are in 64 groups.
            assert!(slots.len() > 60, "{} slots with keys", slots.len());
            for &slot in &slots {
                cluster.move_slot(slot, &cluster.nodes()[3], || ());
            }
            moves(&cluster, &slots);
            load.more(200);
        }));
        load.ends.store(true, Ordering::Relaxed);
        let counts = callers.into_iter().flat_map(|caller| caller.join().expect("no other answer")).collect();
        moved.expect("the slots move");
        counts
    });
    println!("{} answers, {} refused after a second", load.answered.into_inner(), load.refused.into_inner());
    check(&server, &counts);
}

fn check(server: &Server, counts: &[Counts]) {
    let client = server.client();
    client.post("/v1/buffers/projects/flush", "").expect(200);
    let rows: std::collections::BTreeMap<String, i64> = rows(server).into_iter().collect();
    for Counts { key, accepted, partly } in counts {
        let sum =
            client.get(&format!("/v1/series/hits/sum?key={key}&from=-1h&to=now")).expect(200)["sum"].clone();
        let buffered = rows.get(key).copied().unwrap_or(0).unsigned_abs();
        assert_eq!(
            (sum.as_u64(), buffered),
            (Some(accepted + partly[0]), accepted + partly[1]),
            "{key}: {accepted} accepted, {partly:?} partly"
        );
    }
}

#[test]
fn callers_meet_no_error_but_a_wait_that_is_too_long_while_redis_cli_reshards() {
    if without("redis") {
        return;
    }
    run(|cluster, slots| cluster.reshard(&cluster.nodes()[3], &cluster.nodes()[0], slots.len()));
}

#[test]
fn callers_meet_no_error_but_a_wait_that_is_too_long_while_valkey_migrates_slots() {
    if without("redis") {
        return;
    }
    let Reply::Text(info) = Redis::shared().command(["INFO", "server"]) else { panic!("no INFO") };
    if !info.contains("\nvalkey_version:9.") {
        println!("NOT TESTED: CLUSTER MIGRATESLOTS, which Valkey 9 has");
        return;
    }
    run(|cluster, slots| cluster.migrate_slots(&cluster.nodes()[3], &cluster.nodes()[0], slots));
}
