//! Buffers on a Redis host.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures::future::join_all;
use redis::{Cmd, Value};
use uuid::Uuid;

use super::{
    Redis,
    connection::{Call, Host, Session},
    guard,
    keys::Keys,
    reply::{pairs, strings, unexpected},
    rows::{self, Merged, Pending},
    script::Script,
};
use crate::{
    buffer::{Row, RowKey},
    engine::{
        sequence::{Channel, Doubt, Sent, Sequencer, Stamp},
        step::{BufferPart, BufferParts, BufferStats, Frozen, Generation, PendingRow, Rotate},
    },
    error::Result,
    key::Name,
    time::micros,
};

/// Rows in one script call: some milliseconds, in which the server does nothing else.
const FULL: usize = 1_000;

/// How often a write makes way for itself by rotating a stale generation, before it says that it could not.
const STALE: usize = 5;

/// The writers of this process. The lock protects the map, for one look-up at a time.
#[derive(Debug, Default)]
pub(super) struct Writers(Mutex<HashMap<Place, Arc<Sequencer<Partition>>>>);

/// Where a writer writes: buffer, partition, shape.
type Place = (Box<str>, u16, Box<str>);

/// One partition of a buffer, and where it is kept.
#[derive(Debug)]
pub(super) struct Partition {
    host: Arc<Host>,
    keys: Keys,
    part: BufferPart,
    /// The replication id of the store that has been told of this partition. One that went back in time has
    /// forgotten it, and another id.
    told: Mutex<Option<Box<str>>>,
}

impl Redis {
    pub(crate) async fn buffer_add(&self, part: &BufferPart, rows: Vec<Row>) -> Result<Vec<Result<()>>> {
        let writer = self.writer(part);
        if rows.len() <= FULL {
            return writer.write(Pending::new(rows)).await;
        }
        let mut rows = rows.into_iter().peekable();
        let mut writes = vec![];
        while rows.peek().is_some() {
            let some: Vec<Row> = rows.by_ref().take(FULL).collect();
            let count = some.len();
            let writer = writer.clone();
            writes.push(async move {
                let each = |error: crate::Error| vec![Err(error); count];
                writer.write(Pending::new(some)).await.unwrap_or_else(each)
            });
        }
        Ok(join_all(writes).await.concat())
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
        let mut command = redis::cmd("HGETALL");
        command.arg(self.keys.buffer_frozen(part, id));
        let fields = pairs(self.host.query(&command).await?);
        let fields = fields.ok_or_else(|| unexpected(self.host.name(), "HGETALL"))?;
        if fields.is_empty() {
            return Ok(None);
        }
        rows::generation(part, id, &fields).map(Some)
    }

    pub(crate) async fn buffer_ack(&self, part: &BufferPart, id: Uuid) -> Result<()> {
        let mut call = self.host.call(Script::BufferAck, 2, 256);
        call.command.arg(self.keys.buffer_frozen(part, id)).arg(self.keys.buffer(part, "frozen"));
        call.command.arg(rows::id_text(id));
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

    fn partition(&self, part: &BufferPart) -> Partition {
        let told = Mutex::default();
        Partition { host: self.host.clone(), keys: self.keys.clone(), part: part.clone(), told }
    }

    fn writer(&self, part: &BufferPart) -> Arc<Sequencer<Partition>> {
        let mut writers = self.writers.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (part.schema.name.as_str().into(), part.index, part.schema.fingerprint.clone());
        let new = || Sequencer::new(self.partition(part), self.host.clock().clone());
        writers.entry(key).or_insert_with(new).clone()
    }
}

/// What a rotation came to.
enum Rotated {
    Frozen,
    Idle,
    Other(Uuid),
}

impl Partition {
    /// The id of the live generation.
    async fn live(&self) -> Result<Option<Uuid>> {
        let mut command = redis::cmd("HGET");
        command.arg(self.keys.buffer(&self.part, "live")).arg("#gen");
        match self.host.query(&command).await? {
            Value::Nil => Ok(None),
            reply => self.id(super::reply::text(reply)).map(Some),
        }
    }

    fn list(&self) -> Cmd {
        let mut command = redis::cmd("LRANGE");
        command.arg(self.keys.buffer(&self.part, "frozen")).arg(0).arg(-1);
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

    /// Tells the store of `session` that this partition is written to, before it is: a flusher that knows another
    /// number of partitions finds it by that.
    async fn tell(&self, session: &Session) -> Result<()> {
        let told = || self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told().as_deref() == Some(session.replid()) {
            return Ok(());
        }
        let mut command = redis::cmd("SADD");
        command.arg(self.keys.buffers()).arg(format!("{}.{}", self.part.schema.name, self.part.index));
        // If it takes a younger connection than `session`, that one is dead, and the write that follows fails.
        self.host.query(&command).await?;
        *told() = Some(session.replid().into());
        Ok(())
    }

    fn id(&self, text: Option<String>) -> Result<Uuid> {
        let id = text.and_then(|text| Uuid::parse_str(&text).ok());
        id.ok_or_else(|| unexpected(self.host.name(), "a question for a generation's id"))
    }

    fn add(&self, batch: &Merged, replid: &str, stamp: Stamp, doubt: Option<&Doubt>) -> Call {
        let schema = &self.part.schema;
        let mut call = self.host.call(Script::BufferAdd, 2, 64 * batch.rows());
        call.command.arg(self.keys.buffer(&self.part, "guard")).arg(self.keys.buffer(&self.part, "live"));
        guard::stamp(&mut call, stamp, doubt);
        // An id of its own for each transmission: the id of a generation that a store has forgotten, and SQL has
        // not, must never name another one.
        let id = rows::id_text(Uuid::now_v7());
        call.command.arg(replid).arg(id).arg(&*schema.fingerprint).arg(rows::kinds(schema));
        batch.write(schema, &mut call.command);
        call
    }
}

impl Channel for Partition {
    type Write = Pending;
    type Answer = Vec<Result<()>>;
    type Batch = Merged;
    /// What was refused, as the script says it.
    type Outcome = String;

    const FULL: usize = FULL;

    fn weight(write: &Pending) -> usize {
        write.weight()
    }

    fn merge<'a>(&self, writes: impl Iterator<Item = &'a Pending>) -> Merged {
        Merged::new(&self.part.schema, writes)
    }

    async fn transmit(&self, batch: &Merged, stamp: Stamp, doubt: Option<&Doubt>) -> Sent<String> {
        let mut said = String::new();
        for _ in 0..STALE {
            let session = match guard::session(&self.host, doubt).await {
                Ok(session) => session,
                Err(sent) => return sent,
            };
            if let Err(error) = self.tell(&session).await {
                return Sent::Unsent(error);
            }
            let call = self.add(batch, session.replid(), stamp, doubt);
            match guard::send(&self.host, &session, call).await {
                guard::Answer::Sent(sent) => return sent,
                guard::Answer::Other(word, id) => {
                    // Stale: freeze it, whatever the number of frozen ones, and write to a new one. Whoever
                    // else did so first is as good.
                    if let Ok(id) = Uuid::parse_str(&id) {
                        let _ = self.rotate(id, -1, -1, -1).await;
                    }
                    said = word;
                }
            }
        }
        let error =
            super::reply::unavailable(self.host.name(), format_args!("the live generation stays {said}"));
        Sent::Unsent(error)
    }

    fn answers(
        &self,
        batch: &Merged,
        writes: Vec<Pending>,
        refused: String,
    ) -> Vec<Result<Vec<Result<()>>, Pending>> {
        batch.answers(&self.part.schema, writes, &refused)
    }
}
