//! Counts in open buckets, and their way to the chunks: at each moment a read finds each count once.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Poll,
};

use forebay_testkit::{Fault, Proxy, Redis as Server, Reply, eventually, unique_prefix};
use futures::future::join_all;
use proptest::{collection::vec, prelude::*, test_runner::TestRunner};
use tokio::runtime::Runtime;

use super::{engine, keys, series::number};
use crate::{
    Clock, Forebay, ManualClock, Name, Series, Timestamp,
    engine::{
        redis::Redis,
        step::{KeyMove, KeyRange, Point, SeriesPart, Span, Which},
    },
    model::resolution::{Grid, MAX_COUNT, Resolution},
    time::{hours, millis, mins, secs},
};

pub(super) fn part(resolutions: &[Resolution]) -> SeriesPart {
    let grid = Grid {
        name: Name::new("hits").expect("valid"),
        resolutions: resolutions.into(),
        partitions: 1,
        is_ranked: false,
    };
    SeriesPart::new(Arc::new(grid), 0)
}

pub(super) fn point(key: &str, at: Timestamp, n: u64) -> Point {
    Point { key: key.into(), at, n }
}

pub(super) async fn open(url: &str, prefix: &str) -> Arc<Redis> {
    Redis::open(url, prefix, Clock::system()).await.expect("opens")
}

pub(super) async fn add(redis: &Redis, part: &SeriesPart, points: Vec<Point>) {
    let now = redis.series_now(part).await;
    redis.series_add(part, points, now).await.expect("counts");
}

/// The sum of a key over the last two years in a resolution, and up to five minutes ahead.
pub(super) async fn sum(redis: &Redis, part: &SeriesPart, resolution: Resolution, key: &str) -> u64 {
    let now = redis.series_now(part).await;
    let from = resolution.oldest_kept(now);
    let span = Span { key, resolution, from, to: resolution.bucket(now.plus(mins(6))) + 1 };
    redis.series_read(part, &[span]).await.expect("answers").remove(0).iter().sum()
}

pub(super) async fn listed(redis: &Redis, part: &SeriesPart) -> Vec<String> {
    let range = KeyRange { prefix: "", after: None, most: 100_000 };
    redis.series_list(part, &range, redis.series_now(part).await).await.expect("answers")
}

/// The names of open buckets, and of chunks.
fn stored(prefix: &str) -> (Vec<String>, Vec<String>) {
    let is_chunk = |key: &String| !["}:guard", "}:open", "}:keys:"].iter().any(|other| key.contains(other));
    let (chunks, others): (Vec<_>, Vec<_>) = keys(Server::shared(), prefix).into_iter().partition(is_chunk);
    (others.into_iter().filter(|key| key.contains("}:open:")).collect(), chunks)
}

#[derive(Clone, Debug)]
enum Op {
    /// Adds a point, so many seconds before now.
    Add(u8, i64, u64),
    Seal,
    Delete(u8),
    Read(u8),
}

fn op() -> impl Strategy<Value = Op> {
    let ago = prop_oneof![
        4 => 0i64..25,
        2 => -290i64..0,
        2 => 0i64..7_200,
        2 => 80_000i64..90_000,
        1 => 0i64..700_000,
        1 => 0i64..60_000_000,
    ];
    let n = prop_oneof![6 => 1u64..9, 1 => Just(1 << 31), 1 => 1u64 << 30..1 << 31];
    prop_oneof![
        12 => (0u8..3, ago, n).prop_map(|(key, ago, n)| Op::Add(key, ago, n)),
        3 => Just(Op::Seal),
        1 => (0u8..3).prop_map(Op::Delete),
        2 => (0u8..3).prop_map(Op::Read),
    ]
}

/// Every bucket of every resolution equals a naive model, whatever is open and whatever is sealed.
#[test]
fn open_and_sealed_counts_equal_a_naive_model() {
    let runtime = Runtime::new().expect("starts");
    TestRunner::new(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })
        .run(&vec(op(), 1..40), |ops| {
            runtime.block_on(equals_the_model(&ops));
            Ok(())
        })
        .expect("they agree");
}

