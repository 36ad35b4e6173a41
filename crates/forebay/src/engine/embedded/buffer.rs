//! Buffers of the embedded engine.

use std::{
    collections::{HashMap, HashSet, VecDeque, hash_map::Entry},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::{Mutex, MutexGuard};
use uuid::Uuid;

use super::{Embedded, batch::GenerationRecord, codec::Cells, journal::Record};
use crate::{
    engine::{
        request::Token,
        step::{BufferPart, BufferParts, BufferStats, Frozen, Generation, PendingRow, Rotate},
    },
    error::{Error, ErrorKind, Result},
    key::Name,
    model::{Row, RowKey, Schema, row::merge_cells},
    time::Timestamp,
};

/// All partitions of all buffers.
#[derive(Debug, Default)]
pub(super) struct Partitions {
    /// This lock protects only the map, for as long as a look-up takes; each partition has its own.
    map: Mutex<HashMap<(Name, u16), Shared>>,
    /// The buffers whose flushing is paused. Locked before the journal, as partitions are.
    paused: Mutex<HashSet<Name>>,
    /// The number of the next generation. A counter and nothing more, so any memory order will do.
    next: AtomicU64,
}

/// A partition behind its lock.
type Shared = Arc<Mutex<Partition>>;

/// A partition: what is written to, and what waits for the sink, oldest first.
#[derive(Debug, Default)]
struct Partition {
    live: Option<Written>,
    frozen: VecDeque<Written>,
}

/// A generation.
#[derive(Debug)]
pub(super) struct Written {
    /// What the file calls it: never used twice, and ascending in the order of birth.
    pub number: u64,
    pub id: Uuid,
    pub fingerprint: Box<str>,
    pub born: Timestamp,
    /// The batch of the journal in which it was frozen.
    pub frozen_in: u64,
    pub rows: HashMap<RowKey, Cells>,
    /// How many rows the file has of it, those counted that a later one replaces.
    pub logged: u64,
}

/// So many replaced rows the file may have of a generation beside as many as there are rows. Then all rows are written
/// afresh: one hot row does not fill a disk while SQL is away, and no row is written more than about twice for it.
const SLACK: u64 = 1_024;

impl Partition {
    /// The live generation, for rows of `part`'s shape. One of another shape is frozen first: its columns are not these.
    fn live(
        &mut self,
        part: &BufferPart,
        now: Timestamp,
        next: &AtomicU64,
        record: &mut Record<'_>,
    ) -> &mut Written {
        if self.live.as_ref().is_some_and(|live| live.fingerprint != part.schema.fingerprint) {
            self.freeze(part, record);
        }
        self.live.get_or_insert_with(|| {
            let born = Written {
                number: next.fetch_add(1, Ordering::Relaxed),
                id: Uuid::now_v7(),
                fingerprint: part.schema.fingerprint.clone(),
                born: now,
                frozen_in: 0,
                rows: HashMap::new(),
                logged: 0,
            };
            record.generation(born.number, || born.record(part, false));
            born
        })
    }

    fn freeze(&mut self, part: &BufferPart, record: &mut Record<'_>) -> Option<Uuid> {
        let mut live = self.live.take()?;
        let id = live.id;
        live.frozen_in = record.number();
        record.generation(live.number, || live.record(part, true));
        self.frozen.push_back(live);
        Some(id)
    }
}

impl Written {
    fn add(&mut self, schema: &Schema, row: Row, record: &mut Record<'_>) -> Result<()> {
        let cells = match self.rows.entry(row.key.clone()) {
            Entry::Occupied(mut there) => {
                merge_cells(schema, there.get_mut(), &row.cells)?;
                there.into_mut()
            }
            Entry::Vacant(place) => place.insert(row.cells),
        };
        self.logged += u64::from(record.row(self.number, &row.key, cells));
        Ok(())
    }

    /// Has all rows written afresh if the file has too many that are replaced.
    fn rewrite(&mut self, record: &mut Record<'_>) {
        let rows = self.rows.len() as u64;
        if self.logged > 2 * rows + SLACK {
            record.rewrite(self.number, self.rows.iter());
            self.logged = rows;
        }
    }

    fn record(&self, part: &BufferPart, frozen: bool) -> GenerationRecord {
        GenerationRecord {
            buffer: part.schema.name.clone(),
            partition: part.index,
            fingerprint: self.fingerprint.clone(),
            id: self.id,
            born: self.born,
            frozen,
        }
    }
}

impl Embedded {
    pub(crate) async fn buffer_add(&self, part: &BufferPart, rows: Vec<Row>) -> Result<Vec<Result<()>>> {
        let (outcomes, ticket) = {
            let partition = self.partition(part);
            let mut partition = lock(&partition);
            let mut record = self.journal.record()?;
            let live = partition.live(part, self.clock.now(), &self.buffers.next, &mut record);
            let outcomes = rows.into_iter().map(|row| live.add(&part.schema, row, &mut record)).collect();
            live.rewrite(&mut record);
            (outcomes, record.commit_rows())
        };
        failpoint!("after_live_write_before_commit");
        ticket.durable().await?;
        failpoint!("after_commit_before_answer");
        Ok(outcomes)
    }

    pub(crate) async fn buffer_add_once(&self, part: &BufferPart, row: Row, token: &Token) -> Result<()> {
        let ticket = {
            let partition = self.partition(part);
            let mut partition = lock(&partition);
            let mut tokens = self.tokens.lock();
            let mut record = self.journal.record()?;
            if !tokens.is_there(token.id) {
                let now = self.clock.now();
                let live = partition.live(part, now, &self.buffers.next, &mut record);
                live.add(&part.schema, row, &mut record)?;
                live.rewrite(&mut record);
                tokens.note(token.id, None, now, &mut record);
            }
            // Also of a row that is there: the commit that has it may be under way.
            record.commit()
        };
        failpoint!("after_live_write_before_commit");
        ticket.durable().await
    }

    pub(crate) async fn buffer_rotate(
        &self,
        part: &BufferPart,
        rotate: Rotate,
        most: u64,
    ) -> Result<Option<Uuid>> {
        let (frozen, ticket) = {
            let partition = self.partition(part);
            let mut partition = lock(&partition);
            let now = self.clock.now();
            let due = partition.live.as_ref().is_some_and(|live| match rotate {
                Rotate::Now => true,
                Rotate::Due { age, rows } => now.since(live.born) >= age || live.rows.len() as u64 >= rows,
            });
            if !due || partition.frozen.len() as u64 >= most {
                return Ok(None);
            }
            let mut record = self.journal.record()?;
            (partition.freeze(part, &mut record), record.commit())
        };
        failpoint!("rotate_before_commit");
        ticket.durable().await?;
        failpoint!("rotate_after_commit");
        Ok(frozen)
    }

    /// Only those whose rotation is durable, and with it their rows: what a sink gets must not be undone by a crash.
    pub(crate) async fn buffer_frozen(&self, part: &BufferPart) -> Result<Vec<Frozen>> {
        let partition = self.partition(part);
        let partition = lock(&partition);
        let durable = partition.frozen.iter().filter(|g| self.journal.is_durable(g.frozen_in));
        let frozen = |g: &Written| Frozen { id: g.id, born: g.born, rows: g.rows.len() as u64 };
        Ok(durable.map(frozen).collect())
    }

    pub(crate) async fn buffer_read(&self, part: &BufferPart, id: Uuid) -> Result<Option<Generation>> {
        let partition = self.partition(part);
        let partition = lock(&partition);
        let Some(generation) = partition.frozen.iter().find(|g| g.id == id) else { return Ok(None) };
        if !self.journal.is_durable(generation.frozen_in) {
            let (buffer, index) = (&part.schema.name, part.index);
            let what = format!(
                "generation {id} of buffer {buffer}, partition {index}: its rotation is not durable yet"
            );
            return Err(Error::new(ErrorKind::Unavailable, what));
        }
        let row = |(key, cells): (&RowKey, &Cells)| Row { key: key.clone(), cells: cells.clone() };
        Ok(Some(Generation {
            id,
            fingerprint: generation.fingerprint.clone(),
            // Whoever opens the file freezes all of it first: what a sink may have is never written to again.
            last_write: None,
            rows: generation.rows.iter().map(row).collect(),
        }))
    }

    /// Answers before it is durable: an acknowledgement that a crash undoes is repeated, because the sink knows the id.
    pub(crate) async fn buffer_ack(
        &self,
        part: &BufferPart,
        id: Uuid,
        _last_write: Option<Timestamp>,
    ) -> Result<()> {
        let partition = self.partition(part);
        let mut partition = lock(&partition);
        if let Some(place) = partition.frozen.iter().position(|g| g.id == id) {
            let mut record = self.journal.record()?;
            record.drop_generation(partition.frozen[place].number);
            partition.frozen.remove(place);
        }
        Ok(())
    }

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

    pub(crate) async fn buffer_parts(&self) -> Result<BufferParts> {
        Ok(BufferParts { found: self.buffers.held(), failure: None })
    }

    pub(crate) async fn buffer_paused(&self, buffer: &Name, pause: Option<bool>) -> Result<bool> {
        let Some(pause) = pause else { return Ok(self.buffers.paused().contains(buffer)) };
        let ticket = {
            let mut paused = self.buffers.paused();
            let mut record = self.journal.record()?;
            record.fact(&fact_of_pause(buffer), pause.then_some("1"));
            if pause {
                paused.insert(buffer.clone());
            } else {
                paused.remove(buffer);
            }
            record.commit()
        };
        ticket.durable().await?;
        Ok(pause)
    }

    fn partition(&self, part: &BufferPart) -> Shared {
        self.buffers.partition(&part.schema.name, part.index)
    }
}

impl Partitions {
    /// Takes a generation as the file has it, after those with smaller numbers. It is frozen.
    pub(super) fn restore(&self, buffer: &Name, index: u16, generation: Written) {
        self.next.fetch_max(generation.number + 1, Ordering::Relaxed);
        lock(&self.partition(buffer, index)).frozen.push_back(generation);
    }

    /// Takes what the file says about pauses.
    pub(super) fn restore_fact(&self, name: &str) {
        if let Some(buffer) = name.strip_prefix(PAUSED) {
            self.paused().insert(Name::from_store(buffer));
        }
    }

    fn paused(&self) -> MutexGuard<'_, HashSet<Name>> {
        self.paused.lock()
    }

    /// The partitions that hold something.
    fn held(&self) -> Vec<(Name, u16)> {
        let map = self.map.lock();
        let all: Vec<((Name, u16), Shared)> =
            map.iter().map(|(place, partition)| (place.clone(), partition.clone())).collect();
        drop(map);
        let holds = |partition: &Shared| {
            let partition = lock(partition);
            partition.live.is_some() || !partition.frozen.is_empty()
        };
        all.into_iter().filter(|(_, partition)| holds(partition)).map(|(place, _)| place).collect()
    }

    fn partition(&self, buffer: &Name, index: u16) -> Shared {
        let mut map = self.map.lock();
        map.entry((buffer.clone(), index)).or_default().clone()
    }
}

/// What the fact of a pause is called in the file, before the buffer's name.
const PAUSED: &str = "paused:";

fn fact_of_pause(buffer: &Name) -> String {
    format!("{PAUSED}{buffer}")
}

fn lock(partition: &Mutex<Partition>) -> MutexGuard<'_, Partition> {
    partition.lock()
}
