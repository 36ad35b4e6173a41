//! A hit on its way through an event.

use std::time::Duration;

use crate::{
    key::{Count, Key},
    store::Store,
    time::{Timestamp, When},
};

/// A hit with a checked key and count.
#[derive(Clone, Copy, Debug)]
pub(super) struct IncomingHit<'a> {
    pub key: Key<'a>,
    pub n: Count,
    pub times: Times,
    /// The keys that the labels of the hit name, one for each series; empty without labels.
    pub series_keys: &'a [Option<String>],
}

impl<'a> IncomingHit<'a> {
    /// The key under which a series counts it.
    pub(super) fn series_key(&self, nth: usize) -> Key<'a> {
        let named = self.series_keys.get(nth).and_then(Option::as_deref);
        named.map_or(self.key, |key| Key::new(key).expect("a key of labels was checked when it was made"))
    }
}

/// The clocks and times of a hit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// The time for limits and series.
    pub when: When,
    /// This process's time, or that of a replay.
    pub now: Timestamp,
    /// The time for the `at` columns, and, if the caller gave it, for the points.
    pub at: Timestamp,
    /// Whether the caller gave `at`. Otherwise points are dated by the store's clock.
    pub is_dated: bool,
    /// The monotonic time. It was read with `now`: a flood of denied hits reads the clock once for each.
    pub monotonic: Duration,
}

impl Times {
    pub(super) fn new(store: &Store, at: Option<Timestamp>) -> Self {
        let (now, micros) = store.clock().both();
        let (when, monotonic) = (When::EngineClock, Duration::from_micros(micros));
        Self { when, now, at: at.unwrap_or(now), is_dated: at.is_some(), monotonic }
    }
}
