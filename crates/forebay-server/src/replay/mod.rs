//! Reads logs as the events of a replay: parsed, keyed, and put in time order.
//!
//! ```text
//! file or stdin ─ gunzip ─ lines ─ parse ─ order ─┬─ survey: the log's first and last time
//!    input.rs      gzip     lines    format        │
//!                                    log     order └─ feed: batches on a channel, from a thread of its own
//!                                    ndjson
//!                                    w3c
//!                                    elb
//! ```
//!
//! What a line looks like decides how it is read, unless a [`Format`] is named. What cannot be read is counted and
//! skipped, and never ends a replay; only a failing file does.
//!
//! Where the events go: [`Run`] is an event of a store that this process has open, [`Remote`] a running server.
//! Both leave [`Counts`], of which a [`Summary`] is made.

mod address;
mod count;
mod elb;
mod event;
mod fault;
mod feed;
mod field;
mod format;
mod guess;
mod gzip;
mod input;
mod key;
mod lines;
pub mod log;
pub mod ndjson;
mod order;
mod parser;
mod reader;
mod remote;
mod request;
mod retained;
mod run;
mod summary;
mod w3c;

pub use count::{Counts, KeyCounts, LimitedKey};
pub use event::Event;
pub use fault::{BadLine, Fault};
pub use feed::{Batch, Feed};
pub use format::Format;
pub use input::{Input, Source};
pub use key::KeyField;
pub use lines::{Line, Lines, MAX_LINE};
pub use order::Reorder;
pub use parser::Parser;
pub use reader::{Reader, Step, Tally, survey};
pub(crate) use remote::Remote;
pub use run::{Run, SeriesSum, Target};
pub use summary::{BufferTotal, SeriesTotal, Summary};
