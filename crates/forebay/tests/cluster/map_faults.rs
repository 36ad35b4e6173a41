//! Maps over several hosts, one of which has a fault; scripts of maps; and maps on a Redis Cluster whose slots move.

use std::time::Duration;

use forebay::{
    ErrorKind, Forebay, Retry,
    cluster::{Answers, Fate, Hosts, Map, Reply, Script, Ticket},
    time::{millis, secs},
};
use forebay_testkit::{
    Fault, Proxy, Redis, RedisCluster, Reply as Answer, eventually, unique_prefix, without,
};
use tokio::task::block_in_place;

use crate::{
    hosts::{SHARED, key_on, open},
    nodes::beside,
};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

const DEADLINE: Duration = secs(5);

/// Four hosts, and a store that has met them all.
async fn four(urls: [String; 4]) -> Forebay {
    let hosts = NAMES.iter().zip(urls).fold(Hosts::new(), |hosts, (name, url)| hosts.host(*name, url));
    let bay = Forebay::options().prefix(unique_prefix()).open_hosts(hosts).await.expect("opens");
    let mut map = bay.cluster().map().deadline(DEADLINE);
    map.fanout::<Reply>(&bay.cluster().all(), ["PING"]);
    assert!(map.run().await.is_complete());
    bay
}

/// Adds i + 1 to key i of 10 000. Asserts that all but the tickets of host b have their own answer, each in its place, and that
/// neither the fault nor the living hosts took longer than the deadline. Returns the fates of the tickets of host b.
async fn all_but_one_host(bay: &Forebay, name: &str) -> Vec<(String, i64, Fate)> {
    let keys: Vec<String> = (0..10_000).map(|i| format!("{name}:{i}")).collect();
    let mut map = bay.cluster().map().deadline(DEADLINE);
    let tickets: Vec<Ticket<i64>> = (1..).zip(&keys).map(|(by, key)| map.incr(key, by)).collect();
    let answers = map.run().await;
    let mut lost = vec![];
    for ((by, key), ticket) in (1..).zip(keys).zip(tickets) {
        match answers.get(ticket) {
            Ok(sum) => assert_eq!(sum, by, "{key}"),
            Err(error) => {
                assert_eq!(error.host(), "b", "{error}: {:?}", error.cause());
                lost.push((key, by, error.fate()));
            }
        }
    }
    // A pipeline to a dead host that ends without an error would be as many answers too few.
    let of_b = answers.hosts().find(|host| &*host.name == "b").expect("it has keys");
    assert_eq!((of_b.commands, of_b.failed), (lost.len(), lost.len()));
    assert!((2_000..3_000).contains(&lost.len()), "{}", lost.len());
    for host in answers.hosts() {
        assert!(host.took < DEADLINE + secs(1), "{host:?}");
        assert!(&*host.name == "b" || host.took < DEADLINE, "a living host was held up: {host:?}");
    }
    lost
}

