//! Deletion of spans: what is left is what a naive model has left, in every resolution.

use forebay_testkit::{Redis as Server, unique_prefix};
use proptest::{collection::vec, prelude::*, test_runner::TestRunner};

use super::{NOON, in_memory};
use crate::{
    ErrorKind, Forebay, Series, Timestamp,
    engine::step::Which,
    series::{Resolution, SeriesHandle},
    time::{When, days, hours, mins, secs},
};

/// A time, as so many seconds ago, cut to a multiple of so many seconds.
type Ago = (i64, i64);

#[derive(Clone, Debug)]
enum Op {
    Add(Ago, u64),
    Delete(Ago, Ago),
    Seal,
    Sum(Ago, Ago),
}

fn ago() -> impl Strategy<Value = Ago> {
    let secs = prop_oneof![
        -200i64..60,
        0i64..4_000,
        80_000i64..95_000,
        500_000i64..700_000,
        2_400_000i64..2_700_000,
        0i64..70_000_000
    ];
    (secs, prop_oneof![Just(1i64), Just(10), Just(60), Just(900), Just(3_600), Just(86_400)])
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        10 => (ago(), prop_oneof![5 => 1u64..9, 1 => (1u64 << 30)..1 << 31]).prop_map(|(at, n)| Op::Add(at, n)),
        4 => (ago(), ago()).prop_map(|(one, other)| Op::Delete(one, other)),
        2 => Just(Op::Seal),
        4 => (ago(), ago()).prop_map(|(one, other)| Op::Sum(one, other)),
    ]
}

/// All questions are of one moment, which is about now: the clocks of the stores go on meanwhile.
async fn equals_the_model(series: &SeriesHandle, ops: &[Op]) {
    let now = series.store_time("k").await;
    let moment = |(ago, step): Ago| {
        let at = now.as_secs() - ago;
        Timestamp::from_secs(at - at.rem_euclid(step))
    };
    let key = uuid::Uuid::now_v7().to_string();
    let mut points: Vec<(Timestamp, u64)> = vec![];
    let mut deletions = 0;
    for op in ops {
        match op {
            Op::Add(at, n) => match series.add_many([(&key, *n, moment(*at))], When::EngineClock).await {
                Ok(()) => points.push((moment(*at), *n)),
                Err(error) => assert_eq!(error.kind(), ErrorKind::OutOfRange, "{error}"),
            },
            Op::Delete(one, other) => {
                let (from, to) = (moment(*one).min(moment(*other)), moment(*one).max(moment(*other)));
                match series.delete_between(&key, from, to).await {
                    Ok(sum) => {
                        let is_inside = |(at, _): &(Timestamp, u64)| (from..to).contains(at);
                        let deleted =
                            points.iter().filter(|point| is_inside(point)).map(|(_, n)| n).sum::<u64>();
                        assert_eq!(sum, deleted, "{from} to {to}");
                        points.retain(|point| !is_inside(point));
                        deletions += 1;
                    }
                    Err(error) => assert_eq!(error.kind(), ErrorKind::OutOfRange, "{error}"),
                }
            }
            Op::Seal => {
                let part = series.part(&key);
                series.store.engine().series_seal(&part, Which::All).await.expect("seals");
            }
            Op::Sum(one, other) => {
                let (from, to) = (moment(*one).min(moment(*other)), moment(*one).max(moment(*other)));
                check(series, &key, &points, (from, to)).await;
            }
        }
    }
    for span in [hours(1), days(1), days(7), days(29), days(700)] {
        check(series, &key, &points, (now.minus(span), now.plus(mins(4)))).await;
        for step in [secs(10), mins(15), days(1)] {
            let range = series.range(&key, now.minus(span), now.plus(mins(4)), Some(step)).await;
            let Ok(range) = range else { continue };
            for (place, value) in range.values.iter().enumerate() {
                let next = range.starts.get(place + 1).copied().unwrap_or(range.end);
                let (from, to) = (range.starts[place].max(range.from), next.min(range.to));
                let expected =
                    points.iter().filter(|(at, _)| (from..to).contains(at)).map(|(_, n)| n).sum::<u64>();
                assert_eq!(*value, expected, "{from} to {to} after {deletions} deletions: {points:?}");
            }
        }
    }
}

