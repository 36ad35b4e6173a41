//! A plain key in memory.

use std::time::Duration;

use crate::key::hash;

/// A plain key.
#[derive(Debug)]
pub(super) struct Entry {
    pub key: Box<[u8]>,
    pub value: Box<[u8]>,
    /// On the engine's monotonic clock; `None`: it stays.
    pub deadline: Option<Duration>,
}

impl Entry {
    pub(super) fn hash(&self) -> u64 {
        hash(&self.key)
    }

    pub(super) fn is_over(&self, now: Duration) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }
}
