//! Locks of the embedded engine.

use std::time::Duration;

use uuid::Uuid;

use super::{Embedded, journal::PendingCommit, lock_table::Table};
use crate::{
    engine::{
        notifier::Subscription,
        step::{Claim, Claimed, Holding, LockState},
    },
    error::Result,
};

impl Embedded {
    pub(crate) async fn lock_claim(&self, claim: Claim<'_>) -> Result<Claimed> {
        let (claimed, ticket) = self.claim(claim)?;
        ticket.durable().await?;
        Ok(claimed)
    }

    pub(crate) async fn lock_renew(&self, name: &str, owner: Uuid) -> Result<Option<Duration>> {
        let (ttl, ticket) = self.renew(name, owner)?;
        ticket.durable().await?;
        Ok(ttl)
    }

    pub(crate) async fn lock_release(&self, name: &str, owner: Uuid) -> Result<bool> {
        let (released, ticket) = self.give_back(name, |holder| holder == owner, |waiter| waiter == owner)?;
        ticket.durable().await?;
        Ok(released)
    }

    pub(crate) async fn lock_force_release(&self, name: &str) -> Result<bool> {
        let (released, ticket) = self.give_back(name, |_| true, |_| false)?;
        ticket.durable().await?;
        Ok(released)
    }

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

    pub(crate) fn lock_subscribe(&self, _name: &str, owner: Uuid) -> Subscription {
        self.locks.notifier.subscribe(owner)
    }

    pub(super) fn sweep_locks(&self, now: Duration) {
        let mut table = self.locks.table();
        // A file that takes nothing now is swept later.
        let Ok(mut record) = self.journal.record() else { return };
        table.locks.retain(|name, lock| {
            lock.expire(now);
            let keep = lock.holder.is_some() || !lock.queue.is_empty();
            if !keep {
                record.free(name);
            }
            keep
        });
    }

    /// Only a grant has a commit to wait for: the queue ends with the process.
    fn claim(&self, claim: Claim<'_>) -> Result<(Claimed, PendingCommit)> {
        let now = self.clock.monotonic();
        let micros = u64::try_from(self.clock.now().as_micros()).unwrap_or(0);
        let mut table = self.locks.table();
        let mut record = self.journal.record()?;
        let Table { locks, fence } = &mut *table;
        let lock = locks.entry(claim.name.into()).or_default();
        lock.expire(now);
        if let Some(holder) = lock.held_by(claim.owner) {
            (holder.ttl, holder.deadline) = (claim.ttl, now.saturating_add(claim.ttl));
            record.hold(claim.name, || holder.record(now, &self.clock));
            return Ok((Claimed::Granted { fence: holder.fence }, record.commit()));
        }
        let place = lock.place(claim.owner);
        if !lock.is_turn_of(place, now) {
            return Ok((lock.held(&claim, place, now)?, PendingCommit::done()));
        }
        *fence = micros.max(*fence + 1);
        let holder = lock.grant(&claim, *fence, now);
        record.hold(claim.name, || holder.record(now, &self.clock));
        Ok((Claimed::Granted { fence: *fence }, record.commit()))
    }

    fn renew(&self, name: &str, owner: Uuid) -> Result<(Option<Duration>, PendingCommit)> {
        let now = self.clock.monotonic();
        let mut table = self.locks.table();
        let mut record = self.journal.record()?;
        let Some(lock) = table.locks.get_mut(name) else { return Ok((None, PendingCommit::done())) };
        lock.expire(now);
        let Some(holder) = lock.held_by(owner) else { return Ok((None, PendingCommit::done())) };
        holder.deadline = now.saturating_add(holder.ttl);
        record.hold(name, || holder.record(now, &self.clock));
        Ok((Some(holder.ttl), record.commit()))
    }

    /// Ends the hold and the waiting of those who match; rings for whoever is first then. False: nobody matched.
    ///
    /// It rings before the end is durable: whoever is granted the lock then is answered after a commit that has both.
    fn give_back(
        &self,
        name: &str,
        holds: impl Fn(Uuid) -> bool,
        waits: impl Fn(Uuid) -> bool,
    ) -> Result<(bool, PendingCommit)> {
        let now = self.clock.monotonic();
        let mut table = self.locks.table();
        let mut record = self.journal.record()?;
        let Some(lock) = table.locks.get_mut(name) else { return Ok((false, PendingCommit::done())) };
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
            return Ok((changed, PendingCommit::done()));
        }
        record.free(name);
        Ok((true, record.commit()))
    }
}
