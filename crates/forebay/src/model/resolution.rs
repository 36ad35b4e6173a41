//! The grid of a series: the length of its buckets, their retention, and their place in a chunk.
//!
//! All inputs and outputs are numbers: it uses no clock and no engine.

#[cfg(feature = "redis")]
use std::ops::RangeInclusive;
use std::{ops::Range, time::Duration};

use crate::{
    error::{Result, out_of_range},
    key::Name,
    time::{Timestamp, days, hours, micros, mins, secs},
};

/// The largest count of a bucket, at which it stops. Every store can hold it and add to it.
pub(crate) const MAX_COUNT: u64 = i64::MAX.unsigned_abs();

/// The length of buckets, and their retention.
///
/// # Examples
/// ```
/// use forebay::{series::Resolution, time::{days, mins}};
/// let minutes = Resolution::new(mins(1), days(7))?;
/// assert_eq!(minutes.step, mins(1));
/// assert!(Resolution::new(mins(7), days(7)).is_err()); // does not divide a day
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Resolution {
    /// The length of a bucket: whole seconds, 1 s to 1 day.
    pub step: Duration,
    /// The time for which a bucket is kept after its end, at least `step`.
    pub retention: Duration,
}

impl Resolution {
    /// Buckets of `step`, kept for `retention`.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) unless `step` is whole seconds from 1 s to 1 day that
    /// divide a day, and `retention` is from `step` to 100 years.
    pub fn new(step: Duration, retention: Duration) -> Result<Self> {
        let whole = step.subsec_nanos() == 0 && step >= secs(1) && step <= days(1);
        if !whole || !days(1).as_secs().is_multiple_of(step.as_secs()) {
            let text = format!("resolution of {step:?}: whole seconds from 1 s to 1 day that divide a day");
            return Err(out_of_range(text));
        }
        if retention < step || retention > days(36_525) {
            return Err(out_of_range(format!(
                "retention of {retention:?} for buckets of {step:?}: from one bucket to 100 years"
            )));
        }
        Ok(Self { step, retention })
    }

    /// The default: 10 s for a day, 1 min for a week, 15 min for 30 days, 1 day for two years.
    pub fn defaults() -> Vec<Self> {
        vec![
            Self { step: secs(10), retention: days(1) },
            Self { step: mins(1), retention: days(7) },
            Self { step: mins(15), retention: days(30) },
            Self { step: days(1), retention: days(730) },
        ]
    }

    /// The index of the bucket that contains `at`, counted from 1970.
    pub fn bucket(&self, at: Timestamp) -> i64 {
        at.as_micros().div_euclid(micros(self.step))
    }

    /// The time at which a bucket begins.
    pub fn start(&self, bucket: i64) -> Timestamp {
        Timestamp::from_micros(bucket.saturating_mul(micros(self.step)))
    }

    /// The span of the bucket that contains `at`.
    pub(crate) fn span(&self, at: Timestamp) -> Range<Timestamp> {
        let bucket = self.bucket(at);
        self.start(bucket)..self.start(bucket.saturating_add(1))
    }

    /// The number of buckets in a chunk, the unit that a store keeps and expires.
    pub(crate) fn slots(&self) -> i64 {
        // About an hour of 10 s buckets, a day of minutes, a week of quarters, a year of days: large
        // enough that a day is read in a few chunks, small enough that a chunk outlives its retention
        // by little.
        let hour = match self.step {
            step if step < secs(30) => hours(1),
            step if step < mins(5) => days(1),
            step if step < hours(6) => days(7),
            _ => days(366),
        };
        i64::try_from(hour.as_secs() / self.step.as_secs()).expect("at most 3600 slots")
    }

    /// The chunk of a bucket, and its slot there.
    pub(crate) fn place(&self, bucket: i64) -> (i64, usize) {
        let slots = self.slots();
        (bucket.div_euclid(slots), usize::try_from(bucket.rem_euclid(slots)).expect("slots are positive"))
    }

    /// The time from `now` for which a bucket is still kept. `None`: it is not kept.
    pub(crate) fn left(&self, bucket: i64, now: Timestamp) -> Option<Duration> {
        let end = self.start(bucket.saturating_add(1)).plus(self.retention);
        Some(end.since(now)).filter(|left| !left.is_zero())
    }

