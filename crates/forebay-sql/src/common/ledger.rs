//! The ledger, as far as it is the same everywhere.

use std::time::Duration;

use forebay::{
    Error, ErrorKind, Timestamp,
    sink::{Batch, SinkError},
};
use uuid::Uuid;

use super::{merge::Transaction, plan::Plan};

/// How many entries one transaction prunes, so that flushes do not wait for long.
pub(crate) const PRUNE_AT_ONCE: u32 = 10_000;

/// The column with the time of a batch's last write. Ledgers made by older versions do not have it.
pub(crate) const LAST_WRITE: &str = "last_write";

/// The partition of a [barrier](Entry::barrier).
const NO_PARTITION: i32 = -1;

/// A row of the ledger.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) id: Uuid,
    pub(crate) buffer: &'a str,
    pub(crate) partition: i32,
    pub(crate) rows: i64,
    pub(crate) last_write: Option<Timestamp>,
}

impl<'a> Entry<'a> {
    pub(crate) fn batch(batch: &'a Batch) -> Self {
        Self {
            id: batch.id,
            buffer: batch.schema.name.as_str(),
            partition: i32::from(batch.partition),
            rows: i64::try_from(batch.rows.len()).unwrap_or(i64::MAX),
            last_write: batch.last_write,
        }
    }

    /// A row that only exists to be committed. It has an id of its own, version 4, and partition -1; it is pruned like
    /// any other.
    ///
    /// A database shows a commit to others before it is on disk. What was found in it may still be lost, unless a later
    /// commit is durable: a log is written in order. Only a new row makes a database write its log.
    pub(crate) fn barrier(buffer: &'a str) -> Self {
        Self { id: Uuid::new_v4(), buffer, partition: NO_PARTITION, rows: 0, last_write: None }
    }
}

/// A transaction's view of the ledger: which batches have been applied.
pub(crate) trait Ledger: Transaction {
    /// Adds a row; false if its id is there. Waits while another transaction is about to add it.
    fn record(
        &mut self,
        plan: &Plan<Self::Form>,
        entry: &Entry<'_>,
    ) -> impl Future<Output = sqlx::Result<bool>> + Send;

    /// The time of the last write of a batch that is there, as text.
    fn last_write(
        &mut self,
        plan: &Plan<Self::Form>,
        id: Uuid,
    ) -> impl Future<Output = sqlx::Result<Option<String>>> + Send;

    /// Forgets at most [`PRUNE_AT_ONCE`] of the entries made before a time, but never one of the newest 1 000; returns
    /// how many.
    fn prune(&mut self, place: &str, before: Timestamp) -> impl Future<Output = sqlx::Result<u64>> + Send;

    /// Which of some batches are there, as texts.
    fn known(&mut self, place: &str, ids: &[Uuid]) -> impl Future<Output = sqlx::Result<Vec<String>>> + Send;
}

/// When a batch had its first write: version 7 of UUIDs begins with the milliseconds since 1970.
pub(crate) fn born(id: Uuid) -> Option<Timestamp> {
    let millis = i64::try_from(id.as_u128() >> 80).expect("48 bits");
    (id.get_version_num() == 7).then(|| Timestamp::from_millis(millis))
}

/// The ledger does not have the batch: because it was never applied, or because that was so long ago that the entry is
/// gone?
///
/// # Errors
/// [`SinkError::Permanent`] if nobody can tell any more.
pub(crate) fn check_age(
    database: &str,
    id: Uuid,
    now: Timestamp,
    retention: Duration,
) -> Result<(), SinkError> {
    match born(id) {
        Some(born) if now.since(born) > retention => Err(SinkError::Permanent(Error::new(
            ErrorKind::OutOfRange,
            format!(
                "{database}: the batch was begun at {born}, and the ledger remembers {retention:?} only, so it may have \
                 been applied before"
            ),
        ))),
        _ => Ok(()),
    }
}
