//! Moving a row into another one.

use super::handle::BufferHandle;
use crate::{
    error::{Result, invalid},
    model::{RowKey, Value},
};

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
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a key that does not fit, or twice the same key; [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) if the table
    /// refuses the move (a sum would leave its column, a constraint, a missing row that must not be created, or `from` was
    /// moved elsewhere before); [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) while the buffer is paused; [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) without a
    /// sink; [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) if the sink cannot move rows. After an error nothing has changed.
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
}
