//! Queries against a naive model: the points in a map, added up anew for each value.

use std::collections::BTreeMap;

use jiff::{ToSpan, tz::TimeZone};
use proptest::{collection::vec, prelude::*, sample::select, test_runner::TestRunner};

use super::{super::*, NOON, in_memory};
use crate::{
    ErrorKind, Timestamp,
    time::{When, days, hours, micros, secs},
};

/// Counts by time.
#[derive(Clone, Debug, Default)]
struct Model(BTreeMap<Timestamp, u64>);

impl Model {
    fn sum(&self, from: Timestamp, to: Timestamp) -> u64 {
        if from < to { self.0.range(from..to).map(|(_, n)| n).sum() } else { 0 }
    }
}

/// A range in the order of time, and what is compared with it.
struct Checked<'a> {
    range: &'a Range,
    model: &'a Model,
    now: Timestamp,
    zone: &'a TimeZone,
}

impl Checked<'_> {
    /// The end of a point. The last one counts up to the end of its last bucket.
    fn end(&self, point: usize) -> Timestamp {
        self.range.starts.get(point + 1).copied().unwrap_or(self.range.to)
    }

    /// The counted part of a point, even if there is none.
    fn part(&self, point: usize) -> (Timestamp, Timestamp) {
        let start = self.range.starts[point];
        let from = if point == 0 { self.range.from } else { start.max(self.range.from) };
        (from, self.end(point).min(self.range.to))
    }

    fn counts(&self, point: usize) -> bool {
        let (from, to) = self.part(point);
        from < to && self.range.starts[point] <= self.now
    }

    /// The start of the point so many before the first one.
    fn before(&self, back: usize) -> Timestamp {
        let first = self.range.starts[0];
        let back = i64::try_from(back).expect("few");
        match self.range.step {
            Step::Fixed(step) => Timestamp::from_micros(first.as_micros() - micros(step) * back),
            Step::Calendar(unit) => {
                let span = match unit {
                    CalendarUnit::Day => back.days(),
                    CalendarUnit::Week => back.weeks(),
                    CalendarUnit::Month => back.months(),
                };
                let time = jiff::Timestamp::from_microsecond(first.as_micros()).expect("in range");
                let date =
                    time.to_zoned_datetime(self.zone.clone()).date().checked_sub(span).expect("in range");
                let start = self.zone.to_ambiguous_timestamp(date.at(0, 0, 0, 0)).compatible();
                Timestamp::from_micros(start.expect("in range").as_microsecond())
            }
        }
    }

    fn check(&self) {
        let Range { values, starts, columns, .. } = self.range;
        let mut sum = 0;
        for (point, value) in values.iter().enumerate() {
            let (from, to) = self.part(point);
            assert_eq!(*value, self.model.sum(from, to), "{point}: {:?}", self.range);
            let counts = self.counts(point);
            let seconds = to.since(from).as_secs_f64();
            assert_eq!(columns.rate[point], counts.then(|| *value as f64 / seconds), "{point}");
            sum += if counts { *value } else { 0 };
            assert_eq!(columns.cumulative[point], counts.then_some(sum));
            self.check_buckets(point);
            self.check_window(point, 2, columns.difference[point].map(|_| 0), "difference");
        }
        assert_eq!(values.len(), starts.len());
    }

    fn check_buckets(&self, point: usize) {
        let Columns { average, min, max, bucket, .. } = &self.range.columns;
        let (from, to) = self.part(point);
        let length = micros(bucket.expect("it was requested"));
        let first = from.as_micros().div_euclid(length);
        let starts = (first..).map(|bucket| Timestamp::from_micros(bucket * length));
        let starts: Vec<_> =
            starts.take_while(|start| self.counts(point) && *start < to && *start <= self.now).collect();
        let end = |start: Timestamp| Timestamp::from_micros(start.as_micros() + length).min(to);
        let sums: Vec<u64> =
            starts.iter().map(|start| self.model.sum((*start).max(from), end(*start))).collect();
        assert_eq!(min[point], sums.iter().min().copied(), "{point}: {:?}", self.range);
        assert_eq!(max[point], sums.iter().max().copied(), "{point}: {:?}", self.range);
        let naive = (!sums.is_empty()).then(|| sums.iter().sum::<u64>() as f64 / sums.len() as f64);
        assert_eq!(average[point], naive);
    }

    /// Checks one moving window: it has a value at least where all of it is in the finest buckets that are kept.
    fn check_window(&self, point: usize, window: usize, found: Option<u64>, what: &str) {
        let Columns { moving_sum, moving_average, difference, .. } = &self.range.columns;
        let back = |count: usize| match point.checked_sub(count) {
            // Its first bucket may begin earlier.
            Some(0) => self.range.starts[0].min(self.range.from),
            Some(point) => self.range.starts[point],
            None => self.before(count - point),
        };
        let from = back(window - 1);
        let (_, to) = self.part(point);
        // One step more than a day for what was cut at the edge.
        let is_fine = from >= self.now.minus(days(1)) && self.counts(point) && !self.range.coarsened;
        assert!(found.is_some() || !is_fine, "{what} of {point} has no value: {:?}", self.range);
        if found.is_none() {
            return;
        }
        if what == "difference" {
            let (last, before) = (self.model.sum(back(0), to), self.model.sum(back(1), back(0)));
            let naive = i64::try_from(last).expect("few") - i64::try_from(before).expect("few");
            assert_eq!(difference[point], Some(naive), "{point}: {:?}", self.range);
        } else {
            let naive = self.model.sum(from, to);
            assert_eq!(moving_sum[point], Some(naive), "{point} of {window}: {:?}", self.range);
            assert_eq!(moving_average[point], Some(naive as f64 / window as f64));
        }
    }
}

