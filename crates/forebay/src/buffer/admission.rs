//! Admission of writes: how much may wait for the sink.
//!
//! While SQL is unreachable, memory grows with the number of distinct rows. Beyond the soft bounds there is a warning. Beyond
//! the hard bounds writes are refused before the store is full, because a full store would refuse everything else too.

use std::{
    sync::atomic::{AtomicU8, AtomicU64, Ordering},
    time::Duration,
};

use crate::{
    model::Pressure,
    time::{secs, whole_micros},
};

/// The known pressure is at most this old.
const REFRESH_INTERVAL: Duration = secs(1);

/// The pressure that this process knows.
///
/// The atomics need no order: a writer that reads an old value acts on the pressure of a moment before.
#[derive(Debug, Default)]
pub(super) struct Admission {
    /// When the pressure was last refreshed, in microseconds of the monotonic clock.
    refreshed_at: AtomicU64,
    pressure: AtomicU8,
}

impl Admission {
    /// Whether the caller should refresh the pressure: true for one caller in each interval.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        let (now, last) = (whole_micros(now), self.refreshed_at.load(Ordering::Relaxed));
        let due = now.saturating_sub(last) >= whole_micros(REFRESH_INTERVAL);
        due && self.refreshed_at.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    pub(super) fn set(&self, pressure: Pressure, now: Duration) {
        self.refreshed_at.store(whole_micros(now), Ordering::Relaxed);
        self.pressure.store(pressure as u8, Ordering::Relaxed);
    }

    pub(super) fn pressure(&self) -> Pressure {
        match self.pressure.load(Ordering::Relaxed) {
            0 => Pressure::None,
            1 => Pressure::Soft,
            _ => Pressure::Hard,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::millis;

    #[test]
    fn one_caller_a_second_refreshes() {
        let admission = Admission::default();
        assert!(!admission.is_due(millis(999)));
        assert!(admission.is_due(secs(1)) && !admission.is_due(secs(1)));
        admission.set(Pressure::Hard, secs(5));
        assert!(!admission.is_due(millis(5_999)) && admission.is_due(secs(6)));
        assert_eq!(admission.pressure(), Pressure::Hard);
    }
}
