//! The event that a line stands for.

use forebay::Timestamp;

/// The time and the key of a line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Event {
    /// The time in the log.
    pub at: Timestamp,
    /// The key: 1 to 512 bytes.
    pub key: String,
    /// True if later events had passed before it was read.
    pub late: bool,
}