async fn equals_the_model(ops: &[Op]) {
    let (redis, prefix) = engine().await;
    let part = part(&Resolution::defaults());
    let reader = open(&Server::shared().url(), &prefix).await;
    let now = redis.series_now(&part).await;
    let mut model: BTreeMap<(String, usize, i64), u64> = BTreeMap::new();
    for (number, op) in ops.iter().enumerate() {
        match op {
            Op::Add(key, ago, n) => {
                let (key, at) =
                    (format!("k{key}"), Timestamp::from_micros(now.as_micros() - ago * 1_000_000));
                redis.series_add(&part, vec![point(&key, at, *n)], now).await.expect("counts");
                for (place, resolution) in part.grid.resolutions.iter().enumerate() {
                    let bucket = resolution.bucket(at);
                    if resolution.keeps(bucket, now.plus(secs(30))) {
                        *model.entry((key.clone(), place, bucket)).or_default() += n;
                    }
                }
            }
            Op::Seal => redis.series_seal(&part, Which::All).await.expect("seals"),
            Op::Delete(key) => {
                let key = format!("k{key}");
                // By a process that knows of no open bucket.
                reader.series_delete(&part, &key, now).await.expect("deletes");
                model.retain(|(other, ..), _| *other != key);
            }
            Op::Read(key) => {
                check(&reader, &part, &model, &format!("k{key}"), now).await;
                let mut expected: Vec<&String> = model.keys().map(|(key, ..)| key).collect();
                expected.dedup();
                assert_eq!(listed(&reader, &part).await.iter().collect::<Vec<_>>(), expected);
            }
        }
        if number + 1 == ops.len() {
            for key in ["k0", "k1", "k2"] {
                check(&redis, &part, &model, key, now).await;
            }
        }
    }
    redis.series_seal(&part, Which::All).await.expect("seals");
    assert_eq!(stored(&prefix).0, [""; 0], "nothing is open");
    for key in ["k0", "k1", "k2"] {
        check(&reader, &part, &model, key, now).await;
    }
}

/// Compares the buckets of a key that are kept for the whole test.
async fn check(
    redis: &Redis,
    part: &SeriesPart,
    model: &BTreeMap<(String, usize, i64), u64>,
    key: &str,
    now: Timestamp,
) {
    let span = |resolution: &Resolution| Span {
        key,
        resolution: *resolution,
        from: resolution.oldest_kept(now.plus(secs(30))) + 1,
        to: resolution.bucket(now.plus(mins(5))) + 1,
    };
    let spans: Vec<Span<'_>> = part.grid.resolutions.iter().map(span).collect();
    let counts = redis.series_read(part, &spans).await.expect("answers");
    for (place, (span, counts)) in spans.iter().zip(counts).enumerate() {
        let expected = |bucket| model.get(&(key.to_owned(), place, bucket)).copied().unwrap_or_default();
        let expected: Vec<u64> = (span.from..span.to).map(expected).collect();
        assert!(counts == expected, "{key} in {:?}: {:?}", span.resolution.step, {
            let differ = (span.from..).zip(counts.iter().zip(&expected)).filter(|(_, (a, b))| a != b);
            differ.collect::<Vec<_>>()
        });
    }
}

/// Tasks that write, seal and read one key of a series at the same time.
#[derive(Clone)]
struct Crowd {
    prefix: String,
    part: SeriesPart,
    key: Arc<str>,
    /// The sum of the points that were begun, and of those that were acknowledged.
    begun: Arc<AtomicU64>,
    added: Arc<AtomicU64>,
    has_ended: Arc<AtomicBool>,
}

impl Crowd {
    async fn join(&self) -> Arc<Redis> {
        open(&Server::shared().url(), &self.prefix).await
    }

    async fn seal(self) {
        let sealer = self.join().await;
        while !self.has_ended.load(Ordering::SeqCst) {
            sealer.series_seal(&self.part, Which::All).await.expect("seals");
            // So that there is more to seal than what the writers are adding right now.
            sealer.clock().sleep(millis(5)).await;
        }
    }

    async fn read(self, resolution: Resolution) {
        let (reader, mut reads) = (self.join().await, 0);
        while !self.has_ended.load(Ordering::SeqCst) {
            let least = self.added.load(Ordering::SeqCst);
            let found = self.sum_among_others(&reader, resolution).await;
            let most = self.begun.load(Ordering::SeqCst);
            assert!((least..=most).contains(&found), "{:?}: {found} of {least} to {most}", resolution.step);
            reads += 1;
        }
        assert!(reads > 10, "{reads} reads");
    }

