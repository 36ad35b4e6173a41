//! A limit as integers: what both engines compute with, bit for bit the same.

use std::time::Duration;

use super::{
    gcra::TokenBucket,
    sliding::{MAX_SLIDING, SlidingWindow},
    window::FixedWindow,
};
use crate::{
    error::{Result, out_of_range},
    time::{days, micros},
};

/// Integers below this are exact in a Lua number.
pub(crate) const EXACT: u64 = 1 << 53;

/// The largest quota and burst: leaves room to add the largest cost below [`EXACT`].
pub(crate) const MAX_QUOTA: u64 = 1 << 50;

/// What a limit remembers of one key: two integers, whose meaning is the rule's.
///
/// Fixed window: (window index, used). Sliding window: (tick, used before and now, 32 bits each). Token bucket: (tick,
/// level). All numbers are below 2^53.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State(pub u64, pub u64);

/// The arithmetic of one limit. Times are microseconds since 1970.
///
/// An engine does, in one atomic step: [`settle`](Self::settle) the stored state; if the cost fits in
/// the [`room`](Self::room), [`charge`](Self::charge) and store; else store nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Rule {
    FixedWindow(FixedWindow),
    SlidingWindow(SlidingWindow),
    TokenBucket(TokenBucket),
}

/// What the numbers of a state count: kind, period and tick of the rule that wrote it.
///
/// Part of a state's name in every store. A rule with another scale begins anew rather than read a count of minutes as
/// one of seconds; one that differs in the quota alone goes on with what was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Scale(u64);

impl Scale {
    /// Of no rule: what a concurrency limit lends.
    pub(crate) const LEASE: Self = Self(0);

    /// Kind: 1 fixed window, 2 token bucket, 3 sliding window. The period is below 2^45 microseconds.
    const fn new(kind: u64, period: u64, tick: u64) -> Self {
        Self(period << 3 | (tick / 1_000) << 2 | kind)
    }

    /// 1 fixed window, 2 token bucket, 3 sliding window.
    #[cfg(feature = "redis")]
    pub(crate) fn kind(self) -> u8 {
        (self.0 & 3).to_le_bytes()[0]
    }

    /// The period in microseconds.
    #[cfg(feature = "redis")]
    pub(crate) fn period(self) -> u64 {
        self.0 >> 3
    }

    /// Whether it counts in milliseconds rather than microseconds.
    #[cfg(feature = "redis")]
    pub(crate) fn is_coarse(self) -> bool {
        self.0 & 4 != 0
    }

    /// As a number, for a file.
    pub(crate) fn to_bits(self) -> u64 {
        self.0
    }

    /// What a file had.
    pub(crate) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

impl Rule {
    /// What its states count.
    #[inline]
    pub(crate) fn scale(&self) -> Scale {
        match self {
            Self::FixedWindow(rule) => Scale::new(1, rule.length, 1),
            Self::TokenBucket(rule) => Scale::new(2, rule.period * rule.tick, rule.tick),
            Self::SlidingWindow(rule) => Scale::new(3, rule.length * rule.tick, rule.tick),
        }
    }

    /// `limit` per window of `length`; windows begin at multiples of `length` plus `phase`.
    pub(crate) fn fixed_window(limit: u64, length: Duration, phase: Duration) -> Result<Self> {
        let limit = quota("limit", limit)?;
        let length = period(length)?;
        let phase = micros(phase).unsigned_abs() % length;
        Ok(Self::FixedWindow(FixedWindow { limit, length, offset: (length - phase) % length }))
    }

    /// `limit` per any span of `length`, as two counters tell it.
    pub(crate) fn sliding_window(limit: u64, length: Duration) -> Result<Self> {
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
        Ok(Self::SlidingWindow(SlidingWindow { limit, length: length / tick, tick }))
    }

    /// `rate` tokens per `per`, at most `burst` at once.
    pub(crate) fn token_bucket(rate: u64, per: Duration, burst: u64) -> Result<Self> {
        let rate = quota("rate", rate)?;
        let burst = quota("burst", burst)?;
        let length = period(per)?;
        let Some(tick) = tick(rate.max(burst), length) else {
            return Err(out_of_range(format!(
                "token bucket of {rate} per {per:?} with burst {burst}: the larger of both times the period \
                 in milliseconds must be below 2^53, and the period a whole number of milliseconds then"
            )));
        };
        Ok(Self::TokenBucket(TokenBucket { rate, period: length / tick, burst, tick }))
    }

