//! Replies that are lost, on every kind of store: nothing counts twice, and what is not acknowledged is unknown.

use forebay::{
    Buffer, Forebay, Limit, Retry,
    buffer::{BufferHandle, Row, Value},
    cluster::Fate,
    limit::{LimitHandle, OnError},
    lock::{Attempt, Release},
    series::SeriesHandle,
    sink::MemorySink,
    time::{days, mins, secs},
};
use forebay_testkit::{Certificates, Fault, Proxy, Redis, RedisCluster, eventually, unique_prefix, without};
use tokio::task::block_in_place;

use crate::without_tls;

/// A store behind proxies, one for each of its hosts.
pub(crate) struct World<'a> {
    pub bay: Forebay,
    limit: LimitHandle,
    pub series: SeriesHandle,
    pub buffer: BufferHandle,
    sink: MemorySink,
    pub proxies: &'a [Proxy],
}

/// The fate of operations of one kind.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Fates {
    pub acknowledged: u64,
    pub unknown: u64,
}

impl Fates {
    /// Checks what was counted: each acknowledged operation, and none twice.
    #[track_caller]
    fn check(&self, what: &str, counted: u64) {
        let possible = self.acknowledged..=self.acknowledged + self.unknown;
        assert!(possible.contains(&counted), "{what}: {counted} counted of {self:?}");
    }
}

impl<'a> World<'a> {
    pub(crate) async fn open(url: &str, proxies: &'a [Proxy]) -> Self {
        let bay = Forebay::options().prefix(unique_prefix()).open(url).await.expect("opens");
        let limit = Limit::new("hits", 1_000_000, days(366)).on_error(OnError::Closed).deadline(secs(10));
        let buffer = bay.buffer(Buffer::new("rows").key("id").sum("n")).expect("valid");
        let sink = MemorySink::new();
        let _ = buffer.flush_to(sink.clone());
        let (limit, series) = (bay.limit(limit).expect("valid"), bay.series("hits").expect("valid"));
        Self { bay, limit, series, buffer, sink, proxies }
    }

    /// Drops the next reply of a host.
    fn drop_reply_of(&self, host: &str) {
        self.inject(host, Fault::DropReply { after: 0 });
    }

    /// Lets a fault happen to what a host is sent.
    pub(crate) fn inject(&self, host: &str, fault: Fault) {
        let of = |proxy: &&Proxy| self.proxies.len() == 1 || host.contains(&format!(":{}", proxy.port()));
        let proxy = self.proxies.iter().find(of).unwrap_or_else(|| panic!("{host} has no proxy"));
        proxy.set(fault);
    }

    /// Waits until no fault is left and every connection that a key needs stands.
    pub(crate) async fn settle(&self, key: &str) {
        self.proxies.iter().for_each(|proxy| proxy.set(Fault::Pass));
        eventually("the connections to stand", async || {
            let mut map = self.bay.cluster().map();
            map.fanout::<String>(&self.bay.cluster().all(), ["PING"]);
            map.run().await.is_complete()
                && self.limit.peek(key).await.is_ok()
                && self.bay.lock(key).state().await.is_ok()
                && self.series.sum(key, days(1)).await.is_ok()
        })
        .await;
    }

    /// Loses one reply after the other, in each part of the store.
    async fn run(&self) {
        let mut lost = [Fates::default(), Fates::default(), Fates::default()];
        for drops in [1, 5] {
            let plain = self.increments(drops).await;
            assert_eq!(plain.acknowledged + plain.unknown, drops);
            let all = [plain, self.takes(drops).await, self.locks(drops).await];
            for (lost, fates) in lost.iter_mut().zip(all) {
                lost.acknowledged += fates.acknowledged;
                lost.unknown += fates.unknown;
            }
            self.sequenced(drops).await;
        }
        println!("increments, takes, locks: {lost:?}");
        let [plain, taken, _] = &lost;
        assert!(plain.unknown > 0 && taken.unknown > 0, "no reply was lost: {lost:?}");
    }

    /// Plain increments: each is executed once, and Forebay never sends one again.
    async fn increments(&self, drops: u64) -> Fates {
        let incr = async |key: &str, by: i64| {
            let mut map = self.bay.cluster().map();
            let ticket = map.incr(key, by);
            map.run().await.get(ticket)
        };
        let (key, mut fates) = (unique_prefix(), Fates::default());
        for _ in 0..drops {
            self.settle(&key).await;
            self.drop_reply_of(&self.bay.cluster().route(&key).host);
            match incr(&key, 1).await {
                Ok(_) => fates.acknowledged += 1,
                Err(error) => {
                    assert_eq!(
                        (error.fate(), error.retry()),
                        (Fate::MaybeExecuted, Retry::Unknown),
                        "{error}"
                    );
                    fates.unknown += 1;
                }
            }
        }
        self.settle(&key).await;
        let counted = incr(&key, 0).await.expect("answers").cast_unsigned();
        assert_eq!(counted, drops, "each was carried out once: {fates:?}");
        fates
    }

    /// Takes of an exact limit. Without an answer the policy decides, and says so.
    async fn takes(&self, drops: u64) -> Fates {
        let (key, mut fates) = (unique_prefix(), Fates::default());
        for _ in 0..drops {
            self.settle(&key).await;
            self.drop_reply_of(&self.bay.cluster().route_limit(&key).host);
            let taken = self.limit.take(&key).await.expect("a policy decides");
            if taken.is_degraded() {
                fates.unknown += 1;
            } else {
                fates.acknowledged += 1;
            }
        }
        self.settle(&key).await;
        fates.check("takes", self.limit.peek(&key).await.expect("answers").used());
        fates
    }

