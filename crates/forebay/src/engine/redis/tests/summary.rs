//! Summaries on a real server: their keys, what they say beside the server's own commands, and that each point counts once.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use forebay_testkit::{Fault, Proxy, Redis as Server, unique_prefix};
use futures::future::join_all;
use parking_lot::Mutex;

use super::{engine, keys, series::number};
use crate::{
    Clock, ErrorKind, Name, Retry, Timestamp,
    engine::{
        redis::Redis,
        request::Token,
        step::{SeriesPart, Span, Summaries, SummaryPart},
    },
    model::{
        resolution::{Grid, Resolution},
        summary::{Observation, Observed, Summary, SummaryKind},
    },
    time::{days, hours, millis, secs},
};

fn part(kind: SummaryKind) -> SeriesPart {
    let resolutions = [(hours(1), days(2)), (days(1), days(40))];
    let resolutions = resolutions.map(|(step, retention)| Resolution::new(step, retention).expect("valid"));
    let name = Name::new(kind.word()).expect("valid");
    let grid = Grid { name, resolutions: resolutions.into(), partitions: 1, is_ranked: false };
    SeriesPart::new(Arc::new(grid), 0)
}

fn observation(kind: SummaryKind, key: &str, at: Timestamp, number: u64) -> Observation {
    let what = match kind {
        SummaryKind::Distinct => Observed::Element(format!("user-{number}").into()),
        SummaryKind::Gauge | SummaryKind::Percentiles => Observed::Value(number as f64 / 3.0 - 100.0),
    };
    Observation { key: key.into(), at, what }
}

/// The summaries of the last bucket of each resolution.
async fn last(redis: &Redis, kind: SummaryKind, part: &SeriesPart, at: Timestamp) -> Vec<Summaries> {
    let span = |resolution: &Resolution| {
        let bucket = resolution.bucket(at);
        Span { key: "k", resolution: *resolution, from: bucket, to: bucket + 1 }
    };
    let spans: Vec<Span<'_>> = part.grid.resolutions.iter().map(span).collect();
    redis.summary_read(SummaryPart { kind, part }, &spans).await.expect("answers")
}

#[tokio::test]
async fn elements_are_counted_as_the_server_counts_them() {
    let (redis, prefix) = engine().await;
    let (server, kind) = (Server::shared(), SummaryKind::Distinct);
    let (part, now) = (part(kind), redis.series_now(&part(kind)).await);
    let mut next = 0;
    for count in [1u64, 2, 10, 100, 1_000, 10_000, 40_000] {
        while next < count {
            let points = (next..count.min(next + 5_000)).map(|i| observation(kind, "k", now, i));
            redis.summary_add(SummaryPart { kind, part: &part }, points.collect(), now).await.expect("adds");
            next = count.min(next + 5_000);
        }
        let mut own = Summary::new(kind);
        (0..count).for_each(|i| own.observe(&observation(kind, "k", now, i)));
        let Summary::Distinct(own) = own else { unreachable!("of this kind") };
        for (resolution, summaries) in part.grid.resolutions.iter().zip(last(&redis, kind, &part, now).await)
        {
            let (step, bucket) = (resolution.step.as_secs(), resolution.bucket(now));
            let name = format!("{prefix}:series:{{distinct.0}}:distinct:{step}:{bucket}:k");
            let Summary::Distinct(registers) = &summaries[0].1 else { unreachable!("of this kind") };
            let told = number(server, &["PFCOUNT", &name]);
            assert_eq!(i64::try_from(registers.count()), Ok(told), "{count} elements");
            assert_eq!(*registers, own, "the registers are the same, in a sparse form and in a dense one");
        }
    }
}

#[tokio::test]
async fn keys_of_summaries_go_when_their_last_bucket_does() {
    for &kind in SummaryKind::ALL {
        let (redis, prefix) = engine().await;
        let (server, part) = (Server::shared(), part(kind));
        let now = redis.series_now(&part).await;
        let late = now.minus(days(3));
        for at in [now, late] {
            let points = vec![observation(kind, "k", at, 1)];
            redis.summary_add(SummaryPart { kind, part: &part }, points, now).await.expect("adds");
        }
        let (mut hourly, mut daily, mut others) = (vec![], vec![], vec![]);
        for key in keys(server, &prefix) {
            let ttl = number(server, &["PTTL", &key]);
            match () {
                () if key.contains(&format!("}}:{}:3600:", kind.word())) => hourly.push(ttl),
                () if key.contains(&format!("}}:{}:86400:", kind.word())) => daily.push(ttl),
                () => others.push((key, ttl)),
            }
        }
        let hour = 3_600_000;
        let spare = kind_span(kind) - 1;
        assert_eq!(hourly.len(), 1, "hours of three days ago are not kept");
        assert!((48 * hour..=(49 + spare) * hour).contains(&hourly[0]), "{hourly:?}");
        assert!(
            !daily.is_empty()
                && daily.iter().all(|ttl| (37 * 24 * hour..=(41 + spare) * 24 * hour).contains(ttl)),
            "{daily:?}"
        );
        assert!(others.iter().all(|(_, ttl)| *ttl > 0), "{others:?}");
        redis.summary_delete(SummaryPart { kind, part: &part }, "k", now).await.expect("deletes");
        let left = keys(server, &prefix);
        assert!(left.iter().all(|key| key.ends_with(":guard")), "{left:?}");
    }
}

