//! A Redis Cluster: mistakes in its URL, and slots that move under load.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use forebay::{
    Buffer, ErrorKind, Forebay, Limit, Retry,
    buffer::BufferHandle,
    limit::{LimitHandle, OnError},
    series::SeriesHandle,
    sink::MemorySink,
    time::{days, secs},
};
use forebay_testkit::{Redis, RedisCluster, eventually, unique_prefix, without};
use tokio::task::block_in_place;

async fn open(url: &str) -> forebay::Result<Forebay> {
    Forebay::options().prefix(unique_prefix()).open(url).await
}

/// A limit, a series and a buffer.
#[derive(Clone)]
pub(crate) struct Structures {
    pub bay: Forebay,
    pub limit: LimitHandle,
    pub series: SeriesHandle,
    pub buffer: BufferHandle,
}

impl Structures {
    pub(crate) async fn open(url: &str) -> Self {
        Self::of(open(url).await.expect("opens"))
    }

    pub(crate) fn of(bay: Forebay) -> Self {
        let limit = Limit::new("hits", 1_000_000, days(366)).on_error(OnError::Closed).deadline(secs(10));
        Self {
            limit: bay.limit(limit).expect("valid"),
            series: bay.series("hits").expect("valid"),
            buffer: bay.buffer(Buffer::new("rows").key("id").sum("n")).expect("valid"),
            bay,
        }
    }

    /// The slots of what belongs to a key.
    pub(crate) fn slots(&self, key: &str) -> [u16; 3] {
        let cluster = self.bay.cluster();
        let row = cluster.route_row(&self.buffer, [key.into()]).expect("valid");
        [cluster.route_limit(key), cluster.route_series(&self.series, key), row]
            .map(|route| route.slot.expect("by slots"))
    }

    /// Counts one of a key in each.
    pub(crate) async fn count(&self, key: &str) -> forebay::Result<()> {
        let taken = self.limit.take(key).await?;
        assert!(taken.is_allowed() && !taken.is_degraded(), "{taken:?}");
        self.series.add(key, 1).await?;
        self.buffer.row(key).add("n", 1).await
    }

    /// The counts of a key in the limit, the series and the buffer.
    pub(crate) async fn counted(&self, sink: &MemorySink, key: &str) -> [u64; 3] {
        let used = self.limit.peek(key).await.expect("answers").used();
        let points = self.series.sum(key, days(1)).await.expect("answers");
        [used, points, rows(sink, &self.buffer, key)]
    }
}

/// The sum that a sink has of a row.
pub(crate) fn rows(sink: &MemorySink, buffer: &BufferHandle, key: &str) -> u64 {
    let row = |row: &forebay::buffer::Row| {
        let id = row.key.values(buffer.schema()).expect("readable");
        (id == [key.into()]).then(|| match row.cells[0] {
            Some(forebay::buffer::Value::Integer(n)) => n.cast_unsigned(),
            _ => 0,
        })
    };
    sink.rows(buffer.schema()).iter().filter_map(row).sum()
}

#[tokio::test]
async fn mistakes_name_what_was_found_and_what_to_write() {
    if without("redis") {
        return;
    }
    let single = Redis::shared();
    let error = open(&format!("redis+cluster://127.0.0.1:{}", single.port())).await.expect_err("no cluster");
    assert_eq!(error.kind(), ErrorKind::Configuration);
    let text = error.to_string();
    assert!(text.contains("cluster support is disabled: write redis:"), "{text}");

    for (url, part) in [
        ("redis+cluster://a,b/3", "database 3: a Redis Cluster has database 0 only"),
        ("redis+cluster://a,b?router=slots", "router"),
        ("redis+cluster://a,b?x=1", "unknown parameter \"x\""),
        ("redis+cluster://a,redis://b", "scheme"),
        ("redis+cluster://a:x", "is accepted"),
    ] {
        let error = open(url).await.expect_err(url);
        assert_eq!(error.kind(), ErrorKind::Invalid, "{url}");
        assert!(error.to_string().contains(part), "{url}: {error}");
    }
    let error = open("redis+cluster://127.0.0.1:1,127.0.0.1:2").await.expect_err("nobody there");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let text = error.to_string();
    assert!(text.contains("127.0.0.1:1") && text.contains("127.0.0.1:2"), "{text}");

    let primary = Redis::start();
    let replica = Redis::builder().replica_of(&primary).start();
    let error = open(&replica.url()).await.expect_err("a replica");
    let text = error.to_string();
    assert!(
        text.contains("this is a replica") && text.contains(&format!("write 127.0.0.1:{}", primary.port())),
        "{text}"
    );

    let cluster = RedisCluster::start();
    let error = open(&cluster.nodes()[0].url()).await.expect_err("a node");
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("a node of a Redis Cluster: write redis+cluster:"), "{error}");
    for node in cluster.nodes() {
        node.command(["CLUSTER", "DELSLOTS", "7", "8", "9", "100"]);
    }
    let error = open(&cluster.url()).await.expect_err("slots are missing");
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("slots 7-9, 100;"), "{error}");
}

