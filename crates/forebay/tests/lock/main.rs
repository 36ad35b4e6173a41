//! Locks: their guarantees, on a manual clock and a store that fails on command.

mod acquire;
mod cancel;
mod exclusive;
mod guard;
mod history;
mod lease;
mod model;
mod planted;
mod queue;
mod redis;

use std::time::Duration;

use forebay::{
    Clock, Forebay, Guard, LockHandle, ManualClock, Timestamp,
    fault::Faults,
    lock::{Attempt, LockState},
    time::millis,
};
use forebay_testkit::eventually;

const START: Timestamp = Timestamp::from_secs(1_790_000_000);

/// A store with its clock and its faults.
struct Store {
    hand: ManualClock,
    faults: Faults,
    bay: Forebay,
}

impl Store {
    async fn open() -> Self {
        let (hand, faults) = (ManualClock::at(START), Faults::new());
        let options = Forebay::options().clock(Clock::from(hand.clone())).faults(faults.clone());
        Self { bay: options.open("memory:").await.expect("opens"), hand, faults }
    }

    fn lock(&self) -> LockHandle {
        self.bay.lock("report")
    }

    async fn guard(&self) -> Guard {
        acquired(self.lock().try_acquire().await.expect("answers"))
    }

    async fn state(&self) -> LockState {
        self.lock().state().await.expect("answers")
    }

    async fn free(&self) -> bool {
        let state = self.state().await;
        state.holding.is_none() && state.waiters == 0
    }

    async fn waiters(&self, n: u64) {
        eventually("the waiters to queue", async || self.state().await.waiters == n).await;
    }

    /// Advances the clock in small steps, at most 60 s, until `condition` is true. Returns how far.
    async fn pass_until(&self, what: &str, mut condition: impl AsyncFnMut() -> bool) -> Duration {
        let step = millis(10);
        for steps in 0..6_000 {
            settle().await;
            if condition().await {
                return step * steps;
            }
            self.hand.advance(step);
        }
        panic!("60 s of the test's clock passed before {what}");
    }
}

fn acquired<T>(attempt: Attempt<T>) -> T {
    attempt.acquired().expect("free")
}

/// Lets every task run until it waits.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}