    /// The same, with windows that begin at one of 64 places, by the high bits of `hash`.
    pub(crate) fn shifted(self, hash: u64) -> Self {
        match self {
            Self::FixedWindow(rule) => {
                let offset = (rule.offset + (hash >> 58) * rule.length / 64) % rule.length;
                Self::FixedWindow(FixedWindow { offset, ..rule })
            }
            other => other,
        }
    }

    /// The same, with the largest quota that its numbers bear: what is owed is charged by it.
    pub(crate) fn boundless(self) -> Self {
        match self {
            Self::FixedWindow(rule) => Self::FixedWindow(FixedWindow { limit: MAX_QUOTA, ..rule }),
            Self::SlidingWindow(rule) => {
                let limit = ((EXACT - 1) / rule.length).min(MAX_SLIDING);
                Self::SlidingWindow(SlidingWindow { limit, ..rule })
            }
            Self::TokenBucket(rule) => {
                Self::TokenBucket(TokenBucket { burst: (EXACT - 1) / rule.period, ..rule })
            }
        }
    }

    /// The largest cost that can ever be granted.
    #[inline]
    pub(crate) fn quota(&self) -> u64 {
        match self {
            Self::FixedWindow(rule) => rule.limit,
            Self::SlidingWindow(rule) => rule.limit,
            Self::TokenBucket(rule) => rule.burst,
        }
    }

    /// In what time as much as the quota passes.
    pub(crate) fn refill(&self) -> Duration {
        Duration::from_micros(match self {
            Self::FixedWindow(rule) => rule.length,
            Self::SlidingWindow(rule) => rule.length * rule.tick,
            Self::TokenBucket(rule) => (rule.burst * rule.period).div_ceil(rule.rate) * rule.tick,
        })
    }

    /// The stored state as of `now`. A clock that is behind the state does not change it.
    #[inline]
    pub(crate) fn settle(&self, state: Option<State>, now: u64) -> State {
        match self {
            Self::FixedWindow(rule) => rule.settle(state, now),
            Self::SlidingWindow(rule) => rule.settle(state, now),
            Self::TokenBucket(rule) => rule.settle(state, now),
        }
    }

    /// The largest cost that fits into a settled state.
    #[inline]
    pub(crate) fn room(&self, state: State) -> u64 {
        match self {
            Self::FixedWindow(rule) => rule.room(state),
            Self::SlidingWindow(rule) => rule.room(state),
            Self::TokenBucket(rule) => rule.room(state),
        }
    }

    /// A settled state after `cost`, which must fit.
    #[inline]
    pub(crate) fn charge(&self, state: State, cost: u64) -> State {
        match self {
            Self::FixedWindow(_) => FixedWindow::charge(state, cost),
            Self::SlidingWindow(_) => SlidingWindow::charge(state, cost),
            Self::TokenBucket(rule) => rule.charge(state, cost),
        }
    }

    /// A settled state after `cost` came back; never below empty.
    ///
    /// With `charged`, the first number of the state right after the charge, only as much as that still counts: nothing
    /// of a window that is over, and of a bucket what has not leaked since.
    pub(crate) fn refund(&self, state: State, cost: u64, charged: Option<u64>) -> State {
        match self {
            Self::FixedWindow(_) if charged.is_some_and(|window| window != state.0) => state,
            Self::FixedWindow(_) => FixedWindow::refund(state, cost),
            Self::SlidingWindow(rule) => rule.refund(state, cost, charged),
            Self::TokenBucket(rule) => rule.refund(state, cost, charged),
        }
    }

    /// What is used of the quota.
    #[inline]
    pub(crate) fn used(&self, state: State) -> u64 {
        match self {
            Self::FixedWindow(_) => state.1,
            Self::SlidingWindow(rule) => rule.used(state),
            Self::TokenBucket(rule) => rule.used(state),
        }
    }

    /// Microseconds from `now` until `cost` fits, absent other callers: not before, and exactly then.
    pub(crate) fn wait(&self, state: State, now: u64, cost: u64) -> u64 {
        match self {
            Self::FixedWindow(rule) if cost > rule.room(state) => rule.reset_after(state, now),
            Self::FixedWindow(_) => 0,
            Self::SlidingWindow(rule) => rule.wait(state, now, cost),
            Self::TokenBucket(rule) => rule.wait(state, now, cost),
        }
    }

    /// Microseconds from `now` until nothing is used.
    #[inline]
    pub(crate) fn reset_after(&self, state: State, now: u64) -> u64 {
        match self {
            Self::FixedWindow(rule) => rule.reset_after(state, now),
            Self::SlidingWindow(rule) => rule.reset_after(state, now),
            Self::TokenBucket(rule) => rule.reset_after(state, now),
        }
    }

