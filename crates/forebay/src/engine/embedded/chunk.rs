//! A chunk of a series in memory, and the blocks that the file has of it.
//!
//! Numbers in, numbers out: no clock, no table.

use std::{ops::Range, time::Duration};

use super::{batch::Block, codec::Pack};
use crate::{
    model::resolution::{MAX_COUNT, Resolution},
    time::Timestamp,
};

/// The buckets of a key in some span of time, such as an hour of seconds.
#[derive(Debug)]
pub(super) struct Chunk {
    /// The resolution, in seconds.
    pub step: u32,
    /// Which chunk of that resolution, counted from 1970.
    pub index: i64,
    counts: Counts,
    /// On the engine's monotonic clock; by then no bucket is kept.
    pub deadline: Duration,
    /// One bit per block: has changed since the journal saw it.
    unsaved: u16,
    /// One bit per block: the file has it.
    saved: u16,
}

/// The file has a chunk in so many blocks, each with its own key: a new point then writes a part of an hour or a day.
const BLOCKS: usize = 16;

/// The counts of a chunk by slot: pairs in order of the slot while few, an array once pairs would cost more.
#[derive(Debug)]
enum Counts {
    Sparse(Vec<(u16, u64)>),
    Dense(Box<[u64]>),
}

impl Chunk {
    pub(super) fn new(step: u32, index: i64) -> Self {
        let counts = Counts::Sparse(vec![]);
        Self { step, index, counts, deadline: Duration::ZERO, unsaved: 0, saved: 0 }
    }

    /// The sort key of chunks: after a changed definition it finds those that both have.
    pub(super) fn place(&self) -> (u32, i64) {
        (self.step, self.index)
    }

    /// Adds to a slot; slots before `kept` may be forgotten.
    pub(super) fn add(&mut self, slot: usize, n: u64, kept: usize) {
        let slots = slots_of(self.step);
        self.counts.add(slot, n, slots, kept);
        self.unsaved |= 1 << (slot / block_len(slots));
    }

    /// Takes the counts of slots away.
    pub(super) fn clear(&mut self, slots: Range<usize>) {
        let block = block_len(slots_of(self.step));
        match &mut self.counts {
            Counts::Sparse(pairs) => pairs.retain(|&(slot, _)| !slots.contains(&usize::from(slot))),
            Counts::Dense(counts) => counts[slots.clone()].fill(0),
        }
        for slot in slots {
            self.unsaved |= 1 << (slot / block);
        }
    }

    /// Takes a part of the count of a slot away.
    pub(super) fn subtract(&mut self, slot: usize, n: u64) {
        match &mut self.counts {
            Counts::Sparse(pairs) => {
                for (_, count) in pairs.iter_mut().filter(|(at, _)| usize::from(*at) == slot) {
                    *count = count.saturating_sub(n);
                }
            }
            Counts::Dense(counts) => counts[slot] = counts[slot].saturating_sub(n),
        }
        self.unsaved |= 1 << (slot / block_len(slots_of(self.step)));
    }

    /// The sum of the counts of slots.
    pub(super) fn sum(&self, slots: Range<usize>) -> u64 {
        let plus = |sum: u64, n: u64| sum.saturating_add(n);
        match &self.counts {
            Counts::Sparse(pairs) => {
                let first = pairs.partition_point(|&(at, _)| usize::from(at) < slots.start);
                let inside = pairs[first..].iter().take_while(|&&(at, _)| usize::from(at) < slots.end);
                inside.map(|&(_, n)| n).fold(0, plus)
            }
            Counts::Dense(counts) => counts[slots].iter().copied().fold(0, plus),
        }
    }

    /// Visits the slots that have a count.
    pub(super) fn each(&self, visit: impl FnMut(usize, u64)) {
        self.counts.each(visit);
    }

    /// Whether any block has changed since the journal saw it.
    pub(super) fn has_changed(&self) -> bool {
        self.unsaved != 0
    }

    /// The blocks that have changed, packed, and no longer so. `until` is the deadline by the time of day.
    pub(super) fn changed(
        &mut self,
        until: Timestamp,
    ) -> impl Iterator<Item = (Block, Option<Pack>)> + use<> {
        let (step, index) = self.place();
        let slots = slots_of(step);
        let mut packs: [Option<Pack>; BLOCKS] = Default::default();
        let unsaved = std::mem::take(&mut self.unsaved);
        let were_saved = self.saved;
        // A started second counts: what is read again must not go before its time.
        let deadline = until.plus(Duration::from_micros(999_999)).as_secs();
        self.counts.each(|slot, n| {
            let (block, offset) = (slot / block_len(slots), slot % block_len(slots));
            if n > 0 && unsaved & 1 << block != 0 {
                let pack = packs[block].get_or_insert_with(|| {
                    let mut pack = Pack::default();
                    pack.int(deadline);
                    pack
                });
                pack.uint(offset as u64).uint(n);
            }
        });
        for (block, pack) in packs.iter().enumerate() {
            let bit = 1 << block;
            if unsaved & bit != 0 {
                self.saved = if pack.is_some() { self.saved | bit } else { self.saved & !bit };
            }
        }
        // One that was emptied goes from the file.
        let emptied = unsaved & were_saved;
        let packs = packs.into_iter().enumerate();
        let packs = packs.filter(move |(block, pack)| pack.is_some() || emptied & 1 << block != 0);
        packs.map(move |(block, pack)| (block_at(step, index, block), pack))
    }

