//! The ledger: which batches were applied.

use std::{collections::HashSet, time::Duration};

use forebay::{
    ErrorKind, Timestamp,
    sink::{Batch, SinkError},
};
use uuid::Uuid;

use super::{
    bindings::Parameters,
    datetime,
    ddl::{LAST_WRITE, LEDGER},
    dialect::Dialect,
    error::permanent,
    transaction::Transaction,
    work::Work,
};

/// How many entries one transaction prunes, so that flushes do not wait for long.
pub(crate) const MAX_PRUNED_AT_ONCE: u32 = 10_000;

/// The partition of a [barrier](Work::record_barrier).
const NO_PARTITION: i64 = -1;

impl<T: Transaction> Work<'_, T> {
    /// Adds a batch; returns false if its id exists. Waits while another transaction is about to add it.
    pub(crate) async fn record_batch(&mut self, batch: &Batch) -> sqlx::Result<bool> {
        let rows = i64::try_from(batch.rows.len()).unwrap_or(i64::MAX);
        self.record(batch.id, i64::from(batch.partition), rows, batch.last_write).await
    }

    /// Adds an entry that exists only to be committed. It has an id of its own, version 4, and partition -1. It is pruned
    /// like any other.
    ///
    /// A database shows a commit to other transactions before it is on disk. An entry that is found may therefore still be
    /// lost, unless a later commit is durable: a log is written in order. Only a new row makes a database write its log.
    pub(crate) async fn record_barrier(&mut self) -> sqlx::Result<()> {
        self.record(Uuid::new_v4(), NO_PARTITION, 0, None).await.map(|_| ())
    }

    async fn record(
        &mut self,
        id: Uuid,
        partition: i64,
        rows: i64,
        last_write: Option<Timestamp>,
    ) -> sqlx::Result<bool> {
        let mut bind = Parameters::<T::Dialect>::new();
        let mut columns =
            ["gen", "buffer", "partition", "rows", "applied_at"].map(T::Dialect::quoted).to_vec();
        let mut values = vec![
            bind.uuid(id),
            bind.text(self.buffer()),
            bind.integer(partition),
            bind.integer(rows),
            bind.time(Some(self.transaction.now())),
        ];
        if self.plan.dated {
            columns.push(T::Dialect::quoted(LAST_WRITE));
            values.push(bind.time(last_write));
        }
        let (ledger, columns, values) = (self.own(LEDGER), columns.join(", "), values.join(", "));
        let sql = format!("INSERT INTO {ledger} ({columns}) VALUES ({values})");
        self.transaction.insert_new(sql, bind).await
    }

    /// The time of the last write of a batch that the ledger has.
    pub(crate) async fn last_write(&mut self, id: Uuid) -> sqlx::Result<Option<Timestamp>> {
        if !self.plan.dated {
            return Ok(None);
        }
        let mut bind = Parameters::<T::Dialect>::new();
        let (ledger, time) = (self.own(LEDGER), T::Dialect::time_text(LAST_WRITE));
        let sql = format!("SELECT {time} FROM {ledger} WHERE gen = {}", bind.uuid(id));
        let rows = self.query(sql, bind).await?;
        Ok(rows.into_iter().flatten().flatten().next().and_then(|text| datetime::parse(&text)))
    }

    /// Which of some batches the ledger has.
    pub(crate) async fn known(&mut self, ids: &[Uuid]) -> sqlx::Result<Vec<Uuid>> {
        if ids.is_empty() {
            return Ok(vec![]);
        }
        let mut bind = Parameters::<T::Dialect>::new();
        let (ledger, id) = (self.own(LEDGER), T::Dialect::cast("gen"));
        let sql = format!("SELECT {id} FROM {ledger} WHERE {}", bind.any_uuid("gen", ids));
        let known: HashSet<String> = self.query(sql, bind).await?.into_iter().flatten().flatten().collect();
        Ok(ids.iter().copied().filter(|id| known.contains(&id.to_string())).collect())
    }
}

/// Removes at most [`MAX_PRUNED_AT_ONCE`] of the entries made before a time, but none of the newest 1 000; returns how many.
pub(crate) async fn prune<T: Transaction>(
    transaction: &mut T,
    place: &str,
    before: Timestamp,
) -> sqlx::Result<u64> {
    if datetime::text(before).is_none() {
        return Ok(0);
    }
    let mut bind = Parameters::<T::Dialect>::new();
    let ledger = T::Dialect::own(place, LEDGER);
    let sql = T::Dialect::prune(&ledger, &bind.time(Some(before)), MAX_PRUNED_AT_ONCE);
    transaction.execute(sql, bind.into()).await
}

/// When a batch had its first write: a UUID of version 7 begins with the milliseconds since 1970.
fn born(id: Uuid) -> Option<Timestamp> {
    let millis = i64::try_from(id.as_u128() >> 80).expect("48 bits");
    (id.get_version_num() == 7).then(|| Timestamp::from_millis(millis))
}

/// Refuses a batch that the ledger does not have if it is so old that its entry may have been pruned.
///
/// # Errors
/// [`SinkError::Permanent`] if the batch may have been applied.
pub(crate) fn check_age(
    database: &str,
    id: Uuid,
    now: Timestamp,
    retention: Duration,
) -> Result<(), SinkError> {
    let Some(born) = born(id).filter(|born| now.since(*born) > retention) else { return Ok(()) };
    let text = format!(
        "{database}: the batch was begun at {born}, but the ledger keeps its entries for {retention:?} only, so it may \
         have been applied before"
    );
    Err(permanent(ErrorKind::OutOfRange, text))
}
