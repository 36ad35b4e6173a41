use std::sync::Arc;

use forebay_testkit::{Fault, Proxy, Redis as Server, RedisCluster, Reply, eventually, unique_prefix};
use futures::future::join_all;

use crate::{
    Clock, ErrorKind, Name, Result, Retry, When,
    engine::{
        cluster::{Group, Groups},
        redis::{Nodes, Redis, across::APART},
        step::{Take, Taken},
    },
    model::rate::rule::Rule,
    time::{millis, mins, secs},
};

/// An engine on a node of a cluster, which was asked whether calls may have keys of several slots. The nodes have to be kept.
pub(super) async fn node(cluster: &RedisCluster, number: usize) -> (Arc<Redis>, Arc<Nodes>) {
    let node = &cluster.nodes()[number];
    let (engine, nodes) = unasked(cluster, node, node.port(), &unique_prefix()).await;
    engine.check_node().await.expect("it answers");
    (engine, nodes)
}

async fn unasked(cluster: &RedisCluster, node: &Server, port: u16, prefix: &str) -> (Arc<Redis>, Arc<Nodes>) {
    let nodes = Nodes::new(&[node.url().into()], prefix, Clock::system()).expect("valid");
    let engine = nodes.engine(&("127.0.0.1".into(), port));
    engine.connected().await.expect("it runs");
    let has = |group: &Group| cluster.owner(group.slot().number()).port() == node.port();
    engine.set_groups(Group::all().filter(has).map(Groups::of).fold(Groups::default(), Groups::with));
    (engine, nodes)
}

/// Keys in groups that an engine's node has.
fn keys(engine: &Redis, range: std::ops::Range<usize>) -> Vec<String> {
    let keys = range.map(|number| format!("user:{number}"));
    keys.filter(|key| engine.groups().has(Group::of(key))).collect()
}

/// Takes once of each key, all at once.
async fn take_each(engine: &Redis, keys: &[String], quota: u64) -> Vec<Result<Taken>> {
    let name = Name::new("hits").expect("valid");
    let rule = Rule::fixed_window(quota, mins(60 * 24 * 365), secs(0)).expect("valid");
    let take = async |key: &String| {
        let take = Take { limit: &name, key, rule, cost: 1, within: secs(10) };
        engine.take(take, When::EngineClock).await
    };
    join_all(keys.iter().map(take)).await
}

/// What is used of each key after a take, all of which were admitted.
fn used(answers: Vec<Result<Taken>>) -> Vec<u64> {
    let used = |answer: Result<Taken>| {
        let taken = answer.expect("answers");
        assert!(taken.allowed, "{taken:?}");
        taken.state.1
    };
    answers.into_iter().map(used).collect()
}

/// The script calls that a server has had.
fn calls(server: &Server) -> u64 {
    let Reply::Text(stats) = server.command(["INFO", "commandstats"]) else { panic!("a text") };
    let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
    line.and_then(|line| line.split(',').next()?.parse().ok()).unwrap_or(0)
}

/// How many script calls takes of many keys cost.
async fn calls_for(server: &Server, engine: &Redis, keys: &[String]) -> u64 {
    let before = calls(server);
    used(take_each(engine, keys, 1_000_000).await);
    calls(server) - before
}

/// The first take goes alone, all others share a call.
#[tokio::test]
async fn takes_of_all_groups_are_one_call_if_the_node_lets_them() {
    let cluster = RedisCluster::start_single();
    let server = &cluster.nodes()[0];
    let (engine, _nodes) = node(&cluster, 0).await;
    let keys = keys(&engine, 0..500);
    assert_eq!(calls_for(server, &engine, &keys).await, 2);
    assert_eq!(used(take_each(&engine, &keys, 1_000_000).await), vec![2; keys.len()]);
    // The connection is the same, and the server has no script any more.
    server.command(["SCRIPT", "FLUSH"]);
    assert_eq!(used(take_each(&engine, &keys, 1_000_000).await), vec![3; keys.len()]);

    let prefix = unique_prefix();
    let (engine, _nodes) = unasked(&cluster, server, server.port(), &prefix).await;
    let apart = calls_for(server, &engine, &keys).await;
    assert!(apart > 60, "{apart} calls before the probe");
    // A server that refuses what is not declared, as far as the engine can tell.
    for group in Group::all() {
        server.command(["RPUSH", &format!("{prefix}:probe:{{{}}}", group.tag()), "x"]);
    }
    engine.check_node().await.expect("it answers");
    let apart = calls_for(server, &engine, &keys).await;
    assert!(apart > 60, "{apart} calls after a probe that was refused");
    assert_eq!(used(take_each(&engine, &keys, 1_000_000).await), vec![3; keys.len()]);
}

