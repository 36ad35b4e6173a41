//! The calls of this process to one host, and its share of them.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crossbeam_utils::CachePadded;
use parking_lot::Mutex;

use crate::model::{Calls, Skew};

/// A call counts less and less for the skew: after this time by a factor of e.
const WINDOW: Duration = Duration::from_mins(1);

/// Fewer recent calls than these, for each host, tell nothing of the skew: a few keys are never even.
const MIN_CALLS_PER_HOST: f64 = 1_000.0;

/// A host with more than so many times the mean is warned of.
pub(super) const MAX_SKEW: f64 = 1.5;

/// The calls of this process to one host.
///
/// Each call adds to two of the counters. They have cache lines of their own, so that those who only ask whether the host is
/// down do not wait for them. Nothing is ordered by them, so any memory order will do.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    begun: CachePadded<AtomicU64>,
    ended: CachePadded<AtomicU64>,
    unanswered: AtomicU64,
    /// Locked to read and to replace, never across an await.
    recent: Mutex<Recent>,
}

/// The recent calls as of the last look.
#[derive(Debug, Default)]
struct Recent {
    at: Duration,
    begun: u64,
    calls: f64,
}

impl Traffic {
    pub(super) fn begin(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a call without an answer, which [ended](Self::end), too.
    pub(super) fn unanswered(&self) {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn calls(&self) -> Calls {
        // In this order: a call that ends in between is not counted as one that ended before it began.
        let ended = self.ended.load(Ordering::Relaxed);
        let begun = self.begun.load(Ordering::Relaxed);
        let unanswered = self.unanswered.load(Ordering::Relaxed);
        Calls { begun, unanswered, in_flight: begun.saturating_sub(ended) }
    }

    /// How many calls were begun in about the last minute.
    pub(super) fn recent(&self, now: Duration) -> f64 {
        let begun = self.begun.load(Ordering::Relaxed);
        let mut recent = self.recent.lock();
        let passed = now.saturating_sub(recent.at);
        let kept = recent.calls * (-passed.as_secs_f64() / WINDOW.as_secs_f64()).exp();
        let calls = kept + begun.saturating_sub(recent.begun) as f64;
        *recent = Recent { at: now.max(recent.at), begun, calls };
        calls
    }
}

/// The skew of each host, by its recent calls (`None`: it is down, and not compared) and its slots.
pub(super) fn skews(hosts: &[(Option<f64>, Option<u16>)]) -> Vec<Skew> {
    let calls: Vec<f64> = hosts.iter().filter_map(|(calls, _)| *calls).collect();
    let enough = calls.iter().sum::<f64>() >= MIN_CALLS_PER_HOST * calls.len() as f64;
    let calls = mean(calls.into_iter()).filter(|_| enough);
    let slots = mean(hosts.iter().filter_map(|(_, slots)| slots.map(f64::from)));
    let over = |mine: Option<f64>, mean: Option<f64>| Some(mine? / mean?);
    let skew = |&(mine, owned): &(Option<f64>, Option<u16>)| Skew {
        calls: over(mine, calls),
        slots: over(owned.map(f64::from), slots),
    };
    hosts.iter().map(skew).collect()
}

/// The mean, unless that is zero.
fn mean(numbers: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = numbers.fold((0.0, 0.0), |(sum, count), number| (sum + number, count + 1.0));
    (sum > 0.0).then(|| sum / count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::secs;

    #[test]
    fn a_call_is_in_flight_until_it_ends() {
        let traffic = Traffic::default();
        (0..3).for_each(|_| traffic.begin());
        traffic.end();
        traffic.unanswered();
        traffic.end();
        assert_eq!(traffic.calls(), Calls { begun: 3, unanswered: 1, in_flight: 1 });
    }

    #[test]
    fn calls_count_for_about_a_minute() {
        let traffic = Traffic::default();
        (0..1_000).for_each(|_| traffic.begin());
        let [now, later, much_later] = [0, 60, 600].map(|at| traffic.recent(secs(at)));
        assert!((now - 1_000.0).abs() < 1.0 && (later - 367.9).abs() < 1.0 && much_later < 1.0);
    }

    #[test]
    fn skew_is_the_load_over_the_mean_of_those_that_are_not_down() {
        let close = |found: Option<f64>, expected: f64| {
            assert!(found.is_some_and(|found| (found - expected).abs() < 1e-9), "{found:?}, not {expected}");
        };
        let found = skews(&[(Some(6_000.0), Some(8_192)), (Some(2_000.0), Some(4_096)), (None, Some(4_096))]);
        close(found[0].calls, 1.5);
        close(found[1].calls, 0.5);
        assert_eq!(found[2].calls, None);
        close(found[0].slots, 1.5);
        close(found[2].slots, 0.75);
        let few = skews(&[(Some(900.0), None), (Some(1_000.0), None)]);
        assert_eq!(few, [Skew::default(); 2]);
        assert_eq!(skews(&[(None, None)]), [Skew::default()]);
    }
}
