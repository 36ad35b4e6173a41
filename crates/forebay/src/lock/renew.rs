//! Renewals: one task for all guards of an open store, while there are any.
//!
//! The task renews what is nearly due together with what is due, so that those renewals share a round trip.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, stream::FuturesUnordered};

use super::{
    held::{Grant, HeldLock},
    manager::{LockManager, STEP_TIMEOUT},
    outcome::Loss,
};
use crate::{
    backoff::jitter,
    time::{millis, secs},
};

/// Renewals that are due within this span are sent together: an early one is harmless, and one round trip is cheaper.
const RENEW_TOGETHER: Duration = millis(20);

/// Bounds of the pause after a failed renewal, which is a tenth of the ttl.
const MIN_RETRY_PAUSE: Duration = millis(10);
const MAX_RETRY_PAUSE: Duration = secs(1);

/// Renews `lock` until it ends. Needs a tokio runtime.
pub(super) fn start(manager: &Arc<LockManager>, lock: Arc<HeldLock>) {
    let due = manager.clock().monotonic() + interval(&lock);
    let was_running = {
        let mut schedule = manager.schedule();
        schedule.insert(due, lock);
        std::mem::replace(&mut schedule.running, true)
    };
    // Not under the lock: a runtime that shuts down drops the task at once, and that takes the lock.
    if was_running {
        manager.sooner.notify_one();
    } else {
        tokio::spawn(run(Running { manager: manager.clone(), ended: false }));
    }
}

/// Marks the task as ended also when its runtime shuts down, so that the next guard starts another one.
struct Running {
    manager: Arc<LockManager>,
    /// The task marked itself as ended: the next one may run already.
    ended: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            self.manager.schedule().running = false;
        }
    }
}

async fn run(mut running: Running) {
    let manager = &running.manager;
    let clock = manager.clock();
    let mut under_way = FuturesUnordered::new();
    loop {
        let next = {
            let mut schedule = manager.schedule();
            if schedule.next().is_none() && under_way.is_empty() {
                // In one critical section with the check: a lock that is added after it starts the next task.
                schedule.running = false;
                break;
            }
            schedule.next().map(|at| at.saturating_sub(clock.monotonic()))
        };
        tokio::select! {
            Some((lock, again)) = under_way.next() => {
                if let Some(at) = again {
                    manager.schedule().insert(at, lock);
                }
            }
            () = manager.sooner.notified() => {}
            () = clock.sleep(next.unwrap_or_default()), if next.is_some() => {
                let due = manager.schedule().take_due(clock.monotonic() + RENEW_TOGETHER);
                under_way.extend(due.into_iter().map(|lock| renew(manager, lock)));
            }
        }
    }
    running.ended = true;
}

/// Renews a lock once. Returns when to renew it again.
async fn renew(manager: &LockManager, lock: Arc<HeldLock>) -> (Arc<HeldLock>, Option<Duration>) {
    let Grant { name, owner, ttl, .. } = &lock.grant;
    let sent_at = manager.clock().monotonic();
    let Some(until) = lock.held_until() else { return (lock, None) };
    let timeout = STEP_TIMEOUT.min(*ttl / 4).min(until.saturating_sub(sent_at));
    let step = manager.engine().lock_renew(name, *owner);
    let again = match manager.run_step_within(timeout, "renew", name, step).await {
        Ok(Some(_)) => {
            lock.renewed(sent_at);
            Some(sent_at + interval(&lock))
        }
        Ok(None) => {
            lock.lose(Loss::NotHolder);
            None
        }
        Err(error) => {
            tracing::debug!(lock = &**name, %error, "renewing a lock failed; trying again");
            let pause = jitter((*ttl / 10).clamp(MIN_RETRY_PAUSE, MAX_RETRY_PAUSE), 5);
            // Not after the deadline, so that the loss is noticed there.
            Some((manager.clock().monotonic() + pause).min(until))
        }
    };
    (lock, again)
}

/// A third of the ttl or a little less: two renewals can fail before the third one is too late.
fn interval(lock: &HeldLock) -> Duration {
    jitter(lock.grant.ttl / 3, 5)
}