async fn check(
    series: &SeriesHandle,
    key: &str,
    points: &[(Timestamp, u64)],
    (from, to): (Timestamp, Timestamp),
) {
    let total = series.total(key, from, to).await.expect("answers");
    let inside = points.iter().filter(|(at, _)| (total.from..total.to).contains(at));
    assert_eq!(total.sum, inside.map(|(_, n)| n).sum::<u64>(), "{from} to {to}: {total:?}: {points:?}");
}

fn check_all(url: &str, cases: u32) {
    let runtime = tokio::runtime::Runtime::new().expect("starts");
    let bay = runtime
        .block_on(async { Forebay::options().prefix(unique_prefix()).open(url).await.expect("opens") });
    let series = [Resolution::defaults(), vec![Resolution::new(mins(1), days(3)).expect("valid")]];
    let series = ["default", "minutes"]
        .into_iter()
        .zip(series)
        .map(|(name, resolutions)| bay.series(Series::new(name).resolutions(resolutions)).expect("valid"));
    let series: Vec<SeriesHandle> = series.collect();
    TestRunner::new(ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() })
        .run(&(0..2usize, vec(op(), 1..40)), |(which, ops)| {
            runtime.block_on(equals_the_model(&series[which], &ops));
            Ok(())
        })
        .expect("they agree");
}

#[test]
fn a_deleted_span_is_gone_and_nothing_else_in_memory() {
    check_all("memory:", 400);
}

#[test]
fn a_deleted_span_is_gone_and_nothing_else_in_redis() {
    check_all(&Server::shared().url(), 40);
}

#[tokio::test]
async fn an_end_that_nobody_can_cut_at_is_refused_with_the_nearest_one() {
    let (series, _) = in_memory("hits").await;
    series.add("k", 3).await.expect("counts");
    let now = NOON;
    let hour = Timestamp::from_secs(now.as_secs() / 3_600 * 3_600);
    let told = async |from, to| series.delete_between("k", from, to).await.expect_err("refused").to_string();
    let text = told(hour.plus(secs(3)), hour.plus(hours(2))).await;
    assert!(text.contains("counts are kept by 10 s there") && text.contains(&hour.to_string()), "{text}");
    let text = told(hour.minus(days(2)).plus(secs(10)), hour.plus(hours(2))).await;
    assert!(text.contains("counts are kept by 60 s there"), "{text}");
    let day = Timestamp::from_secs(now.as_secs() / 86_400 * 86_400).minus(days(200));
    let text = told(day.minus(days(100)), hour.minus(days(30)).plus(hours(2))).await;
    assert!(text.contains("it cuts the bucket from") && text.contains("use one of these times"), "{text}");
    assert!(told(hour, hour).await.contains("a span ends after it begins"));
    assert_eq!(series.sum("k", hours(1)).await.expect("answers"), 3);
    assert_eq!(
        series.delete_between("k", day.minus(days(5_000)), now.plus(hours(9))).await.expect("deletes"),
        3
    );
}

/// Blocks that became empty are taken out of the file, too.
#[tokio::test]
async fn a_deleted_span_stays_deleted_in_a_file() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let url = format!("embedded:{}", directory.path().join("a.redb").display());
    let open = async || Forebay::open(&url).await.expect("opens");
    let bay = open().await;
    let series = bay.series("hits").expect("valid");
    let now = bay.clock().now();
    for ago in [secs(0), mins(90), days(3)] {
        series.add_at("k", 5, now.minus(ago)).await.expect("counts");
    }
    bay.close().await.expect("closes");
    let bay = open().await;
    let series = bay.series("hits").expect("valid");
    let hour = Timestamp::from_secs(now.as_secs() / 3_600 * 3_600);
    let day = Timestamp::from_secs(now.as_secs() / 86_400 * 86_400);
    assert_eq!(series.delete_between("k", day.minus(days(3)), day.minus(days(2))).await.expect("deletes"), 5);
    assert_eq!(series.delete_between("k", hour.minus(hours(2)), hour).await.expect("deletes"), 5);
    bay.close().await.expect("closes");
    let bay = open().await;
    let series = bay.series("hits").expect("valid");
    for span in [hours(5), days(6), days(20), days(300)] {
        assert_eq!(series.sum("k", span).await.expect("answers"), 5, "{span:?}");
    }
    assert_eq!(series.merge("k", "other").await.expect("moves"), 5);
    bay.close().await.expect("closes");
    let series = open().await.series("hits").expect("valid");
    assert_eq!(series.sum("other", days(300)).await.expect("answers"), 5);
    assert_eq!(series.sum("k", days(300)).await.expect("answers"), 0);
}
