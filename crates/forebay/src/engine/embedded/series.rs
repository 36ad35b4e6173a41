//! Series of the embedded engine.

use std::{collections::BTreeMap, time::Duration};

use super::{Embedded, shards::hash_pair};
use crate::{
    engine::step::{Point, SeriesPart, Span},
    error::Result,
    key::Name,
    series::resolution::Resolution,
    time::Timestamp,
};

/// One key of one series.
#[derive(Debug)]
pub(super) struct Entry {
    series: Name,
    key: Box<str>,
    /// By step in seconds and chunk: a changed definition finds what it still has in common.
    chunks: BTreeMap<(u64, i64), Chunk>,
}

#[derive(Debug)]
struct Chunk {
    counts: Counts,
    /// On the engine's monotonic clock; by then no bucket is kept.
    deadline: Duration,
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
            Self::Dense(counts) => counts[slot] = counts[slot].saturating_add(n),
            Self::Sparse(pairs) => match pairs.binary_search_by_key(&short, |&(at, _)| at) {
                Ok(place) => pairs[place].1 = pairs[place].1.saturating_add(n),
                Err(place) if pairs.len() < slots / 3 => pairs.insert(place, (short, n)),
                Err(_) => {
                    let mut counts = vec![0; slots].into_boxed_slice();
                    pairs.iter().for_each(|&(at, count)| counts[usize::from(at)] = count);
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

impl Entry {
    fn hash(&self) -> u64 {
        hash_pair(self.series.as_str(), &self.key)
    }

    fn add(&mut self, resolution: &Resolution, point: &Point, now: Timestamp, clock: Duration) {
        let bucket = resolution.bucket(point.at);
        if !resolution.keeps(bucket, now) {
            return;
        }
        let (chunk, slot) = resolution.place(bucket);
        let slots = usize::try_from(resolution.slots()).expect("at most 3600 slots");
        let chunk = self.chunks.entry((resolution.step.as_secs(), chunk)).or_insert_with(|| Chunk {
            counts: Counts::Sparse(vec![]),
            // A chunk that holds a kept bucket has time left.
            deadline: clock + resolution.lifetime(chunk, now).unwrap_or_default(),
        });
        chunk.counts.add(slot, point.n, slots);
    }

    fn read(&self, span: &Span<'_>) -> Vec<u64> {
        let resolution = &span.resolution;
        let mut counts = vec![0; usize::try_from(span.to - span.from).unwrap_or(0)];
        let step = resolution.step.as_secs();
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
        let clock = self.clock.monotonic();
        for point in points {
            let hash = hash_pair(part.grid.name.as_str(), &point.key);
            let mut shard = self.series.lock(hash);
            let mut entry = shard
                .entry(hash, |entry| *entry.key == *point.key && entry.series == part.grid.name, Entry::hash)
                .or_insert_with(|| Entry {
                    series: part.grid.name.clone(),
                    key: (*point.key).into(),
                    chunks: BTreeMap::new(),
                });
            for resolution in &part.grid.resolutions {
                entry.get_mut().add(resolution, &point, now, clock);
            }
        }
        Ok(())
    }

    #[expect(clippy::unused_async, reason = "steps are async on every engine")]
    pub(crate) async fn series_read(&self, part: &SeriesPart, spans: &[Span<'_>]) -> Result<Vec<Vec<u64>>> {
        let read = |span: &Span<'_>| {
            let hash = hash_pair(part.grid.name.as_str(), span.key);
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
        let hash = hash_pair(part.grid.name.as_str(), key);
        let mut shard = self.series.lock(hash);
        if let Ok(entry) =
            shard.find_entry(hash, |entry| *entry.key == *key && entry.series == part.grid.name)
        {
            entry.remove();
        }
        Ok(())
    }

    pub(super) fn sweep_series(&self, now: Duration) {
        let keep = |entry: &mut Entry| {
            entry.chunks.retain(|_, chunk| chunk.deadline > now);
            !entry.chunks.is_empty()
        };
        self.series.retain(keep, Entry::hash);
    }
}
