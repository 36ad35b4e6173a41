//! Buffers of the embedded engine.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use uuid::Uuid;

use super::Embedded;
use crate::{
    buffer::{Row, RowKey, Schema, Value, row::merge_cells},
    engine::step::{BufferPart, BufferStats, Frozen, Generation, PendingRow, Rotate},
    error::Result,
    key::Name,
    time::Timestamp,
};

/// All partitions of all buffers.
///
/// The outer lock protects only the map, for as long as a look-up takes; each partition has its own.
#[derive(Debug, Default)]
pub(super) struct Partitions(Mutex<HashMap<(Name, u16), Arc<Mutex<Partition>>>>);

/// A partition: what is written to, and what waits for the sink, oldest first.
#[derive(Debug, Default)]
struct Partition {
    live: Option<Written>,
    frozen: VecDeque<Written>,
}

/// A generation.
#[derive(Debug)]
struct Written {
    id: Uuid,
    fingerprint: Box<str>,
    born: Timestamp,
    rows: HashMap<RowKey, Box<[Option<Value>]>>,
}

impl Partition {
    /// The live generation, for rows of `schema`. One of another shape is frozen first: its columns are not these.
    fn live(&mut self, schema: &Schema, now: Timestamp) -> &mut Written {
        if self.live.as_ref().is_some_and(|live| live.fingerprint != schema.fingerprint) {
            self.freeze();
        }
        self.live.get_or_insert_with(|| Written {
            id: Uuid::now_v7(),
            fingerprint: schema.fingerprint.clone(),
            born: now,
            rows: HashMap::new(),
        })
    }

    fn freeze(&mut self) -> Option<Uuid> {
        let live = self.live.take()?;
        let id = live.id;
        self.frozen.push_back(live);
        Some(id)
    }
}

impl Written {
    fn add(&mut self, schema: &Schema, row: Row) -> Result<()> {
        if let Some(cells) = self.rows.get_mut(&row.key) {
            return merge_cells(schema, cells, &row.cells);
        }
        self.rows.insert(row.key, row.cells);
        Ok(())
    }
}

impl Embedded {
    #[expect(clippy::unused_async, reason = "steps are async on every engine")]
    pub(crate) async fn buffer_add(&self, part: &BufferPart, rows: Vec<Row>) -> Result<Vec<Result<()>>> {
        let partition = self.partition(part);
        let mut partition = lock(&partition);
        let live = partition.live(&part.schema, self.clock.now());
        Ok(rows.into_iter().map(|row| live.add(&part.schema, row)).collect())
    }

    #[expect(clippy::unused_async, reason = "steps are async on every engine")]
    pub(crate) async fn buffer_rotate(
        &self,
        part: &BufferPart,
        rotate: Rotate,
        most: u64,
    ) -> Result<Option<Uuid>> {
        let partition = self.partition(part);
        let mut partition = lock(&partition);
        let now = self.clock.now();
        let due = partition.live.as_ref().is_some_and(|live| match rotate {
            Rotate::Now => true,
            Rotate::Due { age, rows } => now.since(live.born) >= age || live.rows.len() as u64 >= rows,
        });
        let free = (partition.frozen.len() as u64) < most;
        Ok(if due && free { partition.freeze() } else { None })
    }

    #[expect(clippy::unused_async, reason = "steps are async on every engine")]
    pub(crate) async fn buffer_frozen(&self, part: &BufferPart) -> Result<Vec<Frozen>> {
        let partition = self.partition(part);
        let partition = lock(&partition);
        let frozen = |g: &Written| Frozen { id: g.id, born: g.born, rows: g.rows.len() as u64 };
        Ok(partition.frozen.iter().map(frozen).collect())
    }

    #[expect(clippy::unused_async, reason = "steps are async on every engine")]
    pub(crate) async fn buffer_read(&self, part: &BufferPart, id: Uuid) -> Result<Option<Generation>> {
        let partition = self.partition(part);
        let partition = lock(&partition);
        let row =
            |(key, cells): (&RowKey, &Box<[Option<Value>]>)| Row { key: key.clone(), cells: cells.clone() };
        Ok(partition.frozen.iter().find(|g| g.id == id).map(|g| Generation {
            id,
            fingerprint: g.fingerprint.clone(),
            rows: g.rows.iter().map(row).collect(),
        }))
    }

    #[expect(clippy::unused_async, reason = "steps are async on every engine")]
    pub(crate) async fn buffer_ack(&self, part: &BufferPart, id: Uuid) -> Result<()> {
        lock(&self.partition(part)).frozen.retain(|g| g.id != id);
        Ok(())
    }

    #[expect(clippy::unused_async, reason = "steps are async on every engine")]
    pub(crate) async fn buffer_pending(&self, part: &BufferPart, row: &RowKey) -> Result<Vec<PendingRow>> {
        let partition = self.partition(part);
        let partition = lock(&partition);
        let generations = partition.frozen.iter().chain(&partition.live);
        let pending = |g: &Written| {
            let cells = g.rows.get(row)?.clone();
            Some(PendingRow { generation: g.id, row: Row { key: row.clone(), cells } })
        };
        Ok(generations.filter(|g| g.fingerprint == part.schema.fingerprint).filter_map(pending).collect())
    }

    #[expect(clippy::unused_async, reason = "steps are async on every engine")]
    pub(crate) async fn buffer_stats(&self, part: &BufferPart) -> Result<BufferStats> {
        let partition = self.partition(part);
        let partition = lock(&partition);
        Ok(BufferStats {
            live_rows: partition.live.as_ref().map_or(0, |g| g.rows.len() as u64),
            frozen_rows: partition.frozen.iter().map(|g| g.rows.len() as u64).sum(),
            frozen: partition.frozen.len() as u64,
            oldest: partition.frozen.iter().chain(&partition.live).map(|g| g.born).min(),
            now: self.clock.now(),
        })
    }

    fn partition(&self, part: &BufferPart) -> Arc<Mutex<Partition>> {
        let mut partitions = self.buffers.0.lock().unwrap_or_else(PoisonError::into_inner);
        partitions.entry((part.schema.name.clone(), part.index)).or_default().clone()
    }
}

/// Sections do not panic half-way through a change, so a poisoned partition is whole.
fn lock(partition: &Mutex<Partition>) -> MutexGuard<'_, Partition> {
    partition.lock().unwrap_or_else(PoisonError::into_inner)
}
