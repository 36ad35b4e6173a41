//! A sink in memory: for tests and for trying things out.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use uuid::Uuid;

use super::{Applied, Batch, BoxFuture, Sink, SinkError, Snapshot};
use crate::{
    buffer::{Row, RowKey, Schema, Value},
    key::Name,
};

/// Tables in memory, by buffer. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct MemorySink(Arc<Mutex<Tables>>);

#[derive(Debug, Default)]
struct Tables {
    rows: BTreeMap<(Name, RowKey), Box<[Option<Value>]>>,
    ledger: HashSet<Uuid>,
}

impl MemorySink {
    /// Empty tables.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value columns of a row, if it is there.
    pub fn row(&self, schema: &Schema, key: &RowKey) -> Option<Box<[Option<Value>]>> {
        self.tables().rows.get(&(schema.name.clone(), key.clone())).cloned()
    }

    /// All rows of a buffer, by key.
    pub fn rows(&self, schema: &Schema) -> Vec<Row> {
        let tables = self.tables();
        let of_buffer = tables.rows.iter().filter(|((name, _), _)| *name == schema.name);
        of_buffer.map(|((_, key), cells)| Row { key: key.clone(), cells: cells.clone() }).collect()
    }

    /// The lock protects the tables as one; a panic in a test elsewhere does not make them unreadable.
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply_now(&self, batch: &Batch) -> Result<Applied, SinkError> {
        let mut tables = self.tables();
        if tables.ledger.contains(&batch.id) {
            return Ok(Applied::Before);
        }
        let mut changed = Vec::with_capacity(batch.rows.len());
        for row in &batch.rows {
            let place = (batch.schema.name.clone(), row.key.clone());
            let mut merged = Row::empty(&batch.schema, row.key.clone());
            if let Some(cells) = tables.rows.get(&place) {
                merged.cells.clone_from(cells);
            }
            merged.merge(&batch.schema, row).map_err(SinkError::Permanent)?;
            changed.push((place, merged.cells));
        }
        tables.rows.extend(changed);
        tables.ledger.insert(batch.id);
        Ok(Applied::now(batch.rows.len() as u64, 0))
    }
}

impl Sink for MemorySink {
    fn prepare<'a>(&'a self, _schema: &'a Schema) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async { Ok(()) })
    }

    fn apply<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Applied, SinkError>> {
        Box::pin(async { self.apply_now(batch) })
    }

    fn read<'a>(
        &'a self,
        schema: &'a Schema,
        row: &'a RowKey,
        ids: &'a [Uuid],
    ) -> BoxFuture<'a, Result<Snapshot, SinkError>> {
        Box::pin(async {
            let applied = ids.iter().filter(|id| self.tables().ledger.contains(id)).copied().collect();
            Ok(Snapshot { row: self.row(schema, row), applied })
        })
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(async { Ok(()) })
    }
}
