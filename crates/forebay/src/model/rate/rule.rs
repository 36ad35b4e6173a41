//! A limit as integers. Both engines compute with it, bit for bit the same.

use std::time::Duration;

#[cfg(feature = "redis")]
pub(crate) use super::state::EXACT;
pub(crate) use super::state::{RateKind, Scale, State};
use super::{
    calendar::{CalendarUnit, CalendarWindow, Zone},
    gcra::TokenBucket,
    sliding::SlidingWindow,
    state::Allotment,
    window::FixedWindow,
};
use crate::error::Result;

/// The arithmetic of one limit. Times are microseconds since 1970.
///
/// An engine does, in one atomic step: [`advance`](Self::advance) the stored state; if the cost fits in
/// the [`room`](Self::room), [`charge`](Self::charge) and store; else store nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Rule {
    FixedWindow(FixedWindow),
    SlidingWindow(SlidingWindow),
    TokenBucket(TokenBucket),
    CalendarWindow(CalendarWindow),
}

/// The kinds of rates. Each has its file, and its Lua table beside the others in `engine/redis/lua/kinds/`.
macro_rules! each {
    ($rule:expr, $kind:ident => $call:expr) => {
        match $rule {
            Rule::FixedWindow($kind) => $call,
            Rule::SlidingWindow($kind) => $call,
            Rule::TokenBucket($kind) => $call,
            Rule::CalendarWindow($kind) => $call,
        }
    };
}

/// The method of [`RateKind`] with this name.
macro_rules! dispatch {
    ($name:ident($($argument:ident: $type:ty),*) -> $answer:ty) => {
        #[doc = concat!("See [`RateKind::", stringify!($name), "`].")]
        #[inline]
        pub(crate) fn $name(&self, $($argument: $type),*) -> $answer {
            each!(self, kind => kind.$name($($argument),*))
        }
    };
}

/// The constants of a kind: its number, its word, and how long states are kept.
const fn facts<K: RateKind>() -> (u8, &'static str, &'static str) {
    (K::NUMBER, K::WORD, K::KEPT)
}

/// The constants of all kinds.
const KINDS: [(u8, &str, &str); 4] =
    [facts::<FixedWindow>(), facts::<SlidingWindow>(), facts::<TokenBucket>(), facts::<CalendarWindow>()];

impl Rule {
    /// `limit` per window of `length`; windows begin at multiples of `length` plus `phase`.
    pub(crate) fn fixed_window(limit: u64, length: Duration, phase: Duration) -> Result<Self> {
        FixedWindow::new(limit, length, phase).map(Self::FixedWindow)
    }

    /// `limit` per any span of `length`, as two counters estimate it.
    pub(crate) fn sliding_window(limit: u64, length: Duration) -> Result<Self> {
        SlidingWindow::new(limit, length).map(Self::SlidingWindow)
    }

    /// `rate` tokens per `per`, at most `burst` at once.
    pub(crate) fn token_bucket(rate: u64, per: Duration, burst: u64) -> Result<Self> {
        TokenBucket::new(rate, per, burst).map(Self::TokenBucket)
    }

    /// `limit` per day, ISO week or month of a time zone.
    pub(crate) fn calendar_window(limit: u64, unit: CalendarUnit, zone: Zone) -> Result<Self> {
        CalendarWindow::new(limit, unit, zone).map(Self::CalendarWindow)
    }

    /// Returns whether this version can read states of this scale. A later version may have written others.
    pub(crate) fn knows(scale: Scale) -> bool {
        KINDS.iter().any(|(number, ..)| *number == scale.kind())
    }

