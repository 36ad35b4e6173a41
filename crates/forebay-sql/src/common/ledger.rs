//! The ledger, as far as it is the same everywhere.

use std::time::Duration;

use forebay::{
    Error, ErrorKind, Timestamp,
    sink::{Batch, SinkError},
};
use uuid::Uuid;

use super::merge::Transaction;

/// How many entries one transaction prunes, so that flushes do not wait for long.
pub(crate) const PRUNE_AT_ONCE: u32 = 10_000;

/// A transaction's view of the ledger: which batches have been applied. `place` is what its table is qualified with.
pub(crate) trait Ledger: Transaction {
    /// Records a batch; false if it is there. Waits while another transaction is about to record it.
    fn record(&mut self, place: &str, batch: &Batch) -> impl Future<Output = sqlx::Result<bool>> + Send;

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
