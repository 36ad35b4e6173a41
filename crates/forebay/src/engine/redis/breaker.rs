//! A circuit breaker in front of a host whose answers come too late.
//!
//! Numbers in, numbers out: no clock, no connection.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

/// Takes in a row without an answer that open it: fewer may be an accident.
const FAILURES: u32 = 5;

/// Time between two probes while it is open.
const PAUSE: Duration = Duration::from_millis(500);

/// A circuit breaker: closed, all pass; open, none does; half open, one tries.
///
/// Atomics and no lock, since every take passes here. All are relaxed: nothing else is ordered by them, and a caller
/// that reads an old value waits once more, or is turned away once more.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: AtomicU32,
    /// In µs on the monotonic clock: open until then. Zero: closed.
    until: AtomicU64,
}

impl Breaker {
    /// Whether it is closed; this reads no clock.
    pub(super) fn is_closed(&self) -> bool {
        self.until.load(Ordering::Relaxed) == 0
    }

    /// Whether a caller may send a take at `now`. While it is open, one caller in each pause may.
    pub(super) fn allow_probe(&self, now: Duration) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        if until == 0 {
            return true;
        }
        let now = micros(now);
        now >= until
            && self
                .until
                .compare_exchange(until, now + micros(PAUSE), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Notes that the host answered, which closes it.
    pub(super) fn on_answer(&self) {
        if self.failures.load(Ordering::Relaxed) > 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.until.store(0, Ordering::Relaxed);
        }
    }

    /// Notes that the host did not answer in time; true: this opened it.
    pub(super) fn on_timeout(&self, now: Duration) -> bool {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failures < FAILURES {
            return false;
        }
        self.until.swap(micros(now) + micros(PAUSE), Ordering::Relaxed) == 0
    }
}

/// At least 1, since zero is closed.
fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX / 2).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{millis, secs};

    fn opened() -> Breaker {
        let breaker = Breaker::default();
        let opened: Vec<bool> = (0..FAILURES).map(|_| breaker.on_timeout(secs(10))).collect();
        assert_eq!(opened, [false, false, false, false, true]);
        breaker
    }

    #[test]
    fn some_failures_in_a_row_open_it_and_an_answer_in_between_does_not_let_them_add_up() {
        let breaker = Breaker::default();
        for _ in 0..10 {
            (1..FAILURES).for_each(|_| assert!(!breaker.on_timeout(secs(1))));
            breaker.on_answer();
            assert!(breaker.is_closed());
        }
        let breaker = opened();
        assert!(!breaker.is_closed() && !breaker.allow_probe(secs(10)));
    }

    #[test]
    fn half_open_one_tries_and_its_answer_closes_it() {
        let breaker = opened();
        assert!(!breaker.allow_probe(secs(10) + millis(499)));
        assert!(breaker.allow_probe(secs(10) + millis(500)));
        assert!(!breaker.allow_probe(secs(10) + millis(501)), "one is on its way");
        assert!(!breaker.on_timeout(secs(10) + millis(550)), "it was open before");
        assert!(!breaker.allow_probe(secs(11)), "its silence counts from when it gave up");
        assert!(breaker.allow_probe(secs(11) + millis(50)));
        breaker.on_answer();
        assert!(breaker.is_closed() && breaker.allow_probe(secs(11) + millis(51)));
    }

    #[test]
    fn a_probe_that_was_dropped_keeps_nobody_out_for_ever() {
        let breaker = opened();
        assert!(breaker.allow_probe(secs(11)));
        assert!(breaker.allow_probe(secs(12)), "the next pause has its own");
    }
}
