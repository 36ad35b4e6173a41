//! Acquiring: the exchange with the store, in a task of its own.
//!
//! The caller only listens. If it goes away, the task ends what it is in the middle of and then gives back what it
//! got, or leaves the queue: a claim that has been sent cannot be taken back, only answered for.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use futures::TryFutureExt as _;
use tokio::{runtime::Handle, sync::oneshot};
use uuid::Uuid;

use super::{
    guard::Guard,
    held::{Grant, HeldLock},
    manager::{LockManager, PendingRelease, RETRY_SPAN, backoff, spread},
    outcome::{Attempt, Holder},
};
use crate::{
    engine::{
        notifier::Subscription,
        step::{Claim, Claimed, HANDOFF_WINDOW},
    },
    error::{Error, ErrorKind, Result, Retry},
    time::{millis, secs},
};

/// How long the store keeps a waiter's place in the queue without hearing from it.
const QUEUE_TTL: Duration = secs(5);

/// Interval between the claims of a waiter. Two may get lost before `QUEUE_TTL`, and it is shorter than `HANDOFF_WINDOW`.
const HEARTBEAT: Duration = millis(1_667);

/// What is asked for.
#[derive(Debug)]
pub(super) struct Request {
    pub manager: Arc<LockManager>,
    pub name: Arc<str>,
    pub ttl: Duration,
    /// `None`: as long as it takes.
    pub wait: Option<Duration>,
}

/// Acquires, unless it takes too long. The guard is not renewed yet.
pub(super) async fn run(request: Request) -> Result<Attempt> {
    let (answer, listener) = oneshot::channel();
    let manager = request.manager.clone();
    manager.spawn(&Handle::current(), AcquireTask::new(request).run(answer));
    listener.await.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Closed, "acquire lock: the runtime that does it is shutting down"))
    })
}

struct AcquireTask {
    request: Request,
    owner: Uuid,
    started: Duration,
    /// The end of the wait.
    until: Option<Duration>,
    /// When the last claim was sent that was answered: the place in the queue is kept from then on.
    last_ack: Option<Duration>,
    /// Until when a claim of unknown fate may stand in the store.
    in_doubt_until: Option<Duration>,
    failures: u32,
}

/// What to do after a claim: stop with an outcome, or claim again after a pause.
type Next = ControlFlow<Result<Attempt>, Duration>;

impl AcquireTask {
    fn new(request: Request) -> Self {
        let started = request.manager.clock().monotonic();
        let until = request.wait.map(|wait| started.saturating_add(wait));
        Self {
            request,
            owner: Uuid::new_v4(),
            started,
            until,
            last_ack: None,
            in_doubt_until: None,
            failures: 0,
        }
    }

    async fn run(mut self, mut answer: oneshot::Sender<Result<Attempt>>) {
        // Subscribed before the first claim, so that no notification is missed.
        let waits = self.request.wait != Some(Duration::ZERO);
        let subscription =
            waits.then(|| self.request.manager.engine().lock_subscribe(&self.request.name, self.owner));
        let outcome = loop {
            match self.claim().await {
                Next::Break(outcome) => break Some(outcome),
                Next::Continue(pause) => {
                    tokio::select! {
                        biased;
                        () = answer.closed() => break None,
                        () = self.request.manager.closing() => break Some(Err(self.closed())),
                        () = notified(subscription.as_ref()) => {}
                        () = self.request.manager.clock().sleep(pause) => {}
                    }
                }
            }
        };
        if !matches!(outcome, Some(Ok(Attempt::Acquired(_)))) {
            self.leave().await;
        }
        if let Some(outcome) = outcome {
            // If nobody listens any more, the guard inside is dropped here, which gives the lock back.
            drop(answer.send(outcome));
        }
    }

