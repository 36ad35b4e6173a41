//! Points from buckets, and columns from points.
//!
//! Numbers in, numbers out: no clock, no engine.

use std::ops;

use super::{
    cover::Run,
    plan::Plan,
    query::{Fill, Function, Query},
    query_plan::QueryPlan,
    range::{Columns, Filled, Range},
    step::Step,
};
use crate::{
    model::resolution::Resolution,
    time::{Timestamp, micros},
};

impl Plan {
    /// Adds the buckets up to the points. `counts` has those of each run of the cover.
    fn values(&self, resolutions: &[Resolution], counts: &[Vec<u64>]) -> Vec<u64> {
        let mut values = vec![0u64; self.starts.len()];
        for (run, counts) in self.cover.runs.iter().zip(counts) {
            let points = self.points_of(run, resolutions, counts.len());
            if let Some(points) = points.and_then(|points| values.get_mut(points)) {
                points.iter_mut().zip(counts).for_each(|(value, n)| *value = value.saturating_add(*n));
                continue;
            }
            for (point, _, n) in self.cells_of(run, resolutions, counts) {
                values[point] = values[point].saturating_add(n);
            }
        }
        values
    }

    /// The points of the buckets of a run, if each bucket is one.
    fn points_of(&self, run: &Run, resolutions: &[Resolution], buckets: usize) -> Option<ops::Range<usize>> {
        let step = resolutions[run.resolution].step;
        let before = run.buckets.start * micros(step) - self.starts.first()?.as_micros();
        let first = usize::try_from(before / micros(step)).ok()?;
        (self.step == Step::Fixed(step) && before % micros(step) == 0).then(|| first..first + buckets)
    }

    /// Each bucket: its point, its start in microseconds, and its count. What begins before the first point belongs to that one.
    fn cells<'a>(
        &'a self,
        resolutions: &'a [Resolution],
        counts: &'a [Vec<u64>],
    ) -> impl Iterator<Item = (usize, i64, u64)> + 'a {
        let runs = self.cover.runs.iter().zip(counts);
        runs.flat_map(|(run, counts)| self.cells_of(run, resolutions, counts))
    }

    /// As [`cells`](Self::cells), of one run.
    fn cells_of<'a>(
        &'a self,
        run: &Run,
        resolutions: &[Resolution],
        counts: &'a [u64],
    ) -> impl Iterator<Item = (usize, i64, u64)> + use<'a> {
        let step = micros(resolutions[run.resolution].step);
        let first = run.buckets.start * step;
        let mut point = self.starts.partition_point(|start| start.as_micros() <= first).saturating_sub(1);
        run.buckets.clone().zip(counts).map(move |(bucket, n)| {
            let start = bucket * step;
            while self.starts.get(point + 1).is_some_and(|next| next.as_micros() <= start) {
                point += 1;
            }
            (point, start, *n)
        })
    }

    /// The counted part of a point. `None`: there is none, or the point begins after `now`.
    fn counted(&self, point: usize, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let start = self.starts[point];
        let end = self.starts.get(point + 1).map_or(self.cover.to, |next| (*next).min(self.cover.to));
        // Counts before the first point belong to it, and counts after the last one to that one.
        let begin = if point == 0 { self.cover.from } else { start.max(self.cover.from) };
        (begin < end && start <= now).then_some((begin, end))
    }
}

/// Computes the answer of a query for one key. `counts` has the counts of each run of the plan's covers.
pub(super) fn derive(
    plan: &QueryPlan,
    resolutions: &[Resolution],
    counts: &[Vec<u64>],
    query: &Query,
) -> Range {
    let (main, rest) = counts.split_at(plan.main.cover.runs.len());
    let (lead, previous) = rest.split_at(plan.lead.as_ref().map_or(0, |lead| lead.plan.cover.runs.len()));
    let values = plan.main.values(resolutions, main);
    let columns = columns(plan, resolutions, (main, lead), &values, query);
    let earlier = |plan: &Plan| Box::new(Range::new(plan, plan.values(resolutions, previous)));
    let mut range =
        Range { columns, previous: plan.previous.as_ref().map(earlier), ..Range::new(&plan.main, values) };
    range.arrange(query.order, query.limit);
    range
}

