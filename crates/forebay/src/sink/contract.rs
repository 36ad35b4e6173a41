//! The contract of a sink.

use std::{fmt, future::Future, pin::Pin, time::Duration};

use uuid::Uuid;

use super::{
    batch::{Applied, Batch},
    dead_letter::{DeadLetter, Replayed},
    error::{SinkError, unsupported},
};
use crate::model::{RowKey, Schema, Value};

/// A boxed future: what a trait object can return.
///
/// # Examples
/// ```
/// use forebay::sink::{BoxFuture, SinkError};
/// fn ping<'a>() -> BoxFuture<'a, Result<(), SinkError>> {
///     Box::pin(async { Ok(()) })
/// }
/// # drop(ping());
/// ```
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The answer of a [`Sink`].
///
/// # Examples
/// ```
/// use forebay::sink::Answer;
/// fn ping<'a>() -> Answer<'a, ()> {
///     Box::pin(async { Ok(()) })
/// }
/// # drop(ping());
/// ```
pub type Answer<'a, T> = BoxFuture<'a, Result<T, SinkError>>;

/// A database that batches are applied to.
///
/// # Contract
/// - **All or nothing, once.** `apply` commits the rows of a batch and the batch's id in one transaction, or nothing. If
///   the id exists already, it changes nothing and answers [`Applied::Before`]. Only the id matters: the same rows under
///   another id are another batch.
/// - **Not more than was committed.** The ledger keeps [`Batch::last_write`] beside the id. A batch that comes again with a
///   later one holds writes that are in no commit: [`Applied::again`] answers [`Applied::WrittenSince`]. A sink that does not
///   keep it loses those writes, but only where a store goes back in time without a new replication id.
/// - **Durable.** When `apply` has answered, the commit survives all that the database promises to survive, because the store
///   forgets the batch. That holds for [`Applied::Before`] as well. Databases show a commit to others before it is on
///   disk, so a batch that the ledger has is answered after a durable commit of the sink's own.
/// - **Repeated and concurrent.** After an error, a lost answer, or the death of a worker the same batch comes again. It may
///   come from another process, and while the first attempt still runs. Two callers with one batch are the ordinary case:
///   the second waits for the first and then finds the id.
/// - **Safe to drop.** A future that is dropped may have committed, or not; nothing in between.
/// - **Merged.** A row is merged into the table's row of the same key as [`Row::merge`](crate::buffer::Row::merge) does it:
///   sums add, maxima and minima ignore NULL, a value goes by its version. Columns that a row does not write (`None`) keep
///   their values.
/// - **Not blocked by one row.** A row that cannot be merged (a sum would leave its type, a constraint) becomes a dead
///   letter in the same transaction, and is counted as dead. The other rows are applied.
/// - **Classified errors.** [`SinkError::Transient`] for what a retry resolves: the batch comes again after a pause.
///   [`SinkError::Permanent`] for what somebody has to resolve: the batch is parked, visibly.
///
/// # Examples
/// A sink of your own. Its table is behind one lock, so that a transaction is the time for which the lock is held.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use std::{collections::HashMap, sync::{Arc, Mutex}};
/// use forebay::{Buffer, Forebay, Timestamp, buffer::{Row, RowKey, Schema}};
/// use forebay::sink::{Answer, Applied, Batch, Sink, Snapshot};
/// use uuid::Uuid;
///
/// #[derive(Clone, Debug, Default)]
/// struct Counters(Arc<Mutex<Table>>);
///
/// #[derive(Debug, Default)]
/// struct Table { rows: HashMap<RowKey, Row>, ledger: HashMap<Uuid, Option<Timestamp>> }
///
/// impl Sink for Counters {
///     fn prepare<'a>(&'a self, _: &'a Schema) -> Answer<'a, ()> {
///         Box::pin(async { Ok(()) })
///     }
///
///     fn apply<'a>(&'a self, batch: &'a Batch) -> Answer<'a, Applied> {
///         Box::pin(async {
///             let mut table = self.0.lock().expect("no panic while it is held");
///             if let Some(committed) = table.ledger.get(&batch.id) {
///                 return Ok(Applied::again(batch, *committed));
///             }
///             table.ledger.insert(batch.id, batch.last_write);
///             let mut dead = 0;
///             for new in &batch.rows {
///                 let row = table.rows.entry(new.key.clone());
///                 let row = row.or_insert_with(|| Row::empty(&batch.schema, new.key.clone()));
///                 dead += u64::from(row.merge(&batch.schema, new).is_err());
///             }
///             Ok(Applied::now(batch.rows.len() as u64 - dead, dead))
///         })
///     }
///
///     fn read<'a>(&'a self, _: &'a Schema, row: &'a RowKey, ids: &'a [Uuid]) -> Answer<'a, Snapshot> {
///         Box::pin(async {
///             let table = self.0.lock().expect("no panic while it is held");
///             let applied = ids.iter().filter(|id| table.ledger.contains_key(id)).copied().collect();
///             let row = table.rows.get(row).map(|row| row.cells.clone());
///             Ok(Snapshot { row, applied, ..Snapshot::default() })
///         })
///     }
///
///     fn ping(&self) -> Answer<'_, ()> {
///         Box::pin(async { Ok(()) })
///     }
/// }
///
/// let bay = Forebay::open("memory:").await?;
/// let projects = bay.buffer(Buffer::new("projects").key("id").sum("hits"))?;
/// let _flusher = projects.flush_to(Counters::default()).prepare().await?;
/// for _ in 0..20 {
///     projects.row("42").add("hits", 1).await?;
/// }
/// assert_eq!(projects.flush().await?, 1);
/// assert_eq!(*projects.value(["42".into()]).await?, [Some(20.into())]);
/// # Ok(()) }
/// ```
pub trait Sink: Send + Sync + fmt::Debug + 'static {
    /// Prepares a buffer: checks the table against the schema, and creates missing tables if that is allowed. May be called
    /// again.
    ///
    /// # Errors
    /// A text that says what does not fit, and how to resolve it; [`SinkError::Transient`] if the database does not answer.
    fn prepare<'a>(&'a self, schema: &'a Schema) -> Answer<'a, ()>;

    /// Applies a batch exactly once.
    ///
    /// # Errors
    /// By kind, see the contract. The transaction was not committed, or its result is unknown. The same batch comes again,
    /// and the ledger decides.
    ///
    /// # Cancellation
    /// The batch may have been committed; it is never applied by half.
    fn apply<'a>(&'a self, batch: &'a Batch) -> Answer<'a, Applied>;

    /// Reads the value columns of a row, and which of `ids` have been applied, in one snapshot: the row contains the batches
    /// in `applied`, and no others. For a row that was moved, it reads the row it was moved into.
    ///
    /// # Errors
    /// [`SinkError::Transient`] if the database does not answer; [`SinkError::Permanent`] for a table that does not fit.
    fn read<'a>(&'a self, schema: &'a Schema, row: &'a RowKey, ids: &'a [Uuid]) -> Answer<'a, Snapshot>;

    /// For how long the ledger keeps the id of a batch; `None`: for ever. A batch that is older than that and not in the ledger
    /// is not applied, but parked.
    fn ledger_retention(&self) -> Option<Duration> {
        None
    }

    /// Lists at most `limit` dead letters of a buffer with an id above `after`, in the order of their ids.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) from a sink that does not list them, which is the default;
    /// otherwise as [`read`](Self::read).
    fn dead_letters<'a>(&'a self, schema: &'a Schema, after: u64, limit: u32) -> Answer<'a, Vec<DeadLetter>> {
        let _ = (schema, after, limit);
        Box::pin(async { Err(unsupported("dead letters")) })
    }

    /// Counts the dead letters of a buffer.
    ///
    /// # Errors
    /// As [`dead_letters`](Self::dead_letters).
    fn count_dead<'a>(&'a self, schema: &'a Schema) -> Answer<'a, u64> {
        let _ = schema;
        Box::pin(async { Err(unsupported("dead letters")) })
    }

    /// Merges these dead letters of a buffer into their rows, and deletes those that were merged, in one transaction. So a
    /// letter counts once, however often it is replayed. A row that the table does not have is inserted where `apply`
    /// inserts it, and refused otherwise, also where `apply` leaves it out.
    ///
    /// # Errors
    /// As [`dead_letters`](Self::dead_letters). Nothing was replayed, or the commit's answer was lost; then a repeated call
    /// does not find the letters that were replayed.
    ///
    /// # Cancellation
    /// All letters may have been replayed, or none; never some.
    fn replay_dead<'a>(&'a self, schema: &'a Schema, ids: &'a [u64]) -> Answer<'a, Replayed> {
        let _ = (schema, ids);
        Box::pin(async { Err(unsupported("dead letters")) })
    }

    /// Merges the row `from` into the row `to` as a batch would, deletes `from`, and records the move, in one transaction.
    /// Later batches and dead letters for `from` go to `to`. Returns the key of the row that has the values now: if `to`
    /// was moved itself, that is the row it was moved into.
    ///
    /// A batch that is applied at the same time is applied before or after. The same move again changes nothing.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) if the table refuses it (a sum would leave its column, there is
    /// no row to merge into, `from` was moved elsewhere);
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) from a sink that does not move rows, which is the default;
    /// otherwise as [`read`](Self::read). Nothing has changed, or the commit's answer was lost.
    ///
    /// # Cancellation
    /// The row may have been moved; never by half.
    fn move_row<'a>(&'a self, schema: &'a Schema, from: &'a RowKey, to: &'a RowKey) -> Answer<'a, RowKey> {
        let _ = (schema, from, to);
        Box::pin(async { Err(unsupported("moves")) })
    }

    /// Warnings for an operator, as sentences: settings of the database under which a commit is not durable, and why
    /// batches fail at the moment. Asks no database.
    fn warnings(&self) -> Vec<String> {
        vec![]
    }

    /// Checks that the database answers.
    ///
    /// # Errors
    /// Why it does not.
    fn ping(&self) -> Answer<'_, ()>;
}

/// A row and the ledger, as one transaction saw them.
///
/// # Examples
/// ```
/// use forebay::sink::Snapshot;
/// let nothing = Snapshot::default();
/// assert!(nothing.row.is_none() && nothing.applied.is_empty());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The row's value columns in order, if there is such a row.
    pub row: Option<Box<[Option<Value>]>>,
    /// The requested ids that the ledger has.
    pub applied: Vec<Uuid>,
    /// If rows were moved into `row`: all keys whose writes go there, that of the row itself first. Empty otherwise.
    pub keys: Vec<RowKey>,
}
