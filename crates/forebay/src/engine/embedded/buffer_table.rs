//! The partitions of buffers in memory.

use std::{
    collections::{HashMap, HashSet, VecDeque, hash_map::Entry},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use uuid::Uuid;

use super::{batch::GenerationRecord, codec::Cells, journal::Record};
use crate::{
    engine::step::BufferPart,
    error::Result,
    key::Name,
    model::{Row, RowKey, Schema, row::merge_cells},
    time::Timestamp,
};

/// All partitions of all buffers.
#[derive(Debug, Default)]
pub(super) struct Partitions {
    /// This lock protects only the map, for as long as a look-up takes; each partition has its own.
    pub map: Mutex<HashMap<(Name, u16), Shared>>,
    /// The buffers whose flushing is paused. Locked before the journal, as partitions are.
    pub paused: Mutex<HashSet<Name>>,
    /// The number of the next generation. A counter and nothing more, so any memory order will do.
    pub next: AtomicU64,
}

/// A partition behind its lock.
pub(super) type Shared = Arc<Mutex<Partition>>;

/// A partition: what is written to, and what waits for the sink, oldest first.
#[derive(Debug, Default)]
pub(super) struct Partition {
    pub live: Option<Written>,
    pub frozen: VecDeque<Written>,
}

/// A generation.
#[derive(Debug)]
pub(super) struct Written {
    /// Its number in the file: never used twice, ascending in the order of birth.
    pub number: u64,
    pub record: GenerationRecord,
    /// The batch of the journal in which it was frozen.
    pub frozen_in: u64,
    pub rows: HashMap<RowKey, Cells>,
    /// How many rows the file holds of it, including superseded ones.
    pub logged: u64,
}

/// Superseded rows that the file may hold of a generation, beyond its row count. Then all rows are written
/// afresh: one hot row does not fill a disk while SQL is away, and no row is written more than about twice for it.
pub(super) const SLACK: u64 = 1_024;

impl Partition {
    /// The live generation, for rows of `part`'s shape. One of another shape is frozen first: its columns are not these.
    pub(super) fn live(
        &mut self,
        part: &BufferPart,
        now: Timestamp,
        next: &AtomicU64,
        record: &mut Record<'_>,
    ) -> &mut Written {
        if self.live.as_ref().is_some_and(|live| live.record.fingerprint != part.schema.fingerprint) {
            self.freeze(record);
        }
        self.live.get_or_insert_with(|| {
            let generation = GenerationRecord {
                buffer: part.schema.name.clone(),
                partition: part.index,
                fingerprint: part.schema.fingerprint.clone(),
                id: Uuid::now_v7(),
                born: now,
                frozen: false,
            };
            let born = Written::new(next.fetch_add(1, Ordering::Relaxed), generation);
            record.note(|batch| batch.record(born.number, born.record.clone()));
            born
        })
    }

    pub(super) fn freeze(&mut self, record: &mut Record<'_>) -> Option<Uuid> {
        let mut live = self.live.take()?;
        let id = live.record.id;
        (live.frozen_in, live.record.frozen) = (record.number(), true);
        record.note(|batch| batch.record(live.number, live.record.clone()));
        self.frozen.push_back(live);
        Some(id)
    }
}

impl Written {
    pub(super) fn new(number: u64, record: GenerationRecord) -> Self {
        Self { number, record, frozen_in: 0, rows: HashMap::new(), logged: 0 }
    }

    pub(super) fn add(&mut self, schema: &Schema, row: Row, record: &mut Record<'_>) -> Result<()> {
        let cells = match self.rows.entry(row.key.clone()) {
            Entry::Occupied(mut there) => {
                merge_cells(schema, there.get_mut(), &row.cells)?;
                there.into_mut()
            }
            Entry::Vacant(place) => place.insert(row.cells),
        };
        self.logged += u64::from(record.note(|batch| batch.row(self.number, &row.key, cells)));
        Ok(())
    }

    /// Has all rows written afresh if the file has too many that are replaced.
    pub(super) fn rewrite(&mut self, record: &mut Record<'_>) {
        let rows = self.rows.len() as u64;
        if self.logged > 2 * rows + SLACK {
            record.note(|batch| batch.rewrite(self.number, self.rows.iter()));
            self.logged = rows;
        }
    }
}

impl Partitions {
    /// Takes a generation as the file has it, after those with smaller numbers. It is frozen.
    pub(super) fn restore(&self, generation: Written) {
        self.next.fetch_max(generation.number + 1, Ordering::Relaxed);
        let partition = self.partition(&generation.record.buffer, generation.record.partition);
        partition.lock().frozen.push_back(generation);
    }

    /// Takes what the file says about pauses.
    pub(super) fn restore_fact(&self, name: &str) {
        if let Some(buffer) = name.strip_prefix(PAUSED) {
            self.paused.lock().insert(Name::from_store(buffer));
        }
    }

    /// The partitions that hold something.
    pub(super) fn held(&self) -> Vec<(Name, u16)> {
        // A copy: partitions are not locked under the map's lock.
        let all = self.map.lock().clone();
        let holds = |partition: &Shared| {
            let partition = partition.lock();
            partition.live.is_some() || !partition.frozen.is_empty()
        };
        all.into_iter().filter(|(_, partition)| holds(partition)).map(|(place, _)| place).collect()
    }

    pub(super) fn partition(&self, buffer: &Name, index: u16) -> Shared {
        self.map.lock().entry((buffer.clone(), index)).or_default().clone()
    }
}

/// The prefix of a pause's fact in the file, before the buffer's name.
pub(super) const PAUSED: &str = "paused:";

pub(super) fn fact_of_pause(buffer: &Name) -> String {
    format!("{PAUSED}{buffer}")
}
