//! What the flushes of this process came to, and what they had to put aside.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use uuid::Uuid;

use crate::model::Pressure;
use crate::{sink::Applied, time::mins};

/// After how long a parked batch is tried again: somebody may have mended what kept it.
const PARKED_RETRY_AFTER: Duration = mins(1);

/// How much a buffer holds, and since when.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// Rows that are not in SQL yet, as far as the store knows; zero: all are.
    pub pending_rows: u64,
    /// Of those, rows in frozen generations, on their way.
    pub frozen_rows: u64,
    /// Frozen generations.
    pub frozen_batches: u64,
    /// The age of the oldest write that is not in SQL yet.
    pub oldest_age: Duration,
    /// Whether the flushing is paused.
    pub paused: bool,
    /// How much waits, compared with the buffer's bounds.
    pub pressure: Pressure,
    /// Writes that this process put into the buffer, a row of a call each. With
    /// [`flushed_rows`](Self::flushed_rows) it tells how many hits become one row for SQL.
    pub written: u64,
    /// Rows that this process put among the dead letters.
    pub dead_rows: u64,
    /// Rows that this process flushed.
    pub flushed_rows: u64,
    /// Batches that were flushed before: replays that the ledger stopped, seen by this process.
    pub replays: u64,
    /// Batches that this process put aside, because no repetition mends why they cannot be applied. They stay in the store.
    pub parked: Vec<Parked>,
    /// Why the last flush of this process failed, until one succeeds.
    pub last_error: Option<String>,
}

/// A batch that was put aside.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Parked {
    /// The generation's id.
    pub id: Uuid,
    /// Its partition.
    pub partition: u16,
    /// Its rows.
    pub rows: u64,
    /// Why it cannot be applied, and how to mend that.
    pub reason: String,
    /// Whether it is because the batch holds writes that the database's commit of it did not hold: the store went back in
    /// time. They were acknowledged, and are not in SQL.
    pub diverged: bool,
}

/// Tallies for people, no order needed between them.
#[derive(Debug, Default)]
pub(super) struct Progress {
    written: AtomicU64,
    flushed: AtomicU64,
    dead: AtomicU64,
    replays: AtomicU64,
    last_error: Mutex<Option<String>>,
    /// What is parked, and until when on the monotonic clock. Held to look and to change only.
    parked: Mutex<BTreeMap<Uuid, (Parked, Duration)>>,
}

impl Progress {
    pub(super) fn stats(&self) -> Stats {
        Stats {
            written: self.written.load(Ordering::Relaxed),
            flushed_rows: self.flushed.load(Ordering::Relaxed),
            dead_rows: self.dead.load(Ordering::Relaxed),
            replays: self.replays.load(Ordering::Relaxed),
            parked: self.parked().values().map(|(parked, _)| parked.clone()).collect(),
            last_error: self.last_error.lock().clone(),
            ..Stats::default()
        }
    }

    pub(super) fn note_written(&self, rows: usize) {
        self.written.fetch_add(rows as u64, Ordering::Relaxed);
    }

    pub(super) fn note(&self, applied: &Applied) -> u64 {
        match applied {
            Applied::Now { rows, dead } => {
                self.flushed.fetch_add(*rows, Ordering::Relaxed);
                self.dead.fetch_add(*dead, Ordering::Relaxed);
                *rows
            }
            Applied::Before => {
                self.replays.fetch_add(1, Ordering::Relaxed);
                0
            }
            // Shown as parked, for as long as it is.
            Applied::WrittenSince { .. } => 0,
        }
    }

    pub(super) fn note_end(&self, error: Option<String>) {
        *self.last_error.lock() = error;
    }

    /// Puts a batch aside; true if it was not there.
    pub(super) fn park(&self, parked: Parked, now: Duration) -> bool {
        self.parked().insert(parked.id, (parked, now + PARKED_RETRY_AFTER)).is_none()
    }

    /// A batch was applied after all.
    pub(super) fn unpark(&self, id: Uuid) {
        self.parked().remove(&id);
    }

    /// Whether a batch is to be left alone for now.
    pub(super) fn is_parked(&self, id: Uuid, now: Duration) -> bool {
        self.parked().get(&id).is_some_and(|(_, until)| now < *until)
    }

    /// Forgets the parked batches of a partition that it does not have any more.
    pub(super) fn keep_parked(&self, partition: u16, is_there: impl Fn(Uuid) -> bool) {
        self.parked().retain(|id, (parked, _)| parked.partition != partition || is_there(*id));
    }

    /// Why the first of them is parked.
    pub(super) fn parked_reason(&self) -> Option<String> {
        self.parked().values().next().map(|(parked, _)| parked.reason.clone())
    }

    /// How many batches of a partition are parked.
    pub(super) fn parked_in(&self, partition: u16) -> u64 {
        self.parked().values().filter(|(parked, _)| parked.partition == partition).count() as u64
    }

    fn parked(&self) -> MutexGuard<'_, BTreeMap<Uuid, (Parked, Duration)>> {
        self.parked.lock()
    }
}
