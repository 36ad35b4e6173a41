//! Limits and their guarantees, on a manual clock and a store that fails on command.

mod calendar;
mod death;
mod denied;
mod lease;
mod leased;
mod near;
mod outage;
mod overrides;
mod peek;
mod processes;
mod reserve;
mod stopped;
mod together;

use std::time::Duration;

use forebay::{Clock, Forebay, ManualClock, Timestamp, fault::Faults, time::millis};

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

    /// Advances the clock in small steps.
    async fn pass(&self, span: Duration) {
        let step = millis(10);
        for _ in 0..span.as_millis() / step.as_millis() {
            settle().await;
            self.hand.advance(step);
        }
        settle().await;
    }
}

/// Lets every task run until it waits.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}
