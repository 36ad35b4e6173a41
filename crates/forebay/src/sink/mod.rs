//! Where a buffer flushes to.

mod dead;
mod memory;

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use uuid::Uuid;

pub use dead::{DeadLetter, Replayed};
pub use memory::MemorySink;

use crate::{
    error::Error,
    model::{Row, RowKey, Schema, Value},
    time::Timestamp,
};

/// A boxed future: what a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A generation of a buffer's partition, frozen: applied as a whole, once.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Batch {
    /// The generation's id. It was given at the generation's first write and is never used again.
    pub id: Uuid,
    /// The buffer.
    pub schema: Arc<Schema>,
    /// The partition, for the ledger's reader.
    pub partition: u16,
    /// The rows, each once, sorted by key so that two batches take row locks in one order.
    pub rows: Vec<Row>,
    /// The store's time of the generation's last write; each write moves it forward. `None` if the store does not say: an
    /// embedded one never writes to a generation again that a sink may have, and older versions did not record it.
    pub last_write: Option<Timestamp>,
}

impl Batch {
    /// Puts a batch together; sorts the rows.
    pub fn new(id: Uuid, schema: Arc<Schema>, partition: u16, mut rows: Vec<Row>) -> Self {
        rows.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Self { id, schema, partition, rows, last_write: None }
    }

    /// Sets the time of the generation's last write.
    #[must_use]
    pub fn last_written(mut self, at: Option<Timestamp>) -> Self {
        self.last_write = at;
        self
    }
}

/// What applying a batch came to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Applied {
    /// The rows are committed now.
    #[non_exhaustive]
    Now {
        /// How many rows reached the table.
        rows: u64,
        /// How many were put among the dead letters, in the same transaction.
        dead: u64,
    },
    /// The ledger had the batch already: an earlier attempt committed, and nothing was done.
    Before,
    /// The ledger has the batch's id with an earlier [last write](Batch::last_write): the generation holds writes that
    /// the commit did not hold, and nothing was done. The flusher parks it and never lets the store forget it.
    #[non_exhaustive]
    WrittenSince {
        /// The last write that the commit held.
        committed: Timestamp,
    },
}

impl Applied {
    /// `rows` reached the table and `dead` the dead letters.
    pub fn now(rows: u64, dead: u64) -> Self {
        Self::Now { rows, dead }
    }

    /// The ledger has the id of `batch`, with `committed` as the time of the last write; `None` if it did not record one.
    pub fn again(batch: &Batch, committed: Option<Timestamp>) -> Self {
        match committed {
            Some(committed) if batch.last_write > Some(committed) => Self::WrittenSince { committed },
            _ => Self::Before,
        }
    }
}

/// Why a batch was not applied. Nothing of it was.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SinkError {
    /// Worth trying again: connection, deadlock, lock timeout, disk full. The batch is kept.
    Transient(Error),
    /// No retry mends it: the table or a column is not there. The generation waits until somebody does.
    Permanent(Error),
}

impl fmt::Display for SinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transient(error) | Self::Permanent(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SinkError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Transient(error) | Self::Permanent(error) => error.source(),
        }
    }
}

