//! The sliding window, as two counters.
//!
//! Numbers in, numbers out: no clock, no engine, no fraction.

use super::rule::State;

/// The largest quota: the two counters share 64 bits.
pub(crate) const MAX_SLIDING: u64 = u32::MAX as u64;

/// A quota per any span of one length, as well as two counters can tell.
///
/// What was taken in the window before counts for the part of it that a span of `length`, ending now, still overlaps,
/// as if it had come evenly: `previous × (length − elapsed) ≤ (limit − current − cost) × length`.
///
/// The state is (tick, `previous << 32 | current`), as of the window that the tick lies in. Windows begin at multiples
/// of `length`.
///
/// # Source
/// Cloudflare, "How we built rate limiting capable of scaling to millions of domains" (2017).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SlidingWindow {
    /// The quota, 1 to 2^32 - 1; times `length` it stays below 2^53.
    pub limit: u64,
    /// Ticks.
    pub length: u64,
    /// Microseconds per tick: 1, or 1 000 where the product would pass 2^53.
    pub tick: u64,
}

impl SlidingWindow {
    /// The state as of `now` (microseconds): windows have passed; a clock behind the state changes nothing.
    #[inline]
    pub(crate) fn settle(&self, state: Option<State>, now: u64) -> State {
        let tick = now / self.tick;
        let Some(state) = state else { return State(tick, 0) };
        if state.0 >= tick {
            return state;
        }
        match tick / self.length - state.0 / self.length {
            0 => State(tick, state.1),
            1 => State(tick, current(state) << 32),
            _ => State(tick, 0),
        }
    }

    /// What is used: the current window's, and what still counts of the one before, rounded up.
    #[inline]
    pub(crate) fn used(&self, state: State) -> u64 {
        let left = self.length - state.0 % self.length;
        current(state) + (previous(state) * left).div_ceil(self.length)
    }

    /// The largest cost that fits.
    #[inline]
    pub(crate) fn room(&self, state: State) -> u64 {
        self.limit.saturating_sub(self.used(state))
    }

    /// The state after `cost`, which must fit.
    #[inline]
    pub(crate) fn charge(state: State, cost: u64) -> State {
        State(state.0, state.1 + cost)
    }

    /// The state after `cost` came back: to the window of the tick at which it was charged, if that still counts.
    pub(crate) fn refund(&self, state: State, cost: u64, charged: Option<u64>) -> State {
        let window = state.0 / self.length;
        let (mut before, mut now) = (previous(state), current(state));
        match charged.map_or(Some(0), |tick| window.checked_sub(tick / self.length)) {
            Some(0) => now = now.saturating_sub(cost),
            Some(1) => before = before.saturating_sub(cost),
            _ => {}
        }
        State(state.0, before << 32 | now)
    }

    /// Microseconds from `now` until `cost` fits, if nobody else takes; zero if it does.
    pub(crate) fn wait(&self, state: State, now: u64, cost: u64) -> u64 {
        if cost <= self.room(state) {
            return 0;
        }
        // So much of a window may overlap that at most `room` of its `count` counts. It is denied, so `count` is not zero.
        let overlap = |room: u64, count: u64| room * self.length / count;
        let (before, now_used) = (previous(state), current(state));
        let window = state.0 / self.length;
        let tick = match self.limit.checked_sub(now_used + cost) {
            Some(room) => (window + 1) * self.length - overlap(room, before),
            // Not while this window lasts; in the next one it is the one before.
            None => (window + 2) * self.length - overlap(self.limit.saturating_sub(cost), now_used),
        };
        (tick * self.tick).saturating_sub(now)
    }

    /// Microseconds from `now` until nothing is used.
    pub(crate) fn reset_after(&self, state: State, now: u64) -> u64 {
        let windows = match (previous(state), current(state)) {
            (0, 0) => return 0,
            (_, 0) => 1,
            _ => 2,
        };
        ((state.0 / self.length + windows) * self.length * self.tick).saturating_sub(now)
    }

    /// How long a store must remember the state: until it counts nothing, and one window against a clock that steps back.
    pub(crate) fn lifetime(&self, state: State, now: u64) -> u64 {
        self.reset_after(state, now) + self.length * self.tick
    }
}

fn previous(state: State) -> u64 {
    state.1 >> 32
}

fn current(state: State) -> u64 {
    state.1 & MAX_SLIDING
}
