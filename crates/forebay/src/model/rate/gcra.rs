//! The token bucket, in the form of a leaking level (GCRA).
//!
//! All inputs and outputs are integers: it uses no clock, no engine and no fraction.

use std::time::Duration;

use super::{
    bounds::{period, quota, tick},
    state::{Allotment, EXACT, RateKind, Scale, State},
};
use crate::error::{Result, out_of_range};

/// A bucket of `burst` tokens that refills `rate` tokens every `period`.
///
/// The state is (tick, level). The level is the amount in use at that tick, in units of one token × `period` ticks. One
/// token weighs `period`, and `rate` units leak per tick. So no rate, not even 7 per second, needs a fraction.
///
/// # Source
/// ITU-T I.371 (generic cell rate algorithm, as the continuous-state leaky bucket).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TokenBucket {
    /// Tokens per period, at least 1.
    pub rate: u64,
    /// The period in ticks.
    pub period: u64,
    /// Tokens in a full bucket, at least 1; `burst × period` and `rate × period` stay below 2^53.
    pub burst: u64,
    /// Microseconds per tick: 1, or 1 000 where the products would pass 2^53.
    pub tick: u64,
}

impl TokenBucket {
    pub(super) fn new(rate: u64, per: Duration, burst: u64) -> Result<Self> {
        let rate = quota("rate", rate)?;
        let burst = quota("burst", burst)?;
        let length = period(per)?;
        let Some(tick) = tick(rate.max(burst), length) else {
            return Err(out_of_range(format!(
                "token bucket of {rate} per {per:?} with burst {burst}: the larger of both times the period \
                 in milliseconds must be below 2^53, and the period a whole number of milliseconds then"
            )));
        };
        Ok(Self { rate, period: length / tick, burst, tick })
    }

    fn capacity(&self) -> u64 {
        self.burst * self.period
    }

    /// The state at a later tick. The allotted tokens do not leak.
    #[inline]
    fn leak(&self, State(then, level): State, tick: u64, allotted: u64) -> State {
        let (tick, floor) = (tick.max(then), allotted * self.period);
        let leaked = level.saturating_sub((tick - then).saturating_mul(self.rate));
        State(tick, leaked.max(floor.min(level)))
    }

    fn until_leaked(&self, state: State, now: u64, amount: u64) -> u64 {
        if amount == 0 {
            return 0;
        }
        ((state.0 + amount.div_ceil(self.rate)) * self.tick).saturating_sub(now)
    }
}

impl RateKind for TokenBucket {
    const NUMBER: u8 = 2;
    const WORD: &'static str = "tokens";
    const KEPT: &'static str = "until the bucket is full, and one period";

    #[inline]
    fn scale(&self) -> Scale {
        Scale::of_period(Self::NUMBER, self.period * self.tick, self.tick)
    }

    #[cfg(feature = "redis")]
    fn write_words(&self, _about: u64, write: impl FnMut(u64)) {
        [self.rate, self.period, self.burst, self.tick].into_iter().for_each(write);
    }

    #[inline]
    fn quota(&self) -> u64 {
        self.burst
    }

    fn refill(&self, _now: u64) -> Duration {
        Duration::from_micros(self.capacity().div_ceil(self.rate) * self.tick)
    }

    fn boundless(self) -> Self {
        Self { burst: (EXACT - 1) / self.period, ..self }
    }

    /// Leaked tokens are removed.
    #[inline]
    fn advance(&self, state: Option<State>, now: u64) -> State {
        let tick = now / self.tick;
        state.map_or(State(tick, 0), |state| self.leak(state, tick, 0))
    }

    /// Tokens in use, rounded up.
    #[inline]
    fn used(&self, state: State) -> u64 {
        state.1.div_ceil(self.period)
    }

    #[inline]
    fn room(&self, state: State) -> u64 {
        self.capacity().saturating_sub(state.1) / self.period
    }

    #[inline]
    fn charge(&self, state: State, cost: u64) -> State {
        State(state.0, state.1 + cost * self.period)
    }

    /// Refunds the part of a cost that has not leaked since its charge.
    ///
    /// A larger refund could remove the charge of another caller. The level may have fallen to zero in between, and later
    /// charges would then be refunded as well.
    fn refund(&self, state: State, cost: u64, charged: Option<u64>) -> State {
        let leaked = match charged {
            None => 0,
            Some(tick) => state.0.checked_sub(tick).map_or(u64::MAX, |ticks| ticks.saturating_mul(self.rate)),
        };
        let back = cost.saturating_mul(self.period).saturating_sub(leaked);
        State(state.0, state.1.saturating_sub(back))
    }

    fn wait(&self, state: State, now: u64, cost: u64) -> u64 {
        let too_much = (state.1 + cost * self.period).saturating_sub(self.capacity());
        self.until_leaked(state, now, too_much)
    }

    /// The time until the bucket is full again.
    #[inline]
    fn reset_after(&self, state: State, now: u64) -> u64 {
        self.until_leaked(state, now, state.1)
    }

    /// The time until the bucket is full, plus one period, in case the clock steps back.
    #[inline]
    fn lifetime(&self, state: State, now: u64) -> u64 {
        self.reset_after(state, now) + self.period * self.tick
    }

    /// The end is `span` from now. If a clock stepped back, it is `span` from the state's own time, which is ahead.
    fn end(&self, state: State, now: u64, span: u64) -> (u64, u64) {
        (now.max(state.0 * self.tick) + span, span)
    }

    /// An allotment does not leak until it ends.
    fn advance_with(&self, mut state: State, allotments: &[Allotment], now: u64) -> State {
        let tick = (now / self.tick).max(state.0);
        let mut allotted = allotments.iter().map(|allotment| allotment.amount).sum();
        for allotment in allotments {
            let end = allotment.end.div_ceil(self.tick);
            if end > tick {
                break;
            }
            state = self.leak(state, end, allotted);
            allotted -= allotment.amount;
        }
        self.leak(state, tick, allotted)
    }

    fn still_out(&self, allotment: &Allotment, _before: State, after: State) -> bool {
        allotment.end.div_ceil(self.tick) > after.0
    }

    /// The bucket may not leak until the last allotment ends.
    fn lifetime_with(&self, state: State, last: &Allotment, now: u64) -> u64 {
        self.lifetime(State(last.end.div_ceil(self.tick).max(state.0), state.1), now)
    }

    fn at_most(&self, state: State, amount: u64) -> State {
        State(state.0, state.1.min(amount * self.period))
    }
}