    /// The oldest bucket that is kept at `now`.
    pub(crate) fn oldest_kept(&self, now: Timestamp) -> i64 {
        // The oldest bucket is the first one whose end is after the edge.
        self.bucket(now.minus(self.retention))
    }

    /// The time from `now` for which a store must keep a chunk: until its last bucket leaves the retention. `None`: it has
    /// left.
    #[cfg(any(test, feature = "redis"))]
    pub(crate) fn lifetime(&self, chunk: i64, now: Timestamp) -> Option<Duration> {
        let end = self.start((chunk + 1).saturating_mul(self.slots())).plus(self.retention);
        Some(end.since(now)).filter(|left| !left.is_zero())
    }

    /// The chunks whose buckets are kept at `now`, and the next one, for callers whose clocks are ahead.
    #[cfg(feature = "redis")]
    pub(crate) fn kept_chunks(&self, now: Timestamp) -> RangeInclusive<i64> {
        self.place(self.oldest_kept(now)).0..=self.place(self.bucket(now)).0 + 1
    }

    /// Returns whether a bucket is still kept at `now`.
    pub fn keeps(&self, bucket: i64, now: Timestamp) -> bool {
        self.left(bucket, now).is_some()
    }
}

/// The shortest buckets that have lists of their largest keys: with shorter ones there would be too many lists.
pub(crate) const SHORTEST_RANKED: Duration = mins(5);

/// A checked series definition, which engines use.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    pub name: Name,
    /// The resolutions from the finest to the coarsest. Each step is a multiple of the one before.
    pub resolutions: Box<[Resolution]>,
    pub partitions: u16,
    /// Whether a shared store lists the largest keys of the buckets of some [resolutions](Self::ranked).
    pub is_ranked: bool,
}

impl Grid {
    /// The partition of a key.
    pub(crate) fn partition_of(&self, key: &str) -> u16 {
        u16::try_from(crate::key::hash(key.as_bytes()) % u64::from(self.partitions)).expect("below a u16")
    }

    /// The resolutions whose buckets have lists of their largest keys, if the series is ranked: the coarsest, and the coarsest of
    /// those between 5 min and 1 h, if that is another one.
    #[cfg(feature = "redis")]
    pub(crate) fn ranked(&self) -> impl Iterator<Item = &Resolution> {
        let (last, finer) =
            self.resolutions.split_last().map_or((None, &[][..]), |(last, finer)| (Some(last), finer));
        let can_be = |resolution: &&Resolution| resolution.step >= SHORTEST_RANKED;
        let fine = finer.iter().rev().filter(can_be).find(|resolution| resolution.step <= hours(1));
        last.into_iter().filter(can_be).chain(fine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_have_places_in_chunks() {
        let ten = Resolution::new(secs(10), days(1)).expect("valid");
        let at = Timestamp::from_secs(7_215);
        assert_eq!(ten.bucket(at), 721);
        assert_eq!(ten.place(721), (2, 1));
        assert_eq!(ten.start(721), Timestamp::from_secs(7_210));
        assert_eq!(ten.bucket(Timestamp::from_secs(-1)), -1);
        assert_eq!(ten.place(-1), (-1, 359));
    }

    #[test]
    fn a_chunk_lives_until_its_last_bucket_leaves() {
        let ten = Resolution::new(secs(10), days(1)).expect("valid");
        let end = Timestamp::from_secs(3_600).plus(days(1));
        assert_eq!(ten.lifetime(0, end.minus(secs(5))), Some(secs(5)));
        assert_eq!(ten.lifetime(0, end), None);
        assert!(ten.keeps(359, end.minus(secs(1))) && !ten.keeps(359, end));
        assert_eq!(ten.kept_chunks(end.minus(secs(1))), 0..=25);
        assert_eq!(ten.kept_chunks(end), 1..=26);
    }

    #[test]
    fn odd_steps_are_refused() {
        for (step, retention) in [(7, 100), (0, 100), (86_401, 1 << 40), (10, 5)] {
            assert!(Resolution::new(secs(step), secs(retention)).is_err(), "{step}/{retention}");
        }
    }
}