/// The number of buckets that share a key.
fn kind_span(kind: SummaryKind) -> i64 {
    match kind {
        SummaryKind::Distinct | SummaryKind::Percentiles => 1,
        SummaryKind::Gauge => 120,
    }
}

/// Nothing of the batch is written, and the error names the key.
#[tokio::test]
async fn keys_of_somebody_else_are_refused_before_anything_is_written() {
    for &kind in SummaryKind::ALL {
        let (redis, prefix) = engine().await;
        let (server, part) = (Server::shared(), part(kind));
        let now = redis.series_now(&part).await;
        let series = SummaryPart { kind, part: &part };
        let day = part.grid.resolutions[1];
        let name = redis.keys.summary(series, day, day.bucket(now) / kind_span(kind), "k");
        for value in [["LPUSH", "x"], ["SET", "my own"]] {
            server.command(["DEL", &name]);
            server.command([value[0], &name, value[1]]);
            let error = redis
                .summary_add(series, vec![observation(kind, "k", now, 1)], now)
                .await
                .expect_err("foreign");
            assert!(error.retry() != Retry::Unknown, "{error:?}");
            let written = keys(server, &prefix);
            assert!(written.iter().all(|key| !key.contains(":3600:")), "{kind:?}: {written:?}");
        }
        server.command(["DEL", &name]);
        server.command(["LPUSH", &name, "x"]);
        let bucket = day.bucket(now);
        let span = Span { key: "k", resolution: day, from: bucket, to: bucket + 1 };
        let error = redis.summary_read(series, &[span]).await.expect_err("foreign");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(keys(server, &prefix).contains(&name), "what is somebody else's stays");
    }
}

/// The point of a request counts once, by whichever attempt, and beside others in the same call.
#[tokio::test]
async fn a_point_with_a_token_is_taken_once() {
    for &kind in SummaryKind::ALL {
        let (redis, _) = engine().await;
        let part = part(kind);
        let now = redis.series_now(&part).await;
        let series = SummaryPart { kind, part: &part };
        let since = redis.epoch();
        let mut model = Summary::new(kind);
        for id in [1, 2, 1, 1, 3, 2] {
            let point = observation(kind, "k", now, 10 * id);
            let token = Token { id: u128::from(id), hour: 7, since };
            let other = observation(kind, "k", now, 7);
            let (once, plain) = tokio::join!(
                redis.summary_add_once(series, point, now, &token),
                redis.summary_add(series, vec![other.clone()], now),
            );
            once.expect("adds");
            plain.expect("adds");
            model.observe(&other);
        }
        for number in [10, 20, 30] {
            model.observe(&observation(kind, "k", now, number));
        }
        for summaries in last(&redis, kind, &part, now).await {
            assert!(summaries[0].1.is_like(&model), "{summaries:?} {model:?}");
        }
    }
}

