//! A connection that stands, and what is known about the server behind it.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use tokio::sync::Notify;

use super::handshake::ServerInfo;
use crate::clock::Clock;

/// A connection that stands, or did a moment ago.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) connection: MultiplexedConnection,
    pub(super) facts: Arc<Facts>,
}

/// The known facts about the server behind a connection.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) server: ServerInfo,
    /// The server's replication id, as it said last; empty if it does not tell it. Locked to copy and to replace.
    pub(super) replid: Mutex<Arc<str>>,
    /// When that was, on this process's monotonic clock.
    pub(super) since: Duration,
    /// Notified when the connection is found to be useless.
    pub(super) give_up: Notify,
    /// How many pipelines were answered. Orders nothing else.
    pub(super) answers: AtomicU64,
}

impl Session {
    /// The server's replication id as it said last. Another one, on whatever connection: the server may have lost
    /// what it had acknowledged. It may have changed by now, which scripts of sequenced writes find out.
    pub(super) fn replid(&self) -> Arc<str> {
        self.facts.replid.lock().clone()
    }

    /// Takes the replication id that the server says it has now.
    pub(super) fn learn_replid(&self, replid: &str) {
        *self.facts.replid.lock() = replid.into();
    }

    /// When the connection was made, on this process's monotonic clock.
    pub(super) fn since(&self) -> Duration {
        self.facts.since
    }

    /// The server's clock in microseconds, by now or a little before: this process may have slept.
    pub(super) fn server_time(&self, clock: &Clock) -> u64 {
        let since = clock.monotonic().saturating_sub(self.facts.since);
        self.facts.server.time + u64::try_from(since.as_micros()).unwrap_or(0)
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Session").field(&self.facts).finish()
    }
}
