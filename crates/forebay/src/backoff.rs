//! Pauses between attempts: exponential back-off, and jitter.

use std::{
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

/// Pauses after failures in a row. Each is twice as long as the one before, up to a bound.
///
/// Half of a pause is random: processes that failed together do not retry together.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0 }
    }

    /// Counts a failure and returns how long to wait before the next attempt.
    pub(crate) fn after_failure(&mut self) -> Duration {
        let doubled = self.first.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        jitter(doubled.min(self.longest), 2)
    }

    /// Starts over after a success.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The failures since the last success.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }
}

/// Shortens `span` at random, by at most one part in `parts`.
pub(crate) fn jitter(span: Duration, parts: u32) -> Duration {
    // Enough random bits for this without a generator of random numbers.
    let share = u32::try_from(RandomState::new().hash_one(()) % 1_024).unwrap_or_default();
    span.saturating_sub(span / parts * share / 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{millis, secs};

    #[test]
    fn pauses_double_up_to_the_longest_and_start_over_after_a_success() {
        let mut backoff = Backoff::new(millis(200), secs(30));
        for longest in [millis(200), millis(400), millis(800)] {
            let pause = backoff.after_failure();
            assert!((longest / 2..=longest).contains(&pause), "{pause:?} of {longest:?}");
        }
        for _ in 0..100 {
            assert!(backoff.after_failure() <= secs(30));
        }
        assert!(backoff.after_failure() >= secs(15));
        assert_eq!(backoff.failures(), 104);
        backoff.reset();
        assert!(backoff.after_failure() <= millis(200));
    }

    #[test]
    fn jitter_takes_at_most_its_part() {
        for _ in 0..100 {
            let span = jitter(secs(10), 5);
            assert!((secs(8)..=secs(10)).contains(&span), "{span:?}");
        }
    }
}