/// Writers while replies and requests are lost, connections are cut, and the server is killed: what was acknowledged is there
/// once. Long runs set `FOREBAY_SEAL_FAULTS`, as those of sealing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_lose_and_double_no_observation() {
    let faults =
        std::env::var("FOREBAY_SEAL_FAULTS").ok().and_then(|count| count.parse().ok()).unwrap_or(25u64);
    for &kind in SummaryKind::ALL {
        let server = Server::builder().append_only().start();
        let proxies: Arc<Vec<Proxy>> = Arc::new((0..3).map(|_| Proxy::new(server.port())).collect());
        let (prefix, part) = (unique_prefix(), part(kind));
        let (has_ended, at) = (Arc::new(AtomicBool::new(false)), Clock::system().now());
        // The numbers that were acknowledged, and those whose fate nobody knows.
        let told: Arc<Mutex<[BTreeSet<u64>; 2]>> = Arc::default();
        let tasks = (0..proxies.len()).map(|writer| {
            let (proxies, prefix, part) = (proxies.clone(), prefix.clone(), part.clone());
            let (has_ended, told, url) =
                (has_ended.clone(), told.clone(), server.url_through(&proxies[writer]));
            tokio::spawn(async move {
                let redis = loop {
                    if let Ok(redis) = Redis::open(&url, &prefix, Clock::system()).await {
                        break redis;
                    }
                    Clock::system().sleep(millis(20)).await;
                };
                for number in (writer as u64..).step_by(proxies.len()) {
                    if has_ended.load(Ordering::SeqCst) {
                        return;
                    }
                    let points = vec![observation(kind, "k", at, number)];
                    match redis.summary_add(SummaryPart { kind, part: &part }, points, at).await {
                        Ok(()) => drop(told.lock()[0].insert(number)),
                        Err(error) if error.retry() == Retry::Unknown => drop(told.lock()[1].insert(number)),
                        Err(_) => redis.clock().sleep(millis(5)).await,
                    }
                }
            })
        });
        let tasks: Vec<_> = tasks.collect();
        for fault in 0..faults {
            let which = usize::try_from(fault).expect("small") % proxies.len();
            match fault % 10 {
                9 => tokio::task::block_in_place(|| {
                    server.kill();
                    server.restart();
                }),
                1 | 5 => proxies[which].cut(),
                2 | 4 | 6 | 8 => proxies[which].set(Fault::DropReply { after: fault % 3 }),
                _ => proxies[which].set(Fault::DropRequest { after: fault % 3 }),
            }
            Clock::system().sleep(millis(60)).await;
        }
        proxies.iter().for_each(|proxy| proxy.set(Fault::Pass));
        has_ended.store(true, Ordering::SeqCst);
        join_all(tasks).await.into_iter().for_each(|task| task.expect("ends"));
        let direct = Redis::open(&server.url(), &prefix, Clock::system()).await.expect("opens");
        let [acknowledged, unknown] = std::mem::take(&mut *told.lock());
        for summaries in last(&direct, kind, &part, at).await {
            check_taken(kind, &summaries[0].1, (&acknowledged, &unknown), at);
        }
        let (word, known, unknown) = (kind.word(), acknowledged.len(), unknown.len());
        eprintln!("{word}: {faults} faults: {known} acknowledged, {unknown} unknown; lost 0, doubled 0");
        assert!(known > 100 && unknown < known / 2 + 200, "{known} acknowledged, {unknown} unknown");
    }
}

/// Whether a summary has what was acknowledged once, and of the rest at most what is unknown.
fn check_taken(
    kind: SummaryKind,
    found: &Summary,
    (acknowledged, unknown): (&BTreeSet<u64>, &BTreeSet<u64>),
    at: Timestamp,
) {
    let of = |numbers: &mut dyn Iterator<Item = &u64>| {
        let mut summary = Summary::new(kind);
        numbers.for_each(|number| summary.observe(&observation(kind, "k", at, *number)));
        summary
    };
    let (least, most) = (of(&mut acknowledged.iter()), of(&mut acknowledged.iter().chain(unknown)));
    match found {
        // A set that is merged into one that has all of it changes nothing.
        Summary::Distinct(_) => {
            let mut with_least = found.clone();
            with_least.merge(&least);
            assert!(with_least == *found, "an acknowledged element is lost");
            let mut both = most.clone();
            both.merge(found);
            assert!(both == most, "it has an element that nobody added");
        }
        Summary::Gauge(readings) => {
            let counts = acknowledged.len() as u64..=(acknowledged.len() + unknown.len()) as u64;
            assert!(counts.contains(&readings.count), "{} of {counts:?}", readings.count);
            assert!(!unknown.is_empty() || found.is_like(&least), "{found:?} {least:?}");
        }
        Summary::Percentiles(sketch) => {
            let counts = acknowledged.len() as u64..=(acknowledged.len() + unknown.len()) as u64;
            assert!(counts.contains(&sketch.count()), "{} of {counts:?}", sketch.count());
            assert!(!unknown.is_empty() || found.is_like(&least), "{found:?} {least:?}");
        }
    }
}

/// Late points are counted by the handle; what reaches the store and is kept nowhere leaves no key.
#[tokio::test]
async fn a_bucket_that_is_not_kept_is_no_error() {
    for &kind in SummaryKind::ALL {
        let (redis, prefix) = engine().await;
        let part = part(kind);
        let now = redis.series_now(&part).await;
        let old = vec![observation(kind, "k", now.minus(days(42)).minus(secs(1)), 1)];
        redis.summary_add(SummaryPart { kind, part: &part }, old, now).await.expect("nothing to do");
        assert_eq!(keys(Server::shared(), &prefix), [""; 0]);
    }
}
