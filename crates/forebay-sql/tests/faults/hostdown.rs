//! One host of three is down under load: every hit that was accepted is in SQL, in the series and in the limit, once.
//!
//! The hosts are independent, or nodes of a Redis Cluster without replicas. `FOREBAY_HOSTDOWN` is the duration of the load in
//! seconds, 2 without it; `scripts/faults hostdown` has 30.

use std::{collections::BTreeMap, time::Duration};

use forebay::{
    Buffer, Clock, Event, Forebay, Limit, Retry,
    cluster::{Health, Hosts},
    event::{Cell, EventHandle},
    limit::{LimitHandle, OnError},
    series::SeriesHandle,
    time::{days, hours, millis, secs},
};
use forebay_testkit::{Fault, Proxy, Redis, RedisCluster, eventually, unique_prefix, without};

use crate::{
    database::{Database, Kind},
    number,
};

/// How a host is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Down {
    Killed,
    Stopped,
    BlackHole,
}

/// Three hosts behind proxies, which write every command to disk before it is answered.
enum Store {
    Apart(Vec<Redis>, Vec<Proxy>),
    Cluster(RedisCluster, Vec<Proxy>),
}

impl Store {
    fn apart() -> Self {
        let servers: Vec<Redis> = (0..3).map(|_| Redis::builder().append_only().start()).collect();
        let proxies = servers.iter().map(|server| Proxy::new(server.port())).collect();
        Self::Apart(servers, proxies)
    }

    fn cluster() -> Self {
        let options =
            [("appendonly", "yes"), ("appendfsync", "always"), ("cluster-require-full-coverage", "no")];
        let (cluster, proxies) = RedisCluster::start_behind_proxies_and(&options);
        Self::Cluster(cluster, proxies)
    }

    async fn open(&self) -> Forebay {
        let options = Forebay::options().prefix(unique_prefix());
        let opened = match self {
            Self::Apart(servers, proxies) => {
                let urls = servers.iter().zip(proxies).map(|(server, proxy)| server.url_through(proxy));
                let hosts = ["a", "b", "c"].into_iter().zip(urls);
                options.open_hosts(hosts.fold(Hosts::new(), |hosts, (name, url)| hosts.host(name, url))).await
            }
            Self::Cluster(cluster, _) => options.open(&cluster.url()).await,
        };
        opened.expect("opens")
    }

    /// The host that goes away: its server, its proxy, and its name.
    fn victim(&self) -> (&Redis, &Proxy, String) {
        match self {
            Self::Apart(servers, proxies) => (&servers[1], &proxies[1], "b".to_owned()),
            Self::Cluster(cluster, proxies) => {
                (&cluster.nodes()[1], &proxies[1], format!("127.0.0.1:{}", proxies[1].port()))
            }
        }
    }
}

/// A hit, and when it began and was answered, on the test's clock.
struct Hit {
    key: String,
    began: Duration,
    ended: Duration,
    is_accepted: bool,
    /// Whether its limit was charged for certain.
    is_charged: bool,
    /// Whether it may have been applied although it failed.
    is_unknown: bool,
}

/// 2 000 hits a second for so long, each of one of 500 keys.
async fn load(event: EventHandle, clock: Clock, span: Duration) -> Vec<Hit> {
    const EACH: u32 = 10;
    let (start, mut writes) = (clock.monotonic(), vec![]);
    for turn in 0_u32.. {
        let due = start + millis(5) * turn;
        if due >= start + span {
            break;
        }
        clock.sleep(due.saturating_sub(clock.monotonic())).await;
        for nth in 0..EACH {
            let (event, clock) = (event.clone(), clock.clone());
            let key = format!("user:{}", (turn * EACH + nth) % 500);
            writes.push(tokio::spawn(async move {
                let began = clock.monotonic();
                let answer = event.hit(&key, 1).await;
                let ended = clock.monotonic();
                let is_unknown = answer.as_ref().is_err_and(|error| error.error.retry() == Retry::Unknown);
                if let Err(error) = &answer {
                    assert!(is_unknown, "{key}: {error:?}");
                }
                let is_accepted = answer.as_ref().is_ok_and(forebay::Hit::is_accepted);
                let decisions = answer.iter().flat_map(|hit| hit.limits().limits.iter().flatten());
                let is_charged = is_accepted && decisions.clone().all(|decision| !decision.is_degraded());
                Hit { key, began, ended, is_accepted, is_charged, is_unknown }
            }));
        }
    }
    let mut hits = vec![];
    for write in writes {
        hits.push(write.await.expect("no panic"));
    }
    hits
}

/// How many hits of a key count at least, and how many are charged to the limit at least; how many of either at most.
#[derive(Clone, Copy, Debug, Default)]
struct Expected {
    accepted: u64,
    charged: u64,
    most: u64,
}

fn expected(hits: &[Hit]) -> BTreeMap<&str, Expected> {
    let mut expected: BTreeMap<&str, Expected> = BTreeMap::new();
    for hit in hits {
        let of_key = expected.entry(&hit.key).or_default();
        of_key.accepted += u64::from(hit.is_accepted);
        of_key.charged += u64::from(hit.is_charged);
        of_key.most += u64::from(hit.is_accepted || hit.is_unknown);
    }
    expected
}

