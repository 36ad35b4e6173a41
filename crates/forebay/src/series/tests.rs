//! A series as its callers see it, on a clock that the test moves.

mod bound;
mod buckets;
mod columns;
mod erase;
mod labels;
mod queries;
mod rank;
mod uniform;

use forebay_testkit::{Redis as Server, unique_prefix};
use proptest::{collection::vec, prelude::*, sample::select, test_runner::TestRunner};

use super::{Acceptance, Series, SeriesHandle};
use crate::{
    Clock, ErrorKind, Forebay, ManualClock, Result, Timestamp,
    key::{Count, Key},
    model::resolution::Resolution,
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

async fn admit(series: &SeriesHandle, key: &str, n: u64, at: Option<Timestamp>) -> Result<Acceptance> {
    series.admit(Key::new(key)?, Count::new(n)?, at, When::EngineClock).await
}

#[tokio::test]
async fn a_point_is_admitted_with_the_times_that_it_is_added_with() {
    let (series, hand) = in_memory(two_steps()).await;
    let at = NOON.minus(mins(5));
    let Acceptance::Accepted { at: dated, now } = admit(&series, "k", 1, Some(at)).await.expect("answers")
    else {
        panic!("kept until noon and 10 s")
    };
    assert_eq!((dated, now), (at, NOON));
    hand.advance(mins(1));
    let (key, n) = (Key::new("k").expect("a key"), Count::new(1).expect("a count"));
    series.add_admitted(key, n, dated, now).await.expect("it was admitted");
    let late = admit(&series, "k", 1, Some(at)).await.expect("answers");
    assert!(matches!(&late, Acceptance::Late(error) if error.to_string().contains("360 s ago")), "{late:?}");
    let Acceptance::Accepted { at, .. } = admit(&series, "k", 1, None).await.expect("answers") else {
        panic!("now is never late")
    };
    assert_eq!(at, NOON.plus(mins(1)));
    admit(&series, "k", 1, Some(NOON.plus(hours(1)))).await.expect_err("an hour ahead");
    for (key, n) in [("", 1), ("k", 0), ("k", 1 << 32)] {
        series.add(key, n).await.expect_err("out of the bounds");
        series.add_at(key, n, NOON).await.expect_err("out of the bounds");
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

#[tokio::test]
async fn the_points_of_a_range_add_up_to_the_sum_over_the_same_span() {
    let (series, hand) = in_memory("hits").await;
    hand.advance(secs(40 * 60 + 7));
    let now = series.store_time("k").await;
    // Yesterday before and after this moment, and today.
    for (ago, n) in
        [(days(1) + mins(10), 1), (days(1) + secs(30), 2), (hours(23) + mins(50), 4), (mins(1), 8)]
    {
        series.add_at("k", n, now.minus(ago)).await.expect("kept");
    }
    series.add("k", 16).await.expect("counts");
    let day = series.last("k", days(1), Some(hours(1))).await.expect("answers");
    assert_eq!((day.sum(), series.sum("k", days(1)).await.expect("answers")), (28, 28));
    assert_eq!((day.start(), day.step, day.values.len()), (NOON.minus(days(1)), hours(1).into(), 25));
    assert_eq!(day.values[0], 4, "of the first hour what is within a day");
    let edge = now.minus(days(1)).minus(secs(7));
    assert_eq!((day.from, day.to), (edge, now.plus(secs(3))), "widened to buckets of 10 s");
    assert!(day.is_first_partial() && day.is_last_partial() && !day.coarsened);
    let total = series.total("k", NOON, NOON.plus(hours(1))).await.expect("answers");
    let ahead = now.plus(mins(5)).plus(secs(3));
    assert_eq!((total.sum, total.from, total.to), (24, NOON, ahead), "no point is farther ahead");
    let whole = series.range("k", NOON.minus(hours(2)), NOON, Some(hours(1))).await.expect("answers");
    assert!(!whole.is_first_partial() && !whole.is_last_partial());
}

#[tokio::test]
async fn a_step_is_refused_or_met_or_said_to_be_longer() {
    let (series, _) = in_memory("hits").await;
    let range = async |ago, step| series.range("k", NOON.minus(ago), NOON, Some(step)).await;
    for step in [secs(7), secs(5), secs(0), secs(95)] {
        let error = range(days(3), step).await.expect_err("refused");
        let told = format!("series hits: step {step:?}: a multiple of 10s, the finest resolution");
        assert_eq!((error.kind(), error.to_string()), (ErrorKind::OutOfRange, told));
    }
    let met = range(hours(3), secs(90)).await.expect("answers");
    assert_eq!((met.step, met.coarsened), (secs(90).into(), false));
    let longer = range(days(3), secs(90)).await.expect("answers");
    assert_eq!((longer.step, longer.coarsened), (secs(120).into(), true), "10 s buckets are kept for a day");
    let by_itself = series.range("k", NOON.minus(days(3)), NOON, None).await.expect("answers");
    assert!(!by_itself.coarsened, "nobody asked for another step");
}

#[tokio::test]
async fn a_range_reads_no_more_buckets_than_a_sum_may() {
    let second = Resolution::new(secs(1), days(400)).expect("valid");
    let (series, _) = in_memory(Series::new("hits").resolutions(vec![second])).await;
    let error = series.range("k", NOON.minus(days(300)), NOON, Some(days(1))).await.expect_err("too much");
    assert!(error.to_string().contains("25920000 buckets: at most 1000000"), "{error}");
}

/// A point, as so much before or after the edge of a retention or now, and when it comes.
#[derive(Clone, Debug)]
struct Late {
    /// Of which resolution; beyond the last one: now itself.
    edge: usize,
    offset: i64,
    n: u64,
    /// How long before the question it is counted.
    counted_before: u64,
}

fn grids() -> Vec<Vec<Resolution>> {
    let grid = |steps: &[(u64, u64)]| {
        let each = steps.iter().map(|&(step, kept)| Resolution::new(secs(step), secs(kept)).expect("valid"));
        each.collect::<Vec<_>>()
    };
    vec![
        grid(&[(1, 30), (10, 300)]),
        grid(&[(1, 31), (2, 31), (60, 61)]),
        grid(&[(10, 10)]),
        grid(&[(5, 60), (15, 60), (3_600, 86_400)]),
        Resolution::defaults(),
    ]
}

/// The moment of the question. The chunks at the edges have minutes to live, so that Redis keeps them for the test.
const ASKED: Timestamp = Timestamp::from_micros(NOON.as_micros() + 1_800_000_003);

async fn sum_is_the_sum_of_the_range(
    bay: &Forebay,
    grid: usize,
    points: &[Late],
    spans: &[(Late, Late, Option<u64>)],
) {
    let resolutions = grids().swap_remove(grid);
    let series = Series::new("hits").resolutions(resolutions.clone());
    let series = bay.series(series).expect("valid");
    let moment = |late: &Late| {
        let edge = resolutions.get(late.edge).map_or(ASKED, |edge| ASKED.minus(edge.retention));
        Timestamp::from_micros(edge.as_micros() + late.offset)
    };
    let key = uuid::Uuid::now_v7().to_string();
    let mut accepted = vec![];
    let mut points: Vec<&Late> = points.iter().collect();
    points.sort_by_key(|point| std::cmp::Reverse(point.counted_before));
    for point in points {
        let (at, now) = (moment(point), ASKED.minus(secs(point.counted_before)));
        match series.add_many([(&key, point.n, at)], When::At(now)).await {
            Ok(()) => accepted.push((at, point.n)),
            Err(error) => assert_eq!(error.kind(), ErrorKind::OutOfRange, "{error}"),
        }
    }
    for (from, to, step) in spans {
        let (from, to) = (moment(from), moment(to));
        let step = step.map(|step| resolutions[0].step * u32::try_from(step).expect("small"));
        if from >= to {
            continue;
        }
        let total = series.total_as_of(&key, from, to, ASKED).await.expect("answers");
        let range = match series.range_as_of(&key, from, to, step, ASKED).await {
            Ok(range) => range,
            Err(error) => {
                assert!(error.to_string().contains("points"), "{error}");
                continue;
            }
        };
        assert_eq!((range.sum(), range.from, range.to), (total.sum, total.from, total.to));
        let inside = accepted.iter().filter(|(at, _)| (total.from..total.to).contains(at));
        assert_eq!(total.sum, inside.map(|(_, n)| n).sum::<u64>(), "{from} to {to}: {total:?}, {accepted:?}");
    }
}

fn late_points() -> impl Strategy<Value = Late> {
    let offset = prop_oneof![
        Just(0),
        -2i64..3,
        select(vec![-1_000_000, 1_000_000, -10_000_000, 10_000_000, 60_000_000]),
        -70_000_000i64..70_000_000,
        0i64..4_000_000_000,
    ];
    (0usize..5, offset, 1u64..9, 0u64..90).prop_map(|(edge, offset, n, counted_before)| Late {
        edge,
        offset,
        n,
        counted_before,
    })
}

fn check_sums(url: &str, cases: u32) {
    let spans = vec((late_points(), late_points(), proptest::option::of(1u64..500)), 1..12);
    let runtime = tokio::runtime::Runtime::new().expect("starts");
    let bay = runtime.block_on(async {
        let hand = ManualClock::at(ASKED);
        let options = Forebay::options().clock(Clock::from(hand)).prefix(unique_prefix());
        options.open(url).await.expect("opens")
    });
    TestRunner::new(ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() })
        .run(&(0..grids().len(), vec(late_points(), 1..25), spans), |(grid, points, spans)| {
            runtime.block_on(sum_is_the_sum_of_the_range(&bay, grid, &points, &spans));
            Ok(())
        })
        .expect("they agree");
}

#[test]
fn a_sum_is_the_sum_of_its_range_in_memory() {
    check_sums("memory:", 2_000);
}

#[test]
fn a_sum_is_the_sum_of_its_range_in_redis() {
    check_sums(&Server::shared().url(), 60);
}

#[tokio::test]
async fn a_new_key_beyond_the_bound_is_refused_and_old_ones_go_on() {
    let (series, hand) = in_memory(two_steps().max_keys(2)).await;
    series.add("a", 1).await.expect("the first");
    series.add("b", 1).await.expect("the second");
    let error = series.add("c", 1).await.expect_err("the third");
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    let told = "series hits: a new key beside 2: at most 2 (max_keys); one is given up when its last count has left the \
                retention";
    assert_eq!(error.to_string(), told);
    series.add("a", 1).await.expect("an old one");
    let both = [("a", 1, NOON), ("c", 1, NOON), ("c", 1, NOON)];
    series.add_many(both, When::EngineClock).await.expect_err("one is new");
    assert_eq!(series.sum("a", mins(1)).await.expect("answers"), 2, "all or none");
    admit(&series, "c", 1, None).await.expect_err("before anything is charged");
    admit(&series, "a", 1, None).await.expect("an old one");
    assert_eq!((series.key_count(), series.refused_keys()), (Some(2), 3));
    // The series of what was limited has a bound of its own.
    for (key, fits) in [("x", true), ("y", true), ("z", false)] {
        assert_eq!(series.limited().add(key, 1).await.is_ok(), fits, "{key}");
    }
    series.delete("b").await.expect("answers");
    series.add("c", 1).await.expect("b has gone");
    hand.advance(mins(6));
    let all_gone = async {
        while series.key_count() != Some(0) {
            hand.advance(secs(1));
            tokio::task::yield_now().await;
        }
    };
    Clock::system().timeout(secs(20), all_gone).await.expect("they go");
    for key in ["d", "e"] {
        series.add(key, 1).await.expect("there is room");
    }
    assert!(series.add("f", 1).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_at_once_do_not_exceed_the_bound_on_keys() {
    let (series, _) = in_memory(two_steps().max_keys(500)).await;
    let add = |task: u64| {
        let series = series.clone();
        tokio::spawn(async move {
            let mut accepted = 0;
            for n in 0..400 {
                // Half of them are of two tasks.
                let key = (task / 2 * 2 * 1_000 + n + task % 2 * 200).to_string();
                accepted += u64::from(series.add_many([(key, 1, NOON)], When::EngineClock).await.is_ok());
                assert!(series.key_count() <= Some(500));
            }
            accepted
        })
    };
    let mut accepted = 0;
    for task in (0..8).map(add).collect::<Vec<_>>() {
        accepted += task.await.expect("ends");
    }
    assert_eq!(series.key_count(), Some(500));
    assert!(accepted >= 500 && series.refused_keys() == 3_200 - accepted);
}

#[tokio::test]
async fn a_bound_on_keys_has_a_range() {
    for keys in [0, (1 << 40) + 1] {
        let error = two_steps().max_keys(keys).check().expect_err("refused");
        assert_eq!(error.to_string(), format!("series hits: max_keys {keys}: 1 to 1099511627776"));
    }
}
