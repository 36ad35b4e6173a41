//! Hosts that join and leave while the store is in use: no count of a limit, a series, a buffer or a plain key is lost or doubled,
//! also when the process that moves slots is killed.
//!
//! `FOREBAY_JOIN` writers count, 16 without it; `scripts/faults join` has 64.

use std::{env, sync::atomic::Ordering};

use forebay::{
    Forebay,
    cluster::{Hosts, Progress, ReshardOptions},
    sink::MemorySink,
    time::millis,
};
use forebay_testkit::{Redis, eventually, unique_prefix, without};
use tokio::task::block_in_place;

use crate::{
    nodes::Structures,
    reshard::{Load, Writer, check, take, write},
};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn of(names: &str, servers: &[Redis]) -> Hosts {
    let listed = NAMES.iter().zip(servers).filter(|(name, _)| names.contains(**name));
    listed.fold(Hosts::new(), |hosts, (name, server)| hosts.host(*name, server.url()))
}

/// Moves slots from the hosts of `present` to those of `target`. Each time it is ended in the middle, after a little longer.
async fn move_slots(prefix: &str, present: &Hosts, target: &Hosts, kills: u32) -> Progress {
    let attempt = async |options: ReshardOptions| {
        let looked = Forebay::options().prefix(prefix).inspect_hosts(present.clone()).await?;
        looked.reshard(target, &options, |_| ()).await
    };
    for kill in 1..=kills {
        let options = ReshardOptions::new().take_over();
        if let Ok(done) = tokio::time::timeout(millis(u64::from(kill * 150)), attempt(options)).await {
            return done.expect("moved");
        }
    }
    attempt(ReshardOptions::new().take_over()).await.expect("moved")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn hosts_join_and_leave_under_load_without_a_count_lost_or_doubled() {
    if without("redis") {
        return;
    }
    let servers: [Redis; 4] = block_in_place(|| std::array::from_fn(|_| Redis::start()));
    let prefix = unique_prefix();
    let three = of("abc", &servers);
    let open = async || Forebay::options().prefix(&prefix).open_hosts(three.clone()).await.expect("opens");
    let structures = Structures::of(open().await);
    let other = Structures::of(open().await);
    let writers: usize = env::var("FOREBAY_JOIN").map_or(16, |writers| writers.parse().expect("a number"));
    let keys: Vec<String> = (0..writers * 20).map(|key| format!("{prefix}{key}")).collect();
    let once: Vec<String> = (0..2_000).map(|key| format!("once{key}")).collect();
    for keys in once.chunks(200) {
        let taken = futures::future::join_all(keys.iter().map(|key| take(&structures, key))).await;
        taken.into_iter().for_each(|taken| taken.expect("an answer"));
    }
    let sink = MemorySink::new();
    let flushing = structures.buffer.flush_to(sink.clone()).every(millis(100)).spawn();
    let load = Load::default();
    let shares = keys.chunks(keys.len().div_ceil(writers)).enumerate();
    let writers: Vec<Writer> = shares
        .map(|(number, keys)| {
            let structures = if number % 2 == 0 { &structures } else { &other };
            tokio::spawn(write(structures.clone(), keys.to_vec(), load.clone()))
        })
        .collect();
    let round = keys.len() as u64;
    load.more(round, &writers).await;

    let joined = move_slots(&prefix, &three, &of("abcd", &servers), 4).await;
    assert!(joined.undrained.is_empty(), "{joined:?}");
    eventually("all to know the fourth host", async || {
        [&structures, &other].iter().all(|it| it.bay.cluster().hosts().len() == 4)
    })
    .await;
    load.more(round, &writers).await;
    let left = move_slots(&prefix, &three, &of("acd", &servers), 4).await;
    assert!(left.undrained.is_empty(), "{left:?}");
    eventually("all to know that b has left", async || {
        let names = |it: &Structures| {
            it.bay.cluster().hosts().iter().map(|host| host.name.clone()).collect::<Vec<_>>()
        };
        [&structures, &other].iter().all(|it| names(it).iter().all(|name| **name != *"b"))
    })
    .await;
    load.more(round, &writers).await;
    load.stop.store(true, Ordering::Relaxed);
    let mut counts = vec![];
    for writer in writers {
        counts.extend(writer.await.expect("no other error"));
    }
    println!(
        "{} counts; {} were refused after a second; joined {joined:?}; left {left:?}",
        load.acknowledged.load(Ordering::Relaxed),
        load.refused.load(Ordering::Relaxed)
    );
    flushing.stop().await.expect("a last flush");
    eventually("all to be flushed", async || structures.buffer.flush().await.is_ok()).await;
    check(&structures, &sink, &counts, &once).await;

    let looked =
        Forebay::options().prefix(&prefix).inspect_hosts(of("acd", &servers)).await.expect("answers");
    for host in looked.verify(100_000).await.expect("answers") {
        assert_eq!(host.misplaced, 0, "{host:?}");
    }
}
