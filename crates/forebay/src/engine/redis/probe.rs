//! Whether a host takes writes: one small write, and every command that scripts use.

use std::time::Duration;

use parking_lot::Mutex;

use super::{connection::Host, keys::Keys, script::Script};
use crate::{
    engine::cluster::Group,
    error::{Error, Result, Retry},
    time::secs,
};

/// For how long an answer is good, so that however many ask the host is asked once.
const VALIDITY: Duration = secs(1);

/// How long the key is kept, in ms.
const KEY_TTL_MS: u64 = 60_000;

/// The last probe of a host.
#[derive(Debug, Default)]
pub(super) struct Probe {
    /// Held while the host is asked; later callers wait for that answer.
    turn: tokio::sync::Mutex<()>,
    /// Held to read and to replace it, never across an await.
    last: Mutex<Option<Probed>>,
}

/// The result of a probe.
#[derive(Clone, Debug)]
struct Probed {
    /// On the monotonic clock.
    at: Duration,
    /// The connection that it went over.
    session: Duration,
    answer: Result<()>,
}

impl Probe {
    /// Probes the host, unless the last answer is still valid. In a Redis Cluster it is asked for a group that it has.
    pub(super) async fn run(&self, host: &Host, keys: &Keys, group: Group) -> Result<()> {
        let _turn = self.turn.lock().await;
        let session = host.session().await?.since();
        let now = || host.clock().monotonic();
        // The answer of another connection, perhaps to another server, tells nothing.
        let fresh = |last: &Probed| last.session == session && now().saturating_sub(last.at) < VALIDITY;
        if let Some(last) = self.last().filter(fresh) {
            return last.answer;
        }
        let mut call = host.call(Script::Probe, 1, 64);
        call.command.arg(keys.probe(group)).arg(KEY_TTL_MS);
        let answer = match host.run_one(call).await {
            // It answers, and only the table of this process is old.
            Err(error) if error.retry() == Retry::Now => Ok(()),
            answer => answer.map(drop),
        };
        *self.last.lock() = Some(Probed { at: now(), session, answer: answer.clone() });
        answer
    }

    /// Why the host refused the last probe, if it did.
    pub(super) fn refusal(&self) -> Option<Error> {
        self.last().and_then(|probed| probed.answer.err())
    }

    fn last(&self) -> Option<Probed> {
        self.last.lock().clone()
    }
}