#[tokio::test]
async fn every_key_is_out_while_a_slot_is_if_the_cluster_wants_all() {
    if without("redis") {
        return;
    }
    let cluster = RedisCluster::start();
    let bay = open(&cluster.url()).await.expect("opens");
    let warned = bay.warnings().iter().any(|warning| warning.contains("cluster-require-full-coverage yes"));
    assert!(warned, "{:?}", bay.warnings());
    let hosts = bay.cluster().hosts();
    assert_eq!(hosts.iter().map(|host| host.slots.expect("by slots")).sum::<u16>(), 16_384);
    assert_eq!(bay.cluster().placement().expect("several").router, "redis-cluster");
}

/// Another key in the slot of a key.
pub(crate) fn beside(key: &str) -> String {
    format!("{{{key}}}:{}", unique_prefix())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn slots_that_move_under_load_lose_nothing_and_double_nothing() {
    if without("redis") {
        return;
    }
    let cluster = block_in_place(RedisCluster::start);
    let structures = Structures::open(&cluster.url()).await;
    let keys: Vec<String> = (0..8).map(|key| format!("k{key}")).collect();
    let (stop, counts) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writers = keys.iter().map(|key| {
        let (structures, key) = (structures.clone(), key.clone());
        let (stop, counts) = (stop.clone(), counts.clone());
        tokio::spawn(async move {
            let mut own = 0;
            while !stop.load(Ordering::Relaxed) {
                structures.count(&key).await.unwrap_or_else(|error| panic!("{key}: {error:?}"));
                own += 1;
                counts.fetch_add(1, Ordering::Relaxed);
            }
            own
        })
    });
    let writers: Vec<_> = writers.collect();
    let sink = MemorySink::new();
    let flushing = structures.buffer.flush_to(sink.clone()).every(secs(1)).spawn();

    let more = async || {
        let until = counts.load(Ordering::Relaxed) + 100;
        eventually("more counts", async || {
            counts.load(Ordering::Relaxed) >= until
                || writers.iter().any(tokio::task::JoinHandle::is_finished)
        })
        .await;
    };
    let mut slots: Vec<u16> = keys.iter().flat_map(|key| structures.slots(key)).collect();
    slots.sort_unstable();
    slots.dedup();
    for round in 1..=2 {
        more().await;
        for &slot in &slots {
            let owner = block_in_place(|| cluster.owner(slot).port());
            let from = cluster.nodes().iter().position(|node| node.port() == owner).expect("a primary");
            let to = &cluster.nodes()[(from + round) % 3];
            block_in_place(|| cluster.move_slot(slot, to, || ()));
        }
    }
    more().await;
    stop.store(true, Ordering::Relaxed);
    let mut own = vec![];
    for writer in writers {
        own.push(writer.await.expect("no error"));
    }
    flushing.stop().await.expect("a last flush");
    eventually("all to be flushed", async || structures.buffer.flush().await.is_ok()).await;
    for (key, own) in keys.iter().zip(own) {
        assert_eq!(structures.counted(&sink, key).await, [own; 3], "{key}");
    }
    println!(
        "{} counts of each kind while {} slots moved twice",
        counts.load(Ordering::Relaxed),
        slots.len()
    );
}

/// Takes of many callers share calls, which have keys of many slots. Each slot with keys of limits moves meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn takes_that_share_calls_count_once_while_every_group_moves() {
    if without("redis") {
        return;
    }
    let cluster = block_in_place(RedisCluster::start);
    let structures = Structures::open(&cluster.url()).await;
    let keys: Vec<String> = (0..256).map(|key| format!("m{key}")).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let callers = keys.iter().map(|key| {
        let (limit, key, stop) = (structures.limit.clone(), key.clone(), stop.clone());
        tokio::spawn(async move {
            let mut own = 0;
            while !stop.load(Ordering::Relaxed) {
                let taken = limit.take(&*key).await.unwrap_or_else(|error| panic!("{key}: {error:?}"));
                assert!(taken.is_allowed() && !taken.is_degraded(), "{taken:?}");
                own += 1;
            }
            own
        })
    });
    let callers: Vec<_> = callers.collect();
    let mut slots: Vec<u16> = keys.iter().map(|key| structures.slots(key)[0]).collect();
    slots.sort_unstable();
    slots.dedup();
    assert!(slots.len() > 50, "{slots:?}");
    for slot in slots {
        move_away(&cluster, slot, async || ());
    }
    stop.store(true, Ordering::Relaxed);
    for (key, caller) in keys.iter().zip(callers) {
        let own: u64 = caller.await.expect("no error");
        assert_eq!(structures.limit.peek(&**key).await.expect("answers").used(), own, "{key}");
    }
}

