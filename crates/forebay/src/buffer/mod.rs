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
mod stored;
mod write;

pub use dead::Letters;
pub use flusher::{Flusher, Flushing};
pub use handle::BufferHandle;
pub use progress::{Parked, Stats};
pub use stored::StoredBuffer;
pub use write::{Write, Writing};

pub use crate::model::{
    Bounds, Buffer, Column, ColumnType, KeyColumn, Merge, Pressure, Row, RowKey, Schema, Value,
};
