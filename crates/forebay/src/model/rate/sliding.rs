//! The sliding window, as two counters.
//!
//! All inputs and outputs are integers: it uses no clock, no engine and no fraction.

use std::time::Duration;

use super::{
    bounds::{period, quota, tick},
    state::{Allotment, EXACT, RateKind, Scale, State},
};
use crate::error::{Result, out_of_range};

/// The largest quota: the two counters share 64 bits.
pub(crate) const MAX_SLIDING: u64 = u32::MAX as u64;

/// A quota per any span of one length, estimated from two counters.
///
/// The use in the window before counts for the part of it that a span of `length`, ending now, still overlaps, as if it
/// had been spread evenly: `previous × (length − elapsed) ≤ (limit − current − cost) × length`.
///
/// The state is (tick, `previous << 32 | current`), for the window that contains the tick. Windows begin at multiples of
/// `length`.
///
/// # Source
/// Cloudflare, "How we built rate limiting capable of scaling to millions of domains" (2017).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SlidingWindow {
    /// The quota, 1 to 2^32 - 1; times `length` it stays below 2^53.
    pub limit: u64,
    /// The length in ticks.
    pub length: u64,
    /// Microseconds per tick: 1, or 1 000 where the product would pass 2^53.
    pub tick: u64,
}

impl SlidingWindow {
    pub(super) fn new(limit: u64, length: Duration) -> Result<Self> {
        let limit = quota("limit", limit)?;
        let length = period(length)?;
        if limit > MAX_SLIDING {
            return Err(out_of_range(format!("limit {limit}: that of a sliding window is 1 to 2^32 - 1")));
        }
        let Some(tick) = tick(limit, length) else {
            return Err(out_of_range(format!(
                "sliding window of {limit} per {length} µs: the limit times the length in milliseconds must be below \
                 2^53, and the length a whole number of milliseconds then"
            )));
        };
        Ok(Self { limit, length: length / tick, tick })
    }

    /// The index of a state's window.
    fn window(&self, state: State) -> u64 {
        state.0 / self.length
    }
}

impl RateKind for SlidingWindow {
    const NUMBER: u8 = 3;
    const WORD: &'static str = "sliding";
    const KEPT: &'static str = "until it counts nothing, and one window";

    #[inline]
    fn scale(&self) -> Scale {
        Scale::of_period(Self::NUMBER, self.length * self.tick, self.tick)
    }

    #[cfg(feature = "redis")]
    fn write_words(&self, _about: u64, write: impl FnMut(u64)) {
        [self.length, self.limit, self.tick].into_iter().for_each(write);
    }

    #[inline]
    fn quota(&self) -> u64 {
        self.limit
    }

    fn refill(&self, _now: u64) -> Duration {
        Duration::from_micros(self.length * self.tick)
    }

    fn boundless(self) -> Self {
        Self { limit: ((EXACT - 1) / self.length).min(MAX_SLIDING), ..self }
    }

    /// In the next window the use counts as the previous use. After that it does not count.
    #[inline]
    fn advance(&self, state: Option<State>, now: u64) -> State {
        let tick = now / self.tick;
        let Some(state) = state else { return State(tick, 0) };
        if state.0 >= tick {
            return state;
        }
        match tick / self.length - self.window(state) {
            0 => State(tick, state.1),
            1 => State(tick, current(state) << 32),
            _ => State(tick, 0),
        }
    }

    /// The use of the current window, plus the part of the previous one that still counts, rounded up.
    #[inline]
    fn used(&self, state: State) -> u64 {
        let left = self.length - state.0 % self.length;
        current(state) + (previous(state) * left).div_ceil(self.length)
    }

    /// The cost goes back to the window of the tick at which it was charged, if that still counts.
    fn refund(&self, state: State, cost: u64, charged: Option<u64>) -> State {
        let (mut before, mut now) = (previous(state), current(state));
        match charged.map_or(Some(0), |tick| self.window(state).checked_sub(tick / self.length)) {
            Some(0) => now = now.saturating_sub(cost),
            Some(1) => before = before.saturating_sub(cost),
            _ => {}
        }
        State(state.0, before << 32 | now)
    }

    fn wait(&self, state: State, now: u64, cost: u64) -> u64 {
        if cost <= self.room(state) {
            return 0;
        }
        // The part of a window that may overlap, so that at most `room` of its `count` counts. The take is denied, so
        // `count` is not zero.
        let overlap = |room: u64, count: u64| room * self.length / count;
        let (before, now_used) = (previous(state), current(state));
        let window = self.window(state);
        let tick = match self.limit.checked_sub(now_used + cost) {
            Some(room) => (window + 1) * self.length - overlap(room, before),
            // It does not fit while this window lasts. In the next window, this one is the previous one.
            None => (window + 2) * self.length - overlap(self.limit.saturating_sub(cost), now_used),
        };
        (tick * self.tick).saturating_sub(now)
    }

    fn reset_after(&self, state: State, now: u64) -> u64 {
        let windows = match (previous(state), current(state)) {
            (0, 0) => return 0,
            (_, 0) => 1,
            _ => 2,
        };
        ((self.window(state) + windows) * self.length * self.tick).saturating_sub(now)
    }

    /// The time until it counts nothing, plus one window, in case the clock steps back.
    fn lifetime(&self, state: State, now: u64) -> u64 {
        self.reset_after(state, now) + self.length * self.tick
    }

    fn end(&self, state: State, _now: u64, _span: u64) -> (u64, u64) {
        ((self.window(state) + 1) * self.length * self.tick, self.length * self.tick)
    }

    fn still_out(&self, _allotment: &Allotment, before: State, after: State) -> bool {
        self.window(before) == self.window(after)
    }

    fn at_most(&self, state: State, amount: u64) -> State {
        State(state.0, current(state).min(amount))
    }
}

fn previous(state: State) -> u64 {
    state.1 >> 32
}

fn current(state: State) -> u64 {
    state.1 & MAX_SLIDING
}
