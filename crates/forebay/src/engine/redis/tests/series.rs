use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use forebay_testkit::{Fault, Proxy, Redis as Server, Reply, unique_prefix};
use futures::future::join_all;
use proptest::{collection::vec, prelude::*, test_runner::TestRunner};
use tokio::runtime::Runtime;

use super::{engine, keys};
use crate::{
    Clock, Name, Timestamp,
    engine::{
        embedded::Embedded,
        redis::Redis,
        step::{Point, SeriesPart, Span},
    },
    model::resolution::{Grid, MAX_COUNT, Resolution},
    time::{days, hours, secs},
};

/// Some noon in 2026.
const NOW: Timestamp = Timestamp::from_secs(1_790_000_000 - 1_790_000_000 % 86_400 + 43_200);

fn part(resolutions: &[Resolution]) -> SeriesPart {
    let grid = Grid {
        name: Name::new("hits").expect("valid"),
        resolutions: resolutions.into(),
        partitions: 1,
        is_ranked: false,
    };
    SeriesPart::new(Arc::new(grid), 0)
}

/// Chunks of 42 slots, which change their form soon.
fn small() -> SeriesPart {
    part(&[Resolution::new(hours(4), days(100)).expect("valid")])
}

fn ten_seconds() -> SeriesPart {
    part(&Resolution::defaults()[..1])
}

fn point(key: &str, at: Timestamp, n: u64) -> Point {
    Point { key: key.into(), at, n }
}

async fn add(redis: &Redis, part: &SeriesPart, at: Timestamp, n: u64) {
    redis.series_add(part, vec![point("k", at, n)], NOW).await.expect("counts");
}

/// The counts of the `count` buckets of the first resolution that end with the one of `NOW`.
async fn read(redis: &Redis, part: &SeriesPart, count: i64) -> Vec<u64> {
    let resolution = part.grid.resolutions[0];
    let to = resolution.bucket(NOW) + 1;
    let span = Span { key: "k", resolution, from: to - count, to };
    redis.series_read(part, &[span]).await.expect("answers").remove(0)
}

pub(super) fn number(server: &Server, words: &[&str]) -> i64 {
    match server.command(words.iter().copied()) {
        Reply::Integer(number) => number,
        other => panic!("{words:?}: {other:?}"),
    }
}

/// The keys of chunks, with how long they have to live and how long they are, in bytes.
fn chunks(prefix: &str) -> Vec<(String, i64, i64)> {
    let server = Server::shared();
    let mut keys = keys(server, prefix);
    keys.retain(|key| !key.ends_with(":guard") && !key.contains("}:keys:"));
    keys.sort();
    let measure = |key: String| {
        let (ttl, length) = (number(server, &["PTTL", &key]), number(server, &["STRLEN", &key]));
        (key, ttl, length)
    };
    keys.into_iter().map(measure).collect()
}

#[test]
fn both_engines_count_alike() {
    let points = (
        0i64..60,
        0usize..3,
        prop_oneof![
            90 => 1u64..9,
            9 => Just(1u64 << 31),
            1 => Just(u64::from(u32::MAX)),
            1 => Just(1u64 << 32),
            1 => Just(1u64 << 62),
        ],
    );
    let runs = vec(vec(points, 1..60), 1..12);
    let runtime = Runtime::new().expect("starts");
    TestRunner::new(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })
        .run(&runs, |batches| {
            runtime.block_on(async {
                let (redis, _) = engine().await;
                let embedded = Embedded::in_memory(Clock::system());
                let part = small();
                let resolution = part.grid.resolutions[0];
                for batch in batches {
                    let points: Vec<Point> = batch
                        .iter()
                        .map(|&(ago, key, n)| {
                            let at = resolution.start(resolution.bucket(NOW) - ago);
                            point(["k", "l", "{m}"][key], at, n)
                        })
                        .collect();
                    redis.series_add(&part, points.clone(), NOW).await.expect("counts");
                    embedded.series_add(&part, points, NOW).await.expect("counts");
                    let to = resolution.bucket(NOW) + 3;
                    let spans = ["k", "l", "{m}"].map(|key| Span { key, resolution, from: to - 70, to });
                    let counts = redis.series_read(&part, &spans).await.expect("answers");
                    assert_eq!(counts, embedded.series_read(&part, &spans).await.expect("answers"));
                }
            });
            Ok(())
        })
        .expect("alike");
}

