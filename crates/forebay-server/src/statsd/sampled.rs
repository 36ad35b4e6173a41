//! Sums of sampled counts, exactly.
//!
//! A count of `n` at a sample rate of `r` stands for `n/r`. Sums are of `n`, in billionths, and are divided once; what is left
//! is carried. So three times `1|c|@0.3` is 10, and a million times `1|c|@0.7` is 1 428 571.

/// Billionths: the unit of counts and of sample rates.
const UNIT: u64 = 1_000_000_000;

/// The largest count of a line, before it is divided by its rate.
const MAX_COUNT: f64 = (1_u64 << 40) as f64;

/// A sample rate: more than 0, at most 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Rate(u64);

impl Rate {
    /// Every event is sent.
    pub(super) const ALL: Self = Self(UNIT);

    /// Rounds to billionths.
    pub(super) fn new(rate: f64) -> Option<Self> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is between 0 and a billion"
        )]
        let billionths = (rate * UNIT as f64).round() as u64;
        (rate <= 1.0 && (1..=UNIT).contains(&billionths)).then_some(Self(billionths))
    }
}

/// A sum of counts of one sample rate, in billionths of a sent count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum(u128);

impl Sum {
    /// A count from 0 to 2^40, rounded to billionths.
    pub(super) fn of(count: f64) -> Option<Self> {
        if !(0.0..=MAX_COUNT).contains(&count) {
            return None;
        }
        // A product of the whole count would lose its last digits.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "both are from 0 to 2^40"
        )]
        let (whole, part) = (count.trunc() as u64, (count.fract() * UNIT as f64).round() as u64);
        Some(Self(u128::from(whole) * u128::from(UNIT) + u128::from(part)))
    }

    /// So many events, as counted before.
    pub(super) fn of_events(events: u64, rate: Rate) -> Self {
        Self(u128::from(events) * u128::from(rate.0))
    }

    pub(super) fn add(&mut self, other: Self) {
        self.0 = self.0.saturating_add(other.0);
    }

    /// The whole events, and what is left: less than one.
    pub(super) fn split(self, rate: Rate) -> (u64, Self) {
        let rate = u128::from(rate.0);
        let events = u64::try_from(self.0 / rate).unwrap_or(u64::MAX);
        (events, Self(self.0 % rate))
    }

    /// Whether what is left is at least half an event.
    pub(super) fn is_half(self, rate: Rate) -> bool {
        self.0 * 2 >= u128::from(rate.0)
    }

    pub(super) fn is_zero(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The events of so many lines, taken after each `every` lines, and the last remainder.
    fn events(count: f64, rate: f64, lines: u64, every: u64) -> (u64, Sum) {
        let rate = Rate::new(rate).expect("a rate");
        let (mut total, mut sum) = (0, Sum::default());
        for line in 1..=lines {
            sum.add(Sum::of(count).expect("a count"));
            if line % every == 0 || line == lines {
                let (events, rest) = sum.split(rate);
                (total, sum) = (total + events, rest);
            }
        }
        (total, sum)
    }

    #[test]
    fn many_lines_add_up_exactly() {
        for (count, rate, lines, expected) in [
            (1.0, 0.1, 1, 10),
            (1.0, 0.3, 3, 10),
            (1.0, 0.3, 1, 3),
            (1.0, 0.7, 700_000, 1_000_000),
            (2.5, 0.1, 4, 100),
            (0.1, 1.0, 10, 1),
            (1.0, 0.001, 1_000, 1_000_000),
            (1.0, 1e-9, 2, 2_000_000_000),
            (3.0, 1.0, 7, 21),
        ] {
            for every in [1, 7, lines] {
                assert_eq!(events(count, rate, lines, every).0, expected, "{count} at {rate}, {lines} times");
            }
        }
        assert!(events(0.1, 1.0, 10, 3).1.is_zero());
    }

    #[test]
    fn counts_and_rates_have_bounds() {
        for rate in [0.0, -0.1, 1.1, 1e-10, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Rate::new(rate), None, "{rate}");
        }
        for count in [-1.0, -1e-9, 2e12, f64::NAN, f64::INFINITY, f64::MAX] {
            assert_eq!(Sum::of(count), None, "{count}");
        }
        assert_eq!(Sum::of(-0.0), Some(Sum::default()));
        assert!(Sum::of(1e-300).expect("a count").is_zero());
        let most = Sum::of((1_u64 << 40) as f64).expect("a count");
        assert_eq!(most.split(Rate::ALL), (1 << 40, Sum::default()));
        assert_eq!(most.split(Rate::new(1e-9).expect("a rate")).0, u64::MAX, "it stops there");
    }

    proptest! {
        #[test]
        fn the_error_is_less_than_one_event(counts in prop::collection::vec(0..1_000_000_u64, 1..50), rate in 1..1_000_u64) {
            let rate_of = Rate::new(rate as f64 / 1_000.0).expect("a rate");
            let (mut total, mut sum) = (0, Sum::default());
            for count in &counts {
                sum.add(Sum::of(*count as f64).expect("a count"));
                let (events, rest) = sum.split(rate_of);
                (total, sum) = (total + events, rest);
            }
            prop_assert_eq!(total, counts.iter().sum::<u64>() * 1_000 / rate);
            let back = Sum::of_events(total, rate_of);
            prop_assert_eq!(back.split(rate_of), (total, Sum::default()));
        }
    }
}
