//! How much may wait for the sink, and what becomes of writes beyond it.
//!
//! While SQL is away memory grows with distinct rows, not with hits. The soft bounds raise an alarm; beyond the hard ones
//! writes are refused before the store is full, which would refuse everything else as well.

use std::{
    sync::atomic::{AtomicU8, AtomicU64, Ordering},
    time::Duration,
};

use crate::{model::Pressure, time::secs};

/// How old what is known of the pressure may be.
const REFRESH_INTERVAL: Duration = secs(1);

/// What this process knows of the pressure.
///
/// Atomics of their own: a writer that reads an old value only acts on what was true a moment before.
#[derive(Debug, Default)]
pub(super) struct Admission {
    /// When the pressure was last refreshed, in milliseconds of the monotonic clock.
    refreshed_at: AtomicU64,
    pressure: AtomicU8,
}

impl Admission {
    /// Whether it is time to look again: true for one caller a second.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        let (now, refreshed_at) = (as_millis(now), self.refreshed_at.load(Ordering::Relaxed));
        let due = now.saturating_sub(refreshed_at) >= as_millis(REFRESH_INTERVAL);
        due && self
            .refreshed_at
            .compare_exchange(refreshed_at, now, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }

    pub(super) fn set(&self, pressure: Pressure, now: Duration) {
        self.refreshed_at.store(as_millis(now), Ordering::Relaxed);
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

fn as_millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::millis;

    #[test]
    fn one_caller_a_second_looks() {
        let admission = Admission::default();
        assert!(!admission.is_due(millis(999)));
        assert!(admission.is_due(secs(1)) && !admission.is_due(secs(1)));
        admission.set(Pressure::Hard, secs(5));
        assert!(!admission.is_due(millis(5_999)) && admission.is_due(secs(6)));
        assert_eq!(admission.pressure(), Pressure::Hard);
    }
}