#[tokio::test]
async fn a_chunk_takes_the_form_that_fits_and_keeps_its_time() {
    let (redis, prefix) = engine().await;
    let part = small();
    let resolution = part.grid.resolutions[0];
    let (chunk, last) = resolution.place(resolution.bucket(NOW));
    let at = |slot: i64| resolution.start(chunk * 42 + slot);
    assert!(last > 20, "the chunk has room for the test");
    let mut lengths = vec![];
    for slot in [3, 9, 1, 9, 4, 5, 6, 7, 8, 2, 0, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20] {
        add(&redis, &part, at(slot), 1).await;
        let chunks = chunks(&prefix);
        assert_eq!(chunks.len(), 1, "one key in every form");
        lengths.push(chunks[0].2);
    }
    assert_eq!(lengths[..5], [12, 12, 24, 24, 30], "pairs, and room for an eighth more");
    assert_eq!(lengths[21], 4 * 42, "half full");
    assert!(lengths.is_sorted());
    add(&redis, &part, at(5), 1 << 32).await;
    let after = chunks(&prefix);
    assert_eq!(after[0].2, 8 * 42);
    let counts = read(&redis, &part, 50).await;
    let first = 49 - last;
    assert_eq!(counts[first..first + 10], [1, 1, 1, 1, 1, 1 + (1 << 32), 1, 1, 1, 2]);
    assert_eq!(counts.iter().sum::<u64>(), 22 + (1 << 32));
    let left = i64::try_from(resolution.lifetime(chunk, NOW).expect("kept").as_millis()).expect("fits");
    assert!((left - 60_000..=left + 1).contains(&after[0].1), "{} of {left}", after[0].1);
}

#[tokio::test]
async fn a_count_passes_32_bits_in_every_form_and_stops_at_63() {
    for (fill, n) in [(0, u64::from(u32::MAX)), (30, u64::from(u32::MAX)), (0, 1 << 32), (30, 1 << 32)] {
        let (redis, _) = engine().await;
        let part = small();
        let resolution = part.grid.resolutions[0];
        let points = (1..=fill).map(|ago| point("k", resolution.start(resolution.bucket(NOW) - ago), 1));
        redis.series_add(&part, points.collect(), NOW).await.expect("counts");
        for (added, count) in [
            (n, n),
            (1, n + 1),
            (1 << 53, n + 1 + (1 << 53)),
            (1, n + 2 + (1 << 53)),
            (MAX_COUNT - (1 << 60), MAX_COUNT - (1 << 60) + n + 2 + (1 << 53)),
            (1 << 62, MAX_COUNT),
            (1, MAX_COUNT),
        ] {
            add(&redis, &part, NOW, added).await;
            let counts = read(&redis, &part, fill + 2).await;
            let mut expected = vec![1; usize::try_from(fill + 2).expect("few")];
            expected[0] = 0;
            *expected.last_mut().expect("not empty") = count;
            assert_eq!(counts, expected, "{fill} others, after {added}");
        }
    }
}

#[tokio::test]
async fn a_chunk_widened_in_the_middle_of_a_batch_has_the_whole_batch() {
    // A chunk was widened as it had been read, without what the same batch had already added to it.
    let (redis, _) = engine().await;
    let part = small();
    let resolution = part.grid.resolutions[0];
    let first = resolution.place(resolution.bucket(NOW)).0 * 42;
    let batch = |n: [u64; 3]| {
        let each = |slot: i64| {
            let n = n[usize::try_from(slot % 3).expect("small")];
            point("k", resolution.start(first + slot), n)
        };
        (0..42).map(each).collect::<Vec<_>>()
    };
    let most = u64::from(u32::MAX);
    for n in [[1, most, 2], [10, 1, 20], [100, 200, 300]] {
        redis.series_add(&part, batch(n), NOW).await.expect("counts");
    }
    let span = Span { key: "k", resolution, from: first, to: first + 42 };
    let counts = redis.series_read(&part, &[span]).await.expect("answers").remove(0);
    assert_eq!(counts, [111, most + 201, 322].repeat(14));
}

