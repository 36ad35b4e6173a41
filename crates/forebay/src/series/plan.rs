//! Plans of queries: which buckets answer a query about a span of time.
//!
//! Numbers in, numbers out: no clock, no engine.

use std::{ops::Range, time::Duration};

use super::step::Step;
use crate::{
    error::{Result, out_of_range},
    model::resolution::Resolution,
    time::{Timestamp, micros, mins},
};

/// The maximum number of points of one answer.
pub const MAX_POINTS: u64 = 100_000;

/// A point may be this far ahead of the clock, because the clocks of hosts differ.
pub const MAX_AHEAD: Duration = mins(5);

/// The maximum number of points if the query has no step: about the width of a screen.
const DEFAULT_POINTS: u64 = 1_500;

/// Buckets of one resolution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// The position of the resolution in the series.
    pub resolution: usize,
    pub buckets: Range<i64>,
}

/// The buckets that answer a query, and the span that they cover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cover {
    /// In order of time, without gap or overlap.
    pub runs: Vec<Run>,
    /// `from` and `to` of the query, widened to whole buckets and cut to what is kept.
    pub from: Timestamp,
    pub to: Timestamp,
}

/// Points one after the other, and the buckets that fill them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub cover: Cover,
    pub step: Step,
    /// When each point begins, in order of time.
    pub starts: Vec<Timestamp>,
    /// When the last point ends.
    pub end: Timestamp,
    /// Whether a point is longer than requested or begins elsewhere.
    pub coarsened: bool,
}

/// The span of a plan, and the time that decides what is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub from: Timestamp,
    pub to: Timestamp,
    pub now: Timestamp,
}

impl Extent {
    pub(super) fn new(from: Timestamp, to: Timestamp, now: Timestamp) -> Self {
        Self { from, to, now }
    }

    /// The position of the finest resolution at the start of what is kept.
    pub(super) fn finest(&self, resolutions: &[Resolution]) -> usize {
        let start = self.from.max(oldest(resolutions, self.now));
        finest_kept(resolutions, start, self.now).unwrap_or(resolutions.len() - 1)
    }
}

impl Cover {
    /// The number of buckets to read.
    pub(super) fn buckets(&self) -> i64 {
        self.runs.iter().map(|run| run.buckets.end - run.buckets.start).sum()
    }
}

/// Covers `from..to` with as few buckets as the resolutions allow: coarse inside, fine at the edges.
///
/// An edge is widened to the finest bucket that is still kept there. Times that are no longer kept, or farther ahead than a
/// point may be, are left out.
pub(super) fn plan_sum(resolutions: &[Resolution], from: Timestamp, to: Timestamp, now: Timestamp) -> Cover {
    cover(resolutions, resolutions.len() - 1, from, to, now)
}

/// [`plan_sum`] with no resolution coarser than the one at `coarsest`, which is kept at `from`.
///
/// The choice of resolutions does not change the sum: a bucket that is kept has every point of the finer buckets inside it.
fn cover(
    resolutions: &[Resolution],
    coarsest: usize,
    from: Timestamp,
    to: Timestamp,
    now: Timestamp,
) -> Cover {
    let to = to.min(now.plus(MAX_AHEAD).plus(Duration::from_micros(1)));
    let mut runs: Vec<Run> = vec![];
    let mut at = from.max(oldest(resolutions, now));
    if at >= to {
        return Cover { runs, from: to, to };
    }
    if let Some(i) = finest_kept(resolutions, at, now) {
        at = resolutions[i].start(resolutions[i].bucket(at));
    }
    let start = at;
    while at < to {
        let Some(finest) = finest_kept(resolutions, at, now) else { break };
        let fits = |resolution: &Resolution| {
            let bucket = resolution.bucket(at);
            resolution.start(bucket) == at && resolution.start(bucket + 1) <= to
        };
        // If none fits, the finest kept one is the widened edge.
        let chosen = (finest..=coarsest).rev().find(|&i| fits(&resolutions[i])).unwrap_or(finest);
        let resolution = &resolutions[chosen];
        let first = resolution.bucket(at);
        // The run goes on to the end, or to where a coarser resolution may take over.
        let next = resolutions[..=coarsest].get(chosen + 1);
        let coarser = next.map_or(to, |next| next.start(next.bucket(at) + 1));
        let end = resolution.bucket(to.min(coarser)).max(first + 1);
        match runs.last_mut() {
            Some(run) if run.resolution == chosen && run.buckets.end == first => run.buckets.end = end,
            _ => runs.push(Run { resolution: chosen, buckets: first..end }),
        }
        at = resolution.start(end);
    }
    Cover { runs, from: start, to: at }
}

