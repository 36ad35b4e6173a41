//! Moving a row into another one, and reading a row wherever its parts are.

use super::handle::{BufferHandle, sink_error};
use crate::{
    error::{Error, ErrorKind, Result, invalid},
    model::{RowKey, Value, row::merge_cells},
};

/// [`BufferHandle::value`] reads at most this often because rows were moved meanwhile.
const MAX_READ_ATTEMPTS: u32 = 8;

impl BufferHandle {
    /// Merges the row `from` into the row `to`, column by column as two writes merge, and removes `from`. Returns the key of
    /// the row that the values are in now: if `to` itself was moved, the key that it was moved to.
    ///
    /// From then on, writes to `from` go to `to`, also those that the store already holds. Chains are followed. A move back
    /// (first `a` to `b`, then `b` to `a`) makes `a` the row of both. Repeating a move changes nothing and has the same
    /// answer. Columns of the row `from` that the buffer does not define are removed with it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// use forebay::{Buffer, Forebay, sink::MemorySink};
    /// let bay = Forebay::open("memory:").await?;
    /// let projects = bay.buffer(Buffer::new("projects").key("id").sum("hits"))?;
    /// let _flusher = projects.flush_to(MemorySink::new()).prepare().await?;
    /// for (id, hits) in [("1", 3), ("2", 4)] {
    ///     projects.row(id).add("hits", hits).await?;
    /// }
    /// projects.flush().await?;
    ///
    /// projects.move_row(["1".into()], ["2".into()]).await?;
    /// projects.row("1").add("hits", 5).await?; // by a writer that does not know of the move
    /// assert_eq!(*projects.value(["2".into()]).await?, [Some(12.into())]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a key that does not fit, or twice the same key; [`ErrorKind::OutOfRange`] if the table
    /// refuses the move (a sum would leave its column, a constraint, a missing row that must not be created, or `from` was
    /// moved elsewhere before); [`ErrorKind::Unavailable`] while the buffer is paused; [`ErrorKind::Configuration`] without a
    /// sink; [`ErrorKind::Unsupported`] if the sink cannot move rows. After an error nothing has changed.
    ///
    /// # Cancellation
    /// The row may have been moved, completely or not at all.
    ///
    /// # Cost
    /// One transaction. No batch of the buffer is applied during it.
    pub async fn move_row(&self, from: impl AsRef<[Value]>, to: impl AsRef<[Value]>) -> Result<Vec<Value>> {
        let schema = &self.0.schema;
        let (from, to) = (RowKey::new(schema, from.as_ref())?, RowKey::new(schema, to.as_ref())?);
        if from == to {
            let text = format!("buffer {}: row {:?} cannot be moved to itself", schema.name, from.as_str());
            return Err(invalid(text));
        }
        self.check_not_paused("move a row").await?;
        let what = format!("moving row {:?} to {:?}", from.as_str(), to.as_str());
        let moved = self.sink()?.move_row(schema, &from, &to).await.map_err(self.sink_failed(what))?;
        tracing::info!(buffer = %schema.name, from = from.as_str(), to = moved.as_str(), "a row was moved");
        moved.values(schema)
    }

    /// Reads the columns that the row will have after everything is flushed: what SQL has, merged with what is pending.
    ///
    /// For a row that was moved it answers for the row that it was moved into; pending writes to any row that was moved there
    /// count. The store is read first, then SQL and its ledger in one snapshot, so that a flush in between is not counted
    /// twice.
    ///
    /// # Errors
    /// As [`pending`](Self::pending) and [`flush`](Self::flush).
    ///
    /// # Cost
    /// One read from every partition and one from SQL. For a row that others were moved into, one more read from every
    /// partition for each of them.
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
    pub async fn value(&self, key: impl AsRef<[Value]>) -> Result<Box<[Option<Value>]>> {
        let schema = &self.0.schema;
        let key = RowKey::new(schema, key.as_ref())?;
        let mut keys = vec![key.clone()];
        for _ in 0..MAX_READ_ATTEMPTS {
            let each = futures::future::join_all(keys.iter().map(|key| self.pending_parts(key))).await;
            let pending = each.into_iter().collect::<Result<Vec<_>>>()?.concat();
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
            return Ok(cells);
        }
        let text = format!("buffer {}: row {:?} is being moved all the time", schema.name, key.as_str());
        Err(Error::new(ErrorKind::Unavailable, text))
    }
}
