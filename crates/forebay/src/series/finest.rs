//! The buckets that an export reads: at each time those of the finest resolution that is kept there.
//!
//! Numbers in, numbers out: no clock, no engine.

use std::time::Duration;

use super::cover::{Cover, MAX_AHEAD, Run, oldest};
use crate::{
    model::resolution::Resolution,
    time::{Timestamp, secs},
};

/// Buckets that leave their retention this soon are read from the next coarser resolution: they must still be there when the
/// last page is read.
const MAX_MARGIN: Duration = secs(60);

fn margin(resolution: &Resolution) -> Duration {
    MAX_MARGIN.min(resolution.retention / 4)
}

/// The finest buckets that are kept from `from` until before `to`, at most `most` of them.
///
/// The edges are widened to whole buckets. A bucket of the coarsest resolution is kept until the end of its retention, any
/// other until a minute before, or a quarter of a short retention. The next page begins at the end of the cover, with the same `now`.
pub(super) fn finest(
    resolutions: &[Resolution],
    from: Timestamp,
    to: Timestamp,
    now: Timestamp,
    most: i64,
) -> Cover {
    let to = to.min(now.plus(MAX_AHEAD).plus(Duration::from_micros(1)));
    let mut at = from.max(oldest(resolutions, now));
    let mut cover = Cover { runs: vec![], from: at, to: at };
    while at < to && cover.buckets() < most {
        let stays =
            |resolution: &Resolution| resolution.keeps(resolution.bucket(at), now.plus(margin(resolution)));
        let finest = resolutions.iter().position(stays).unwrap_or(resolutions.len() - 1);
        let resolution = &resolutions[finest];
        let first = resolution.bucket(at);
        // The run goes on to the end, or to where a finer resolution is kept.
        let finer = finest.checked_sub(1).map(|finer| &resolutions[finer]);
        let finer = finer.map_or(to, |finer| finer.start(finer.oldest_kept(now.plus(margin(finer)))));
        let last = resolution.bucket(to.min(finer).minus(Duration::from_micros(1)));
        let end = (last + 1).max(first + 1).min(first.saturating_add(most - cover.buckets()));
        if cover.runs.is_empty() {
            cover.from = resolution.start(first);
        }
        cover.runs.push(Run { resolution: finest, buckets: first..end });
        at = resolution.start(end);
        cover.to = at;
    }
    cover
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time::{days, hours};

    const NOW: Timestamp = Timestamp::from_secs(1_790_000_003);

    /// All pages, with the span of each bucket.
    fn buckets(from: Timestamp, to: Timestamp, most: i64) -> Vec<(usize, Timestamp, Timestamp)> {
        let all = Resolution::defaults();
        let (mut at, mut buckets) = (from, vec![]);
        loop {
            let page = finest(&all, at, to, NOW, most);
            if page.runs.is_empty() {
                return buckets;
            }
            assert!(page.buckets() <= most);
            for run in &page.runs {
                let resolution = &all[run.resolution];
                let span = |bucket| (run.resolution, resolution.start(bucket), resolution.start(bucket + 1));
                buckets.extend(run.buckets.clone().map(span));
            }
            at = page.to;
        }
    }

    #[test]
    fn the_first_and_the_last_bucket_are_whole() {
        let (from, to) = (NOW.minus(hours(1)), NOW.minus(hours(1)).plus(secs(1)));
        assert_eq!(buckets(from, to, 9), [(0, from.minus(secs(3)), from.plus(secs(7)))]);
        assert!(buckets(NOW.minus(days(900)), NOW.minus(days(800)), 9).is_empty());
        assert!(buckets(NOW.plus(hours(1)), NOW.plus(hours(2)), 9).is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn pages_have_each_time_once_in_the_finest_buckets_that_stay(
            ago in 1u64..80_000_000,
            length in 1u64..80_000_000,
            most in 1i64..30_000,
        ) {
            let all = Resolution::defaults();
            let from = NOW.minus(secs(ago)).max(NOW.minus(days(730)));
            let to = from.plus(secs(length)).min(NOW);
            let buckets = buckets(from, to, most.max(500));
            prop_assert!(buckets[0].1 <= from && from < buckets[0].2);
            prop_assert!(buckets[buckets.len() - 1].2 >= to);
            prop_assert!(buckets.windows(2).all(|pair| pair[0].2 == pair[1].1), "no gap, no overlap");
            for (resolution, start, _) in buckets {
                if resolution > 0 {
                    let finer = &all[resolution - 1];
                    prop_assert!(!finer.keeps(finer.bucket(start), NOW.plus(margin(finer))), "{start}: {resolution}");
                }
            }
        }
    }
}
