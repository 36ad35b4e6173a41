//! Rows that become one, and what a row has wherever it is.

use super::handle::{BufferHandle, sink_error};
use crate::{
    error::{Error, ErrorKind, Result, invalid},
    model::{RowKey, Value, row::merge_cells},
};

/// How often `value` reads again because rows were moved meanwhile.
const MAX_READ_ATTEMPTS: u32 = 8;

impl BufferHandle {
    /// Merges the row `from` into the row `to`, column by column as two writes merge, and removes it; from then on what is
    /// written for `from` goes to `to`, also what the store holds already. Returns the key of the row that has it now: where
    /// `to` was itself moved, that is where it was moved to.
    ///
    /// Chains are followed, and a move back (first `a` to `b`, then `b` to `a`) makes `a` the row of both. The same move
    /// again changes nothing and answers the same. What else the table keeps in the row `from`, beside the buffer's columns,
    /// goes with it.
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
    /// projects.row("1").add("hits", 5).await?; // somebody who does not know yet
    /// assert_eq!(*projects.value(["2".into()]).await?, [Some(12.into())]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a key that does not fit, or twice the same; [`ErrorKind::OutOfRange`] if the table does
    /// not take it: a sum would leave its column, a constraint, a row to merge into that is not there and is not to be made,
    /// or `from` was moved elsewhere before; [`ErrorKind::Unavailable`] while the buffer is paused;
    /// [`ErrorKind::Configuration`] without a sink; [`ErrorKind::Unsupported`] if the sink cannot. Nothing has changed then.
    ///
    /// # Cancellation
    /// It may have been moved; never by half.
    ///
    /// # Cost
    /// One transaction, during which no batch of the buffer is applied.
    pub async fn move_row(&self, from: impl AsRef<[Value]>, to: impl AsRef<[Value]>) -> Result<Vec<Value>> {
        let schema = &self.0.schema;
        let (from, to) = (RowKey::new(schema, from.as_ref())?, RowKey::new(schema, to.as_ref())?);
        if from == to {
            let text = format!("buffer {}: row {:?} cannot be moved to itself", schema.name, from.as_str());
            return Err(invalid(text));
        }
        self.check_running("move a row").await?;
        let moved = self.sink()?.move_row(schema, &from, &to).await.map_err(|error| {
            let (name, from, to) = (&schema.name, from.as_str(), to.as_str());
            sink_error(error).in_context(format_args!("buffer {name}: moving row {from:?} to {to:?}"))
        })?;
        tracing::info!(buffer = %schema.name, from = from.as_str(), to = moved.as_str(), "a row was moved");
        moved.values(schema)
    }

    /// What the row's columns will be once everything is flushed: what SQL has, and what is pending. For a row that was
    /// moved it answers with the row that it was moved into, and what is pending for any of those counts.
    ///
    /// The store is asked first, then SQL and its ledger in one snapshot, so that a flush in between is not
    /// counted twice.
    ///
    /// # Errors
    /// As [`pending`](Self::pending) and [`flush`](Self::flush).
    ///
    /// # Cost
    /// One look into every partition and one into SQL; of a row that others were moved into, one more look into every partition
    /// for each of those.
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
                // Rows were moved that the store was not asked for.
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
