//! Reading a row wherever its parts are.
//!
//! All partitions are asked: with another number of partitions a row was in another one, and while a host is down its rows are in
//! partitions of others.

use std::ops::Deref;

use super::{
    answers::Answers,
    handle::{BufferHandle, sink_error},
};
use crate::{
    engine::step::PendingRow,
    error::{Error, ErrorKind, Result},
    model::{Row, RowKey, Value, row::merge_cells},
};

/// [`BufferHandle::value`] reads at most this often because rows were moved meanwhile.
const MAX_READ_ATTEMPTS: u32 = 8;

/// A row that was read: one element per value column, in their order. It derefs to these.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # use forebay::{Buffer, Forebay};
/// # let bay = Forebay::open("memory:").await?;
/// let projects = bay.buffer(Buffer::new("projects").key("id").sum("hits"))?;
/// projects.row("42").add("hits", 3).await?;
/// let row = projects.pending(["42".into()]).await?;
/// assert_eq!((&row[0], row.partial), (&Some(3.into()), false));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadRow {
    /// The values.
    pub cells: Box<[Option<Value>]>,
    /// Whether a host of several did not answer. Writes that it holds are missing from the values.
    pub partial: bool,
}

impl Deref for ReadRow {
    type Target = [Option<Value>];

    fn deref(&self) -> &Self::Target {
        &self.cells
    }
}

impl BufferHandle {
    /// Reads what the store holds of a row and SQL does not have yet: one element per value column.
    ///
    /// For a row that was moved, this is what was written under its own key. While one host of several does not answer, it is
    /// what the others hold, and [partial](ReadRow::partial).
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a key that does not fit the key columns; and when the store does not answer.
    ///
    /// # Cost
    /// Two round trips to each host, shared by its partitions, after one that asks for the partitions.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # use forebay::{Buffer, Forebay};
    /// # let bay = Forebay::open("memory:").await?;
    /// let projects = bay.buffer(Buffer::new("projects").key("id").sum("hits"))?;
    /// projects.row("42").add("hits", 3).await?;
    /// projects.row("42").add("hits", 4).await?;
    /// assert_eq!(*projects.pending(["42".into()]).await?, [Some(7.into())]);
    /// # Ok(()) }
    /// ```
    pub async fn pending(&self, key: impl AsRef<[Value]>) -> Result<ReadRow> {
        let schema = self.schema();
        let key = RowKey::new(schema, key.as_ref())?;
        let mut pending = Row::empty(schema, key.clone());
        let parts = self.pending_parts(&key).await?;
        for part in parts.found {
            pending.merge(schema, &part.row)?;
        }
        Ok(ReadRow { cells: pending.cells, partial: parts.partial })
    }

    /// Reads a row from the generations of every partition.
    async fn pending_parts(&self, key: &RowKey) -> Result<Answers<PendingRow>> {
        let engine = self.0.store.engine();
        let (parts, known) = self.find_parts().await;
        let each = parts.iter().map(|part| engine.buffer_pending(part, key));
        let each = futures::future::join_all(each).await;
        let Answers { found, partial } = Answers::of(engine, known, each)?;
        Ok(Answers { found: found.concat(), partial })
    }

    /// Reads the columns that the row will have after everything is flushed: what SQL has, merged with what is pending.
    ///
    /// For a row that was moved it answers for the row that it was moved into; pending writes to any row that was moved there
    /// count. The store is read first, then SQL and its ledger in one snapshot, so that a flush in between is not counted
    /// twice. While one host of several does not answer, the writes that it holds are missing, and the answer is
    /// [partial](ReadRow::partial).
    ///
    /// # Errors
    /// As [`pending`](Self::pending) and [`flush`](Self::flush).
    ///
    /// # Cost
    /// As [`pending`](Self::pending), and one read from SQL. For a row that others were moved into, once more for each of them.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # use forebay::{Buffer, Forebay, sink::MemorySink};
    /// # let bay = Forebay::open("memory:").await?;
    /// let projects = bay.buffer(Buffer::new("projects").key("id").sum("hits"))?;
    /// let _flusher = projects.flush_to(MemorySink::new()).prepare().await?;
    /// projects.row("42").add("hits", 3).await?;
    /// projects.flush().await?;
    /// projects.row("42").add("hits", 4).await?; // pending
    /// assert_eq!(*projects.value(["42".into()]).await?, [Some(7.into())]);
    /// # Ok(()) }
    /// ```
    pub async fn value(&self, key: impl AsRef<[Value]>) -> Result<ReadRow> {
        let schema = self.schema();
        let key = RowKey::new(schema, key.as_ref())?;
        let mut keys = vec![key.clone()];
        for _ in 0..MAX_READ_ATTEMPTS {
            let each = futures::future::join_all(keys.iter().map(|key| self.pending_parts(key))).await;
            let (mut pending, mut partial) = (vec![], false);
            for parts in each {
                let parts = parts?;
                partial |= parts.partial;
                pending.extend(parts.found);
            }
            let ids: Vec<_> = pending.iter().map(|part| part.generation).collect();
            let mut snapshot = self.sink()?.read(schema, &key, &ids).await.map_err(sink_error)?;
            let mut wanted = std::mem::take(&mut snapshot.keys);
            if wanted.is_empty() {
                wanted.push(key.clone());
            }
            wanted.sort_unstable();
            if wanted != keys {
                // Rows were moved into this one that the store was not asked for.
                keys = wanted;
                continue;
            }
            let mut cells = snapshot.row.unwrap_or_else(|| vec![None; schema.columns.len()].into());
            for part in pending.iter().filter(|part| !snapshot.applied.contains(&part.generation)) {
                merge_cells(schema, &mut cells, &part.row.cells)?;
            }
            return Ok(ReadRow { cells, partial });
        }
        let text = format!("buffer {}: row {:?} is being moved all the time", schema.name, key.as_str());
        Err(Error::new(ErrorKind::Unavailable, text))
    }
}
