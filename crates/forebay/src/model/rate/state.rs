//! The stored state of one key, and the computations that every kind of limit provides.

use std::time::Duration;

/// Integers below this are exact in a Lua number.
pub(crate) const EXACT: u64 = 1 << 53;

/// The largest quota and burst: leaves room to add the largest cost below [`EXACT`].
pub(crate) const MAX_QUOTA: u64 = 1 << 50;

/// The state of a limit for one key: two integers. The kind of limit gives them their meaning.
///
/// Fixed window: (window index, used). Sliding window: (tick, used before and now, 32 bits each). Token bucket: (tick,
/// level). All numbers are below 2^53.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State(pub u64, pub u64);

/// The part of a key's quota that one process holds and spends without a call to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allotment {
    pub holder: u128,
    /// The sequence number of the request that set it. An earlier request that arrives later changes nothing.
    pub sequence: u64,
    /// An upper bound on what the holder has not spent yet.
    pub amount: u64,
    /// The time after which none of it is spent any more.
    pub end: u64,
}

/// The unit of a state's numbers: the kind, and the period and tick of the rule that wrote it.
///
/// It is a part of a state's name in every store. A rule with another scale begins anew, because it must not read a count
/// of minutes as one of seconds. A rule that differs only in its quota continues with the stored count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Scale(u64);

impl Scale {
    /// The leases of a concurrency limit, which has no rule.
    pub(crate) const LEASE: Self = Self(0);

    /// The scale of a kind that counts over a period (below 2^45 µs) in ticks of 1 µs or 1 000 µs.
    ///
    /// Such kinds have the numbers 1 to 3, in the lowest two bits.
    pub(super) const fn of_period(kind: u8, period: u64, tick: u64) -> Self {
        Self(period << 3 | (tick / 1_000) << 2 | kind as u64)
    }

    /// The scale of a kind with a number from 4 on, that differs by a small number.
    pub(super) const fn of_detail(kind: u8, detail: u8) -> Self {
        Self((kind as u64) << 56 | (detail as u64) << 3)
    }

    /// The kind's number; 0 for leases. Numbers from 4 on stand in the highest byte, which no period reaches.
    pub(crate) const fn kind(self) -> u8 {
        let bytes = self.0.to_le_bytes();
        match bytes[0] & 3 {
            0 => bytes[7],
            kind => kind,
        }
    }

    /// The period in microseconds, of a kind that has one.
    #[cfg(feature = "redis")]
    fn period(self) -> u64 {
        self.0 >> 3
    }

    /// Writes the period, such as `60s`, `250ms` or `1500us`; `60s.ms` if states count milliseconds of it.
    #[cfg(feature = "redis")]
    pub(super) fn write_period(self, to: &mut Vec<u8>) {
        let (mut number, unit) = match self.period() {
            period if period % 1_000_000 == 0 => (period / 1_000_000, "s"),
            period if period % 1_000 == 0 => (period / 1_000, "ms"),
            period => (period, "us"),
        };
        let start = to.len();
        loop {
            to.push(b'0' + (number % 10).to_le_bytes()[0]);
            number /= 10;
            if number == 0 {
                break;
            }
        }
        to[start..].reverse();
        to.extend_from_slice(unit.as_bytes());
        if self.0 & 4 != 0 {
            to.extend_from_slice(b".ms");
        }
    }

    /// The scale as a number, for a file.
    pub(crate) fn to_bits(self) -> u64 {
        self.0
    }

    /// Reads the number from a file. [`Rule::knows`](super::rule::Rule::knows) tells whether this version knows its kind.
    pub(crate) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// The arithmetic of one kind of rate limit. Times are microseconds since 1970.
///
/// The provided methods are for kinds with windows, whose state is (window, used).
///
/// The Lua table of the kind, `engine/redis/lua/kinds/`, computes the same.
pub(crate) trait RateKind: Copy {
    /// Its number in stored scales and in the arguments of scripts.
    const NUMBER: u8;

    /// Its word in the keys of a store.
    const WORD: &'static str;

    /// The lifetime of its states in a store: [`lifetime`](Self::lifetime) in words.
    const KEPT: &'static str;

    /// True if a time decides only by the window that contains it: a clock that is a little behind decides alike until the
    /// [`end`](Self::end) is near.
    const HAS_WINDOWS: bool = false;

