//! Plans: points over time, and the buckets that fill them.
//!
//! Numbers in, numbers out: no clock, no engine.

use std::time::Duration;

use super::{
    cover::{Cover, cover, finest_kept, nearest_edge, oldest, plan_sum},
    step::Step,
};
use crate::{
    error::{Result, out_of_range},
    model::resolution::Resolution,
    time::{Timestamp, micros},
};

/// The maximum number of points of one answer.
pub const MAX_POINTS: u64 = 100_000;

/// The maximum number of points if the query has no step: about the width of a screen.
const DEFAULT_POINTS: u64 = 1_500;

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

/// The span of a plan, and the buckets that it may choose.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub from: Timestamp,
    pub to: Timestamp,
    pub now: Timestamp,
    /// The oldest time at which a point of this step must be whole buckets: at most `from`.
    pub reach: Timestamp,
    pub buckets: Buckets,
}

/// The lengths of the buckets of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Buckets {
    /// As few buckets as possible: coarse inside, fine at the edges.
    Few,
    /// The finest that are kept at the start. The last one may be cut: there are finer ones where the span ends.
    Finest,
}

impl Extent {
    pub(super) fn new(from: Timestamp, to: Timestamp, now: Timestamp) -> Self {
        Self { from, to, now, reach: from, buckets: Buckets::Few }
    }

    /// The position of the finest resolution at the start of what is kept.
    pub(super) fn finest(&self, resolutions: &[Resolution]) -> usize {
        let start = self.from.max(oldest(resolutions, self.now));
        finest_kept(resolutions, start, self.now).unwrap_or(resolutions.len() - 1)
    }
}

/// Plans points of one length: the buckets are those of a sum, except buckets longer than the step. So the points add up to
/// the sum over the same span.
///
/// A step is a multiple of the finest resolution. If that resolution is no longer kept at `reach`, the step becomes longer.
pub(super) fn plan_fixed(
    resolutions: &[Resolution],
    extent: Extent,
    requested: Option<Duration>,
) -> Result<Plan> {
    let Extent { from, to, now, reach, buckets } = extent;
    let last = resolutions.len() - 1;
    let kept = Extent { from: reach.min(from), ..extent }.finest(resolutions);
    let step = fixed_step(resolutions, kept, extent, requested)?;
    let start = start_of_step(from, step);
    let points = points(start, to, step);
    if points > MAX_POINTS {
        return Err(out_of_range(format!(
            "range of {points} points of {step:?}: at most {MAX_POINTS}; ask for a longer step or a shorter range"
        )));
    }
    // Each step is a multiple of the one before, so the steps that divide this one come first.
    let coarsest = match buckets {
        Buckets::Few => (kept..=last).rev().find(|&i| divides(step, &resolutions[i])).unwrap_or(kept),
        Buckets::Finest => extent.finest(resolutions),
    };
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
    let Extent { from, to, now, buckets, .. } = extent;
    let (finest, coarsest) = match buckets {
        Buckets::Few => (0, resolutions.len() - 1),
        Buckets::Finest => (extent.finest(resolutions), extent.finest(resolutions)),
    };
    let mut all = Cover { runs: vec![], ..plan_sum(resolutions, from, to, now) };
    let (mut begin, mut coarsened) = (from, false);
    for number in 0..starts.len() {
        let next = starts.get(number + 1).map_or(to, |next| nearest_edge(&resolutions[finest..], *next, now));
        let cover = cover(resolutions, coarsest, begin, next.min(to), now);
        if cover.runs.is_empty() {
            // It is not kept any more, or is yet to come. Or all its time went to the points around it.
            if number > 0 && starts[number] < begin {
                (starts[number], coarsened) = (begin, true);
            }
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

/// The start of the point that contains a time.
pub(super) fn start_of_step(at: Timestamp, step: Duration) -> Timestamp {
    Timestamp::from_micros(at.as_micros().div_euclid(micros(step)).saturating_mul(micros(step)))
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

    proptest! {
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
