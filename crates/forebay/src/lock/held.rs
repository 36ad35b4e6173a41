//! A hold and what can become of it.

use std::{sync::Arc, time::Duration};

use tokio::{runtime::Handle, sync::watch};
use uuid::Uuid;

use super::{
    manager::{LockManager, PendingRelease},
    outcome::Loss,
};

/// An acquisition, shared by its guard and by who renews it.
#[derive(Debug)]
pub(super) struct HeldLock {
    pub manager: Arc<LockManager>,
    pub name: Arc<str>,
    pub owner: Uuid,
    pub fence: u64,
    pub ttl: Duration,
    /// From the call to the claim that was granted.
    pub waited: Duration,
    /// Where a guard that is dropped, perhaps outside of any runtime, leaves its release.
    runtime: Handle,
    state: watch::Sender<State>,
}

/// One way only: from `Held` to one of the others, and from `Releasing` to `Over`. A renewal changes nothing but a
/// `Held`, so one that is answered late cannot revive what was lost or given back.
#[derive(Clone, Copy, Debug)]
enum State {
    /// Until then, on this process's clock.
    Held(Duration),
    Lost(Loss),
    /// A release is under way.
    Releasing,
    /// Given back, or handed over.
    Over,
}

/// What a claim that was granted says.
#[derive(Debug)]
pub(super) struct Grant {
    pub name: Arc<str>,
    pub owner: Uuid,
    pub fence: u64,
    pub ttl: Duration,
    pub waited: Duration,
    /// When the claim was sent.
    pub asked: Duration,
}

impl HeldLock {
    /// A hold that counts from before its claim was sent.
    pub(super) fn new(manager: Arc<LockManager>, grant: Grant) -> Self {
        let Grant { name, owner, fence, ttl, waited, asked } = grant;
        let state = watch::Sender::new(State::Held(asked.saturating_add(LockManager::counted_ttl(ttl))));
        Self { manager, name, owner, fence, ttl, waited, runtime: Handle::current(), state }
    }

    /// Until when it is held; `None`: it is not (any more).
    pub(super) fn held_until(&self) -> Option<Duration> {
        match self.current_state() {
            State::Held(until) => Some(until),
            State::Lost(_) | State::Releasing | State::Over => None,
        }
    }

    pub(super) fn remaining(&self) -> Duration {
        let now = self.manager.clock().monotonic();
        self.held_until().unwrap_or_default().saturating_sub(now)
    }

    /// Notes that the store renewed the lease at some time after `asked`.
    pub(super) fn renewed(&self, asked: Duration) {
        let until = asked.saturating_add(LockManager::counted_ttl(self.ttl));
        self.current_state();
        self.state.send_if_modified(|state| match state {
            State::Held(before) => {
                *before = until.max(*before);
                true
            }
            State::Lost(_) | State::Releasing | State::Over => false,
        });
    }

    /// Notes a loss, unless it is not held any more.
    pub(super) fn lose(&self, loss: Loss) {
        let lost = self.state.send_if_modified(|state| lose(state, loss));
        if lost {
            self.report(loss);
        }
    }

    /// Waits for the end of the hold.
    pub(super) async fn lost(&self) -> Loss {
        let mut changes = self.state.subscribe();
        loop {
            match self.current_state() {
                State::Lost(loss) => return loss,
                State::Releasing | State::Over => return Loss::Released,
                // This waits by itself for the deadline: who renews may be stuck.
                State::Held(until) => {
                    let clock = self.manager.clock();
                    let left = until.saturating_sub(clock.monotonic());
                    tokio::select! {
                        _ = changes.changed() => {}
                        () = clock.sleep(left) => {}
                    }
                }
            }
        }
    }

    /// Begins a release; the deadline if it was held until now, or else why not.
    pub(super) fn begin_release(&self) -> Result<Duration, Loss> {
        let mut before = self.current_state();
        self.state.send_modify(|state| {
            before = *state;
            if matches!(state, State::Held(_)) {
                *state = State::Releasing;
            }
        });
        match before {
            State::Held(until) => Ok(until),
            State::Lost(loss) => Err(loss),
            State::Releasing | State::Over => Err(Loss::Released),
        }
    }