    /// See [`WORD`](Self::WORD).
    #[cfg(feature = "redis")]
    fn word(&self) -> &'static str {
        Self::WORD
    }

    /// See [`HAS_WINDOWS`](Self::HAS_WINDOWS).
    #[inline]
    fn has_windows(&self) -> bool {
        Self::HAS_WINDOWS
    }

    /// The unit of its states.
    fn scale(&self) -> Scale;

    /// Writes the scale into a store's key, so that states of different scales have different names.
    #[cfg(feature = "redis")]
    fn write_span(&self, to: &mut Vec<u8>) {
        self.scale().write_period(to);
    }

    /// Passes the numbers of the rule to `write`, in the order in which scripts read them. `about` is an estimate of the
    /// store's time, for kinds whose numbers depend on the time.
    #[cfg(feature = "redis")]
    fn write_words(&self, about: u64, write: impl FnMut(u64));

    /// The largest cost that can ever be granted.
    fn quota(&self) -> u64;

    /// The time in which a whole quota becomes available again, as of `now`.
    fn refill(&self, now: u64) -> Duration;

    /// The same rule with the largest quota that its numbers permit. A commit above its estimate is charged by it.
    fn boundless(self) -> Self;

    /// The stored state as of `now`. A clock that is behind the state does not change it.
    fn advance(&self, state: Option<State>, now: u64) -> State;

    /// The used part of the quota.
    #[inline]
    fn used(&self, state: State) -> u64 {
        state.1
    }

    /// The largest cost that fits into an advanced state.
    #[inline]
    fn room(&self, state: State) -> u64 {
        self.quota().saturating_sub(self.used(state))
    }

    /// An advanced state after `cost`, which must fit.
    #[inline]
    fn charge(&self, state: State, cost: u64) -> State {
        State(state.0, state.1 + cost)
    }

    /// An advanced state after a refund of `cost`; never below empty.
    ///
    /// `charged` is the first number of the state right after the charge. With it, only the part that still counts is
    /// refunded. A window that is over gets no refund.
    fn refund(&self, state: State, cost: u64, charged: Option<u64>) -> State {
        match charged {
            Some(window) if window != state.0 => state,
            _ => State(state.0, state.1.saturating_sub(cost)),
        }
    }

    /// The microseconds from `now` until `cost` fits, without other callers. It does not fit earlier, and it fits exactly
    /// then.
    fn wait(&self, state: State, now: u64, cost: u64) -> u64 {
        if cost > self.room(state) { self.reset_after(state, now) } else { 0 }
    }

    /// The microseconds from `now` until nothing is used.
    #[inline]
    fn reset_after(&self, state: State, now: u64) -> u64 {
        if state.1 == 0 { 0 } else { self.end(state, now, 0).0.saturating_sub(now) }
    }

    /// The microseconds from `now` for which a store must keep the state.
    ///
    /// This is one window longer than the state counts, so that a clock that steps back by less than that still finds it.
    #[inline]
    fn lifetime(&self, state: State, now: u64) -> u64 {
        let (end, length) = self.end(state, now, 0);
        end.saturating_sub(now).saturating_add(length)
    }

    /// The end of an allotment that is granted now, and the most microseconds for which it counts. `span` is for kinds
    /// without windows: the time for which an allotment can be spent.
    fn end(&self, state: State, now: u64, span: u64) -> (u64, u64);

    /// [`advance`](Self::advance) of a state of which allotments are out, by their ends. Those of a window change nothing.
    fn advance_with(&self, state: State, allotments: &[Allotment], now: u64) -> State {
        let _ = allotments;
        self.advance(Some(state), now)
    }

    /// Returns whether an allotment that was outstanding in one state is outstanding in a later one. An allotment of a
    /// window ends with it.
    fn still_out(&self, allotment: &Allotment, before: State, after: State) -> bool {
        let _ = allotment;
        before.0 == after.0
    }

    /// Like [`lifetime`](Self::lifetime), for a state with an outstanding allotment.
    #[inline]
    fn lifetime_with(&self, state: State, last: &Allotment, now: u64) -> u64 {
        let _ = last;
        self.lifetime(state, now)
    }

    /// The state with its use in the current window reduced to at most `amount`.
    fn at_most(&self, state: State, amount: u64) -> State {
        State(state.0, state.1.min(amount))
    }
}
