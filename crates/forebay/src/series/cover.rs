//! Covers: which buckets answer a query about a span of time.
//!
//! Numbers in, numbers out: no clock, no engine.

use std::{ops::Range, time::Duration};

use crate::{
    model::resolution::Resolution,
    time::{Timestamp, mins},
};

/// A point may be this far ahead of the clock, because the clocks of hosts differ.
pub const MAX_AHEAD: Duration = mins(5);

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

impl Cover {
    /// The number of buckets to read.
    pub(super) fn buckets(&self) -> i64 {
        self.runs.iter().map(|run| run.buckets.end - run.buckets.start).sum()
    }

    /// A count of zero for each bucket of each run.
    pub(super) fn zeros(&self) -> impl Iterator<Item = Vec<u64>> {
        let zeros = |run: &Run| vec![0; usize::try_from(run.buckets.end - run.buckets.start).unwrap_or(0)];
        self.runs.iter().map(zeros)
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
pub(super) fn cover(
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

/// The edge of a kept bucket that is nearest to a time.
pub(super) fn nearest_edge(resolutions: &[Resolution], at: Timestamp, now: Timestamp) -> Timestamp {
    let Some(finest) = finest_kept(resolutions, at, now) else { return at };
    let Range { start, end } = resolutions[finest].span(at);
    if at.since(start) * 2 < resolutions[finest].step { start } else { end }
}

/// Whether a kept bucket begins at a time.
pub(super) fn is_edge(resolutions: &[Resolution], at: Timestamp, now: Timestamp) -> bool {
    finest_kept(resolutions, at, now).is_some_and(|finest| resolutions[finest].span(at).start == at)
}

/// The position of the finest resolution that keeps the bucket around `at`.
pub(super) fn finest_kept(resolutions: &[Resolution], at: Timestamp, now: Timestamp) -> Option<usize> {
    resolutions.iter().position(|resolution| resolution.keeps(resolution.bucket(at), now))
}

/// The oldest time that any resolution keeps.
pub(super) fn oldest(resolutions: &[Resolution], now: Timestamp) -> Timestamp {
    resolutions.last().map_or(now, |coarsest| now.minus(coarsest.retention))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time::{days, hours, secs};

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
        let Cover { runs, .. } = plan_sum(&all, NOW.minus(hours(1)), NOW, NOW);
        assert!(runs.iter().any(|run| run.resolution == 2), "{runs:?}");
        assert_eq!(runs.first().map(|run| run.resolution), Some(0));
        assert!(total(&all, &runs) < hours(1) + secs(20));
        let buckets: i64 = runs.iter().map(|run| run.buckets.end - run.buckets.start).sum();
        assert!(buckets < 50, "{buckets} buckets instead of 360");
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
    }
}
