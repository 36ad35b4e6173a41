//! Queries as their callers see them.

use forebay_testkit::{Proxy, Redis as Server, unique_prefix};

use super::{super::*, NOON, in_memory};
use crate::{
    ErrorKind, Forebay, Timestamp,
    time::{days, hours, mins, secs},
};

/// Clocks go forward on 28 March 2027 and back on 31 October 2027: those days have 23 and 25 hours.
#[tokio::test]
async fn a_day_of_23_or_25_hours_stands_beside_the_day_before_and_divides_by_its_own_length() {
    for (noon, hours_of_day) in [("2027-03-28T10:00:00Z", 23u32), ("2027-10-31T11:00:00Z", 25)] {
        let (series, hand) = in_memory("hits").await;
        let noon: Timestamp = noon.parse().expect("a time");
        let now = noon.plus(hours(36));
        hand.step_to(now);
        for hour in 0..100 {
            series.add_at("k", 1, now.minus(hours(hour)).minus(secs(5))).await.expect("kept");
        }
        let query = Query::between(noon.minus(hours(hours_of_day.into())), now)
            .step(CalendarUnit::Day)
            .zone("Europe/Berlin");
        let query = query.compute(Function::Rate).compute(Function::Difference).compute(Function::Moving(2));
        let range = series.query("k", &query.previous(Previous::Points(1))).await.expect("answers");
        let day = u64::from(hours_of_day);
        assert_eq!(range.values, [12, day, 24], "from noon, all day, and until midnight");
        let rate = range.columns.rate[1].expect("it was counted");
        assert!((rate - 1.0 / 3_600.0).abs() < 1e-12, "{rate}");
        assert_eq!(
            range.columns.difference[1..],
            [Some(i64::from(hours_of_day) - 24), Some(24 - i64::from(hours_of_day))]
        );
        assert_eq!(
            range.columns.moving_sum,
            [Some(48), Some(24 + day), Some(day + 24)],
            "the first day is whole"
        );
        let previous = range.previous.expect("it was requested");
        assert_eq!(previous.values, [12, 24, day], "from noon, and all day");
    }
}

#[tokio::test]
async fn the_last_points_end_with_the_one_that_contains_now() {
    let (series, hand) = in_memory("hits").await;
    hand.advance(mins(59));
    series.add("k", 5).await.expect("counts");
    series.add_at("k", 3, NOON.minus(hours(2))).await.expect("kept");
    let range = series.query("k", &Query::last_points(3, hours(1))).await.expect("answers");
    assert_eq!((range.values.as_slice(), range.start()), (&[3, 0, 5][..], NOON.minus(hours(2))));
    let range = series.query("k", &Query::last_points(2, CalendarUnit::Month)).await.expect("answers");
    assert_eq!(
        (range.values.as_slice(), range.start().to_string()),
        (&[0, 8][..], "2026-08-01T00:00:00Z".into())
    );
    let limited = series.limited().query("k", &Query::last_points(2, hours(1))).await.expect("answers");
    assert_eq!(limited.values, [0, 0]);
}

#[tokio::test]
async fn many_keys_are_answered_in_their_order_by_at_most_one_round_trip_a_partition() {
    let proxy = Proxy::new(Server::shared().port());
    let options = Forebay::options().prefix(unique_prefix());
    let bay = options.open(&format!("redis://127.0.0.1:{}", proxy.port())).await.expect("opens");
    let series = bay.series(Series::new("hits").partitions(4)).expect("valid");
    let keys: Vec<String> = (0..40).map(|number| format!("user:{number}")).collect();
    for (number, key) in (1..).zip(&keys) {
        series.add(key, number).await.expect("counts");
    }
    let query = Query::last(hours(1)).step(mins(10)).compute(Function::Max).compute(Function::Moving(2));
    let before = proxy.exchanges();
    let answer = series.query_many(&keys, &query.previous(Previous::Span)).await.expect("answers");
    let exchanges = proxy.exchanges() - before;
    assert!((1..=4).contains(&exchanges), "{exchanges}");
    assert_eq!(answer.ranges.iter().map(Range::sum).collect::<Vec<_>>(), (1..=40).collect::<Vec<_>>());
    assert_eq!(answer.total.sum(), 820);
}

#[tokio::test]
async fn what_does_not_fit_together_is_refused_with_what_would() {
    let (series, _) = in_memory("hits").await;
    let hour = Query::last(hours(1));
    let cases = [
        (hour.clone().compute(Function::Moving(0)), "moving window of 0 points: 1 to 10000"),
        (hour.clone().limit(0), "limit of 0 points: 1 to 100000"),
        (Query::last_points(0, hours(1)), "range of 0 points: 1 to 100000"),
        (hour.clone().previous(Previous::Points(0)), "previous period of 0 points: 1 to 100000"),
        (hour.clone().previous(Previous::By(secs(7))), "previous period 7s earlier: a multiple of 10s"),
        (
            hour.clone().previous(Previous::By(days(3) + secs(10))),
            "a multiple of 60s, the finest buckets there",
        ),
        (
            hour.clone().step(CalendarUnit::Day).previous(Previous::By(days(1))),
            "a number of days, or the span",
        ),
        (hour.clone().step(CalendarUnit::Day).zone("Mars"), "zone \"Mars\": no such time zone"),
        (hour.clone().step(secs(7)), "step 7s: a multiple of 10s"),
    ];
    for (query, told) in cases {
        let error = series.query("k", &query).await.expect_err(told);
        assert!(error.to_string().contains(told), "{told}: {error}");
    }
    let many = async |keys: &[&str], query: &Query| {
        let error = series.query_many(keys, query).await.expect_err("refused");
        (error.kind(), error.to_string())
    };
    let told = "series hits: no key: a query has 1 to 1000";
    assert_eq!(many(&[], &hour).await, (ErrorKind::Invalid, told.into()));
    assert!(many(&["a", "b", "a"], &hour).await.1.contains("key \"a\" is there twice"));
    let keys: Vec<String> = (0..1_001).map(|number| number.to_string()).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    assert!(many(&keys, &hour).await.1.contains("more keys"));
    let (kind, text) = many(&keys[..1_000], &hour).await;
    assert!(
        kind == ErrorKind::OutOfRange && text.contains("361000 points, with those of all lines"),
        "{text}"
    );
    let buckets = Query::last(days(1)).step(hours(1)).compute(Function::Min);
    assert!(many(&keys[..200], &buckets).await.1.contains("buckets: at most 1000000"));
}