fn columns(
    plan: &QueryPlan,
    resolutions: &[Resolution],
    (main, lead): (&[Vec<u64>], &[Vec<u64>]),
    values: &[u64],
    query: &Query,
) -> Columns {
    if query.functions.is_empty() && query.fill == Fill::Zero {
        return Columns::default();
    }
    let counted: Vec<_> = (0..values.len()).map(|point| plan.main.counted(point, plan.now)).collect();
    let known: Vec<Option<u64>> =
        values.iter().zip(&counted).map(|(value, counted)| counted.map(|_| *value)).collect();
    let mut columns = Columns::default();
    if query.computes(Function::Rate) {
        let rate = |(value, counted): (&u64, &Option<(Timestamp, Timestamp)>)| {
            counted.map(|(from, to)| *value as f64 / to.since(from).as_secs_f64())
        };
        columns.rate = values.iter().zip(&counted).map(rate).collect();
    }
    if query.needs_buckets() {
        let spreads = spreads(plan, resolutions, main);
        let spread = |point: usize| spreads[point].filter(|_| counted[point].is_some());
        let points = 0..values.len();
        if query.computes(Function::Average) {
            columns.average = points.clone().map(|point| spread(point).map(Spread::average)).collect();
        }
        if query.computes(Function::Min) {
            columns.min = points.clone().map(|point| spread(point).map(|spread| spread.min)).collect();
        }
        if query.computes(Function::Max) {
            columns.max = points.map(|point| spread(point).map(|spread| spread.max)).collect();
        }
        columns.bucket = Some(plan.bucket);
    }
    if query.computes(Function::Cumulative) {
        columns.cumulative = cumulative(&known);
    }
    if let Some(points) = query.lead() {
        let all = with_lead(plan, resolutions, lead, &known, points);
        if query.computes(Function::Difference) {
            columns.difference = difference(&all, known.len());
        }
        if let Some(window) = query.moving() {
            (columns.moving_sum, columns.moving_average) = moving(&all, known.len(), window);
        }
    }
    columns.filled = filled(&known, query.fill);
    columns
}

/// The buckets of a point.
#[derive(Clone, Copy, Debug)]
struct Spread {
    buckets: u64,
    sum: u128,
    min: u64,
    max: u64,
}

impl Spread {
    fn with(spread: Option<Self>, n: u64) -> Self {
        let before = spread.unwrap_or(Self { buckets: 0, sum: 0, min: u64::MAX, max: 0 });
        Self {
            buckets: before.buckets + 1,
            sum: before.sum + u128::from(n),
            min: before.min.min(n),
            max: before.max.max(n),
        }
    }

    fn average(self) -> f64 {
        self.sum as f64 / self.buckets as f64
    }
}

/// The buckets of each point, all of one length. Finer ones, where the span ends, are parts of them.
fn spreads(plan: &QueryPlan, resolutions: &[Resolution], counts: &[Vec<u64>]) -> Vec<Option<Spread>> {
    let mut spreads = vec![None; plan.main.starts.len()];
    let mut open: Option<(usize, i64, u64)> = None;
    let mut close = |bucket: Option<(usize, i64, u64)>| {
        if let Some((point, _, n)) = bucket {
            spreads[point] = Some(Spread::with(spreads[point], n));
        }
    };
    let length = micros(plan.bucket);
    for (point, start, n) in plan.main.cells(resolutions, counts) {
        let bucket = start.div_euclid(length);
        if bucket.saturating_mul(length) > plan.now.as_micros() {
            break;
        }
        match &mut open {
            Some((of, number, sum)) if (*of, *number) == (point, bucket) => *sum = sum.saturating_add(n),
            _ => close(open.replace((point, bucket, n))),
        }
    }
    close(open);
    spreads
}

/// The points of a range after so many points before it. The first point of the range is whole.
fn with_lead(
    plan: &QueryPlan,
    resolutions: &[Resolution],
    counts: &[Vec<u64>],
    known: &[Option<u64>],
    points: usize,
) -> Vec<Option<u64>> {
    let mut all = vec![];
    if let Some(lead) = &plan.lead {
        let values = lead.plan.values(resolutions, counts);
        all.extend(values.into_iter().zip(&lead.known).map(|(value, known)| known.then_some(value)));
    }
    let first = all.pop().flatten();
    // The calendar may have fewer.
    let missing = points.saturating_sub(all.len());
    all.splice(0..0, std::iter::repeat_n(None, missing));
    let from = plan.main.cover.from;
    for (point, value) in known.iter().enumerate() {
        let is_whole = from <= plan.main.starts[point];
        let whole = if point == 0 && !is_whole { first } else { value.filter(|_| is_whole) };
        all.push(value.and(whole));
    }
    all
}

fn cumulative(values: &[Option<u64>]) -> Vec<Option<u64>> {
    let mut sum = 0u64;
    let mut add = |value: &Option<u64>| {
        value.map(|value| {
            sum = sum.saturating_add(value);
            sum
        })
    };
    values.iter().map(&mut add).collect()
}

/// The differences of the last `points` values, each to the one before.
fn difference(all: &[Option<u64>], points: usize) -> Vec<Option<i64>> {
    let minus = |pair: &[Option<u64>]| {
        let difference = i128::from(pair[1]?) - i128::from(pair[0]?);
        let stop = if difference < 0 { i64::MIN } else { i64::MAX };
        Some(i64::try_from(difference).unwrap_or(stop))
    };
    let first = all.len() - points - 1;
    all[first..].windows(2).map(minus).collect()
}