/// The sum of a key, if the store says that nothing is missing.
async fn whole(series: &SeriesHandle, bay: &Forebay, key: &str) -> Option<u64> {
    let now = bay.clock().now();
    let total = series.total(key, now.minus(hours(1)), now.plus(secs(60))).await.ok()?;
    (!total.partial).then_some(total.sum)
}

/// Each accepted hit counts once, and an unknown one at most once, in SQL, in the series and in the limit.
async fn assert_counted(
    hits: &[Hit],
    table: &BTreeMap<String, u64>,
    series: &SeriesHandle,
    limit: &LimitHandle,
    bay: &Forebay,
) {
    for (key, expected) in expected(hits) {
        let rows = table.get(key).copied().unwrap_or_default();
        let mut points = None;
        eventually("all points of a key to be there", async || {
            points = whole(series, bay, key).await;
            points.is_some()
        })
        .await;
        let points = points.expect("it is there");
        let mut used = None;
        eventually("the limit of a key to answer", async || {
            let decision = limit.peek(key).await.ok().filter(|decision| !decision.is_degraded());
            used = decision.map(|decision| decision.used());
            used.is_some()
        })
        .await;
        let used = used.expect("it answered");
        let text = format!("{key}: rows {rows}, points {points}, charged {used}, {expected:?}");
        for sum in [rows, points] {
            assert!((expected.accepted..=expected.most).contains(&sum), "{text}");
        }
        assert!((expected.charged..=expected.most).contains(&used), "{text}");
    }
}

async fn one_host_down(store: Store, how: Down) {
    let span = secs(number("FOREBAY_HOSTDOWN", 2));
    let bay = store.open().await;
    let (server, proxy, name) = store.victim();
    let health = async |wanted: Health| {
        let is = || bay.cluster().hosts().iter().any(|host| *host.name == *name && host.health == wanted);
        eventually("the health of the host", async || is()).await;
    };
    let database = Database::start(Kind::Sqlite);
    let buffer = bay.buffer(Buffer::new("hits").key("id").sum("n")).expect("valid");
    let flusher = Kind::Sqlite.flusher(&buffer, &database.url()).await.prepare().await;
    let _flusher = flusher.expect("a table");
    let limit = Limit::new("hits", 1_000_000, days(366)).on_error(OnError::Open);
    let limit = bay.limit(limit).expect("valid");
    let series = bay.series("hits").expect("valid");
    let event = Event::new("hit").limit(&limit).series(&series);
    let event = event.buffer(&buffer, [Cell::Key], [("n", Cell::N)]);
    let event = bay.event(event).expect("valid");
    let _ = event.hit("first", 1).await.expect("connected");

    let clock = Clock::system();
    let loading = tokio::spawn(load(event, clock.clone(), span));
    clock.sleep(span / 3).await;
    match how {
        Down::Killed => server.kill(),
        Down::Stopped => server.pause(),
        Down::BlackHole => proxy.set(Fault::BlackHole),
    }
    let fault = clock.monotonic();
    health(Health::Down).await;
    let found = clock.monotonic();
    let hits = loading.await.expect("no panic");
    match how {
        Down::Killed => server.restart(),
        Down::Stopped => server.resume(),
        Down::BlackHole => proxy.set(Fault::Pass),
    }
    health(Health::Up).await;
    // A node of a cluster answers some moments before it serves its slots.
    eventually("a flush", async || buffer.flush().await.is_ok()).await;

    let at = |moment: Duration| hits.iter().filter(|hit| hit.began <= moment && moment < hit.ended).count();
    let failed = hits.iter().filter(|hit| !hit.is_accepted).count();
    let begun_later = hits.iter().filter(|hit| !hit.is_accepted && hit.began > found).count();
    let slowest = |accepted: bool| {
        let some = hits.iter().filter(|hit| hit.is_accepted == accepted);
        some.map(|hit| hit.ended.saturating_sub(hit.began)).max().unwrap_or_default()
    };
    let kind = if matches!(store, Store::Cluster(..)) { "Redis Cluster" } else { "three hosts" };
    println!(
        "{kind}, {how:?}: {} hits, found after {:?}; in flight at the fault {}, when it was found {}; failed {failed}, of these \
         begun after it was found {begun_later}; slowest accepted {:?}, slowest failed {:?}",
        hits.len(),
        found.saturating_sub(fault),
        at(fault),
        at(found),
        slowest(true),
        slowest(false),
    );
    assert_eq!(begun_later, 0);
    assert!(failed <= at(found).max(at(fault)), "{failed} failed");
    assert_counted(&hits, &database.table().await, &series, &limit, &bay).await;
}

async fn of_three_hosts(how: Down) {
    if !without("redis") {
        one_host_down(Store::apart(), how).await;
    }
}

async fn of_a_redis_cluster(how: Down) {
    if !without("redis") {
        one_host_down(Store::cluster(), how).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_host_costs_the_hits_in_flight() {
    of_three_hosts(Down::Killed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_host_costs_the_hits_in_flight() {
    of_three_hosts(Down::Stopped).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_behind_a_black_hole_costs_the_hits_in_flight() {
    of_three_hosts(Down::BlackHole).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_costs_the_hits_in_flight() {
    of_a_redis_cluster(Down::Killed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_node_costs_the_hits_in_flight() {
    of_a_redis_cluster(Down::Stopped).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_behind_a_black_hole_costs_the_hits_in_flight() {
    of_a_redis_cluster(Down::BlackHole).await;
}
