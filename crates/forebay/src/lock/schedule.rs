//! Which held lock is renewed when.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use uuid::Uuid;

use super::held::HeldLock;

/// The held locks, by the time of their next renewal on the monotonic clock.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    by_time: BTreeMap<(Duration, Uuid), Arc<HeldLock>>,
    times: HashMap<Uuid, Duration>,
    /// Whether the task that renews runs.
    pub running: bool,
}

impl Schedule {
    /// Adds a lock unless it has ended. A guard that is dropped ends its lock before it calls [`remove`](Self::remove), so
    /// either this sees the end or `remove` finds the lock.
    pub(super) fn insert(&mut self, at: Duration, lock: Arc<HeldLock>) {
        if lock.held_until().is_some() {
            self.times.insert(lock.grant.owner, at);
            self.by_time.insert((at, lock.grant.owner), lock);
        }
    }

    pub(super) fn remove(&mut self, owner: Uuid) -> Option<Arc<HeldLock>> {
        let at = self.times.remove(&owner)?;
        self.by_time.remove(&(at, owner))
    }

    /// The time of the next renewal.
    pub(super) fn next(&self) -> Option<Duration> {
        self.by_time.first_key_value().map(|((at, _), _)| *at)
    }

    /// Removes and returns all locks whose renewal is due at `until`.
    pub(super) fn take_due(&mut self, until: Duration) -> Vec<Arc<HeldLock>> {
        let later = self.by_time.split_off(&(until, Uuid::max()));
        let due: Vec<_> = std::mem::replace(&mut self.by_time, later).into_values().collect();
        for lock in &due {
            self.times.remove(&lock.grant.owner);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::{Clock, ManualClock},
        lock::held::Grant,
        time::{Timestamp, secs},
    };

    #[test]
    fn what_has_ended_is_forgotten_at_once() {
        let clock = Clock::from(ManualClock::at(Timestamp::UNIX_EPOCH));
        let lock = |n: u8| {
            let (owner, sent_at) = (Uuid::from_u128(n.into()), clock.monotonic());
            let (name, ttl) = ("report".into(), secs(10));
            let grant = Grant { name, owner, fence: 1, ttl, waited: Duration::ZERO, sent_at };
            Arc::new(HeldLock::new(clock.clone(), grant))
        };
        let (one, two) = (lock(1), lock(2));
        let mut schedule = Schedule::default();
        schedule.insert(secs(3), one.clone());
        schedule.insert(secs(3), two.clone());
        assert_eq!(schedule.by_time.len(), 2);
        assert!(one.end());
        assert!(schedule.remove(one.grant.owner).is_some());
        assert_eq!(schedule.by_time.len(), 1);
        // As after a renewal that was under way while the guard was dropped.
        schedule.insert(Duration::ZERO, one);
        assert_eq!(schedule.by_time.len(), 1);
        assert!(two.end());
        assert!(schedule.remove(two.grant.owner).is_some());
        assert_eq!((schedule.by_time.len(), schedule.times.len()), (0, 0));
    }
}
