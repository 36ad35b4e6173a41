//! Where a buffer flushes to.

mod memory;

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use uuid::Uuid;

pub use memory::MemorySink;

use crate::{
    buffer::{Row, RowKey, Schema, Value},
    error::Error,
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
}

impl Batch {
    /// Puts a batch together; sorts the rows.
    pub fn new(id: Uuid, schema: Arc<Schema>, partition: u16, mut rows: Vec<Row>) -> Self {
        rows.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Self { id, schema, partition, rows }
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
}

impl Applied {
    /// `rows` reached the table and `dead` the dead letters.
    pub fn now(rows: u64, dead: u64) -> Self {
        Self::Now { rows, dead }
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
/// `apply` commits all rows of a batch and the batch's id in one transaction, or nothing. If the id is
/// there already it changes nothing and answers [`Applied::Before`]; two callers with one batch at the
/// same time are the ordinary case, not an error. When it returns an error the transaction has not been
/// committed, or its fate is unknown: the same batch comes again, and the id decides.
///
/// A row is merged into the table's row of the same key: sums add, maxima and minima ignore NULL.
pub trait Sink: Send + Sync + fmt::Debug + 'static {
    /// Gets ready for a buffer: checks the table against the schema, creates what it may create.
    fn prepare<'a>(&'a self, schema: &'a Schema) -> BoxFuture<'a, Result<(), SinkError>>;

    /// Applies a batch exactly once.
    fn apply<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Applied, SinkError>>;

    /// Reads a row, one place per value column, and which of `ids` have been applied, in one snapshot.
    ///
    /// `None`: the table has no such row.
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

    /// Whether the database answers.
    fn ping(&self) -> BoxFuture<'_, Result<(), SinkError>>;
}

/// A row and the ledger as one transaction saw them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The row's value columns in order, if there is such a row.
    pub row: Option<Box<[Option<Value>]>>,
    /// Those of the ids asked for that the ledger has.
    pub applied: Vec<Uuid>,
}
