//! Fail-over of a primary of a Redis Cluster under load, killed or stopped: its keys come back by themselves, those of the other
//! primaries notice nothing, and nothing counts twice.
//!
//! `FOREBAY_ROUNDS` fail-overs of each kind, 1 without it; `scripts/faults cluster` has 20.

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
    Clock, Forebay,
    buffer::{BufferHandle, Value},
    sink::MemorySink,
    time::{millis, secs},
};
use forebay_testkit::{Redis, RedisCluster, Reply as Answer, eventually, unique_prefix, without};
use tokio::{task::JoinHandle, task::block_in_place};

use crate::nodes::Structures;

/// Writers of rows.
const WRITERS: usize = 4;

/// Between two writes of a writer.
const PAUSE: Duration = millis(2);

/// From the election to the first acknowledged write.
const RECOVERY: Duration = secs(2);

/// The load, and what became of it.
#[derive(Clone, Default)]
struct Load {
    stop: Arc<AtomicBool>,
    /// Acknowledged writes to hosts that may fail, by the port in their names.
    acknowledged: Arc<AtomicU64>,
    /// The ports of hosts whose keys may fail at the moment, or none.
    victims: Arc<[AtomicU64; 2]>,
}

impl Load {
    fn is_victim(&self, host: &str) -> bool {
        self.victims.iter().any(|port| host.ends_with(&format!(":{}", port.load(Ordering::Relaxed))))
    }

    fn count(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }
}

/// Adds one to a row of its own, again and again. Answers whether each was acknowledged.
async fn write(structures: Structures, writer: usize, load: Load) -> Vec<bool> {
    let (cluster, clock) = (structures.bay.cluster(), Clock::system());
    let mut written = vec![];
    while !load.stop.load(Ordering::Relaxed) {
        let id = format!("{writer}-{}", written.len());
        let before = cluster.route_row(&structures.buffer, [id.as_str().into()]).expect("valid").host;
        let answer = structures.buffer.row(id.as_str()).add("n", 1).await;
        let after = cluster.route_row(&structures.buffer, [id.as_str().into()]).expect("valid").host;
        let is_victim = load.is_victim(&before) || load.is_victim(&after);
        if let Err(error) = &answer {
            assert!(is_victim, "{before} was well: {error:?}");
        }
        load.acknowledged.fetch_add(u64::from(answer.is_ok() && is_victim), Ordering::Relaxed);
        written.push(answer.is_ok());
        clock.sleep(PAUSE).await;
    }
    written
}

fn is_primary(node: &Redis) -> bool {
    matches!(node.try_command(["ROLE"]), Ok(Answer::Array(words)) if words.first() == Some(&Answer::text("master")))
}

/// Kills or stops a primary. Returns how long after the election of its replica a write to their keys was acknowledged.
async fn fail_over(old: &Redis, new: &Redis, stops: bool, load: &Load) -> Duration {
    for (victim, node) in load.victims.iter().zip([old, new]) {
        victim.store(node.port().into(), Ordering::Relaxed);
    }
    let start = load.count();
    eventually("writes to the victim", async || load.count() >= start + 20).await;
    if stops {
        old.pause();
    } else {
        old.kill();
    }
    eventually("an election", async || block_in_place(|| is_primary(new))).await;
    let clock = Clock::system();
    let (elected, before) = (clock.monotonic(), load.count());
    eventually("a write to be acknowledged", async || load.count() > before).await;
    let took = clock.monotonic().saturating_sub(elected);
    eventually("more writes", async || load.count() > before + 20).await;
    if stops {
        old.resume();
    } else {
        old.restart();
    }
    let follows = || {
        let Ok(Answer::Text(info)) = new.try_command(["INFO", "replication"]) else { return false };
        info.contains("state=online")
    };
    eventually("the old primary to follow", async || block_in_place(follows)).await;
    took
}

/// How often each row is in the sink, by writer and number.
fn applied(sink: &MemorySink, rows: &BufferHandle) -> BTreeMap<(usize, usize), i64> {
    let row = |row: &forebay::buffer::Row| {
        let key = row.key.values(rows.schema()).expect("readable");
        let [Value::Text(id)] = &key[..] else { panic!("a text: {key:?}") };
        let (writer, number) = id.split_once('-').expect("a writer and a number");
        let Some(Value::Integer(times)) = row.cells[0] else { panic!("a number") };
        ((writer.parse().expect("a writer"), number.parse().expect("a number")), times)
    };
    sink.rows(rows.schema()).iter().map(row).collect()
}

async fn run(stops: bool) {
    let rounds = env::var("FOREBAY_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1);
    let cluster = block_in_place(RedisCluster::start_with_replicas);
    let prefix = unique_prefix();
    let bay = Forebay::options().prefix(&prefix).open(&cluster.url()).await.expect("opens");
    let structures = Structures::of(bay);
    let load = Load::default();
    let start = |writer| tokio::spawn(write(structures.clone(), writer, load.clone()));
    let writers: Vec<JoinHandle<_>> = (0..WRITERS).map(start).collect();
    let (mut olds, mut news) = (cluster.nodes(), cluster.replicas());
    for round in 1..=rounds {
        let took = fail_over(&olds[round % 3], &news[round % 3], stops, &load).await;
        println!("round {round}: a write was acknowledged {took:?} after the election");
        assert!(took <= RECOVERY, "round {round}: {took:?}");
        if round % 3 == 0 {
            std::mem::swap(&mut olds, &mut news);
        }
    }
    load.stop.store(true, Ordering::Relaxed);
    let mut written = vec![];
    for writer in writers {
        written.push(writer.await.expect("no host that was well refused a write"));
    }
    let rows = &structures.buffer;
    let sink = MemorySink::new();
    let _ = rows.flush_to(sink.clone());
    eventually("all to be flushed", async || rows.flush().await.is_ok()).await;
    let applied = applied(&sink, rows);
    let twice: Vec<_> = applied.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "applied more than once: {twice:?}");
    let acknowledged = written.iter().enumerate().flat_map(|(writer, written)| {
        (0..written.len()).filter(|number| written[*number]).map(move |number| (writer, number))
    });
    let (there, lost): (Vec<_>, Vec<_>) = acknowledged.partition(|row| applied.contains_key(row));
    println!("{} writes acknowledged, {} of them lost, none doubled", there.len() + lost.len(), lost.len());
    assert!(there.len() > 100 && lost.len() < there.len() / 2, "{} of {} lost", lost.len(), there.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_killed_primary_is_followed_by_its_replica() {
    if without("redis") {
        return;
    }
    run(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stopped_primary_is_followed_by_its_replica() {
    if without("redis") {
        return;
    }
    run(true).await;
}
