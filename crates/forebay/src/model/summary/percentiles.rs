//! The distribution of values: a DDSketch, whose bins are counts.
//!
//! A bin holds the values of one sign whose magnitudes are within 2 % of each other, so that its middle is within 1 % of each of
//! them. Zero has a bin of its own, and so have values too small for a normal double. Of each sign the bins reach from that of the
//! largest magnitude so far down: values below are counted in the lowest one. So a sketch has at most 2 048 bins, and it does not
//! depend on the order in which values came or sketches were merged.
//!
//! Numbers in, numbers out: no clock, no engine.
//!
//! # Source
//! Masson, Rim, Lee, "DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees", VLDB 2019.

use std::{collections::BTreeMap, iter, ops::RangeInclusive};

/// The relative error of the middle of a bin: below 1 % also where logarithms are rounded.
const ERROR: f64 = 0.0099;

/// The largest of a bin divided by the largest of the bin below.
const GROWTH: f64 = (1.0 + ERROR) / (1.0 - ERROR);

/// Bins of positive values: their magnitudes differ by 13 powers of ten.
pub(crate) const POSITIVE: i32 = 1_536;

/// Bins of negative values: four powers of ten. With these and zero there are 2 048.
pub(crate) const NEGATIVE: i32 = 511;

/// The bins of all doubles, and some more.
const BINS: RangeInclusive<i32> = -40_000..=40_000;

/// A distribution of values.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sketch {
    pub positive: Bins<POSITIVE>,
    /// By magnitude.
    pub negative: Bins<NEGATIVE>,
    pub zero: u64,
    /// The smallest value and the largest, unless there is none.
    pub bounds: Option<(f64, f64)>,
}

/// The counts of the bins of one sign, at most so many.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Bins<const MOST: i32>(BTreeMap<i32, u64>);

impl<const MOST: i32> Bins<MOST> {
    /// Adds to a bin. Those too far below the highest one are counted in the lowest one.
    pub(crate) fn add(&mut self, bin: i32, n: u64) {
        let highest = self.0.last_key_value().map_or(bin, |(highest, _)| bin.max(*highest));
        let lowest = highest - MOST + 1;
        let mut below = 0u64;
        while let Some(entry) = self.0.first_entry().filter(|entry| *entry.key() < lowest) {
            below = below.saturating_add(entry.remove());
        }
        for (bin, n) in [(bin.max(lowest), n), (lowest, below)] {
            if n > 0 {
                let count = self.0.entry(bin).or_default();
                *count = count.saturating_add(n);
            }
        }
    }

    /// Adds to a bin that was stored. `None`: no double is in it.
    pub(crate) fn add_stored(&mut self, bin: i32, n: u64) -> Option<()> {
        BINS.contains(&bin).then(|| self.add(bin, n))
    }

    /// The bins in order.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (i32, u64)> + '_ {
        self.0.iter().map(|(bin, n)| (*bin, *n))
    }

    fn merge(&mut self, other: &Self) {
        // From the highest on: then none moves twice.
        other.iter().rev().for_each(|(bin, n)| self.add(bin, n));
    }

    fn count(&self) -> u64 {
        self.0.values().fold(0, |sum, n| sum.saturating_add(*n))
    }
}

impl Sketch {
    /// Takes a value, as [`gauge::checked`](super::gauge::checked).
    pub(crate) fn add(&mut self, value: f64) {
        match bin_of(value.abs()) {
            None => self.zero = self.zero.saturating_add(1),
            Some(bin) if value > 0.0 => self.positive.add(bin, 1),
            Some(bin) => self.negative.add(bin, 1),
        }
        self.widen(Some((value, value)));
    }

