//! The boot clock: the time since the machine started, the same for all processes.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

#[cfg(target_os = "linux")]
const SINCE_BOOT: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const SINCE_BOOT: ClockId = ClockId::Monotonic;

/// The time since the machine started. It includes sleep, and cannot be set.
pub(super) fn now() -> Duration {
    let time = clock_gettime(SINCE_BOOT);
    let (secs, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(secs.unwrap_or_default(), nanos.unwrap_or_default())
}

/// Converts the deadline of a lease from the monotonic clock to the boot clock.
///
/// The monotonic clock stops while the machine sleeps, but the lease in the store expires. A sleep that ended after the
/// renewal must not extend it. So the distance between the clocks is the one measured before the renewal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    /// The boot clock minus the monotonic clock, as last measured.
    distance: Duration,
    /// The last deadline, on the monotonic clock.
    until: Duration,
}

/// Deadlines that differ by less are the same one, computed twice.
const SAME: Duration = Duration::from_millis(1);

impl Deadline {
    /// Measures the clocks, before the lease is requested.
    pub(super) fn new(boot: Duration, monotonic: Duration) -> Self {
        Self { distance: boot.saturating_sub(monotonic), until: Duration::ZERO }
    }

    /// The deadline on the boot clock, if the lease that has `remaining` left was renewed since the last call.
    pub(super) fn renewed(
        &mut self,
        boot: Duration,
        monotonic: Duration,
        remaining: Duration,
    ) -> Option<Duration> {
        let until = monotonic + remaining;
        // A lost lease has no remaining time.
        let is_renewed = !remaining.is_zero() && until > self.until + SAME;
        let deadline = is_renewed.then(|| until + self.distance);
        if deadline.is_some() {
            self.until = until;
        }
        self.distance = boot.saturating_sub(monotonic);
        deadline
    }
}

#[cfg(test)]
mod tests {
    use forebay::time::secs;

    use super::*;

    #[test]
    fn a_renewal_moves_the_deadline_and_the_passing_of_time_does_not() {
        let mut deadline = Deadline::new(secs(1_000), secs(0));
        assert_eq!(deadline.renewed(secs(1_000), secs(0), secs(10)), Some(secs(1_010)));
        assert_eq!(deadline.renewed(secs(1_002), secs(2), secs(8)), None);
        assert_eq!(deadline.renewed(secs(1_004), secs(4), secs(9)), Some(secs(1_013)));
        assert_eq!(deadline.renewed(secs(1_014), secs(14), secs(0)), None);
    }

    #[test]
    fn the_machine_s_sleep_does_not_prolong_a_lease() {
        let mut deadline = Deadline::new(secs(1_000), secs(0));
        assert_eq!(deadline.renewed(secs(1_000), secs(0), secs(10)), Some(secs(1_010)));
        // Asleep for a minute: on the monotonic clock 8 seconds are left.
        assert_eq!(deadline.renewed(secs(1_062), secs(2), secs(8)), None);
        // Renewed after that.
        assert_eq!(deadline.renewed(secs(1_063), secs(3), secs(10)), Some(secs(1_073)));
        // Renewed, and asleep before the renewal was seen here.
        assert_eq!(deadline.renewed(secs(1_126), secs(6), secs(9)), Some(secs(1_075)));
    }
}
