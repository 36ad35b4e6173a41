//! Reads logs as events in time order, and replays them.
//!
//! ```text
//! file or stdin ─ gunzip ─ lines ─ parse ─ order ─┬─ survey: the log's first and last time
//!    input.rs      gzip     lines    parser        │
//!                                    log     order └─ feed: batches on a channel, from a thread of its own
//!                                    ndjson
//!                                    w3c
//!                                    elb
//! ```
//!
//! The format of each line is detected, unless a [`Format`] is named. A line that cannot be read is counted and skipped, and
//! never ends a replay. Only an error of the file does.
//!
//! [`Run`] sends the events to a store in this process, `Remote` to a running server. Both produce [`Counts`], from which
//! a [`Summary`] is made.

mod access_time;
mod address;
mod count;
mod cursor;
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
pub(crate) use lines::fill;
pub use lines::{Line, Lines, MAX_LINE};
pub use order::Reorder;
pub use parser::Parser;
pub use reader::{Reader, Step, Tally, survey};
pub(crate) use remote::Remote;
pub use run::{Run, SeriesSum, Target};
pub use summary::{BufferTotal, SeriesTotal, Summary};