    /// The words of the kinds in the keys of a store.
    #[cfg(feature = "redis")]
    pub(crate) fn words() -> impl Iterator<Item = &'static str> {
        KINDS.into_iter().map(|(_, word, _)| word)
    }

    /// The words of the kinds in the keys of a store, and the lifetime of those keys.
    #[cfg(all(test, feature = "redis"))]
    pub(crate) fn kept() -> impl Iterator<Item = (&'static str, &'static str)> {
        KINDS.into_iter().map(|(_, word, kept)| (word, kept))
    }

    /// The same rule, with windows that begin at one of 64 places, by the high bits of `hash`.
    pub(crate) fn shifted(self, hash: u64) -> Self {
        match self {
            Self::FixedWindow(window) => Self::FixedWindow(window.shifted(hash)),
            other => other,
        }
    }

    /// See [`RateKind::boundless`].
    pub(crate) fn boundless(self) -> Self {
        match self {
            Self::FixedWindow(kind) => Self::FixedWindow(kind.boundless()),
            Self::SlidingWindow(kind) => Self::SlidingWindow(kind.boundless()),
            Self::TokenBucket(kind) => Self::TokenBucket(kind.boundless()),
            Self::CalendarWindow(kind) => Self::CalendarWindow(kind.boundless()),
        }
    }

    /// See [`RateKind::write_words`].
    #[cfg(feature = "redis")]
    pub(crate) fn write_words(&self, about: u64, write: impl FnMut(u64)) {
        each!(self, kind => kind.write_words(about, write));
    }

    #[cfg(feature = "redis")]
    dispatch!(word() -> &'static str);
    #[cfg(feature = "redis")]
    dispatch!(write_span(to: &mut Vec<u8>) -> ());
    dispatch!(has_windows() -> bool);
    dispatch!(scale() -> Scale);
    dispatch!(quota() -> u64);
    dispatch!(refill(now: u64) -> Duration);
    dispatch!(advance(state: Option<State>, now: u64) -> State);
    dispatch!(used(state: State) -> u64);
    dispatch!(room(state: State) -> u64);
    dispatch!(charge(state: State, cost: u64) -> State);
    dispatch!(refund(state: State, cost: u64, charged: Option<u64>) -> State);
    dispatch!(wait(state: State, now: u64, cost: u64) -> u64);
    dispatch!(reset_after(state: State, now: u64) -> u64);
    dispatch!(lifetime(state: State, now: u64) -> u64);
    dispatch!(end(state: State, now: u64, span: u64) -> (u64, u64));
    dispatch!(advance_with(state: State, allotments: &[Allotment], now: u64) -> State);
    dispatch!(still_out(allotment: &Allotment, before: State, after: State) -> bool);
    dispatch!(lifetime_with(state: State, last: &Allotment, now: u64) -> u64);
    dispatch!(at_most(state: State, amount: u64) -> State);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time::{days, millis, secs};

    /// Times near 2026, where the products are as large as they get in practice.
    const NOW: u64 = 1_790_000_000_000_000;

    fn rules() -> impl Strategy<Value = Rule> {
        let spans = prop_oneof![
            Just(millis(1)),
            Just(millis(250)),
            Just(secs(1)),
            Just(secs(60)),
            Just(secs(86_400))
        ];
        (1u64..50, 1u64..50, spans, 0u64..100_000, 0..4).prop_map(|(rate, burst, span, phase, kind)| {
            match kind {
                0 => Rule::fixed_window(rate, span, Duration::from_micros(phase)),
                1 => Rule::sliding_window(rate, span),
                2 => Rule::calendar_window(rate, CalendarUnit::Day, berlin()),
                _ => Rule::token_bucket(rate, span, burst),
            }
            .expect("in range")
        })
    }

    fn berlin() -> Zone {
        Zone::new(jiff::tz::TimeZone::get("Europe/Berlin").expect("known"))
    }

    /// Steps in microseconds: most are within a few windows, and a few are so long that all of them add up to a million
    /// seconds.
    fn steps() -> impl Strategy<Value = u64> {
        prop_oneof![4 => 0u64..3_000_000, 1 => 0u64..200_000_000_000]
    }

    fn take(rule: &Rule, state: &mut Option<State>, now: u64, cost: u64) -> bool {
        let advanced = rule.advance(*state, now);
        let fits = cost <= rule.room(advanced);
        if fits {
            *state = Some(rule.charge(advanced, cost));
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
                let wait = rule.wait(rule.advance(state, now), now, cost);
                prop_assert!(wait > 0);
                let before = now + wait - 1;
                prop_assert!(cost > rule.room(rule.advance(state, before)), "denied one microsecond before");
                prop_assert!(cost <= rule.room(rule.advance(state, now + wait)), "admitted at it");
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
            let advanced = rule.advance(state, now);
            let at_once = count.min(rule.room(advanced) / cost);
            let one_by_one = (0..count).filter(|_| take(&rule, &mut state, now, cost)).count() as u64;
            prop_assert_eq!(at_once, one_by_one);
        }

        #[test]
        fn a_clock_that_steps_back_gives_nothing_away(rule in rules(), back in 1u64..100_000_000) {
            let mut state = None;
            while take(&rule, &mut state, NOW, 1) {}
            prop_assert!(!take(&rule, &mut state, NOW - back, 1));
            prop_assert_eq!(rule.wait(rule.advance(state, NOW - back), NOW - back, 1),
                back + rule.wait(rule.advance(state, NOW), NOW, 1));
        }

        #[test]
        fn what_a_store_forgets_no_longer_counts(rule in rules(), cost in 1u64..50) {
            let cost = cost.min(rule.quota());
            let mut state = None;
            prop_assert!(take(&rule, &mut state, NOW, cost));
            let state = state.expect("charged");
            let gone = NOW + rule.lifetime(state, NOW);
            prop_assert_eq!(rule.advance(Some(state), gone), rule.advance(None, gone));
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
        /// Otherwise a late refund would also remove the charge of another caller, and admit too much.
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
            let refunded = rule.refund(rule.advance(with, now), cost, Some(window));
            prop_assert!(refunded.1 >= rule.advance(without, now).1);
            // An immediate refund undoes the charge to the last unit.
            let (mut state, before) = (with, rule.advance(with, now));
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
        let at = |offset| window.advance(None, minute + offset).0;
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
