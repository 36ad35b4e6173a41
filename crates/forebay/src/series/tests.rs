//! A series as its callers see it, on a clock that the test moves.

use forebay_testkit::{Redis as Server, unique_prefix};

use super::{Admission, Resolution, Series, SeriesHandle};
use crate::{
    Clock, ErrorKind, Forebay, ManualClock, Timestamp,
    time::{When, days, hours, mins, secs},
};

/// Some noon in 2026.
const NOON: Timestamp = Timestamp::from_secs(1_790_000_000 - 1_790_000_000 % 86_400 + 43_200);

async fn in_memory(series: impl Into<Series>) -> (SeriesHandle, ManualClock) {
    let hand = ManualClock::at(NOON);
    let bay = Forebay::options().clock(Clock::from(hand.clone())).open("memory:").await.expect("opens");
    (bay.series(series).expect("valid"), hand)
}

/// A series in Redis, of a process whose own clock shows something else.
async fn in_redis(series: impl Into<Series>, clock: Timestamp) -> (SeriesHandle, ManualClock) {
    let hand = ManualClock::at(clock);
    let options = Forebay::options().clock(Clock::from(hand.clone())).prefix(unique_prefix());
    let bay = options.open(&Server::shared().url()).await.expect("opens");
    (bay.series(series).expect("valid"), hand)
}

fn two_steps() -> Series {
    let resolutions = [(secs(1), secs(30)), (secs(10), mins(5))];
    let resolutions = resolutions.map(|(step, kept)| Resolution::new(step, kept).expect("valid"));
    Series::new("hits").resolutions(resolutions.to_vec())
}

#[tokio::test]
async fn a_point_older_than_every_retention_is_refused_and_tallied() {
    let (series, hand) = in_memory(two_steps()).await;
    // The coarse bucket of 11:54:50 ends at 11:55:00, five minutes ago: the last moment before is the first too old.
    let edge = NOON.minus(mins(5));
    series.add_at("k", 1, edge).await.expect("just kept");
    let error = series.add_at("k", 2, edge.minus(secs(1))).await.expect_err("too old");
    assert_eq!(error.kind(), ErrorKind::OutOfRange);
    let told = "series hits: time 2026-09-21T11:54:59Z is 301 s ago: at most 300, the longest retention";
    assert_eq!(error.to_string(), told);
    assert_eq!(series.late(), 2);
    hand.advance(secs(10));
    assert!(series.add_at("k", 1, edge).await.is_err(), "its bucket has left the retention");
    assert!(series.add_at("k", 4, NOON.minus(days(4_000))).await.is_err());
    assert!(series.add_at("k", 8, Timestamp::from_micros(i64::MIN)).await.is_err());
    assert_eq!(series.late(), 15);
    assert_eq!(series.sum("k", days(1)).await.expect("answers"), 0);
}

#[tokio::test]
async fn one_late_point_refuses_those_that_come_with_it() {
    let (series, _) = in_memory(two_steps()).await;
    let points = [("a", 1, NOON), ("b", 2, NOON.minus(hours(1))), ("c", 4, NOON)];
    assert!(series.add_many(points, When::EngineClock).await.is_err());
    for key in ["a", "b", "c"] {
        assert_eq!(series.sum(key, days(1)).await.expect("answers"), 0, "{key}");
    }
    series.add_many(points, When::At(NOON.minus(hours(1)))).await.expect_err("noon is ahead of eleven");
    assert_eq!(series.late(), 2);
}

#[tokio::test]
async fn a_point_that_only_the_coarser_resolution_keeps_is_counted_there() {
    let (series, _) = in_memory(two_steps()).await;
    let at = NOON.minus(mins(2));
    series.add_at("k", 3, at).await.expect("kept for five minutes");
    assert_eq!(series.late(), 0);
    assert_eq!(series.sum_between("k", at, at.plus(secs(10))).await.expect("answers"), 3);
    assert_eq!(series.sum("k", secs(20)).await.expect("answers"), 0);
}

#[tokio::test]
async fn a_point_is_admitted_with_the_times_that_it_is_added_with() {
    let (series, hand) = in_memory(two_steps()).await;
    let at = NOON.minus(mins(5));
    let Admission::Accepted { at: dated, now } =
        series.admit("k", 1, Some(at), When::EngineClock).await.expect("answers")
    else {
        panic!("kept until noon and 10 s")
    };
    assert_eq!((dated, now), (at, NOON));
    hand.advance(mins(1));
    series.add_many([("k", 1, dated)], When::At(now)).await.expect("it was admitted");
    let late = series.admit("k", 1, Some(at), When::EngineClock).await.expect("answers");
    assert!(matches!(&late, Admission::Late(error) if error.to_string().contains("360 s ago")), "{late:?}");
    let Admission::Accepted { at, .. } =
        series.admit("k", 1, None, When::EngineClock).await.expect("answers")
    else {
        panic!("now is never late")
    };
    assert_eq!(at, NOON.plus(mins(1)));
    for (key, n, at) in [("", 1, NOON), ("k", 0, NOON), ("k", 1 << 32, NOON), ("k", 1, NOON.plus(hours(1)))] {
        assert!(series.admit(key, n, Some(at), When::EngineClock).await.is_err(), "{key:?} {n} {at}");
    }
}

#[tokio::test]
async fn the_clock_of_the_server_decides_what_is_late() {
    let now = Clock::system().now();
    for own in [now.minus(days(900)), now.plus(days(900))] {
        let (series, hand) = in_redis(two_steps(), own).await;
        series.add_at("k", 1, now.minus(mins(4))).await.expect("kept by the server's clock");
        series.add("k", 2).await.expect("now is the server's now");
        let error = series.add_at("k", 4, now.minus(mins(6))).await.expect_err("too old by the server's");
        assert_eq!(error.kind(), ErrorKind::OutOfRange, "{error}");
        assert!(series.add_at("k", 8, now.plus(mins(7))).await.is_err(), "too far ahead of the server's");
        assert_eq!(series.sum("k", mins(5)).await.expect("answers"), 3, "a sum ends at the server's now");

        // This process slept, by its own clock: what the server said is asked for anew.
        hand.advance(hours(3));
        series.add("k", 16).await.expect("now is the server's now");
        assert_eq!(series.sum("k", secs(60)).await.expect("answers"), 18);
        // Its clock was set.
        hand.step_to(NOON);
        series.add("k", 32).await.expect("now is the server's now");
        assert_eq!(series.sum("k", secs(60)).await.expect("answers"), 50);
    }
}
