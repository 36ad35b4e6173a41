//! From a question about time to the buckets that answer it.
//!
//! Numbers in, numbers out: no clock, no engine.

use std::{ops::Range, time::Duration};

use super::resolution::Resolution;
use crate::{
    error::{Result, out_of_range},
    time::{Timestamp, micros},
};

/// The most points one answer has.
pub const MAX_POINTS: u64 = 100_000;

/// Without a step the answer has at most so many points: more than a screen is wide tells a person no more.
const COMFORTABLE: u64 = 1_500;

/// Buckets of one resolution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Which resolution, as a position among those of the series.
    pub resolution: usize,
    pub buckets: Range<i64>,
}

/// How to answer a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RangePlan {
    pub run: Run,
    /// How many buckets make one point.
    pub per_point: usize,
    pub start: Timestamp,
    pub step: Duration,
}

/// Covers `from..to` with as few buckets as the resolutions allow: coarse inside, fine at the edges.
///
/// An edge is widened to the finest bucket that is still kept there; what nobody keeps any more is left out.
pub(super) fn plan_sum(
    resolutions: &[Resolution],
    from: Timestamp,
    to: Timestamp,
    now: Timestamp,
) -> Vec<Run> {
    let mut runs: Vec<Run> = vec![];
    let mut at = from.max(oldest(resolutions, now));
    if let Some(i) = finest_kept(resolutions, at, now) {
        at = resolutions[i].start(resolutions[i].bucket(at));
    }
    while at < to {
        let Some(finest) = finest_kept(resolutions, at, now) else { break };
        let fits = |resolution: &Resolution| {
            let bucket = resolution.bucket(at);
            resolution.start(bucket) == at && resolution.start(bucket + 1) <= to
        };
        // The finest kept one is taken even where it does not fit: that is the widened edge.
        let chosen = (finest..resolutions.len()).rev().find(|&i| fits(&resolutions[i])).unwrap_or(finest);
        let resolution = &resolutions[chosen];
        let first = resolution.bucket(at);
        // As far as it goes: to the end, or to where a coarser one may take over.
        let coarser = resolutions.get(chosen + 1).map_or(to, |next| next.start(next.bucket(at) + 1));
        let end = resolution.bucket(to.min(coarser)).max(first + 1);
        match runs.last_mut() {
            Some(run) if run.resolution == chosen && run.buckets.end == first => run.buckets.end = end,
            _ => runs.push(Run { resolution: chosen, buckets: first..end }),
        }
        at = resolution.start(end);
    }
    runs
}

/// Chooses the resolution and the step of a range; a step that is asked for is met or, where so fine a bucket is no
/// longer kept, exceeded.
pub(super) fn plan_range(
    resolutions: &[Resolution],
    from: Timestamp,
    to: Timestamp,
    step: Option<Duration>,
    now: Timestamp,
) -> Result<RangePlan> {
    let last = resolutions.len() - 1;
    let kept = finest_kept(resolutions, from, now).unwrap_or(last);
    let (chosen, step) = if let Some(step) = step {
        let divides = |r: &Resolution| step >= r.step && micros(step) % micros(r.step) == 0;
        match (kept..=last).rev().find(|&i| divides(&resolutions[i])) {
            Some(i) => (i, step),
            None if step >= resolutions[kept].step => (kept, round_up(step, resolutions[kept].step)),
            None => (kept, resolutions[kept].step),
        }
    } else {
        let few = |r: &Resolution| points(from, to, r.step) <= COMFORTABLE;
        let i = (kept..=last).find(|&i| few(&resolutions[i])).unwrap_or(last);
        (i, resolutions[i].step)
    };
    if points(from, to, step) > MAX_POINTS {
        return Err(out_of_range(format!(
            "range of {} points of {step:?}: at most {MAX_POINTS}; ask for a longer step or a shorter range",
            points(from, to, step)
        )));
    }
    let resolution = resolutions[chosen];
    let start = Timestamp::from_micros(from.as_micros().div_euclid(micros(step)) * micros(step));
    let count = i64::try_from(points(start, to, step)).expect("at most 100 000, and one for the floor");
    let first = resolution.bucket(start);
    let per_point = micros(step) / micros(resolution.step);
    Ok(RangePlan {
        run: Run { resolution: chosen, buckets: first..first + count * per_point },
        per_point: usize::try_from(per_point).expect("a step is a small multiple"),
        start,
        step,
    })
}