/// A gap is a point without a count: found by looking to both sides of each.
fn check_filled(range: &Range, fill: Fill, counts: impl Fn(usize) -> bool) {
    for (point, value) in range.values.iter().enumerate() {
        let earlier = (0..point).rev().find(|&other| range.values[other] > 0 && counts(other));
        let later = (point + 1..range.values.len()).find(|&other| range.values[other] > 0 && counts(other));
        let expected = match (fill, earlier, later) {
            _ if !counts(point) => None,
            _ if *value > 0 => Some(Filled::Count(*value)),
            (Fill::Previous, Some(earlier), _) => Some(Filled::Count(range.values[earlier])),
            (Fill::Linear, Some(earlier), Some(later)) => {
                let [from, to] = [earlier, later].map(|point| range.values[point] as f64);
                let share = (point - earlier) as f64 / (later - earlier) as f64;
                Some(Filled::Between(from + (to - from) * share))
            }
            _ => None,
        };
        assert_eq!(range.columns.filled[point], expected, "{point}: {range:?}");
    }
}

const ZONES: [&str; 6] =
    ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "America/Santiago", "Pacific/Auckland"];

const MOVING: usize = 4;

/// A query, as numbers.
#[derive(Clone, Debug)]
struct Asked {
    /// The end of the range, in seconds before now; below zero after it.
    ago: i64,
    length: u64,
    step: Option<u64>,
    unit: Option<CalendarUnit>,
    zone: &'static str,
    fill: Fill,
    previous: Option<Previous>,
    limit: usize,
}

fn asked() -> impl Strategy<Value = Asked> {
    let length = prop_oneof![10u64..7_200, 3_600u64..200_000, 86_400u64..40 * 86_400];
    let ago = prop_oneof![Just(-1i64), -900i64..0, 0i64..86_400, 0i64..100 * 86_400];
    let unit = proptest::option::of(select(CalendarUnit::ALL.to_vec()));
    let previous = proptest::option::of(prop_oneof![
        Just(Previous::Span),
        (1usize..5).prop_map(Previous::Points),
        (1u64..30_000).prop_map(|tens| Previous::By(secs(10 * tens))),
    ]);
    let fill = select(vec![Fill::Null, Fill::Previous, Fill::Linear]);
    let step = proptest::option::of(select(vec![1u64, 3, 6, 90, 360, 8_640]));
    (ago, length, step, unit, select(ZONES.to_vec()), fill, previous, 1usize..20).prop_map(
        |(ago, length, step, unit, zone, fill, previous, limit)| {
            // A calendar has no spans of a fixed length.
            let previous = previous.filter(|previous| unit.is_none() || !matches!(previous, Previous::By(_)));
            Asked { ago, length, step, unit, zone, fill, previous, limit }
        },
    )
}

fn query_of(asked: &Asked, now: Timestamp) -> Query {
    let to = Timestamp::from_micros(now.as_micros() - asked.ago * 1_000_000);
    let mut query = Query::between(to.minus(secs(asked.length)), to).fill(asked.fill).zone(asked.zone);
    query.step = match asked.unit {
        Some(unit) => Some(unit.into()),
        None => asked.step.map(|tens| secs(10 * tens).into()),
    };
    query.previous = asked.previous;
    let functions = [
        Function::Rate,
        Function::Average,
        Function::Min,
        Function::Max,
        Function::Cumulative,
        Function::Difference,
        Function::Moving(MOVING),
    ];
    functions.into_iter().fold(query, Query::compute)
}