/// Plans points of one length: the buckets are those of a sum, except buckets longer than the step. So the points add up to
/// the sum over the same span.
///
/// A step is a multiple of the finest resolution. If that resolution is no longer kept at `from`, the step becomes longer.
pub(super) fn plan_fixed(
    resolutions: &[Resolution],
    extent: Extent,
    requested: Option<Duration>,
) -> Result<Plan> {
    let Extent { from, to, now } = extent;
    let last = resolutions.len() - 1;
    let kept = extent.finest(resolutions);
    let step = fixed_step(resolutions, kept, extent, requested)?;
    let start = from.as_micros().div_euclid(micros(step)).saturating_mul(micros(step));
    let start = Timestamp::from_micros(start);
    let points = points(start, to, step);
    if points > MAX_POINTS {
        return Err(out_of_range(format!(
            "range of {points} points of {step:?}: at most {MAX_POINTS}; ask for a longer step or a shorter range"
        )));
    }
    // Each step is a multiple of the one before, so the steps that divide this one come first.
    let coarsest = (kept..=last).rev().find(|&i| divides(step, &resolutions[i])).unwrap_or(kept);
    let edge = |point: u64| {
        let offset = i64::try_from(point).unwrap_or(i64::MAX).saturating_mul(micros(step));
        Timestamp::from_micros(start.as_micros().saturating_add(offset))
    };
    Ok(Plan {
        cover: cover(resolutions, coarsest, from, to, now),
        step: Step::Fixed(step),
        starts: (0..points).map(edge).collect(),
        end: edge(points),
        coarsened: requested.is_some_and(|requested| requested < step),
    })
}

/// The length of a point: the requested one, made longer to whole buckets of the resolution at `kept`.
fn fixed_step(
    resolutions: &[Resolution],
    kept: usize,
    extent: Extent,
    requested: Option<Duration>,
) -> Result<Duration> {
    let last = resolutions.len() - 1;
    match requested {
        Some(step) if step.is_zero() || !divides(step, &resolutions[0]) => {
            let finest = resolutions[0].step;
            let text = format!("step {step:?}: a multiple of {finest:?}, the finest resolution");
            Err(out_of_range(text))
        }
        Some(step) if divides(step, &resolutions[kept]) => Ok(step),
        Some(step) => Ok(round_up(step, resolutions[kept].step)),
        None => {
            let fits = |r: &Resolution| points(extent.from, extent.to, r.step) <= DEFAULT_POINTS;
            Ok(resolutions[kept..].iter().find(|r| fits(r)).unwrap_or(&resolutions[last]).step)
        }
    }
}

/// Plans points between any times, such as the days of a calendar. `starts` has at least one, in order; the first point contains
/// `from`, and the last one `to`.
///
/// Where the buckets that are kept do not end with a point, the point ends with the nearest of them.
pub(super) fn plan_windows(
    resolutions: &[Resolution],
    extent: Extent,
    mut starts: Vec<Timestamp>,
    end: Timestamp,
    step: Step,
) -> Plan {
    let Extent { from, to, now } = extent;
    let mut all = Cover { runs: vec![], ..plan_sum(resolutions, from, to, now) };
    let (mut begin, mut coarsened) = (from, false);
    for number in 0..starts.len() {
        let next = starts.get(number + 1).map_or(to, |next| nearest_edge(resolutions, *next, now));
        let cover = plan_sum(resolutions, begin, next.min(to), now);
        // A point without buckets is not kept any more, or is yet to come.
        if cover.runs.is_empty() {
            continue;
        }
        if number > 0 && starts[number] != cover.from {
            (starts[number], coarsened) = (cover.from, true);
        }
        begin = cover.to;
        all.runs.extend(cover.runs);
    }
    Plan { cover: all, step, starts, end, coarsened }
}

