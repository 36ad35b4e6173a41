//! The token bucket, in the form of a leaking level (GCRA).
//!
//! Numbers in, numbers out: no clock, no engine, no fraction.

use super::rule::State;

/// A bucket of `burst` tokens that refills `rate` tokens every `period`.
///
/// The state is (tick, level): at that tick so much was in use, in units of one token × `period`
/// ticks. One token weighs `period`, and `rate` units leak per tick, so that no rate, not even 7 per
/// second, needs a fraction.
///
/// # Source
/// ITU-T I.371 (generic cell rate algorithm, as the continuous-state leaky bucket).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TokenBucket {
    /// Tokens per period, at least 1.
    pub rate: u64,
    /// Ticks.
    pub period: u64,
    /// Tokens in a full bucket, at least 1; `burst × period` and `rate × period` stay below 2^53.
    pub burst: u64,
    /// Microseconds per tick: 1, or 1 000 where the products would pass 2^53.
    pub tick: u64,
}

impl TokenBucket {
    fn capacity(&self) -> u64 {
        self.burst * self.period
    }

    /// The state as of `now` (microseconds): what has leaked is gone; a clock behind the state changes nothing.
    #[inline]
    pub(crate) fn settle(&self, state: Option<State>, now: u64) -> State {
        let tick = now / self.tick;
        match state {
            None => State(tick, 0),
            Some(state) if state.0 >= tick => state,
            Some(State(then, level)) => {
                State(tick, level.saturating_sub((tick - then).saturating_mul(self.rate)))
            }
        }
    }

    /// The state at a later tick of a bucket of which so many tokens are lent: those do not leak.
    pub(crate) fn leak(&self, State(then, level): State, tick: u64, lent: u64) -> State {
        let (tick, floor) = (tick.max(then), lent * self.period);
        let leaked = level.saturating_sub((tick - then).saturating_mul(self.rate));
        State(tick, leaked.max(floor.min(level)))
    }

    /// The largest cost that fits.
    #[inline]
    pub(crate) fn room(&self, state: State) -> u64 {
        self.capacity().saturating_sub(state.1) / self.period
    }

    /// The state after `cost`, which must fit.
    #[inline]
    pub(crate) fn charge(&self, state: State, cost: u64) -> State {
        State(state.0, state.1 + cost * self.period)
    }

    /// The state after `cost` came back; of one that was charged at a tick, what has not leaked since.
    ///
    /// More than that may be somebody else's: the level falls to zero in between, and what has been charged on top
    /// since then would go as well.
    pub(crate) fn refund(&self, state: State, cost: u64, charged: Option<u64>) -> State {
        let leaked = match charged {
            None => 0,
            Some(tick) => state.0.checked_sub(tick).map_or(u64::MAX, |ticks| ticks.saturating_mul(self.rate)),
        };
        let back = cost.saturating_mul(self.period).saturating_sub(leaked);
        State(state.0, state.1.saturating_sub(back))
    }

    /// Tokens in use, rounded up.
    #[inline]
    pub(crate) fn used(&self, state: State) -> u64 {
        state.1.div_ceil(self.period)
    }

    /// Microseconds from `now` until `cost` fits, if nobody else takes; zero if it does.
    pub(crate) fn wait(&self, state: State, now: u64, cost: u64) -> u64 {
        let too_much = (state.1 + cost * self.period).saturating_sub(self.capacity());
        self.until_leaked(state, now, too_much)
    }

    /// Microseconds from `now` until the bucket is full again.
    #[inline]
    pub(crate) fn reset_after(&self, state: State, now: u64) -> u64 {
        self.until_leaked(state, now, state.1)
    }

    /// How long a store must remember the state: until it is full, and one period against a clock that steps back.
    #[inline]
    pub(crate) fn lifetime(&self, state: State, now: u64) -> u64 {
        self.reset_after(state, now) + self.period * self.tick
    }

    fn until_leaked(&self, state: State, now: u64, amount: u64) -> u64 {
        if amount == 0 {
            return 0;
        }
        ((state.0 + amount.div_ceil(self.rate)) * self.tick).saturating_sub(now)
    }
}
