//! One host of three is down: its rows go to partitions of the others, and count once. The tests of `forebay-sql` have the same
//! under load.

use std::collections::BTreeMap;

use forebay::{
    Buffer, Clock, Event, Forebay, Retry,
    buffer::{BufferHandle, Row, RowKey, Schema, Value},
    cluster::{Health, Hosts},
    event::Cell,
    once::Once,
    sink::{Answer, Applied, Batch, MemorySink, Sink, Snapshot},
    time::millis,
};
use forebay_testkit::{Fault, Proxy, Redis, RedisCluster, eventually, unique_prefix, without};
use futures::future::join_all;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::{
    hosts::{health, open, three},
    points::whole,
};

fn rows(bay: &Forebay, name: &str) -> (BufferHandle, MemorySink) {
    let buffer = bay.buffer(Buffer::new(name).key("id").sum("n")).expect("valid");
    let sink = MemorySink::new();
    let _ = buffer.flush_to(sink.clone());
    (buffer, sink)
}

/// The sum of each row in the database.
fn sums(sink: &MemorySink, buffer: &BufferHandle) -> BTreeMap<String, i64> {
    let sum = |row: &Row| match row.cells[0] {
        Some(Value::Integer(sum)) => (row.key.as_str().to_owned(), sum),
        _ => panic!("a sum: {row:?}"),
    };
    sink.rows(buffer.schema()).iter().map(sum).collect()
}

async fn until(bay: &Forebay, wanted: [Health; 3]) {
    eventually("the health of the hosts", async || health(bay) == wanted).await;
}

const B_DOWN: [Health; 3] = [Health::Up, Health::Down, Health::Up];

/// Three hosts, the second one behind a proxy.
async fn behind_a_proxy(servers: &[Redis; 3], proxy: &Proxy) -> Forebay {
    let hosts = Hosts::new()
        .host("a", servers[0].url())
        .host("b", servers[1].url_through(proxy))
        .host("c", servers[2].url());
    Forebay::options().prefix(unique_prefix()).open_hosts(hosts).await.expect("opens")
}

#[tokio::test]
async fn rows_of_a_dead_host_are_accepted_read_and_flushed_on_others() {
    if without("redis") {
        return;
    }
    let servers = three();
    let bay = open(&servers, &unique_prefix()).await.expect("opens");
    let (buffer, sink) = rows(&bay, "rows");
    let row = |id: u32| buffer.row(id.to_string()).add("n", 1);
    for id in 0..60 {
        row(id).await.expect("its host is up");
    }
    let whole = buffer.pending(["7".into()]).await.expect("answers");
    assert!(whole[0] == Some(1.into()) && !whole.partial);

    servers[1].kill();
    until(&bay, B_DOWN).await;
    for id in 0..60 {
        row(id).await.expect("another host takes it");
    }
    let many: Vec<Row> = (0..60).map(|id| row(id).into_row().expect("valid")).collect();
    assert!(buffer.add_rows(many).await.iter().all(Result::is_ok));
    let mut dead = 0;
    for id in 0..60 {
        let key = [Value::from(id.to_string())];
        let is_dead = &*bay.cluster().route_row(&buffer, &key).expect("valid").host == "b";
        dead += u32::from(is_dead);
        let expected = if is_dead { 2 } else { 3 };
        for read in [buffer.pending(&key).await, buffer.value(&key).await] {
            let read = read.expect("answers");
            assert!(read[0] == Some(expected.into()) && read.partial, "{id}: {read:?}");
        }
    }
    assert!((1..60).contains(&dead), "{dead} of 60");
    let stats = buffer.stats().await.expect("answers");
    assert!(stats.partial);

    servers[1].restart();
    until(&bay, [Health::Up; 3]).await;
    buffer.flush().await.expect("flushes");
    // Without persistence the host has lost what it had.
    let sums = sums(&sink, &buffer);
    assert_eq!(sums.len(), 60);
    assert_eq!(sums.values().sum::<i64>(), 180 - i64::from(dead));
    let read = buffer.value(["7".into()]).await.expect("answers");
    assert!(!read.partial && read[0].is_some());
}

