//! Writing one row, built column by column.

use std::{
    fmt,
    future::IntoFuture,
    ops::ControlFlow,
    pin::Pin,
    task::{Context, Poll},
};

use super::{
    add::{BatchedWrite, missing_answer},
    handle::BufferHandle,
};
use crate::{
    error::{Result, invalid},
    model::{Merge, Row, RowKey, Value},
    sink::BoxFuture,
};

/// A write to one row, built column by column. Awaiting it merges it into the buffer.
///
/// # Errors
/// Awaiting it: [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a key or column that does not fit the definition,
/// [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) if a pending sum would leave 64 bits,
/// [`ErrorKind::Overloaded`](crate::ErrorKind::Overloaded) if too much waits for the sink
/// ([`Bounds`](crate::buffer::Bounds)); and when the store does not answer. All columns are merged, or none.
///
/// # Cancellation
/// Dropping the future may leave the row merged; it is never merged twice.
///
/// # Cost
/// One round trip, shared with other calls of this process to the host; none on the embedded engine.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::{Buffer, Forebay};
/// let bay = Forebay::open("memory:").await?;
/// let pages = bay.buffer(Buffer::new("pages").key("path").sum("hits").max("last_seen"))?;
/// pages.row("/").add("hits", 1).max("last_seen", bay.clock().now()).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a write does nothing until it is awaited"]
pub struct Write {
    buffer: BufferHandle,
    row: Result<Row>,
}

impl BufferHandle {
    /// Starts a write to the row with the key `key`, for a buffer with one key column.
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
        self.write(RowKey::of_one(&self.0.schema, key.into()))
    }

    /// Starts a write to the row with these key values, in the order of the key columns.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # use forebay::{Buffer, Forebay};
    /// # let bay = Forebay::open("memory:").await?;
    /// let daily = bay.buffer(Buffer::new("daily").key("page").key("day").sum("hits"))?;
    /// daily.row_of(["/".into(), "2026-01-01".into()]).add("hits", 1).await?;
    /// # Ok(()) }
    /// ```
    pub fn row_of(&self, key: impl AsRef<[Value]>) -> Write {
        self.write(RowKey::new(&self.0.schema, key.as_ref()))
    }

    fn write(&self, key: Result<RowKey>) -> Write {
        Write { buffer: self.clone(), row: key.map(|key| Row::empty(&self.0.schema, key)) }
    }

    /// Merges one row.
    pub(crate) async fn add_row(&self, row: Row) -> Result<()> {
        Writing(State::New(Ok((self.clone(), row)))).await
    }
}

impl Write {
    /// Adds to a `sum` column.
    pub fn add(self, column: &str, n: i64) -> Self {
        self.set(column, n, Some(Merge::Sum))
    }

    /// Raises a `max` column to at least this value.
    pub fn max(self, column: &str, value: impl Into<Value>) -> Self {
        self.set(column, value, Some(Merge::Max))
    }

    /// Lowers a `min` column to at most this value.
    pub fn min(self, column: &str, value: impl Into<Value>) -> Self {
        self.set(column, value, Some(Merge::Min))
    }

    /// Sets a `last` column, if the version in this write is larger than all earlier ones.
    pub fn last(self, column: &str, value: impl Into<Value>) -> Self {
        self.set(column, value, Some(Merge::Last))
    }

    /// Sets a `first` column, if the version in this write is smaller than all earlier ones.
    pub fn first(self, column: &str, value: impl Into<Value>) -> Self {
        self.set(column, value, Some(Merge::First))
    }

    /// Merges a value into a column as the column's definition says.
    pub fn merge(self, column: &str, value: impl Into<Value>) -> Self {
        self.set(column, value, None)
    }

    /// Returns the row instead of merging it, for [`add_rows`](BufferHandle::add_rows).
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a key or column that does not fit the definition.
    pub fn into_row(self) -> Result<Row> {
        self.checked().map(|(_, row)| row)
    }

    fn checked(self) -> Result<(BufferHandle, Row)> {
        let Self { buffer, row } = self;
        let (row, schema) = (row?, &buffer.0.schema);
        if row.cells.iter().all(Option::is_none) {
            let (name, key) = (&schema.name, row.key.as_str());
            return Err(invalid(format!("buffer {name}: a write to row {key:?} names no column")));
        }
        schema.check_row(&row)?;
        Ok((buffer, row))
    }

    fn set(mut self, column: &str, value: impl Into<Value>, merge: Option<Merge>) -> Self {
        self.row = self.row.and_then(|row| set_cell(&self.buffer, row, column, value.into(), merge));
        self
    }
}

fn set_cell(
    buffer: &BufferHandle,
    mut row: Row,
    column: &str,
    value: Value,
    merge: Option<Merge>,
) -> Result<Row> {
    let refuse = |why: String| Err(invalid(format!("buffer {}: {why}", buffer.0.schema.name)));
    let (position, definition) = buffer.column(column)?;
    if let Some(merge) = merge.filter(|merge| *merge != definition.merge) {
        return refuse(format!("column {column:?} merges by {:?}, not by {merge:?}", definition.merge));
    }
    let (want, got) = (definition.column_type, value.column_type());
    if want != got {
        return refuse(format!("column {column:?} is {want:?}, not {got:?}"));
    }
    if row.cells[position].replace(value).is_some() {
        return refuse(format!("column {column:?} is written twice in one write"));
    }
    Ok(row)
}

impl IntoFuture for Write {
    type Output = Result<()>;
    type IntoFuture = Writing;

    fn into_future(self) -> Writing {
        Writing(State::New(self.checked()))
    }
}

/// The future of a [`Write`]. It does nothing before it is polled.
///
/// It is a named type because boxing it made up a good part of the cost of a write.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// # let projects = bay.buffer(forebay::Buffer::new("projects").key("id").sum("hits"))?;
///
/// use std::future::IntoFuture;
/// let writing = projects.row("42").add("hits", 1).into_future();
/// writing.await?;
/// # Ok(()) }
/// ```
#[must_use = "a write does nothing until it is awaited"]
pub struct Writing(State);

enum State {
    New(Result<(BufferHandle, Row)>),
    Batched(BatchedWrite),
    Single(BoxFuture<'static, Result<()>>),
    Done,
}

impl Future for Writing {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        match &mut self.0 {
            State::Batched(batched) => return Pin::new(batched).poll(context),
            State::Single(single) => return single.as_mut().poll(context),
            State::New(_) | State::Done => {}
        }
        let State::New(new) = std::mem::replace(&mut self.0, State::Done) else {
            return Poll::Ready(Err(missing_answer()));
        };
        let (buffer, row) = new?;
        match buffer.join_batch(row, context.waker()) {
            // The batch has the waker; polling again at once would only take a lock.
            ControlFlow::Continue(batched) => {
                self.0 = State::Batched(batched?);
                Poll::Pending
            }
            ControlFlow::Break((buffer, row)) => {
                self.0 = State::Single(Box::pin(async move { buffer.add_one(row).await }));
                self.poll(context)
            }
        }
    }
}

impl fmt::Debug for Writing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writing").finish_non_exhaustive()
    }
}
