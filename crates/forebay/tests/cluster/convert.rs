//! Stores that go to hosts of another layout while nobody uses them: nothing is lost, and counts go on from where they were.

use forebay::{
    Buffer, ErrorKind, Forebay, Limit, Result,
    cluster::{Conversion, Converted, Hosts, RouterKind},
    limit::{Kind, Lease, LeaseId, LimitHandle, OnError, Override},
    lock::{Attempt, Release},
    once::Once,
    sink::MemorySink,
    time::{days, hours, millis, secs},
};
use forebay_testkit::{Redis, RedisCluster, Reply as Answer, unique_prefix, without};
use tokio::task::block_in_place;

use crate::hosts::{hosts, three};

const KEYS: u64 = 60;

/// Keys with braces and percent signs, too: these are written in another way inside a hash tag.
fn keys() -> impl Iterator<Item = String> {
    (0..KEYS).map(|key| if key % 3 == 0 { format!("{{%25}}:{key}:}}") } else { format!("key:{key}") })
}

fn limits(bay: &Forebay) -> [LimitHandle; 3] {
    let limit = |name, kind| {
        let limit = Limit::per_day(name, 20).kind(kind).on_error(OnError::Closed).deadline(secs(30));
        bay.limit(limit).expect("valid")
    };
    [
        limit("fixed", Kind::FixedWindow),
        limit("sliding", Kind::SlidingWindow),
        limit("bucket", Kind::TokenBucket),
    ]
}

/// Writes something of every kind, and answers with the token of a lock.
async fn fill(bay: &Forebay) -> u64 {
    let series = bay.series("points").expect("valid");
    let buffer = bay.buffer(Buffer::new("rows").key("id").sum("n")).expect("valid");
    let jobs = bay.limit(Limit::concurrency("jobs", 2, hours(1)).deadline(secs(30))).expect("valid");
    for key in keys() {
        for limit in limits(bay) {
            assert!(limit.take_n(&key, 5).await.expect("answers").is_allowed());
        }
        series.add(&*key, 3).await.expect("answers");
        bay.distinct("visitors").expect("valid").add(&*key, "ada").await.expect("answers");
        bay.gauge("temperature").expect("valid").record(&*key, 21.5).await.expect("answers");
        bay.percentiles("latency").expect("valid").record(&*key, 0.25).await.expect("answers");
        buffer.row(&*key).add("n", 1).await.expect("answers");
        let mut map = bay.cluster().map();
        let (set, expiring) = (map.set(format!("plain:{key}"), &*key), map.incr(format!("brief:{key}"), 7));
        map.expire(format!("brief:{key}"), hours(1));
        let answers = map.run().await;
        answers.get(set).expect("set");
        answers.get(expiring).expect("counted");
        let Once::First(request) = bay.once(&key, 7).await.expect("answers") else { panic!("the first") };
        series.add_once(&request.item(0), &*key, 1, None).await.expect("answers");
        request.end("accepted").await.expect("answers");
    }
    limits(bay)[0].set_override("vip", Override::rate(100, days(1))).await.expect("set");
    let lock = bay.lock("nightly").ttl(hours(1)).acquire().await.expect("free");
    let fence = lock.fence();
    assert_eq!(lock.release().await.expect("answers"), Release::Released);
    let Attempt::Acquired(held) =
        bay.lock("{held}").ttl(hours(1)).lease_within(secs(5)).await.expect("answers")
    else {
        panic!("it is free");
    };
    assert!(held.fence > 0);
    for _ in 0..2 {
        let lease = jobs.lease_as("job", LeaseId::random()).await.expect("answers");
        assert!(matches!(lease, Lease::Granted(_)), "{lease:?}");
    }
    buffer.flush_to(MemorySink::new()).spawn().stop().await.expect("flushed");
    buffer.pause().await.expect("answers");
    fence
}

