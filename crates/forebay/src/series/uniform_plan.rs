//! The plan of a read of buckets: those of one resolution, and the ones around them.
//!
//! Numbers in, numbers out: no clock, no engine.

use super::{
    cover::{Cover, MAX_AHEAD, Run, finest_kept, plan_sum},
    uniform_query::UniformQuery,
};
use crate::{model::resolution::Resolution, time::Timestamp};

/// The most buckets before and after a window that are added up, of the coarsest length. A series with one fine resolution would
/// have millions.
const MAX_AROUND: u32 = 100_000;

/// The buckets that a read of one resolution needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UniformPlan {
    /// The position of the resolution.
    pub resolution: usize,
    /// When the first bucket of the window begins.
    pub start: Timestamp,
    /// The buckets that the resolution keeps before the window, as far as they are added up.
    pub before: Cover,
    /// The buckets themselves, in at most one run.
    pub window: Cover,
    /// The buckets after the window, likewise.
    pub after: Cover,
}

impl UniformPlan {
    pub(super) fn new(resolutions: &[Resolution], query: &UniformQuery, now: Timestamp) -> Self {
        let resolution = Self::resolution(resolutions, query.reach, now);
        let grid = &resolutions[resolution];
        // No bucket is later than points may be.
        let latest = grid.bucket(now.plus(MAX_AHEAD)) + 1;
        let oldest = grid.oldest_kept(now);
        let end = grid.bucket(query.until).clamp(oldest, latest);
        // The bucket around a time ends after it.
        let first = grid.bucket(query.after).clamp(oldest, end);
        let (start, stop) = (grid.start(first), grid.start(end));
        let around = resolutions.last().map_or(grid.step, |coarsest| coarsest.step) * MAX_AROUND;
        let (from, to) =
            (grid.start(oldest).max(start.minus(around)), grid.start(latest).min(stop.plus(around)));
        let runs = if first < end { vec![Run { resolution, buckets: first..end }] } else { vec![] };
        Self {
            resolution,
            start,
            before: plan_sum(resolutions, from, start, now),
            window: Cover { runs, from: start, to: stop },
            after: plan_sum(resolutions, stop, to, now),
        }
    }

    /// The position of the finest resolution that keeps the bucket around a time; the coarsest if none does.
    pub(super) fn resolution(resolutions: &[Resolution], at: Timestamp, now: Timestamp) -> usize {
        finest_kept(resolutions, at, now).unwrap_or(resolutions.len() - 1)
    }

    pub(super) fn covers(&self) -> [&Cover; 3] {
        [&self.before, &self.window, &self.after]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time::{days, secs};

    const NOW: Timestamp = Timestamp::from_secs(1_790_000_003);

    #[test]
    fn what_lies_far_from_the_window_is_not_read() {
        let fine = [Resolution::new(secs(1), days(3_650)).expect("valid")];
        let query = UniformQuery::ending_between(NOW.minus(days(1_000)), NOW.minus(days(999)));
        let plan = UniformPlan::new(&fine, &query, NOW);
        assert_eq!(plan.covers().map(Cover::buckets), [100_000, 86_400, 100_000]);
    }

    proptest! {
        #[test]
        fn the_three_parts_are_all_that_the_resolution_keeps(
            ago in 0_u64..80_000_000,
            length in 0_u64..80_000_000,
            more in 0_u64..900_000,
        ) {
            let all = Resolution::defaults();
            let (after, until) = (NOW.minus(secs(ago)), NOW.minus(secs(ago)).plus(secs(length)));
            let query = UniformQuery::ending_between(after, until).reach(after.minus(secs(more)));
            let plan = UniformPlan::new(&all, &query, NOW);
            let grid = all[plan.resolution];
            prop_assert_eq!(plan.before.runs.is_empty(), plan.start == grid.start(grid.oldest_kept(NOW)));
            // Each part ends where the next one begins.
            let mut at = grid.start(grid.oldest_kept(NOW));
            for run in plan.covers().into_iter().flat_map(|cover| &cover.runs) {
                let resolution = &all[run.resolution];
                prop_assert_eq!(resolution.start(run.buckets.start), at);
                at = resolution.start(run.buckets.end);
            }
            prop_assert!(at > NOW);
            prop_assert!(plan.window.runs.iter().all(|run| run.resolution == plan.resolution));
            if after.minus(secs(more)) > NOW.minus(days(730)) {
                prop_assert!(grid.keeps(grid.bucket(after.minus(secs(more))), NOW));
                let inside = plan.window.to.min(until);
                prop_assert!(inside == plan.window.to && until.since(inside) < grid.step || until > NOW);
            }
        }
    }
}
