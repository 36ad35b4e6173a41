//! The handle of a buffer: its definition, its partitions, what is pending, and the pause.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    sync::{Arc, OnceLock},
};

use tokio::sync::Mutex;
use uuid::Uuid;

use super::{
    admission::Admission,
    answers::Answers,
    batch_size::BatchSizer,
    progress::{Progress, Stats},
};
use crate::{
    engine::step::{BufferPart, BufferStats},
    error::{Error, ErrorKind, Result, invalid},
    model::{Column, RowKey, Schema},
    sink::{Sink, SinkError},
    store::Store,
};

/// A buffer of an open store. Clones share it.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::{Buffer, Forebay, sink::MemorySink};
///
/// let bay = Forebay::open("memory:").await?;
/// let projects = bay.buffer(Buffer::new("projects").key("id").sum("hits"))?;
/// let _flusher = projects.flush_to(MemorySink::new()).prepare().await?;
/// for _ in 0..100 {
///     projects.row("42").add("hits", 1).await?;
/// }
/// assert_eq!(projects.flush().await?, 1); // one row in SQL for a hundred writes
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct BufferHandle(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub store: Store,
    pub schema: Arc<Schema>,
    pub sink: OnceLock<Arc<dyn Sink>>,
    /// Held during a flush: a second flush in this process would only repeat the work.
    pub flushing: Mutex<()>,
    pub progress: Progress,
    pub batch_size: BatchSizer,
    pub admission: Admission,
    /// Owns the flush leases of this handle.
    pub owner: Uuid,
    /// Partitions in the store beyond those of the definition: the buffer had more of them once. Locked to read or to
    /// change the set, never across an await.
    orphaned_partitions: parking_lot::Mutex<BTreeSet<u16>>,
    /// The size of each partition as its host answered last. Locked to change or to copy, never across an await.
    last_sizes: parking_lot::Mutex<BTreeMap<u16, BufferStats>>,
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
            last_sizes: parking_lot::Mutex::default(),
        }))
    }

    /// Reads how much the buffer holds, since when, and what this process did with it.
    ///
    /// The partitions of a host that does not answer count as it answered last, and the numbers are
    /// [partial](Stats::partial), as long as another host answers.
    ///
    /// # Errors
    /// When the store does not answer.
    ///
    /// # Cost
    /// Three round trips over all partitions.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # use forebay::{Buffer, Forebay};
    /// # let bay = Forebay::open("memory:").await?;
    /// let projects = bay.buffer(Buffer::new("projects").key("id").sum("hits"))?;
    /// projects.row("42").add("hits", 1).await?;
    /// let stats = projects.stats().await?;
    /// assert_eq!((stats.pending_rows, stats.frozen_rows, stats.paused), (1, 0, false));
    /// # Ok(()) }
    /// ```
    pub async fn stats(&self) -> Result<Stats> {
        let engine = self.0.store.engine();
        let (parts, known) = self.find_parts().await;
        let each = futures::future::join_all(parts.iter().map(|part| engine.buffer_stats(part))).await;
        let last = {
            let mut last = self.0.last_sizes.lock();
            for (part, size) in parts.iter().zip(&each) {
                if let Ok(size) = size {
                    last.insert(part.index, *size);
                }
            }
            last.clone()
        };
        let sizes = Answers::of(engine, known, each)?;
        let mut stats = self.0.progress.stats();
        stats.partial = sizes.partial;
        for part in last.values() {
            stats.pending_rows += part.rows();
            stats.frozen_rows += part.frozen_rows;
            stats.frozen_batches += part.frozen;
            stats.oldest_age = stats.oldest_age.max(part.age());
        }
        stats.paused = self.is_paused().await?;
        stats.pressure = self.0.schema.bounds.pressure(stats.pending_rows, stats.oldest_age);
        self.0.admission.set(stats.pressure, self.0.store.clock().coarse());
        Ok(stats)
    }

    /// Whether flushing is paused, by any process.
    ///
    /// # Errors
    /// When the store does not answer.
    ///
    /// # Cost
    /// One round trip. In a store of several hosts one host has to be up.
    pub async fn is_paused(&self) -> Result<bool> {
        self.0.store.engine().buffer_paused(&self.0.schema.name, None).await
    }

    /// Pauses flushing in every process until somebody resumes it. Writes are still accepted. A flush that is under way
    /// finishes first.
    ///
    /// # Errors
    /// When the store does not answer.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # use forebay::{Buffer, Forebay};
    /// # let bay = Forebay::open("memory:").await?;
    /// let projects = bay.buffer(Buffer::new("projects").key("id").sum("hits"))?;
    /// projects.pause().await?;
    /// assert!(projects.is_paused().await?);
    /// projects.resume().await?;
    /// # Ok(()) }
    /// ```
    pub async fn pause(&self) -> Result<()> {
        self.0.store.engine().buffer_paused(&self.0.schema.name, Some(true)).await.map(drop)
    }

    /// Ends a [`pause`](Self::pause), whichever process began it. Flushers notice within a second.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn resume(&self) -> Result<()> {
        self.0.store.engine().buffer_paused(&self.0.schema.name, Some(false)).await.map(drop)
    }

    /// Fails while flushing is paused: nothing may touch the table then.
    pub(super) async fn check_not_paused(&self, to: &str) -> Result<()> {
        if self.is_paused().await? {
            let text = format!("buffer {} is paused: resume it to {to}", self.0.schema.name);
            return Err(Error::new(ErrorKind::Unavailable, text));
        }
        Ok(())
    }

    /// The checked definition.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// # let projects = bay.buffer(forebay::Buffer::new("projects").key("id").sum("hits"))?;
    ///
    /// assert_eq!(projects.schema().name.as_str(), "projects");
    /// # Ok(()) }
    /// ```
    pub fn schema(&self) -> &Arc<Schema> {
        &self.0.schema
    }

    /// The sink's warnings for an operator; none without a sink. See [`Sink::warnings`].
    pub fn sink_warnings(&self) -> Vec<String> {
        self.0.sink.get().map(|sink| sink.warnings()).unwrap_or_default()
    }

    pub(super) fn sink(&self) -> Result<&Arc<dyn Sink>> {
        self.0.sink.get().ok_or_else(|| {
            let text = format!("buffer {}: it has no sink: call flush_to first", self.0.schema.name);
            Error::new(ErrorKind::Configuration, text)
        })
    }

    /// The error of a sink that failed while it did `what` for this buffer.
    pub(super) fn sink_failed(&self, what: impl Display) -> impl FnOnce(SinkError) -> Error {
        let context = format!("buffer {}: {what}", self.0.schema.name);
        move |error| sink_error(error).in_context(context)
    }

    /// Asks the store for its partitions. Returns those of the definition and whichever else the store is known to have of
    /// this buffer, and the error of the question: the known ones can be worked on all the same.
    pub(super) async fn find_parts(&self) -> (Vec<BufferPart>, Result<()>) {
        let Inner { store, schema, orphaned_partitions, .. } = &*self.0;
        let known = store.engine().buffer_parts().await.and_then(|parts| {
            let ours =
                parts.found.into_iter().filter(|(name, _)| *name == schema.name).map(|(_, index)| index);
            orphaned_partitions.lock().extend(ours.filter(|index| *index >= schema.partitions));
            parts.failure.map_or(Ok(()), Err)
        });
        let orphaned = orphaned_partitions.lock().clone();
        let parts = (0..schema.partitions).chain(orphaned).map(|index| self.part(index));
        (parts.collect(), known)
    }

    /// A column by its name, with its position.
    pub(crate) fn column(&self, column: &str) -> Result<(usize, &Column)> {
        let Schema { name, columns, .. } = &*self.0.schema;
        columns.iter().enumerate().find(|(_, known)| &*known.name == column).ok_or_else(|| {
            let names: Vec<&str> = columns.iter().map(|known| &*known.name).collect();
            invalid(format!("buffer {name}: no column {column:?}; it has {}", names.join(", ")))
        })
    }

    pub(super) fn part(&self, index: u16) -> BufferPart {
        BufferPart { schema: self.0.schema.clone(), index }
    }

    pub(crate) fn part_of(&self, row: &RowKey) -> BufferPart {
        self.part(self.0.schema.partition_of(row))
    }
}

pub(super) fn sink_error(error: SinkError) -> Error {
    let (SinkError::Transient(error) | SinkError::Permanent(error)) = error;
    error
}