/// A database that batches are applied to.
///
/// # Contract
/// - **All or nothing, once.** `apply` commits the rows of a batch and the batch's id in one transaction, or nothing. If
///   the id is there already it changes nothing and answers [`Applied::Before`]. The batch's id is all that matters: the
///   same rows under another id are another batch.
/// - **Not more than was committed.** The ledger keeps [`Batch::last_write`] beside the id. If the batch comes again with a
///   later one, it holds writes that are in no commit: [`Applied::again`] answers [`Applied::WrittenSince`]. A sink that does
///   not keep it loses those writes, but only where a store goes back in time without a new replication id.
/// - **Lasting.** When `apply` has answered, the commit survives whatever the database promises to survive: the store
///   forgets the batch. That holds for [`Applied::Before`] as well: databases show a commit to others before it is on
///   disk, so a batch that is found is answered after a commit of the sink's own that is durable.
/// - **Again, and at once.** After an error, a lost answer, or the death of a worker the same batch comes again, perhaps
///   from another process, perhaps while the first attempt still runs. Two callers with one batch are the ordinary case:
///   the second waits for the first and then finds the id.
/// - **Dropped anywhere.** A future that is dropped may have committed, or not; nothing in between.
/// - **Merged.** A row is merged into the table's row of the same key as [`Row::merge`] does it: sums add, maxima and minima
///   ignore NULL, a value goes by its version. What a row does not write (`None`) is left alone.
/// - **Not held up.** A row that cannot be merged (a sum would leave its type, a constraint) is put aside where somebody
///   finds it, in the same transaction, and counted as dead; the other rows are applied.
/// - **Honest errors.** [`SinkError::Transient`] for what passes by itself, and the batch comes again after a pause;
///   [`SinkError::Permanent`] for what somebody has to mend, and the batch is put aside, visibly.
///
/// # Examples
/// A sink of one's own: a table that is one lock's work, so that a transaction is the time it is held.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use std::{collections::HashMap, sync::{Arc, Mutex}};
/// use forebay::{Buffer, Forebay, Timestamp, buffer::{Row, RowKey, Schema}};
/// use forebay::sink::{Applied, Batch, BoxFuture, Sink, SinkError, Snapshot};
/// use uuid::Uuid;
///
/// #[derive(Clone, Debug, Default)]
/// struct Counters(Arc<Mutex<Table>>);
///
/// #[derive(Debug, Default)]
/// struct Table { rows: HashMap<RowKey, Row>, ledger: HashMap<Uuid, Option<Timestamp>> }
///
/// impl Sink for Counters {
///     fn prepare<'a>(&'a self, _: &'a Schema) -> BoxFuture<'a, Result<(), SinkError>> {
///         Box::pin(async { Ok(()) })
///     }
///
///     fn apply<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Applied, SinkError>> {
///         Box::pin(async {
///             let mut table = self.0.lock().expect("nobody panics with it");
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
///     fn read<'a>(
///         &'a self, _: &'a Schema, row: &'a RowKey, ids: &'a [Uuid],
///     ) -> BoxFuture<'a, Result<Snapshot, SinkError>> {
///         Box::pin(async {
///             let table = self.0.lock().expect("nobody panics with it");
///             let applied = ids.iter().filter(|id| table.ledger.contains_key(id)).copied().collect();
///             let row = table.rows.get(row).map(|row| row.cells.clone());
///             Ok(Snapshot { row, applied, ..Snapshot::default() })
///         })
///     }
///
///     fn ping(&self) -> BoxFuture<'_, Result<(), SinkError>> {
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
    /// Gets ready for a buffer: checks the table against the schema, creates what it may create. May be called again.
    ///
    /// # Errors
    /// What cannot work, and how to mend it; [`SinkError::Transient`] if nobody answers.
    fn prepare<'a>(&'a self, schema: &'a Schema) -> BoxFuture<'a, Result<(), SinkError>>;

    /// Applies a batch exactly once.
    ///
    /// # Errors
    /// By kind, see the contract. The transaction has not been committed, or its fate is unknown: the same batch comes
    /// again, and the id decides.
    ///
    /// # Cancellation
    /// The batch may have been committed; it is never applied by half.
    fn apply<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Applied, SinkError>>;

    /// Reads a row, one place per value column, and which of `ids` have been applied, in one snapshot: a batch that is
    /// among `applied` is in the row, any other is not. Of a row that was moved it reads the one that it was moved into.
    ///
    /// # Errors
    /// [`SinkError::Transient`] if nobody answers; [`SinkError::Permanent`] for a table that does not fit.
    fn read<'a>(
        &'a self,
        schema: &'a Schema,
        row: &'a RowKey,
        ids: &'a [Uuid],
    ) -> BoxFuture<'a, Result<Snapshot, SinkError>>;

    /// For how long it remembers that a batch was applied; `None`: for ever. A batch that is older and that it does not know
    /// is not applied, but parked.
    fn ledger_retention(&self) -> Option<Duration> {
        None
    }

    /// The dead letters of a buffer with an id above `after`, at most `limit` of them, in the order of their ids.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) from a sink that does not list them, which is what a sink
    /// does that leaves this method out; else as [`read`](Self::read).
    fn dead_letters<'a>(
        &'a self,
        schema: &'a Schema,
        after: u64,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<DeadLetter>, SinkError>> {
        let _ = (schema, after, limit);
        Box::pin(async { Err(dead::unsupported("dead letters")) })
    }

    /// How many dead letters a buffer has.
    ///
    /// # Errors
    /// As [`dead_letters`](Self::dead_letters).
    fn count_dead<'a>(&'a self, schema: &'a Schema) -> BoxFuture<'a, Result<u64, SinkError>> {
        let _ = schema;
        Box::pin(async { Err(dead::unsupported("dead letters")) })
    }

    /// Merges these dead letters of a buffer into their rows, and forgets those that were merged, in one transaction: a
    /// letter counts once, whoever replays it and however often. A row that the table does not have is made where
    /// `apply` makes it, and refused otherwise, also where `apply` leaves it out.
    ///
    /// # Errors
    /// As [`dead_letters`](Self::dead_letters). Nothing was replayed, or the commit's answer was lost: asked again, a letter
    /// that was replayed is not there.
    ///
    /// # Cancellation
    /// All of them may have been replayed, or none; never some.
    fn replay_dead<'a>(
        &'a self,
        schema: &'a Schema,
        ids: &'a [u64],
    ) -> BoxFuture<'a, Result<Replayed, SinkError>> {
        let _ = (schema, ids);
        Box::pin(async { Err(dead::unsupported("dead letters")) })
    }

    /// Merges the row `from` into the row `to` as a batch would, removes it, and remembers that for every batch and dead
    /// letter to come: what is written for `from` goes to `to`; all in one transaction. Returns the key of the row that has
    /// it now: where `to` itself was moved, it is that one.
    ///
    /// A batch that is applied at the same time is applied before or after. The same move again changes nothing.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) if the table does not take it (a sum would leave its
    /// column, there is no row to merge into, `from` was moved elsewhere);
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) from a sink that leaves this method out; else as
    /// [`read`](Self::read). Nothing has changed, or the commit's answer was lost.
    ///
    /// # Cancellation
    /// It may have been moved; never by half.
    fn move_row<'a>(
        &'a self,
        schema: &'a Schema,
        from: &'a RowKey,
        to: &'a RowKey,
    ) -> BoxFuture<'a, Result<RowKey, SinkError>> {
        let _ = (schema, from, to);
        Box::pin(async { Err(dead::unsupported("moves")) })
    }

    /// What an operator should know, as sentences: settings of the database under which a commit is not durable, and why
    /// batches are not applied at the moment. Answered from memory.
    fn warnings(&self) -> Vec<String> {
        vec![]
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// Why it does not.
    fn ping(&self) -> BoxFuture<'_, Result<(), SinkError>>;
}

/// A row and the ledger as one transaction saw them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The row's value columns in order, if there is such a row.
    pub row: Option<Box<[Option<Value>]>>,
    /// Those of the ids asked for that the ledger has.
    pub applied: Vec<Uuid>,
    /// If the row was moved, or others were moved into it: the keys of all whose writes come together in `row`, that of
    /// the row itself first. Empty if none was.
    pub keys: Vec<RowKey>,
}