/// A buffer whose partitions are all on one host has nowhere else to go.
#[tokio::test]
async fn a_buffer_of_one_partition_waits_for_its_host() {
    if without("redis") {
        return;
    }
    let servers = three();
    let bay = open(&servers, &unique_prefix()).await.expect("opens");
    let buffer = bay.buffer(Buffer::new("one").key("id").sum("n").partitions(1)).expect("valid");
    let host = bay.cluster().route_row(&buffer, ["1".into()]).expect("valid").host;
    let number = ["a", "b", "c"].iter().position(|name| *name == &*host).expect("one of them");
    servers[number].kill();
    eventually("the host to be down", async || health(&bay)[number] == Health::Down).await;
    let error = buffer.row("1").add("n", 1).await.expect_err("nowhere");
    assert_eq!(error.retry(), Retry::Later, "{error}");
    assert!(buffer.pending(["1".into()]).await.is_err(), "no host answers for it");
}

/// A row whose answer was lost may have been merged: it is unknown, and does not go elsewhere. What waits behind it does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_host_costs_the_rows_on_their_way_and_none_counts_twice() {
    if without("redis") {
        return;
    }
    let servers = three();
    let proxy = Proxy::new(servers[1].port());
    let bay = behind_a_proxy(&servers, &proxy).await;
    let (buffer, sink) = rows(&bay, "rows");
    buffer.row("first").add("n", 1).await.expect("connected");
    proxy.set(Fault::BlackHole);
    let clock = Clock::system();
    let mut writes: Vec<(String, JoinHandle<forebay::Result<()>>)> = vec![];
    for turn in 0..30 {
        for id in 0..30 {
            let (id, buffer) = (format!("{turn}-{id}"), buffer.clone());
            let write = buffer.row(id.as_str()).add("n", 1);
            writes.push((id, tokio::spawn(async move { write.await })));
        }
        clock.sleep(millis(10)).await;
    }
    until(&bay, B_DOWN).await;
    let (ids, writes): (Vec<_>, Vec<_>) = writes.into_iter().unzip();
    let answers = join_all(writes).await.into_iter().map(|answer| answer.expect("no panic"));
    let answers: Vec<(String, forebay::Result<()>)> = ids.into_iter().zip(answers).collect();
    let unknown: Vec<&String> = answers
        .iter()
        .filter_map(|(id, answer)| answer.as_ref().err().map(|error| (id, error)))
        .inspect(|(id, error)| assert_eq!(error.retry(), Retry::Unknown, "{id}: {error}"))
        .map(|(id, _)| id)
        .collect();
    // The first flight of each of the two writers to the host. The others waited behind them.
    assert!(unknown.len() <= 30, "{} of 900 are unknown", unknown.len());

    proxy.set(Fault::Pass);
    until(&bay, [Health::Up; 3]).await;
    buffer.flush().await.expect("flushes");
    let sums = sums(&sink, &buffer);
    for (id, answer) in &answers {
        let times = sums.get(id).copied().unwrap_or_default();
        assert!(times == 1 || times == 0 && answer.is_err(), "{id} counts {times} times: {answer:?}");
    }
}

/// A sink in front of which a flush commits between the read of the store and the read of the database.
#[derive(Clone, Debug)]
struct FlushesBetween {
    memory: MemorySink,
    buffer: BufferHandle,
}

impl Sink for FlushesBetween {
    fn prepare<'a>(&'a self, schema: &'a Schema) -> Answer<'a, ()> {
        self.memory.prepare(schema)
    }

    fn apply<'a>(&'a self, batch: &'a Batch) -> Answer<'a, Applied> {
        self.memory.apply(batch)
    }

    fn read<'a>(&'a self, schema: &'a Schema, row: &'a RowKey, ids: &'a [Uuid]) -> Answer<'a, Snapshot> {
        Box::pin(async move {
            self.buffer.flush().await.expect("flushes");
            self.memory.read(schema, row, ids).await
        })
    }

    fn ping(&self) -> Answer<'_, ()> {
        self.memory.ping()
    }
}

