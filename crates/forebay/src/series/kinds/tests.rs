//! Queries of every kind beside a naive model, which has all points.

use std::collections::HashSet;

use proptest::{collection::vec, prelude::*, sample::select, test_runner::TestRunner};

use super::*;
use crate::{
    Clock, ErrorKind, Forebay, ManualClock, Timestamp,
    model::resolution::Resolution,
    series::{CalendarUnit, Fill, Function, Order, Previous, Query, Step},
    time::{When, days, hours, mins, secs},
};

/// A quarter after a change of clocks in Berlin.
const NOW: Timestamp = Timestamp::from_secs(1_774_747_000);

fn resolutions() -> Vec<Resolution> {
    let all = [(hours(1), days(3)), (days(1), days(60))];
    all.map(|(step, retention)| Resolution::new(step, retention).expect("valid")).into()
}

/// Each on its own clock.
async fn bay() -> Forebay {
    let clock = Clock::from(ManualClock::at(NOW));
    Forebay::options().clock(clock).open("memory:").await.expect("opens")
}

#[derive(Clone, Debug)]
struct Point {
    key: &'static str,
    value: f64,
    at: Timestamp,
}

const KEYS: [&str; 3] = ["a", "b", "c"];

fn points() -> impl Strategy<Value = Vec<Point>> {
    let ago = prop_oneof![0u64..7_200, 0u64..260_000, 0u64..5_000_000];
    let value = prop_oneof![4 => (0u32..40).prop_map(|n| f64::from(n) / 8.0 - 1.0), 1 => -1e9f64..1e9];
    // From five minutes ahead on.
    let point = (select(KEYS.to_vec()), value, ago).prop_map(|(key, value, ago)| {
        let at = NOW.plus(mins(5)).minus(secs(ago));
        Point { key, value, at }
    });
    vec(point, 0..250)
}

fn queries() -> impl Strategy<Value = Query> {
    let span = (0u64..5_300_000, 1u64..5_300_000);
    let step = select(vec![
        None,
        Some(Step::Fixed(hours(1))),
        Some(Step::Fixed(hours(6))),
        Some(Step::Fixed(days(2))),
        Some(Step::Calendar(CalendarUnit::Day)),
        Some(Step::Calendar(CalendarUnit::Month)),
    ]);
    (span, step, select(vec!["UTC", "Europe/Berlin", "Asia/Kolkata"])).prop_map(
        |((ago, length), step, zone)| {
            let from = NOW.minus(secs(ago));
            let query = Query::between(from, from.plus(secs(length))).zone(zone);
            match step {
                Some(step) => query.step(step),
                None => query,
            }
        },
    )
}

/// The values in a span.
fn within(points: &[Point], keys: &[&str], from: Timestamp, to: Timestamp) -> Vec<(f64, Timestamp)> {
    let within = points.iter().filter(|point| keys.contains(&point.key) && point.at >= from && point.at < to);
    within.map(|point| (point.value, point.at)).collect()
}

/// Of each point of an answer, and of its whole span, the values in it.
fn expected<T>(points: &[Point], keys: &[&str], found: &Points<T>) -> Vec<Vec<(f64, Timestamp)>> {
    // Where only days are kept, the edge of the span may be behind the end of the last point.
    let ends = found.starts.iter().skip(1).copied().chain([found.end.max(found.to)]);
    let each = found.starts.iter().zip(ends).enumerate().map(|(place, (start, end))| {
        // The edges of the buckets are those of the answer.
        let start = if place == 0 { found.from } else { *start };
        within(points, keys, start.max(found.from), end.min(found.to))
    });
    each.chain([within(points, keys, found.from, found.to)]).collect()
}

fn is_near(found: f64, exact: f64, share: f64) -> bool {
    (found - exact).abs() <= share * exact.abs()
}

fn check_gauge(values: &[(f64, Timestamp)], found: Option<GaugeStats>) {
    let Some(stats) = found else { return assert!(values.is_empty(), "{values:?}") };
    let numbers = || values.iter().map(|(value, _)| *value);
    let (last, at) = values
        .iter()
        .copied()
        .max_by(|one, two| (one.1, one.0).partial_cmp(&(two.1, two.0)).expect("numbers"))
        .expect("some");
    assert_eq!((stats.last, stats.at, stats.count), (last, at, values.len() as u64));
    let bounds = numbers()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), value| (value.min(min), value.max(max)));
    assert_eq!((stats.min, stats.max), bounds);
    // In whole parts of 2^-52, which have no error here.
    let scale = numbers().fold(0.0, |most: f64, value| most.max(value.abs()));
    let sum: f64 = numbers().sum();
    assert!((stats.sum - sum).abs() <= 1e-9 * scale * values.len() as f64, "{} {sum}", stats.sum);
    assert!((stats.average - sum / values.len() as f64).abs() <= 1e-9 * scale, "{stats:?}");
}

fn check_percentiles(values: &[(f64, Timestamp)], found: &Distribution) {
    let mut numbers: Vec<f64> = values.iter().map(|(value, _)| *value).collect();
    numbers.sort_by(f64::total_cmp);
    assert_eq!(found.count(), numbers.len() as u64);
    assert_eq!((found.min(), found.max()), (numbers.first().copied(), numbers.last().copied()));
    for (place, exact) in numbers.iter().enumerate() {
        let q = place as f64 / (numbers.len() - 1).max(1) as f64;
        let quantile = found.quantile(q).expect("there are values");
        // Negative values so far apart collapse.
        let is_small = *exact < 0.0 && is_near(*exact, 0.0, 0.0);
        let far = found.min().is_some_and(|min| *exact < 0.0 && min / exact > 20_000.0);
        assert!(is_small || far || is_near(quantile, *exact, 0.01), "{q}: {quantile}, not {exact}");
    }
    assert!(found.quantile(1.1).is_none() && found.quantile(f64::NAN).is_none());
}

