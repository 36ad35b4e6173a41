//! The locks in memory, and their queues.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use uuid::Uuid;

use super::batch::HoldRecord;
use crate::{
    clock::Clock,
    engine::{
        notifier::Notifier,
        step::{Claim, Claimed, HANDOFF_WINDOW, MAX_WAITERS},
    },
    error::Result,
};

/// All locks, and the notifier of their waiters.
#[derive(Debug, Default)]
pub(super) struct Locks {
    pub table: Mutex<Table>,
    pub notifier: Arc<Notifier>,
}

#[derive(Debug, Default)]
pub(super) struct Table {
    pub locks: HashMap<Box<str>, Lock>,
    /// The largest fence so far, of any lock: so a lock that is forgotten needs no memory.
    pub fence: u64,
}

#[derive(Debug, Default)]
pub(super) struct Lock {
    pub holder: Option<Holder>,
    /// Since when there is no holder.
    pub free_since: Duration,
    /// In order of arrival.
    pub queue: VecDeque<Waiter>,
}

#[derive(Debug)]
pub(super) struct Holder {
    pub owner: Uuid,
    pub fence: u64,
    pub ttl: Duration,
    pub since: Duration,
    pub deadline: Duration,
}

#[derive(Debug)]
pub(super) struct Waiter {
    pub owner: Uuid,
    /// It has to claim again by then.
    pub deadline: Duration,
}

impl Holder {
    /// The record for the file. It has the time of day: the monotonic clock means nothing to another process.
    pub(super) fn record(&self, now: Duration, clock: &Clock) -> HoldRecord {
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
    pub(super) fn expire(&mut self, now: Duration) {
        if let Some(holder) = self.holder.take_if(|holder| holder.deadline <= now) {
            self.free_since = holder.deadline;
        }
        self.queue.retain(|waiter| waiter.deadline > now);
    }

    pub(super) fn held_by(&mut self, owner: Uuid) -> Option<&mut Holder> {
        self.holder.as_mut().filter(|holder| holder.owner == owner)
    }

    /// Where in the queue `owner` is, or would be.
    pub(super) fn place(&self, owner: Uuid) -> usize {
        self.queue.iter().position(|waiter| waiter.owner == owner).unwrap_or(self.queue.len())
    }

    /// Whether the waiter at `place` may take it: the first at once, each further one a handoff window later.
    pub(super) fn is_turn_of(&self, place: usize, now: Duration) -> bool {
        let wait = HANDOFF_WINDOW.saturating_mul(u32::try_from(place).unwrap_or(u32::MAX));
        self.holder.is_none() && (self.queue.is_empty() || self.free_since.saturating_add(wait) <= now)
    }

    pub(super) fn grant(&mut self, claim: &Claim<'_>, fence: u64, now: Duration) -> &mut Holder {
        let Claim { owner, ttl, .. } = *claim;
        self.queue.retain(|waiter| waiter.owner != owner);
        let deadline = now.saturating_add(ttl);
        self.holder.insert(Holder { owner, fence, ttl, since: now, deadline })
    }

    /// Answers who holds it, and queues the claimant if it wants to wait.
    pub(super) fn held(&mut self, claim: &Claim<'_>, place: usize, now: Duration) -> Result<Claimed> {
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
        self.table.lock().locks.insert(name.into(), lock);
        true
    }
}
