//! Acquiring: claims are sent to the store from a task of their own.
//!
//! The caller only waits for that task. When the caller is dropped, the task finishes the claim that is under way, and then
//! releases the lock or leaves the queue: a claim that was sent cannot be cancelled before its answer is known.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use futures::TryFutureExt as _;
use tokio::{runtime::Handle, sync::oneshot};
use uuid::Uuid;

use super::{
    guard::{Grant, Guard},
    manager::{BACKOFF, LockManager, PendingRelease, RETRY_SPAN, STEP_TIMEOUT},
    outcome::Attempt,
};
use crate::{
    backoff::{Backoff, jitter},
    engine::{
        notifier::Subscription,
        step::{Claim, Claimed, HANDOFF_WINDOW},
    },
    error::{Error, ErrorKind, Result, Retry},
    held_lease::HeldLease,
    model::Holder,
    time::{millis, secs},
};

/// The store keeps the place of a waiter that sends no more claims for this long.
const QUEUE_TTL: Duration = secs(5);

/// The longest pause between two claims of a waiter. Two may get lost within `QUEUE_TTL`, and it is shorter than `HANDOFF_WINDOW`.
const MAX_CLAIM_PAUSE: Duration = millis(1_667);

/// Acquires a lock, unless that takes longer than `wait` (`None`: without end). The guard is not renewed yet.
pub(super) async fn run(
    manager: &Arc<LockManager>,
    name: Arc<str>,
    ttl: Duration,
    wait: Option<Duration>,
) -> Result<Attempt<Guard>> {
    let (answer, listener) = oneshot::channel();
    let started = manager.clock().monotonic();
    let task = AcquireTask {
        manager: manager.clone(),
        name,
        ttl,
        owner: Uuid::new_v4(),
        started,
        deadline: wait.map(|wait| started.saturating_add(wait)),
        last_ack: None,
        in_doubt_until: None,
        backoff: BACKOFF,
    };
    manager.spawn(&Handle::current(), task.run(answer));
    listener.await.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Closed, "acquire lock: the tokio runtime is shutting down"))
    })
}

struct AcquireTask {
    manager: Arc<LockManager>,
    name: Arc<str>,
    ttl: Duration,
    owner: Uuid,
    started: Duration,
    /// The end of the wait.
    deadline: Option<Duration>,
    /// When the last claim was sent that got an answer: the store keeps the place in the queue from then on.
    last_ack: Option<Duration>,
    /// Until when a claim without an answer may hold the lock or a place in the queue.
    in_doubt_until: Option<Duration>,
    backoff: Backoff,
}

/// The next action after a claim: stop with an outcome, or claim again after a pause.
type Next = ControlFlow<Result<Attempt<Guard>>, Duration>;

impl AcquireTask {
    async fn run(mut self, mut answer: oneshot::Sender<Result<Attempt<Guard>>>) {
        // Subscribed before the first claim, so that no notification is missed.
        let waits = self.deadline != Some(self.started);
        let turn = waits.then(|| self.manager.engine().lock_subscribe(&self.name, self.owner));
        let outcome = loop {
            match self.claim().await {
                Next::Break(outcome) => break Some(outcome),
                Next::Continue(pause) => {
                    tokio::select! {
                        biased;
                        () = answer.closed() => break None,
                        () = self.manager.closing() => break Some(Err(self.closed())),
                        () = notified(turn.as_ref()) => {}
                        () = self.manager.clock().sleep(pause) => {}
                    }
                }
            }
        };
        if !matches!(outcome, Some(Ok(Attempt::Acquired(_)))) {
            self.leave().await;
        }
        if let Some(outcome) = outcome {
            // If the caller is gone, this drops the guard, which releases the lock.
            drop(answer.send(outcome));
        }
    }