/// A buffer of one partition with a row, and its slot.
async fn one_partition(cluster: &RedisCluster) -> (BufferHandle, u16, Forebay) {
    let bay = open(&cluster.url()).await.expect("opens");
    let buffer = bay.buffer(Buffer::new("rows").key("id").sum("n").partitions(1)).expect("valid");
    buffer.row("a").add("n", 1).await.expect("buffered");
    let route = bay.cluster().route_row(&buffer, ["a".into()]).expect("valid");
    (buffer, route.slot.expect("by slots"), bay)
}

/// Moves a slot to a node that does not have it, and runs something when half of the keys are there.
fn move_away(cluster: &RedisCluster, slot: u16, between: impl AsyncFnOnce()) {
    block_in_place(|| {
        let owner = cluster.owner(slot).port();
        let to = cluster.nodes().iter().find(|node| node.port() != owner).expect("another");
        let handle = tokio::runtime::Handle::current();
        cluster.move_slot(slot, to, || handle.block_on(between()));
    });
}

/// The guard is on one node and the rows are on the other. Then only the guard is left, and no generation is live anywhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_write_to_a_slot_of_which_half_has_moved_waits_and_counts_once() {
    if without("redis") {
        return;
    }
    let cluster = block_in_place(RedisCluster::start);
    let (buffer, slot, bay) = one_partition(&cluster).await;
    let mut waiting = None;
    move_away(&cluster, slot, async || {
        let error = buffer.row("a").add("n", 10).await.expect_err("two nodes have its keys for too long");
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Now), "{error}");
        assert!(error.to_string().contains("on the move"), "{error}");
        let buffer = buffer.clone();
        waiting = Some(tokio::spawn(async move { buffer.row("a").add("n", 100).await }));
    });
    waiting.expect("it was begun").await.expect("ends").expect("buffered");
    let sink = MemorySink::new();
    let _ = buffer.flush_to(sink.clone());
    buffer.flush().await.expect("flushed");
    assert_eq!(rows(&sink, &buffer, "a"), 101);

    let mut waiting = None;
    move_away(&cluster, slot, async || {
        let buffer = buffer.clone();
        waiting = Some(tokio::spawn(async move { buffer.row("a").add("n", 1_000).await }));
    });
    waiting.expect("it was begun").await.expect("ends").expect("buffered");

    // A generation is renamed to a key that neither node has.
    let mut waiting = None;
    move_away(&cluster, slot, async || {
        let buffer = buffer.clone();
        waiting = Some(tokio::spawn(async move { buffer.flush().await.map(drop) }));
    });
    waiting.expect("it was begun").await.expect("ends").expect("flushed");
    eventually("a flush", async || buffer.flush().await.is_ok()).await;
    assert_eq!(rows(&sink, &buffer, "a"), 1_101);
    drop(bay);
}
