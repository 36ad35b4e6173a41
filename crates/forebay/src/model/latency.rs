//! How long round trips took, in buckets.

use std::time::Duration;

/// The number of buckets.
const BUCKETS: usize = 18;

/// The bound of the first bucket is 2^5 µs. Each further bound is twice the one before; the last bucket has none.
const FIRST_BITS: u32 = 5;

/// Round trips by the time that they took.
///
/// There are 18 buckets. The bounds of the first 17 are 32 µs, 64 µs, 128 µs and so on to 2.1 s.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// for host in bay.cluster().hosts() {
///     if let Some(p99) = host.recent.quantile(0.99) {
///         println!("{}: 99 of 100 round trips took less than {p99:?}", host.name);
///     }
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    counts: [u64; BUCKETS],
    micros: u64,
}

impl Latency {
    /// The number of round trips.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The sum of their times.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.micros)
    }

    /// For each bucket its upper bound, and how many round trips took no longer. The last one has no bound.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<Duration>, u64)> + '_ {
        self.counts.iter().enumerate().scan(0, |sum, (bucket, count)| {
            *sum += count;
            Some((bound(bucket), *sum))
        })
    }

    /// The time within which this share of the round trips ended, such as 0.99, as exactly as the buckets tell: to within a
    /// factor of two. `None`: there were none.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let rank = share.clamp(0.0, 1.0) * self.count() as f64;
        let mut below = 0;
        for (bucket, &count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let (before, after) = (below as f64, (below + count) as f64);
            if rank <= after {
                let from = bucket.checked_sub(1).and_then(bound).unwrap_or_default();
                // Nobody knows how long those in the last bucket took.
                let to = bound(bucket).unwrap_or(from);
                return Some(
                    from + to
                        .saturating_sub(from)
                        .mul_f64(((rank - before) / (after - before)).clamp(0.0, 1.0)),
                );
            }
            below += count;
        }
        None
    }

    /// The round trips since an earlier state of the same host.
    #[cfg(feature = "redis")]
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let counts = std::array::from_fn(|i| self.counts[i].saturating_sub(earlier.counts[i]));
        Self { counts, micros: self.micros.saturating_sub(earlier.micros) }
    }
}

/// Buckets that are counted into: what `Latency` is made from.
#[cfg(feature = "redis")]
#[derive(Debug, Default)]
pub(crate) struct LatencyCounts {
    /// Nothing else is ordered by them, so any memory order will do.
    counts: [std::sync::atomic::AtomicU64; BUCKETS],
    micros: std::sync::atomic::AtomicU64,
}

#[cfg(feature = "redis")]
impl LatencyCounts {
    /// Counts a round trip.
    pub(crate) fn add(&self, took: Duration) {
        use std::sync::atomic::Ordering::Relaxed;
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.counts[bucket(micros)].fetch_add(1, Relaxed);
        self.micros.fetch_add(micros, Relaxed);
    }

    /// The counts as of now.
    pub(crate) fn read(&self) -> Latency {
        use std::sync::atomic::Ordering::Relaxed;
        let counts = std::array::from_fn(|i| self.counts[i].load(Relaxed));
        Latency { counts, micros: self.micros.load(Relaxed) }
    }
}

/// The upper bound of a bucket, which belongs to it.
fn bound(bucket: usize) -> Option<Duration> {
    (bucket + 1 < BUCKETS).then(|| Duration::from_micros(1 << FIRST_BITS << bucket))
}

/// The bucket of a time.
#[cfg(feature = "redis")]
fn bucket(micros: u64) -> usize {
    let bits = u64::BITS - micros.saturating_sub(1).leading_zeros();
    usize::try_from(bits.saturating_sub(FIRST_BITS)).map_or(BUCKETS - 1, |bucket| bucket.min(BUCKETS - 1))
}

#[cfg(all(test, feature = "redis"))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(micros: &[u64]) -> Latency {
        let counts = LatencyCounts::default();
        for micros in micros {
            counts.add(Duration::from_micros(*micros));
        }
        counts.read()
    }

    #[test]
    fn quantiles_lie_in_the_bucket_of_their_rank() {
        assert_eq!(of(&[]).quantile(0.5), None);
        let mut times = [100; 100];
        times[99] = 50_000;
        let latency = of(&times);
        assert_eq!((latency.count(), latency.sum()), (100, Duration::from_micros(59_900)));
        let quantile = |share| latency.quantile(share).expect("there are some").as_micros();
        assert!((64..=128).contains(&quantile(0.5)) && (64..=128).contains(&quantile(0.99)));
        assert!((32_768..=65_536).contains(&quantile(1.0)), "{}", quantile(1.0));
        assert_eq!(of(&[u64::MAX / 2]).quantile(0.5), bound(BUCKETS - 2), "no bound is known");
    }

    #[test]
    fn a_later_state_without_an_earlier_one_has_what_came_between() {
        let counts = LatencyCounts::default();
        counts.add(Duration::from_micros(10));
        let before = counts.read();
        counts.add(Duration::from_micros(70));
        assert_eq!(counts.read().since(&before), of(&[70]));
    }

    proptest! {
        #[test]
        fn a_time_is_within_the_bounds_of_its_bucket(micros in 0..10_000_000_u64) {
            let (bucket, time) = (bucket(micros), Duration::from_micros(micros));
            prop_assert!(bound(bucket).is_none_or(|bound| time <= bound));
            prop_assert!(bucket == 0 || bound(bucket - 1).is_some_and(|bound| time > bound));
        }

        #[test]
        fn buckets_add_up(times in prop::collection::vec(0..10_000_000_u64, 0..50)) {
            let latency = of(&times);
            for (bound, count) in latency.buckets() {
                let within = |&&micros: &&u64| bound.is_none_or(|bound| Duration::from_micros(micros) <= bound);
                prop_assert_eq!(count, times.iter().filter(within).count() as u64);
            }
        }
    }
}