    /// Takes the values of another one.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.positive.merge(&other.positive);
        self.negative.merge(&other.negative);
        self.zero = self.zero.saturating_add(other.zero);
        self.widen(other.bounds);
    }

    fn widen(&mut self, bounds: Option<(f64, f64)>) {
        if let Some((low, high)) = bounds {
            let (min, max) = self.bounds.unwrap_or((low, high));
            self.bounds = Some((min.min(low), max.max(high)));
        }
    }

    /// The number of values.
    pub(crate) fn count(&self) -> u64 {
        self.positive.count().saturating_add(self.negative.count()).saturating_add(self.zero)
    }

    /// About the value of a rank: that of ⌊q · (n - 1)⌋, counted from 0, of n values by size. `q` is 0 to 1. `None`: there is no
    /// value. The smallest and the largest value are exact.
    pub(crate) fn quantile(&self, q: f64) -> Option<f64> {
        let ((min, max), count) = (self.bounds?, self.count());
        // A product that is a whole number but for its last digit is that number.
        let rank = (q * (count.saturating_sub(1)) as f64 * (1.0 + 1e-12)).floor();
        if rank <= 0.0 {
            return Some(min);
        }
        if rank >= count.saturating_sub(1) as f64 {
            return Some(max);
        }
        let negative = self.negative.iter().rev().map(|(bin, n)| (-middle(bin), n));
        let positive = self.positive.iter().map(|(bin, n)| (middle(bin), n));
        let mut before = 0.0;
        for (value, n) in negative.chain(iter::once((0.0, self.zero))).chain(positive) {
            before += n as f64;
            if before > rank {
                return Some(value.clamp(min, max));
            }
        }
        Some(max)
    }

    /// Its form in a file: unsigned LEB128 numbers, and of the bounds the bits.
    pub(crate) fn pack(&self) -> Vec<u8> {
        let mut bytes = vec![];
        let (min, max) = self.bounds.unwrap_or_default();
        bytes.extend_from_slice(&min.to_le_bytes());
        bytes.extend_from_slice(&max.to_le_bytes());
        put(&mut bytes, self.zero);
        pack_bins(&mut bytes, self.positive.iter());
        pack_bins(&mut bytes, self.negative.iter());
        bytes
    }

    /// Reads that form.
    pub(crate) fn unpack(bytes: &[u8]) -> Option<Self> {
        let (min, rest) = bytes.split_first_chunk::<8>()?;
        let (max, mut rest) = rest.split_first_chunk::<8>()?;
        let (min, max) = (f64::from_le_bytes(*min), f64::from_le_bytes(*max));
        let mut sketch = Self { zero: take(&mut rest)?, ..Self::default() };
        unpack_bins(&mut rest, &mut sketch.positive)?;
        unpack_bins(&mut rest, &mut sketch.negative)?;
        if !(rest.is_empty() && min <= max && min.is_finite() && max.is_finite()) {
            return None;
        }
        sketch.bounds = (sketch.count() > 0).then_some((min, max));
        Some(sketch)
    }
}

/// The bin of a magnitude; `None`: that of zero.
#[expect(clippy::cast_possible_truncation, reason = "the logarithms of all doubles are far below the bounds")]
fn bin_of(magnitude: f64) -> Option<i32> {
    (magnitude >= f64::MIN_POSITIVE).then(|| (magnitude.ln() / GROWTH.ln()).ceil() as i32)
}

/// The value that is within the error of every value of a bin.
fn middle(bin: i32) -> f64 {
    GROWTH.powi(bin) * (1.0 - ERROR)
}

fn pack_bins(bytes: &mut Vec<u8>, bins: impl Iterator<Item = (i32, u64)>) {
    let bins: Vec<(i32, u64)> = bins.collect();
    put(bytes, bins.len() as u64);
    for (bin, n) in bins {
        // Small numbers of both signs are few bytes.
        let folded = (bin << 1) ^ (bin >> 31);
        put(bytes, folded.cast_unsigned().into());
        put(bytes, n);
    }
}

fn unpack_bins<const MOST: i32>(bytes: &mut &[u8], bins: &mut Bins<MOST>) -> Option<()> {
    for _ in 0..take(bytes)? {
        let folded = u32::try_from(take(bytes)?).ok()?;
        let bin = (folded >> 1).cast_signed() ^ -(folded & 1).cast_signed();
        bins.add_stored(bin, take(bytes)?)?;
    }
    Some(())
}

