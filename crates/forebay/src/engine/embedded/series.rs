//! Series of the embedded engine.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    Embedded,
    batch::{Block, Rider},
    codec::{Pack, Unpack, corrupt},
};
use crate::{
    engine::step::{Point, SeriesPart, Span},
    error::Result,
    key::Name,
    series::resolution::{MAX_COUNT, Resolution},
    table::SHARDS,
    time::{Timestamp, days},
};

/// One key of one series.
#[derive(Debug)]
pub(super) struct Entry {
    series: Name,
    key: Arc<str>,
    /// By step in seconds and chunk: a changed definition finds what it still has in common.
    chunks: BTreeMap<(u32, i64), Chunk>,
    /// Has changed since the journal saw it.
    unsaved: bool,
}

#[derive(Debug)]
struct Chunk {
    counts: Counts,
    /// On the engine's monotonic clock; by then no bucket is kept.
    deadline: Duration,
    /// One bit per block: has changed since the journal saw it.
    unsaved: u16,
    /// One bit per block: the file has it.
    saved: u16,
}

/// The file has a chunk in so many blocks, each with its own key: a new point then writes a part of an hour or a day.
const BLOCKS: usize = 16;

/// How many slots a block has; the last one may have fewer.
fn block_len(slots: usize) -> usize {
    slots.div_ceil(BLOCKS)
}

/// The counts of a chunk by slot: pairs in order of the slot while few, an array once pairs would cost more.
#[derive(Debug)]
enum Counts {
    Sparse(Vec<(u16, u64)>),
    Dense(Box<[u64]>),
}

