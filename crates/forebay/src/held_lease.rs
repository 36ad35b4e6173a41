//! A lease that this process holds: its state, its renewal and its loss. Guards of locks and of concurrency limits share it.

use std::{fmt, time::Duration};

use tokio::sync::watch;

use crate::{
    backoff::jitter,
    clock::Clock,
    error::Result,
    lease_margin::{FINE_CLOCK, usable},
    time::{millis, secs, whole_micros},
};

/// A renewal waits for its answer for at most this long. Several fit into the default ttl of a lock.
const RENEWAL_TIMEOUT: Duration = secs(1);

/// Renewals are due at multiples of this span, in microseconds. So those of many leases share a round trip.
const RENEWAL_GRID: u64 = 20_000;

/// Bounds of the pause after a failed renewal, which is a tenth of the ttl.
const MIN_RETRY_PAUSE: Duration = millis(10);
const MAX_RETRY_PAUSE: Duration = secs(1);

/// A lease of `ttl` that the store granted.
#[derive(Debug)]
pub(crate) struct HeldLease {
    clock: Clock,
    pub(crate) ttl: Duration,
    /// When its claim was sent, on the monotonic clock.
    sent_at: Duration,
    state: watch::Sender<State>,
}

/// Moves one way only: from `Held` to `Releasing` or `Ended`, and from `Releasing` to `Ended`. A renewal changes only
/// `Held`, so a late answer cannot revive a lease that was lost or released.
#[derive(Clone, Copy, Debug)]
enum State {
    /// Held until this time of the monotonic clock.
    Held(Duration),
    /// A release is under way.
    Releasing,
    /// Lost; `Loss::Released` also after a guard was dropped, or handed over to a token.
    Ended(Loss),
}

/// The reason why a [`Guard`](crate::Guard) holds its lock no longer.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::lock::Loss;
/// # let bay = forebay::Forebay::open("memory:").await?;
/// let guard = bay.lock("nightly-report").acquire().await?;
/// let lost = guard.lost();
/// drop(guard);
/// assert_eq!(lost.await, Loss::Released);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// The lease ran out before the store confirmed a renewal. Another caller may acquire the lock soon.
    Expired,
    /// The store says that this caller does not hold the lock: it was released by force, or the store lost it.
    NotHolder,
    /// The guard was released or dropped.
    Released,
}

impl HeldLease {
    /// A lease counts from `sent_at`, before its claim was sent.
    pub(crate) fn new(clock: &Clock, ttl: Duration, sent_at: Duration) -> Self {
        let until = sent_at.saturating_add(usable(ttl, FINE_CLOCK));
        Self { clock: clock.clone(), ttl, sent_at, state: watch::Sender::new(State::Held(until)) }
    }

    /// The deadline, by this process's clock; `None` once the lease is not held any more.
    pub(crate) fn held_until(&self) -> Option<Duration> {
        match self.current() {
            State::Held(until) => Some(until),
            State::Releasing | State::Ended(_) => None,
        }
    }

    pub(crate) fn remaining(&self) -> Duration {
        self.held_until().unwrap_or_default().saturating_sub(self.clock.monotonic())
    }

    /// Renews the lease until it ends, and returns why it ended. `renew` gets the time that it may take, and returns whether
    /// the store has the lease.
    ///
    /// A renewal is due after a third of the ttl or a little earlier, so two can fail before the third one is too late.
    pub(crate) async fn keep<F>(&self, mut renew: impl FnMut(Duration) -> F) -> Loss
    where
        F: Future<Output = Result<bool>>,
    {
        let mut changes = self.state.subscribe();
        let mut due = self.renewal_after(self.sent_at);
        loop {
            let ended = changes.wait_for(|state| !matches!(state, State::Held(_)));
            let pause = due.saturating_sub(self.clock.monotonic());
            let has_ended = self.clock.timeout(pause, ended).await.is_some();
            let sent_at = self.clock.monotonic();
            let Some(until) = self.held_until().filter(|_| !has_ended) else { return self.lost().await };
            let timeout = RENEWAL_TIMEOUT.min(self.ttl / 4).min(until.saturating_sub(sent_at));
            due = match renew(timeout).await {
                Ok(true) => {
                    self.renewed(sent_at);
                    self.renewal_after(sent_at)
                }
                Ok(false) => {
                    self.end_if(Loss::NotHolder, |_| true);
                    sent_at
                }
                Err(error) => {
                    tracing::debug!(%error, "renewing a lease failed; trying again");
                    let pause = jitter((self.ttl / 10).clamp(MIN_RETRY_PAUSE, MAX_RETRY_PAUSE), 5);
                    // Not after the deadline, so that the loss is noticed there.
                    (self.clock.monotonic() + pause).min(until)
                }
            };
        }
    }

    fn renewal_after(&self, sent_at: Duration) -> Duration {
        let due = whole_micros(sent_at + jitter(self.ttl / 3, 5));
        Duration::from_micros(due - due % RENEWAL_GRID)
    }

