//! Locks of the embedded engine.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;
use uuid::Uuid;

use super::Embedded;
use crate::{
    engine::step::{Claim, Claimed, LockState},
    error::Result,
};

/// All locks, and a bell that rings when one of them may have become free.
#[derive(Debug, Default)]
pub(super) struct Locks {
    table: Mutex<HashMap<Box<str>, Lock>>,
    bell: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Lock {
    holder: Option<Holder>,
    /// In order of arrival.
    queue: VecDeque<Waiter>,
    fence: u64,
}

#[derive(Debug)]
struct Holder {
    owner: Uuid,
    since: Duration,
    deadline: Duration,
}

#[derive(Debug)]
struct Waiter {
    owner: Uuid,
    /// By then it has to be heard of again.
    deadline: Duration,
}

impl Lock {
    fn expire(&mut self, now: Duration) {
        if self.holder.as_ref().is_some_and(|holder| holder.deadline <= now) {
            self.holder = None;
        }
        self.queue.retain(|waiter| waiter.deadline > now);
    }

    /// Whose turn it is: the holder's, else the first waiter's, else the claimant's.
    fn turn(&self, owner: Uuid) -> bool {
        match (&self.holder, self.queue.front()) {
            (Some(holder), _) => holder.owner == owner,
            (None, Some(first)) => first.owner == owner,
            (None, None) => true,
        }
    }

    fn remaining(&self, now: Duration) -> Duration {
        let holder = self.holder.as_ref().map(|holder| holder.deadline);
        let next = self.queue.front().map(|waiter| waiter.deadline);
        holder.or(next).unwrap_or(now).saturating_sub(now)
    }
}

impl Embedded {
    #[expect(clippy::unused_async, reason = "steps are async on every engine")]
    pub(crate) async fn lock_claim(&self, claim: Claim<'_>) -> Result<Claimed> {
        let now = self.clock.monotonic();
        let micros = u64::try_from(self.clock.now().as_micros()).unwrap_or(0);
        let mut table = self.locks.table();
        let lock = table.entry(claim.name.into()).or_default();
        lock.expire(now);
        if lock.turn(claim.owner) {
            let since = lock.holder.as_ref().map_or(now, |holder| holder.since);
            if lock.holder.is_none() {
                // Larger than every fence before, also when the last one has been forgotten.
                lock.fence = micros.max(lock.fence + 1);
            }
            lock.holder = Some(Holder { owner: claim.owner, since, deadline: now + claim.ttl });
            lock.queue.retain(|waiter| waiter.owner != claim.owner);
            return Ok(Claimed::Granted { fence: lock.fence });
        }
        let place = lock.queue.iter().position(|waiter| waiter.owner == claim.owner);
        let position = match (claim.queue, place) {
            (None, _) => None,
            (Some(patience), Some(place)) => {
                lock.queue[place].deadline = now + patience;
                Some(place as u64)
            }
            (Some(patience), None) => {
                lock.queue.push_back(Waiter { owner: claim.owner, deadline: now + patience });
                Some(lock.queue.len() as u64 - 1)
            }
        };
        Ok(Claimed::Held { remaining: lock.remaining(now), position })
    }

    #[expect(clippy::unused_async, reason = "steps are async on every engine")]
    pub(crate) async fn lock_renew(&self, claim: Claim<'_>) -> Result<bool> {
        let now = self.clock.monotonic();
        let mut table = self.locks.table();
        let Some(lock) = table.get_mut(claim.name) else { return Ok(false) };
        lock.expire(now);
        let holder = lock.holder.as_mut().filter(|holder| holder.owner == claim.owner);
        Ok(holder.map(|holder| holder.deadline = now + claim.ttl).is_some())
    }

    #[expect(clippy::unused_async, reason = "steps are async on every engine")]
    pub(crate) async fn lock_release(&self, name: &str, owner: Uuid) -> Result<bool> {
        let now = self.clock.monotonic();
        let mut table = self.locks.table();
        let Some(lock) = table.get_mut(name) else { return Ok(false) };
        lock.expire(now);
        let waiting = lock.queue.len();
        lock.queue.retain(|waiter| waiter.owner != owner);
        let held = lock.holder.take_if(|holder| holder.owner == owner).is_some();
        let was_there = held || lock.queue.len() < waiting;
        if was_there {
            self.locks.bell.send_replace(());
        }
        Ok(was_there)
    }

    #[expect(clippy::unused_async, reason = "steps are async on every engine")]
    pub(crate) async fn lock_state(&self, name: &str) -> Result<LockState> {
        let now = self.clock.monotonic();
        let mut table = self.locks.table();
        let mut free = Lock::default();
        let lock = table.get_mut(name).unwrap_or(&mut free);
        lock.expire(now);
        let holder = lock.holder.as_ref();
        Ok(LockState {
            holder: holder.map(|holder| holder.owner),
            fence: lock.fence,
            held_for: holder.map_or(Duration::ZERO, |holder| now.saturating_sub(holder.since)),
            remaining: holder.map_or(Duration::ZERO, |holder| holder.deadline.saturating_sub(now)),
            waiters: lock.queue.len() as u64,
        })
    }

    #[expect(clippy::unused_async, reason = "steps are async on every engine")]
    pub(crate) async fn lock_force_release(&self, name: &str) -> Result<bool> {
        let now = self.clock.monotonic();
        let mut table = self.locks.table();
        let Some(lock) = table.get_mut(name) else { return Ok(false) };
        lock.expire(now);
        let held = lock.holder.take().is_some();
        self.locks.bell.send_replace(());
        Ok(held)
    }

    pub(crate) async fn lock_changed(&self, name: &str, owner: Uuid, at_most: Duration) {
        let mut bell = self.locks.bell.subscribe();
        // A release between the claim and this subscription would be missed: look once more.
        let free = |lock: &Lock| lock.holder.is_none() && lock.turn(owner);
        if self.locks.table().get(name).is_some_and(free) {
            return;
        }
        let rung = async {
            while bell.changed().await.is_ok() {
                if self.locks.table().get(name).is_none_or(free) {
                    return;
                }
            }
        };
        self.clock.timeout(at_most, rung).await;
    }

    pub(super) fn sweep_locks(&self, now: Duration) {
        let mut table = self.locks.table();
        table.retain(|_, lock| {
            lock.expire(now);
            lock.holder.is_some() || !lock.queue.is_empty()
        });
    }
}

impl Locks {
    /// Sections do not panic half-way through a change, so a poisoned table is whole.
    fn table(&self) -> MutexGuard<'_, HashMap<Box<str>, Lock>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
