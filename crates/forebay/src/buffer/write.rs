//! A write to one row, put together column by column.

use std::future::IntoFuture;

use super::{
    handle::{BufferHandle, lost},
    row::Row,
    schema::{Merge, Schema},
    value::Value,
};
use crate::{
    error::{Result, invalid},
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