#[tokio::test]
async fn every_key_has_a_time_to_live_and_what_is_old_makes_none() {
    let (redis, prefix) = engine().await;
    let part = part(&Resolution::defaults());
    for ago in [0, 2, 40, 300, 729, 733] {
        add(&redis, &part, NOW.minus(days(ago)), 1).await;
    }
    let chunks = chunks(&prefix);
    let of = |step: u64| chunks.iter().filter(move |chunk| chunk.0.contains(&format!("}}:{step}:")));
    let counts = [10, 60, 900, 86_400].map(|step| of(step).count());
    assert_eq!(counts[..3], [1, 2, 1], "10 s for a day, 1 min for a week, 15 min for 30 days");
    assert!((3..=4).contains(&counts[3]), "days in chunks of a year: {chunks:?}");
    for resolution in &*part.grid.resolutions {
        let step = resolution.step.as_secs();
        for (key, ttl, _) in of(step) {
            let chunk = key.split(':').nth(4).and_then(|chunk| chunk.parse().ok()).expect("a number");
            let left = resolution.lifetime(chunk, NOW).expect("kept").as_millis();
            let left = i64::try_from(left).expect("fits");
            assert!((left - 60_000..=left + 1).contains(ttl), "{key} lives {ttl} ms of {left}");
        }
    }
    let guards: Vec<String> =
        keys(Server::shared(), &prefix).into_iter().filter(|key| key.ends_with(":guard")).collect();
    assert_eq!(guards, [format!("{prefix}:series:{{hits.0}}:guard")]);
    assert!((86_400_000..=90_000_000).contains(&number(Server::shared(), &["PTTL", &guards[0]])));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_that_change_their_form_under_many_writers_lose_nothing() {
    let (_, prefix) = engine().await;
    let url = Server::shared().url();
    let part = Arc::new(small());
    let resolution = part.grid.resolutions[0];
    let (chunk, _) = resolution.place(resolution.bucket(NOW));
    let clients = join_all((0..4).map(|_| Redis::open(&url, &prefix, Clock::system()))).await;
    let clients: Vec<Arc<Redis>> = clients.into_iter().map(|client| client.expect("opens")).collect();
    // Reads meanwhile: what has been counted never goes down, as it would if a form could be missed.
    let written = Arc::new(AtomicBool::new(false));
    let (reader, watched, ended) = (clients[0].clone(), part.clone(), written.clone());
    let watch = tokio::spawn(async move {
        let mut before = vec![0; 42];
        loop {
            let last = ended.load(Ordering::SeqCst);
            let span = Span { key: "k", resolution, from: chunk * 42, to: chunk * 42 + 42 };
            let counts = reader.series_read(&watched, &[span]).await.expect("answers").remove(0);
            assert!(
                before.iter().zip(&counts).all(|(before, now)| before <= now),
                "{before:?} then {counts:?}"
            );
            before = counts;
            if last {
                return before;
            }
        }
    });
    // 25 times 2^28 is more than 32 bits, so that each of the three forms has its time.
    let now = resolution.start(chunk * 42 + 41);
    let writes = clients.iter().enumerate().flat_map(|(client, redis)| {
        (0..42).map(move |slot| {
            (redis.clone(), chunk * 42 + (slot * 11 + i64::try_from(client).expect("few")) % 42)
        })
    });
    let writes = writes.map(|(redis, bucket)| {
        let part = part.clone();
        tokio::spawn(async move {
            for _ in 0..25 {
                let points = vec![point("k", resolution.start(bucket), 1 << 28)];
                redis.series_add(&part, points, now).await.expect("counts");
            }
        })
    });
    let outcomes = join_all(writes).await;
    written.store(true, Ordering::SeqCst);
    for write in outcomes {
        write.expect("ends");
    }
    assert_eq!(watch.await.expect("ends"), [100 << 28; 42]);
}

#[tokio::test]
async fn a_lost_reply_counts_once_and_a_read_is_one_round_trip() {
    let proxy = Proxy::new(Server::shared().port());
    let url = Server::shared().url_through(&proxy);
    let redis = Redis::open(&url, &unique_prefix(), Clock::system()).await.expect("opens");
    let part = part(&Resolution::defaults());
    add(&redis, &part, NOW, 1).await;
    for (n, fault) in [(2, Fault::DropReply { after: 0 }), (4, Fault::DropRequest { after: 0 })] {
        proxy.set(fault);
        add(&redis, &part, NOW, n).await;
        assert_eq!(proxy.fault(), Fault::Pass, "it happened");
    }
    assert_eq!(read(&redis, &part, 1).await, [7]);
    let before = proxy.exchanges();
    let day = read(&redis, &part, 8_640).await;
    assert_eq!((day.len(), day[8_639]), (8_640, 7));
    let spans: Vec<Span<'_>> = part
        .grid
        .resolutions
        .iter()
        .map(|&resolution| Span {
            key: "k",
            resolution,
            from: resolution.bucket(NOW),
            to: resolution.bucket(NOW) + 1,
        })
        .collect();
    assert_eq!(redis.series_read(&part, &spans).await.expect("answers"), vec![vec![7]; 4]);
    assert_eq!(proxy.exchanges() - before, 2);
    assert_eq!(redis.series_read(&part, &[]).await.expect("answers"), Vec::<Vec<u64>>::new());
    assert_eq!(proxy.exchanges() - before, 2, "no question, no round trip");
}

#[tokio::test]
async fn more_than_one_call_holds_is_counted_all_the_same() {
    let (redis, prefix) = engine().await;
    let part = ten_seconds();
    let points = (0..4_000u64).flat_map(|i| {
        let at = NOW.minus(secs(10 * (i % 2_000)));
        [point("k", at, 1), point(&format!("other-{}", i / 500), NOW, 1)]
    });
    redis.series_add(&part, points.collect(), NOW).await.expect("counts");
    assert_eq!(read(&redis, &part, 2_000).await, [2; 2_000]);
    assert_eq!(chunks(&prefix).iter().filter(|chunk| chunk.0.contains("other")).count(), 8);
}

#[tokio::test]
async fn what_is_not_a_chunk_is_refused_and_left() {
    let (redis, prefix) = engine().await;
    let part = ten_seconds();
    add(&redis, &part, NOW, 1).await;
    let key = chunks(&prefix)[0].0.clone();
    let server = Server::shared();
    for other in [&["SET", &*key, "seven B"][..], &["LPUSH", &*key, "a list"], &["HSET", &*key, "a", "hash"]]
    {
        server.command(["DEL", &*key]);
        server.command(other.iter().copied());
        let was = server.command(["DUMP", &*key]);
        let resolution = part.grid.resolutions[0];
        let to = resolution.bucket(NOW) + 1;
        let span = |key| [Span { key, resolution, from: to - 2, to }];
        let error = redis.series_read(&part, &span("k")).await.expect_err("no chunk");
        assert!(error.to_string().contains(&*key), "{error}");
        assert_eq!(redis.series_read(&part, &span("other")).await.expect("answers"), [[0, 0]]);
        let error = redis.series_add(&part, vec![point("k", NOW, 1)], NOW).await.expect_err("no chunk");
        assert!(error.to_string().contains(&*key), "{error}");
        assert_eq!(server.command(["DUMP", &*key]), was);
        server.command(["DEL", &*key]);
        add(&redis, &part, NOW, 5).await;
        add(&redis, &part, NOW, 1 << 32).await;
        assert_eq!(read(&redis, &part, 2).await, [0, 5 + (1 << 32)], "{other:?}");
        assert!(chunks(&prefix)[0].1 > 0, "it has a time to live again");
    }
}

#[tokio::test]
async fn a_deleted_key_leaves_no_chunk_behind() {
    let (redis, prefix) = engine().await;
    let part = part(&Resolution::defaults());
    let ago = [0, 60, 86_000, 86_400 * 6, 86_400 * 29, 86_400 * 729].map(|ago| NOW.minus(secs(ago)));
    let ahead = [NOW.plus(secs(300))];
    let points = ago.into_iter().chain(ahead).map(|at| point("k", at, 1)).collect();
    redis.series_add(&part, points, NOW).await.expect("counts");
    redis.series_delete(&part, "k", NOW).await.expect("deletes");
    assert_eq!(chunks(&prefix), []);
}

/// Bytes of `MEMORY USAGE`, which leaves out the entry in the table of times to live: 32 more.
fn bytes(prefix: &str) -> i64 {
    let server = Server::shared();
    chunks(prefix).iter().map(|(key, ..)| 32 + number(server, &["MEMORY", "USAGE", key])).sum()
}

#[tokio::test]
async fn a_bucket_takes_few_bytes() {
    // Counts of 1 to 5 000, most of them small; no bucket is drawn twice.
    let count = |i: u64| 1 + 5_000 / (1 + i * 7_919 % 5_000);
    for (fill, most) in [(1, 5.0), (3, 9.0), (10, 12.0)] {
        let (redis, prefix) = engine().await;
        let part = ten_seconds();
        let ago = (0..8_640u64).filter(|i| i * 7_919 % 8_641 % fill == 0);
        let points: Vec<Point> = ago.map(|i| point("user-42", NOW.minus(secs(10 * i)), count(i))).collect();
        let buckets = points.len();
        // As they come, from the oldest on.
        for points in points.rchunks(40) {
            for point in points.iter().rev() {
                redis.series_add(&part, vec![point.clone()], NOW).await.expect("counts");
            }
        }
        let each = bytes(&prefix) as f64 / buckets as f64;
        assert!(each <= most, "fill 1/{fill}: {each:.2} B, at most {most}");
    }
}