    /// The sum of the last hour, asked for with that of so many other keys in one question that a server does not read it at
    /// once: others come in between.
    async fn sum_among_others(&self, reader: &Redis, resolution: Resolution) -> u64 {
        let now = reader.series_now(&self.part).await;
        let others: Vec<String> = (100..300).map(|i| format!("{i}{}", &self.key[3..])).collect();
        let keys = others.iter().map(String::as_str).chain([&*self.key]);
        let (from, to) = (resolution.bucket(now.minus(hours(1))), resolution.bucket(now) + 2);
        let spans: Vec<Span<'_>> = keys.map(|key| Span { key, resolution, from, to }).collect();
        // Refused if counts were moved in the middle of every attempt.
        let counts = loop {
            let starts = reader.known_starts(&self.part).await;
            if let Ok(counts) = reader.series_read_group(&self.part, &spans, starts).await {
                break counts;
            }
        };
        counts.last().map_or(0, |counts| counts.iter().sum())
    }

    async fn write(self, writer: u64, points: u64) {
        let redis = self.join().await;
        for number in 0..points {
            let now = redis.series_now(&self.part).await;
            let ago = secs((number * 7 + writer * 13) % 60);
            self.begun.fetch_add(3, Ordering::SeqCst);
            let points = vec![point(&self.key, now.minus(ago), 3)];
            redis.series_add(&self.part, points, now).await.expect("counts");
            self.added.fetch_add(3, Ordering::SeqCst);
        }
    }
}

/// No answer misses a point, and none has one twice, while everything is sealed all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_counts_each_point_once_while_buckets_are_sealed() {
    let part = part(&[Resolution::defaults()[0], Resolution::defaults()[3]]);
    let key = "k".repeat(512).into();
    let prefix = unique_prefix();
    let (begun, added, has_ended) = Default::default();
    let crowd = Crowd { prefix, part: part.clone(), key, begun, added, has_ended };
    let readers =
        part.grid.resolutions.iter().map(|&resolution| tokio::spawn(crowd.clone().read(resolution)));
    let others = (0..2).map(|_| tokio::spawn(crowd.clone().seal())).chain(readers).collect::<Vec<_>>();
    let writers = (0..4).map(|writer| tokio::spawn(crowd.clone().write(writer, 600)));
    for writer in join_all(writers).await {
        writer.expect("ends");
    }
    crowd.has_ended.store(true, Ordering::SeqCst);
    for task in others {
        task.await.expect("ends");
    }
    let reader = crowd.join().await;
    for &resolution in &part.grid.resolutions {
        assert_eq!(sum(&reader, &part, resolution, &crowd.key).await, 4 * 600 * 3);
    }
}

/// The sealer is dropped at each point where it waits, then loses each reply in turn: nothing is lost, nothing counts twice.
#[tokio::test]
async fn a_sealer_that_dies_anywhere_loses_and_doubles_nothing() {
    let prefix = unique_prefix();
    let proxy = Proxy::new(Server::shared().port());
    let redis = open(&Server::shared().url(), &prefix).await;
    let sealer = open(&Server::shared().url_through(&proxy), &prefix).await;
    let part = part(&Resolution::defaults());
    let mut expected = 0;
    for round in 0..30u64 {
        let now = redis.series_now(&part).await;
        let points = (0..600u64).map(|i| point(&format!("k{}", i % 300), now.minus(secs(i % 3 * 10)), 1));
        add(&redis, &part, points.collect()).await;
        expected += 2;
        if round < 20 {
            let mut polls = 0;
            let mut seal = Box::pin(sealer.series_seal(&part, Which::All));
            std::future::poll_fn(|context| {
                polls += 1;
                match seal.as_mut().poll(context) {
                    Poll::Ready(done) => Poll::Ready(done.map(drop)),
                    Poll::Pending if polls > round => Poll::Ready(Ok(())),
                    Poll::Pending => Poll::Pending,
                }
            })
            .await
            .expect("goes on or ends");
        } else {
            proxy.set(Fault::DropReply { after: u32::try_from(round - 20).expect("few").into() });
            let _ = sealer.series_seal(&part, Which::All).await;
            proxy.set(Fault::Pass);
        }
        for key in ["k0", "k299"] {
            for &resolution in &part.grid.resolutions {
                assert_eq!(sum(&redis, &part, resolution, key).await, expected, "round {round}: {key}");
            }
        }
    }
    redis.series_seal(&part, Which::All).await.expect("seals");
    assert_eq!(stored(&prefix).0, [""; 0]);
    assert_eq!(sum(&redis, &part, part.grid.resolutions[0], "k7").await, expected);
}

