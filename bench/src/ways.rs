//! One limit by each way to reach servers: what a take costs the client and all servers, and how many there are in a second.

use std::{
    collections::BTreeMap,
    fs,
    sync::{Arc, Mutex},
};

use anyhow::{Context as _, Result, ensure};
use forebay::{Clock, Forebay, Limit, cluster::Hosts, limit::LimitHandle, time::mins};
use forebay_bench::{Cell, Load, together};
use forebay_testkit::{Certificates, Redis, RedisCluster, Reply};

const COST: &str = "processor time of a take, client and servers";
const RATE: &str = "takes, 10 000 keys, by each way";

/// The first one is what the others are compared with.
const WAYS: [&str; 5] = [
    "one host",
    "a list of one host",
    "a Redis Cluster of one",
    "a Redis Cluster of three",
    "one host by TLS",
];

const KEYS: usize = 10_000;

/// Cells of the same turn: it is run for the first, and the second shows the rest of it.
pub(crate) fn cells() -> Vec<Cell> {
    let cell = |name, unit, place: usize| Cell::new(name, &WAYS, unit, move |load| values(load, place));
    vec![cell(COST, "us", 0), cell(RATE, "1/s", 1)]
}

/// The values of a turn: of each way the microseconds and the rate.
async fn values(load: Load, place: usize) -> Result<Vec<f64>> {
    /// The values that the cell before has left for this one.
    static LEFT: Mutex<BTreeMap<usize, Vec<f64>>> = Mutex::new(BTreeMap::new());
    if let Some(values) = LEFT.lock().expect("no panic").remove(&place) {
        return Ok(values);
    }
    let each = turn(&load).await?;
    let [ours, other] = [place, 1 - place].map(|place| each.iter().map(|way| way[place]).collect::<Vec<_>>());
    LEFT.lock().expect("no panic").insert(1 - place, other);
    Ok(ours)
}

/// All ways in turn.
async fn turn(load: &Load) -> Result<Vec<[f64; 2]>> {
    let ca = Certificates::new();
    let by_tls = Redis::builder().tls(&ca, &ca.issue("server", &["localhost"])).start();
    let (single, three) = (RedisCluster::start_single(), RedisCluster::start());
    let options = || Forebay::options().prefix("ways");
    let tls_url = by_tls.tls_url("localhost", &format!("ca={}", ca.file().display()));
    let stores = [
        (options().open(&by_tls.url()).await?, vec![&by_tls]),
        (options().open_hosts(Hosts::new().host("one", by_tls.url())).await?, vec![&by_tls]),
        (options().open(&single.url()).await?, single.nodes().iter().collect()),
        (options().open(&three.url()).await?, three.nodes().iter().collect()),
        (options().open(&tls_url).await?, vec![&by_tls]),
    ];
    let mut values = vec![];
    for (bay, servers) in stores {
        let limit = bay.limit(Limit::per_hour("ways", 1 << 40).deadline(mins(1)))?;
        // The keys are there from then on.
        together(&Load { seconds: load.seconds / 4.0, ..load.clone() }, KEYS, limit.clone(), take).await?;
        values.push(measured(load, &servers, limit).await?);
    }
    Ok(values)
}

async fn take(limit: Arc<LimitHandle>, key: Arc<str>) -> Result<bool> {
    let decision = limit.take(key).await?;
    // Without an answer of the store a take is admitted, and costs nothing.
    ensure!(!decision.is_degraded(), "a take had no answer");
    Ok(decision.is_allowed())
}

/// The processor time of a take of client and servers in microseconds, and the takes in a second.
async fn measured(load: &Load, servers: &[&Redis], limit: LimitHandle) -> Result<[f64; 2]> {
    let spent = || -> Result<f64> {
        servers.iter().try_fold(of_this_process()?, |sum, server| Ok(sum + of_server(server)?))
    };
    let (clock, before) = (Clock::system(), spent()?);
    let started = clock.monotonic();
    let rate = together(load, KEYS, limit, take).await?;
    let calls = rate * clock.monotonic().saturating_sub(started).as_secs_f64();
    ensure!(calls > 0.0, "nothing was called");
    Ok([(spent()? - before) * 1e6 / calls, rate])
}

/// The seconds of a processor that a server has used.
fn of_server(server: &Redis) -> Result<f64> {
    let Reply::Text(info) = server.command(["INFO", "cpu"]) else { anyhow::bail!("INFO is no text") };
    let of = |name: &str| {
        let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value
            .and_then(|value| value.trim().parse::<f64>().ok())
            .with_context(|| format!("INFO without {name}"))
    };
    Ok(of("used_cpu_user")? + of("used_cpu_sys")?)
}

/// The seconds of a processor that this process has used.
fn of_this_process() -> Result<f64> {
    /// The unit of the numbers on Linux.
    const TICKS: f64 = 100.0;
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit_once(") ").context("a name in brackets")?.1.split(' ');
    let ticks: Vec<f64> = fields.skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / TICKS)
}
