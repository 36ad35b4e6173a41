//! A write to one row, put together column by column.

use std::{
    future::IntoFuture,
    ops::ControlFlow,
    pin::Pin,
    task::{Context, Poll},
};

use super::handle::{BufferHandle, JoinedWrite, missing_answer};
use crate::{
    error::{Result, invalid},
    model::{Merge, Row, Schema, Value},
    sink::BoxFuture,
};

/// A write to one row, put together column by column; awaiting it merges it into the buffer.
///
/// # Errors
/// Awaiting it: [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a key or column that does not fit the definition,
/// [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) if a pending sum would leave 64 bits,
/// [`ErrorKind::Overloaded`](crate::ErrorKind::Overloaded) if too much waits for the sink
/// ([`Bounds`](crate::buffer::Bounds)); and when the store does not answer. All columns are merged, or none.
///
/// # Cancellation
/// Dropping the future may leave it merged; it is never merged twice.
///
/// # Cost
/// One round trip, shared with whatever else this process asks the host at that time; none embedded.
#[derive(Clone, Debug)]
#[must_use = "a write does nothing until it is awaited"]
pub struct Write {
    pub(super) buffer: BufferHandle,
    pub(super) row: Result<Row>,
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
    let Some(definition) = schema.columns.get(place) else { return Err(missing_answer()) };
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
    type IntoFuture = Writing;

    fn into_future(self) -> Writing {
        Writing(State::Fresh(self.checked()))
    }
}

/// A [`Write`] on its way. Nothing is done before it is polled.
///
/// A future with a name: a box for each was a good part of what a write cost this process.
#[derive(Debug)]
#[must_use = "a write does nothing until it is awaited"]
pub struct Writing(State);

enum State {
    Fresh(Result<(BufferHandle, Row)>),
    Joined(JoinedWrite),
    Alone(BoxFuture<'static, Result<()>>),
    /// It has been awaited to its end.
    Over,
}

impl Writing {
    pub(super) fn new(buffer: BufferHandle, row: Row) -> Self {
        Self(State::Fresh(Ok((buffer, row))))
    }
}

impl Future for Writing {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        match &mut self.0 {
            State::Joined(joined) => return Pin::new(joined).poll(context),
            State::Alone(alone) => return alone.as_mut().poll(context),
            State::Fresh(_) | State::Over => {}
        }
        let State::Fresh(fresh) = std::mem::replace(&mut self.0, State::Over) else {
            return Poll::Ready(Err(missing_answer()));
        };
        let (buffer, row) = fresh?;
        match buffer.join(row, context.waker()) {
            // Its waker is noted: to be polled again at once would only take a lock.
            ControlFlow::Continue(joined) => {
                self.0 = State::Joined(joined?);
                Poll::Pending
            }
            ControlFlow::Break((buffer, row)) => {
                self.0 = State::Alone(Box::pin(async move { buffer.add_alone(row).await }));
                self.poll(context)
            }
        }
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Fresh(_) => "Fresh",
            Self::Joined(_) => "Joined",
            Self::Alone(_) => "Alone",
            Self::Over => "Over",
        })
    }
}