    /// Fences rise, and the holder is the one that was told so.
    async fn locks(&self, drops: u64) -> Fates {
        let (key, mut fates, mut last) = (unique_prefix(), Fates::default(), 0);
        let lock = self.bay.lock(&key).ttl(mins(10));
        for _ in 0..drops {
            self.settle(&key).await;
            self.drop_reply_of(&self.bay.cluster().route_lock(&key).host);
            let attempt = lock.try_acquire().await;
            self.settle(&key).await;
            let holding = lock.state().await.expect("answers").holding;
            match attempt {
                Ok(Attempt::Acquired(guard)) => {
                    fates.acknowledged += 1;
                    let held = holding.expect("the guard holds it");
                    assert_eq!(
                        (held.holder, held.fence),
                        (guard.holder(), guard.fence()),
                        "another acquisition"
                    );
                    assert!(held.fence > last, "{} after {last}", held.fence);
                    last = held.fence;
                    assert_eq!(guard.release().await.expect("answers"), Release::Released);
                }
                Ok(Attempt::Held { holder, .. }) => panic!("nobody else has it: {holder}"),
                Err(error) => {
                    assert_eq!(error.retry(), Retry::Unknown, "{error}");
                    fates.unknown += 1;
                    let fence = holding.map_or(last + 1, |held| held.fence);
                    assert!(fence > last, "{fence} after {last}");
                    last = fence;
                    lock.force_release().await.expect("answers");
                }
            }
        }
        assert!(lock.acquire().await.expect("answers").fence() > last);
        fates
    }

    /// Writes to rows and series are settled behind the caller: each is acknowledged, and counted once.
    async fn sequenced(&self, drops: u64) {
        let (key, cluster) = (unique_prefix(), self.bay.cluster());
        for _ in 0..drops {
            self.drop_reply_of(&cluster.route_row(&self.buffer, [key.as_str().into()]).expect("valid").host);
            self.buffer.row(key.as_str()).add("n", 1).await.expect("buffered");
            self.drop_reply_of(&cluster.route_series(&self.series, &key).host);
            self.series.add(&key, 1).await.expect("counted");
        }
        self.settle(&key).await;
        assert_eq!(self.counted(&key).await, [drops; 2], "rows and points");
    }

    /// The count of a row and the sum of a series.
    pub(crate) async fn counted(&self, key: &str) -> [u64; 2] {
        eventually("a flush", async || self.buffer.flush().await.is_ok()).await;
        let number = |row: &Row| {
            let id = row.key.values(self.buffer.schema()).expect("readable");
            match row.cells[0] {
                Some(Value::Integer(n)) if id == [key.into()] => n.cast_unsigned(),
                _ => 0,
            }
        };
        let rows = self.sink.rows(self.buffer.schema()).iter().map(number).sum();
        // A host that was taken for down had its points accepted elsewhere.
        let now = self.series.store_time(key).await;
        let total =
            async || self.series.total(key, now.minus(days(1)), now.plus(mins(1))).await.expect("answers");
        eventually("the points that wait elsewhere", async || !total().await.partial).await;
        [rows, total().await.sum]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_one_host() {
    if without("redis") {
        return;
    }
    let server = Redis::start();
    let proxy = Proxy::new(server.port());
    World::open(&server.url_through(&proxy), std::slice::from_ref(&proxy)).await.run().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_three_hosts() {
    if without("redis") {
        return;
    }
    let server = Redis::start();
    let proxies = [(); 3].map(|()| Proxy::new(server.port()));
    let hosts: Vec<String> =
        proxies.iter().zip(1..).map(|(proxy, db)| format!("127.0.0.1:{}/{db}", proxy.port())).collect();
    World::open(&format!("redis://{}", hosts.join(",")), &proxies).await.run().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_tls() {
    if without_tls() {
        return;
    }
    let ca = Certificates::new();
    let server = Redis::builder().tls(&ca, &ca.issue("server", &["localhost"])).start();
    let proxy = Proxy::new(server.tls_port());
    let url = server.tls_url_at("localhost", proxy.port(), &format!("ca={}", ca.file().display()));
    World::open(&url, std::slice::from_ref(&proxy)).await.run().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_sentinel() {
    if without("redis") {
        return;
    }
    let server = Redis::start();
    let proxy = Proxy::new(server.port());
    let sentinel = Redis::builder()
        .sentinel()
        .option("sentinel", &format!("monitor mymaster 127.0.0.1 {} 1", proxy.port()))
        .option("sentinel", "down-after-milliseconds mymaster 600000")
        .start();
    // Its own questions would be exchanges, too.
    let periods = ["PING-PERIOD", "600000", "INFO-PERIOD", "600000", "PUBLISH-PERIOD", "600000"];
    sentinel.command(["SENTINEL", "DEBUG"].into_iter().chain(periods));
    let url = format!("redis+sentinel://127.0.0.1:{}/mymaster", sentinel.port());
    World::open(&url, std::slice::from_ref(&proxy)).await.run().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_cluster() {
    if without("redis") {
        return;
    }
    let (_cluster, proxies) = block_in_place(RedisCluster::start_behind_proxies);
    World::open(&format!("redis+cluster://127.0.0.1:{}", proxies[0].port()), &proxies).await.run().await;
}
