//! Fail-over of a primary of a Redis Cluster under load, killed or stopped: its keys come back by themselves, those of the other
//! primaries notice nothing, and nothing counts twice. What is lost was acknowledged last.
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
use forebay_testkit::{Redis, RedisCluster, Reply as Answer, eventually, is_primary, unique_prefix, without};
use tokio::{task::JoinHandle, task::block_in_place};

use crate::{
    nodes::Structures,
    shared::{Shared, Switch, Write, check_lost},
    waited::{Shard, Waited},
};

/// Writers of rows.
const WRITERS: usize = 4;

/// Between two writes of a writer.
const PAUSE: Duration = millis(2);

/// From the election to the first acknowledged write. A new primary that wants a replica is ready when it has one.
const RECOVERY: Duration = secs(2);

/// The load, and what became of it.
#[derive(Clone, Default)]
struct Load {
    stop: Arc<AtomicBool>,
    /// Acknowledged writes to hosts that may fail, by the port in their names.
    acknowledged: Arc<AtomicU64>,
    /// The ports of hosts whose keys may fail at the moment, or none.
    victims: Arc<[AtomicU64; 2]>,
    /// Whether a primary wants a replica. One that is a second behind on a busy machine is none.
    wants_a_replica: bool,
}

impl Load {
    fn victims(&self) -> [u64; 2] {
        [0, 1].map(|place: usize| self.victims[place].load(Ordering::Relaxed))
    }

    fn count(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }
}

/// A write to a row of its own.
struct Written {
    partition: u16,
    write: Write,
}

/// Adds one to a row of its own, again and again.
async fn write(structures: Structures, writer: usize, load: Load) -> Vec<Written> {
    let (cluster, clock) = (structures.bay.cluster(), Clock::system());
    let mut written = vec![];
    while !load.stop.load(Ordering::Relaxed) {
        let id = format!("{writer}-{}", written.len());
        let route = cluster.route_row(&structures.buffer, [id.as_str().into()]).expect("valid");
        let (before, partition) = (route.host, route.partition.expect("a row has one"));
        // The next round may begin before the answer comes.
        let victims = load.victims();
        let (write, answer) = Write::of(structures.buffer.row(id.as_str()).add("n", 1)).await;
        let after = cluster.route_row(&structures.buffer, [id.as_str().into()]).expect("valid").host;
        // A row whose own host is down goes to another one, which the error names.
        let reason = answer.as_ref().map_or_else(|error| format!("{error:?}"), |()| String::new());
        let is_victim = victims.into_iter().chain(load.victims()).any(|port| {
            let port = format!(":{port}");
            before.ends_with(&port) || after.ends_with(&port) || reason.contains(&format!("{port}:"))
        });
        if let Err(error) = &answer {
            let lacks_a_replica = load.wants_a_replica && reason.contains("NOREPLICAS");
            assert!(is_victim || lacks_a_replica, "{before} was well: {error:?}");
        }
        load.acknowledged.fetch_add(u64::from(answer.is_ok() && is_victim), Ordering::Relaxed);
        written.push(Written { partition, write });
        clock.sleep(PAUSE).await;
    }
    written
}

/// Kills or stops a primary. Returns when that was, and how long after the election of its replica a write to their keys was
/// acknowledged.
async fn fail_over(old: &Redis, new: &Redis, stops: bool, load: &Load) -> (Switch, Duration) {
    let clock = Clock::system();
    for (victim, node) in load.victims.iter().zip([old, new]) {
        victim.store(node.port().into(), Ordering::Relaxed);
    }
    let start = load.count();
    eventually("writes to the victim", async || load.count() >= start + 20).await;
    let begin = clock.monotonic();
    if stops {
        old.pause();
    } else {
        old.kill();
    }
    let mut end = clock.monotonic();
    eventually("an election", async || block_in_place(|| is_primary(new.port()))).await;
    let follows = || {
        let Ok(Answer::Text(info)) = new.try_command(["INFO", "replication"]) else { return false };
        info.contains("state=online")
    };
    if stops {
        // The new primary takes no writes without a replica.
        old.resume();
        eventually("the old primary to follow", async || block_in_place(follows)).await;
        end = clock.monotonic();
    }
    let (elected, before) = (clock.monotonic(), load.count());
    eventually("a write to be acknowledged", async || load.count() > before).await;
    let took = clock.monotonic().saturating_sub(elected);
    eventually("more writes", async || load.count() > before + 20).await;
    if !stops {
        old.restart();
    }
    eventually("the old primary to follow", async || block_in_place(follows)).await;
    (Switch { begin, end }, took)
}

