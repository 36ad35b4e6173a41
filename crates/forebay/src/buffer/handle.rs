//! Writing into a buffer, and asking what it still holds.

use std::{
    collections::BTreeSet,
    future::IntoFuture,
    sync::{Arc, OnceLock, PoisonError},
    time::Duration,
};

use tokio::sync::Mutex;

use super::{
    flush::{Flusher, Progress},
    row::{Row, merge_cells},
    row_key::RowKey,
    schema::{Merge, Schema},
    value::Value,
};
use crate::{
    bay::Forebay,
    engine::step::{BufferPart, PendingRow},
    error::{Error, ErrorKind, Result, invalid},
    sink::{BoxFuture, Sink, SinkError},
};

/// A buffer of an open store. Clones share it.
#[derive(Clone, Debug)]
pub struct BufferHandle(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub bay: Forebay,
    pub schema: Arc<Schema>,
    pub sink: OnceLock<Arc<dyn Sink>>,
    /// Held by whoever flushes in this process: two would only repeat each other's work.
    pub flushing: Mutex<()>,
    pub progress: Progress,
    /// Partitions that the store has beyond those of the definition: the buffer had more of them once. Held to look and
    /// to change, never across an await.
    former: std::sync::Mutex<BTreeSet<u16>>,
}

/// How much a buffer holds, and since when.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// Rows that are not in SQL yet, as far as the store knows; zero: all are.
    pub pending_rows: u64,
    /// Of those, rows in frozen generations, on their way.
    pub frozen_rows: u64,
    /// Frozen generations.
    pub frozen_batches: u64,
    /// The age of the oldest write that is not in SQL yet.
    pub oldest_age: Duration,
    /// Rows that this process put among the dead letters.
    pub dead_rows: u64,
    /// Rows that this process flushed.
    pub flushed_rows: u64,
    /// Batches that were flushed before: replays that the ledger stopped, seen by this process.
    pub replays: u64,
    /// Why the last flush of this process failed, until one succeeds.
    pub last_error: Option<String>,
}

impl BufferHandle {
    pub(crate) fn new(bay: Forebay, schema: Arc<Schema>) -> Self {
        Self(Arc::new(Inner {
            bay,
            schema,
            sink: OnceLock::new(),
            flushing: Mutex::new(()),
            progress: Progress::default(),
            former: std::sync::Mutex::default(),
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
        self.row_of([key.into()])
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
            let answer = self.0.bay.engine().buffer_add(&self.part(index), rows).await;
            (places, answer)
        });
        for (places, answer) in futures::future::join_all(adds).await {
            match answer {
                Ok(each) => places.into_iter().zip(each).for_each(|(i, answer)| answers[i] = Some(answer)),
                Err(error) => places.into_iter().for_each(|i| answers[i] = Some(Err(error.clone()))),
            }
        }
        answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(lost()))).collect()
    }

    /// Merges one row.
    pub(crate) async fn add_row(&self, row: Row) -> Result<()> {
        let part = self.part_of(&row.key);
        let answers = self.0.bay.engine().buffer_add(&part, vec![row]).await?;
        answers.into_iter().next().unwrap_or_else(|| Err(lost()))
    }

    /// Names the database that this buffer flushes to, and returns what flushes it.
    ///
    /// The first call decides; another sink later is ignored.
    pub fn flush_to(&self, sink: impl Sink) -> Flusher {
        let _ = self.0.sink.set(Arc::new(sink));
        Flusher::new(self.clone())
    }

    /// Flushes what was acknowledged before the call; returns the rows that this call brought to SQL, after the commit.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] without a sink; else what the store or the database answered. What is not
    /// flushed stays, and the next flush takes it up.
    pub async fn flush(&self) -> Result<u64> {
        self.flush_all().await
    }

    /// What of a row is not in SQL yet, as far as the store knows: one place per value column.
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
    async fn pending_parts(&self, key: &RowKey) -> Result<Vec<PendingRow>> {
        let engine = self.0.bay.engine();
        let (parts, known) = self.find_parts().await;
        known?;
        let each = parts.iter().map(|part| engine.buffer_pending(part, key));
        let each = futures::future::join_all(each).await;
        Ok(each.into_iter().collect::<Result<Vec<_>>>()?.concat())
    }

    /// What the row's columns will be once everything is flushed: what SQL has, and what is pending.
    ///
    /// The store is asked first, then SQL and its ledger in one snapshot, so that a flush in between is not
    /// counted twice.
    ///
    /// # Errors
    /// As [`pending`](Self::pending) and [`flush`](Self::flush).
    pub async fn value(&self, key: impl AsRef<[Value]>) -> Result<Box<[Option<Value>]>> {
        let schema = &self.0.schema;
        let key = RowKey::new(schema, key.as_ref())?;
        let pending = self.pending_parts(&key).await?;
        let ids: Vec<_> = pending.iter().map(|part| part.generation).collect();
        let snapshot = self.sink()?.read(schema, &key, &ids).await.map_err(sink_error)?;
        let mut cells = snapshot.row.unwrap_or_else(|| vec![None; schema.columns.len()].into());
        for part in pending.iter().filter(|part| !snapshot.applied.contains(&part.generation)) {
            merge_cells(schema, &mut cells, &part.row.cells)?;
        }
        Ok(cells)
    }

    /// How much it holds, and since when.
    ///
    /// # Errors
    /// When the store does not answer.
    ///
    /// # Cost
    /// Two round trips over all partitions.
    pub async fn stats(&self) -> Result<Stats> {
        let engine = self.0.bay.engine();
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
        Ok(stats)
    }

    /// The checked definition.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.0.schema
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
        let former = self.former().clone();
        (0..self.0.schema.partitions).chain(former).map(|index| self.part(index)).collect()
    }

    /// Asks the store which partitions it has, and then as [`parts`](Self::parts). The error is that of the question: those
    /// that are known can be seen to all the same.
    pub(super) async fn find_parts(&self) -> (Vec<BufferPart>, Result<()>) {
        let schema = &self.0.schema;
        let known = self.0.bay.engine().buffer_parts().await.and_then(|parts| {
            let ours = parts.found.into_iter().filter(|(name, _)| *name == schema.name);
            self.former().extend(ours.map(|(_, index)| index).filter(|index| *index >= schema.partitions));
            parts.failure.map_or(Ok(()), Err)
        });
        (self.parts(), known)
    }

    fn former(&self) -> std::sync::MutexGuard<'_, BTreeSet<u16>> {
        // Inserts only, so a poisoned set is whole.
        self.0.former.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn part(&self, index: u16) -> BufferPart {
        BufferPart { schema: self.0.schema.clone(), index }
    }

    fn part_of(&self, row: &RowKey) -> BufferPart {
        self.part(self.0.schema.partition_of(row))
    }
}

