//! The primary changes under open connections: nothing counts twice, and no write is added to a committed batch.
//!
//! `FOREBAY_ROUNDS` is the number of rounds for each setting; `scripts/faults replication` sets it.

mod books;
mod process;
mod servers;
mod world;

use std::collections::HashMap;

use forebay::Retry;
use forebay_testkit::{Fault, Redis, Reply, eventually, unique_prefix, without};

use self::{
    books::Books,
    process::{PARTITIONS, Process},
    servers::Pair,
    world::{Setting, Way, World},
};
use crate::support::total;

/// The connection has seen the replication id but not the data: B has the rows that A had before its flush.
#[tokio::test]
async fn hits_after_a_fail_over_and_back_on_an_idle_connection_reach_sql() {
    if without("redis") {
        return;
    }
    let pair = Pair::start(false).await;
    let books = Books::default();
    let process = Process::open(&pair.url(0), &unique_prefix(), &books).await;
    let write = async |times| {
        for _ in 0..times {
            assert!(process.write(0).await, "acknowledged");
        }
    };
    for round in 1..=rounds() {
        pair.follow(1, 0).await;
        write(1).await;
        pair.catch_up(1, 0).await;
        pair.promote(1);
        process.buffer.flush().await.expect("flushes");
        pair.follow(0, 1).await;
        pair.promote(0);
        write(10).await;
        process.buffer.flush().await.expect("flushes");
        assert_eq!(total(&process.buffer, &books.table), 11 * round);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fail_over_and_back_with_a_resync_loses_and_doubles_nothing() {
    for (proxy, load) in [(false, false), (false, true), (true, false), (true, true)] {
        run(Setting { proxy, load, way: Way::Resync }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fail_over_that_loses_a_tail_loses_no_more_and_doubles_nothing() {
    for (proxy, load) in [(false, false), (false, true), (true, false), (true, true)] {
        run(Setting { proxy, load, way: Way::Crash }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fail_back_without_a_resync_is_reported() {
    for (proxy, load) in [(false, false), (false, true), (true, false), (true, true)] {
        run(Setting { proxy, load, way: Way::Apart }).await;
    }
}

/// The number of rounds.
fn rounds() -> i64 {
    std::env::var("FOREBAY_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1)
}

async fn run(setting: Setting) {
    if without("redis") {
        return;
    }
    let mut world = World::start(setting).await;
    for _ in 0..rounds() {
        world.round().await;
    }
    world.end().await;
}

/// The number of generations of each partition, live and frozen.
fn generations(server: &Redis, prefix: &str) -> HashMap<String, usize> {
    let Reply::Array(keys) = server.command(["KEYS", &format!("{prefix}:buffer:*")]) else {
        panic!("no keys")
    };
    let mut found = HashMap::new();
    for key in keys {
        let Reply::Text(key) = key else { panic!("no key") };
        if key.ends_with(":live") || key.contains(":frozen:") {
            let tag = key.split(['{', '}']).nth(1).expect("a tag").to_owned();
            *found.entry(tag).or_default() += 1;
        }
    }
    found
}

/// Two processes once froze each other's generations by turns, for 39 of 40 writes: one of them had connected before the id
/// changed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_changes_without_loss_costs_a_rotation_a_partition_at_most() {
    if without("redis") {
        return;
    }
    for _ in 0..rounds() {
        change_the_id_twice(&Pair::alone()).await;
    }
}

async fn change_the_id_twice(pair: &Pair) {
    let (books, prefix) = (Books::default(), unique_prefix());
    let open = async || Process::open(&pair.url(0), &prefix, &books).await;
    let early = open().await;
    let both = async |late: &Process, rows: std::ops::Range<i64>| {
        for row in rows {
            let (a, b) = tokio::join!(early.write(row), late.write(row));
            assert!(a && b, "acknowledged");
        }
    };
    let most = |before: usize| {
        let found = generations(pair.server(0), &prefix);
        assert!(found.len() == usize::from(PARTITIONS) && found.values().all(|n| *n <= before), "{found:?}");
    };
    let first = open().await;
    both(&first, 0..24).await;
    most(1);
    // Writes continue while the first replica attaches.
    let id = pair.info(0, "master_replid");
    tokio::join!(both(&first, 0..200), pair.follow(1, 0));
    assert_ne!(pair.info(0, "master_replid"), id);
    let late = open().await;
    both(&late, 0..40).await;
    both(&first, 0..40).await;
    most(2);
    // An unused backlog is freed, and the id changes again.
    let id = pair.info(0, "master_replid");
    pair.command(0, &["CONFIG", "SET", "repl-backlog-ttl", "1"]);
    pair.promote(1);
    let freed = eventually("the backlog to be freed", async || pair.info(0, "master_replid") != id);
    tokio::join!(both(&late, 0..200), freed);
    both(&late, 0..40).await;
    most(3);
    late.buffer.flush().await.expect("flushes");
    let acknowledged = [&early, &first, &late].map(|process| process.hits.acknowledged()).iter().sum();
    assert_eq!(total(&late.buffer, &books.table), acknowledged);
}

/// A replica can be configured to accept writes. The next resync drops them.
#[tokio::test]
async fn a_replica_that_takes_writes_acknowledges_none() {
    if without("redis") {
        return;
    }
    let pair = Pair::alone();
    let books = Books::default();
    let process = Process::open(&pair.url(0), &unique_prefix(), &books).await;
    assert!(process.write(0).await, "acknowledged");
    pair.command(0, &["CONFIG", "SET", "replica-read-only", "no"]);
    pair.follow(0, 1).await;
    let error = process.buffer.row("0").add("n", 1).await.expect_err("a replica");
    assert_eq!(error.retry(), Retry::Later, "{error}");
    let error = process.series.add("k", 1).await.expect_err("a replica");
    assert_eq!(error.retry(), Retry::Later, "{error}");
    assert_eq!(pair.server(0).command(["DBSIZE"]), Reply::Integer(0));
    pair.promote(0);
    eventually("it is a primary again", async || process.write(0).await).await;
}

/// A batch whose answer was lost. Under the same id it is sent again and counts once, whether it had arrived or not. Under
/// another id its fate is unknown, and a late arrival has no effect.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_in_doubt_counts_once_under_the_same_id_and_is_unknown_under_another() {
    if without("redis") {
        return;
    }
    for changes in [false, true] {
        let pair = Pair::alone_behind_a_proxy();
        let books = Books::default();
        let process = Process::open(&pair.url(0), &unique_prefix(), &books).await;
        assert!(process.write(0).await, "acknowledged");
        let proxy = pair.proxy.as_ref().expect("there is one");
        let connections = proxy.connections();
        proxy.set(Fault::BlackHole);
        let write = tokio::spawn({
            let process = process.clone();
            async move { process.buffer.row("0").add("n", 1).await }
        });
        // After the old connection is abandoned, there is a new one.
        eventually("the connection to be given up", async || proxy.connections() > connections).await;
        if changes {
            pair.follow(1, 0).await;
        }
        proxy.set(Fault::Pass);
        let written = write.await.expect("ends");
        if changes {
            let error = written.expect_err("nobody knows");
            assert_eq!(error.retry(), Retry::Unknown, "{error}");
        } else {
            written.expect("counted once");
        }
        eventually("it goes on", async || process.write(0).await).await;
        process.flush().await;
        assert_eq!(total(&process.buffer, &books.table), if changes { 2 } else { 3 });
    }
}
