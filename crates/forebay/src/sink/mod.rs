//! The databases that buffers flush to: the trait, and a sink in memory.

mod batch;
mod contract;
mod dead_letter;
mod error;
mod memory;

pub use batch::{Applied, Batch};
pub use contract::{Answer, BoxFuture, Sink, Snapshot};
pub use dead_letter::{DeadLetter, Replayed};
pub use error::SinkError;
pub use memory::MemorySink;