/// All writers died two days ago. Whoever knows the series seals what they left, but for the resolutions that do not keep it any
/// more.
#[tokio::test]
async fn counts_that_dead_writers_left_are_sealed_by_any_process() {
    let (writer, prefix) = engine().await;
    let part = part(&Resolution::defaults());
    let now = writer.series_now(&part).await;
    add(&writer, &part, vec![point("k", now, 5), point("other", now, 1)]).await;
    drop(writer);
    // The same bucket, as if two days had passed.
    let server = Server::shared();
    let bucket = stored(&prefix).0.remove(0);
    assert!(number(server, &["PTTL", &bucket]) > 86_400_000 * 700);
    let (name, start) = bucket.rsplit_once(':').expect("a start");
    let before: i64 = start.parse::<i64>().expect("a number") - 2 * 86_400;
    server.command(["RENAME", &*bucket, &format!("{name}:{before}")]);
    server.command(["HDEL", name, start]);
    server.command(["HSET", name, &before.to_string(), ""]);

    let other = open(&server.url(), &prefix).await;
    let [ten, minute, quarter, day] = part.grid.resolutions[..] else { panic!("four") };
    for is_sealed in [false, true] {
        let sums = [minute, quarter, day].map(|resolution| sum(&other, &part, resolution, "k"));
        assert_eq!(join_all(sums).await, [5; 3], "sealed: {is_sealed}");
        assert_eq!(sum(&other, &part, ten, "k").await, 0, "10 s buckets are kept for a day");
        other.series_seal(&part, Which::All).await.expect("seals");
    }
    let (open, chunks) = stored(&prefix);
    assert_eq!(open, [""; 0]);
    assert!(!chunks.iter().any(|key| key.contains("}:10:")), "no chunk of what is not kept: {chunks:?}");
}

#[tokio::test]
async fn a_count_stops_at_63_bits_open_or_sealed() {
    let (redis, _) = engine().await;
    let part = part(&Resolution::defaults());
    let now = redis.series_now(&part).await;
    let huge = MAX_COUNT - 5;
    for (n, open) in [(huge, huge), (3, huge + 3), (1 << 31, MAX_COUNT), (1, MAX_COUNT)] {
        add(&redis, &part, vec![point("k", now, n), point("other", now, 1)]).await;
        assert_eq!(sum(&redis, &part, part.grid.resolutions[0], "k").await, open);
    }
    redis.series_seal(&part, Which::All).await.expect("seals");
    add(&redis, &part, vec![point("k", now, 9)]).await;
    for sealed in [false, true] {
        for &resolution in &part.grid.resolutions {
            assert_eq!(sum(&redis, &part, resolution, "k").await, MAX_COUNT, "sealed: {sealed}");
            assert_eq!(sum(&redis, &part, resolution, "other").await, 4);
        }
        redis.series_seal(&part, Which::All).await.expect("seals");
    }
}

/// One key of somebody else is in the way of one count: the others are sealed, and that one stays and counts later.
#[tokio::test]
async fn a_foreign_key_in_the_way_keeps_one_count_open_and_no_other() {
    let (redis, prefix) = engine().await;
    let part = part(&Resolution::defaults());
    let now = redis.series_now(&part).await;
    add(&redis, &part, vec![point("k", now, 1)]).await;
    redis.series_seal(&part, Which::All).await.expect("seals");
    let chunk = stored(&prefix).1.into_iter().find(|key| key.contains("}:60:")).expect("a chunk of minutes");
    let server = Server::shared();
    for other in [&["SET", &*chunk, "seven B"][..], &["RPUSH", &*chunk, "a list"]] {
        server.command(["DEL", &*chunk]);
        server.command(other.iter().copied());
        let was = server.command(["DUMP", &*chunk]);
        add(&redis, &part, vec![point("k", now, 5), point("free", now, 7)]).await;
        redis.series_seal(&part, Which::All).await.expect("seals the others");
        assert_eq!(server.command(["DUMP", &*chunk]), was);
        let open = stored(&prefix).0;
        assert_eq!(open.len(), 1, "{open:?}");
        // The key, and the field that is none.
        assert_eq!(server.command(["HLEN", &*open[0]]), Reply::Integer(2));
        assert_eq!(server.command(["HGET", &*open[0], "k"]), Reply::Text("5".into()));
        assert_eq!(sum(&redis, &part, part.grid.resolutions[1], "free").await % 7, 0);
        server.command(["DEL", &*chunk]);
        redis.series_seal(&part, Which::All).await.expect("seals");
        assert_eq!(stored(&prefix).0, [""; 0]);
    }
    // One was in the chunk that was overwritten.
    assert_eq!(sum(&redis, &part, part.grid.resolutions[0], "k").await, 11);
    assert_eq!(sum(&redis, &part, part.grid.resolutions[1], "k").await, 5);
}