    /// Ends the hold without giving it back; false: there was nothing to give back any more.
    ///
    /// A lease that ran out by this process's clock may still stand in the store: that is worth giving back.
    pub(super) fn end(&self) -> bool {
        let mut held = true;
        self.state.send_modify(|state| match state {
            State::Held(_) | State::Releasing => *state = State::Over,
            State::Lost(Loss::Expired) => {}
            State::Lost(_) | State::Over => held = false,
        });
        held
    }

    /// Gives it back in the background.
    pub(super) fn release_in_background(&self) {
        tracing::debug!(lock = &*self.name, fence = self.fence, "a guard was dropped without a release");
        let until = self.manager.clock().monotonic().saturating_add(self.ttl);
        let pending = PendingRelease { name: self.name.clone(), owner: self.owner, until, in_doubt: false };
        self.manager.spawn(&self.runtime, self.manager.clone().release_pending(pending));
    }

    /// The state, after a look at the clock.
    fn current_state(&self) -> State {
        let now = self.manager.clock().monotonic();
        let overdue = |state: &State| matches!(state, State::Held(until) if *until <= now);
        if overdue(&self.state.borrow()) {
            // Looked at again under the lock: it may just have been renewed.
            if self.state.send_if_modified(|state| overdue(state) && lose(state, Loss::Expired)) {
                self.report(Loss::Expired);
            }
        }
        *self.state.borrow()
    }

    fn report(&self, loss: Loss) {
        tracing::warn!(lock = &*self.name, fence = self.fence, why = %loss, "a lock was lost");
    }
}

fn lose(state: &mut State, loss: Loss) -> bool {
    let held = matches!(state, State::Held(_));
    if held {
        *state = State::Lost(loss);
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        bay::Forebay,
        clock::{Clock, ManualClock},
        time::{Timestamp, secs},
    };

    /// A hold from second zero to a little less than second ten.
    async fn hold(hand: &ManualClock) -> HeldLock {
        let clock = Clock::from(hand.clone());
        let bay = Forebay::options().clock(clock.clone()).open("memory:").await.expect("opens");
        let (owner, ttl) = (Uuid::new_v4(), secs(10));
        let (waited, asked) = (Duration::ZERO, Duration::ZERO);
        let grant = Grant { name: "report".into(), owner, fence: 1, ttl, waited, asked };
        HeldLock::new(Arc::new(LockManager::new(bay.engine().clone(), clock)), grant)
    }

    #[tokio::test]
    async fn a_renewal_answered_late_revives_nothing() {
        let hand = ManualClock::at(Timestamp::UNIX_EPOCH);
        let ends: [fn(&HeldLock); 3] = [
            |hold| hold.lose(Loss::NotHolder),
            |hold| assert!(hold.begin_release().is_ok()),
            |hold| assert!(hold.end()),
        ];
        for end in ends {
            let hold = hold(&hand).await;
            end(&hold);
            hold.renewed(secs(5));
            assert_eq!(hold.held_until(), None);
            hold.lose(Loss::Expired);
            assert_ne!(hold.lost().await, Loss::Expired, "nor does it change why it ended");
        }
    }

    #[tokio::test]
    async fn a_renewal_answered_after_the_deadline_is_too_late() {
        let hand = ManualClock::at(Timestamp::UNIX_EPOCH);
        let hold = hold(&hand).await;
        hand.advance(secs(10));
        // It was sent in time, and nobody has looked at the guard since.
        hold.renewed(secs(5));
        assert_eq!(hold.held_until(), None);
        assert_eq!(hold.lost().await, Loss::Expired);
    }

    #[tokio::test]
    async fn renewals_answered_out_of_order_shorten_nothing() {
        let hand = ManualClock::at(Timestamp::UNIX_EPOCH);
        let hold = hold(&hand).await;
        hold.renewed(secs(5));
        let until = hold.held_until();
        hold.renewed(secs(3));
        assert_eq!((hold.held_until(), until), (until, Some(secs(5) + LockManager::counted_ttl(secs(10)))));
    }
}
