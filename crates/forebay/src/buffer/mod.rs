//! Write buffers: rows merge in the store, and reach SQL in batches.

mod add;
mod admission;
mod alternatives;
mod answers;
mod batch_size;
mod dead;
mod flush;
mod flush_lease;
mod flusher;
mod handle;
mod moves;
mod progress;
mod read;
mod stored;
mod write;

pub use dead::DeadLetters;
pub use flusher::{Flusher, Flushing};
pub use handle::BufferHandle;
pub use progress::{Parked, Stats};
pub use read::ReadRow;
pub use stored::StoredBuffer;
pub use write::{Write, Writing};

pub use crate::model::{
    Bounds, Buffer, Column, ColumnType, KeyColumn, Merge, Pressure, Row, RowKey, Schema, Value,
};
