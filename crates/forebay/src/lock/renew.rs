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
    hold::Hold,
    keeper::{ANSWER, Keeper, spread},
    outcome::Loss,
};
use crate::time::{millis, secs};

/// What is due within this long is renewed at once: early is harmless, and together is cheaper.
const SLACK: Duration = millis(20);

/// The pauses after a failed renewal: a tenth of the ttl, within these.
const LEAST_PAUSE: Duration = millis(10);
const MOST_PAUSE: Duration = secs(1);

/// Who is to be renewed when.
#[derive(Debug, Default)]
pub(super) struct Renewals {
    schedule: Mutex<Schedule>,
    /// Something comes sooner than what the task waits for.
    sooner: Notify,
}

#[derive(Debug, Default)]
struct Schedule {
    by_time: BTreeMap<(Duration, Uuid), Arc<Hold>>,
    times: HashMap<Uuid, Duration>,
    /// Whether the task runs.
    running: bool,
}

impl Schedule {
    fn insert(&mut self, at: Duration, hold: Arc<Hold>) {
        self.times.insert(hold.owner, at);
        self.by_time.insert((at, hold.owner), hold);
    }

    fn remove(&mut self, owner: Uuid) -> Option<Arc<Hold>> {
        let at = self.times.remove(&owner)?;
        self.by_time.remove(&(at, owner))
    }

    fn next(&self) -> Option<Duration> {
        self.by_time.first_key_value().map(|((at, _), _)| *at)
    }

    fn take_due(&mut self, until: Duration) -> Vec<Arc<Hold>> {
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
        // Dropped outside of the lock: the last one takes the keeper along.
        let removed = self.schedule().remove(owner);
        drop(removed);
    }

    /// Puts a hold on the schedule unless it has ended. Under the lock, so that a guard that is dropped meanwhile
    /// either is seen here as ended or finds what to remove.
    fn insert(&self, at: Duration, hold: Arc<Hold>) {
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
pub(super) fn add(hold: Arc<Hold>) {
    let keeper = hold.keeper.clone();
    let due = keeper.clock().monotonic() + interval(&hold);
    keeper.renewals.insert(due, hold);
    let start = !std::mem::replace(&mut keeper.renewals.schedule().running, true);
    if start {
        tokio::spawn(run(Running { keeper, ended: false }));
    } else {
        keeper.renewals.sooner.notify_one();
    }
}

/// The task that renews. Says that it ended also when its runtime is shut down, so that another one starts it anew.
struct Running {
    keeper: Arc<Keeper>,
    /// It has been said: the next task may run already.
    ended: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            self.keeper.renewals.schedule().running = false;
        }
    }
}

async fn run(mut running: Running) {
    let Keeper { renewals, .. } = &*running.keeper;
    let clock = running.keeper.clock();
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
                let due = renewals.schedule().take_due(clock.monotonic() + SLACK);
                under_way.extend(due.into_iter().map(renew));
            }
        }
    }
    running.ended = true;
}

/// Renews once; says when to renew again.
async fn renew(hold: Arc<Hold>) -> (Arc<Hold>, Option<Duration>) {
    let (keeper, clock) = (&hold.keeper, hold.keeper.clock());
    let asked = clock.monotonic();
    let Some(until) = hold.held_until() else { return (hold, None) };
    let patience = ANSWER.min(hold.ttl / 4).min(until.saturating_sub(asked));
    let step = keeper.engine().lock_renew(&hold.name, hold.owner);
    let again = match keeper.at_most(patience, "renew", &hold.name, step).await {
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
            let pause = (hold.ttl / 10).clamp(LEAST_PAUSE, MOST_PAUSE);
            // At the latest at the deadline, to note the loss.
            Some((clock.monotonic() + spread(pause, hold.owner)).min(until))
        }
    };
    (hold, again)
}

/// A third of the ttl or a little less, so that two renewals can fail before the third one is too late.
fn interval(hold: &Hold) -> Duration {
    spread(hold.ttl / 3, hold.owner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{bay::Forebay, lock::hold::Grant};

    #[tokio::test]
    async fn what_has_ended_is_forgotten_at_once() {
        let bay = Forebay::open("memory:").await.expect("opens");
        let keeper = Arc::new(Keeper::new(bay.engine().clone(), bay.clock().clone()));
        let held = || keeper.renewals.schedule().by_time.len();
        let hold = |n: u8| {
            let (owner, asked) = (Uuid::from_u128(n.into()), bay.clock().monotonic());
            let (name, ttl) = ("report".into(), secs(10));
            Arc::new(Hold::new(
                keeper.clone(),
                Grant { name, owner, fence: 1, ttl, waited: Duration::ZERO, asked },
            ))
        };
        let (one, two) = (hold(1), hold(2));
        add(one.clone());
        add(two.clone());
        assert_eq!(held(), 2);
        assert!(one.end());
        keeper.renewals.remove(one.owner);
        assert_eq!(held(), 1);
        // As a renewal that was under way while the guard was dropped.
        keeper.renewals.insert(Duration::ZERO, one);
        assert_eq!(held(), 1);
        assert!(two.end());
        keeper.renewals.remove(two.owner);
        assert_eq!((held(), keeper.renewals.schedule().times.len()), (0, 0));
    }
}
