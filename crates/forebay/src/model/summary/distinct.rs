//! The number of different elements: a HyperLogLog with the hash, the registers and the estimator of Redis from version 5 on, so
//! that every store gives the same number.
//!
//! Bytes in, numbers out: no clock, no engine. The standard error is 0.81 %.
//!
//! # Source
//! Flajolet et al., "HyperLogLog", AofA 2007; Ertl, "New cardinality estimation algorithms for HyperLogLog sketches", 2017, for
//! the estimator. The forms of Redis: <https://redis.io/docs/latest/commands/pfadd/> and the head of its `hyperloglog.c`.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::float_cmp,
    reason = "registers, ranks and counts are far below the bounds of their types; the estimator ends when a sum stays the same"
)]

use std::cmp::Ordering;

/// The number of bits of a hash that choose the register.
const INDEX_BITS: u32 = 14;

/// The number of registers.
const REGISTERS: usize = 1 << INDEX_BITS;

/// The largest rank: one more than the bits of a hash that are left.
const MAX_RANK: u8 = 64 - 14 + 1;

/// The bytes of the dense form: six bits for each register.
const DENSE_BYTES: usize = REGISTERS * 6 / 8;

/// The sparse form takes four bytes for each register in use: at most 8 KB, and the dense one 12.
const MAX_SPARSE: usize = 2_048;

/// The head of the text that Redis has: a mark, the encoding, three unused bytes, and the number as it was counted last.
#[cfg(feature = "redis")]
const HEAD: usize = 16;

/// The registers of a set of elements.
#[derive(Clone, Debug)]
pub(crate) enum Registers {
    /// Register and rank of those that are not zero, by register.
    Sparse(Vec<(u16, u8)>),
    /// Six bits for each register, the low ones first.
    Dense(Box<[u8; DENSE_BYTES]>),
}

impl Default for Registers {
    fn default() -> Self {
        Self::Sparse(vec![])
    }
}

/// The form makes no difference.
impl PartialEq for Registers {
    fn eq(&self, other: &Self) -> bool {
        let all = |registers: &Self| {
            let mut all = vec![];
            registers.each(|register, rank| all.push((register, rank)));
            all
        };
        all(self) == all(other)
    }
}

impl Registers {
    /// Adds an element. One that was there already changes nothing.
    pub(crate) fn add(&mut self, element: &[u8]) {
        let (register, rank) = place(element);
        self.raise(register, rank);
    }

    /// Adds all elements of another set.
    pub(crate) fn merge(&mut self, other: &Self) {
        if matches!((&*self, other), (Self::Sparse(_), Self::Dense(_))) {
            self.spread();
        }
        match (&mut *self, other) {
            (Self::Sparse(mine), Self::Sparse(others)) if !others.is_empty() => {
                *mine = merged(mine, others);
                if mine.len() > MAX_SPARSE {
                    self.spread();
                }
            }
            _ => other.each(|register, rank| self.raise(register, rank)),
        }
    }

    /// About how many different elements were added.
    pub(crate) fn count(&self) -> u64 {
        let mut ranks = [0u32; MAX_RANK as usize + 1];
        ranks[0] = REGISTERS as u32;
        self.each(|_, rank| {
            ranks[0] -= 1;
            ranks[usize::from(rank)] += 1;
        });
        estimate(&ranks)
    }

    /// Visits the registers that are not zero, in order.
    fn each(&self, mut visit: impl FnMut(u16, u8)) {
        match self {
            Self::Sparse(pairs) => pairs.iter().for_each(|&(register, rank)| visit(register, rank)),
            Self::Dense(bytes) => {
                for register in 0..REGISTERS as u16 {
                    let rank = rank_of(&bytes[..], register);
                    if rank > 0 {
                        visit(register, rank);
                    }
                }
            }
        }
    }

    fn raise(&mut self, register: u16, rank: u8) {
        match self {
            Self::Dense(bytes) => {
                if rank_of(&bytes[..], register) < rank {
                    set_rank(bytes, register, rank);
                }
            }
            Self::Sparse(pairs) => match pairs.binary_search_by_key(&register, |pair| pair.0) {
                Ok(at) => pairs[at].1 = pairs[at].1.max(rank),
                Err(_) if pairs.len() == MAX_SPARSE => {
                    self.spread();
                    self.raise(register, rank);
                }
                Err(at) => pairs.insert(at, (register, rank)),
            },
        }
    }

    /// From the sparse form to the dense one.
    fn spread(&mut self) {
        let mut bytes = Box::new([0; DENSE_BYTES]);
        self.each(|register, rank| set_rank(&mut bytes, register, rank));
        *self = Self::Dense(bytes);
    }

    /// The form in a file: of the sparse one three bytes for each register.
    pub(crate) fn pack(&self) -> Vec<u8> {
        match self {
            Self::Sparse(pairs) => {
                let pair = |(register, rank): &(u16, u8)| {
                    let [low, high] = register.to_le_bytes();
                    [low, high, *rank]
                };
                pairs.iter().flat_map(pair).collect()
            }
            Self::Dense(bytes) => bytes.to_vec(),
        }
    }