/// The edge of a kept bucket that is nearest to a time.
fn nearest_edge(resolutions: &[Resolution], at: Timestamp, now: Timestamp) -> Timestamp {
    let Some(finest) = finest_kept(resolutions, at, now) else { return at };
    let Range { start, end } = resolutions[finest].span(at);
    if at.since(start) * 2 < resolutions[finest].step { start } else { end }
}

/// The position of the finest resolution that keeps the bucket around `at`.
fn finest_kept(resolutions: &[Resolution], at: Timestamp, now: Timestamp) -> Option<usize> {
    resolutions.iter().position(|resolution| resolution.keeps(resolution.bucket(at), now))
}

/// The oldest time that any resolution keeps.
pub(super) fn oldest(resolutions: &[Resolution], now: Timestamp) -> Timestamp {
    resolutions.last().map_or(now, |coarsest| now.minus(coarsest.retention))
}

/// Whether a step is whole buckets of a resolution.
fn divides(step: Duration, resolution: &Resolution) -> bool {
    micros(step) % micros(resolution.step) == 0
}

fn points(from: Timestamp, to: Timestamp, step: Duration) -> u64 {
    let step = u64::try_from(micros(step)).unwrap_or(u64::MAX).max(1);
    u64::try_from(to.since(from).as_micros()).unwrap_or(u64::MAX).div_ceil(step)
}

