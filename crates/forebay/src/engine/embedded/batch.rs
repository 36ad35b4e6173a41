//! The changes that one commit writes.
//!
//! Everything in it says what *is*, not what to add: writing a batch twice comes to the same as writing it once, and
//! of two batches in a row only the later word on a thing counts. So a commit of unknown fate is simply repeated,
//! together with what has gathered since.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use uuid::Uuid;

use super::codec::{Cells, Pack};
use crate::{key::Name, model::RowKey, time::Timestamp};

/// The changes since the batch before.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// By the generation's number; `None`: it was flushed.
    pub generations: BTreeMap<u64, Option<Change>>,
    /// By lock; `None`: free.
    pub holds: BTreeMap<Box<str>, Option<HoldRecord>>,
    /// The largest fence of the holds there have been, if there were any.
    pub fence: u64,
    /// By name; `None`: it does not hold any more.
    pub facts: BTreeMap<Box<str>, Option<Box<str>>>,
    pub deferred: Vec<DeferredWrite>,
}

/// The changes to a generation of a buffer.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// Set when it is born or frozen.
    pub record: Option<GenerationRecord>,
    /// The rows are all it has: what the file has of it goes.
    pub rewrite: bool,
    pub rows: HashMap<RowKey, Cells>,
}

/// A generation, but for its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GenerationRecord {
    pub buffer: Name,
    pub partition: u16,
    pub fingerprint: Box<str>,
    pub id: Uuid,
    pub born: Timestamp,
    pub frozen: bool,
}

/// The holder of a lock as of `at`; spans in microseconds. The queue is not stored: its waiters were tasks or connections of
/// the process that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HoldRecord {
    pub owner: Uuid,
    pub fence: u64,
    pub ttl: u64,
    pub at: Timestamp,
    pub held_for: u64,
    pub remaining: u64,
}

/// Changes of limits and series. No caller waits for them, so a commit includes only as many as do not delay its waiters.
#[derive(Debug)]
pub(super) enum DeferredWrite {
    /// Keys of limits in one shard, packed.
    Limits {
        shard: u16,
        /// They are all the shard has.
        rewrite: bool,
        packed: Pack,
    },
    /// Blocks of one key of a series; `None`: gone.
    Series { series: Name, key: Arc<str>, blocks: Vec<(Block, Option<Pack>)> },
    /// Summaries of one key of a series, as blocks of one bucket each; `None`: gone.
    Summaries { series: Name, key: Arc<str>, blocks: Vec<(Block, Option<Pack>)> },
}