fn put(bytes: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        bytes.push(n.to_le_bytes()[0] | 0x80);
        n >>= 7;
    }
    bytes.push(n.to_le_bytes()[0]);
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut n = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let low = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit.
        n |= Some(low << shift).filter(|shifted| shifted >> shift == low)?;
        if byte < 0x80 {
            return Some(n);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn of(values: &[f64]) -> Sketch {
        let mut sketch = Sketch::default();
        for value in values {
            sketch.add(*value);
        }
        sketch
    }

    /// The value of the rank that a quantile is about.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a short list")]
    fn exact(values: &[f64], q: f64) -> f64 {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted[(q * (sorted.len() - 1) as f64 * (1.0 + 1e-12)).floor() as usize]
    }

    #[track_caller]
    fn check(values: &[f64], q: f64) {
        let (found, exact) = (of(values).quantile(q).expect("there are values"), exact(values, q));
        assert!(
            (found - exact).abs() <= 0.01 * exact.abs(),
            "{q} of {} values: {found}, not {exact}",
            values.len()
        );
    }

    #[test]
    fn of_nothing_there_is_no_quantile_and_of_one_value_every_quantile_is_it() {
        assert_eq!(Sketch::default().quantile(0.5), None);
        for value in [0.0, 1.0, -3.25, 1e290, -1e290, 2.3e-308, 5e-324] {
            for q in [0.0, 0.5, 1.0] {
                assert_eq!(of(&[value]).quantile(q), Some(value));
            }
        }
    }

    /// The 95th percentile of 1 to 100 is near 95, and no percentile is above the largest value.
    #[test]
    fn percentiles_are_values_by_rank() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        for q in [0.0, 0.01, 0.1, 0.29, 0.5, 0.95, 0.99, 0.999, 1.0] {
            check(&values, q);
        }
        assert_eq!((of(&values).quantile(0.0), of(&values).quantile(1.0)), (Some(1.0), Some(100.0)));
        let constant = of(&[0.3; 1_000]);
        assert!([0.0, 0.5, 0.99, 1.0].map(|q| constant.quantile(q)) == [Some(0.3); 4]);
    }

    #[test]
    fn a_jump_upwards_loses_no_count_and_bins_are_bounded() {
        let mut sketch = Sketch::default();
        for power in -300..=290 {
            sketch.add(10f64.powi(power));
            sketch.add(-(10f64.powi(power)));
            sketch.add(0.0);
        }
        assert_eq!(sketch.count(), 3 * 591);
        assert!(sketch.positive.iter().count() <= POSITIVE as usize);
        assert!(sketch.negative.iter().count() <= NEGATIVE as usize);
        let largest = 10f64.powi(290);
        assert_eq!((sketch.quantile(1.0), sketch.quantile(0.0)), (Some(largest), Some(-largest)));
        assert_eq!(sketch.quantile(0.5), Some(0.0));
        let all: Vec<i32> = sketch.positive.iter().map(|(bin, _)| bin).collect();
        let [low, .., high] = all[..] else { unreachable!("many bins") };
        assert_eq!(high - low + 1, POSITIVE, "the lowest bin has all below");
    }

    #[test]
    fn a_number_beyond_64_bits_and_a_bin_of_no_double_are_refused() {
        let most = [0xff; 9].into_iter();
        assert_eq!(take(&mut &most.clone().chain([0x01]).collect::<Vec<_>>()[..]), Some(u64::MAX));
        for last in [0x02, 0x03, 0x7f] {
            assert_eq!(take(&mut &most.clone().chain([last]).collect::<Vec<_>>()[..]), None);
        }
        let mut bins = Bins::<POSITIVE>::default();
        assert_eq!([40_001, i32::MIN, i32::MAX].map(|bin| bins.add_stored(bin, 1)), [None; 3]);
        assert_eq!((bins.add_stored(-40_000, 1), bins.count()), (Some(()), 1));
    }

    fn values() -> impl Strategy<Value = Vec<f64>> {
        let near = prop_oneof![4 => 1e-3f64..1e5, 1 => Just(0.0), 1 => -1e3f64..-1.0];
        let far =
            prop_oneof![1e-290f64..1e-280, 1e280f64..1e290, -1e200f64..-1e190, -1e-300f64..0.0, 1e-3f64..1e3];
        prop_oneof![vec(near, 1..200), vec(far, 1..50)]
    }

    proptest! {
        #[test]
        fn a_quantile_is_within_one_percent_of_the_value_of_its_rank(
            values in vec(prop_oneof![5 => 1e-6f64..1e6, 1 => Just(0.0), 1 => -1e3f64..-1.0], 1..300),
            q in 0.0f64..=1.0,
        ) {
            check(&values, q);
        }

        /// Also where bins collapse: the order makes no difference.
        #[test]
        fn a_merge_is_the_sketch_of_all_values(values in values(), cut in 0usize..200) {
            let (one, two) = values.split_at(cut.min(values.len()));
            let mut merged = of(two);
            merged.merge(&of(one));
            let backwards: Vec<f64> = values.iter().rev().copied().collect();
            prop_assert_eq!(&merged, &of(&values));
            prop_assert_eq!(&of(&backwards), &of(&values));
            prop_assert_eq!(Sketch::unpack(&merged.pack()), Some(merged));
        }

        #[test]
        fn a_number_has_one_form_that_is_read(n in any::<u64>()) {
            let mut bytes = vec![];
            put(&mut bytes, n);
            prop_assert_eq!(take(&mut &bytes[..]), Some(n));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..80)) {
            let _ = Sketch::unpack(&bytes);
        }
    }
}