    /// Reads the form in a file.
    pub(crate) fn unpack(bytes: &[u8]) -> Option<Self> {
        let mut registers = Self::default();
        if bytes.len() == DENSE_BYTES {
            registers.raise_dense(bytes)?;
            return Some(registers);
        }
        if !bytes.len().is_multiple_of(3) || bytes.len() > 3 * MAX_SPARSE {
            return None;
        }
        for pair in bytes.chunks_exact(3) {
            let (register, rank) = (u16::from_le_bytes([pair[0], pair[1]]), pair[2]);
            if usize::from(register) >= REGISTERS || !(1..=MAX_RANK).contains(&rank) {
                return None;
            }
            registers.raise(register, rank);
        }
        Some(registers)
    }

    /// Reads the text that `PFADD` keeps.
    #[cfg(feature = "redis")]
    pub(crate) fn read_redis(text: &[u8]) -> Option<Self> {
        let (head, rest) = text.split_at_checked(HEAD)?;
        let mut registers = Self::default();
        match (head.starts_with(b"HYLL"), head[4]) {
            (true, 0) if rest.len() >= DENSE_BYTES => registers.raise_dense(&rest[..DENSE_BYTES])?,
            (true, 1) => registers.raise_runs(rest)?,
            _ => return None,
        }
        Some(registers)
    }

    fn raise_dense(&mut self, bytes: &[u8]) -> Option<()> {
        for register in 0..REGISTERS as u16 {
            match rank_of(bytes, register) {
                0 => {}
                rank if rank <= MAX_RANK => self.raise(register, rank),
                _ => return None,
            }
        }
        Some(())
    }

    /// Redis' sparse form: runs of registers with one rank, in order, which are all registers. `00llllll`: zero, l + 1 of them.
    /// `01llllll llllllll`: likewise. `1rrrrrll`: the rank r + 1, l + 1 of them.
    #[cfg(feature = "redis")]
    fn raise_runs(&mut self, bytes: &[u8]) -> Option<()> {
        let (mut register, mut bytes) = (0usize, bytes.iter());
        while let Some(&byte) = bytes.next() {
            let low = usize::from(byte & 0x3f);
            let (length, rank) = match byte >> 6 {
                0 => (low + 1, 0),
                1 => ((low << 8 | usize::from(*bytes.next()?)) + 1, 0),
                _ => (usize::from(byte & 3) + 1, (byte >> 2 & 0x1f) + 1),
            };
            if register + length > REGISTERS {
                return None;
            }
            if rank > 0 {
                (register..register + length).for_each(|register| self.raise(register as u16, rank));
            }
            register += length;
        }
        (register == REGISTERS).then_some(())
    }
}

/// The pairs of two lists by register, each register once with its larger rank.
fn merged(one: &[(u16, u8)], two: &[(u16, u8)]) -> Vec<(u16, u8)> {
    let mut both = Vec::with_capacity(one.len().max(two.len()));
    let (mut one, mut two) = (one.iter().copied().peekable(), two.iter().copied().peekable());
    loop {
        both.push(match (one.peek().copied(), two.peek().copied()) {
            (Some(a), Some(b)) => match a.0.cmp(&b.0) {
                Ordering::Equal => {
                    one.next();
                    two.next();
                    (a.0, a.1.max(b.1))
                }
                Ordering::Less => one.next().expect("it was just seen"),
                Ordering::Greater => two.next().expect("it was just seen"),
            },
            (Some(_), None) => one.next().expect("it was just seen"),
            (None, Some(_)) => two.next().expect("it was just seen"),
            (None, None) => return both,
        });
    }
}

/// The byte in which the bits of a register begin, and at which bit.
fn bits_of(register: u16) -> (usize, u32) {
    let bit = usize::from(register) * 6;
    (bit / 8, (bit % 8) as u32)
}

fn rank_of(bytes: &[u8], register: u16) -> u8 {
    let (byte, bit) = bits_of(register);
    let next = bytes.get(byte + 1).copied().unwrap_or(0);
    (u16::from_le_bytes([bytes[byte], next]) >> bit) as u8 & 0x3f
}

fn set_rank(bytes: &mut [u8; DENSE_BYTES], register: u16, rank: u8) {
    let (byte, bit) = bits_of(register);
    let next = bytes.get(byte + 1).copied().unwrap_or(0);
    let both = u16::from_le_bytes([bytes[byte], next]);
    let [low, high] = (both & !(0x3f << bit) | u16::from(rank) << bit).to_le_bytes();
    bytes[byte] = low;
    if let Some(next) = bytes.get_mut(byte + 1) {
        *next = high;
    }
}

/// The register of an element, and its rank: the number of the first bit of the rest of its hash that is set.
fn place(element: &[u8]) -> (u16, u8) {
    let hash = murmur(element);
    let register = (hash & (REGISTERS as u64 - 1)) as u16;
    // A bit behind the hash ends the search.
    let rest = hash >> INDEX_BITS | 1 << (64 - INDEX_BITS);
    (register, rest.trailing_zeros() as u8 + 1)
}