/// The finest resolution that keeps the bucket around `at`.
fn finest_kept(resolutions: &[Resolution], at: Timestamp, now: Timestamp) -> Option<usize> {
    resolutions.iter().position(|resolution| resolution.keeps(resolution.bucket(at), now))
}

/// The oldest time of which anything is kept.
fn oldest(resolutions: &[Resolution], now: Timestamp) -> Timestamp {
    resolutions.last().map_or(now, |coarsest| now.minus(coarsest.retention))
}

fn points(from: Timestamp, to: Timestamp, step: Duration) -> u64 {
    let step = u64::try_from(micros(step)).unwrap_or(u64::MAX).max(1);
    u64::try_from(to.since(from).as_micros()).unwrap_or(u64::MAX).div_ceil(step)
}

/// `step` rounded up to a whole number of `unit`, itself whole seconds.
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
        let runs = plan_sum(&all, NOW.minus(hours(1)), NOW, NOW);
        assert!(runs.iter().any(|run| run.resolution == 2), "{runs:?}");
        assert_eq!(runs.first().map(|run| run.resolution), Some(0));
        assert!(total(&all, &runs) < hours(1) + secs(20));
        let buckets: i64 = runs.iter().map(|run| run.buckets.end - run.buckets.start).sum();
        assert!(buckets < 50, "{buckets} buckets instead of 360");
    }

    #[test]
    fn a_step_is_met_or_what_is_kept_exceeds_it() {
        let all = Resolution::defaults();
        let plan = |ago, step| plan_range(&all, NOW.minus(ago), NOW, step, NOW).expect("few points");
        assert_eq!((plan(hours(1), None).step, plan(hours(1), None).per_point), (secs(10), 1));
        let five = plan(hours(1), Some(mins(5)));
        assert_eq!((five.step, five.run.resolution, five.per_point), (mins(5), 1, 5));
        assert_eq!(plan(days(3), Some(secs(10))).step, mins(1), "10 s buckets are kept for a day");
        assert_eq!(plan(days(3), Some(secs(90))).step, mins(2));
        assert_eq!(plan(days(30), None).run.resolution, 3, "days on a screen: 2 880 quarters are too many");
        assert!(plan_range(&all, NOW.minus(hours(20)), NOW.plus(days(400)), Some(secs(10)), NOW).is_err());
    }

    #[test]
    fn what_nobody_keeps_is_left_out() {
        let all = Resolution::defaults();
        let runs = plan_sum(&all, Timestamp::UNIX_EPOCH, NOW, NOW);
        assert!(total(&all, &runs) <= days(732));
        assert!(plan_sum(&all, Timestamp::UNIX_EPOCH, NOW.minus(days(800)), NOW).is_empty());
    }

    proptest! {
        #[test]
        fn a_sum_covers_its_range_without_gap_or_overlap(ago in 1u64..80_000_000, length in 1u64..80_000_000) {
            let all = Resolution::defaults();
            let (from, to) = (NOW.minus(secs(ago)), NOW.minus(secs(ago)).plus(secs(length)).min(NOW));
            let runs = plan_sum(&all, from, to, NOW);
            let mut at = None;
            for run in &runs {
                let resolution = &all[run.resolution];
                prop_assert!(at.is_none_or(|at| at == resolution.start(run.buckets.start)), "{runs:?}");
                at = Some(resolution.start(run.buckets.end));
            }
            if let Some(end) = at {
                prop_assert!(end >= to);
                let widest = finest_kept(&all, from.max(oldest(&all, NOW)), NOW).map_or(days(1), |i| all[i].step);
                prop_assert!(total(&all, &runs) <= to.since(from) + widest + widest);
            }
        }
    }
}
