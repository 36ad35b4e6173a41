//! The state of a held lock. It is told the time and what the store answered, and calls no store.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use uuid::Uuid;

use super::outcome::Loss;
use crate::{
    clock::Clock,
    lease_margin::{FINE_CLOCK, usable},
};

/// A lock that the store granted, shared by its guard and the task that renews it.
#[derive(Debug)]
pub(super) struct HeldLock {
    pub grant: Grant,
    clock: Clock,
    state: watch::Sender<State>,
}

/// The lease that the store granted.
#[derive(Debug)]
pub(super) struct Grant {
    pub name: Arc<str>,
    pub owner: Uuid,
    pub fence: u64,
    pub ttl: Duration,
    /// From the call to the claim that was granted.
    pub waited: Duration,
    /// When that claim was sent, on the monotonic clock.
    pub sent_at: Duration,
}

/// Moves one way only: from `Held` to `Releasing` or `Ended`, and from `Releasing` to `Ended`. A renewal changes only
/// `Held`, so a late answer cannot revive a lock that was lost or released.
#[derive(Clone, Copy, Debug)]
enum State {
    /// Held until this time of the monotonic clock.
    Held(Duration),
    /// A release is under way.
    Releasing,
    /// Lost; `Loss::Released` also after a guard was dropped, or handed over to a token.
    Ended(Loss),
}

impl HeldLock {
    /// The lease counts from before the claim was sent.
    pub(super) fn new(clock: Clock, grant: Grant) -> Self {
        let until = grant.sent_at.saturating_add(usable(grant.ttl, FINE_CLOCK));
        Self { grant, clock, state: watch::Sender::new(State::Held(until)) }
    }

    /// Until when it is held; `None` once it is not held any more.
    pub(super) fn held_until(&self) -> Option<Duration> {
        match self.current() {
            State::Held(until) => Some(until),
            State::Releasing | State::Ended(_) => None,
        }
    }

    pub(super) fn remaining(&self) -> Duration {
        self.held_until().unwrap_or_default().saturating_sub(self.clock.monotonic())
    }

    /// Records that the store renewed the lease after `sent_at`.
    pub(super) fn renewed(&self, sent_at: Duration) {
        let until = sent_at.saturating_add(usable(self.grant.ttl, FINE_CLOCK));
        // An answer after the deadline is too late.
        self.current();
        self.state.send_if_modified(|state| {
            let State::Held(before) = state else { return false };
            *before = until.max(*before);
            true
        });
    }

    /// Records a loss if the lock is still held.
    pub(super) fn lose(&self, loss: Loss) {
        self.lose_if(loss, |_| true);
    }

    /// Waits for the end of the lease and says why it ended.
    pub(super) async fn lost(&self) -> Loss {
        let mut changes = self.state.subscribe();
        loop {
            match self.current() {
                State::Ended(loss) => return loss,
                State::Releasing => return Loss::Released,
                // This waits for the deadline by itself: the task that renews may hang.
                State::Held(until) => {
                    let left = until.saturating_sub(self.clock.monotonic());
                    tokio::select! {
                        _ = changes.changed() => {}
                        () = self.clock.sleep(left) => {}
                    }
                }
            }
        }
    }

    /// Begins a release. Returns the deadline of a lock that was held until now, else why it was not held.
    pub(super) fn begin_release(&self) -> Result<Duration, Loss> {
        let mut before = self.current();
        self.state.send_modify(|state| {
            before = *state;
            if matches!(state, State::Held(_)) {
                *state = State::Releasing;
            }
        });
        match before {
            State::Held(until) => Ok(until),
            State::Releasing => Err(Loss::Released),
            State::Ended(loss) => Err(loss),
        }
    }

    /// Ends the lock without releasing it in the store. Returns whether the store may still hold it for this owner.
    ///
    /// The store may still hold a lease that ran out by this process's clock: that one is worth a release.
    pub(super) fn end(&self) -> bool {
        let mut in_store = true;
        self.state.send_modify(|state| match state {
            State::Held(_) | State::Releasing => *state = State::Ended(Loss::Released),
            State::Ended(loss) => in_store = *loss == Loss::Expired,
        });
        in_store
    }

    /// The state, after a lease that has run out is ended.
    fn current(&self) -> State {
        let now = self.clock.monotonic();
        if matches!(*self.state.borrow(), State::Held(until) if until <= now) {
            // Checked once more under the lock: it may just have been renewed.
            self.lose_if(Loss::Expired, |until| until <= now);
        }
        *self.state.borrow()
    }

    fn lose_if(&self, loss: Loss, is_lost: impl Fn(Duration) -> bool) {
        let lost = self.state.send_if_modified(|state| {
            let lost = matches!(state, State::Held(until) if is_lost(*until));
            if lost {
                *state = State::Ended(loss);
            }
            lost
        });
        if lost {
            let Grant { name, fence, .. } = &self.grant;
            tracing::warn!(lock = &**name, fence, why = %loss, "a lock was lost");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::ManualClock,
        time::{Timestamp, secs},
    };

    /// A lock that is held from second zero to a little before second ten.
    fn held(hand: &ManualClock) -> HeldLock {
        let (name, owner, ttl) = ("report".into(), Uuid::new_v4(), secs(10));
        let grant = Grant { name, owner, fence: 1, ttl, waited: Duration::ZERO, sent_at: Duration::ZERO };
        HeldLock::new(Clock::from(hand.clone()), grant)
    }

    #[tokio::test]
    async fn a_renewal_answered_late_revives_nothing() {
        let hand = ManualClock::at(Timestamp::UNIX_EPOCH);
        let ends: [fn(&HeldLock); 3] = [
            |lock| lock.lose(Loss::NotHolder),
            |lock| assert!(lock.begin_release().is_ok()),
            |lock| assert!(lock.end()),
        ];
        for end in ends {
            let lock = held(&hand);
            end(&lock);
            lock.renewed(secs(5));
            assert_eq!(lock.held_until(), None);
            lock.lose(Loss::Expired);
            assert_ne!(lock.lost().await, Loss::Expired, "nor does it change why it ended");
        }
    }

    #[tokio::test]
    async fn a_renewal_answered_after_the_deadline_is_too_late() {
        let hand = ManualClock::at(Timestamp::UNIX_EPOCH);
        let lock = held(&hand);
        hand.advance(secs(10));
        // It was sent in time, and nothing has read the state since.
        lock.renewed(secs(5));
        assert_eq!(lock.held_until(), None);
        assert_eq!(lock.lost().await, Loss::Expired);
    }

    #[tokio::test]
    async fn renewals_answered_out_of_order_shorten_nothing() {
        let hand = ManualClock::at(Timestamp::UNIX_EPOCH);
        let lock = held(&hand);
        lock.renewed(secs(5));
        let until = lock.held_until();
        lock.renewed(secs(3));
        assert_eq!((lock.held_until(), until), (until, Some(secs(5) + usable(secs(10), FINE_CLOCK))));
    }
}