/// With very many different keys sealing does not keep up: points go to chunks at once until it has.
#[tokio::test]
async fn a_crowded_partition_takes_points_in_its_chunks() {
    let (redis, prefix) = engine().await;
    let part = part(&Resolution::defaults()[3..]);
    let now = redis.series_now(&part).await;
    let many = |from: u64, to: u64| (from..to).map(|i| point(&format!("k{i}"), now, 1)).collect::<Vec<_>>();
    add(&redis, &part, many(0, 65_000)).await;
    // Another process has it sealed; this one only learns how many keys there are.
    let open = stored(&prefix).0;
    assert_eq!(open.len(), 1);
    let crowd = redis.series_seal(&part, Which::Due);
    let mut crowd = Box::pin(crowd);
    let is_crowded = std::future::poll_fn(|context| match crowd.as_mut().poll(context) {
        Poll::Ready(_) => panic!("65 000 keys are sealed in several calls"),
        Poll::Pending if redis.open_buckets.is_crowded(&part) => Poll::Ready(()),
        Poll::Pending => Poll::Pending,
    });
    is_crowded.await;
    add(&redis, &part, many(64_990, 65_010)).await;
    let day = part.grid.resolutions[0];
    let chunks = stored(&prefix).1;
    assert!(chunks.iter().any(|key| key.ends_with(":k65009")), "at once");
    assert_eq!(sum(&redis, &part, day, "k64995").await, 2);
    drop(crowd);
    redis.series_seal(&part, Which::All).await.expect("seals");
    redis.series_seal(&part, Which::Due).await.expect("looks");
    assert!(!redis.open_buckets.is_crowded(&part));
    assert_eq!(stored(&prefix).1.len(), 65_010);
    assert_eq!(sum(&redis, &part, day, "k64995").await, 2);
}

/// The chunk of an hour is there for longer than its bucket is kept.
#[tokio::test]
async fn a_key_is_listed_for_as_long_as_it_has_a_count() {
    let (redis, _) = engine().await;
    let part = part(&[Resolution::new(secs(1), secs(30)).expect("valid")]);
    let now = redis.series_now(&part).await;
    let before = now.minus(mins(2));
    for (key, at, then) in
        [("old", before, before), ("new", now, now), ("both", before, before), ("both", now, now)]
    {
        redis.series_add(&part, vec![point(key, at, 1)], then).await.expect("counts");
    }
    for _ in 0..2 {
        assert_eq!(listed(&redis, &part).await, ["both", "new"]);
        redis.series_seal(&part, Which::All).await.expect("seals");
    }
    for most in 1..3 {
        let range = KeyRange { prefix: "", after: Some("both"), most };
        assert_eq!(redis.series_list(&part, &range, now).await.expect("answers"), ["new"]);
    }
}

/// Each key that is there all the time is found, while its counts move from the open bucket to its chunks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_listed_while_their_buckets_are_sealed() {
    let (redis, prefix) = engine().await;
    let part = part(&Resolution::defaults());
    let expected: Vec<String> = (100..700).map(|i| format!("k{i}")).collect();
    for round in 0..6 {
        let now = redis.series_now(&part).await;
        let keys = expected.iter().filter(|key| round > 0 || key.ends_with('7'));
        add(&redis, &part, keys.map(|key| point(key, now, 1)).collect()).await;
        let sealer = open(&Server::shared().url(), &prefix).await;
        let seal = tokio::spawn({
            let part = part.clone();
            async move { sealer.series_seal(&part, Which::All).await.expect("seals") }
        });
        while round > 0 && !seal.is_finished() {
            assert!(listed(&redis, &part).await == expected, "round {round}");
        }
        seal.await.expect("ends");
    }
    assert_eq!(listed(&redis, &part).await, expected);
}

