//! The fixed window: a quota per window of the clock.
//!
//! All inputs and outputs are numbers: it uses no clock and no engine.

use std::time::Duration;

use super::{
    bounds::{period, quota},
    state::{MAX_QUOTA, RateKind, Scale, State},
};
use crate::{error::Result, time::micros};

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
    /// The length of a window, at least 1 ms.
    pub length: u64,
    /// `length` less the phase, so that adding it never underflows.
    pub offset: u64,
}

impl FixedWindow {
    pub(super) fn new(limit: u64, length: Duration, phase: Duration) -> Result<Self> {
        let limit = quota("limit", limit)?;
        let length = period(length)?;
        let phase = micros(phase).unsigned_abs() % length;
        Ok(Self { limit, length, offset: (length - phase) % length })
    }

    /// The same rule, with windows that begin at one of 64 places, by the high bits of `hash`.
    pub(super) fn shifted(self, hash: u64) -> Self {
        Self { offset: (self.offset + (hash >> 58) * self.length / 64) % self.length, ..self }
    }
}

impl RateKind for FixedWindow {
    const NUMBER: u8 = 1;
    const WORD: &'static str = "window";
    const KEPT: &'static str = "until the window after the current one ends";
    const HAS_WINDOWS: bool = true;

    #[inline]
    fn scale(&self) -> Scale {
        Scale::of_period(Self::NUMBER, self.length, 1)
    }

    #[cfg(feature = "redis")]
    fn write_words(&self, _about: u64, write: impl FnMut(u64)) {
        [self.length, self.offset, self.limit].into_iter().for_each(write);
    }

    #[inline]
    fn quota(&self) -> u64 {
        self.limit
    }

    fn refill(&self, _now: u64) -> Duration {
        Duration::from_micros(self.length)
    }

    fn boundless(self) -> Self {
        Self { limit: MAX_QUOTA, ..self }
    }

    /// A window that is over has no effect.
    #[inline]
    fn advance(&self, state: Option<State>, now: u64) -> State {
        let window = (now + self.offset) / self.length;
        match state {
            Some(state) if state.0 >= window => state,
            _ => State(window, 0),
        }
    }

    #[inline]
    fn end(&self, state: State, _now: u64, _span: u64) -> (u64, u64) {
        ((state.0 + 1) * self.length - self.offset, self.length)
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
            let same = window.advance(None, now) == window.advance(None, now + behind);
            let end = window.end(window.advance(None, now), now, 0).0;
            prop_assert_eq!(end - now > behind, same);
        }
    }
}
