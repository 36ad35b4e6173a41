//! One host of three is away: what an event without a key of its own comes to, and a series afterwards.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use forebay::{
    ErrorKind, Event, Forebay, Limit, Retry,
    cluster::Health,
    limit::{OnError, Override},
    once::Once,
    series::SeriesHandle,
    time::{hours, secs},
};
use forebay_testkit::{Fault, Proxy, Redis, eventually, unique_prefix, without};

use crate::hosts::{health, key_on, open, three};

/// How a host goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Away {
    Killed,
    Stopped,
    Silent,
}

/// How many hits are under way at a time.
const WRITERS: u64 = 16;

/// The quota of a limit that each process decides by itself.
const QUOTA: u64 = 7;

/// The keys of a writer: enough to be on every host.
const KEYS: u64 = 12;

/// Of each key how many were accepted, and of how many nobody knows.
type Counts = BTreeMap<String, (u64, u64)>;

/// Hits keys with an event that has a limit and a series, until told to end.
async fn hit(bay: Forebay, writer: u64, ends: &AtomicBool, [hits, refused]: [&AtomicU64; 2]) -> Counts {
    let limit = Limit::per_second("hits", 1_000_000).on_error(OnError::Open);
    let (limit, series) = (bay.limit(limit).expect("valid"), bay.series("hits").expect("valid"));
    let event = bay.event(Event::new("hit").limit(&limit).series(&series)).expect("valid");
    let mut counts = Counts::new();
    let mut number = 0;
    while !ends.load(Ordering::Relaxed) {
        let key = format!("{writer}-{}", number % KEYS);
        let count = counts.entry(key.clone()).or_default();
        match event.hit(&key, 1).await {
            Ok(hit) => count.0 += u64::from(hit.is_accepted()),
            Err(error) => {
                let is_unknown = error.error.retry() == Retry::Unknown;
                count.1 += u64::from(is_unknown);
                // On a busy machine a host may seem to be down that is not, and then there is no other for a partition.
                let others = health(&bay).iter().filter(|health| **health != Health::Up).count();
                let is_outage =
                    (error.error.kind(), error.error.retry()) == (ErrorKind::Unavailable, Retry::Later);
                assert!(is_unknown || is_outage && others > 1, "a hit that certainly failed: {error}");
                refused.fetch_add(u64::from(!is_unknown), Ordering::Relaxed);
            }
        }
        hits.fetch_add(1, Ordering::Relaxed);
        number += 1;
    }
    counts
}

/// The sum of a key, if the store says that nothing is missing.
pub(crate) async fn whole(series: &SeriesHandle, bay: &Forebay, key: &str) -> Option<u64> {
    let now = bay.clock().now();
    let total = series.total(key, now.minus(hours(1)), now.plus(secs(60))).await.ok()?;
    let range = series.range(key, now.minus(hours(1)), now.plus(secs(60)), None).await.ok()?;
    (!total.partial && !range.partial).then_some(total.sum)
}

async fn run(away: Away) {
    let servers = [(); 3].map(|()| Redis::builder().append_only().start());
    let proxy = Proxy::new(servers[1].port());
    let urls = [servers[0].url(), servers[1].url_through(&proxy), servers[2].url()];
    let prefix = unique_prefix();
    let open = async || {
        let hosts = ["a", "b", "c"].iter().zip(&urls);
        let hosts =
            hosts.fold(forebay::cluster::Hosts::new(), |hosts, (name, url)| hosts.host(*name, &**url));
        Forebay::options().prefix(&prefix).open_hosts(hosts).await.expect("opens")
    };
    let (bay, reader) = (open().await, open().await);
    let (ends, hits, refused) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let more = async |count: u64| {
        let goal = hits.load(Ordering::Relaxed) + count;
        eventually("more hits", async || hits.load(Ordering::Relaxed) >= goal).await;
    };
    let fault = async {
        more(200).await;
        match away {
            Away::Killed => servers[1].kill(),
            Away::Stopped => servers[1].pause(),
            Away::Silent => proxy.set(Fault::BlackHole),
        }
        for bay in [&bay, &reader] {
            eventually("the host to be found away", async || health(bay)[1] == Health::Down).await;
        }
        more(2_000).await;
        match away {
            Away::Killed => servers[1].restart(),
            Away::Stopped => servers[1].resume(),
            Away::Silent => proxy.set(Fault::Pass),
        }
        for bay in [&bay, &reader] {
            eventually("the host to be found again", async || health(bay)[1] == Health::Up).await;
        }
        more(500).await;
        ends.store(true, Ordering::Relaxed);
    };
    let writers = (0..WRITERS).map(|writer| hit(bay.clone(), writer, &ends, [&hits, &refused]));
    let (written, ()) = tokio::join!(futures::future::join_all(writers), fault);
    let counts: Counts = written.into_iter().flatten().collect();
    let (accepted, unknown) = counts.values().fold((0, 0), |(a, b), (ok, lost)| (a + ok, b + lost));
    let refused = refused.into_inner();
    println!(
        "{away:?}: {accepted} hits accepted, {unknown} unknown, {refused} refused while two hosts seemed down, {WRITERS} under \
         way at a time"
    );
    assert!(refused <= accepted / 20, "{refused} refused, {accepted} accepted");
    assert!(unknown <= WRITERS, "{unknown} hits failed that were not under way at the fault");
    check_sums(&reader, &counts).await;
    assert_eq!(reader.warnings(), Vec::<String>::new());
}

