//! The counts of series in memory.

use std::{sync::Arc, time::Duration};

use super::{
    batch::Block,
    chunk::{Chunk, step_of},
    codec::Pack,
    population::Member,
};
use crate::{
    engine::step::{BucketRun, ErasedPart, Erasure, Point, Span},
    key::Name,
    model::resolution::Resolution,
    time::Timestamp,
};

/// One key of one series.
#[derive(Debug)]
pub(super) struct Entry {
    pub member: Member,
    pub key: Arc<str>,
    /// Sorted by [`Chunk::place`].
    pub chunks: Vec<Chunk>,
    /// Has changed since the journal saw it.
    pub unsaved: bool,
}

impl Entry {
    pub(super) fn new(member: Member, key: Arc<str>) -> Self {
        Self { member, key, chunks: vec![], unsaved: false }
    }

    pub(super) fn hash(&self) -> u64 {
        self.member.series().hash_of(self.key.as_bytes())
    }

    pub(super) fn is(&self, series: &Name, key: &str) -> bool {
        *self.key == *key && self.member.series().is(series)
    }

    /// The chunk at a place; a new one if there is none.
    pub(super) fn chunk(&mut self, step: u32, index: i64) -> &mut Chunk {
        let place = match self.chunks.binary_search_by_key(&(step, index), Chunk::place) {
            Ok(place) => place,
            Err(place) => {
                self.chunks.insert(place, Chunk::new(step, index));
                place
            }
        };
        &mut self.chunks[place]
    }

    pub(super) fn add(&mut self, resolution: &Resolution, point: &Point, now: Timestamp, clock: Duration) {
        let bucket = resolution.bucket(point.at);
        let Some(left) = resolution.left(bucket, now) else { return };
        let (index, slot) = resolution.place(bucket);
        let kept = resolution.oldest_kept(now).saturating_sub(bucket).saturating_add_unsigned(slot as u64);
        let chunk = self.chunk(step_of(resolution), index);
        chunk.deadline = chunk.deadline.max(clock + left);
        chunk.add(slot, point.n, usize::try_from(kept).unwrap_or(0));
        self.unsaved = true;
    }

    /// Adds the counts of a chunk of another key. Answers their sum, if the chunk is of this resolution.
    pub(super) fn absorb(&mut self, other: &Chunk, of: Option<u32>) -> u64 {
        let (step, index) = other.place();
        let mut sum = 0u64;
        let chunk = self.chunk(step, index);
        chunk.deadline = chunk.deadline.max(other.deadline);
        other.each(|slot, n| {
            if n > 0 {
                chunk.add(slot, n, 0);
                sum = sum.saturating_add(n);
            }
        });
        self.unsaved = true;
        if of == Some(step) { sum } else { 0 }
    }

    /// Deletes a span. Answers how much that was.
    pub(super) fn erase(&mut self, erasure: &Erasure) -> u64 {
        let total = self.sum(&erasure.total);
        let parts: Vec<u64> = erasure.parts.iter().map(|part| self.sum(&part.part)).collect();
        for BucketRun { resolution, buckets } in &erasure.zero {
            let (step, count) = (step_of(resolution), resolution.slots());
            for chunk in self.chunks.iter_mut().filter(|chunk| chunk.step == step) {
                let first = chunk.index * count;
                let within = |bucket: i64| usize::try_from((bucket - first).clamp(0, count)).unwrap_or(0);
                let slots = within(buckets.start)..within(buckets.end);
                if !slots.is_empty() {
                    chunk.clear(slots);
                }
            }
        }
        for (ErasedPart { resolution, bucket, .. }, n) in erasure.parts.iter().zip(parts) {
            let (index, slot) = resolution.place(*bucket);
            let place = self.chunks.binary_search_by_key(&(step_of(resolution), index), Chunk::place);
            if let Ok(place) = place {
                self.chunks[place].subtract(slot, n);
            }
        }
        self.unsaved = true;
        total
    }

    /// The sum of the counts of buckets.
    pub(super) fn sum(&self, runs: &[BucketRun]) -> u64 {
        let mut sum = 0u64;
        for BucketRun { resolution, buckets } in runs {
            let (step, slots) = (step_of(resolution), resolution.slots());
            let from = self
                .chunks
                .partition_point(|chunk| chunk.place() < (step, resolution.place(buckets.start).0));
            for chunk in self.chunks[from..].iter().take_while(|chunk| chunk.step == step) {
                let first = chunk.index * slots;
                if first >= buckets.end {
                    break;
                }
                let within = |bucket: i64| usize::try_from((bucket - first).clamp(0, slots)).unwrap_or(0);
                sum = sum.saturating_add(chunk.sum(within(buckets.start)..within(buckets.end)));
            }
        }
        sum
    }

    /// The blocks that have changed, packed.
    pub(super) fn changed(&mut self, now: Duration, time: Timestamp) -> Vec<(Block, Option<Pack>)> {
        self.unsaved = false;
        let until = |chunk: &Chunk| time.plus(chunk.deadline.saturating_sub(now));
        let changed = self.chunks.iter_mut().filter(|chunk| chunk.has_changed());
        changed.flat_map(|chunk| chunk.changed(until(chunk))).collect()
    }

    pub(super) fn read(&self, span: &Span<'_>) -> Vec<u64> {
        let resolution = &span.resolution;
        let mut counts = span.zeros();
        let step = step_of(resolution);
        let first = (step, resolution.place(span.from).0);
        let last = (step, resolution.place(span.to).0);
        let from = self.chunks.partition_point(|chunk| chunk.place() < first);
        for chunk in self.chunks[from..].iter().take_while(|chunk| chunk.place() <= last) {
            chunk.each(span.copy(chunk.index, &mut counts));
        }
        counts
    }
}
