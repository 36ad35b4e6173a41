//! The points of a log that a series still has at the end.

use std::{collections::BTreeMap, ops::RangeInclusive};

use forebay::{Timestamp, series::Resolution};

/// Counts points as long as a series keeps them.
///
/// A log may span more time than the series' retention. Then the sum is rightly less than what was added.
#[derive(Clone, Debug)]
pub(super) struct Retained {
    /// The coarsest resolution, which has the longest retention.
    coarsest: Resolution,
    /// Points by bucket; only buckets that are kept.
    buckets: BTreeMap<i64, u64>,
    /// The latest time.
    now: Timestamp,
}

impl Retained {
    pub(super) fn new(coarsest: Resolution) -> Self {
        Self { coarsest, buckets: BTreeMap::new(), now: Timestamp::from_micros(i64::MIN) }
    }

    pub(super) fn add(&mut self, at: Timestamp) {
        *self.buckets.entry(self.coarsest.bucket(at)).or_default() += 1;
    }

    /// Removes the buckets that are no longer kept at `now`.
    pub(super) fn pass(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        while let Some(first) = self.buckets.first_entry() {
            if self.coarsest.keeps(*first.key(), self.now) {
                break;
            }
            first.remove();
        }
    }

    /// The possible sums of the series. A sum may cover only a part of the oldest bucket.
    pub(super) fn sum(&self) -> RangeInclusive<u64> {
        let edge = self.now.minus(self.coarsest.retention);
        let inside = |bucket: i64| self.coarsest.start(bucket) >= edge;
        let sure = self.buckets.iter().filter(|&(&bucket, _)| inside(bucket)).map(|(_, count)| count).sum();
        sure..=self.buckets.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use forebay::time::secs;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_secs(second)
    }

    #[test]
    fn points_count_until_their_bucket_has_left_the_retention() {
        let mut retained = Retained::new(Resolution::new(secs(10), secs(60)).expect("valid"));
        for second in [0, 5, 10, 65] {
            retained.add(at(second));
            retained.pass(at(second));
        }
        assert_eq!(retained.sum(), 2..=4, "at 65 the bucket of 0 to 10 is kept, and begins before 5");
        retained.pass(at(70));
        assert_eq!(retained.sum(), 2..=2);
        retained.pass(at(30));
        assert_eq!(retained.sum(), 2..=2, "time does not go back");
    }
}
