//! Imports counts from a file into a series.
//!
//! ```text
//! file or stdin ─ gunzip ─ records ─ point ─ batch, with its position ─┬─ send: an Idempotency-Key for each batch
//!     replay::Input       records.rs  csv.rs   reader.rs               │      send.rs
//!                                     point.rs                         └─ feed.rs: a thread of its own
//! ```
//!
//! A batch begins where the one before ended, and its length follows from the text alone. Its key is made of a hash of all text
//! up to its end. So a repeated import sends the same requests with the same keys, and the server counts each once.

mod csv;
mod feed;
mod point;
mod reader;
mod record_end;
mod records;
mod send;

pub(crate) use csv::Columns;
pub(crate) use feed::Feed;
pub(crate) use point::Unit;
pub(crate) use reader::{Batch, Form, Options, Position, Reader, RefusedLine};
pub(crate) use send::{Sender, Sent};