/// A process that only reads has another definition of the series, and seals before the writer does.
#[tokio::test]
async fn a_bucket_is_sealed_by_the_definition_of_its_writer() {
    let (writer, prefix) = engine().await;
    let fine = part(&[Resolution::new(secs(5), hours(2)).expect("valid"), Resolution::defaults()[3]]);
    let other = open(&Server::shared().url(), &prefix).await;
    let now = writer.series_now(&fine).await;
    add(&writer, &fine, vec![point("k", now, 3), point("k", now.minus(secs(20)), 4)]).await;
    other.series_seal(&part(&Resolution::defaults()), Which::All).await.expect("seals");
    let (open, chunks) = stored(&prefix);
    assert_eq!(open, [""; 0]);
    assert!(chunks.iter().all(|key| key.contains("}:5:") || key.contains("}:86400:")), "{chunks:?}");
    for &resolution in &fine.grid.resolutions {
        assert_eq!(sum(&writer, &fine, resolution, "k").await, 7);
    }
    assert_eq!(listed(&writer, &fine).await, ["k"]);
}

/// Of two chunks each list has fewer keys than a page, and together they have more. Keys without a count must not end the pages early.
#[tokio::test]
async fn a_page_is_full_although_some_that_are_listed_have_no_count() {
    let (redis, _) = engine().await;
    let part = part(&[Resolution::new(secs(1), hours(2)).expect("valid")]);
    let hour = redis.series_now(&part).await.as_secs() / 3_600 * 3_600;
    // The oldest chunk is the one of two hours before, half of which is kept.
    let (old, now) = (Timestamp::from_secs(hour - 7_200), Timestamp::from_secs(hour + 1_800));
    for key in ["a1", "a2"] {
        redis.series_add(&part, vec![point(key, old, 1)], old.plus(secs(1))).await.expect("counts");
    }
    for key in ["b1", "b2"] {
        let at = Timestamp::from_secs(hour + 1_700);
        redis.series_add(&part, vec![point(key, at, 1)], now).await.expect("counts");
    }
    for most in [2, 3, 4] {
        let range = KeyRange { prefix: "", after: None, most };
        assert_eq!(redis.series_list(&part, &range, now).await.expect("answers"), ["b1", "b2"], "{most}");
    }
}

/// Nobody asks for it: the store seals old buckets by itself, and continues a move that another process gave up.
#[tokio::test]
async fn an_open_store_seals_and_continues_moves_in_the_background() {
    let prefix = unique_prefix();
    let hand = ManualClock::at(Clock::system().now());
    let options = Forebay::options().clock(Clock::from(hand.clone())).prefix(&prefix);
    let bay = options.open(&Server::shared().url()).await.expect("opens");
    let series = bay.series(Series::new("hits").partitions(1)).expect("valid");
    let other = open(&Server::shared().url(), &prefix).await;
    let part = part(&Resolution::defaults());
    let now = other.series_now(&part).await;
    add(&other, &part, vec![point("a", now, 5)]).await;
    let id = uuid::Uuid::from_u128(uuid::Uuid::now_v7().as_u128() - (20_000u128 << 80));
    let moving = KeyMove { id, from: "a".into(), to: "b".into() };
    assert!(other.series_claim(&part, &moving, now).await.expect("answers"));
    add(&other, &part, vec![point("c", now, 7)]).await;
    eventually("the buckets to be sealed, and the move to end", async || {
        hand.advance(secs(1));
        let (open, _) = stored(&prefix);
        open.is_empty() && other.series_moves(&part).await.expect("answers").is_empty()
    })
    .await;
    assert_eq!(listed(&other, &part).await, ["b", "c"]);
    for (key, count) in [("a", 0), ("b", 5), ("c", 7)] {
        assert_eq!(sum(&other, &part, part.grid.resolutions[3], key).await, count, "{key}");
    }
    drop(series);
}
