//! A sink in memory, for tests and examples.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    sync::Arc,
};

use parking_lot::Mutex;
use uuid::Uuid;

use super::{
    batch::{Applied, Batch},
    contract::{Answer, Sink, Snapshot},
    dead_letter::{DeadLetter, Replayed},
    error::SinkError,
};
use crate::{
    clock::Clock,
    error::{Error, ErrorKind, Result, out_of_range},
    key::Name,
    model::{Row, RowKey, Schema, Value},
    time::Timestamp,
};

/// Tables in memory, by buffer. Clones share them.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::{Buffer, Forebay, buffer::RowKey, sink::MemorySink};
///
/// let bay = Forebay::open("memory:").await?;
/// let projects = bay.buffer(Buffer::new("projects").key("id").sum("hits"))?;
/// let sink = MemorySink::new();
/// let _flusher = projects.flush_to(sink.clone()).prepare().await?;
///
/// projects.row("42").add("hits", 20).await?;
/// projects.flush().await?;
///
/// let schema = projects.schema();
/// let row = sink.row(schema, &RowKey::new(schema, &["42".into()])?);
/// assert_eq!(row, Some([Some(20.into())].into()));
/// assert_eq!(sink.rows(schema).len(), 1);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemorySink(Arc<Mutex<Tables>>);

#[derive(Debug, Default)]
struct Tables {
    rows: BTreeMap<(Name, RowKey), Box<[Option<Value>]>>,
    /// The batches that were applied, each with the time of its last write.
    ledger: HashMap<Uuid, Option<Timestamp>>,
    dead: BTreeMap<(Name, u64), DeadLetter>,
    /// Rows that were moved, and the rows they were moved into. None of those was moved itself.
    moves: BTreeMap<(Name, RowKey), RowKey>,
    /// The id of the newest dead letter.
    newest: u64,
    /// The clock for the times of dead letters.
    clock: Clock,
}

impl MemorySink {
    /// Creates empty tables.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value columns of a row, if it is there.
    pub fn row(&self, schema: &Schema, key: &RowKey) -> Option<Box<[Option<Value>]>> {
        self.0.lock().rows.get(&(schema.name.clone(), key.clone())).cloned()
    }

    /// All rows of a buffer, by key.
    pub fn rows(&self, schema: &Schema) -> Vec<Row> {
        let tables = self.0.lock();
        let of_buffer = tables.rows.iter().filter(|((name, _), _)| *name == schema.name);
        of_buffer.map(|((_, key), cells)| Row { key: key.clone(), cells: cells.clone() }).collect()
    }
}

impl Tables {
    fn apply(&mut self, batch: &Batch) -> Applied {
        match self.ledger.entry(batch.id) {
            Entry::Occupied(there) => return Applied::again(batch, *there.get()),
            Entry::Vacant(place) => place.insert(batch.last_write),
        };
        let mut dead = 0;
        for row in &batch.rows {
            if let Err(error) = self.merge(&batch.schema, row) {
                self.dead_letter(batch, row.clone(), error.to_string());
                dead += 1;
            }
        }
        Applied::now(batch.rows.len() as u64 - dead, dead)
    }

    fn merge(&mut self, schema: &Schema, new: &Row) -> Result<()> {
        let key = self.target(schema, &new.key);
        let place = (schema.name.clone(), key.clone());
        let mut row = Row::empty(schema, key);
        if let Some(cells) = self.rows.get(&place) {
            row.cells.clone_from(cells);
        }
        row.merge(schema, new)?;
        self.rows.insert(place, row.cells);
        Ok(())
    }

    fn dead_letter(&mut self, batch: &Batch, row: Row, reason: String) {
        self.newest += 1;
        let (id, at) = (self.newest, self.clock.now());
        let letter = DeadLetter { id, batch: batch.id, at, reason, row: Ok(row) };
        self.dead.insert((batch.schema.name.clone(), id), letter);
    }

    /// The row that has the values of a key.
    fn target(&self, schema: &Schema, key: &RowKey) -> RowKey {
        self.moves.get(&(schema.name.clone(), key.clone())).unwrap_or(key).clone()
    }

