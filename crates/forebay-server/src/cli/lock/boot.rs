//! Time since the machine started, which all its processes share.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

#[cfg(target_os = "linux")]
const SINCE_BOOT: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const SINCE_BOOT: ClockId = ClockId::Monotonic;

/// Time since the machine started. It goes on while the machine sleeps, and nobody can set it.
pub(super) fn now() -> Duration {
    let time = clock_gettime(SINCE_BOOT);
    let (secs, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(secs.unwrap_or_default(), nanos.unwrap_or_default())
}

/// Turns a lease's deadline, which is kept on the monotonic clock, into one on the boot clock.
///
/// The monotonic clock stands still while the machine sleeps, the lease in its store does not. A sleep that ended
/// after the lease was renewed must not prolong it. So the distance between the two clocks that counts is the one
/// that was measured before the renewal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    /// The boot clock minus the monotonic clock, when it was last looked at.
    distance: Duration,
    /// The last deadline, on the monotonic clock.
    until: Duration,
}

/// Deadlines that differ by less are the same one, computed twice.
const SAME: Duration = Duration::from_millis(1);

impl Deadline {
    /// Starts before the lease is asked for.
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
        // Of a lease that is lost nothing remains, however late it is.
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