/// `MurmurHash64A` with the seed of Redis.
fn murmur(bytes: &[u8]) -> u64 {
    const SEED: u64 = 0xadc8_3b19;
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    let mut hash = SEED ^ (bytes.len() as u64).wrapping_mul(M);
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        let mut word = u64::from_le_bytes(word.try_into().expect("eight bytes")).wrapping_mul(M);
        word = (word ^ word >> 47).wrapping_mul(M);
        hash = (hash ^ word).wrapping_mul(M);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(M);
    }
    hash = (hash ^ hash >> 47).wrapping_mul(M);
    hash ^ hash >> 47
}

/// Ertl's improved estimator, with the operations of Redis in their order: the same number to the last digit.
fn estimate(ranks: &[u32; MAX_RANK as usize + 1]) -> u64 {
    const ALPHA: f64 = 0.721_347_520_444_481_7;
    let registers = REGISTERS as f64;
    let share = |rank: u8| f64::from(ranks[usize::from(rank)]);
    let mut z = registers * tau((registers - share(MAX_RANK)) / registers);
    for rank in (1..MAX_RANK).rev() {
        z = (z + share(rank)) * 0.5;
    }
    z += registers * sigma(share(0) / registers);
    (ALPHA * registers * registers / z).round() as u64
}

fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if before == z {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if before == z {
            return z / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn of(elements: impl IntoIterator<Item = String>) -> Registers {
        let mut registers = Registers::default();
        elements.into_iter().for_each(|element| registers.add(element.as_bytes()));
        registers
    }

    fn names(set: u64, count: u64) -> impl Iterator<Item = String> {
        (0..count).map(move |i| format!("{set}:user-{i}"))
    }

    /// The answer of `PFCOUNT` of Redis 7.0 for these elements.
    #[test]
    fn the_number_is_that_of_redis() {
        assert_eq!(Registers::default().count(), 0);
        for (count, told) in GOLDEN {
            assert_eq!(of(names(7, count)).count(), told, "{count} elements");
        }
        assert_eq!(of(["a".into(), String::new(), "a".into(), "12345678".into(), "ключ".into()]).count(), 4);
    }

    #[test]
    fn of_a_hundred_sets_the_error_is_within_what_is_promised() {
        let errors: Vec<f64> = (0..100)
            .map(|set| {
                // 100 to 60 000.
                let count = (100.0 * 600f64.powf(set as f64 / 99.0)) as u64;
                of(names(set, count)).count() as f64 / count as f64 - 1.0
            })
            .collect();
        let rms = (errors.iter().map(|error| error * error).sum::<f64>() / 100.0).sqrt();
        assert!(rms <= 0.009, "{rms}");
        assert!(errors.iter().all(|error| error.abs() <= 0.03), "{errors:?}");
    }

    #[test]
    fn the_sparse_form_becomes_dense_and_no_number_changes() {
        let mut registers = Registers::default();
        let mut dense = Registers::Dense(Box::new([0; DENSE_BYTES]));
        for name in names(1, 4_000) {
            registers.add(name.as_bytes());
            dense.add(name.as_bytes());
            if matches!(&registers, Registers::Sparse(pairs) if pairs.len() == MAX_SPARSE) {
                assert_eq!(registers, dense);
                assert_eq!(Registers::unpack(&registers.pack()), Some(registers.clone()));
            }
        }
        assert!(matches!(registers, Registers::Dense(_)));
        assert_eq!((registers.count(), registers.pack().len()), (dense.count(), 12_288));
        assert_eq!(Registers::unpack(&registers.pack()), Some(registers));
    }

    /// The last register has its bits in the last byte, which no other byte follows.
    #[test]
    fn every_register_holds_every_rank() {
        for register in [0, 1, 2, 3, 4, 8_191, 16_380, 16_381, 16_382, 16_383] {
            for rank in [1, 2, 31, 32, MAX_RANK] {
                let mut registers = Registers::Dense(Box::new([0; DENSE_BYTES]));
                registers.raise(register, rank);
                let mut found = vec![];
                registers.each(|register, rank| found.push((register, rank)));
                assert_eq!(found, [(register, rank)]);
            }
        }
    }

    proptest! {
        #[test]
        fn a_union_is_the_set_of_all_elements(
            one in vec(0u64..5_000, 0..3_000), two in vec(0u64..5_000, 0..3_000),
        ) {
            let named = |list: &[u64]| of(list.iter().map(|i| format!("user-{i}")));
            let mut both = named(&one);
            both.merge(&named(&two));
            let all: Vec<u64> = two.iter().chain(&one).copied().collect();
            prop_assert_eq!(&both, &named(&all));
            let before = both.clone();
            both.merge(&named(&one));
            prop_assert_eq!(both, before, "a set that is merged again changes nothing");
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..200)) {
            let _ = Registers::unpack(&bytes);
            #[cfg(feature = "redis")]
            let _ = Registers::read_redis(&[b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\0", &bytes[..]].concat());
        }
    }

    const GOLDEN: [(u64, u64); 7] =
        [(1, 1), (10, 10), (300, 301), (1_000, 1_002), (5_000, 4_992), (20_000, 19_896), (60_000, 59_163)];
}