/// With Nydus and rb one dead host of many is an error of the whole map; a pipeline of go-redis's ring to it has no error.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_host_of_four_costs_its_own_quarter() {
    if without("redis") {
        return;
    }
    let servers: [Redis; 4] = std::array::from_fn(|_| Redis::start());
    let bay = four(servers.each_ref().map(Redis::url)).await;
    let key = key_on(&bay, "b");
    servers[1].kill();
    let lost = all_but_one_host(&bay, "killed").await;
    assert!(lost.iter().all(|(_, _, fate)| matches!(fate, Fate::NotSent | Fate::MaybeExecuted)));
    servers[1].restart();
    // Its keys stayed its own meanwhile: a ring that ejects hosts would count them elsewhere.
    eventually("the host to be found again", async || {
        let mut map = bay.cluster().map();
        let ticket = map.incr(&key, 1);
        map.run().await.get(ticket).is_ok()
    })
    .await;
    for (number, server) in servers.iter().enumerate() {
        assert_eq!(server.command(["EXISTS", &key]), Answer::Integer(i64::from(number == 1)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_host_of_four_costs_its_own_quarter_and_counts_once() {
    if without("redis") {
        return;
    }
    let servers: [Redis; 4] = std::array::from_fn(|_| Redis::start());
    let bay = four(servers.each_ref().map(Redis::url)).await;
    servers[1].pause();
    let lost = all_but_one_host(&bay, "stopped").await;
    servers[1].resume();
    drop(bay);
    for (key, by, fate) in lost.iter().step_by(50) {
        let there = servers[1].command(["GET", key]);
        let is_right = match fate {
            Fate::MaybeExecuted => [Answer::Nil, Answer::text(by.to_string())].contains(&there),
            _ => there == Answer::Nil,
        };
        assert!(is_right, "{key}: {fate:?}, {there:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_of_four_that_refuses_costs_its_own_quarter() {
    if without("redis") {
        return;
    }
    let servers: [Redis; 4] = std::array::from_fn(|_| Redis::start());
    let bay = four(servers.each_ref().map(Redis::url)).await;
    assert_eq!(servers[1].command(["CONFIG", "SET", "maxmemory", "1"]), Answer::text("OK"));
    for (key, _, fate) in all_but_one_host(&bay, "refused").await {
        assert!(matches!(fate, Fate::Rejected | Fate::NotSent), "{key}: {fate:?}");
    }
    assert_eq!(servers[1].command(["CONFIG", "SET", "maxmemory", "0"]), Answer::text("OK"));
    let Answer::Integer(keys) = servers[1].command(["DBSIZE"]) else { panic!("no number") };
    assert!(keys < 20, "only keys of Forebay: {keys}");
}

/// In Envoy one slow node holds up the answers of the others.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_host_holds_up_no_other() {
    if without("redis") {
        return;
    }
    let slow = Redis::start();
    let proxy = Proxy::new(slow.port());
    let urls = [SHARED[0].url_of(9), slow.url_through(&proxy), SHARED[1].url_of(9), SHARED[2].url_of(9)];
    let bay = four(urls).await;
    let delay = secs(2);
    proxy.set(Fault::Delay(delay));
    let mut map = bay.cluster().map().deadline(secs(60));
    let tickets: Vec<Ticket<i64>> = NAMES.iter().map(|name| map.incr(key_on(&bay, name), 1)).collect();
    let answers = map.run().await;
    assert!(tickets.into_iter().all(|ticket| answers.get(ticket).is_ok_and(|sum| sum == 1)));
    for host in answers.hosts() {
        assert_eq!(host.took >= delay, &*host.name == "b", "{host:?}");
    }
}

/// Asserts the answer of each ticket.
fn check(answers: &Answers, tickets: &[Ticket<i64>], expected: &[i64]) {
    let sums: Vec<i64> = tickets
        .iter()
        .map(|ticket| answers.get(*ticket).unwrap_or_else(|error| panic!("{error:?}")))
        .collect();
    assert_eq!(sums, expected);
}

/// go-redis looked for the key of `XGROUP` in the wrong word, so that groups were made on another shard than read.
#[tokio::test]
async fn the_key_of_a_command_is_the_one_given_and_no_word_is_taken_for_it() {
    if without("redis") {
        return;
    }
    let bay = open(&*SHARED, &unique_prefix()).await.expect("opens");
    for name in ["a", "b", "c"] {
        let key = key_on(&bay, name);
        let mut map = bay.cluster().map();
        let group = map.raw::<String>(&key, ["XGROUP", "CREATE", &key, "g", "$", "MKSTREAM"]);
        let length = map.raw::<i64>(&key, ["XLEN", &key]);
        let size = map.fanout::<i64>(&bay.cluster().target_key(&key), ["EXISTS", &key]);
        let answers = map.run().await;
        assert_eq!(answers.get(group).expect("made"), "OK");
        check(&answers, &[length, size[0]], &[0, 1]);
        assert_eq!((answers.host(group), answers.host(size[0])), (Some(name), Some(name)));
    }
}

fn add() -> Script {
    Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])")
}

#[tokio::test]
async fn scripts_run_on_the_host_of_their_keys_and_are_sent_again_to_a_server_that_lost_them() {
    if without("redis") {
        return;
    }
    let server = Redis::start();
    let bay = Forebay::open(&server.url()).await.expect("opens");
    let add = add();
    let mut map = bay.cluster().map();
    let run = |map: &mut Map| map.script::<i64>(&add, ["k"], [1]);
    let mut tickets = vec![run(&mut map), run(&mut map)];
    // Between two calls of one pipeline the server loses all scripts.
    map.raw::<()>("k", ["SCRIPT", "FLUSH"]);
    tickets.extend([run(&mut map), run(&mut map)]);
    let refused = map.script::<i64>(&Script::new("return redis.error_reply('NOT NOW')"), ["k"], [0; 0]);
    let keyless = map.script::<i64>(&add, [""; 0], [1]);
    tickets.push(map.incr("k", 10));
    let answers = map.run().await;
    // The two calls that were refused ran after the last command.
    check(&answers, &tickets, &[1, 2, 13, 14, 12]);
    assert_eq!(answers.get(refused).expect_err("it refuses").fate(), Fate::Rejected);
    let error = answers.get(keyless).expect_err("no key");
    assert_eq!((error.fate(), error.cause().kind()), (Fate::NotSent, ErrorKind::Invalid));
    assert_eq!(server.command(["GET", "k"]), Answer::text("14"));

    // A script is called by its hash: its text is sent once for a batch.
    let mut map = bay.cluster().map();
    let tickets: Vec<_> = (0..100).map(|_| run(&mut map)).collect();
    server.command(["CONFIG", "RESETSTAT"]);
    check(&map.run().await, &tickets, &(15..115).collect::<Vec<_>>());
    let Answer::Text(stats) = server.command(["INFO", "commandstats"]) else { panic!("no statistics") };
    assert!(
        stats.contains("cmdstat_eval:calls=1,") && stats.contains("cmdstat_evalsha:calls=99,"),
        "{stats}"
    );
}

#[tokio::test]
async fn a_script_whose_keys_are_on_several_hosts_is_not_sent() {
    if without("redis") {
        return;
    }
    let bay = open(&*SHARED, &unique_prefix()).await.expect("opens");
    let (one, other) = (key_on(&bay, "a"), key_on(&bay, "b"));
    let mut map = bay.cluster().map();
    let both = map.script::<i64>(&add(), [&one, &other], [1]);
    let alone = map.script::<i64>(&add(), [&one, &beside(&one)], [1]);
    let answers = map.run().await;
    let error = answers.get(both).expect_err("two hosts");
    assert_eq!((error.fate(), error.retry()), (Fate::NotSent, Retry::Never), "{error}");
    assert!(error.cause().to_string().contains("several hosts"), "{:?}", error.cause());
    check(&answers, &[alone], &[1]);
}

/// Each of many maps sends a megabyte and waits for its answers.
#[tokio::test(flavor = "multi_thread")]
async fn many_maps_at_once_wait_for_each_other_within_their_deadline() {
    if without("redis") {
        return;
    }
    let server = Redis::start();
    let proxy = Proxy::new(server.port());
    let bay = Forebay::open(&server.url_through(&proxy)).await.expect("opens");
    let mut map = bay.cluster().map();
    map.incr("k", 1);
    assert!(map.run().await.is_complete());
    proxy.set(Fault::BlackHole);
    let runs = (0..20).map(async |number| {
        let mut map = bay.cluster().map().deadline(if number < 16 { secs(2) } else { millis(200) });
        let ticket = map.incr("k", 1);
        map.run().await.get(ticket).expect_err("nothing passes").fate()
    });
    let fates = futures::future::join_all(runs).await;
    let (sent, waited) = fates.split_at(16);
    assert!(sent.iter().all(|fate| *fate == Fate::MaybeExecuted), "{fates:?}");
    assert!(waited.iter().all(|fate| *fate == Fate::NotSent), "{fates:?}");
    proxy.set(Fault::Pass);
    eventually("what was sent to arrive", async || server.command(["GET", "k"]) == Answer::text("17")).await;
}

/// Envoy answered an MGET in part while one of its slots moved.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_map_follows_slots_that_move() {
    if without("redis") {
        return;
    }
    let cluster = block_in_place(RedisCluster::start);
    let bay = Forebay::open(&cluster.url()).await.expect("opens");
    let tag = unique_prefix();
    let slot = bay.cluster().route(format!("{{{tag}}}")).slot.expect("by slots");
    let mut keys: Vec<String> = (0..20).map(|i| format!("{{{tag}}}:{i}")).collect();
    keys.extend((0..20).map(|i| format!("{tag}:{i}")));
    let add = add();
    // Of half of the keys one after the other: by a plain command and by a script.
    let count = async |expected: i64| {
        let mut map = bay.cluster().map().deadline(secs(60));
        let sums: Vec<Ticket<i64>> = keys.iter().map(|key| map.incr(key, 1)).collect();
        let scripts: Vec<Ticket<i64>> = keys.iter().map(|key| map.script(&add, [key], [1])).collect();
        let values: Vec<Ticket<i64>> = map.mget(&keys);
        let answers = map.run().await;
        check(&answers, &sums, &vec![expected - 1; keys.len()]);
        // A node that never had the script gets it, and the values may be read meanwhile.
        check(&answers, &scripts, &vec![expected; keys.len()]);
        for value in values {
            let value = answers.get(value).unwrap_or_else(|error| panic!("{error:?}"));
            assert!((expected - 1..=expected).contains(&value), "{value}");
        }
    };
    count(2).await;
    block_in_place(|| {
        let owner = cluster.owner(slot).port();
        let to = cluster.nodes().iter().find(|node| node.port() != owner).expect("another");
        let handle = tokio::runtime::Handle::current();
        cluster.move_slot(slot, to, || handle.block_on(count(4)));
    });
    count(6).await;
}

/// Moves a slot that has at most one key, between nodes that are known by other ports than their own.
fn hand_over(nodes: &[Redis], (from, to): (usize, usize), slot: u16, key: &str) {
    let id = |node: &Redis| match node.command(["CLUSTER", "MYID"]) {
        Answer::Text(id) => id,
        other => panic!("an id, not {other:?}"),
    };
    let (from_id, to_id, slot) = (id(&nodes[from]), id(&nodes[to]), slot.to_string());
    let is_ok = |answer: &Answer| [Answer::text("OK"), Answer::text("NOKEY")].contains(answer);
    let importing = nodes[to].command(["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]);
    let migrating = nodes[from].command(["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]);
    let port = nodes[to].port().to_string();
    let moved = nodes[from].command(["MIGRATE", "127.0.0.1", &port, key, "0", "5000"]);
    let answers = [importing, migrating, moved];
    assert!(answers.iter().all(is_ok), "{answers:?}");
    for node in [to, from, 3 - to - from] {
        let known = nodes[node].command(["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]);
        assert!(is_ok(&known), "{known:?}");
    }
}

/// A command that a node sent on was told to be rejected, and safe to repeat, when the next node's answer was lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_command_that_was_sent_on_and_has_no_answer_may_have_been_executed() {
    if without("redis") {
        return;
    }
    let (cluster, proxies) = block_in_place(RedisCluster::start_behind_proxies);
    let bay =
        Forebay::open(&format!("redis+cluster://127.0.0.1:{}", proxies[0].port())).await.expect("opens");
    let key = unique_prefix();
    let slot = bay.cluster().route(&key).slot.expect("by slots");
    let incr = async |key: &str| {
        let mut map = bay.cluster().map();
        let ticket = map.incr(key, 1);
        map.run().await.get(ticket)
    };
    let (mut executed, mut unknown) = (0, 0);
    let at = bay.cluster().route(&key).host;
    let mut from =
        proxies.iter().position(|proxy| at.ends_with(&format!(":{}", proxy.port()))).expect("one of them");
    for round in 0..30 {
        eventually("the connections to stand", async || {
            let mut map = bay.cluster().map();
            map.fanout::<Reply>(&bay.cluster().all(), ["PING"]);
            map.get::<Reply>(&key);
            map.run().await.is_complete()
        })
        .await;
        let to = (from + 1) % 3;
        block_in_place(|| hand_over(cluster.nodes(), (from, to), slot, &key));
        from = to;
        proxies[to].set(Fault::DropReply { after: 0 });
        match incr(&key).await {
            Ok(sum) => {
                executed += 1;
                assert!(sum <= executed + unknown, "round {round}: {sum} of {executed}, {unknown} unknown");
            }
            Err(error) if (error.fate(), error.retry()) == (Fate::MaybeExecuted, Retry::Unknown) => {
                unknown += 1;
            }
            Err(error) => assert_eq!(error.fate(), Fate::NotSent, "{error:?}"),
        }
        proxies[to].set(Fault::Pass);
        if unknown >= 3 {
            break;
        }
    }
    assert!(unknown > 0, "no reply was lost");
    let mut sum = None;
    eventually("an answer", async || {
        sum = incr(&key).await.ok();
        sum.is_some()
    })
    .await;
    let sum = sum.expect("answered");
    assert!((executed + 1..=executed + unknown + 1).contains(&sum), "{sum}: {executed}, {unknown} unknown");
}