    /// Records that the store renewed the lease after `sent_at`.
    fn renewed(&self, sent_at: Duration) {
        let until = sent_at.saturating_add(usable(self.ttl, FINE_CLOCK));
        // An answer after the deadline is too late.
        self.current();
        self.state.send_if_modified(|state| {
            let State::Held(before) = state else { return false };
            *before = until.max(*before);
            true
        });
    }

    /// Waits for the end of the lease and returns why it ended.
    pub(crate) async fn lost(&self) -> Loss {
        let mut changes = self.state.subscribe();
        loop {
            match self.current() {
                State::Ended(loss) => return loss,
                State::Releasing => return Loss::Released,
                // This waits for the deadline by itself: the task that renews may hang.
                State::Held(until) => {
                    let left = until.saturating_sub(self.clock.monotonic());
                    self.clock.timeout(left, changes.changed()).await;
                }
            }
        }
    }

    /// Begins a release. Returns the deadline of a lease that was held until now, else why it was not held.
    pub(crate) fn begin_release(&self) -> Result<Duration, Loss> {
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

    /// Ends the lease without releasing it in the store. Returns whether the store may still hold it for this owner.
    ///
    /// The store may still hold a lease that ran out by this process's clock: that one is worth a release.
    pub(crate) fn end(&self) -> bool {
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
            self.end_if(Loss::Expired, |until| until <= now);
        }
        *self.state.borrow()
    }

    /// Records a loss if the lease is held until a time that `is_lost`.
    fn end_if(&self, loss: Loss, is_lost: impl Fn(Duration) -> bool) {
        self.state.send_if_modified(|state| {
            let lost = matches!(state, State::Held(until) if is_lost(*until));
            if lost {
                *state = State::Ended(loss);
            }
            lost
        });
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "the lease ran out before the store confirmed a renewal",
            Self::NotHolder => "the store says that this caller does not hold it",
            Self::Released => "it was released",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::ManualClock, time::Timestamp};

    /// A lease that is held from second zero to a little before second ten.
    fn held(hand: &ManualClock) -> HeldLease {
        HeldLease::new(&Clock::from(hand.clone()), secs(10), Duration::ZERO)
    }

    #[tokio::test]
    async fn a_renewal_answered_late_revives_nothing() {
        let hand = ManualClock::at(Timestamp::UNIX_EPOCH);
        let ends: [fn(&HeldLease); 3] = [
            |lease| lease.end_if(Loss::NotHolder, |_| true),
            |lease| assert!(lease.begin_release().is_ok()),
            |lease| assert!(lease.end()),
        ];
        for end in ends {
            let lease = held(&hand);
            end(&lease);
            lease.renewed(secs(5));
            assert_eq!(lease.held_until(), None);
            lease.end_if(Loss::Expired, |_| true);
            assert_ne!(lease.lost().await, Loss::Expired, "nor does it change why it ended");
        }
    }

    #[tokio::test]
    async fn a_renewal_answered_after_the_deadline_is_too_late() {
        let hand = ManualClock::at(Timestamp::UNIX_EPOCH);
        let lease = held(&hand);
        hand.advance(secs(10));
        // It was sent in time, and nothing has read the state since.
        lease.renewed(secs(5));
        assert_eq!(lease.held_until(), None);
        assert_eq!(lease.lost().await, Loss::Expired);
    }

    #[tokio::test]
    async fn renewals_answered_out_of_order_shorten_nothing() {
        let hand = ManualClock::at(Timestamp::UNIX_EPOCH);
        let lease = held(&hand);
        lease.renewed(secs(5));
        let until = lease.held_until();
        lease.renewed(secs(3));
        assert_eq!((lease.held_until(), until), (until, Some(secs(5) + usable(secs(10), FINE_CLOCK))));
    }

    #[tokio::test]
    async fn what_has_ended_is_renewed_no_more() {
        let hand = ManualClock::at(Timestamp::UNIX_EPOCH);
        for is_released in [false, true] {
            let lease = held(&hand);
            let keep = lease.keep(|_| async { unreachable!("it ended before a renewal was due") });
            let end = async { lease.begin_release().is_ok() && (is_released || lease.end()) };
            assert_eq!(tokio::join!(keep, end), (Loss::Released, true));
            assert_eq!(hand.sleepers(), 0);
        }
    }

    #[tokio::test]
    async fn renewals_of_many_leases_are_due_together() {
        let lease = held(&ManualClock::at(Timestamp::UNIX_EPOCH));
        for sent_at in (0..100).map(millis) {
            let due = lease.renewal_after(sent_at);
            assert!(due > sent_at + secs(10) / 4 && due <= sent_at + secs(10) / 3, "{due:?}");
            assert_eq!(due.as_micros() % 20_000, 0);
        }
    }
}