/// Compares the sum of each key with the accepted hits, once all points are there.
async fn check_sums(reader: &Forebay, counts: &Counts) {
    let series = reader.series("hits").expect("valid");
    for (key, (accepted, unknown)) in counts {
        let mut sum = None;
        eventually("all points of a key to be there", async || {
            sum = whole(&series, reader, key).await;
            sum.is_some()
        })
        .await;
        let sum = sum.expect("it is there");
        assert!((*accepted..=accepted + unknown).contains(&sum), "{key}: {sum}, accepted {accepted}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_points_of_a_killed_host_are_taken_by_others_and_added_when_it_is_back() {
    if without("redis") {
        return;
    }
    run(Away::Killed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_points_of_a_stopped_host_are_taken_by_others_and_added_when_it_is_back() {
    if without("redis") {
        return;
    }
    run(Away::Stopped).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_points_of_a_silent_host_are_taken_by_others_and_added_when_it_is_back() {
    if without("redis") {
        return;
    }
    run(Away::Silent).await;
}

/// A key of a series on the host with this name.
fn series_key_on(bay: &Forebay, series: &SeriesHandle, host: &str) -> String {
    let mut keys = (0..).map(|i| format!("k{i}"));
    keys.find(|key| *bay.cluster().route_series(series, key).host == *host).expect("each host has partitions")
}

/// A process that never saw the outage says for itself what waits, and another that is started hands over.
#[tokio::test]
async fn a_process_that_starts_hands_over_what_another_left() {
    if without("redis") {
        return;
    }
    let servers = three();
    let prefix = unique_prefix();
    let bay = open(&servers, &prefix).await.expect("opens");
    let series = bay.series("hits").expect("valid");
    let key = series_key_on(&bay, &series, "b");
    servers[1].kill();
    eventually("the host to be found dead", async || health(&bay)[1] == Health::Down).await;
    series.add(&key, 5).await.expect("another host takes it");
    series.limited().add(&key, 2).await.expect("another host takes it");
    series.sum(&key, hours(1)).await.expect_err("its counts are on the dead host");
    bay.close().await.expect("closes");
    servers[1].restart();
    let bay = open(&servers, &prefix).await.expect("opens");
    let series = bay.series("hits").expect("valid");
    for (series, n) in [(series.limited(), 2), (series, 5)] {
        eventually("the points", async || whole(&series, &bay, &key).await == Some(n)).await;
    }
}

/// An operator, or a program that shares the hosts, has deleted the register of stand-ins.
#[tokio::test]
async fn points_that_no_register_names_are_found_by_the_process_that_wrote_them() {
    if without("redis") {
        return;
    }
    let servers = three();
    let prefix = unique_prefix();
    let bay = open(&servers, &prefix).await.expect("opens");
    let series = bay.series("hits").expect("valid");
    let key = series_key_on(&bay, &series, "b");
    servers[1].kill();
    eventually("the host to be found dead", async || health(&bay)[1] == Health::Down).await;
    series.add(&key, 5).await.expect("another host takes it");
    for server in [&servers[0], &servers[2]] {
        server.command(["DEL", &format!("{prefix}:stand-ins")]);
    }
    servers[1].restart();
    eventually("the points", async || {
        let sum = whole(&series, &bay, &key).await;
        assert_ne!(sum, Some(0), "they wait, and an answer says that nothing does");
        sum == Some(5)
    })
    .await;
}

/// A host that was emptied has the same replication id. Points that come later are registered again.
#[tokio::test]
async fn points_on_a_host_that_was_emptied_before_are_found_by_another_process() {
    if without("redis") {
        return;
    }
    let servers = three();
    let prefix = unique_prefix();
    let bay = open(&servers, &prefix).await.expect("opens");
    let series = bay.series("hits").expect("valid");
    let key = series_key_on(&bay, &series, "b");
    servers[1].kill();
    eventually("the host to be found dead", async || health(&bay)[1] == Health::Down).await;
    series.add(&key, 5).await.expect("another host takes it");
    for server in [&servers[0], &servers[2]] {
        server.command(["FLUSHALL"]);
    }
    series.add(&key, 7).await.expect("another host takes it");
    bay.close().await.expect("closes");
    servers[1].restart();
    let bay = open(&servers, &prefix).await.expect("opens");
    let series = bay.series("hits").expect("valid");
    eventually("the points", async || whole(&series, &bay, &key).await == Some(7)).await;
}

/// A point with a token stays with its partition, where the token is.
#[tokio::test]
async fn a_point_of_a_request_with_a_key_waits_for_its_host_and_counts_once() {
    if without("redis") {
        return;
    }
    let servers = three();
    let bay = open(&servers, &unique_prefix()).await.expect("opens");
    let series = bay.series("hits").expect("valid");
    let key = series_key_on(&bay, &series, "b");
    let request = key_on(&bay, "a");
    let begin = async || match bay.once(&request, 7).await.expect("its record is on a host that answers") {
        Once::First(begun) => begun,
        other => panic!("{other:?}"),
    };
    servers[1].kill();
    eventually("the host to be found dead", async || health(&bay)[1] == Health::Down).await;
    let begun = begin().await;
    let error = series.add_once(&begun.item(0), &key, 1, None).await.expect_err("its host is down");
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Later), "{error}");
    begun.leave("n", true).await.expect("noted");
    series.add(&key, 10).await.expect("without a key another host takes it");
    servers[1].restart();
    eventually("the host to be found again", async || health(&bay)[1] == Health::Up).await;
    let begun = begin().await;
    let item = begun.item_after(0, begun.note());
    for _ in 0..3 {
        series.add_once(&item, &key, 1, None).await.expect("its host is back");
    }
    begun.end("accepted").await.expect("noted");
    eventually("the points", async || whole(&series, &bay, &key).await == Some(11)).await;
}

/// Its record is on the dead host, so that nobody can tell whether an earlier attempt carried it out.
#[tokio::test]
async fn a_request_whose_record_is_on_a_dead_host_is_refused_and_not_applied() {
    if without("redis") {
        return;
    }
    let servers = three();
    let bay = open(&servers, &unique_prefix()).await.expect("opens");
    let (limit, series) =
        (bay.limit(Limit::per_hour("hits", 100)).expect("valid"), bay.series("hits").expect("valid"));
    let event = bay.event(Event::new("hit").limit(&limit).series(&series)).expect("valid");
    let key = (0..1_000)
        .map(|i| format!("k{i}"))
        .find(|key| {
            let (limit, points) = (bay.cluster().route_limit(key), bay.cluster().route_series(&series, key));
            *limit.host == *"a" && *points.host == *"a"
        })
        .expect("some are on one host");
    let request = (0..1_000)
        .map(|i| format!("r{i}"))
        .find(|request| *bay.cluster().route_limit(&format!("event hit {request}")).host == *"b")
        .expect("each host has records");
    servers[1].kill();
    eventually("the host to be found dead", async || health(&bay)[1] == Health::Down).await;
    for _ in 0..3 {
        let error = event.hit_keyed(&request, &key, 1, None).await.expect_err("its record is out of reach");
        assert_eq!(
            (error.error.retry(), error.error.kind()),
            (Retry::Later, ErrorKind::Unavailable),
            "{error}"
        );
    }
    assert_eq!(series.sum(&key, hours(1)).await.expect("answers"), 0);
    assert_eq!(limit.peek(&key).await.expect("answers").remaining(), 100);
    servers[1].restart();
    eventually("the host to be found again", async || health(&bay)[1] == Health::Up).await;
    for _ in 0..3 {
        assert!(event.hit_keyed(&request, &key, 1, None).await.expect("answers").is_accepted());
    }
    assert_eq!(series.sum(&key, hours(1)).await.expect("answers"), 1);
}

#[tokio::test]
async fn local_limits_of_a_dead_host_admit_at_most_a_quota_in_each_process() {
    if without("redis") {
        return;
    }
    let servers = three();
    let prefix = unique_prefix();
    let stores = [(); 3];
    let mut admitted = 0;
    let mut bays = vec![];
    for () in stores {
        bays.push(open(&servers, &prefix).await.expect("opens"));
    }
    let key = key_on(&bays[0], "b");
    servers[1].kill();
    for bay in &bays {
        eventually("the host to be found dead", async || health(bay)[1] == Health::Down).await;
        let limit = bay.limit(Limit::per_hour("hits", QUOTA).on_error(OnError::Local)).expect("valid");
        for _ in 0..3 * QUOTA {
            admitted += u64::from(limit.take(&key).await.expect("decides").is_allowed());
        }
    }
    assert_eq!(admitted, stores.len() as u64 * QUOTA);
}

#[tokio::test]
async fn overrides_go_on_from_the_last_copy_and_a_warning_says_so() {
    if without("redis") {
        return;
    }
    let servers = three();
    let bay = open(&servers, &unique_prefix()).await.expect("opens");
    let limit = bay.limit(Limit::per_hour("hits", 3).deadline(secs(30))).expect("valid");
    let home = bay.cluster().route_lock("overrides").host;
    let number = ["a", "b", "c"].iter().position(|name| **name == *home).expect("one of them");
    let key = key_on(&bay, ["a", "b", "c"][(number + 1) % 3]);
    limit.set_override(&key, Override::rate(5, hours(1))).await.expect("set");
    servers[number].kill();
    eventually("the host to be found dead", async || health(&bay)[number] == Health::Down).await;
    let stale = |warning: &String| warning.contains("overrides") && warning.contains("last look");
    eventually("the warning", async || bay.warnings().iter().any(stale)).await;
    let mut admitted = 0;
    for _ in 0..9 {
        admitted += u64::from(limit.take(&key).await.expect("decides").is_allowed());
    }
    assert_eq!(admitted, 5, "the override holds");
    let error = limit.set_override(&key, Override::blocked()).await.expect_err("nobody else would know");
    assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout), "{error}");
    servers[number].restart();
    eventually("no warning", async || !bay.warnings().iter().any(stale)).await;
}

/// The variables with the hosts and the prefix of a child. A process without them is the parent.
const CHILD: [&str; 2] = ["FOREBAY_TEST_HOSTS", "FOREBAY_TEST_PREFIX"];

/// A process dies before or after a generation was received: the next one goes on.
#[tokio::test]
async fn processes_that_die_while_they_hand_over_lose_and_double_nothing() {
    if without("redis") {
        return;
    }
    if let [Ok(urls), Ok(prefix)] = CHILD.map(std::env::var) {
        let hosts = ["a", "b", "c"].iter().zip(urls.split(' '));
        let hosts = hosts.fold(forebay::cluster::Hosts::new(), |hosts, (name, url)| hosts.host(*name, url));
        let bay = Forebay::options().prefix(prefix).open_hosts(hosts).await.expect("opens");
        let _series = bay.series("hits").expect("valid");
        eventually("death", async || false).await;
    }
    let servers = three();
    let prefix = unique_prefix();
    let bay = open(&servers, &prefix).await.expect("opens");
    let series = bay.series("hits").expect("valid");
    servers[1].kill();
    eventually("the host to be found dead", async || health(&bay)[1] == Health::Down).await;
    let keys: Vec<String> = (0..4_000).map(|i| format!("k{i}")).collect();
    let of_b = |key: &&String| *bay.cluster().route_series(&series, key).host == *"b";
    let keys: Vec<&String> = keys.iter().filter(of_b).collect();
    let now = bay.clock().now();
    series
        .add_many(keys.iter().map(|key| (key, 3, now)), forebay::When::EngineClock)
        .await
        .expect("another host takes them");
    bay.close().await.expect("closes");
    servers[1].restart();
    let urls = servers.each_ref().map(Redis::url).join(" ");
    for failpoint in ["stand_in_before_receive", "stand_in_after_receive:2", "stand_in_after_receive"] {
        let child = std::process::Command::new(std::env::current_exe().expect("a test"))
            .args(["--exact", "points::processes_that_die_while_they_hand_over_lose_and_double_nothing"])
            .envs(CHILD.into_iter().zip([&urls, &prefix]))
            .env("FOREBAY_FAILPOINT", failpoint)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn();
        let mut child = child.expect("starts");
        let mut status = None;
        eventually("the process to die", async || {
            status = child.try_wait().expect("its own child");
            status.is_some()
        })
        .await;
        assert_eq!(status.expect("it ended").code(), None, "{failpoint}: it ended by itself");
    }
    let bay = open(&servers, &prefix).await.expect("opens");
    let series = bay.series("hits").expect("valid");
    for key in keys {
        eventually("the points", async || whole(&series, &bay, key).await.is_some()).await;
        assert_eq!(whole(&series, &bay, key).await, Some(3), "{key}");
    }
}
