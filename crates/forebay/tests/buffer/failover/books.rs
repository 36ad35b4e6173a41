//! A database that records the sum of each commit.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use forebay::{
    buffer::{RowKey, Schema, Value},
    sink::{Applied, Batch, BoxFuture, MemorySink, Sink, SinkError, Snapshot},
};
use uuid::Uuid;

/// Tables that record the sum of each committed batch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Books {
    pub table: MemorySink,
    /// Locked while a batch is applied, so that a commit id is never visible without its sum.
    committed: Arc<tokio::sync::Mutex<HashMap<Uuid, i64>>>,
    /// Writes that arrived under the id of a commit that did not have them.
    kept_out: Arc<Mutex<HashMap<Uuid, i64>>>,
}

impl Books {
    /// The writes of a batch that its commit does not have.
    pub(crate) fn kept_out(&self, batch: Uuid) -> i64 {
        self.kept_out.lock().expect("no test panics here").get(&batch).copied().unwrap_or(0)
    }
}

impl Sink for Books {
    fn prepare<'a>(&'a self, schema: &'a Schema) -> BoxFuture<'a, Result<(), SinkError>> {
        self.table.prepare(schema)
    }

    fn apply<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Applied, SinkError>> {
        Box::pin(async {
            let number = |cell: &Option<Value>| if let Some(Value::Integer(n)) = cell { *n } else { 0 };
            let sum: i64 = batch.rows.iter().map(|row| number(&row.cells[0])).sum();
            let mut committed = self.committed.lock().await;
            let applied = self.table.apply(batch).await?;
            match applied {
                Applied::Now { .. } => drop(committed.insert(batch.id, sum)),
                Applied::WrittenSince { .. } => {
                    let mut kept_out = self.kept_out.lock().expect("no test panics here");
                    kept_out.insert(batch.id, sum - committed[&batch.id]);
                }
                _ => {}
            }
            Ok(applied)
        })
    }

    fn read<'a>(
        &'a self,
        schema: &'a Schema,
        row: &'a RowKey,
        ids: &'a [Uuid],
    ) -> BoxFuture<'a, Result<Snapshot, SinkError>> {
        self.table.read(schema, row, ids)
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), SinkError>> {
        self.table.ping()
    }
}
