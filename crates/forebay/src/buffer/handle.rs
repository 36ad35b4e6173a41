//! Writing into a buffer, and asking what it still holds.

use std::{
    collections::BTreeSet,
    ops::ControlFlow,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::sync::Mutex;
use uuid::Uuid;

use super::{
    admission::Admission,
    batch_size::BatchSizer,
    flusher::{Flusher, SINK_RETRY},
    progress::{Progress, Stats},
    write::{Write, Writing},
};
use crate::{
    engine::{
        Joined,
        step::{BufferPart, PendingRow},
    },
    error::{Error, ErrorKind, Result},
    model::{Pressure, Row, RowKey, Schema, Value},
    once::{Line, Place},
    sink::{Sink, SinkError},
    store::Store,
};

/// A buffer of an open store. Clones share it.
#[derive(Clone, Debug)]
pub struct BufferHandle(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub store: Store,
    pub schema: Arc<Schema>,
    pub sink: OnceLock<Arc<dyn Sink>>,
    /// Held by whoever flushes in this process: two would only repeat each other's work.
    pub flushing: Mutex<()>,
    pub progress: Progress,
    /// How large batches should be. Changed by whoever flushes.
    pub batch_size: BatchSizer,
    admission: Admission,
    /// By which the leases of this handle are told from others'.
    pub owner: Uuid,
    /// Partitions that the store has beyond those of the definition: the buffer had more of them once. Held to look and
    /// to change, never across an await.
    orphaned_partitions: parking_lot::Mutex<BTreeSet<u16>>,
}

impl BufferHandle {
    pub(crate) fn new(store: Store, schema: Arc<Schema>) -> Self {
        Self(Arc::new(Inner {
            store,
            schema,
            sink: OnceLock::new(),
            flushing: Mutex::new(()),
            progress: Progress::default(),
            batch_size: BatchSizer::default(),
            admission: Admission::default(),
            owner: Uuid::now_v7(),
            orphaned_partitions: parking_lot::Mutex::default(),
        }))
    }

    /// A write to the row whose key is `key`, for a buffer with one key column.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// use forebay::{Buffer, Forebay, Timestamp};
    /// let bay = Forebay::open("memory:").await?;
    /// let projects = bay.buffer(Buffer::new("projects").key("id").sum("hits").max("last_seen"))?;
    /// projects.row("42").add("hits", 1).max("last_seen", Timestamp::from_secs(1_790_000_000)).await?;
    /// assert_eq!(projects.stats().await?.pending_rows, 1);
    /// # Ok(()) }
    /// ```
    pub fn row(&self, key: impl Into<Value>) -> Write {
        let schema = &self.0.schema;
        let row = RowKey::of_one(schema, key.into()).map(|key| Row::empty(schema, key));
        Write { buffer: self.clone(), row }
    }

    /// A write to the row with these key values, in the order of the key columns.
    pub fn row_of(&self, key: impl AsRef<[Value]>) -> Write {
        let schema = &self.0.schema;
        let row = RowKey::new(schema, key.as_ref()).map(|key| Row::empty(schema, key));
        Write { buffer: self.clone(), row }
    }

    /// Merges many rows at once. One error does not stop the others.
    ///
    /// # Errors
    /// For each row its own, in order: as awaiting a [`Write`].
    ///
    /// # Cost
    /// One round trip, shared; none embedded.
    pub async fn add_rows(&self, rows: Vec<Row>) -> Vec<Result<()>> {
        let schema = &self.0.schema;
        let mut answers: Vec<Option<Result<()>>> = vec![];
        answers.resize_with(rows.len(), || None);
        if let Err(error) = self.admit().await {
            return vec![Err(error); rows.len()];
        }
        let mut by_part: Vec<(u16, Vec<(usize, Row)>)> = vec![];
        for (i, row) in rows.into_iter().enumerate() {
            if let Err(error) = schema.check_named(|place| row.cells.get(place).is_some_and(Option::is_some))
            {
                answers[i] = Some(Err(error));
                continue;
            }
            let index = schema.partition_of(&row.key);
            match by_part.iter_mut().find(|(part, _)| *part == index) {
                Some((_, rows)) => rows.push((i, row)),
                None => by_part.push((index, vec![(i, row)])),
            }
        }
        let adds = by_part.into_iter().map(async |(index, rows)| {
            let (places, rows): (Vec<usize>, Vec<Row>) = rows.into_iter().unzip();
            let answer = self.0.store.engine().buffer_add(&self.part(index), rows).await;
            (places, answer)
        });
        for (places, answer) in futures::future::join_all(adds).await {
            match answer {
                Ok(each) => places.into_iter().zip(each).for_each(|(i, answer)| answers[i] = Some(answer)),
                Err(error) => places.into_iter().for_each(|i| answers[i] = Some(Err(error.clone()))),
            }
        }
        let answers: Vec<_> =
            answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(missing_answer()))).collect();
        self.0.progress.note_written(answers.iter().filter(|answer| answer.is_ok()).count());
        answers
    }

    /// Merges one row.
    pub(crate) async fn add_row(&self, row: Row) -> Result<()> {
        Writing::new(self.clone(), row).await
    }

    /// Merges a row as a line of a request that is [carried out once](crate::Forebay::once): by one of its attempts.
    ///
    /// # Errors
    /// As awaiting a [`Write`]; [`ErrorKind::Ambiguous`] with [`Retry::Never`](crate::Retry::Never) once nobody can tell any
    /// more whether it was merged.
    pub async fn add_once(&self, line: &Line, row: Row) -> Result<()> {
        self.0.schema.check_row(&row)?;
        if line.is_applied(&Place::Buffer(self.part_of(&row.key))).await? {
            return Ok(());
        }
        self.add_part(line, 0, row).await
    }

    /// Merges a row as a part of a line.
    pub(crate) async fn add_part(&self, line: &Line, nth: usize, row: Row) -> Result<()> {
        self.admit().await?;
        let part = self.part_of(&row.key);
        let answer = line.merge(nth, part, row).await;
        self.0.progress.note_written(usize::from(answer.is_ok()));
        answer
    }

    /// Lets a row join others on their way to the store; where none gather, it comes back.
    pub(super) fn join(self, row: Row, waker: &Waker) -> ControlFlow<(Self, Row), Result<JoinedWrite>> {
        let Inner { store, schema, .. } = &*self.0;
        if !store.engine().gathers_rows() {
            return ControlFlow::Break((self, row));
        }
        if let Err(error) = self.admit_here() {
            return ControlFlow::Continue(Err(error));
        }
        match store.engine().buffer_join((schema, schema.partition_of(&row.key)), row, waker) {
            ControlFlow::Continue(joined) => {
                ControlFlow::Continue(joined.map(|joined| JoinedWrite { buffer: self, joined }))
            }
            ControlFlow::Break(row) => ControlFlow::Break((self, row)),
        }
    }

    pub(super) async fn add_alone(&self, row: Row) -> Result<()> {
        self.admit().await?;
        let part = self.part_of(&row.key);
        let answers = self.0.store.engine().buffer_add(&part, vec![row]).await?;
        let answer = answers.into_iter().next().unwrap_or_else(|| Err(missing_answer()));
        self.0.progress.note_written(usize::from(answer.is_ok()));
        answer
    }

    /// Lets a write through unless too much waits for the sink, as of a second ago.
    async fn admit(&self) -> Result<()> {
        if self.0.store.engine().is_in_process() && self.is_look_due() {
            // Boxed: its kilobytes would otherwise be moved with every write.
            Box::pin(self.look()).await;
        }
        self.admit_here()
    }

    /// [`admit`](Self::admit), as far as is known by now.
    fn admit_here(&self) -> Result<()> {
        let Inner { store, schema, admission, .. } = &*self.0;
        if !store.engine().is_in_process() && self.is_look_due() {
            // Nobody waits for it: a store that does not answer says so to the write itself.
            let buffer = self.clone();
            tokio::spawn(async move { buffer.look().await });
        }
        if admission.pressure() < Pressure::Hard {
            return Ok(());
        }
        let (name, bounds) = (&schema.name, schema.bounds);
        Err(Error::new(
            ErrorKind::Overloaded,
            format!("buffer {name}: too much waits for the database: {bounds}"),
        ))
    }

    fn is_look_due(&self) -> bool {
        self.0.admission.is_due(self.0.store.clock().coarse())
    }

    /// Brings what is known of the pressure up to date, if the store answers.
    async fn look(&self) {
        let _ = self.stats().await;
    }

    /// Names the database that this buffer flushes to, and returns what flushes it.
    ///
    /// The first call decides. What a later one returns flushes nothing: preparing and stopping it are errors.
    pub fn flush_to(&self, sink: impl Sink) -> Flusher {
        let taken = self.0.sink.set(Arc::new(sink)).is_err();
        Flusher::new(self.clone(), taken)
    }

    /// Flushes what was acknowledged before the call; returns the rows that this call brought to SQL, after the commit.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] without a sink, or if a batch has to be parked; [`ErrorKind::Unavailable`] while the
    /// buffer is paused; else what the store or the database answered. What is not flushed stays, and the next flush
    /// takes it up.
    pub async fn flush(&self) -> Result<u64> {
        self.sink()?;
        self.flush_all().await
    }

    /// What of a row is not in SQL yet, as far as the store knows: one place per value column. Of a row that was moved it is
    /// what was written under its own key.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a key that does not fit the key columns; and when the store does not answer.
    pub async fn pending(&self, key: impl AsRef<[Value]>) -> Result<Box<[Option<Value>]>> {
        let key = RowKey::new(&self.0.schema, key.as_ref())?;
        let mut pending = Row::empty(&self.0.schema, key.clone());
        for part in self.pending_parts(&key).await? {
            pending.merge(&self.0.schema, &part.row)?;
        }
        Ok(pending.cells)
    }

    /// What the generations of every partition have of a row: with another number of partitions it was in another one.
    pub(super) async fn pending_parts(&self, key: &RowKey) -> Result<Vec<PendingRow>> {
        let engine = self.0.store.engine();
        let (parts, known) = self.find_parts().await;
        known?;
        let each = parts.iter().map(|part| engine.buffer_pending(part, key));
        let each = futures::future::join_all(each).await;
        Ok(each.into_iter().collect::<Result<Vec<_>>>()?.concat())
    }

    /// How much it holds, and since when.
    ///
    /// # Errors
    /// When the store does not answer.
    ///
    /// # Cost
    /// Three round trips over all partitions.
    pub async fn stats(&self) -> Result<Stats> {
        let engine = self.0.store.engine();
        let (parts, known) = self.find_parts().await;
        known?;
        let each = futures::future::join_all(parts.iter().map(|part| engine.buffer_stats(part))).await;
        let mut stats = self.0.progress.stats();
        for part in each {
            let part = part?;
            stats.pending_rows += part.live_rows + part.frozen_rows;
            stats.frozen_rows += part.frozen_rows;
            stats.frozen_batches += part.frozen;
            let age = part.oldest.map_or(Duration::ZERO, |oldest| part.now.since(oldest));
            stats.oldest_age = stats.oldest_age.max(age);
        }
        stats.paused = self.is_paused().await?;
        stats.pressure = self.0.schema.bounds.pressure(stats.pending_rows, stats.oldest_age);
        self.0.admission.set(stats.pressure, self.0.store.clock().coarse());
        Ok(stats)
    }

    /// Whether the flushing is paused, by whomever.
    ///
    /// # Errors
    /// When the store does not answer.
    ///
    /// # Cost
    /// One round trip; of several hosts one has to be up.
    pub async fn is_paused(&self) -> Result<bool> {
        self.0.store.engine().buffer_paused(&self.0.schema.name, None).await
    }

    /// Stops the flushing, by every process and for as long as nobody resumes it: writes are taken all the same. A flush
    /// under way ends first.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn pause(&self) -> Result<()> {
        self.0.store.engine().buffer_paused(&self.0.schema.name, Some(true)).await.map(drop)
    }

    /// Ends a [`pause`](Self::pause), whoever began it. Flushers notice within a second.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn resume(&self) -> Result<()> {
        self.0.store.engine().buffer_paused(&self.0.schema.name, Some(false)).await.map(drop)
    }

    /// Flushes until the store holds nothing of this buffer, however long the sink takes to accept it: before a buffer, a
    /// table or a store goes. Does not end while others write faster than it flushes, nor while batches are parked.
    ///
    /// Returns the rows that this call brought to SQL.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] without a sink.
    ///
    /// # Cancellation
    /// Dropping the future stops it between two steps of a flush, each of which may be repeated.
    pub async fn drain(&self) -> Result<u64> {
        self.sink()?;
        let (mut rows, mut backoff) = (0, SINK_RETRY);
        loop {
            match self.flush().await {
                Ok(flushed) => rows += flushed,
                Err(error) => {
                    let pause = backoff.after_failure();
                    tracing::warn!(buffer = %self.0.schema.name, %error, ?pause, "draining");
                    self.0.store.clock().sleep(pause).await;
                    continue;
                }
            }
            if self.stats().await.is_ok_and(|stats| stats.pending_rows == 0) {
                return Ok(rows);
            }
            backoff.reset();
        }
    }

    /// The checked definition.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.0.schema
    }

    /// What an operator should know of the sink; nothing without one. See [`Sink::warnings`].
    pub fn sink_warnings(&self) -> Vec<String> {
        self.0.sink.get().map(|sink| sink.warnings()).unwrap_or_default()
    }

    pub(super) fn sink(&self) -> Result<&Arc<dyn Sink>> {
        self.0.sink.get().ok_or_else(|| {
            let name = &self.0.schema.name;
            Error::new(
                ErrorKind::Configuration,
                format!("buffer {name}: it flushes nowhere: call flush_to first"),
            )
        })
    }

    /// The partitions of the definition, and whichever else the store is known to have of this buffer.
    fn parts(&self) -> Vec<BufferPart> {
        let orphaned_partitions = self.orphaned_partitions().clone();
        (0..self.0.schema.partitions).chain(orphaned_partitions).map(|index| self.part(index)).collect()
    }

    /// Asks the store which partitions it has, and then as [`parts`](Self::parts). The error is that of the question: those
    /// that are known can be seen to all the same.
    pub(super) async fn find_parts(&self) -> (Vec<BufferPart>, Result<()>) {
        let schema = &self.0.schema;
        let known = self.0.store.engine().buffer_parts().await.and_then(|parts| {
            let ours = parts.found.into_iter().filter(|(name, _)| *name == schema.name);
            self.orphaned_partitions()
                .extend(ours.map(|(_, index)| index).filter(|index| *index >= schema.partitions));
            parts.failure.map_or(Ok(()), Err)
        });
        (self.parts(), known)
    }

    fn orphaned_partitions(&self) -> parking_lot::MutexGuard<'_, BTreeSet<u16>> {
        self.0.orphaned_partitions.lock()
    }

    fn part(&self, index: u16) -> BufferPart {
        BufferPart { schema: self.0.schema.clone(), index }
    }

    pub(crate) fn part_of(&self, row: &RowKey) -> BufferPart {
        self.part(self.0.schema.partition_of(row))
    }
}

/// A row on its way, with others.
#[derive(Debug)]
pub(super) struct JoinedWrite {
    buffer: BufferHandle,
    joined: Joined,
}

impl Future for JoinedWrite {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = std::task::ready!(Pin::new(&mut self.joined).poll(context));
        self.buffer.0.progress.note_written(usize::from(answer.is_ok()));
        Poll::Ready(answer)
    }
}

/// An engine answers each row; if it did not, that is its defect, and the fate of the row is unknown.
pub(super) fn missing_answer() -> Error {
    Error::new(ErrorKind::Ambiguous, "buffer write: the store gave fewer answers than rows")
}

pub(super) fn sink_error(error: SinkError) -> Error {
    match error {
        SinkError::Transient(error) | SinkError::Permanent(error) => error,
    }
}
