//! Renewals: one task for all guards of an open store, for as long as there are any.
//!
//! It wakes for what is due and takes along what is nearly due, so that those renewals share a round trip.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use uuid::Uuid;

use super::{
    held::HeldLock,
    manager::{LockManager, STEP_TIMEOUT, spread},
    outcome::Loss,
};
use crate::time::{millis, secs};

/// What is due within this long is renewed at once: early is harmless, and together is cheaper.
const RENEW_TOGETHER: Duration = millis(20);

/// The pauses after a failed renewal: a tenth of the ttl, within these.
const MIN_RETRY_PAUSE: Duration = millis(10);
const MAX_RETRY_PAUSE: Duration = secs(1);

/// Who is to be renewed when.
#[derive(Debug, Default)]
pub(super) struct Renewals {
    schedule: Mutex<Schedule>,
    /// Something comes sooner than what the task waits for.
    sooner: Notify,
}

#[derive(Debug, Default)]
struct Schedule {
    by_time: BTreeMap<(Duration, Uuid), Arc<HeldLock>>,
    times: HashMap<Uuid, Duration>,
    /// Whether the task runs.
    running: bool,
}

impl Schedule {
    fn insert(&mut self, at: Duration, hold: Arc<HeldLock>) {
        self.times.insert(hold.owner, at);
        self.by_time.insert((at, hold.owner), hold);
    }

    fn remove(&mut self, owner: Uuid) -> Option<Arc<HeldLock>> {
        let at = self.times.remove(&owner)?;
        self.by_time.remove(&(at, owner))
    }

    fn next(&self) -> Option<Duration> {
        self.by_time.first_key_value().map(|((at, _), _)| *at)
    }

    fn take_due(&mut self, until: Duration) -> Vec<Arc<HeldLock>> {
        let later = self.by_time.split_off(&(until, Uuid::max()));
        let due: Vec<_> = std::mem::replace(&mut self.by_time, later).into_values().collect();
        for hold in &due {
            self.times.remove(&hold.owner);
        }
        due
    }
}

impl Renewals {
    /// Forgets a hold. Whoever calls this has ended it first.
    pub(super) fn remove(&self, owner: Uuid) {
        // Dropped outside of the lock: the last one takes the manager along.
        let removed = self.schedule().remove(owner);
        drop(removed);
    }

    /// Puts a hold on the schedule unless it has ended. Under the lock, so that a guard that is dropped meanwhile
    /// either is seen here as ended or finds what to remove.
    fn insert(&self, at: Duration, hold: Arc<HeldLock>) {
        let mut schedule = self.schedule();
        if hold.held_until().is_some() {
            schedule.insert(at, hold);
        }
    }

    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock()
    }
}

/// Renews `hold` until it ends. Needs a tokio runtime.
pub(super) fn add(hold: Arc<HeldLock>) {
    let manager = hold.manager.clone();
    let due = manager.clock().monotonic() + interval(&hold);
    manager.renewals.insert(due, hold);
    let start = !std::mem::replace(&mut manager.renewals.schedule().running, true);
    if start {
        tokio::spawn(run(Running { manager, ended: false }));
    } else {
        manager.renewals.sooner.notify_one();
    }
}

/// The task that renews. Says that it ended also when its runtime is shut down, so that another one starts it anew.
struct Running {
    manager: Arc<LockManager>,
    /// It has been said: the next task may run already.
    ended: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            self.manager.renewals.schedule().running = false;
        }
    }
}

async fn run(mut running: Running) {
    let LockManager { renewals, .. } = &*running.manager;
    let clock = running.manager.clock();
    let mut under_way = FuturesUnordered::new();
    loop {
        let next = {
            let mut schedule = renewals.schedule();
            if schedule.by_time.is_empty() && under_way.is_empty() {
                // In the same section as the look: what is added from here on starts the next task.
                schedule.running = false;
                break;
            }
            schedule.next().map(|at| at.saturating_sub(clock.monotonic()))
        };
        tokio::select! {
            Some((hold, again)) = under_way.next() => {
                if let Some(at) = again {
                    renewals.insert(at, hold);
                }
            }
            () = renewals.sooner.notified() => {}
            () = clock.sleep(next.unwrap_or_default()), if next.is_some() => {
                let due = renewals.schedule().take_due(clock.monotonic() + RENEW_TOGETHER);
                under_way.extend(due.into_iter().map(renew));
            }
        }
    }
    running.ended = true;
}

/// Renews once; says when to renew again.
async fn renew(hold: Arc<HeldLock>) -> (Arc<HeldLock>, Option<Duration>) {
    let (manager, clock) = (&hold.manager, hold.manager.clock());
    let asked = clock.monotonic();
    let Some(until) = hold.held_until() else { return (hold, None) };
    let patience = STEP_TIMEOUT.min(hold.ttl / 4).min(until.saturating_sub(asked));
    let step = manager.engine().lock_renew(&hold.name, hold.owner);
    let again = match manager.run_step_within(patience, "renew", &hold.name, step).await {
        Ok(Some(_)) => {
            hold.renewed(asked);
            Some(asked + interval(&hold))
        }
        Ok(None) => {
            hold.lose(Loss::NotHolder);
            None
        }
        Err(error) => {
            tracing::debug!(lock = &*hold.name, %error, "a renewal failed");
            let pause = (hold.ttl / 10).clamp(MIN_RETRY_PAUSE, MAX_RETRY_PAUSE);
            // At the latest at the deadline, to note the loss.
            Some((clock.monotonic() + spread(pause, hold.owner)).min(until))
        }
    };
    (hold, again)
}

/// A third of the ttl or a little less, so that two renewals can fail before the third one is too late.
fn interval(hold: &HeldLock) -> Duration {
    spread(hold.ttl / 3, hold.owner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{bay::Forebay, lock::held::Grant};

    #[tokio::test]
    async fn what_has_ended_is_forgotten_at_once() {
        let bay = Forebay::open("memory:").await.expect("opens");
        let manager = Arc::new(LockManager::new(bay.engine().clone(), bay.clock().clone()));
        let held = || manager.renewals.schedule().by_time.len();
        let hold = |n: u8| {
            let (owner, asked) = (Uuid::from_u128(n.into()), bay.clock().monotonic());
            let (name, ttl) = ("report".into(), secs(10));
            Arc::new(HeldLock::new(
                manager.clone(),
                Grant { name, owner, fence: 1, ttl, waited: Duration::ZERO, asked },
            ))
        };
        let (one, two) = (hold(1), hold(2));
        add(one.clone());
        add(two.clone());
        assert_eq!(held(), 2);
        assert!(one.end());
        manager.renewals.remove(one.owner);
        assert_eq!(held(), 1);
        // As a renewal that was under way while the guard was dropped.
        manager.renewals.insert(Duration::ZERO, one);
        assert_eq!(held(), 1);
        assert!(two.end());
        manager.renewals.remove(two.owner);
        assert_eq!((held(), manager.renewals.schedule().times.len()), (0, 0));
    }
}