/// The primaries with their replicas, and a plain key of each.
fn shards(cluster: &RedisCluster, bay: &Forebay) -> Vec<Shard> {
    let shard = |(primary, replica): (&Redis, &Redis)| {
        let mut keys = (0..).map(|number| format!("waited-{number}"));
        let on = |key: &String| bay.cluster().route(key).host.ends_with(&format!(":{}", primary.port()));
        Shard { ports: [primary.port(), replica.port()], key: keys.find(on).expect("endless") }
    };
    cluster.nodes().iter().zip(cluster.replicas()).map(shard).collect()
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
    let wants_a_replica = [("min-replicas-to-write", "1"), ("min-replicas-max-lag", "1")];
    let options = if stops { &wants_a_replica[..] } else { &[] };
    let cluster = block_in_place(|| RedisCluster::start_with_replicas_and(options));
    let prefix = unique_prefix();
    let bay = Forebay::options().prefix(&prefix).open(&cluster.url()).await.expect("opens");
    let structures = Structures::of(bay);
    let load = Load { wants_a_replica: stops, ..Load::default() };
    let shared = Shared::start(&prefix, &cluster.url()).await;
    let waited = Waited::start(&prefix, &cluster.url(), shards(&cluster, &structures.bay)).await;
    let start = |writer| tokio::spawn(write(structures.clone(), writer, load.clone()));
    let writers: Vec<JoinHandle<_>> = (0..WRITERS).map(start).collect();
    let (mut olds, mut news) = (cluster.nodes(), cluster.replicas());
    let mut switches = vec![];
    for round in 1..=rounds {
        waited.more().await;
        let (switch, took) = fail_over(&olds[round % 3], &news[round % 3], stops, &load).await;
        println!("round {round}: a write was acknowledged {took:?} after the election");
        assert!(took <= RECOVERY, "round {round}: {took:?}");
        switches.push(switch);
        if round % 3 == 0 {
            std::mem::swap(&mut olds, &mut news);
        }
    }
    load.stop.store(true, Ordering::Relaxed);
    let mut written = vec![];
    for writer in writers {
        written.push(writer.await.expect("no host that was well refused a write"));
    }
    shared.check(&switches).await;
    waited.check().await;
    let rows = &structures.buffer;
    let sink = MemorySink::new();
    let _ = rows.flush_to(sink.clone());
    eventually("all to be flushed", async || rows.flush().await.is_ok()).await;
    let applied = applied(&sink, rows);
    let (mut acknowledged, mut lost) = (0, 0);
    for (client, written) in written.iter().enumerate() {
        // While the host of a partition is down, its rows go to another one, which may be replaced next.
        let mut parts: BTreeMap<u16, Vec<(Write, i64)>> = BTreeMap::new();
        for (number, Written { partition, write }) in written.iter().enumerate() {
            let times = applied.get(&(client, number)).copied().unwrap_or(0);
            parts.entry(*partition).or_default().push((*write, times));
            acknowledged += usize::from(write.acknowledged);
        }
        for (partition, writes) in parts {
            lost += check_lost(&format!("writer {client}, partition {partition}"), &writes, &switches);
        }
    }
    println!("{acknowledged} writes acknowledged, {lost} of them lost, none doubled");
    assert!(acknowledged > 100 && lost < acknowledged / 3, "{lost} of {acknowledged} lost");
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