/// Checks that a store is as [`fill`] left it, and that counts go on.
async fn check(bay: &Forebay, fence: u64) {
    let series = bay.series("points").expect("valid");
    let buffer = bay.buffer(Buffer::new("rows").key("id").sum("n")).expect("valid");
    for key in keys() {
        for limit in limits(bay) {
            assert_eq!(limit.peek(&key).await.expect("answers").used(), 5, "{key}");
            assert!(limit.take_n(&key, 15).await.expect("answers").is_allowed(), "{key}");
            assert!(!limit.take(&key).await.expect("answers").is_allowed(), "{key}");
        }
        assert_eq!(series.sum(&*key, days(1)).await.expect("answers"), 4, "{key}");
        let visitors = bay.distinct("visitors").expect("valid");
        for element in ["ada", "bob"] {
            visitors.add(&*key, element).await.expect("answers");
        }
        assert_eq!(visitors.count(&*key, days(1)).await.expect("answers"), 2, "{key}");
        let temperature = bay.gauge("temperature").expect("valid");
        temperature.record(&*key, 20.5).await.expect("answers");
        let stats = temperature.stats(&*key, days(1)).await.expect("answers").expect("values");
        assert_eq!((stats.count, stats.last, stats.average), (2, 20.5, 21.0), "{key}");
        let latency = bay.percentiles("latency").expect("valid");
        assert_eq!(latency.quantile(&*key, 0.5, days(1)).await.expect("answers"), Some(0.25), "{key}");
        let mut map = bay.cluster().map();
        let (set, counted) =
            (map.get::<Option<String>>(format!("plain:{key}")), map.incr(format!("brief:{key}"), 1));
        let answers = map.run().await;
        assert_eq!(answers.get(set).expect("answers").as_deref(), Some(&*key));
        assert_eq!(answers.get(counted).expect("answers"), 8);
        let again = bay.once(&key, 7).await.expect("answers");
        assert!(matches!(&again, Once::Done(answer) if &**answer == "accepted"), "{key}: {again:?}");
    }
    bay.refresh_overrides().await.expect("answers");
    assert_eq!(limits(bay)[0].peek("vip").await.expect("answers").limit(), 100);
    let held = bay.lock("{held}").ttl(hours(1)).try_acquire().await.expect("answers");
    assert!(matches!(held, Attempt::Held { .. }), "{held:?}");
    let lock = bay.lock("nightly").ttl(hours(1)).acquire().await.expect("free");
    assert!(lock.fence() > fence, "{} after {fence}", lock.fence());
    let jobs = bay.limit(Limit::concurrency("jobs", 2, hours(1)).deadline(secs(30))).expect("valid");
    let lease = jobs.lease_as("job", LeaseId::random()).await.expect("answers");
    assert!(matches!(lease, Lease::Denied { .. }), "{lease:?}");
    assert!(buffer.is_paused().await.expect("answers"));
    buffer.resume().await.expect("answers");
    assert!(!buffer.is_paused().await.expect("answers"));
    buffer.row("new").add("n", 1).await.expect("answers");
    assert_eq!(bay.stored_buffers().await.expect("answers").len(), 1);
}

fn numbered(servers: &[Redis], router: RouterKind) -> Hosts {
    let named = servers.iter().enumerate();
    named.fold(Hosts::new().router(router), |hosts, (id, server)| hosts.host(id.to_string(), server.url()))
}

async fn convert(prefix: &str, source: &Hosts, to: &Conversion) -> Result<Converted> {
    Forebay::options().prefix(prefix).convert_hosts(source.clone(), to, |_| ()).await
}

async fn open(prefix: &str, hosts: &Hosts) -> Forebay {
    Forebay::options().prefix(prefix).open_hosts(hosts.clone()).await.expect("opens")
}

/// A filled store that nobody uses any more.
async fn filled(prefix: &str, hosts: &Hosts) -> u64 {
    let bay = open(prefix, hosts).await;
    let fence = fill(&bay).await;
    bay.close().await.expect("closes");
    fence
}

fn same_on_both(converted: &Converted) {
    for kind in &converted.kinds {
        assert_eq!(kind.source, kind.target, "{converted:?}");
    }
    let count = |kind: &str| converted.kinds.iter().find(|it| *it.kind == *kind).map(|it| it.source);
    for kind in ["window", "sliding", "tokens", "once"] {
        assert_eq!(count(kind), Some(KEYS), "{converted:?}");
    }
    assert_eq!((count("plain"), count("lock"), count("overrides")), (Some(2 * KEYS), Some(2), Some(2)));
}

fn size(server: &Redis) -> i64 {
    match server.command(["DBSIZE"]) {
        Answer::Integer(size) => size,
        other => panic!("a number, not {other:?}"),
    }
}