    /// The blocks of it that the file has, as gone.
    pub(super) fn gone(&self) -> impl Iterator<Item = (Block, Option<Pack>)> + use<> {
        let ((step, index), saved) = (self.place(), self.saved);
        let blocks = (0..BLOCKS).filter(move |block| saved & 1 << block != 0);
        blocks.map(move |block| (block_at(step, index, block), None))
    }

    /// Takes what the file has of a slot; false if there is no such slot.
    pub(super) fn restore(&mut self, slot: usize, n: u64) -> bool {
        let slots = slots_of(self.step);
        let there = slot < slots;
        if there {
            self.counts.add(slot, n, slots, 0);
            self.saved |= 1 << (slot / block_len(slots));
        }
        there
    }
}

impl Counts {
    fn add(&mut self, slot: usize, n: u64, slots: usize, kept: usize) {
        let short = |slot| u16::try_from(slot).expect("at most 3600 slots");
        match self {
            Self::Dense(counts) => counts[slot] = plus(counts[slot], n),
            Self::Sparse(pairs) => match pairs.binary_search_by_key(&short(slot), |&(at, _)| at) {
                Ok(place) => pairs[place].1 = plus(pairs[place].1, n),
                Err(mut place) => {
                    // Before it grows it forgets: so its size follows the retention, also where a chunk is longer.
                    if pairs.len() == pairs.capacity() {
                        let gone = pairs.partition_point(|&(at, _)| usize::from(at) < kept).min(place);
                        pairs.drain(..gone);
                        place -= gone;
                    }
                    if pairs.len() < slots / 3 {
                        // Most keys of many have one bucket.
                        if pairs.capacity() == 0 {
                            pairs.reserve_exact(1);
                        }
                        pairs.insert(place, (short(slot), n));
                        return;
                    }
                    let mut counts = vec![0; slots].into_boxed_slice();
                    for &(at, count) in &*pairs {
                        counts[usize::from(at)] = count;
                    }
                    counts[slot] = n;
                    *self = Self::Dense(counts);
                }
            },
        }
    }

    fn each(&self, mut visit: impl FnMut(usize, u64)) {
        match self {
            Self::Sparse(pairs) => pairs.iter().for_each(|&(slot, n)| visit(usize::from(slot), n)),
            Self::Dense(counts) => counts.iter().enumerate().for_each(|(slot, &n)| visit(slot, n)),
        }
    }
}

/// How many slots a block has; the last one may have fewer.
fn block_len(slots: usize) -> usize {
    slots.div_ceil(BLOCKS)
}

/// A resolution's step in whole seconds, at most a day.
pub(super) fn step_of(resolution: &Resolution) -> u32 {
    u32::try_from(resolution.step.as_secs()).expect("a step is at most a day")
}

/// A resolution of this step; how chunks are cut depends on nothing else.
pub(super) fn of_step(step: u32) -> Resolution {
    let step = Duration::from_secs(step.into());
    Resolution { step, retention: step }
}

/// How many slots a chunk of this step has.
fn slots_of(step: u32) -> usize {
    usize::try_from(of_step(step).slots()).expect("at most 3600 slots")
}

fn block_at(step: u32, chunk: i64, block: usize) -> Block {
    let first = i64::try_from(block * block_len(slots_of(step))).expect("at most 3600 slots");
    Block { step, start: chunk * of_step(step).slots() + first }
}

/// The sum, or where a count stops.
fn plus(count: u64, n: u64) -> u64 {
    count.saturating_add(n).min(MAX_COUNT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(chunk: &Chunk) -> Vec<(usize, u64)> {
        let mut counts = vec![];
        chunk.each(|slot, n| counts.push((slot, n)));
        counts.retain(|&(_, n)| n > 0);
        counts
    }

    #[test]
    fn a_chunk_has_no_more_pairs_than_twice_what_is_kept() {
        let mut chunk = Chunk::new(1, 7);
        for slot in 0..3_600 {
            chunk.add(slot, 1, slot.saturating_sub(30));
            let Counts::Sparse(pairs) = &chunk.counts else { panic!("dense at slot {slot}") };
            assert!(pairs.capacity() <= 64, "{} pairs for 31 buckets", pairs.capacity());
        }
        let kept = counts(&chunk);
        assert!(kept.len() >= 31 && kept.ends_with(&[(3_598, 1), (3_599, 1)]), "{kept:?}");
    }

    #[test]
    fn what_is_kept_is_never_forgotten() {
        let mut chunk = Chunk::new(1, 7);
        let (mut kept, mut slot) = (0, 0);
        let mut all = std::collections::BTreeMap::new();
        for i in 0..4_000 {
            // Now and then an old one, that is just kept; the kept ones only move on.
            slot = if i % 5 == 0 { kept } else { (slot + i % 3).min(3_599) };
            chunk.add(slot, 1, kept);
            *all.entry(slot).or_insert(0u64) += 1;
            let expected: Vec<_> = all.range(kept..).map(|(&slot, &n)| (slot, n)).collect();
            let mut there = counts(&chunk);
            there.retain(|&(slot, _)| slot >= kept);
            assert_eq!(there, expected, "step {i}");
            kept = kept.max(slot.saturating_sub(60));
        }
    }
}
