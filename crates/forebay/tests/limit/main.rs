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

use forebay::{
    Clock, Forebay, Limit, ManualClock, Timestamp,
    fault::Faults,
    limit::{CalendarUnit, Kind},
    time::millis,
};

const START: Timestamp = Timestamp::from_secs(1_790_000_000);

/// The kinds that takes are charged to.
const KINDS: [Kind; 4] = [Kind::FixedWindow, Kind::SlidingWindow, Kind::TokenBucket, Kind::CalendarWindow];

/// A limit of a kind. The quota of a calendar is for a `unit`, that of others for a span.
fn of_kind(name: &str, kind: Kind, quota: u64, per: Duration, unit: CalendarUnit) -> Limit {
    match kind {
        Kind::CalendarWindow => Limit::calendar(name, quota, unit),
        kind => Limit::new(name, quota, per).kind(kind),
    }
}

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
