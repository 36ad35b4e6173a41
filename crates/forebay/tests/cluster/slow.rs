//! One slow host of several: calls to the others take as long as before.

use std::time::Duration;

use forebay::{
    Buffer, Clock, Event, Forebay, Limit,
    buffer::BufferHandle,
    cluster::Hosts,
    event::{Cell, EventHandle},
    limit::LimitHandle,
    series::SeriesHandle,
    time::{millis, secs},
};
use forebay_testkit::{Fault, Proxy, Redis, unique_prefix, without};
use tokio::task::JoinSet;

use crate::hosts::{SHARED, key_on};

const NAMES: [&str; 3] = ["a", "b", "c"];

/// How late the replies of the slow host are.
const DELAY: Duration = millis(300);

/// Calls of each kind, one after the other.
const CALLS: usize = 30;

/// Callers of the slow host meanwhile.
const CALLERS: usize = 32;

/// The parts of Forebay that an application uses.
#[derive(Clone)]
struct Store {
    bay: Forebay,
    limit: LimitHandle,
    series: SeriesHandle,
    buffer: BufferHandle,
    event: EventHandle,
    clock: Clock,
}

impl Store {
    async fn open(hosts: Hosts) -> Self {
        let bay = Forebay::options().prefix(unique_prefix()).open_hosts(hosts).await.expect("opens");
        let limit = bay.limit(Limit::per_minute("hits", 1_000_000).deadline(secs(30))).expect("valid");
        let series = bay.series("hits").expect("valid");
        let buffer = bay.buffer(Buffer::new("projects").key("id").sum("hits")).expect("valid");
        let event = Event::new("hit").limit(&limit).series(&series);
        let event = event.buffer(&buffer, [Cell::Key], [("hits", Cell::N)]);
        let event = bay.event(event).expect("valid");
        Self { bay, limit, series, buffer, event, clock: Clock::system() }
    }

    /// A key of which all parts of an event are on this host, or none is.
    fn key(&self, host: &str, on_it: bool) -> String {
        let cluster = self.bay.cluster();
        let fits = |key: &String| {
            let row = cluster.route_row(&self.buffer, [key.as_str().into()]).expect("a key");
            let routes = [cluster.route_limit(key), cluster.route_series(&self.series, key), row];
            routes.iter().all(|route| (*route.host == *host) == on_it)
        };
        (0..10_000).map(|i| format!("{}-{i}", unique_prefix())).find(fits).expect("there are some")
    }

    /// A call of each kind.
    async fn call(&self, kind: usize, key: &str) {
        match kind {
            0 => drop(self.limit.take(key).await),
            1 => drop(self.series.add(key, 1).await),
            2 => drop(self.buffer.row(key).add("hits", 1).await),
            3 => drop(self.event.hit(key, 1).await),
            _ => {
                let mut map = self.bay.cluster().map();
                map.incr(key, 1);
                let _ = map.run().await;
            }
        }
    }

    /// How long calls of one kind took, shortest first.
    async fn times(&self, kind: usize, key: &str) -> Vec<Duration> {
        let mut times = vec![];
        for _ in 0..CALLS {
            let began = self.clock.monotonic();
            self.call(kind, key).await;
            times.push(self.clock.monotonic().saturating_sub(began));
        }
        times.sort_unstable();
        times
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_host_stalls_nobody_else() {
    if without("redis") {
        return;
    }
    let proxies: Vec<Proxy> = SHARED.iter().map(|server| Proxy::new(server.port())).collect();
    let hosts =
        NAMES.iter().zip(SHARED.iter().zip(&proxies)).fold(Hosts::new(), |hosts, (name, (server, proxy))| {
            hosts.host(*name, Redis::url_through(server, proxy))
        });
    let store = Store::open(hosts).await;
    // Each host has something that the others have not, such as the overrides of limits.
    for (slow, proxy) in NAMES.iter().zip(&proxies) {
        let elsewhere = store.key(slow, false);
        let plain = NAMES.iter().find(|name| *name != slow).expect("there are others");
        let plain = key_on(&store.bay, plain);
        let stuck = store.key(slow, true);
        let stuck_plain = key_on(&store.bay, slow);
        proxy.set(Fault::Delay(DELAY));
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            let (store, kind) = (store.clone(), caller % 5);
            let key = if kind == 4 { stuck_plain.clone() } else { stuck.clone() };
            callers.spawn(async move {
                loop {
                    store.call(kind, &key).await;
                    store.clock.sleep(millis(1)).await;
                }
            });
        }
        // The callers have all begun once this one has an answer.
        let began = store.clock.monotonic();
        store.call(0, &stuck).await;
        assert!(store.clock.monotonic().saturating_sub(began) >= DELAY / 2, "the slow host is not slow");
        for (kind, name) in ["take", "series add", "buffer add", "event", "map"].into_iter().enumerate() {
            let key = if kind == 4 { &plain } else { &elsewhere };
            let times = store.times(kind, key).await;
            let (median, most) = (times[CALLS / 2], times[CALLS - 2]);
            println!("{slow} is slow: {name} elsewhere took {median:?}, at most {most:?}");
            // One may have met a busy moment of this machine.
            assert!(most < DELAY / 2, "{slow} is slow: {name} elsewhere: {times:?}");
        }
        callers.shutdown().await;
        proxy.set(Fault::Pass);
    }
}
