//! Buffers on a Redis host.

use std::{sync::Arc, task::Waker};

use redis::Value;
use uuid::Uuid;

use super::{
    Redis,
    partition::{Partition, Rotated},
    partition_writer::PartitionWriter,
    reply::{pairs, strings, unexpected},
    rows::{self, Item},
    script::Script,
};
use crate::{
    engine::{
        cluster::Group,
        request::Token,
        sequence::{Sequencer, WriteFuture},
        step::{BufferPart, BufferParts, BufferStats, Frozen, Generation, PendingRow, Rotate},
    },
    error::Result,
    key::Name,
    model::{Row, RowKey, Schema},
    time::{Timestamp, micros},
};

impl Redis {
    pub(crate) async fn buffer_add(&self, part: &BufferPart, rows: Vec<Row>) -> Result<Vec<Result<()>>> {
        let writer = self.writer(part);
        let items = rows.into_iter().map(|row| Item { row, token: None });
        writer.write(part.index, items).await
    }

    pub(crate) async fn buffer_add_once(&self, part: &BufferPart, row: Row, token: &Token) -> Result<()> {
        let item = Item { row, token: Some(Box::new(*token)) };
        let answers = self.writer(part).write(part.index, [item]).await?;
        answers.into_iter().collect()
    }

    /// [`buffer_add`](Self::buffer_add) of one row.
    pub(crate) fn buffer_join(
        &self,
        schema: &Arc<Schema>,
        index: u16,
        row: Row,
        waker: &Waker,
    ) -> Result<WriteFuture> {
        let writer = self.writers.of(schema, index, &self.host, &self.keys);
        writer.write_one(index, Item { row, token: None }, waker)
    }

    pub(crate) async fn buffer_rotate(
        &self,
        part: &BufferPart,
        rotate: Rotate,
        most: u64,
    ) -> Result<Option<Uuid>> {
        let partition = self.partition(part);
        let Some(mut id) = partition.live().await? else { return Ok(None) };
        let (age, rows) = match rotate {
            Rotate::Now => (-1, -1),
            Rotate::Due { age, rows } => (micros(age), i64::try_from(rows).unwrap_or(i64::MAX)),
        };
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        loop {
            match partition.rotate(id, age, rows, most).await? {
                Rotated::Frozen => return Ok(Some(id)),
                Rotated::Idle => return Ok(None),
                // Somebody rotated meanwhile: what is live now is younger, and may be due all the same.
                Rotated::Other(other) => id = other,
            }
        }
    }

    pub(crate) async fn buffer_frozen(&self, part: &BufferPart) -> Result<Vec<Frozen>> {
        let partition = self.partition(part);
        let list = self.host.query(&partition.list()).await?;
        rows::frozen(list).ok_or_else(|| unexpected(self.host.name(), "a list of frozen generations"))
    }

    pub(crate) async fn buffer_read(&self, part: &BufferPart, id: Uuid) -> Result<Option<Generation>> {
        let all = self.host.query(redis::cmd("HGETALL").arg(self.keys.buffer_frozen(part, id))).await?;
        let fields = pairs(all).ok_or_else(|| unexpected(self.host.name(), "HGETALL"))?;
        if fields.is_empty() {
            return Ok(None);
        }
        rows::generation(part, id, &fields).map(Some)
    }

    pub(crate) async fn buffer_ack(
        &self,
        part: &BufferPart,
        id: Uuid,
        last_write: Option<Timestamp>,
    ) -> Result<()> {
        let mut call = self.host.call(Script::BufferAck, 2, 256);
        call.command.arg(self.keys.buffer_frozen(part, id)).arg(self.keys.buffer(part, "frozen"));
        call.command.arg(rows::id_text(id)).arg(last_write.map_or(0, Timestamp::as_micros));
        self.host.run_one(call).await.map(|_| ())
    }

    pub(crate) async fn buffer_pending(&self, part: &BufferPart, row: &RowKey) -> Result<Vec<PendingRow>> {
        let partition = self.partition(part);
        let cells = |key: String| {
            let mut command = redis::cmd("HMGET");
            command.arg(key).arg("#gen").arg("#shape");
            for column in 0..part.schema.columns.len() {
                command.arg(rows::field(column, row));
            }
            command
        };
        // The live generation first: if it is rotated in between it is read twice, and not missed.
        let commands = [cells(self.keys.buffer(part, "live")), partition.list()];
        let [live, list] = self.host.read(commands).await?;
        let frozen = rows::frozen(list).ok_or_else(|| unexpected(self.host.name(), "a list"))?;
        let reads = frozen.iter().map(|frozen| cells(self.keys.buffer_frozen(part, frozen.id)));
        let mut replies = self.host.read_all(reads.collect()).await?;
        replies.push(live);
        let mut pending: Vec<PendingRow> = vec![];
        for reply in replies {
            let found = rows::pending(part, row, reply)?;
            pending.extend(found.filter(|new| pending.iter().all(|old| old.generation != new.generation)));
        }
        Ok(pending)
    }

    pub(crate) async fn buffer_stats(&self, part: &BufferPart) -> Result<BufferStats> {
        let partition = self.partition(part);
        let mut live = redis::cmd("HMGET");
        live.arg(self.keys.buffer(part, "live")).arg("#gen").arg("#born").arg("#rows");
        let replies = self.host.read([live, partition.list(), redis::cmd("TIME")]).await?;
        rows::stats(replies).ok_or_else(|| unexpected(self.host.name(), "a buffer's size"))
    }

    pub(crate) async fn buffer_parts(&self) -> Result<BufferParts> {
        self.registered_parts(&[Group::default()]).await
    }

    /// The partitions in some registers.
    pub(crate) async fn registered_parts(&self, registers: &[Group]) -> Result<BufferParts> {
        let members = |register: &Group| redis::cmd("SMEMBERS").arg(self.keys.buffers(*register)).to_owned();
        let mut found = vec![];
        for parts in self.host.read_unfenced(registers.iter().map(members).collect()).await? {
            let part = |part: &String| {
                let (buffer, index) = part.rsplit_once('.')?;
                Some((Name::new(buffer).ok()?, index.parse().ok()?))
            };
            let parts = strings(parts).and_then(|parts| parts.iter().map(part).collect::<Option<Vec<_>>>());
            found.extend(parts.ok_or_else(|| unexpected(self.host.name(), "a question for partitions"))?);
        }
        Ok(BufferParts { found, failure: None })
    }

    pub(crate) async fn buffer_paused(&self, buffer: &Name, pause: Option<bool>) -> Result<bool> {
        let key = self.keys.buffer_paused(buffer);
        let Some(pause) = pause else {
            let asked = redis::cmd("EXISTS").arg(key).to_owned();
            return Ok(self.host.read_unfenced(vec![asked]).await? == [Value::Int(1)]);
        };
        let mut command = redis::cmd(if pause { "SET" } else { "DEL" });
        command.arg(key);
        if pause {
            command.arg(self.host.clock().now().as_micros());
        }
        self.host.read_unfenced(vec![command]).await?;
        Ok(pause)
    }

    fn writer(&self, part: &BufferPart) -> &Arc<Sequencer<PartitionWriter>> {
        self.writers.of(&part.schema, part.index, &self.host, &self.keys)
    }

    fn partition<'a>(&'a self, part: &'a BufferPart) -> Partition<'a> {
        Partition { host: &self.host, keys: &self.keys, part }
    }
}
