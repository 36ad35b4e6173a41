//! Locks of the embedded engine.

use std::time::Duration;

use uuid::Uuid;

use super::{Embedded, journal::PendingCommit, lock_table::Table};
use crate::{
    engine::{
        notifier::Subscription,
        step::{Claim, Claimed},
    },
    error::Result,
    model::{Holder, Holding, LockState},
};

impl Embedded {
    /// Only a grant waits for a commit: the queue ends with the process.
    pub(crate) async fn lock_claim(&self, claim: Claim<'_>) -> Result<Claimed> {
        let commit = {
            let now = self.clock.monotonic();
            let micros = u64::try_from(self.clock.now().as_micros()).unwrap_or(0);
            let mut table = self.locks.table.lock();
            let mut record = self.journal.record()?;
            let Table { locks, fence } = &mut *table;
            let lock = locks.entry(claim.name.into()).or_default();
            lock.expire(now);
            let holder = if let Some(holder) = lock.held_by(claim.owner) {
                (holder.ttl, holder.deadline) = (claim.ttl, now.saturating_add(claim.ttl));
                holder
            } else {
                let place = lock.place(claim.owner);
                if !lock.is_turn_of(place, now) {
                    return lock.held(&claim, place, now);
                }
                *fence = micros.max(*fence + 1);
                lock.grant(&claim, *fence, now)
            };
            record.note(|batch| batch.hold(claim.name, holder.record(now, &self.clock)));
            record.commit(Claimed::Granted { fence: holder.fence })
        };
        commit.durable().await
    }

    pub(crate) async fn lock_renew(
        &self,
        name: &str,
        owner: Uuid,
        ttl: Option<Duration>,
    ) -> Result<Option<Duration>> {
        let commit = {
            let now = self.clock.monotonic();
            let mut table = self.locks.table.lock();
            let mut record = self.journal.record()?;
            let Some(lock) = table.locks.get_mut(name) else { return Ok(None) };
            lock.expire(now);
            let Some(holder) = lock.held_by(owner) else { return Ok(None) };
            if let Some(ttl) = ttl {
                holder.ttl = ttl.max(holder.deadline.saturating_sub(now));
            }
            holder.deadline = now.saturating_add(holder.ttl);
            record.note(|batch| batch.hold(name, holder.record(now, &self.clock)));
            record.commit(Some(holder.ttl))
        };
        commit.durable().await
    }

    pub(crate) async fn lock_release(&self, name: &str, owner: Uuid) -> Result<bool> {
        self.give_back(name, |holder| holder == owner, |waiter| waiter == owner)?.durable().await
    }

    pub(crate) async fn lock_force_release(&self, name: &str) -> Result<bool> {
        self.give_back(name, |_| true, |_| false)?.durable().await
    }

    pub(crate) async fn lock_state(&self, name: &str) -> Result<LockState> {
        let now = self.clock.monotonic();
        let mut table = self.locks.table.lock();
        let Some(lock) = table.locks.get_mut(name) else { return Ok(LockState::default()) };
        lock.expire(now);
        let holding = lock.holder.as_ref().map(|holder| Holding {
            holder: Holder::from_owner(holder.owner),
            fence: holder.fence,
            held_for: now.saturating_sub(holder.since),
            remaining: holder.deadline.saturating_sub(now),
        });
        Ok(LockState { holding, waiters: lock.queue.len() as u64 })
    }

    pub(crate) fn lock_subscribe(&self, _name: &str, owner: Uuid) -> Subscription {
        self.locks.notifier.subscribe(owner)
    }

    pub(super) fn sweep_locks(&self, now: Duration) {
        let mut table = self.locks.table.lock();
        // A file that takes nothing now is swept later.
        let Ok(mut record) = self.journal.record() else { return };
        table.locks.retain(|name, lock| {
            lock.expire(now);
            let keep = lock.holder.is_some() || !lock.queue.is_empty();
            if !keep {
                record.note(|batch| batch.free(name));
            }
            keep
        });
    }

    /// Ends the hold and the waiting of matching owners, and notifies the first waiter. False: nobody matched.
    ///
    /// It notifies before the release is durable: the next holder is answered after a commit that has both.
    fn give_back(
        &self,
        name: &str,
        holds: impl Fn(Uuid) -> bool,
        waits: impl Fn(Uuid) -> bool,
    ) -> Result<PendingCommit<bool>> {
        let now = self.clock.monotonic();
        let mut table = self.locks.table.lock();
        let mut record = self.journal.record()?;
        let Some(lock) = table.locks.get_mut(name) else { return Ok(PendingCommit::done(false)) };
        lock.expire(now);
        let held = lock.holder.take_if(|holder| holds(holder.owner)).is_some();
        if held {
            lock.free_since = now;
        }
        let waited = lock.queue.len();
        lock.queue.retain(|waiter| !waits(waiter.owner));
        let changed = held || lock.queue.len() < waited;
        if let Some(first) = lock.queue.front().filter(|_| changed) {
            self.locks.notifier.notify(first.owner);
        }
        if !held {
            return Ok(PendingCommit::done(changed));
        }
        record.note(|batch| batch.free(name));
        Ok(record.commit(true))
    }
}