/// The sums and averages of the last `points` windows.
fn moving(all: &[Option<u64>], points: usize, window: usize) -> (Vec<Option<u64>>, Vec<Option<f64>>) {
    // The sum of what is known before a place, and the number of unknown values.
    let mut before = vec![(0u128, 0usize)];
    for value in all {
        let (sum, unknown) = before[before.len() - 1];
        before.push((sum + u128::from(value.unwrap_or(0)), unknown + usize::from(value.is_none())));
    }
    let sum = |end: usize| {
        let ((last, after), (first, until)) = (before[end], before[end - window]);
        (after == until).then_some(last - first)
    };
    let sums: Vec<Option<u128>> = (all.len() - points + 1..=all.len()).map(sum).collect();
    let average = |sum: &Option<u128>| sum.map(|sum| sum as f64 / window as f64);
    let averages = sums.iter().map(average).collect();
    let whole = |sum: Option<u128>| sum.map(|sum| u64::try_from(sum).unwrap_or(u64::MAX));
    (sums.into_iter().map(whole).collect(), averages)
}

/// The counts, with what stands for gaps; nothing if that is zero.
fn filled(values: &[Option<u64>], fill: Fill) -> Vec<Option<Filled>> {
    let count = |value: &Option<u64>| value.filter(|value| *value > 0);
    match fill {
        Fill::Zero => vec![],
        Fill::Null => values.iter().map(|value| count(value).map(Filled::Count)).collect(),
        Fill::Previous => {
            let mut last = None;
            let mut previous = |value: &Option<u64>| {
                last = count(value).or(last);
                value.and(last).map(Filled::Count)
            };
            values.iter().map(&mut previous).collect()
        }
        Fill::Linear => linear(values),
    }
}

fn linear(values: &[Option<u64>]) -> Vec<Option<Filled>> {
    let mut filled = vec![None; values.len()];
    let mut last: Option<(usize, u64)> = None;
    for (place, value) in values.iter().enumerate() {
        let Some(value) = value.filter(|value| *value > 0) else { continue };
        if let Some((from, start)) = last {
            let share = |gap: usize| (gap - from) as f64 / (place - from) as f64;
            let between = |gap| start as f64 + (value as f64 - start as f64) * share(gap);
            (from + 1..place)
                .for_each(|gap| filled[gap] = values[gap].map(|_| Filled::Between(between(gap))));
        }
        filled[place] = Some(Filled::Count(value));
        last = Some((place, value));
    }
    filled
}

/// Adds the counts of one key to those of others.
pub(super) fn add_counts(total: &mut [Vec<u64>], counts: &[Vec<u64>]) {
    for (total, counts) in total.iter_mut().zip(counts) {
        total.iter_mut().zip(counts).for_each(|(total, n)| *total = total.saturating_add(*n));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Option<u64> = Some(u64::MAX);

    #[test]
    fn sums_and_differences_stop_at_the_largest_number() {
        let (sums, averages) = moving(&[MOST, Some(1), MOST], 2, 2);
        assert_eq!((sums, averages[0]), (vec![MOST, MOST], Some(u64::MAX as f64 / 2.0)));
        assert_eq!(cumulative(&[Some(1), None, MOST, Some(0)]), [Some(1), None, MOST, MOST]);
        assert_eq!(difference(&[Some(0), MOST, Some(0), None], 3), [Some(i64::MAX), Some(i64::MIN), None]);
        let spread = [u64::MAX; 3].into_iter().fold(None, |spread, n| Some(Spread::with(spread, n)));
        assert_eq!(spread.map(Spread::average), Some(u64::MAX as f64));
        let mut total = vec![vec![u64::MAX, 1]];
        add_counts(&mut total, &[vec![1, 2]]);
        assert_eq!(total, [[u64::MAX, 3]]);
    }

    #[test]
    fn a_moving_window_has_a_value_only_if_all_its_points_are_known() {
        let all = [None, Some(1), Some(2), Some(3), None, Some(4)];
        assert_eq!(moving(&all, 5, 2).0, [None, Some(3), Some(5), None, None]);
        assert_eq!(moving(&all, 6, 1).0, all);
    }

    #[test]
    fn a_gap_is_filled_from_inside_the_range_only() {
        let values = [None, Some(0), Some(2), Some(0), Some(0), Some(8), Some(0), None];
        let count = |n| Some(Filled::Count(n));
        let between = |n| Some(Filled::Between(n));
        assert_eq!(filled(&values, Fill::Zero), []);
        assert_eq!(filled(&values, Fill::Null), [None, None, count(2), None, None, count(8), None, None]);
        assert_eq!(
            filled(&values, Fill::Previous),
            [None, None, count(2), count(2), count(2), count(8), count(8), None]
        );
        assert_eq!(
            filled(&values, Fill::Linear),
            [None, None, count(2), between(4.0), between(6.0), count(8), None, None]
        );
    }
}
