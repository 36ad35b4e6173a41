//! How soon a host that does not answer is found, and what each host's status says.

use std::{sync::Arc, time::Duration};

use forebay::{
    Clock, Forebay, Limit,
    cluster::{Calls, Health, Hosts, Redirects},
    limit::LimitHandle,
    time::{millis, mins, secs},
};
use forebay_testkit::{Fault, Proxy, Redis, eventually, unique_prefix, without};

use futures::future::join_all;

use crate::hosts::{SHARED, health, key_on};

/// A store on a shared server, `a`, and one of its own behind a proxy, `b`.
struct Pair {
    server: Redis,
    proxy: Proxy,
    bay: Forebay,
    clock: Clock,
}

impl Pair {
    async fn open() -> Self {
        let server = Redis::start();
        let proxy = Proxy::new(server.port());
        let hosts = Hosts::new().host("a", SHARED[0].url()).host("b", server.url_through(&proxy));
        let bay = Forebay::options().prefix(unique_prefix()).open_hosts(hosts).await.expect("opens");
        Self { server, proxy, bay, clock: Clock::system() }
    }

    /// Waits until the host has been asked so many times more, and returns how long that took.
    async fn exchanges(&self, more: u64) -> Duration {
        let (began, until) = (self.clock.monotonic(), self.proxy.exchanges() + more);
        eventually("the host to be asked", async || self.proxy.exchanges() >= until).await;
        self.clock.monotonic().saturating_sub(began)
    }

    /// The time from a fault to the moment at which the host is down. The fault comes right after an answer.
    async fn detection(&self, begin: impl Fn(), end: impl Fn()) -> Duration {
        self.exchanges(1).await;
        begin();
        let began = self.clock.monotonic();
        eventually("the host to be down", async || health(&self.bay)[1] == Health::Down).await;
        let took = self.clock.monotonic().saturating_sub(began);
        end();
        eventually("the host to be well again", async || health(&self.bay)[1] == Health::Up).await;
        took
    }

    /// [`detection`](Self::detection), once more if this machine was too busy the first time.
    async fn assert_detects(&self, what: &str, begin: impl Fn(), end: impl Fn()) {
        let mut took = self.detection(&begin, &end).await;
        if took > secs(1) {
            took = took.min(self.detection(&begin, &end).await);
        }
        println!("{what}: down after {took:?}");
        assert!(took <= secs(1), "{what}: down after {took:?}");
    }

    async fn assert_detects_each(&self, what: &str) {
        let stopped = format!("{what}, stopped");
        self.assert_detects(&stopped, || self.server.pause(), || self.server.resume()).await;
        let cut_off = format!("{what}, black hole");
        let end = || self.proxy.set(Fault::Pass);
        self.assert_detects(&cut_off, || self.proxy.set(Fault::BlackHole), end).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_host_is_down_within_a_second_with_and_without_callers() {
    if without("redis") {
        return;
    }
    let pair = Arc::new(Pair::open().await);
    // A well host is asked about four times a second.
    let took = pair.exchanges(9).await;
    println!("9 probes in {took:?}");
    assert!(took >= secs(2), "9 probes in {took:?}");
    pair.assert_detects_each("nobody calls").await;

    let limit = pair.bay.limit(Limit::per_minute("hits", 1_000_000)).expect("valid");
    let key = key_on(&pair.bay, "b");
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (pair, limit, key) = (pair.clone(), limit.clone(), key.clone());
            tokio::spawn(async move {
                loop {
                    let _ = limit.take(&key).await;
                    pair.clock.sleep(millis(5)).await;
                }
            })
        })
        .collect();
    pair.assert_detects_each("8 callers").await;
    callers.iter().for_each(tokio::task::JoinHandle::abort);
}

/// A limit that waits as long as a test may need.
fn patient(bay: &Forebay) -> LimitHandle {
    bay.limit(Limit::per_minute("patient", 1_000_000).deadline(secs(30))).expect("valid")
}

