//! What all locks of one open store share.

use std::{sync::Arc, time::Duration};

use tokio::{runtime::Handle, sync::watch};
use uuid::Uuid;

use super::renew::Renewals;
use crate::{
    clock::Clock,
    engine::Engine,
    error::{Error, ErrorKind, Result},
    time::{millis, secs},
};

/// How long one step waits for its answer. Several fit into the default ttl.
pub(super) const STEP_TIMEOUT: Duration = secs(1);

/// How long a call goes on repeating what may have been applied.
pub(super) const RETRY_SPAN: Duration = secs(1);

/// The pause after a failure, doubled each time, and its bound.
const MIN_BACKOFF: Duration = millis(20);
const MAX_BACKOFF: Duration = millis(500);

/// The store, the clock, and who renews.
#[derive(Debug)]
pub(crate) struct LockManager {
    engine: Engine,
    clock: Clock,
    pub(super) renewals: Renewals,
    closing: watch::Sender<bool>,
    /// How many tasks wait for a lock or give one back.
    busy: watch::Sender<usize>,
}

/// What is to be given back.
#[derive(Debug)]
pub(super) struct PendingRelease {
    pub name: Arc<str>,
    pub owner: Uuid,
    /// After this it has run out by itself.
    pub until: Duration,
    /// A claim is under way that may still arrive: "not there" does not mean that it will not be.
    pub in_doubt: bool,
}

impl LockManager {
    pub(crate) fn new(engine: Engine, clock: Clock) -> Self {
        let (closing, busy) = (watch::Sender::new(false), watch::Sender::new(0));
        Self { engine, clock, renewals: Renewals::default(), closing, busy }
    }

    /// Does `work` in the background, so that [`close`](Self::close) waits for it.
    pub(super) fn spawn(self: &Arc<Self>, runtime: &Handle, work: impl Future<Output = ()> + Send + 'static) {
        self.busy.send_modify(|tasks| *tasks += 1);
        let busy = Busy(self.clone());
        runtime.spawn(async move {
            let _busy = busy;
            work.await;
        });
    }

    /// Ends all waiting, and waits until what is being given back has been, for at most a second.
    pub(crate) async fn close(&self) {
        self.closing.send_replace(true);
        let mut busy = self.busy.subscribe();
        let idle = busy.wait_for(|tasks| *tasks == 0);
        self.clock.timeout(STEP_TIMEOUT, idle).await;
    }

    /// Waits for [`close`](Self::close).
    pub(super) async fn closing(&self) {
        // The sender is in `self`.
        let _ = self.closing.subscribe().wait_for(|closing| *closing).await;
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// How much of a lease its holder counts on: less 1 % and 2 ms. Clocks of healthy machines differ by less than a
    /// thousandth, and stores keep milliseconds.
    pub(super) fn counted_ttl(ttl: Duration) -> Duration {
        ttl.saturating_sub(ttl / 100 + millis(2))
    }

    /// Runs a step that may be repeated, at most for [`STEP_TIMEOUT`].
    pub(super) async fn run_step<T>(
        &self,
        verb: &str,
        name: &str,
        step: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        self.run_step_within(STEP_TIMEOUT, verb, name, step).await
    }

    /// Runs a step, at most for `span`. The embedded engine answers or it is this process that hangs.
    pub(super) async fn run_step_within<T>(
        &self,
        span: Duration,
        verb: &str,
        name: &str,
        step: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        if self.engine.is_in_process() {
            return step.await;
        }
        self.clock.timeout(span, step).await.unwrap_or_else(|| {
            Err(Error::new(
                ErrorKind::Timeout,
                format!("{verb} lock {name:?}: no answer from the store within {span:?}"),
            ))
        })
    }

    /// Gives back until that is certain, or until it has run out by itself.
    pub(super) async fn release_pending(self: Arc<Self>, pending: PendingRelease) {
        let PendingRelease { name, owner, until, in_doubt } = pending;
        for failures in 1.. {
            match self.run_step("release", &name, self.engine.lock_release(&name, owner)).await {
                Ok(true) => return,
                Ok(false) if !in_doubt => return,
                Ok(false) => {}
                Err(error) => tracing::debug!(lock = &*name, %error, failures, "a release failed"),
            }
            let now = self.clock.monotonic();
            if now >= until {
                return;
            }
            self.clock.sleep(backoff(failures, owner).min(until.saturating_sub(now))).await;
        }
    }
}

/// A task that somebody may wait for the end of, however it ends.
struct Busy(Arc<LockManager>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.send_modify(|tasks| *tasks -= 1);
    }
}

/// Doubles with each failure, and differs from owner to owner so that many do not come together.
pub(super) fn backoff(failures: u32, owner: Uuid) -> Duration {
    let pause = MIN_BACKOFF.saturating_mul(1 << failures.saturating_sub(1).min(8)).min(MAX_BACKOFF);
    spread(pause, owner)
}

/// Four to five fifths of `span`, by the owner's random bits.
pub(super) fn spread(span: Duration, owner: Uuid) -> Duration {
    let part = u32::from(owner.as_bytes()[15]);
    span * (4 * 255 + part) / (5 * 255)
}
