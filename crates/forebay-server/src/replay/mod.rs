//! Reads logs as the events of a replay: parsed, keyed, and put in time order.
//!
//! ```text
//! file or stdin ─ gunzip ─ lines ─ parse ─ order ─┬─ survey: the log's first and last time
//!    input.rs      input    lines    log           │
//!                                    ndjson  order └─ feed: batches on a channel, from a thread of its own
//! ```
//!
//! A line is an access log line unless it begins with `{`; then it is a JSON object. What cannot be
//! read is counted and skipped, and never ends a replay; only a failing file does.

mod fault;
mod feed;
mod input;
mod key;
mod lines;
pub mod log;
pub mod ndjson;
mod order;
mod reader;

pub use fault::{BadLine, Fault};
pub use feed::{Batch, Feed};
pub use input::{Input, Source};
pub use key::KeyField;
pub use lines::{Line, Lines, MAX_LINE};
pub use order::Reorder;
pub use reader::{Reader, Step, Tally, survey};

use forebay::Timestamp;

/// One line of a log, as far as a replay needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When it happened, by the log.
    pub at: Timestamp,
    /// Whose it is: 1 to 512 bytes.
    pub key: String,
    /// Whether events after it in time had been let through before it was read.
    pub late: bool,
}
