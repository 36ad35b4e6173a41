//! Writes that gather, and reach SQL together.

mod flush;
mod handle;
pub(crate) mod row;
mod schema;

pub use flush::{Flusher, Flushing};
pub use handle::{BufferHandle, Stats, Write};
pub use row::Row;
pub use schema::{Buffer, Column, ColumnType, KeyColumn, Merge, RowKey, Schema, Value};