/// Two generations have the row, and both are committed between the two reads.
#[tokio::test]
async fn a_flush_between_the_reads_of_a_value_counts_once() {
    if without("redis") {
        return;
    }
    let servers = three();
    let proxy = Proxy::new(servers[1].port());
    let bay = behind_a_proxy(&servers, &proxy).await;
    let buffer = bay.buffer(Buffer::new("rows").key("id").sum("n")).expect("valid");
    let memory = MemorySink::new();
    let _ = buffer.flush_to(FlushesBetween { memory: memory.clone(), buffer: buffer.clone() });
    let mut ids = (0..).map(|id: u32| id.to_string());
    let on_b =
        |id: &String| &*bay.cluster().route_row(&buffer, [id.as_str().into()]).expect("valid").host == "b";
    let id = ids.find(on_b).expect("b has partitions");
    buffer.row(id.as_str()).add("n", 1).await.expect("at home");
    proxy.set(Fault::BlackHole);
    until(&bay, B_DOWN).await;
    buffer.row(id.as_str()).add("n", 10).await.expect("elsewhere");
    proxy.set(Fault::Pass);
    until(&bay, [Health::Up; 3]).await;
    let read = buffer.value([id.as_str().into()]).await.expect("answers");
    assert!(read[0] == Some(11.into()) && !read.partial, "{read:?}");
    assert_eq!(sums(&memory, &buffer), BTreeMap::from([(id, 11)]));
}

/// Hits under keys whose records are not on a host, and whose rows are at home there.
fn keyed_hits(bay: &Forebay, buffer: &BufferHandle, host: &str) -> Vec<(String, String)> {
    let cluster = bay.cluster();
    let mut ids = (0..).map(|id: u32| id.to_string());
    let at_home =
        |id: &String| &*cluster.route_row(buffer, [id.as_str().into()]).expect("valid").host == host;
    let ids: Vec<String> = ids.by_ref().filter(at_home).take(20).collect();
    let request = |id: &String| {
        let requests = (0..).map(|nth: u32| format!("{id}-{nth}"));
        let is_up = |request: &String| {
            [request.clone(), format!("event hit {request}")]
                .iter()
                .all(|key| &*cluster.route_limit(key).host != host)
        };
        requests.into_iter().find(is_up).expect("each host has keys")
    };
    ids.iter().map(|id| (request(id), id.clone())).collect()
}

/// The record of a request says which hosts were down when it began. So every attempt finds the row's token where the first one
/// left it, also when the host of the row is back.
#[tokio::test]
async fn a_request_whose_row_went_elsewhere_counts_once_when_the_host_is_back() {
    if without("redis") {
        return;
    }
    let servers = three();
    let proxy = Proxy::new(servers[1].port());
    let bay = behind_a_proxy(&servers, &proxy).await;
    let (buffer, sink) = rows(&bay, "rows");
    let event = bay.event(Event::new("hit").buffer(&buffer, [Cell::Key], [("n", Cell::N)])).expect("valid");
    let hits = keyed_hits(&bay, &buffer, "b");
    proxy.set(Fault::BlackHole);
    until(&bay, B_DOWN).await;
    let mut items = vec![];
    for (nth, (request, id)) in hits.iter().enumerate() {
        if nth % 2 == 0 {
            let hit = event.hit_keyed(request, id, 1, None).await.expect("another host takes it");
            assert!(hit.is_accepted());
        } else {
            // An attempt that is not sure of anything: its answer was lost.
            let Once::First(begun) = bay.once(request.as_str(), 7).await.expect("answers") else {
                panic!("the first")
            };
            let hit = event.hit_once(&begun.item(0), id, 1, None).await.expect("another host takes it");
            assert!(hit.is_accepted());
            begun.leave("", false).await.expect("noted");
            items.push((request, id));
        }
    }
    let again = async || {
        for (nth, (request, id)) in hits.iter().enumerate() {
            if nth % 2 == 0 {
                assert!(event.hit_keyed(request, id, 1, None).await.expect("known").is_accepted());
            }
        }
        for (request, id) in &items {
            let Once::First(begun) = bay.once(request.as_str(), 7).await.expect("answers") else {
                panic!("taken over")
            };
            assert!(!begun.is_first());
            let hit = event.hit_once(&begun.item(0), id, 1, None).await.expect("its token is there");
            assert!(hit.is_accepted());
            begun.leave("", false).await.expect("noted");
        }
    };
    again().await;
    proxy.set(Fault::Pass);
    until(&bay, [Health::Up; 3]).await;
    again().await;
    again().await;
    buffer.flush().await.expect("flushes");
    let sums = sums(&sink, &buffer);
    let expected = hits.iter().map(|(_, id)| (id.clone(), 1)).collect();
    assert_eq!(sums, expected);
}

