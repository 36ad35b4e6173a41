//! Bounds on connections and bodies.

use std::time::Duration;

use forebay::time::{millis, secs};

/// The bounds of one server. At a bound, stalled connections are closed, and active ones continue.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The number of connections. At the bound the longest stalled one is closed, and callers wait for that.
    pub connections: usize,
    /// The longest time in which a write may make no progress; also the interval of
    /// [`body_progress`](Self::body_progress).
    pub stall: Duration,
    /// The least bytes of a body in each interval of [`stall`](Self::stall), until it is complete.
    pub body_progress: u64,
    /// The most intervals of [`stall`](Self::stall) that a body may take.
    pub body_stalls: u32,
    /// The bytes of all bodies together, each without its first [`FREE`]; at least 1 MiB.
    pub bodies: usize,
    /// The shortest stall after which a connection may be closed to make room.
    pub patience: Duration,
    /// The time limit for the rest of an unread body, which is read so that the connection can be kept.
    pub drain: Duration,
}

/// The bytes of each body that are not counted: hits and takes are accepted even if large bodies use all the memory.
pub const FREE: usize = 16 * 1024;

/// The bytes that are read of an unread body, to keep its connection.
pub(super) const MAX_DRAINED: u64 = 64 * 1024;

/// The bytes that are read after a response that ends a connection, and the time for it. A caller that is still sending then
/// sees the response instead of a reset.
pub(super) const MAX_LINGER: usize = 16 << 20;
pub(super) const LINGER: Duration = secs(5);

/// The interval between two attempts to make room.
pub(super) const EVICT_INTERVAL: Duration = millis(100);

/// The attempts before a body is refused: 2 s in all.
pub(super) const MAX_ATTEMPTS: u32 = 20;

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