/// Some neighbouring buckets of one resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// The resolution, in seconds.
    pub step: u32,
    /// The first bucket.
    pub start: i64,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.generations.is_empty()
            && self.holds.is_empty()
            && self.facts.is_empty()
            && self.deferred.is_empty()
    }

    /// Sets what is known of a generation.
    pub(super) fn record(&mut self, number: u64, new: GenerationRecord) {
        if let Some(change) = self.change(number) {
            change.record = Some(new);
        }
    }

    /// Sets a row; false if this batch had it already.
    pub(super) fn row(&mut self, number: u64, key: &RowKey, cells: &Cells) -> bool {
        self.change(number).is_some_and(|change| change.rows.insert(key.clone(), cells.clone()).is_none())
    }

    /// Sets all rows of a generation.
    pub(super) fn rewrite<'a>(&mut self, number: u64, all: impl Iterator<Item = (&'a RowKey, &'a Cells)>) {
        if let Some(change) = self.change(number) {
            change.rewrite = true;
            change.rows = all.map(|(key, cells)| (key.clone(), cells.clone())).collect();
        }
    }

    /// Sets the holder of a lock.
    pub(super) fn hold(&mut self, name: &str, hold: HoldRecord) {
        self.fence = self.fence.max(hold.fence);
        self.holds.insert(name.into(), Some(hold));
    }

    /// Sets that a lock is free.
    pub(super) fn free(&mut self, name: &str) {
        self.holds.insert(name.into(), None);
    }

    /// Sets a fact about the store; `None`: it does not hold any more.
    pub(super) fn fact(&mut self, name: &str, value: Option<&str>) {
        self.facts.insert(name.into(), value.map(Into::into));
    }

    /// Forgets a generation.
    pub(super) fn drop_generation(&mut self, number: u64) {
        self.generations.insert(number, None);
    }

    /// This batch, and then `newer`.
    pub(super) fn then(mut self, newer: Self) -> Self {
        for (number, change) in newer.generations {
            let both = match (self.generations.remove(&number).flatten(), change) {
                (Some(mut old), Some(new)) => {
                    if new.rewrite {
                        old.rows.clear();
                    }
                    old.rows.extend(new.rows);
                    let (record, rewrite) = (new.record.or(old.record), new.rewrite || old.rewrite);
                    Some(Change { record, rewrite, rows: old.rows })
                }
                // Numbers are not used again: nothing comes after a drop.
                (_, change) => change,
            };
            self.generations.insert(number, both);
        }
        self.holds.extend(newer.holds);
        self.fence = self.fence.max(newer.fence);
        self.facts.extend(newer.facts);
        self.deferred.extend(newer.deferred);
        self
    }

    fn change(&mut self, number: u64) -> Option<&mut Change> {
        self.generations.entry(number).or_insert_with(|| Some(Change::default())).as_mut()
    }
}

impl DeferredWrite {
    /// About how many bytes it adds to a commit.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Limits { packed, .. } => packed.len(),
            Self::Series { key, blocks, .. } | Self::Summaries { key, blocks, .. } => {
                blocks.iter().map(|(_, packed)| 32 + key.len() + packed.as_ref().map_or(0, Pack::len)).sum()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(batch: &Batch, number: u64) -> Vec<(String, i64)> {
        let Some(Some(Change { rows, .. })) = batch.generations.get(&number) else { return vec![] };
        let count = |cells: &Cells| cells[0].as_ref().and_then(|n| n.to_text().parse().ok()).unwrap_or(0);
        let mut rows: Vec<_> =
            rows.iter().map(|(key, cells)| (key.as_str().to_owned(), count(cells))).collect();
        rows.sort();
        rows
    }

    fn batch(number: u64, written: &[(&str, i64)]) -> Batch {
        let mut batch = Batch::default();
        for (key, n) in written {
            let cells: Cells = Box::new([Some((*n).into())]);
            batch.row(number, &RowKey::from_store(key), &cells);
        }
        batch
    }

    #[test]
    fn the_later_word_counts() {
        let both = batch(1, &[("a", 1), ("b", 1)]).then(batch(1, &[("b", 2)]));
        assert_eq!(rows(&both, 1), [("a".to_owned(), 1), ("b".to_owned(), 2)]);

        let mut rewritten = Batch::default();
        let cells: Cells = Box::new([Some(5.into())]);
        rewritten.rewrite(1, std::iter::once((&RowKey::from_store("b"), &cells)));
        let both = both.then(rewritten);
        assert_eq!(rows(&both, 1), [("b".to_owned(), 5)]);
        assert!(matches!(both.generations[&1], Some(Change { rewrite: true, .. })));

        let later = both.then(batch(1, &[("c", 1)]));
        assert!(matches!(later.generations[&1], Some(Change { rewrite: true, .. })), "a rewrite stays one");

        let mut dropped = Batch::default();
        dropped.drop_generation(1);
        assert!(later.then(dropped).generations[&1].is_none());
    }

    #[test]
    fn a_row_is_counted_once_a_batch() {
        let mut batch = Batch::default();
        let cells: Cells = Box::new([Some(1.into())]);
        assert!(batch.row(1, &RowKey::from_store("a"), &cells));
        assert!(!batch.row(1, &RowKey::from_store("a"), &cells));
    }
}