/// Rounds `step` up to a multiple of `unit`, which is whole seconds.
fn round_up(step: Duration, unit: Duration) -> Duration {
    let whole = step.as_secs().saturating_add(u64::from(step.subsec_nanos() > 0));
    Duration::from_secs(whole.div_ceil(unit.as_secs()).max(1).saturating_mul(unit.as_secs()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time::{days, hours, mins, secs};

    const NOW: Timestamp = Timestamp::from_secs(1_790_000_003);

    fn plan_range(
        all: &[Resolution],
        from: Timestamp,
        to: Timestamp,
        step: Option<Duration>,
    ) -> Result<Plan> {
        plan_fixed(all, Extent::new(from, to, NOW), step)
    }

    fn total(resolutions: &[Resolution], runs: &[Run]) -> Duration {
        runs.iter()
            .map(|run| {
                resolutions[run.resolution].step
                    * u32::try_from(run.buckets.end - run.buckets.start).expect("few")
            })
            .sum()
    }

    #[test]
    fn an_hour_is_coarse_inside_and_fine_at_the_edges() {
        let all = Resolution::defaults();
        let Cover { runs, .. } = plan_sum(&all, NOW.minus(hours(1)), NOW, NOW);
        assert!(runs.iter().any(|run| run.resolution == 2), "{runs:?}");
        assert_eq!(runs.first().map(|run| run.resolution), Some(0));
        assert!(total(&all, &runs) < hours(1) + secs(20));
        let buckets: i64 = runs.iter().map(|run| run.buckets.end - run.buckets.start).sum();
        assert!(buckets < 50, "{buckets} buckets instead of 360");
    }

    #[test]
    fn a_step_is_met_or_made_longer_where_so_fine_a_bucket_is_not_kept() {
        let all = Resolution::defaults();
        let plan = |ago, step| {
            let plan = plan_range(&all, NOW.minus(ago), NOW, step).expect("few points");
            (plan.step, plan.starts.len())
        };
        let step = |ago, step| plan(ago, step).0;
        assert_eq!(step(hours(1), None), secs(10).into());
        assert_eq!(plan(hours(1), Some(mins(5))), (mins(5).into(), 13));
        assert_eq!(step(hours(1), Some(secs(90))), secs(90).into());
        assert_eq!(step(days(3), Some(secs(10))), mins(1).into(), "10 s buckets are kept for a day");
        assert_eq!(step(days(3), Some(secs(90))), mins(2).into());
        assert_eq!(step(days(30), None), days(1).into(), "days on a screen: 2 880 quarters are too many");
        assert_eq!(step(days(700), Some(days(7))), days(7).into());
        assert!(plan_range(&all, NOW.minus(hours(20)), NOW.plus(days(400)), Some(secs(10))).is_err());
    }

    #[test]
    fn a_step_that_is_no_multiple_of_a_resolution_is_refused() {
        let all = Resolution::defaults();
        let micro = Duration::from_micros(10_000_001);
        for step in [Duration::ZERO, secs(7), secs(5), secs(11), micro, secs(u64::MAX), Duration::MAX] {
            for ago in [hours(1), days(3), days(300)] {
                let error = plan_range(&all, NOW.minus(ago), NOW, Some(step)).expect_err("refused");
                assert!(error.to_string().ends_with("a multiple of 10s, the finest resolution"), "{error}");
            }
        }
        let far = Timestamp::from_micros(i64::MIN);
        assert!(plan_range(&all, far, NOW, Some(secs(u64::MAX / 10 * 10))).is_err());
        assert!(plan_range(&all, far, NOW, Some(days(1 << 26))).is_ok(), "one point");
    }

    #[test]
    fn what_nobody_keeps_is_left_out() {
        let all = Resolution::defaults();
        let Cover { runs, .. } = plan_sum(&all, Timestamp::UNIX_EPOCH, NOW, NOW);
        assert!(total(&all, &runs) <= days(732));
        let (old, older) = (NOW.minus(days(800)), Timestamp::UNIX_EPOCH);
        assert_eq!(plan_sum(&all, older, old, NOW), Cover { runs: vec![], from: old, to: old });
    }

    proptest! {
        #[test]
        fn a_sum_covers_its_range_without_gap_or_overlap(ago in 1u64..80_000_000, length in 1u64..80_000_000) {
            let all = Resolution::defaults();
            let (from, to) = (NOW.minus(secs(ago)), NOW.minus(secs(ago)).plus(secs(length)).min(NOW));
            let Cover { runs, from: begin, to: end } = plan_sum(&all, from, to, NOW);
            let mut at = begin;
            for run in &runs {
                let resolution = &all[run.resolution];
                prop_assert_eq!(at, resolution.start(run.buckets.start), "{:?}", runs);
                at = resolution.start(run.buckets.end);
            }
            prop_assert_eq!(at, end);
            if !runs.is_empty() {
                prop_assert!(end >= to);
                let widest = finest_kept(&all, from.max(oldest(&all, NOW)), NOW).map_or(days(1), |i| all[i].step);
                prop_assert!(total(&all, &runs) <= to.since(from) + widest + widest);
            }
        }

        #[test]
        fn a_range_covers_what_a_sum_does_and_no_bucket_is_of_two_points(
            ago in 1u64..80_000_000,
            length in 1u64..80_000_000,
            step in prop_oneof![Just(None), (1u64..200_000).prop_map(|tens| Some(secs(10 * tens)))],
        ) {
            let all = Resolution::defaults();
            let from = NOW.minus(secs(ago));
            let to = from.plus(secs(length));
            let Ok(plan) = plan_range(&all, from, to, step) else { return Ok(()) };
            let sum = plan_sum(&all, from, to, NOW);
            prop_assert_eq!((plan.cover.from, plan.cover.to), (sum.from, sum.to));
            let Step::Fixed(step) = plan.step else { return Err(TestCaseError::fail("a unit of the calendar")) };
            let point = |at: Timestamp| (at.as_micros() - plan.starts[0].as_micros()).div_euclid(micros(step));
            for run in &plan.cover.runs {
                let resolution = &all[run.resolution];
                for bucket in [run.buckets.start, run.buckets.end - 1] {
                    let (first, end) = (resolution.start(bucket), resolution.start(bucket + 1));
                    prop_assert_eq!(point(first), point(end.minus(Duration::from_micros(1))));
                    prop_assert!((0..i64::try_from(plan.starts.len()).expect("few")).contains(&point(first)), "{:?}", plan);
                }
                prop_assert_eq!(micros(step) % micros(resolution.step), 0);
            }
        }
    }
}
