//! The fixed window: a quota per window of the clock.
//!
//! Numbers in, numbers out: no clock, no engine.

use super::rule::State;

/// A quota per window, all times in microseconds since 1970.
///
/// Windows begin where `(now + offset)` is a multiple of `length`. The state is (window index, used).
///
/// # Source
/// The 2014 slide's counter per minute, with the index inside the value instead of the key: a script
/// may then read its server's clock and still touch only keys it declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FixedWindow {
    /// The quota, at least 1.
    pub limit: u64,
    /// At least 1 ms.
    pub length: u64,
    /// `length` less the phase, so that adding it never underflows.
    pub offset: u64,
}

impl FixedWindow {
    /// The state as of `now`: a window that is over counts nothing; a clock behind it changes nothing.
    #[inline]
    pub(crate) fn settle(&self, state: Option<State>, now: u64) -> State {
        let window = (now + self.offset) / self.length;
        match state {
            Some(state) if state.0 >= window => state,
            _ => State(window, 0),
        }
    }

    /// The largest cost that fits.
    #[inline]
    pub(crate) fn room(&self, state: State) -> u64 {
        self.limit.saturating_sub(state.1)
    }

    /// The state after `cost`, which must fit.
    #[inline]
    pub(crate) fn charge(state: State, cost: u64) -> State {
        State(state.0, state.1 + cost)
    }

    /// The state after `cost` came back.
    pub(crate) fn refund(state: State, cost: u64) -> State {
        State(state.0, state.1.saturating_sub(cost))
    }

    /// Microseconds from `now` until nothing is used.
    #[inline]
    pub(crate) fn reset_after(&self, state: State, now: u64) -> u64 {
        if state.1 == 0 { 0 } else { self.ends_after(state, now) }
    }

    /// Microseconds from `now` until the window ends.
    #[inline]
    fn ends_after(&self, state: State, now: u64) -> u64 {
        ((state.0 + 1) * self.length).saturating_sub(self.offset).saturating_sub(now)
    }

    /// How long a store must remember the state: one window longer than it counts, so that a clock that
    /// steps back by less than that still finds it.
    #[inline]
    pub(crate) fn lifetime(&self, state: State, now: u64) -> u64 {
        self.ends_after(state, now) + self.length
    }

    /// Whether a clock that shows `now`, and is at most `behind`, tells which window it is.
    #[inline]
    pub(crate) fn is_told_by(&self, now: u64, behind: u64) -> bool {
        self.ends_after(self.settle(None, now), now) > behind
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_clock_that_is_behind_tells_the_window_that_the_exact_one_would(
            length in 1_000u64..100_000, phase in 0u64..1_000, now in 1_790_000_000_000_000u64..1_790_000_001_000_000,
            behind in 0u64..20_000,
        ) {
            let window = FixedWindow { limit: 1, length, offset: length - phase };
            let same = window.settle(None, now) == window.settle(None, now + behind);
            prop_assert_eq!(window.is_told_by(now, behind), same);
        }
    }
}
