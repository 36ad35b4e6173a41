//! The values of a gauge: the last one, the smallest, the largest, and their average.
//!
//! Numbers in, numbers out: no clock, no engine.

use crate::{
    error::{Result, out_of_range},
    time::Timestamp,
};

/// The largest magnitude of a value: the sum of as many as a bucket can count is a number, too.
pub(crate) const MAX_VALUE: f64 = 1e290;

/// The latest time that a double holds to the microsecond: in the year 2255.
const MAX_TIME: i64 = 1 << 53;

/// Checks a value. Zero has no sign.
pub(crate) fn checked(value: f64) -> Result<f64> {
    // NaN is within nothing.
    if value.abs() <= MAX_VALUE {
        return Ok(value + 0.0);
    }
    Err(out_of_range(format!("value {value}: a number from -{MAX_VALUE:e} to {MAX_VALUE:e}")))
}

/// Some values of a gauge.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Readings {
    pub count: u64,
    /// The time of the last value, in µs, and the value. Of several at one time it is the largest.
    pub at: i64,
    pub last: f64,
    pub min: f64,
    pub max: f64,
    /// The sum, and what it lacks: the error of all additions but the last digits of that.
    sum: [f64; 2],
}

impl Readings {
    /// Takes a [checked] value.
    pub(crate) fn add(&mut self, value: f64, at: Timestamp) {
        let at = at.as_micros().clamp(-MAX_TIME, MAX_TIME);
        self.merge(&Self { count: 1, at, last: value, min: value, max: value, sum: [value, 0.0] });
    }

    /// Takes the values of others. The script does the same, operation by operation.
    pub(crate) fn merge(&mut self, other: &Self) {
        if self.count == 0 {
            self.clone_from(other);
            return;
        }
        if other.count == 0 {
            return;
        }
        if (other.at, other.last) > (self.at, self.last) {
            (self.at, self.last) = (other.at, other.last);
        }
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sum = added(self.sum, other.sum);
        self.count = self.count.saturating_add(other.count);
    }

    /// Whether these are the same values, in whatever order they were added.
    #[cfg(any(test, feature = "conformance"))]
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let largest = self.min.abs().max(self.max.abs()) * self.count as f64;
        let all = |readings: &Self| (readings.count, readings.at, readings.last, readings.min, readings.max);
        all(self) == all(other) && (self.sum() - other.sum()).abs() <= 1e-12 * largest
    }

    /// The sum of the values.
    pub(crate) fn sum(&self) -> f64 {
        self.sum[0] + self.sum[1]
    }

    /// The form in which a store has it: seven doubles, little endian.
    pub(crate) fn pack(&self) -> Vec<u8> {
        let Self { count, at, last, min, max, sum } = self;
        [*at as f64, *last, *min, *max, sum[0], sum[1], *count as f64].map(f64::to_le_bytes).concat()
    }

    /// Reads that form.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "both are whole numbers below 2^53 in what was packed, and stop at the bounds of their types in what was not"
    )]
    pub(crate) fn unpack(bytes: &[u8]) -> Option<Self> {
        let (numbers, []) = bytes.as_chunks::<8>() else { return None };
        let numbers: Vec<f64> = numbers.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
        let [at, last, min, max, high, low, count] = numbers[..] else { return None };
        let is_number = numbers.iter().all(|number| number.is_finite());
        let count = count as u64;
        (is_number && count > 0).then_some(Self { count, at: at as i64, last, min, max, sum: [high, low] })
    }
}

/// The sum of two pairs of a sum and its error.
///
/// # Source
/// Knuth's exact sum of two doubles (The Art of Computer Programming, volume 2, 4.2.2), and the double-double addition that Dekker
/// built on such sums, "A floating-point technique for extending the available precision", 1971.
fn added([a, a_low]: [f64; 2], [b, b_low]: [f64; 2]) -> [f64; 2] {
    let sum = a + b;
    let of_b = sum - a;
    let error = (a - (sum - of_b)) + (b - of_b) + (a_low + b_low);
    let high = sum + error;
    [high, error - (high - sum)]
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn of(values: &[(f64, i64)]) -> Readings {
        let mut readings = Readings::default();
        for &(value, at) in values {
            readings.add(value, Timestamp::from_micros(at));
        }
        readings
    }

    #[test]
    fn of_one_time_the_largest_value_is_the_last_in_whatever_order_they_come() {
        for values in [[(1.0, 7), (3.0, 7), (2.0, 7), (9.0, 6)], [(9.0, 6), (3.0, 7), (2.0, 7), (1.0, 7)]] {
            let readings = of(&values);
            assert_eq!((readings.at, readings.last, readings.min, readings.max), (7, 3.0, 1.0, 9.0));
            assert_eq!((readings.sum(), readings.count), (15.0, 4));
        }
    }

    #[test]
    fn what_is_no_number_is_refused_and_zero_has_no_sign() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.1e290, -1.1e290, f64::MAX] {
            assert!(checked(value).is_err(), "{value}");
        }
        assert!(checked(-0.0).is_ok_and(f64::is_sign_positive));
        for value in [0.0, 5e-324, -1e290, 1e290] {
            assert_eq!(checked(value).ok(), Some(value));
        }
    }

    /// A plain sum of these is 0, or 1 too few.
    #[test]
    fn large_values_that_cancel_leave_the_small_ones() {
        let values = [(1e16, 1), (1.0, 2), (1.0, 3), (-1e16, 4), (0.1, 5)];
        assert!((of(&values).sum() - 2.1).abs() < 1e-9);
        let mut forth_and_back = of(&values[..3]);
        forth_and_back.merge(&of(&values[3..]));
        assert!((forth_and_back.sum() - 2.1).abs() < 1e-9);
        assert!(of(&[(1e290, 1), (1e290, 2)]).sum().is_finite());
    }

    proptest! {
        #[test]
        fn a_merge_has_what_all_values_have(values in vec((-1e9f64..1e9, 0i64..50), 1..60), cut in 0usize..60) {
            let all = of(&values);
            let (one, two) = values.split_at(cut.min(values.len()));
            let mut merged = of(two);
            merged.merge(&of(one));
            prop_assert_eq!((merged.at, merged.last, merged.min, merged.max), (all.at, all.last, all.min, all.max));
            let sum: f64 = values.iter().map(|(value, _)| value).sum();
            let scale: f64 = values.iter().map(|(value, _)| value.abs()).sum();
            prop_assert!((merged.sum() - sum).abs() <= 1e-9 * scale && (all.sum() - sum).abs() <= 1e-9 * scale);
            prop_assert_eq!((merged.count, Readings::unpack(&merged.pack())), (values.len() as u64, Some(merged)));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..80)) {
            let _ = Readings::unpack(&bytes);
        }
    }
}