/// A write to one row, put together column by column; awaiting it merges it into the buffer.
///
/// # Errors
/// Awaiting it: [`ErrorKind::Invalid`] for a key or column that does not fit the definition,
/// [`ErrorKind::OutOfRange`] if a pending sum would leave 64 bits; and when the store does not answer. All
/// columns are merged, or none.
///
/// # Cancellation
/// Dropping the future may leave it merged; it is never merged twice.
///
/// # Cost
/// One round trip, shared with whatever else this process asks the host at that time; none embedded.
#[derive(Clone, Debug)]
#[must_use = "a write does nothing until it is awaited"]
pub struct Write {
    buffer: BufferHandle,
    row: Result<Row>,
}

impl Write {
    /// Adds to a `sum` column.
    pub fn add(self, column: &str, n: i64) -> Self {
        self.set(column, n, Some(Merge::Sum))
    }

    /// Raises a `max` column to at least this.
    pub fn max(self, column: &str, value: impl Into<Value>) -> Self {
        self.set(column, value, Some(Merge::Max))
    }

    /// Lowers a `min` column to at most this.
    pub fn min(self, column: &str, value: impl Into<Value>) -> Self {
        self.set(column, value, Some(Merge::Min))
    }

    /// Sets a `last` column, if the version in the same write is larger than those before.
    pub fn last(self, column: &str, value: impl Into<Value>) -> Self {
        self.set(column, value, Some(Merge::Last))
    }

    /// Sets a `first` column, if the version in the same write is smaller than those before.
    pub fn first(self, column: &str, value: impl Into<Value>) -> Self {
        self.set(column, value, Some(Merge::First))
    }

    /// Merges into a column as its definition says.
    pub fn merge(self, column: &str, value: impl Into<Value>) -> Self {
        self.set(column, value, None)
    }

    /// The row that would be merged.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a key or column that does not fit the definition.
    pub fn into_row(self) -> Result<Row> {
        let row = self.row?;
        if row.cells.iter().all(Option::is_none) {
            let name = &self.buffer.0.schema.name;
            return Err(invalid(format!(
                "buffer {name}: a write to row {:?} names no column",
                row.key.as_str()
            )));
        }
        self.buffer.0.schema.check_row(&row)?;
        Ok(row)
    }

    fn set(mut self, column: &str, value: impl Into<Value>, merge: Option<Merge>) -> Self {
        self.row = self.row.and_then(|row| fill(&self.buffer.0.schema, row, column, value.into(), merge));
        self
    }
}

fn fill(schema: &Schema, mut row: Row, column: &str, value: Value, merge: Option<Merge>) -> Result<Row> {
    let name = &schema.name;
    let Some(place) = schema.position(column) else {
        let names: Vec<&str> = schema.columns.iter().map(|c| &*c.name).collect();
        return Err(invalid(format!("buffer {name}: no column {column:?}; it has {}", names.join(", "))));
    };
    let Some(definition) = schema.columns.get(place) else { return Err(lost()) };
    if let Some(merge) = merge.filter(|merge| *merge != definition.merge) {
        let is = definition.merge;
        return Err(invalid(format!("buffer {name}: column {column:?} merges by {is:?}, not by {merge:?}")));
    }
    if value.column_type() != definition.column_type {
        let (want, got) = (definition.column_type, value.column_type());
        return Err(invalid(format!("buffer {name}: column {column:?} is {want:?}, not {got:?}")));
    }
    if row.cells[place].is_some() {
        return Err(invalid(format!("buffer {name}: column {column:?} is written twice in one write")));
    }
    row.cells[place] = Some(value);
    Ok(row)
}

impl IntoFuture for Write {
    type Output = Result<()>;
    type IntoFuture = BoxFuture<'static, Result<()>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let buffer = self.buffer.clone();
            buffer.add_row(self.into_row()?).await
        })
    }
}

/// An engine answers each row; if it did not, that is its defect, and the fate of the row is unknown.
fn lost() -> Error {
    Error::new(ErrorKind::Ambiguous, "buffer write: the store gave fewer answers than rows")
}

pub(super) fn sink_error(error: SinkError) -> Error {
    match error {
        SinkError::Transient(error) | SinkError::Permanent(error) => error,
    }
}
