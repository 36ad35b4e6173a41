//! The progress of this process: counts of its flushes, and its parked batches.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use uuid::Uuid;

use crate::{model::Pressure, sink::Applied, time::mins};

/// A flusher leaves a parked batch alone for this long before it tries again: the cause may be fixed by then.
const PARKED_RETRY_AFTER: Duration = mins(1);

/// The size and age of a buffer, and the counts of this process.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::{Buffer, Forebay, buffer::Pressure};
/// let bay = Forebay::open("memory:").await?;
/// let projects = bay.buffer(Buffer::new("projects").key("id").sum("hits"))?;
/// for id in ["1", "2", "1"] {
///     projects.row(id).add("hits", 1).await?;
/// }
/// let stats = projects.stats().await?;
/// assert_eq!((stats.written, stats.pending_rows, stats.pressure), (3, 2, Pressure::None));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// Rows that are not in SQL yet, as far as the store knows.
    pub pending_rows: u64,
    /// Those of them that are in frozen generations.
    pub frozen_rows: u64,
    /// Frozen generations.
    pub frozen_batches: u64,
    /// The age of the oldest write that is not in SQL yet.
    pub oldest_age: Duration,
    /// Whether a host of several did not answer: its partitions count as it answered last, or not at all.
    pub partial: bool,
    /// Whether flushing is paused.
    pub paused: bool,
    /// How the pending rows and their age compare with the buffer's bounds.
    pub pressure: Pressure,
    /// Rows that this process wrote into the buffer, one for each row of each call. Divided by
    /// [`flushed_rows`](Self::flushed_rows) it tells how many writes become one row for SQL.
    pub written: u64,
    /// Rows that became dead letters in a flush by this process.
    pub dead_rows: u64,
    /// Rows that this process flushed.
    pub flushed_rows: u64,
    /// Batches that this process tried to apply and that the ledger knew already.
    pub replays: u64,
    /// Batches that this process parked, because they cannot be applied and a retry does not help. They stay in the store.
    pub parked: Vec<Parked>,
    /// Why the last flush of this process failed; `None` after one that succeeded.
    pub last_error: Option<String>,
}

/// A batch that cannot be applied, and stays in the store.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # use forebay::{Buffer, Forebay};
/// # let bay = Forebay::open("memory:").await?;
/// # let projects = bay.buffer(Buffer::new("projects").key("id").sum("hits"))?;
/// for parked in projects.stats().await?.parked {
///     eprintln!("batch {} of {} rows: {}", parked.id, parked.rows, parked.reason);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Parked {
    /// The id of the generation.
    pub id: Uuid,
    /// Its partition.
    pub partition: u16,
    /// Its number of rows.
    pub rows: u64,
    /// Why it cannot be applied, and what to do.
    pub reason: String,
    /// Whether the batch has writes that the database's commit of it did not have: the store went back in time. These
    /// writes were acknowledged and are not in SQL.
    pub diverged: bool,
}

/// Counts for people. The atomic needs no order.
#[derive(Debug, Default)]
pub(super) struct Progress {
    written: AtomicU64,
    /// The counts of flushes and the last error; locked to read or to change.
    flushes: Mutex<Stats>,
    /// The parked batches, and until when a flusher leaves each alone, on the monotonic clock. Locked to read or to change.
    parked: Mutex<BTreeMap<Uuid, (Parked, Duration)>>,
}

impl Progress {
    pub(super) fn stats(&self) -> Stats {
        Stats {
            written: self.written.load(Ordering::Relaxed),
            parked: self.parked.lock().values().map(|(parked, _)| parked.clone()).collect(),
            ..self.flushes.lock().clone()
        }
    }

    pub(super) fn note_written(&self, rows: usize) {
        self.written.fetch_add(rows as u64, Ordering::Relaxed);
    }

    pub(super) fn note(&self, applied: &Applied) -> u64 {
        let mut flushes = self.flushes.lock();
        match applied {
            Applied::Now { rows, dead } => {
                flushes.flushed_rows += rows;
                flushes.dead_rows += dead;
                *rows
            }
            Applied::Before => {
                flushes.replays += 1;
                0
            }
            // `parked` shows it.
            Applied::WrittenSince { .. } => 0,
        }
    }

    pub(super) fn note_end(&self, error: Option<String>) {
        self.flushes.lock().last_error = error;
    }

    /// Parks a batch. Returns whether it was not parked before.
    pub(super) fn park(&self, parked: Parked, now: Duration) -> bool {
        self.parked.lock().insert(parked.id, (parked, now + PARKED_RETRY_AFTER)).is_none()
    }

    /// Forgets a parked batch that was applied.
    pub(super) fn unpark(&self, id: Uuid) {
        self.parked.lock().remove(&id);
    }

    /// Whether a flusher leaves a batch alone for now.
    pub(super) fn is_parked(&self, id: Uuid, now: Duration) -> bool {
        self.parked.lock().get(&id).is_some_and(|(_, until)| now < *until)
    }

    /// Forgets the parked batches of a partition that the store no longer has.
    pub(super) fn keep_parked(&self, partition: u16, is_there: impl Fn(Uuid) -> bool) {
        self.parked.lock().retain(|id, (parked, _)| parked.partition != partition || is_there(*id));
    }

    /// The reason for which the first parked batch is parked.
    pub(super) fn parked_reason(&self) -> Option<String> {
        self.parked.lock().values().next().map(|(parked, _)| parked.reason.clone())
    }

    /// The number of parked batches of a partition.
    pub(super) fn parked_in(&self, partition: u16) -> u64 {
        self.parked.lock().values().filter(|(parked, _)| parked.partition == partition).count() as u64
    }
}
