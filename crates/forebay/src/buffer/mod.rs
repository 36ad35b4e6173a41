//! Writes that gather, and reach SQL together.

mod flush;
mod handle;
pub(crate) mod row;
mod row_key;
mod schema;
mod stored;
mod value;

pub use flush::{Flusher, Flushing};
pub use handle::{BufferHandle, Stats, Write};
pub use row::Row;
pub use row_key::RowKey;
pub use schema::{Buffer, Column, KeyColumn, Merge, Schema};
pub use stored::StoredBuffer;
pub use value::{ColumnType, Value};
