//! How soon a host that does not answer is found, and what each host's status says.

use std::{sync::Arc, time::Duration};

use forebay::{
    Clock, Forebay, Limit,
    cluster::{Health, Hosts},
    time::{millis, secs},
};
use forebay_testkit::{Fault, Proxy, Redis, eventually, unique_prefix, without};

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
        self.clock.monotonic() - began
    }

    /// The time from a fault to the moment at which the host is down. The fault comes right after an answer.
    async fn detection(&self, begin: impl Fn(), end: impl Fn()) -> Duration {
        self.exchanges(1).await;
        begin();
        let began = self.clock.monotonic();
        eventually("the host to be down", async || health(&self.bay)[1] == Health::Down).await;
        let took = self.clock.monotonic() - began;
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