#[test]
fn every_query_is_answered_as_from_all_points() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("starts");
    let strategy = (points(), vec(queries(), 1..6), select(vec![&KEYS[..1], &KEYS[..2], &KEYS[..]]));
    let run = |(points, queries, keys): (Vec<Point>, Vec<Query>, &[&str])| {
        runtime.block_on(async {
            let bay = bay().await;
            let visitors = bay.distinct(Distinct::new("visitors").resolutions(resolutions())).expect("valid");
            let gauge = bay.gauge(Gauge::new("gauge").resolutions(resolutions())).expect("valid");
            let latency =
                bay.percentiles(Percentiles::new("latency").resolutions(resolutions())).expect("valid");
            let named: Vec<_> =
                points.iter().map(|point| (point.key, point.value.to_string(), point.at)).collect();
            visitors.add_many(named, When::EngineClock).await.expect("adds");
            let values: Vec<_> = points.iter().map(|point| (point.key, point.value, point.at)).collect();
            gauge.record_many(values.clone(), When::EngineClock).await.expect("records");
            latency.record_many(values, When::EngineClock).await.expect("records");
            for query in &queries {
                let Ok(found) = gauge.query(keys, query).await else { continue };
                for (values, found) in
                    expected(&points, keys, &found).iter().zip(found.values.iter().chain([&found.total]))
                {
                    check_gauge(values, *found);
                }
                let found = latency.query(keys, query).await.expect("as of gauges");
                for (values, found) in
                    expected(&points, keys, &found).iter().zip(found.values.iter().chain([&found.total]))
                {
                    check_percentiles(values, found);
                }
                let found = visitors.query(keys, query).await.expect("as of gauges");
                for (values, found) in
                    expected(&points, keys, &found).iter().zip(found.values.iter().chain([&found.total]))
                {
                    let exact = values.iter().map(|(value, _)| value.to_bits()).collect::<HashSet<_>>().len();
                    assert!(found.abs_diff(exact as u64) <= 1 + exact as u64 / 50, "{found}, not {exact}");
                }
            }
        });
        Ok(())
    };
    TestRunner::new(ProptestConfig { cases: 60, ..ProptestConfig::default() })
        .run(&strategy, run)
        .expect("holds");
}

#[tokio::test]
async fn a_name_has_one_kind() {
    let bay = bay().await;
    let _hits = bay.series("a").expect("valid");
    let _gauge = bay.gauge("b").expect("valid");
    for error in [
        bay.distinct("a").map(drop).expect_err("hits"),
        bay.series("b").map(drop).expect_err("a gauge"),
        bay.percentiles("b").map(drop).expect_err("a gauge"),
    ] {
        assert!(
            error.kind() == ErrorKind::Invalid && error.to_string().contains("a name has one kind"),
            "{error}"
        );
    }
    bay.gauge("b").expect("the same again");
}

#[tokio::test]
async fn what_a_kind_does_not_have_is_refused_with_what_it_has() {
    let bay = bay().await;
    let latency = bay.percentiles("latency").expect("valid");
    let hour = Query::last(hours(1));
    for query in [
        hour.clone().compute(Function::Rate),
        hour.clone().fill(Fill::Null),
        hour.clone().previous(Previous::Span),
        hour.clone().order(Order::NewestFirst),
        hour.clone().limit(1),
    ] {
        let error = latency.query(["home"], &query).await.expect_err("refused");
        assert!(
            error.kind() == ErrorKind::Invalid && error.to_string().contains("a span, a step and a zone"),
            "{error}"
        );
    }
    for value in [f64::NAN, f64::INFINITY, 1e300] {
        let error = latency.record("home", value).await.expect_err("refused");
        assert!(
            error.kind() == ErrorKind::OutOfRange && error.to_string().starts_with("series latency: value"),
            "{error}"
        );
    }
    assert_eq!(
        latency.quantile("home", -0.1, hours(1)).await.expect_err("refused").kind(),
        ErrorKind::OutOfRange
    );
    let error = latency.record_at("home", 1.0, NOW.plus(mins(6))).await.expect_err("ahead");
    assert_eq!(error.kind(), ErrorKind::OutOfRange);
    assert_eq!(latency.late(), 0);
    latency.record_at("home", 1.0, NOW.minus(days(800))).await.expect_err("late");
    assert_eq!((latency.late(), latency.key_count()), (1, Some(0)));
    let year = Query::between(NOW.minus(days(20)), NOW).step(days(20));
    let keys: Vec<String> = (0..900).map(|key| key.to_string()).collect();
    let error = latency.query(&keys, &year).await.expect_err("too much");
    assert!(error.to_string().contains("at most 20000"), "{error}");
}

#[tokio::test]
async fn all_points_are_taken_or_none_where_keys_are_bounded() {
    let bay = bay().await;
    let gauge = bay.gauge(Gauge::new("gauge").max_keys(2)).expect("valid");
    let error =
        gauge.record_many([("a", 1.0, NOW), ("b", 1.0, NOW), ("c", 1.0, NOW)], When::EngineClock).await;
    assert_eq!(error.expect_err("three").kind(), ErrorKind::Overloaded);
    assert_eq!((gauge.key_count(), gauge.refused_keys()), (Some(0), 1));
    gauge
        .record_many([("a", 1.0, NOW), ("b", 1.0, NOW), ("a", 2.0, NOW)], When::EngineClock)
        .await
        .expect("two");
    gauge.delete("a").await.expect("deletes");
    gauge.record("c", 1.0).await.expect("there is room");
    assert_eq!(gauge.key_count(), Some(2));
}
