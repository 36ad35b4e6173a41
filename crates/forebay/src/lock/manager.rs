//! The state that all locks of an open store share.

use std::{sync::Arc, time::Duration};

use tokio::{runtime::Handle, sync::watch};
use uuid::Uuid;

use crate::{
    backoff::Backoff,
    clock::Clock,
    engine::Engine,
    error::{Result, Retry},
    store::Store,
    time::{millis, secs},
};

/// One step waits for its answer for at most this long. Several fit into the default ttl.
pub(super) const STEP_TIMEOUT: Duration = secs(1);

/// A call repeats a step that may have been applied for this long.
pub(super) const RETRY_SPAN: Duration = secs(1);

/// The pauses between attempts to claim or to release.
pub(super) const BACKOFF: Backoff = Backoff::new(millis(20), millis(500));

/// Runs the steps of all locks of an open store, and owns their background tasks.
#[derive(Debug)]
pub(crate) struct LockManager {
    store: Store,
    closing: watch::Sender<bool>,
    /// The number of tasks that wait for a lock or release one.
    busy: watch::Sender<usize>,
}

/// A release that is still to be done.
#[derive(Debug)]
pub(super) struct PendingRelease {
    pub name: Arc<str>,
    pub owner: Uuid,
    /// When the lease has ended by itself, on the monotonic clock.
    pub until: Duration,
    /// A claim may still reach the store, so "not there" is not final.
    pub in_doubt: bool,
}

impl LockManager {
    pub(crate) fn new(store: Store) -> Self {
        let (closing, busy) = (watch::Sender::new(false), watch::Sender::new(0));
        Self { store, closing, busy }
    }

    pub(super) fn engine(&self) -> &Engine {
        self.store.engine()
    }

    pub(super) fn clock(&self) -> &Clock {
        self.store.clock()
    }

    /// Runs `work` in the background. [`close`](Self::close) waits for it.
    pub(super) fn spawn(self: &Arc<Self>, runtime: &Handle, work: impl Future<Output = ()> + Send + 'static) {
        self.busy.send_modify(|tasks| *tasks += 1);
        let busy = Busy(self.clone());
        runtime.spawn(async move {
            let _busy = busy;
            work.await;
        });
    }

    /// Ends all waiting, and waits at most a second for releases that are under way.
    pub(crate) async fn close(&self) {
        self.closing.send_replace(true);
        let mut busy = self.busy.subscribe();
        let idle = busy.wait_for(|tasks| *tasks == 0);
        self.clock().timeout(STEP_TIMEOUT, idle).await;
    }

    /// Waits for [`close`](Self::close).
    pub(super) async fn closing(&self) {
        // It cannot fail: the sender is in `self`.
        let _ = self.closing.subscribe().wait_for(|closing| *closing).await;
    }

    /// Runs a step that may be repeated, for at most `span`.
    pub(super) async fn run_step<T>(
        &self,
        span: Duration,
        verb: &str,
        name: &str,
        step: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        self.store.in_time(span, || format!("{verb} lock {name:?}"), step).await
    }

    /// Releases a lock, again and again until the outcome is certain or the time is up. Returns whether the store held it,
    /// and how many attempts got no answer before that.
    pub(super) async fn release(&self, pending: &PendingRelease) -> Result<(bool, u32)> {
        let PendingRelease { name, owner, until, in_doubt } = pending;
        let mut backoff = BACKOFF;
        loop {
            let step = self.engine().lock_release(name, *owner);
            let answer = self.run_step(STEP_TIMEOUT, "release", name, step).await;
            let now = self.clock().monotonic();
            match answer {
                Ok(held) if held || !in_doubt || now >= *until => return Ok((held, backoff.failures())),
                Ok(_) => {}
                Err(error) if error.retry() == Retry::Never || now >= *until => return Err(error),
                Err(error) => {
                    tracing::debug!(lock = &**name, %error, "releasing a lock failed; trying again");
                }
            }
            self.clock().sleep(backoff.after_failure().min(until.saturating_sub(now))).await;
        }
    }

    /// [`release`](Self::release) in the background.
    pub(super) fn release_in_background(self: &Arc<Self>, runtime: &Handle, pending: PendingRelease) {
        let manager = self.clone();
        self.spawn(runtime, async move {
            if let Err(error) = manager.release(&pending).await {
                tracing::debug!(lock = &*pending.name, %error, "a lock was not released: its lease runs out");
            }
        });
    }
}

/// Counts a task for as long as it runs, however it ends.
struct Busy(Arc<LockManager>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.send_modify(|tasks| *tasks -= 1);
    }
}