    async fn claim(&mut self) -> Next {
        let Request { manager, name, ttl, .. } = &self.request;
        let asked = manager.clock().monotonic();
        let last = self.until.is_some_and(|until| until <= asked);
        let claim = Claim { name, owner: self.owner, ttl: *ttl, queue: (!last).then_some(QUEUE_TTL) };
        let step = manager.engine().lock_claim(claim);
        let step = step.map_err(|error| error.in_context(format_args!("acquire lock {name:?}")));
        match manager.run_step("acquire", name, step).await {
            Ok(Claimed::Granted { fence }) => self.granted(asked, fence),
            Ok(Claimed::Held { holder, remaining, ahead }) => {
                self.failures = 0;
                if last {
                    return Next::Break(Ok(Attempt::Held { holder: Holder::of(holder), remaining, ahead }));
                }
                self.last_ack = Some(asked);
                let turn = remaining + HANDOFF_WINDOW * u32::try_from(ahead).unwrap_or(u32::MAX / 2);
                let pause = turn.max(millis(1)).min(spread(HEARTBEAT, self.owner));
                Next::Continue(self.until.map_or(pause, |until| pause.min(until.saturating_sub(asked))))
            }
            Err(error) => self.failed(error),
        }
    }

    fn granted(&mut self, asked: Duration, fence: u64) -> Next {
        let Request { manager, name, ttl, .. } = &self.request;
        if asked + LockManager::counted_ttl(*ttl) <= manager.clock().monotonic() {
            let slow =
                format!("acquire lock {name:?}: the store took longer to answer than the ttl of {ttl:?}");
            return self.failed(Error::new(ErrorKind::Timeout, slow));
        }
        let waited = asked.saturating_sub(self.started);
        let grant = Grant { name: name.clone(), owner: self.owner, fence, ttl: *ttl, waited, asked };
        Next::Break(Ok(Attempt::Acquired(Guard::new(HeldLock::new(manager.clone(), grant)))))
    }

    /// Whether to go on after an error. Claims are idempotent by owner, so what may have been applied is repeated.
    fn failed(&mut self, error: Error) -> Next {
        let now = self.request.manager.clock().monotonic();
        if error.retry() == Retry::Unknown {
            self.in_doubt_until = Some(now + self.request.ttl.max(QUEUE_TTL));
        }
        let give_up = match (error.retry(), self.last_ack) {
            (Retry::Never, _) | (Retry::Later, None) => Duration::ZERO,
            (_, None) => self.started + RETRY_SPAN,
            (_, Some(last_ack)) => last_ack + QUEUE_TTL,
        };
        let waited = self.until.is_some_and(|until| until.max(self.started + RETRY_SPAN) <= now);
        if give_up <= now || waited {
            return Next::Break(Err(self.describe(error)));
        }
        self.failures += 1;
        Next::Continue(backoff(self.failures, self.owner))
    }

    fn closed(&self) -> Error {
        Error::new(
            ErrorKind::Closed,
            format!("acquire lock {:?}: the store is being closed", self.request.name),
        )
    }

    /// An error after which the lock may be held by nobody who knows has to say so.
    fn describe(&self, error: Error) -> Error {
        if self.in_doubt_until.is_some() { error.into_ambiguous() } else { error }
    }

    /// Gives back what may be there. A place that is known is left before the caller is told, so that nobody waits for
    /// one who does not; what is in doubt may take a while.
    async fn leave(&self) {
        let Request { manager, name, .. } = &self.request;
        if self.in_doubt_until.is_none() {
            let Some(last_ack) = self.last_ack else { return };
            let step = manager.engine().lock_release(name, self.owner);
            if manager.run_step("leave the queue of", name, step).await.is_ok() {
                return;
            }
            if last_ack + QUEUE_TTL <= manager.clock().monotonic() {
                return;
            }
        }
        let until =
            self.in_doubt_until.max(self.last_ack.map(|last_ack| last_ack + QUEUE_TTL)).unwrap_or_default();
        let in_doubt = self.in_doubt_until.is_some();
        let pending = PendingRelease { name: name.clone(), owner: self.owner, until, in_doubt };
        manager.spawn(&Handle::current(), manager.clone().release_pending(pending));
    }
}

/// Waits for a notification; for ever without a subscription.
async fn notified(subscription: Option<&Subscription>) {
    match subscription {
        Some(subscription) => subscription.notified().await,
        None => std::future::pending().await,
    }
}