/// The conversion is ended at many places, also while the table is stored and while keys are removed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_with_a_modulo_get_slots_however_often_it_is_ended_in_the_middle() {
    if without("redis") {
        return;
    }
    let (servers, prefix) = (block_in_place(three), unique_prefix());
    let (former, next) = (numbered(&servers, RouterKind::NydusPartition), hosts(&servers));
    let fence = filled(&prefix, &former).await;
    let to = Conversion::to_hosts(&next).expect("valid");
    let planned = convert(&prefix, &former, &to.clone().dry_run()).await.expect("planned");
    assert!(planned.keys_to_copy > 2 * KEYS && planned.keys_copied == 0, "{planned:?}");
    let mut ended = 0;
    let mut done = None;
    for attempt in 0..40 {
        let within = millis(10 + 12 * attempt);
        let to = to.clone().force().take_over();
        match tokio::time::timeout(within, convert(&prefix, &former, &to)).await {
            Ok(converted) => {
                done = Some(converted.expect("converted"));
                break;
            }
            Err(_) => ended += 1,
        }
    }
    if done.is_none() {
        done = Some(convert(&prefix, &former, &to.clone().take_over()).await.expect("converted"));
    }
    println!("{ended} attempts were ended; {done:?}");
    let bay = open(&prefix, &next).await;
    check(&bay, fence).await;
    let looked = Forebay::options().prefix(&prefix).inspect_hosts(next.clone()).await.expect("answers");
    for host in looked.verify(100_000).await.expect("answers") {
        assert_eq!(host.misplaced, 0, "{host:?}");
    }
    let error = Forebay::options().prefix(&prefix).open_hosts(former.clone()).await.expect_err("other names");
    assert_eq!(error.kind(), ErrorKind::Configuration);
    let error = convert(&prefix, &former, &to).await.expect_err("it is done");
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_of_a_ring_are_copied_to_other_hosts_and_stay_as_they_are() {
    if without("redis") {
        return;
    }
    let (servers, others, prefix) = (block_in_place(three), block_in_place(three), unique_prefix());
    let former = numbered(&servers, RouterKind::NydusKetama);
    let fence = filled(&prefix, &former).await;
    let sizes: Vec<i64> = servers.iter().map(size).collect();
    let next = hosts(&others);
    let to = Conversion::to_hosts(&next).expect("valid");
    same_on_both(&convert(&prefix, &former, &to).await.expect("converted"));
    check(&open(&prefix, &next).await, fence).await;
    assert_eq!(servers.iter().map(size).collect::<Vec<_>>(), sizes);
    check(&open(&prefix, &former).await, fence).await;
    let error = convert(&prefix, &former, &to).await.expect_err("it is a store");
    assert!(error.to_string().contains("belongs to a store already"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_host_becomes_three_and_three_become_a_redis_cluster() {
    if without("redis") {
        return;
    }
    let (servers, cluster) = (block_in_place(three), block_in_place(RedisCluster::start));
    let prefix = unique_prefix();
    let single = Forebay::options().prefix(&prefix).open(&servers[0].url()).await.expect("opens");
    let fence = fill(&single).await;
    single.close().await.expect("closes");
    let (one, three) = (Hosts::new().host("a", servers[0].url()), hosts(&servers));
    let to = Conversion::to_hosts(&three).expect("valid");
    convert(&prefix, &one, &to).await.expect("converted");

    let to = Conversion::to_redis_cluster(&cluster.url()).expect("valid");
    // It is ended in the middle: no store can be opened until it is repeated.
    let options = || Forebay::options().prefix(&prefix);
    let forced = to.clone().force().take_over();
    let mut closed = 0;
    for ended in (0..60).map(|attempt| millis(20 + 15 * attempt)) {
        if tokio::time::timeout(ended, convert(&prefix, &three, &forced)).await.is_ok() {
            break;
        }
        if let Err(error) = options().open(&cluster.url()).await {
            assert!(error.to_string().contains("forebay cluster convert"), "{error}");
            closed += 1;
            if closed == 5 {
                same_on_both(&convert(&prefix, &three, &to.clone().take_over()).await.expect("converted"));
                break;
            }
        }
    }
    assert!(closed > 0, "it was too fast to be ended in the middle");
    let bay = options().open(&cluster.url()).await.expect("opens");
    check(&bay, fence).await;
    for node in cluster.nodes() {
        let Answer::Array(left) = node.command(["KEYS", &format!("{prefix}:cluster:*")]) else {
            panic!("keys")
        };
        assert!(left.is_empty(), "{left:?}");
    }
    let error = convert(&prefix, &three, &to).await.expect_err("it is a store");
    assert!(error.to_string().contains("has keys of a store with this prefix"), "{error}");
    // The source is as it was.
    check(&open(&prefix, &three).await, fence).await;
}

/// Adds to some plain keys for ever.
async fn count_on(bay: Forebay) {
    loop {
        let mut map = bay.cluster().map();
        let counted: Vec<_> = (0..10).map(|key| map.incr(format!("busy:{key}"), 1)).collect();
        let answers = map.run().await;
        for count in counted {
            assert!(answers.get(count).is_ok_and(|n| n > 0));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_speaks_against_a_conversion_is_named_and_nothing_is_written() {
    if without("redis") {
        return;
    }
    let (servers, others, prefix) = (block_in_place(three), block_in_place(three), unique_prefix());
    let former = numbered(&servers, RouterKind::NydusPartition);
    let bay = open(&prefix, &former).await;
    let next = hosts(&others);
    let to = Conversion::to_hosts(&next).expect("valid");
    let refused = async |source: &Hosts, to: &Conversion, part: &str| {
        let error = convert(&prefix, source, to).await.expect_err(part);
        assert!(error.to_string().contains(part), "{part}: {error}");
        for server in &others {
            assert_eq!(server.command(["KEYS", "*"]), Answer::Array(vec![]), "{part}");
        }
    };
    let buffer = bay.buffer(Buffer::new("rows").key("id").sum("n")).expect("valid");
    buffer.row("a").add("n", 1).await.expect("answers");
    refused(&former, &to, "rows of rows.").await;
    buffer.flush_to(MemorySink::new()).spawn().stop().await.expect("flushed");

    let writing = tokio::spawn(count_on(bay.clone()));
    refused(&former, &to, "somebody writes").await;
    writing.abort();
    bay.close().await.expect("closes");

    // A key where the router does not look.
    let wrong = (0..).map(|key| format!("wrong:{key}"));
    let at = |key: &String| former.first_placement().expect("valid").host_of(key) != "0";
    let wrong = wrong.into_iter().find(at).expect("one of three");
    servers[0].command(["SET", &wrong, "1"]);
    refused(&former, &to, "--force goes on without them").await;
    servers[0].command(["DEL", &wrong]);

    let dead = Hosts::new().host("a", "redis://127.0.0.1:1");
    let error =
        convert(&prefix, &former, &Conversion::to_hosts(&dead).expect("valid")).await.expect_err("dead");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let twice = Hosts::new().host("a", others[0].url()).host("b", others[0].url());
    refused(&former, &Conversion::to_hosts(&twice).expect("valid"), "are one database").await;

    others[1].command(["SET", &format!("{prefix}:lock:{{x}}"), "1"]);
    let error = convert(&prefix, &former, &to).await.expect_err("not empty");
    assert!(error.to_string().contains("has keys of a store with this prefix already"), "{error}");
    others[1].command(["DEL", &format!("{prefix}:lock:{{x}}")]);
    // The target's own plain keys may stay, if the source has none of the same name.
    let all = |words: &[&str]| {
        for server in &others {
            server.command(words.iter().copied());
        }
    };
    all(&["MSET", "busy:1", "mine", "mine", "1"]);
    let error = convert(&prefix, &former, &to).await.expect_err("of the same name");
    assert!(error.to_string().contains("another value under \"busy:1\""), "{error}");
    all(&["DEL", "busy:1"]);
    convert(&prefix, &former, &to).await.expect("converted");
    let mut map = open(&prefix, &next).await.cluster().map();
    let busy = map.get::<Option<u64>>("busy:1");
    assert!(map.run().await.get(busy).expect("answers").is_some());

    for url in ["redis://a", "memory:", "redis+cluster://a?router=slots"] {
        assert_eq!(Conversion::to_redis_cluster(url).expect_err(url).kind(), ErrorKind::Invalid);
    }
    let ring = Hosts::new().router(RouterKind::NydusKetama).host("a", "redis://a");
    assert!(Conversion::to_hosts(&ring).expect_err("no slots").to_string().contains("slots"));
}