/// Some keys of a group are there, some here, and some nowhere. First the group is the first of a call, which is refused as a whole; then
/// it is another one.
#[test]
fn a_slot_that_moves_while_calls_have_keys_of_many_loses_nothing_and_doubles_nothing() {
    let cluster = RedisCluster::start();
    let [from, to, _] = cluster.nodes() else { panic!("three nodes") };
    // Where only this thread runs tasks, batches have the same keys each time.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("starts");
    let (engine, _nodes) = runtime.block_on(node(&cluster, 0));
    let (old, all) = (keys(&engine, 0..600), keys(&engine, 0..900));
    assert_eq!(runtime.block_on(calls_for(from, &engine, &old)), 2);
    let mut expected = [vec![1; old.len()], vec![0; all.len() - old.len()]].concat();
    let mut take_all = || {
        let answers = used(runtime.block_on(take_each(&engine, &all, 1_000_000)));
        for used in &mut expected {
            *used += 1;
        }
        assert_eq!(answers, expected);
    };
    let first = Group::of(&old[1]);
    let other = all[old.len()..].iter().map(|key| Group::of(key)).find(|group| *group != first);
    let clock = Clock::system();
    for group in [first, other.expect("other keys that are nowhere yet")] {
        let slot = group.slot().number();
        cluster.move_slot(slot, to, || {
            // The second time the group goes by itself.
            take_all();
            take_all();
        });
        // And longer than it does.
        let until = clock.monotonic() + APART + millis(100);
        while clock.monotonic() < until {
            take_all();
        }
    }
}

#[tokio::test]
async fn takes_whose_reply_is_lost_are_unknown_and_are_never_done_twice() {
    let cluster = RedisCluster::start_single();
    let server = &cluster.nodes()[0];
    let proxy = Proxy::new(server.port());
    let (engine, _nodes) = unasked(&cluster, server, proxy.port(), &unique_prefix()).await;
    engine.check_node().await.expect("it answers");
    let keys = keys(&engine, 0..300);
    assert_eq!(calls_for(server, &engine, &keys).await, 2);
    // The reply behind that to the first take, unless that one has the others' replies with it.
    proxy.set(Fault::DropReply { after: 1 });
    let (mut rounds, mut errors) = (1, vec![]);
    while errors.is_empty() {
        let answers = take_each(&engine, &keys, 1_000_000).await;
        (rounds, errors) = (rounds + 1, answers.into_iter().filter_map(Result::err).collect());
    }
    // All but the first, which may have gone with them.
    assert!(errors.len() >= keys.len() - 1, "{}", errors.len());
    for error in errors {
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Ambiguous, Retry::Unknown), "{error}");
    }
    eventually("another connection", async || engine.check_node().await.is_ok()).await;
    // The connection may have ended before they were sent.
    for used in used(take_each(&engine, &keys, 1_000_000).await) {
        assert!(used == rounds || used == rounds + 1, "{used} after {rounds} rounds");
    }
}

/// A script that declares its flags is refused as a whole by a server without memory.
#[tokio::test]
async fn a_full_node_denies_what_is_used_up_and_refuses_the_rest() {
    let cluster = RedisCluster::start_single();
    let server = &cluster.nodes()[0];
    let (engine, _nodes) = node(&cluster, 0).await;
    let keys = keys(&engine, 0..300);
    used(take_each(&engine, &keys, 1).await);
    server.command(["CONFIG", "SET", "maxmemory", "1"]);
    for _ in 0..2 {
        for answer in take_each(&engine, &keys, 1).await {
            assert!(!answer.expect("nothing is written").allowed);
        }
        for answer in take_each(&engine, &keys, 2).await {
            let error = answer.expect_err("a full server");
            assert_eq!((error.kind(), error.retry()), (ErrorKind::Overloaded, Retry::Later), "{error}");
        }
    }
    server.command(["CONFIG", "SET", "maxmemory", "0"]);
    used(take_each(&engine, &keys, 2).await);
    eventually("one call again", async || calls_for(server, &engine, &keys).await == 2).await;
}
