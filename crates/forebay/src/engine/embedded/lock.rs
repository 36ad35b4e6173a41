//! Locks of the embedded engine.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use uuid::Uuid;

use super::Embedded;
use crate::{
    engine::{
        bell::{Bell, Bells},
        step::{Claim, Claimed, Holding, LockState, MAX_WAITERS, TURN},
    },
    error::Result,
};

/// All locks, and the bells of those who wait for one.
#[derive(Debug, Default)]
pub(super) struct Locks {
    table: Mutex<Table>,
    bells: Arc<Bells>,
}

#[derive(Debug, Default)]
struct Table {
    locks: HashMap<Box<str>, Lock>,
    /// The largest fence so far, of any lock: so a lock that is forgotten needs no memory.
    fence: u64,
}

#[derive(Debug, Default)]
struct Lock {
    holder: Option<Holder>,
    /// Since when there is no holder.
    free_since: Duration,
    /// In order of arrival.
    queue: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Holder {
    owner: Uuid,
    fence: u64,
    ttl: Duration,
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
        if let Some(holder) = self.holder.take_if(|holder| holder.deadline <= now) {
            self.free_since = holder.deadline;
        }
        self.queue.retain(|waiter| waiter.deadline > now);
    }

    fn held_by(&mut self, owner: Uuid) -> Option<&mut Holder> {
        self.holder.as_mut().filter(|holder| holder.owner == owner)
    }

    /// Where in the queue `owner` is, or would be.
    fn place(&self, owner: Uuid) -> usize {
        self.queue.iter().position(|waiter| waiter.owner == owner).unwrap_or(self.queue.len())
    }

    /// Whether who is at `place` may take it: the first at once, each further one a turn later.
    fn is_turn_of(&self, place: usize, now: Duration) -> bool {
        let wait = TURN.saturating_mul(u32::try_from(place).unwrap_or(u32::MAX));
        self.holder.is_none() && (self.queue.is_empty() || self.free_since.saturating_add(wait) <= now)
    }

    fn grant(&mut self, claim: &Claim<'_>, fence: u64, now: Duration) {
        let Claim { owner, ttl, .. } = *claim;
        self.queue.retain(|waiter| waiter.owner != owner);
        self.holder = Some(Holder { owner, fence, ttl, since: now, deadline: now.saturating_add(ttl) });
    }

    /// Says who holds it, after noting that the claimant waits, if it wants to.
    fn held(&mut self, claim: &Claim<'_>, place: usize, now: Duration) -> Result<Claimed> {
        let deadline = claim.queue.map(|patience| now.saturating_add(patience));
        match (deadline, self.queue.get_mut(place)) {
            (Some(deadline), Some(waiter)) => waiter.deadline = deadline,
            (Some(_), None) if place >= MAX_WAITERS => return Err(claim.overcrowded()),
            (Some(deadline), None) => self.queue.push_back(Waiter { owner: claim.owner, deadline }),
            (None, _) => {}
        }
        let remaining =
            self.holder.as_ref().map_or(Duration::ZERO, |holder| holder.deadline.saturating_sub(now));
        let next = self.queue.front().map(|waiter| waiter.owner);
        let holder = self.holder.as_ref().map(|holder| holder.owner).or(next).unwrap_or(claim.owner);
        Ok(Claimed::Held { holder, remaining, ahead: place as u64 })
    }
}

impl Embedded {
    #[expect(clippy::unused_async, reason = "steps are async on every engine")]
    pub(crate) async fn lock_claim(&self, claim: Claim<'_>) -> Result<Claimed> {
        let now = self.clock.monotonic();
        let micros = u64::try_from(self.clock.now().as_micros()).unwrap_or(0);
        let mut table = self.locks.table();
        let Table { locks, fence } = &mut *table;
        let lock = locks.entry(claim.name.into()).or_default();
        lock.expire(now);
        if let Some(holder) = lock.held_by(claim.owner) {
            (holder.ttl, holder.deadline) = (claim.ttl, now.saturating_add(claim.ttl));
            return Ok(Claimed::Granted { fence: holder.fence });
        }
        let place = lock.place(claim.owner);
        if !lock.is_turn_of(place, now) {
            return lock.held(&claim, place, now);
        }
        *fence = micros.max(*fence + 1);
        lock.grant(&claim, *fence, now);
        Ok(Claimed::Granted { fence: *fence })
    }

    #[expect(clippy::unused_async, reason = "steps are async on every engine")]
    pub(crate) async fn lock_renew(&self, name: &str, owner: Uuid) -> Result<Option<Duration>> {
        let now = self.clock.monotonic();
        let mut table = self.locks.table();
        let Some(lock) = table.locks.get_mut(name) else { return Ok(None) };
        lock.expire(now);
        Ok(lock.held_by(owner).map(|holder| {
            holder.deadline = now.saturating_add(holder.ttl);
            holder.ttl
        }))
    }

    #[expect(clippy::unused_async, reason = "steps are async on every engine")]
    pub(crate) async fn lock_release(&self, name: &str, owner: Uuid) -> Result<bool> {
        self.give_back(name, |holder| holder == owner, |waiter| waiter == owner)
    }

    #[expect(clippy::unused_async, reason = "steps are async on every engine")]
    pub(crate) async fn lock_force_release(&self, name: &str) -> Result<bool> {
        self.give_back(name, |_| true, |_| false)
    }

    #[expect(clippy::unused_async, reason = "steps are async on every engine")]
    pub(crate) async fn lock_state(&self, name: &str) -> Result<LockState> {
        let now = self.clock.monotonic();
        let mut table = self.locks.table();
        let Some(lock) = table.locks.get_mut(name) else { return Ok(LockState::default()) };
        lock.expire(now);
        let holder = lock.holder.as_ref().map(|holder| Holding {
            owner: holder.owner,
            fence: holder.fence,
            held_for: now.saturating_sub(holder.since),
            remaining: holder.deadline.saturating_sub(now),
        });
        Ok(LockState { holder, waiters: lock.queue.len() as u64 })
    }

    pub(crate) fn lock_bell(&self, _name: &str, owner: Uuid) -> Bell {
        self.locks.bells.hang(owner)
    }

    pub(super) fn sweep_locks(&self, now: Duration) {
        let mut table = self.locks.table();
        table.locks.retain(|_, lock| {
            lock.expire(now);
            lock.holder.is_some() || !lock.queue.is_empty()
        });
    }

    /// Ends the hold and the waiting of those who match; rings for whoever is first then. False: nobody matched.
    fn give_back(
        &self,
        name: &str,
        holds: impl Fn(Uuid) -> bool,
        waits: impl Fn(Uuid) -> bool,
    ) -> Result<bool> {
        let now = self.clock.monotonic();
        let mut table = self.locks.table();
        let Some(lock) = table.locks.get_mut(name) else { return Ok(false) };
        lock.expire(now);
        let held = lock.holder.take_if(|holder| holds(holder.owner)).is_some();
        if held {
            lock.free_since = now;
        }
        let waited = lock.queue.len();
        lock.queue.retain(|waiter| !waits(waiter.owner));
        let changed = held || lock.queue.len() < waited;
        if let Some(first) = lock.queue.front().filter(|_| changed) {
            self.locks.bells.ring(first.owner);
        }
        Ok(changed)
    }
}

impl Locks {
    /// Sections do not panic half-way through a change, so a poisoned table is whole.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
