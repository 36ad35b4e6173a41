//! How much callers may hold, and for how long.

use std::time::Duration;

use forebay::time::{millis, secs};

/// What one server bears of its callers. Where these are reached, what is stalled goes, and what moves goes on.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The most connections at once. Beyond it the longest stalled one is closed, and callers wait for that.
    pub connections: usize,
    /// How long a write may make no progress, and how long a body may take for [`body_progress`](Self::body_progress).
    pub stall: Duration,
    /// The least that a body brings in each [`stall`](Self::stall) until it is complete, in bytes.
    pub body_progress: u64,
    /// How often [`stall`](Self::stall) may pass until a body is complete.
    pub body_stalls: u32,
    /// The most that bodies hold together, in bytes, each without its first [`FREE`]; at least 1 MiB.
    pub bodies: usize,
    /// How long nothing must have moved on a connection before it is closed for want of room.
    pub patience: Duration,
    /// How long a connection waits for the rest of a body that nobody wants, to be kept for the next request.
    pub drain: Duration,
}

/// What each body may hold without being counted: hits and takes are admitted however many large bodies there are.
pub const FREE: usize = 16 * 1024;

/// The most that is read of a body that nobody wants, to keep its connection.
pub(super) const MAX_DRAINED: u64 = 64 * 1024;

/// The most that is read after an answer that ends a connection, so that a caller that is still sending sees the answer
/// rather than a reset; and how long that may take.
pub(super) const MAX_LINGER: usize = 16 << 20;
pub(super) const LINGER: Duration = secs(5);

/// How often room is looked for while there is none.
pub(super) const LOOK: Duration = millis(100);

/// How often a body looks for room before it is refused: 2 s in all.
pub(super) const ROOM_LOOKS: u32 = 20;

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 4_096,
            stall: secs(10),
            body_progress: 32 * 1024,
            body_stalls: 6,
            bodies: 64 << 20,
            patience: secs(1),
            drain: secs(1),
        }
    }
}