    async fn claim(&mut self) -> Next {
        let Self { manager, name, ttl, owner, .. } = self;
        let sent_at = manager.clock().monotonic();
        let last = self.deadline.is_some_and(|deadline| deadline <= sent_at);
        let claim = Claim { name, owner: *owner, ttl: *ttl, queue: (!last).then_some(QUEUE_TTL) };
        let step = manager.engine().lock_claim(claim);
        let step = step.map_err(|error| error.in_context(format_args!("acquire lock {name:?}")));
        match manager.run_step(STEP_TIMEOUT, "acquire", name, step).await {
            Ok(Claimed::Granted { fence }) => self.granted(sent_at, fence),
            Ok(Claimed::Held { holder, remaining, ahead }) => {
                self.backoff.reset();
                if last {
                    let holder = Holder::from_owner(holder);
                    return Next::Break(Ok(Attempt::Held { holder, remaining, ahead }));
                }
                self.last_ack = Some(sent_at);
                let turn = remaining + HANDOFF_WINDOW * u32::try_from(ahead).unwrap_or(u32::MAX / 2);
                let pause = turn.max(millis(1)).min(jitter(MAX_CLAIM_PAUSE, 5));
                Next::Continue(self.deadline.map_or(pause, |end| pause.min(end.saturating_sub(sent_at))))
            }
            Err(error) => self.failed(error),
        }
    }

    fn granted(&mut self, sent_at: Duration, fence: u64) -> Next {
        let (name, ttl) = (&self.name, self.ttl);
        let lease = HeldLease::new(self.manager.clock(), ttl, sent_at);
        if lease.held_until().is_none() {
            let text =
                format!("acquire lock {name:?}: the store took longer to answer than the ttl of {ttl:?}");
            return self.failed(Error::new(ErrorKind::Timeout, text));
        }
        let waited = sent_at.saturating_sub(self.started);
        let grant = Grant { name: name.clone(), owner: self.owner, fence, waited, lease };
        Next::Break(Ok(Attempt::Acquired(Guard::new(self.manager.clone(), grant))))
    }

    /// Decides whether to claim again after an error. The store knows a claim by its owner, so repeating one is safe.
    fn failed(&mut self, error: Error) -> Next {
        let now = self.manager.clock().monotonic();
        if error.retry() == Retry::Unknown {
            self.in_doubt_until = Some(now + self.ttl.max(QUEUE_TTL));
        }
        let give_up = match (error.retry(), self.last_ack) {
            (Retry::Never, _) | (Retry::Later, None) => Duration::ZERO,
            (_, None) => self.started + RETRY_SPAN,
            (_, Some(last_ack)) => last_ack + QUEUE_TTL,
        };
        let waited = self.deadline.is_some_and(|deadline| deadline.max(self.started + RETRY_SPAN) <= now);
        if give_up <= now || waited {
            // Perhaps the store granted the lock and the answer was lost: the caller has to know that.
            let in_doubt = self.in_doubt_until.is_some();
            return Next::Break(Err(if in_doubt { error.into_ambiguous() } else { error }));
        }
        Next::Continue(self.backoff.after_failure())
    }

    fn closed(&self) -> Error {
        Error::new(ErrorKind::Closed, format!("acquire lock {:?}: the store is closing", self.name))
    }

    /// Releases whatever the store may hold for this task.
    ///
    /// A known place in the queue is left before the caller gets its answer, so that the next waiter does not wait for
    /// it. A claim in doubt is released in the background, because that may take long.
    async fn leave(&self) {
        let Self { manager, name, owner, .. } = self;
        let place_until = self.last_ack.map(|last_ack| last_ack + QUEUE_TTL);
        let in_doubt = self.in_doubt_until.is_some();
        if !in_doubt {
            let Some(place_until) = place_until else { return };
            let step = manager.engine().lock_release(name, *owner);
            let left = manager.run_step(STEP_TIMEOUT, "leave the queue of", name, step).await.is_ok();
            if left || place_until <= manager.clock().monotonic() {
                return;
            }
        }
        let until = self.in_doubt_until.max(place_until).unwrap_or_default();
        let pending = PendingRelease { name: name.clone(), owner: *owner, until, in_doubt };
        manager.release_in_background(&Handle::current(), pending);
    }
}

/// Waits until the store says that it may be this waiter's turn; for ever without a subscription.
async fn notified(turn: Option<&Subscription>) {
    match turn {
        Some(turn) => turn.notified().await,
        None => std::future::pending().await,
    }
}