    /// When a slice of a settled state ends: with its window; of a bucket `span` from now, or from the state's own time
    /// where that is ahead of a clock that stepped back.
    pub(crate) fn end(&self, state: State, now: u64, span: u64) -> u64 {
        match self {
            Self::FixedWindow(rule) => (state.0 + 1) * rule.length - rule.offset,
            Self::SlidingWindow(rule) => (state.0 / rule.length + 1) * rule.length * rule.tick,
            Self::TokenBucket(rule) => now.max(state.0 * rule.tick) + span,
        }
    }

    /// A window's length, a bucket's period, in microseconds.
    pub(crate) fn length(&self) -> u64 {
        match self {
            Self::FixedWindow(rule) => rule.length,
            Self::SlidingWindow(rule) => rule.length * rule.tick,
            Self::TokenBucket(rule) => rule.period * rule.tick,
        }
    }

    /// Microseconds from `now` for which a store must keep the state.
    #[inline]
    pub(crate) fn lifetime(&self, state: State, now: u64) -> u64 {
        match self {
            Self::FixedWindow(rule) => rule.lifetime(state, now),
            Self::SlidingWindow(rule) => rule.lifetime(state, now),
            Self::TokenBucket(rule) => rule.lifetime(state, now),
        }
    }
}

/// Microseconds per tick: the finest with which `most` times the period is exact in a Lua number.
fn tick(most: u64, period: u64) -> Option<u64> {
    let fits = |ticks: u64| u128::from(most) * u128::from(ticks) < u128::from(EXACT);
    [1, 1_000].into_iter().find(|&tick| period.is_multiple_of(tick) && fits(period / tick))
}

fn quota(what: &str, value: u64) -> Result<u64> {
    if (1..=MAX_QUOTA).contains(&value) {
        Ok(value)
    } else {
        Err(out_of_range(format!("{what} {value}: a {what} is 1 to 2^50")))
    }
}

/// The longest window: with it, twice the index times the length is still below 2^53.
const MAX_PERIOD: Duration = days(366);

fn period(length: Duration) -> Result<u64> {
    if (Duration::from_millis(1)..=MAX_PERIOD).contains(&length) {
        Ok(micros(length).unsigned_abs())
    } else {
        Err(out_of_range(format!("window of {length:?}: a window is 1 ms to 366 days")))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time::{millis, secs};

    /// Probes near 2026, where the products are as large as they get in practice.
    const NOW: u64 = 1_790_000_000_000_000;

    fn rules() -> impl Strategy<Value = Rule> {
        let spans = prop_oneof![
            Just(millis(1)),
            Just(millis(250)),
            Just(secs(1)),
            Just(secs(60)),
            Just(secs(86_400))
        ];
        (1u64..50, 1u64..50, spans, 0u64..100_000, 0..3).prop_map(|(rate, burst, span, phase, kind)| {
            match kind {
                0 => Rule::fixed_window(rate, span, Duration::from_micros(phase)),
                1 => Rule::sliding_window(rate, span),
                _ => Rule::token_bucket(rate, span, burst),
            }
            .expect("in range")
        })
    }

    /// Microseconds: mostly within a few windows, and some so long that all of them are a million seconds.
    fn steps() -> impl Strategy<Value = u64> {
        prop_oneof![4 => 0u64..3_000_000, 1 => 0u64..200_000_000_000]
    }

    fn take(rule: &Rule, state: &mut Option<State>, now: u64, cost: u64) -> bool {
        let settled = rule.settle(*state, now);
        let fits = cost <= rule.room(settled);
        if fits {
            *state = Some(rule.charge(settled, cost));
        }
        fits
    }

    proptest! {
        #[test]
        fn wait_is_exact(rule in rules(), steps in prop::collection::vec((steps(), 1u64..50), 1..40)) {
            let (mut state, mut now) = (None, NOW);
            for (step, cost) in steps {
                now += step;
                let cost = cost.min(rule.quota());
                if take(&rule, &mut state, now, cost) {
                    continue;
                }
                let wait = rule.wait(rule.settle(state, now), now, cost);
                prop_assert!(wait > 0);
                let before = now + wait - 1;
                prop_assert!(cost > rule.room(rule.settle(state, before)), "denied one microsecond before");
                prop_assert!(cost <= rule.room(rule.settle(state, now + wait)), "admitted at it");
            }
        }

        #[test]
        fn a_run_is_granted_like_its_calls_one_by_one(
            rule in rules(), before in prop::collection::vec((0u64..500_000, 1u64..9), 0..9), cost in 1u64..9, count in 1u64..99,
        ) {
            let (mut state, mut now) = (None, NOW);
            for (step, cost) in before {
                now += step;
                take(&rule, &mut state, now, cost.min(rule.quota()));
            }
            let cost = cost.min(rule.quota());
            let settled = rule.settle(state, now);
            let at_once = count.min(rule.room(settled) / cost);
            let one_by_one = (0..count).filter(|_| take(&rule, &mut state, now, cost)).count() as u64;
            prop_assert_eq!(at_once, one_by_one);
        }

        #[test]
        fn a_clock_that_steps_back_gives_nothing_away(rule in rules(), back in 1u64..100_000_000) {
            let mut state = None;
            while take(&rule, &mut state, NOW, 1) {}
            prop_assert!(!take(&rule, &mut state, NOW - back, 1));
            prop_assert_eq!(rule.wait(rule.settle(state, NOW - back), NOW - back, 1),
                back + rule.wait(rule.settle(state, NOW), NOW, 1));
        }

        #[test]
        fn what_a_store_forgets_no_longer_counts(rule in rules(), cost in 1u64..50) {
            let cost = cost.min(rule.quota());
            let mut state = None;
            prop_assert!(take(&rule, &mut state, NOW, cost));
            let state = state.expect("charged");
            let gone = NOW + rule.lifetime(state, NOW);
            prop_assert_eq!(rule.settle(Some(state), gone), rule.settle(None, gone));
        }

        #[test]
        fn a_bucket_admits_at_most_burst_plus_rate_times_time(
            rate in 1u64..20, burst in 1u64..20, steps in prop::collection::vec(0u64..400_000, 1..200),
        ) {
            let rule = Rule::token_bucket(rate, secs(1), burst).expect("in range");
            let (mut state, mut now, mut admitted) = (None, NOW, 0u64);
            for step in steps {
                now += step;
                admitted += u64::from(take(&rule, &mut state, now, 1));
            }
            prop_assert!(u128::from(admitted) * 1_000_000 <= u128::from(burst) * 1_000_000 + u128::from(rate * (now - NOW)));
        }
    }

    proptest! {
        /// Else a charge that was undone late would take somebody else's with it, and admit too much.
        #[test]
        fn a_refund_never_leaves_less_than_if_there_had_been_no_charge(
            rule in rules(), steps in prop::collection::vec((0u64..900_000, 1u64..9), 3..30), undone in any::<prop::sample::Index>(),
        ) {
            let undone = undone.index(steps.len());
            let (mut with, mut without, mut now) = (None, None, NOW);
            let mut charged = None;
            for (i, (step, cost)) in steps.into_iter().enumerate() {
                now += step;
                let cost = cost.min(rule.quota());
                let fits = take(&rule, &mut with, now, cost);
                if i == undone {
                    charged = with.filter(|_| fits).map(|state| (state.0, cost));
                } else if fits {
                    prop_assert!(take(&rule, &mut without, now, cost));
                }
            }
            let Some((window, cost)) = charged else { return Ok(()) };
            let refunded = rule.refund(rule.settle(with, now), cost, Some(window));
            prop_assert!(refunded.1 >= rule.settle(without, now).1);
            // At once it undoes the charge to the last unit.
            let (mut state, before) = (with, rule.settle(with, now));
            if take(&rule, &mut state, now, 1) {
                let after = state.expect("charged");
                prop_assert_eq!(rule.refund(after, 1, Some(after.0)), before);
            }
        }
    }

    #[test]
    fn windows_follow_the_phase() {
        let rule = Rule::fixed_window(1, secs(60), secs(15)).expect("in range");
        let Rule::FixedWindow(window) = rule else { unreachable!("built as a window") };
        let minute = NOW - NOW % 60_000_000;
        let at = |offset| window.settle(None, minute + offset).0;
        assert_eq!(at(14_999_999) + 1, at(15_000_000));
        assert_eq!(at(15_000_000), at(74_999_999));
    }

    #[test]
    fn out_of_range_rules_are_refused() {
        assert!(Rule::fixed_window(0, secs(1), secs(0)).is_err());
        assert!(Rule::fixed_window(1, Duration::from_micros(999), secs(0)).is_err());
        assert!(Rule::fixed_window(1, days(367), secs(0)).is_err());
        assert!(Rule::token_bucket(1 << 40, days(1), 1).is_err());
        assert!(
            Rule::token_bucket(1_000_000, days(1), 1)
                .is_ok_and(|rule| matches!(rule, Rule::TokenBucket(b) if b.tick == 1_000))
        );
    }
}
