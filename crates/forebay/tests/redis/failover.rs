//! Fail-over under load by Sentinel, with the primary killed or stopped: writes go on by themselves, nothing counts twice, and
//! what is lost was acknowledged last.
//!
//! `FOREBAY_ROUNDS` fail-overs of each kind, 2 without it; `scripts/faults sentinel` has 20.

use std::{
    collections::BTreeMap,
    env,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use forebay::{
    Buffer, Clock, Forebay,
    buffer::{BufferHandle, Value},
    sink::MemorySink,
    time::{millis, secs},
};
use forebay_testkit::{Redis, Reply, Sentinel, eventually, unique_prefix, without};
use tokio::task::JoinHandle;

use crate::{
    shared::{Shared, Switch, Write, check_lost},
    waited::{Shard, Waited},
};

/// Writers in each of two processes' places.
const WRITERS: usize = 3;

/// Between two writes of a writer.
const PAUSE: Duration = millis(2);

/// From the promotion to the first acknowledged write.
const RECOVERY: Duration = secs(2);

/// The writes of one writer, in their order.
type Written = Vec<Write>;

#[derive(Clone, Default)]
struct Progress {
    acknowledged: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Progress {
    fn count(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    async fn more(&self, writes: u64) {
        let end = self.count() + writes;
        eventually("writes to be acknowledged", async || self.count() >= end).await;
    }
}

fn buffer(bay: &Forebay) -> BufferHandle {
    bay.buffer(Buffer::new("rows").key("id").sum("n").partitions(1)).expect("valid")
}

/// Adds one to a row of its own, again and again, and appends to a list of its own by a plain command.
async fn write(bay: Forebay, name: String, progress: Progress) -> (Written, Written) {
    let (rows, clock) = (buffer(&bay), Clock::system());
    let list = list_of(&name);
    let (mut by_row, mut by_list) = (vec![], vec![]);
    while !progress.stop.load(Ordering::Relaxed) {
        let (row, _) = Write::of(rows.row(format!("{name}-{}", by_row.len())).add("n", 1)).await;
        by_row.push(row);
        let mut map = bay.cluster().map();
        let ticket = map.raw::<i64>(&list, ["RPUSH", &list, &by_list.len().to_string()]);
        by_list.push(Write::of(async { map.run().await.get(ticket) }).await.0);
        progress.acknowledged.fetch_add(u64::from(row.acknowledged), Ordering::Relaxed);
        clock.sleep(PAUSE).await;
    }
    (by_row, by_list)
}

fn list_of(writer: &str) -> String {
    format!("list-{writer}")
}

/// [`check_lost`] of the writes of one writer.
fn lost(what: &str, written: &[Write], found: &BTreeMap<usize, i64>, switches: &[Switch]) -> usize {
    let times = |place: usize| found.get(&place).copied().unwrap_or(0);
    let writes: Vec<_> = written.iter().enumerate().map(|(place, write)| (*write, times(place))).collect();
    check_lost(what, &writes, switches)
}

/// One fail-over; returns when it was, and how long after the promotion a write was acknowledged.
async fn fail_over(set: &Sentinel, stops: bool, progress: &Progress) -> (Switch, Duration) {
    let clock = Clock::system();
    progress.more(50).await;
    let (old, new) = (set.primary(), set.replica());
    // A primary counts a replica before it sends it anything: until then it acknowledges what a fail-over loses.
    tokio::task::block_in_place(|| set.await_replica(new));
    let begin = clock.monotonic();
    if stops {
        old.pause();
    } else {
        old.kill();
    }
    let mut end = clock.monotonic();
    tokio::task::block_in_place(|| set.await_promotion(new));
    if stops {
        // The new primary takes no writes without a replica.
        old.resume();
        tokio::task::block_in_place(|| set.await_replica(old));
        end = clock.monotonic();
    }
    let before = clock.monotonic();
    progress.more(1).await;
    let took = clock.monotonic().saturating_sub(before);
    progress.more(20).await;
    if !stops {
        old.restart();
        // The Sentinels say the same, some seconds later.
        old.command(["REPLICAOF", "127.0.0.1", &new.port().to_string()]);
        tokio::task::block_in_place(|| set.await_replica(old));
    }
    (Switch { begin, end }, took)
}

async fn run(stops: bool) {
    let rounds = env::var("FOREBAY_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(2);
    let mut builder = Sentinel::builder();
    if stops {
        builder = builder.option("min-replicas-to-write", "1").option("min-replicas-max-lag", "1");
    }
    let set = tokio::task::block_in_place(|| builder.start());
    let prefix = unique_prefix();
    let open = async || Forebay::options().prefix(&prefix).open(&set.url()).await.expect("opens");
    let bays = [open().await, open().await];
    let progress = Progress::default();
    let names: Vec<String> = (0..2 * WRITERS).map(|writer| format!("w{writer}")).collect();
    let start =
        |(name, bay): (&String, &Forebay)| tokio::spawn(write(bay.clone(), name.clone(), progress.clone()));
    let writers: Vec<JoinHandle<_>> = names.iter().zip(bays.iter().cycle()).map(start).collect();

    let shared = Shared::start(&prefix, &set.url()).await;
    let ports = [set.primary().port(), set.replica().port()];
    let waited = Waited::start(&prefix, &set.url(), vec![Shard { ports, key: "waited".into() }]).await;

    let lock = bays[0].lock("report");
    let (mut fence, mut switches) = (0, vec![]);
    for round in 1..=rounds {
        waited.more().await;
        let (switch, took) = fail_over(&set, stops, &progress).await;
        println!("round {round}: a write was acknowledged {took:?} after the promotion");
        assert!(took <= RECOVERY, "round {round}: {took:?}");
        switches.push(switch);
        let guard = lock.acquire().await.expect("answers");
        assert!(guard.fence() > fence, "round {round}: {} after {fence}", guard.fence());
        fence = guard.fence();
        drop(guard);
    }
    progress.stop.store(true, Ordering::Relaxed);
    let mut written = vec![];
    for writer in writers {
        written.push(writer.await.expect("it ends"));
    }
    shared.check(&switches).await;
    waited.check().await;

    let rows = buffer(&bays[0]);
    let sink = MemorySink::new();
    let _ = rows.flush_to(sink.clone());
    eventually("all to be flushed", async || rows.flush().await.is_ok()).await;
    let applied = applied(&sink, &rows);
    let (mut acknowledged, mut gone) = (0, 0);
    for (name, (by_row, by_list)) in names.iter().zip(&written) {
        let empty = BTreeMap::new();
        gone += lost(&format!("rows of {name}"), by_row, applied.get(name).unwrap_or(&empty), &switches);
        gone += lost(&format!("list of {name}"), by_list, &appended(set.primary(), name), &switches);
        acknowledged += by_row.iter().chain(by_list).filter(|write| write.acknowledged).count();
    }
    println!("{acknowledged} writes acknowledged, {gone} of them lost, none doubled");
    assert!(acknowledged > 100 * rounds && gone < acknowledged / 2, "{gone} of {acknowledged} lost");
}

/// How often each write of each writer was applied to its row.
fn applied(sink: &MemorySink, rows: &BufferHandle) -> BTreeMap<String, BTreeMap<usize, i64>> {
    let mut applied: BTreeMap<String, BTreeMap<usize, i64>> = BTreeMap::new();
    for row in sink.rows(rows.schema()) {
        let key = row.key.values(rows.schema()).expect("readable");
        let [Value::Text(id)] = &key[..] else { panic!("a text: {key:?}") };
        let (writer, place) = id.rsplit_once('-').expect("a writer and a place");
        let Some(Value::Integer(times)) = row.cells[0] else { panic!("a number") };
        applied.entry(writer.into()).or_default().insert(place.parse().expect("a place"), times);
    }
    applied
}

/// How often each write of a writer was appended to its list.
fn appended(server: &Redis, writer: &str) -> BTreeMap<usize, i64> {
    let Reply::Array(places) = server.command(["LRANGE", &list_of(writer), "0", "-1"]) else {
        panic!("a list")
    };
    let mut appended = BTreeMap::new();
    for place in places {
        let Reply::Text(place) = place else { panic!("a text") };
        *appended.entry(place.parse().expect("a place")).or_default() += 1;
    }
    appended
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_killed_primary_is_followed_by_another() {
    if without("redis") {
        return;
    }
    run(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stopped_primary_is_followed_by_another() {
    if without("redis") {
        return;
    }
    run(true).await;
}