fn check_answer(range: &Range, asked: &Asked, model: &Model, now: Timestamp) {
    let zone = TimeZone::get(asked.zone).expect("known");
    let checked = Checked { range, model, now, zone: &zone };
    checked.check();
    for point in 0..range.values.len() {
        checked.check_window(point, MOVING, range.columns.moving_sum[point], "moving window");
    }
    check_filled(range, asked.fill, |point| checked.counts(point));
    let Some(previous) = &range.previous else { return };
    assert_eq!(previous.values.len(), range.values.len());
    let earlier = Checked { range: previous, ..checked };
    for (point, value) in previous.values.iter().enumerate() {
        let (from, to) = earlier.part(point);
        assert_eq!(*value, model.sum(from, to), "previous {point}: {range:?}");
    }
    if let Step::Fixed(_) = range.step {
        assert!(!previous.coarsened, "{range:?}");
        let shift = range.starts[0].since(previous.starts[0]);
        assert!(
            range.starts.iter().zip(&previous.starts).all(|(start, before)| start.minus(shift) == *before)
        );
        assert_eq!(range.end.minus(shift), previous.end);
    }
}

/// Newest first and cut, it is the other end of the same answer.
fn check_order(all: &Range, cut: &Range, limit: usize) {
    let kept = limit.min(all.values.len());
    let newest = |values: &[u64]| values.iter().rev().take(kept).copied().collect::<Vec<_>>();
    assert_eq!(cut.values, newest(&all.values));
    let moving = |range: &Range| range.columns.moving_sum.clone();
    assert_eq!(moving(cut), moving(all).into_iter().rev().take(kept).collect::<Vec<_>>());
    let starts: Vec<_> = all.starts.iter().rev().take(kept).copied().collect();
    assert_eq!(
        (&cut.starts, cut.end, cut.to, cut.start()),
        (&starts, all.end, all.to, all.starts[all.starts.len() - kept])
    );
    if let (Some(cut), Some(all)) = (&cut.previous, &all.previous) {
        assert_eq!(cut.values, newest(&all.values));
    }
}

async fn check_queries(now: Timestamp, points: &[(u64, u64, usize)], asked: &[Asked]) {
    let (series, hand) = in_memory("hits").await;
    hand.step_to(now);
    let keys = ["a", "b", "c"];
    let mut models = vec![Model::default(); keys.len()];
    for (ago, n, key) in points {
        // The last ones are up to 5 minutes ahead.
        let at = now.plus(secs(300)).minus(secs(*ago));
        if series.add_many([(keys[*key], *n, at)], When::At(now)).await.is_ok() {
            *models[*key].0.entry(at).or_default() += n;
        }
    }
    let mut all = Model::default();
    for (at, n) in models.iter().flat_map(|model| &model.0) {
        *all.0.entry(*at).or_default() += n;
    }
    for asked in asked {
        let query = query_of(asked, now);
        let answer = match series.query_many(keys, &query).await {
            Ok(answer) => answer,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::OutOfRange, "{error}");
                continue;
            }
        };
        // The model is slow.
        if answer.total.values.len() > 200 || answer.total.starts[0] < now.minus(days(200)) {
            continue;
        }
        for (range, model) in answer.ranges.iter().zip(&models) {
            check_answer(range, asked, model, now);
        }
        check_answer(&answer.total, asked, &all, now);
        assert_eq!(series.query("b", &query).await.expect("answers"), answer.ranges[1]);
        let newest = query.order(Order::NewestFirst).limit(asked.limit);
        check_order(&answer.ranges[0], &series.query("a", &newest).await.expect("answers"), asked.limit);
    }
}

#[test]
fn every_column_is_what_a_naive_count_gives() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("starts");
    let ago = prop_oneof![0u64..900, 0u64..100_000, 0u64..150 * 86_400];
    let points = vec((ago, 1u64..9, 0usize..3), 1..60);
    let cases = (0u64..730 * 24, points, vec(asked(), 1..6));
    TestRunner::new(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })
        .run(&cases, |(hour, points, asked)| {
            // Among these are hours at which clocks change.
            let now = NOON.plus(hours(hour)).plus(secs(1_234));
            runtime.block_on(check_queries(now, &points, &asked));
            Ok(())
        })
        .expect("they agree");
}
