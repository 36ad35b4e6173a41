//! A sink in memory: for tests and for trying things out.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use uuid::Uuid;

use super::{Applied, Batch, BoxFuture, DeadLetter, Replayed, Sink, SinkError, Snapshot};
use crate::{
    buffer::{Row, RowKey, Schema, Value},
    clock::Clock,
    error::Result,
    key::Name,
};

/// Tables in memory, by buffer. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct MemorySink(Arc<Mutex<Tables>>);

#[derive(Debug, Default)]
struct Tables {
    rows: BTreeMap<(Name, RowKey), Box<[Option<Value>]>>,
    ledger: HashSet<Uuid>,
    dead: BTreeMap<(Name, u64), DeadLetter>,
    /// The id of the newest dead letter.
    newest: u64,
    /// Whose time the dead letters show.
    clock: Clock,
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
}

impl Tables {
    fn apply(&mut self, batch: &Batch) -> Applied {
        if !self.ledger.insert(batch.id) {
            return Applied::Before;
        }
        let mut dead = 0;
        for row in &batch.rows {
            if let Err(error) = self.merge(&batch.schema, row) {
                self.bury(batch, row.clone(), error.to_string());
                dead += 1;
            }
        }
        Applied::now(batch.rows.len() as u64 - dead, dead)
    }

    fn merge(&mut self, schema: &Schema, new: &Row) -> Result<()> {
        let place = (schema.name.clone(), new.key.clone());
        let mut row = Row::empty(schema, new.key.clone());
        if let Some(cells) = self.rows.get(&place) {
            row.cells.clone_from(cells);
        }
        row.merge(schema, new)?;
        self.rows.insert(place, row.cells);
        Ok(())
    }

    fn bury(&mut self, batch: &Batch, row: Row, reason: String) {
        self.newest += 1;
        let (id, at) = (self.newest, self.clock.now());
        let letter = DeadLetter { id, batch: batch.id, at, reason, row: Ok(row) };
        self.dead.insert((batch.schema.name.clone(), id), letter);
    }

    fn dead_of(&self, schema: &Schema) -> impl Iterator<Item = &DeadLetter> {
        self.dead.iter().filter(|((name, _), _)| *name == schema.name).map(|(_, letter)| letter)
    }

    fn replay(&mut self, schema: &Schema, ids: &[u64]) -> Replayed {
        let mut replayed = Replayed::default();
        for id in ids {
            let place = (schema.name.clone(), *id);
            let Some(letter) = self.dead.get(&place).cloned() else { continue };
            match letter.row.and_then(|row| self.merge(schema, &row)) {
                Ok(()) => {
                    self.dead.remove(&place);
                    replayed.applied.push(*id);
                }
                Err(error) => {
                    let reason = error.to_string();
                    self.dead.entry(place).and_modify(|letter| letter.reason.clone_from(&reason));
                    replayed.refused.push((*id, reason));
                }
            }
        }
        replayed
    }
}

impl Sink for MemorySink {
    fn prepare<'a>(&'a self, _schema: &'a Schema) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async { Ok(()) })
    }

    fn apply<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Applied, SinkError>> {
        Box::pin(async { Ok(self.tables().apply(batch)) })
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

    fn dead_letters<'a>(
        &'a self,
        schema: &'a Schema,
        after: u64,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<DeadLetter>, SinkError>> {
        Box::pin(async move {
            let tables = self.tables();
            let later = tables.dead_of(schema).filter(|letter| letter.id > after);
            Ok(later.take(limit as usize).cloned().collect())
        })
    }

    fn count_dead<'a>(&'a self, schema: &'a Schema) -> BoxFuture<'a, Result<u64, SinkError>> {
        Box::pin(async { Ok(self.tables().dead_of(schema).count() as u64) })
    }

    fn replay_dead<'a>(
        &'a self,
        schema: &'a Schema,
        ids: &'a [u64],
    ) -> BoxFuture<'a, Result<Replayed, SinkError>> {
        Box::pin(async { Ok(self.tables().replay(schema, ids)) })
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(async { Ok(()) })
    }
}
