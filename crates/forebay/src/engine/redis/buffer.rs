//! Buffers on a Redis host.

use redis::{Cmd, Value};
use uuid::Uuid;

use super::{
    Redis,
    connection::Host,
    keys::Keys,
    reply::{pairs, strings, unexpected},
    rows,
    script::Script,
};
use crate::{
    engine::step::{BufferPart, BufferParts, BufferStats, Frozen, Generation, PendingRow, Rotate},
    error::Result,
    key::Name,
    model::RowKey,
    time::{Timestamp, micros},
};

impl Redis {
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
        let mut command = redis::cmd("HGETALL");
        command.arg(self.keys.buffer_frozen(part, id));
        let fields = pairs(self.host.query(&command).await?);
        let fields = fields.ok_or_else(|| unexpected(self.host.name(), "HGETALL"))?;
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
        // What is live first: rotated in between, a generation is then seen twice, and not overlooked.
        let commands = [cells(self.keys.buffer(part, "live")), partition.list()];
        let replies: [Value; 2] = self.host.read(commands).await?;
        let [live, list] = replies;
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
        let mut command = redis::cmd("SMEMBERS");
        command.arg(self.keys.buffers());
        let parts = match self.host.query(&command).await? {
            Value::Set(parts) | Value::Array(parts) => strings(Value::Array(parts)),
            _ => None,
        };
        let part = |part: &String| {
            let (buffer, index) = part.rsplit_once('.')?;
            Some((Name::new(buffer).ok()?, index.parse().ok()?))
        };
        let found = parts.and_then(|parts| parts.iter().map(part).collect());
        let found = found.ok_or_else(|| unexpected(self.host.name(), "a question for partitions"))?;
        Ok(BufferParts { found, failure: None })
    }

    pub(crate) async fn buffer_paused(&self, buffer: &Name, pause: Option<bool>) -> Result<bool> {
        let key = self.keys.buffer_paused(buffer);
        let Some(pause) = pause else {
            let mut command = redis::cmd("EXISTS");
            command.arg(key);
            return Ok(self.host.query(&command).await? == Value::Int(1));
        };
        let mut command = redis::cmd(if pause { "SET" } else { "DEL" });
        command.arg(key);
        if pause {
            command.arg(self.host.clock().now().as_micros());
        }
        self.host.query(&command).await?;
        Ok(pause)
    }

    fn partition<'a>(&'a self, part: &'a BufferPart) -> Partition<'a> {
        Partition { host: &self.host, keys: &self.keys, part }
    }
}

/// One partition of a buffer, and where it is kept.
pub(super) struct Partition<'a> {
    pub host: &'a Host,
    pub keys: &'a Keys,
    pub part: &'a BufferPart,
}

/// What a rotation came to.
enum Rotated {
    Frozen,
    Idle,
    Other(Uuid),
}

impl Partition<'_> {
    /// The id of the live generation.
    async fn live(&self) -> Result<Option<Uuid>> {
        let mut command = redis::cmd("HGET");
        command.arg(self.keys.buffer(self.part, "live")).arg("#gen");
        match self.host.query(&command).await? {
            Value::Nil => Ok(None),
            reply => self.id(super::reply::text(reply)).map(Some),
        }
    }

    fn list(&self) -> Cmd {
        let mut command = redis::cmd("LRANGE");
        command.arg(self.keys.buffer(self.part, "frozen")).arg(0).arg(-1);
        command
    }

    /// Freezes the generation `id`; safe to repeat.
    async fn rotate(&self, id: Uuid, age: i64, rows: i64, most: i64) -> Result<Rotated> {
        let Self { host, keys, part, .. } = self;
        let mut call = host.call(Script::BufferRotate, 3, 384);
        let command = &mut call.command;
        command
            .arg(keys.buffer(part, "live"))
            .arg(keys.buffer_frozen(part, id))
            .arg(keys.buffer(part, "frozen"));
        command.arg(rows::id_text(id)).arg(age).arg(rows).arg(most);
        let mut words = strings(host.run_one(call).await?).unwrap_or_default().into_iter();
        match words.next().as_deref() {
            Some("frozen") => Ok(Rotated::Frozen),
            Some("idle") => Ok(Rotated::Idle),
            Some("other") => self.id(words.next()).map(Rotated::Other),
            _ => Err(unexpected(host.name(), "a rotation")),
        }
    }

    /// Freezes what is live and stale, whatever the number of frozen ones. Whoever else did so first is as good.
    pub(super) async fn make_way(&self, id: &str) {
        if let Ok(id) = Uuid::parse_str(id) {
            let _ = self.rotate(id, -1, -1, -1).await;
        }
    }

    fn id(&self, text: Option<String>) -> Result<Uuid> {
        let id = text.and_then(|text| Uuid::parse_str(&text).ok());
        id.ok_or_else(|| unexpected(self.host.name(), "a question for a generation's id"))
    }
}
