//! Maps of 10 000 commands beside one pipeline of redis-rs for each host.

use std::{hint::black_box, time::Duration};

use anyhow::{Result, ensure};
use forebay::{
    Clock, Forebay,
    cluster::{Hosts, Ticket},
    time::mins,
};
use forebay_bench::{Cell, Load, median_us};
use forebay_testkit::Redis;
use redis::{Pipeline, aio::MultiplexedConnection};

/// The first has a ticket and a route for each command. The second is written by hand: its keys are sorted by host beforehand.
const SUBJECTS: [&str; 2] = ["forebay map", "redis-rs, a pipeline per host"];

const COMMANDS: usize = 10_000;

pub(crate) fn cells() -> Vec<Cell> {
    let cell = |name, hosts, reads| Cell::new(name, &SUBJECTS, "us", move |load| maps(load, hosts, reads));
    vec![
        cell("map of 10 000 GET, one Redis", 1, true),
        cell("map of 10 000 INCR, one Redis", 1, false),
        cell("map of 10 000 GET, four Redis", 4, true),
        cell("map of 10 000 INCR, four Redis", 4, false),
        Cell::new("target of a key of 16 bytes, four Redis", &["forebay"], "ns", targets),
    ]
}

/// The servers of a cell, and a store on them.
async fn open(load: &Load, hosts: usize) -> Result<(Vec<Redis>, Vec<String>, Forebay)> {
    let servers: Vec<Redis> = (1..hosts).map(|_| Redis::start()).collect();
    let urls: Vec<String> =
        std::iter::once(load.redis.clone()).chain(servers.iter().map(Redis::url)).collect();
    let options = Forebay::options().prefix(format!("bench-map-{hosts}"));
    let bay = if hosts == 1 {
        options.open(&urls[0]).await?
    } else {
        let named = urls.iter().enumerate();
        let hosts = named.fold(Hosts::new(), |hosts, (name, url)| hosts.host(format!("h{name}"), url));
        options.open_hosts(hosts).await?
    };
    Ok((servers, urls, bay))
}

/// A map and the pipelines in turn, without other load: the median time of each, in microseconds.
async fn maps(load: Load, hosts: usize, reads: bool) -> Result<Vec<f64>> {
    let (_servers, urls, bay) = open(&load, hosts).await?;
    let keys: Vec<String> = (0..COMMANDS).map(|key| format!("user:{key:011}")).collect();
    let names: Vec<Box<str>> = bay.cluster().hosts().into_iter().map(|host| host.name).collect();
    let mut shares: Vec<(MultiplexedConnection, Vec<&str>)> = vec![];
    for (number, url) in urls.iter().enumerate() {
        let is_here = |key: &&String| bay.cluster().route(*key).host == names[number];
        let share = keys.iter().filter(is_here).map(String::as_str).collect();
        shares.push((redis::Client::open(url.as_str())?.get_multiplexed_async_connection().await?, share));
    }
    let clock = Clock::system();
    let end = clock.monotonic() + Duration::from_secs_f64(load.seconds);
    let mut times = [vec![], vec![]];
    let mut before = clock.monotonic();
    while before < end {
        mapped(&bay, &keys, reads).await?;
        let between = clock.monotonic();
        piped(&mut shares, reads).await?;
        let after = clock.monotonic();
        times[0].push(between.saturating_sub(before));
        times[1].push(after.saturating_sub(between));
        before = after;
    }
    Ok(times.map(median_us).into())
}

async fn mapped(bay: &Forebay, keys: &[String], reads: bool) -> Result<()> {
    let mut map = bay.cluster().map().deadline(mins(1));
    let mut sum = 0;
    if reads {
        let tickets: Vec<Ticket<Option<i64>>> = map.mget(keys);
        let answers = map.run().await;
        for ticket in tickets {
            sum += answers.get(ticket)?.unwrap_or_default();
        }
    } else {
        let tickets: Vec<Ticket<i64>> = keys.iter().map(|key| map.incr(key, 1)).collect();
        let answers = map.run().await;
        for ticket in tickets {
            sum += answers.get(ticket)?;
        }
    }
    ensure!(reads || sum > 0, "nothing was counted");
    black_box(sum);
    Ok(())
}

async fn piped(shares: &mut [(MultiplexedConnection, Vec<&str>)], reads: bool) -> Result<()> {
    let sent = shares.iter_mut().map(async |(connection, keys)| {
        let mut pipeline = Pipeline::with_capacity(keys.len());
        for key in keys.iter() {
            if reads {
                pipeline.get(*key);
            } else {
                pipeline.incr(*key, 1);
            }
        }
        pipeline.query_async::<Vec<Option<i64>>>(connection).await
    });
    let answers = futures::future::try_join_all(sent).await?;
    black_box(answers.iter().flatten().flatten().sum::<i64>());
    Ok(())
}

/// The nanoseconds of finding the host of a key.
async fn targets(load: Load) -> Result<Vec<f64>> {
    const ROUNDS: u32 = 2_000_000;
    let (_servers, _urls, bay) = open(&load, 4).await?;
    let cluster = bay.cluster();
    let keys: Vec<[u8; 16]> =
        (0..64).map(|key| format!("user:{key:011}").into_bytes().try_into().expect("16 bytes")).collect();
    let clock = Clock::system();
    let start = clock.monotonic();
    for round in 0..ROUNDS {
        black_box(cluster.target_key(black_box(&keys[round as usize % keys.len()])));
    }
    Ok(vec![clock.monotonic().saturating_sub(start).as_secs_f64() * 1e9 / f64::from(ROUNDS)])
}
