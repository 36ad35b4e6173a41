//! Writes that gather, and reach SQL together.

mod dead;
mod flush;
mod flusher;
mod handle;
mod lease;
mod moves;
mod pace;
mod pressure;
mod progress;
pub(crate) mod row;
mod row_key;
mod schema;
mod stored;
mod value;
mod write;

pub use dead::Letters;
pub use flusher::{Flusher, Flushing};
pub use handle::BufferHandle;
pub use pressure::{Bounds, Pressure};
pub use progress::{Parked, Stats};
pub use row::Row;
pub use row_key::RowKey;
pub use schema::{Buffer, Column, KeyColumn, Merge, Schema};
pub use stored::StoredBuffer;
pub use value::{ColumnType, Value};
pub use write::{Write, Writing};