impl Counts {
    fn add(&mut self, slot: usize, n: u64, slots: usize) {
        let short = u16::try_from(slot).expect("at most 3600 slots");
        match self {
            Self::Dense(counts) => counts[slot] = plus(counts[slot], n),
            Self::Sparse(pairs) => match pairs.binary_search_by_key(&short, |&(at, _)| at) {
                Ok(place) => pairs[place].1 = plus(pairs[place].1, n),
                Err(place) if pairs.len() < slots / 3 => pairs.insert(place, (short, n)),
                Err(_) => {
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

impl Chunk {
    fn new(deadline: Duration) -> Self {
        Self { counts: Counts::Sparse(vec![]), deadline, unsaved: 0, saved: 0 }
    }

    /// The blocks of it that the file has, as gone.
    fn gone(&self, step: u32, index: i64) -> impl Iterator<Item = (Block, Option<Pack>)> + use<> {
        let saved = self.saved;
        (0..BLOCKS)
            .filter(move |block| saved & 1 << block != 0)
            .map(move |b| (block_at(step, index, b), None))
    }
}

/// A resolution's step in whole seconds, at most a day.
fn step_of(resolution: &Resolution) -> u32 {
    u32::try_from(resolution.step.as_secs()).expect("a step is at most a day")
}

/// A resolution of this step; how chunks are cut depends on nothing else.
fn of_step(step: u32) -> Resolution {
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

impl Entry {
    fn hash(&self) -> u64 {
        self.series.hash_of(self.key.as_bytes())
    }

    fn add(&mut self, resolution: &Resolution, point: &Point, now: Timestamp, clock: Duration) {
        let bucket = resolution.bucket(point.at);
        if !resolution.keeps(bucket, now) {
            return;
        }
        let (chunk, slot) = resolution.place(bucket);
        let slots = usize::try_from(resolution.slots()).expect("at most 3600 slots");
        // A chunk that holds a kept bucket has time left.
        let deadline = || clock + resolution.lifetime(chunk, now).unwrap_or_default();
        let chunk = self.chunks.entry((step_of(resolution), chunk)).or_insert_with(|| Chunk::new(deadline()));
        chunk.counts.add(slot, point.n, slots);
        chunk.unsaved |= 1 << (slot / block_len(slots));
        self.unsaved = true;
    }

    /// The blocks that have changed, packed.
    fn changed(&mut self, now: Duration, time: Timestamp) -> Vec<(Block, Option<Pack>)> {
        self.unsaved = false;
        let mut changed = vec![];
        for (&(step, index), chunk) in self.chunks.iter_mut().filter(|(_, chunk)| chunk.unsaved != 0) {
            let deadline = time.plus(chunk.deadline.saturating_sub(now));
            let slots = slots_of(step);
            let mut packs: [Option<Pack>; BLOCKS] = Default::default();
            chunk.counts.each(|slot, n| {
                let (block, offset) = (slot / block_len(slots), slot % block_len(slots));
                if n > 0 && chunk.unsaved & 1 << block != 0 {
                    let pack = packs[block].get_or_insert_with(|| {
                        let mut pack = Pack::default();
                        pack.int(deadline.as_secs());
                        pack
                    });
                    pack.uint(offset as u64).uint(n);
                }
            });
            let packs = packs.into_iter().enumerate().filter(|(_, pack)| pack.is_some());
            changed.extend(packs.map(|(block, pack)| (block_at(step, index, block), pack)));
            chunk.saved |= chunk.unsaved;
            chunk.unsaved = 0;
        }
        changed
    }

    fn read(&self, span: &Span<'_>) -> Vec<u64> {
        let resolution = &span.resolution;
        let mut counts = vec![0; usize::try_from(span.to - span.from).unwrap_or(0)];
        let step = step_of(resolution);
        let (first, last) = (resolution.place(span.from).0, resolution.place(span.to).0);
        for (&(_, index), chunk) in self.chunks.range((step, first)..=(step, last)) {
            let start = index * resolution.slots() - span.from;
            chunk.counts.each(|slot, n| {
                let place = usize::try_from(start + i64::try_from(slot).expect("at most 3600 slots"));
                if let Some(count) = place.ok().and_then(|place| counts.get_mut(place)) {
                    *count = n;
                }
            });
        }
        counts
    }
}

impl Embedded {
    #[expect(clippy::unused_async, reason = "steps are async on every engine")]
    pub(crate) async fn series_add(
        &self,
        part: &SeriesPart,
        points: Vec<Point>,
        now: Timestamp,
    ) -> Result<()> {
        self.journal.check()?;
        let clock = self.clock.monotonic();
        for point in points {
            let hash = part.grid.name.hash_of(point.key.as_bytes());
            let mut shard = self.series.lock(hash);
            let mut entry = shard
                .entry(hash, |entry| *entry.key == *point.key && entry.series == part.grid.name, Entry::hash)
                .or_insert_with(|| Entry {
                    series: part.grid.name.clone(),
                    key: point.key.clone(),
                    chunks: BTreeMap::new(),
                    unsaved: false,
                });
            for resolution in &part.grid.resolutions {
                entry.get_mut().add(resolution, &point, now, clock);
            }
        }
        Ok(())
    }

    /// The time that decides what is kept.
    #[expect(clippy::unused_async, reason = "steps are async on every engine")]
    pub(crate) async fn series_now(&self, _part: &SeriesPart) -> Timestamp {
        self.clock.now()
    }

    #[expect(clippy::unused_async, reason = "steps are async on every engine")]
    pub(crate) async fn series_read(&self, part: &SeriesPart, spans: &[Span<'_>]) -> Result<Vec<Vec<u64>>> {
        let read = |span: &Span<'_>| {
            let hash = part.grid.name.hash_of(span.key.as_bytes());
            let shard = self.series.lock(hash);
            match shard.find(hash, |entry| *entry.key == *span.key && entry.series == part.grid.name) {
                Some(entry) => entry.read(span),
                None => vec![0; usize::try_from(span.to - span.from).unwrap_or(0)],
            }
        };
        Ok(spans.iter().map(read).collect())
    }

    #[expect(clippy::unused_async, reason = "steps are async on every engine")]
    pub(crate) async fn series_delete(&self, part: &SeriesPart, key: &str, _now: Timestamp) -> Result<()> {
        let hash = part.grid.name.hash_of(key.as_bytes());
        let mut shard = self.series.lock(hash);
        let same = |entry: &Entry| *entry.key == *key && entry.series == part.grid.name;
        if let Ok(entry) = shard.find_entry(hash, same) {
            let (entry, _) = entry.remove();
            let gone = |(&(step, index), chunk): (&(u32, i64), &Chunk)| chunk.gone(step, index);
            self.ride_series(&entry, entry.chunks.iter().flat_map(gone).collect());
        }
        Ok(())
    }

    pub(super) fn sweep_series(&self, now: Duration) {
        let keep = |entry: &mut Entry| {
            let mut gone = vec![];
            entry.chunks.retain(|&(step, index), chunk| {
                let keep = chunk.deadline > now;
                if !keep {
                    gone.extend(chunk.gone(step, index));
                }
                keep
            });
            self.ride_series(entry, gone);
            !entry.chunks.is_empty()
        };
        self.series.retain(keep, Entry::hash);
    }

    /// Lets what has changed ride to the file.
    pub(super) fn ride_all_series(&self) {
        let (now, time) = (self.clock.monotonic(), self.clock.now());
        for index in 0..SHARDS {
            // Under the shard's lock: a deletion that comes after must not reach the file before.
            let mut shard = self.series.lock_index(index);
            for entry in shard.iter_mut().filter(|entry| entry.unsaved) {
                let changed = entry.changed(now, time);
                self.ride_series(entry, changed);
            }
        }
    }

    fn ride_series(&self, entry: &Entry, blocks: Vec<(Block, Option<Pack>)>) {
        if !blocks.is_empty() {
            let (series, key) = (entry.series.clone(), entry.key.clone());
            self.journal.ride(Rider::Series { series, key, blocks });
        }
    }

    /// Takes a block as the file has it, unless its time is over.
    pub(super) fn restore_block(&self, block: Block, series: &Name, key: &str, packed: &[u8]) -> Result<()> {
        let mut unpack = Unpack::new(packed);
        let left = Timestamp::from_secs(unpack.int()?).since(self.clock.now());
        if Resolution::new(Duration::from_secs(block.step.into()), days(1)).is_err() {
            return Err(corrupt());
        }
        let (index, first) = of_step(block.step).place(block.start);
        let slots = slots_of(block.step);
        let hash = series.hash_of(key.as_bytes());
        let mut shard = self.series.lock(hash);
        let mut entry = shard
            .entry(hash, |entry| *entry.key == *key && entry.series == *series, Entry::hash)
            .or_insert_with(|| Entry {
                series: series.clone(),
                key: key.into(),
                chunks: BTreeMap::new(),
                unsaved: false,
            });
        let deadline = self.clock.monotonic().saturating_add(left);
        let chunks = &mut entry.get_mut().chunks;
        // One whose time is over is thrown away, here and in the file, by the next sweep.
        let chunk = chunks.entry((block.step, index)).or_insert_with(|| Chunk::new(deadline));
        chunk.saved |= 1 << (first / block_len(slots));
        while !unpack.is_empty() {
            let (offset, n) = (unpack.uint()?, unpack.uint()?);
            let slot = usize::try_from(offset).ok().and_then(|offset| first.checked_add(offset));
            let slot = slot.filter(|&slot| slot < slots);
            chunk.counts.add(slot.ok_or_else(corrupt)?, n, slots);
        }
        Ok(())
    }
}