    fn read(&self, schema: &Schema, key: &RowKey, ids: &[Uuid]) -> Snapshot {
        let target = self.target(schema, key);
        let moved = self.moves.iter().filter(|((name, _), to)| *name == schema.name && **to == target);
        let mut keys: Vec<RowKey> = moved.map(|((_, from), _)| from.clone()).collect();
        if !keys.is_empty() {
            keys.insert(0, target.clone());
        }
        let row = self.rows.get(&(schema.name.clone(), target)).cloned();
        Snapshot {
            row,
            applied: ids.iter().filter(|id| self.ledger.contains_key(id)).copied().collect(),
            keys,
        }
    }

    fn move_row(&mut self, schema: &Schema, from: &RowKey, to: &RowKey) -> Result<RowKey, SinkError> {
        let name = &schema.name;
        let refused =
            |error: Error| SinkError::Permanent(Error::new(ErrorKind::OutOfRange, error.to_string()));
        let target =
            Some(self.target(schema, to)).filter(|target| target != from).unwrap_or_else(|| to.clone());
        let place = (name.clone(), from.clone());
        if let Some(there) = self.moves.get(&place).filter(|there| **there != target) {
            let why = format!("it was moved to {:?} before: move that one", there.as_str());
            return Err(refused(out_of_range(why)));
        }
        // A row that was moved into this one is a row of its own again.
        let back = self.moves.remove(&(name.clone(), target.clone()));
        if let Some(cells) = self.rows.get(&place).cloned() {
            let row = Row { key: target.clone(), cells };
            if let Err(error) = self.merge(schema, &row) {
                self.moves.extend(back.map(|to| ((name.clone(), target), to)));
                return Err(refused(error));
            }
            self.rows.remove(&place);
        }
        for ((of, _), there) in &mut self.moves {
            if of == name && there == from {
                there.clone_from(&target);
            }
        }
        self.moves.insert(place, target.clone());
        Ok(target)
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
    fn prepare<'a>(&'a self, _schema: &'a Schema) -> Answer<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn apply<'a>(&'a self, batch: &'a Batch) -> Answer<'a, Applied> {
        Box::pin(async { Ok(self.0.lock().apply(batch)) })
    }

    fn read<'a>(&'a self, schema: &'a Schema, row: &'a RowKey, ids: &'a [Uuid]) -> Answer<'a, Snapshot> {
        Box::pin(async { Ok(self.0.lock().read(schema, row, ids)) })
    }

    fn dead_letters<'a>(&'a self, schema: &'a Schema, after: u64, limit: u32) -> Answer<'a, Vec<DeadLetter>> {
        Box::pin(async move {
            let tables = self.0.lock();
            let later = tables.dead_of(schema).filter(|letter| letter.id > after);
            Ok(later.take(limit as usize).cloned().collect())
        })
    }

    fn count_dead<'a>(&'a self, schema: &'a Schema) -> Answer<'a, u64> {
        Box::pin(async { Ok(self.0.lock().dead_of(schema).count() as u64) })
    }

    fn replay_dead<'a>(&'a self, schema: &'a Schema, ids: &'a [u64]) -> Answer<'a, Replayed> {
        Box::pin(async { Ok(self.0.lock().replay(schema, ids)) })
    }

    fn move_row<'a>(&'a self, schema: &'a Schema, from: &'a RowKey, to: &'a RowKey) -> Answer<'a, RowKey> {
        Box::pin(async { self.0.lock().move_row(schema, from, to) })
    }

    fn ping(&self) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Buffer;

    #[test]
    fn a_batch_that_was_written_to_since_its_commit_is_not_applied_before() {
        let schema = Buffer::new("p").key("id").sum("n").build().expect("valid");
        let at = Timestamp::from_micros;
        for (committed, again, answer) in [
            (Some(5), Some(5), Applied::Before),
            (Some(5), Some(4), Applied::Before),
            (Some(5), Some(6), Applied::WrittenSince { committed: at(5) }),
            (None, Some(6), Applied::Before),
            (Some(5), None, Applied::Before),
        ] {
            let sink = MemorySink::new();
            let mut batch = Batch::new(Uuid::now_v7(), schema.clone(), 0, vec![]);
            batch = batch.last_written(committed.map(at));
            assert_eq!(sink.0.lock().apply(&batch), Applied::now(0, 0));
            batch = batch.last_written(again.map(at));
            for _ in 0..2 {
                assert_eq!(sink.0.lock().apply(&batch), answer, "{committed:?} {again:?}");
            }
        }
    }
}