#[tokio::test]
async fn the_status_of_a_host_says_since_when_and_how_it_does() {
    if without("redis") {
        return;
    }
    let pair = Pair::open().await;
    let status = || pair.bay.cluster().hosts().swap_remove(1);
    let begun = status();
    let since = begun.since.expect("known");
    let now = pair.clock.now();
    assert!(since.at <= now && since.at >= now.minus(mins(1)) && since.lasted < mins(1), "{since:?}");
    assert_eq!((begun.changes, begun.breaker_open, begun.redirects), (0, false, Redirects::default()));
    let memory = begun.memory.expect("told at the start");
    assert!(memory.used > 100_000 && memory.max.is_none(), "{memory:?}");
    assert!(begun.latency.count() > 0);
    assert_eq!(begun.calls, Some(Calls::default()));
    let skew = begun.skew.expect("several hosts");
    assert_eq!((skew.calls, skew.slots), (None, Some(1.0)));

    let (limit, key) = (patient(&pair.bay), key_on(&pair.bay, "b"));
    pair.proxy.set(Fault::Delay(millis(300)));
    let takes: Vec<_> = (0..5)
        .map(|_| {
            let (limit, key) = (limit.clone(), key.clone());
            tokio::spawn(async move { limit.take(key).await.expect("answers") })
        })
        .collect();
    eventually("five calls to be in flight", async || {
        status().calls.is_some_and(|calls| calls.in_flight == 5)
    })
    .await;
    for take in takes {
        assert!(take.await.expect("ends").is_allowed());
    }
    let calls = status().calls.expect("counted");
    assert_eq!((calls.begun, calls.unanswered, calls.in_flight), (5, 0, 0));
    assert!(status().recent.quantile(1.0) > Some(millis(262)), "{:?}", status().recent);

    pair.proxy.set(Fault::Pass);
    let before = pair.clock.now();
    pair.server.kill();
    eventually("the host to be down", async || status().health == Health::Down).await;
    let down = status();
    let since = down.since.expect("known");
    assert!(since.at >= before && since.lasted < secs(30) && down.changes >= 2, "{down:?}");
    assert_eq!(down.skew.and_then(|skew| skew.calls), None);
    eventually("time to pass", async || status().since.is_some_and(|later| later.lasted > since.lasted))
        .await;
    assert_eq!(status().since.map(|since| since.at), Some(since.at), "it is the same state");
}

#[tokio::test]
async fn a_host_with_most_of_the_calls_is_warned_of() {
    if without("redis") {
        return;
    }
    let pair = Pair::open().await;
    let (limit, key) = (patient(&pair.bay), key_on(&pair.bay, "b"));
    for _ in 0..25 {
        let takes = (0..100).map(|_| limit.take(&key));
        assert!(join_all(takes).await.iter().all(Result::is_ok));
    }
    let hosts = pair.bay.cluster().hosts();
    let calls = hosts[1].skew.and_then(|skew| skew.calls).expect("there were enough");
    assert!(calls > 1.9 && calls <= 2.0, "{calls}");
    let warnings = pair.bay.warnings();
    assert!(
        warnings.len() == 1 && warnings[0].contains("host \"b\" gets 2.0 times the mean"),
        "{warnings:?}"
    );
}

#[tokio::test]
async fn a_single_redis_says_since_when_and_how_it_does() {
    if without("redis") {
        return;
    }
    let server = Redis::builder().option("maxmemory", "64mb").start();
    let bay = Forebay::open(&server.url()).await.expect("opens");
    let status = || bay.cluster().hosts().swap_remove(0);
    let begun = status();
    assert_eq!((begun.health, begun.changes, begun.calls, begun.skew), (Health::Up, 0, None, None));
    assert!(patient(&bay).take("42").await.expect("answers").is_allowed());
    assert!(status().recent.count() > begun.recent.count());
    assert_eq!(begun.memory.and_then(|memory| memory.max), Some(64 << 20));
    server.kill();
    eventually("the host to be down", async || status().health == Health::Down).await;
    assert_eq!(status().changes, 1);
    server.restart();
    eventually("the host to be up", async || status().health == Health::Up).await;
    assert_eq!(status().changes, 2);
}
