//! Whether a host takes writes: one small write, and every command that scripts use.

use std::time::Duration;

use parking_lot::Mutex;

use super::{Redis, script::Script};
use crate::{
    error::{Error, Result},
    time::secs,
};

/// For how long an answer is good, so that however many ask the host is asked once.
const VALIDITY: Duration = secs(1);

/// How long the key is kept, in ms.
const KEY_TTL_MS: u64 = 60_000;

/// The last probe of a host.
#[derive(Debug, Default)]
pub(super) struct Probe {
    /// Held while the host is asked: who comes meanwhile waits for that answer.
    turn: tokio::sync::Mutex<()>,
    /// Held to read and to replace it, never across an await.
    last: Mutex<Option<Probed>>,
}

/// What a probe came to.
#[derive(Clone, Debug)]
struct Probed {
    /// On the monotonic clock.
    at: Duration,
    /// The connection that it went over.
    session: Duration,
    answer: Result<()>,
}

impl Redis {
    /// Whether this host takes writes, and lets its user do all that Forebay does.
    pub(crate) async fn ping(&self) -> Result<()> {
        let _turn = self.probe.turn.lock().await;
        let session = self.host.session().await?.since();
        let now = || self.host.clock().monotonic();
        let last = self.probed();
        // Of another connection, and perhaps another server, it says nothing.
        let fresh = |last: &Probed| last.session == session && now().saturating_sub(last.at) < VALIDITY;
        if let Some(last) = last.filter(fresh) {
            return last.answer;
        }
        let mut call = self.host.call(Script::Probe, 1, 64);
        call.command.arg(self.keys.probe()).arg(KEY_TTL_MS);
        let answer = self.host.run_one(call).await.map(drop);
        let probed = Probed { at: now(), session, answer: answer.clone() };
        *self.probe.last.lock() = Some(probed);
        answer
    }

    /// Why this host did not take the last probe, if that was no good.
    pub(crate) fn refusal(&self) -> Option<Error> {
        self.probed().and_then(|probed| probed.answer.err())
    }

    fn probed(&self) -> Option<Probed> {
        self.probe.last.lock().clone()
    }
}
