//! Locks of the embedded engine.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use uuid::Uuid;

use super::{Embedded, batch::HoldRecord, journal::PendingCommit};
use crate::{
    clock::Clock,
    engine::{
        notifier::{Notifier, Subscription},
        step::{Claim, Claimed, HANDOFF_WINDOW, Holding, LockState, MAX_WAITERS},
    },
    error::Result,
};

/// All locks, and the notifier of their waiters.
#[derive(Debug, Default)]
pub(super) struct Locks {
    table: Mutex<Table>,
    notifier: Arc<Notifier>,
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

impl Holder {
    /// What the file keeps. The clock that measures leases means nothing to another process; the time of day does.
    fn record(&self, now: Duration, clock: &Clock) -> HoldRecord {
        let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        HoldRecord {
            owner: self.owner,
            fence: self.fence,
            ttl: micros(self.ttl),
            at: clock.now(),
            held_for: micros(now.saturating_sub(self.since)),
            remaining: micros(self.deadline.saturating_sub(now)),
        }
    }
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
        let wait = HANDOFF_WINDOW.saturating_mul(u32::try_from(place).unwrap_or(u32::MAX));
        self.holder.is_none() && (self.queue.is_empty() || self.free_since.saturating_add(wait) <= now)
    }

    fn grant(&mut self, claim: &Claim<'_>, fence: u64, now: Duration) -> &Holder {
        let Claim { owner, ttl, .. } = *claim;
        self.queue.retain(|waiter| waiter.owner != owner);
        let deadline = now.saturating_add(ttl);
        self.holder.insert(Holder { owner, fence, ttl, since: now, deadline })
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

impl Locks {
    /// Takes a hold as the file has it; false if its lease has ended since.
    ///
    /// The lease goes on by the time of day; a clock that has gone back does not make it longer than it was.
    pub(super) fn restore(&self, name: &str, record: &HoldRecord, clock: &Clock) -> bool {
        let now = clock.monotonic();
        let passed = clock.now().since(record.at);
        let Some(left) = Duration::from_micros(record.remaining).checked_sub(passed) else { return false };
        // The clock may be younger than the hold, which then looks as old as the clock.
        let since = now.saturating_sub(Duration::from_micros(record.held_for).saturating_add(passed));
        let HoldRecord { owner, fence, ttl, .. } = *record;
        let ttl = Duration::from_micros(ttl);
        let holder = Some(Holder { owner, fence, ttl, since, deadline: now.saturating_add(left) });
        let lock = Lock { holder, free_since: Duration::ZERO, queue: VecDeque::new() };
        self.table().locks.insert(name.into(), lock);
        true
    }

    /// The largest fence so far, as the file has it.
    pub(super) fn restore_fence(&self, fence: u64) {
        self.table().fence = fence;
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock()
    }
}