/// In a Redis Cluster another node may have the slots when a request is repeated. Its record could not tell where the row went, so
/// that a row with a key waits for its home; one without a key goes elsewhere. So do points.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_redis_cluster_rows_and_points_go_elsewhere_and_rows_with_a_key_wait() {
    if without("redis") {
        return;
    }
    let nodes = RedisCluster::start();
    for node in nodes.nodes() {
        node.command(["CONFIG", "SET", "cluster-require-full-coverage", "no"]);
    }
    let bay = Forebay::options().prefix(unique_prefix()).open(&nodes.url()).await.expect("opens");
    let (buffer, sink) = rows(&bay, "rows");
    let event = bay.event(Event::new("hit").buffer(&buffer, [Cell::Key], [("n", Cell::N)])).expect("valid");
    let victim = &nodes.nodes()[1];
    let name = format!("127.0.0.1:{}", victim.port());
    let hits = keyed_hits(&bay, &buffer, &name);
    let series = bay.series("hits").expect("valid");
    let keys: Vec<String> = (0..60).map(|id| format!("k{id}")).collect();
    let is_at_home = |key: &&String| *bay.cluster().route_series(&series, key).host == *name;
    let points_of_victim = keys.iter().filter(is_at_home).count();
    assert!((1..60).contains(&points_of_victim), "{points_of_victim} of 60");
    let health_of =
        || bay.cluster().hosts().into_iter().find(|host| *host.name == *name).map(|host| host.health);
    victim.kill();
    eventually("the node to be down", async || health_of() == Some(Health::Down)).await;
    for (request, id) in &hits {
        let error = event.hit_keyed(request, id, 1, None).await.expect_err("its home is down");
        assert!(error.is_nothing(), "{error:?}");
        buffer.row(id.as_str()).add("n", 1).await.expect("another node takes it");
    }
    for key in &keys {
        series.add(key, 3).await.expect("some node takes it");
    }
    assert!(buffer.pending([hits[0].1.as_str().into()]).await.expect("two answer").partial);
    victim.restart();
    eventually("the node to be well", async || health_of() == Some(Health::Up)).await;
    for (request, id) in &hits {
        // A node answers some moments before it serves its slots.
        let hit = async || event.hit_keyed(request, id, 1, None).await.is_ok_and(|hit| hit.is_accepted());
        eventually("its home to take it", hit).await;
        assert!(hit().await, "known");
    }
    buffer.flush().await.expect("flushes");
    let expected = hits.iter().map(|(_, id)| (id.clone(), 2)).collect();
    assert_eq!(sums(&sink, &buffer), expected, "one with a key, one without");
    for key in &keys {
        eventually("its points", async || whole(&series, &bay, key).await.is_some()).await;
        assert_eq!(whole(&series, &bay, key).await, Some(3), "{key}");
    }
}

/// The host comes back with a snapshot of rows that the database has. Those that went elsewhere meanwhile are other rows of other
/// generations.
#[tokio::test]
async fn a_host_that_comes_back_with_older_data_doubles_nothing() {
    if without("redis") {
        return;
    }
    let servers = three();
    let bay = open(&servers, &unique_prefix()).await.expect("opens");
    let (buffer, sink) = rows(&bay, "rows");
    let write = async || {
        for id in 0..60 {
            buffer.row(id.to_string()).add("n", 1).await.expect("some host takes it");
        }
    };
    write().await;
    servers[1].command(["SAVE"]);
    buffer.flush().await.expect("flushes");
    servers[1].kill();
    until(&bay, B_DOWN).await;
    write().await;
    servers[1].restart();
    until(&bay, [Health::Up; 3]).await;
    let pending = buffer.stats().await.expect("answers").pending_rows;
    assert!((61..120).contains(&pending), "{pending}: those of the snapshot, and those that went elsewhere");
    write().await;
    for _ in 0..2 {
        buffer.flush().await.expect("flushes");
    }
    let sums = sums(&sink, &buffer);
    assert!(sums.len() == 60 && sums.values().all(|&sum| sum == 3), "{sums:?}");
}
