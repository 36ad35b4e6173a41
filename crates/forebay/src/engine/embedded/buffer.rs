//! Buffers of the embedded engine.

use uuid::Uuid;

use super::{
    Embedded,
    buffer_table::{Shared, Written, fact_of_pause},
    codec::Cells,
};
use crate::{
    engine::{
        request::Token,
        step::{BufferPart, BufferParts, BufferStats, Frozen, Generation, PendingRow, Rotate},
    },
    error::{Error, ErrorKind, Result},
    key::Name,
    model::{Row, RowKey},
    time::Timestamp,
};

impl Embedded {
    pub(crate) async fn buffer_add(&self, part: &BufferPart, rows: Vec<Row>) -> Result<Vec<Result<()>>> {
        let commit = {
            let partition = self.partition(part);
            let mut partition = partition.lock();
            let mut record = self.journal.record()?;
            let live = partition.live(part, self.clock.now(), &self.buffers.next, &mut record);
            let outcomes = rows.into_iter().map(|row| live.add(&part.schema, row, &mut record)).collect();
            live.rewrite(&mut record);
            record.commit_rows(outcomes)
        };
        failpoint!("after_live_write_before_commit");
        let outcomes = commit.durable().await?;
        failpoint!("after_commit_before_answer");
        Ok(outcomes)
    }

    pub(crate) async fn buffer_add_once(&self, part: &BufferPart, row: Row, token: &Token) -> Result<()> {
        let commit = {
            let partition = self.partition(part);
            let mut partition = partition.lock();
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
            record.commit(())
        };
        failpoint!("after_live_write_before_commit");
        commit.durable().await
    }

    pub(crate) async fn buffer_rotate(
        &self,
        part: &BufferPart,
        rotate: Rotate,
        most: u64,
    ) -> Result<Option<Uuid>> {
        let commit = {
            let partition = self.partition(part);
            let mut partition = partition.lock();
            let now = self.clock.now();
            let due = partition.live.as_ref().is_some_and(|live| match rotate {
                Rotate::Now => true,
                Rotate::Due { age, rows } => {
                    now.since(live.record.born) >= age || live.rows.len() as u64 >= rows
                }
            });
            if !due || partition.frozen.len() as u64 >= most {
                return Ok(None);
            }
            let mut record = self.journal.record()?;
            let frozen = partition.freeze(&mut record);
            record.commit(frozen)
        };
        failpoint!("rotate_before_commit");
        let frozen = commit.durable().await?;
        failpoint!("rotate_after_commit");
        Ok(frozen)
    }

    /// Only those whose rotation is durable, and with it their rows: what a sink gets must not be undone by a crash.
    pub(crate) async fn buffer_frozen(&self, part: &BufferPart) -> Result<Vec<Frozen>> {
        let partition = self.partition(part);
        let partition = partition.lock();
        let durable = partition.frozen.iter().filter(|g| self.journal.is_durable(g.frozen_in));
        let frozen = |g: &Written| Frozen { id: g.record.id, born: g.record.born, rows: g.rows.len() as u64 };
        Ok(durable.map(frozen).collect())
    }

    pub(crate) async fn buffer_read(&self, part: &BufferPart, id: Uuid) -> Result<Option<Generation>> {
        let partition = self.partition(part);
        let partition = partition.lock();
        let Some(generation) = partition.frozen.iter().find(|g| g.record.id == id) else { return Ok(None) };
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
            fingerprint: generation.record.fingerprint.clone(),
            // Opening the file freezes every generation, so a flushed one is never written to again.
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
        let mut partition = partition.lock();
        if let Some(place) = partition.frozen.iter().position(|g| g.record.id == id) {
            let mut record = self.journal.record()?;
            record.note(|batch| batch.drop_generation(partition.frozen[place].number));
            partition.frozen.remove(place);
        }
        Ok(())
    }

    pub(crate) async fn buffer_pending(&self, part: &BufferPart, row: &RowKey) -> Result<Vec<PendingRow>> {
        let partition = self.partition(part);
        let partition = partition.lock();
        let generations = partition.frozen.iter().chain(&partition.live);
        let pending = |g: &Written| {
            let cells = g.rows.get(row)?.clone();
            Some(PendingRow { generation: g.record.id, row: Row { key: row.clone(), cells } })
        };
        let same = generations.filter(|g| g.record.fingerprint == part.schema.fingerprint);
        Ok(same.filter_map(pending).collect())
    }

    pub(crate) async fn buffer_stats(&self, part: &BufferPart) -> Result<BufferStats> {
        let partition = self.partition(part);
        let partition = partition.lock();
        Ok(BufferStats {
            live_rows: partition.live.as_ref().map_or(0, |g| g.rows.len() as u64),
            frozen_rows: partition.frozen.iter().map(|g| g.rows.len() as u64).sum(),
            frozen: partition.frozen.len() as u64,
            oldest: partition.frozen.iter().chain(&partition.live).map(|g| g.record.born).min(),
            now: self.clock.now(),
        })
    }

    pub(crate) async fn buffer_parts(&self) -> Result<BufferParts> {
        Ok(BufferParts { found: self.buffers.held(), failure: None })
    }

    pub(crate) async fn buffer_paused(&self, buffer: &Name, pause: Option<bool>) -> Result<bool> {
        let Some(pause) = pause else { return Ok(self.buffers.paused.lock().contains(buffer)) };
        let commit = {
            let mut paused = self.buffers.paused.lock();
            let mut record = self.journal.record()?;
            record.note(|batch| batch.fact(&fact_of_pause(buffer), pause.then_some("1")));
            if pause {
                paused.insert(buffer.clone());
            } else {
                paused.remove(buffer);
            }
            record.commit(pause)
        };
        commit.durable().await
    }

    fn partition(&self, part: &BufferPart) -> Shared {
        self.buffers.partition(&part.schema.name, part.index)
    }
}
