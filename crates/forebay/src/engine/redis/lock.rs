//! Locks on a Redis host.
//!
//! Each step is one script, idempotent by owner. Times are the server's. A waiter is woken by a message to the inbox of
//! its process, and asks by itself when none comes.

use std::time::Duration;

use redis::Value;
use uuid::Uuid;

use super::{Redis, calls::Call, inbox::Inbox, reply::unexpected, script::Script};
use crate::{
    engine::{
        notifier::Subscription,
        step::{Claim, Claimed, HANDOFF_WINDOW, MAX_WAITERS},
    },
    error::Result,
    model::{Holder, Holding, LockState},
    time::{micros, millis},
};

/// How long a step waits for keys that are on their way between two nodes of a Redis Cluster: less than its callers wait, who
/// would not learn that nothing was done.
const PATIENCE: Duration = millis(800);

impl Redis {
    pub(crate) async fn lock_claim(&self, claim: Claim<'_>) -> Result<Claimed> {
        let mut call = self.lock_call(Script::LockClaim, claim.name, &["", ":queue", ":heard"]);
        let patience = claim.queue.map_or(0, micros);
        call.command.arg(claimant(claim.owner)).arg(micros(claim.ttl)).arg(patience);
        call.command.arg(micros(HANDOFF_WINDOW)).arg(MAX_WAITERS);
        let reply = self.lock_answer(call).await?;
        match words(&reply) {
            Some([Value::Int(-1)]) => Err(claim.overcrowded()),
            Some([Value::Int(1), Value::Int(fence)]) => Ok(Claimed::Granted { fence: fence.cast_unsigned() }),
            Some([Value::Int(0), owner, remaining, ahead]) => uuid(owner)
                .zip(span(remaining))
                .zip(number(ahead))
                .map(|((holder, remaining), ahead)| Claimed::Held { holder, remaining, ahead })
                .ok_or_else(|| unexpected(self.host.name(), "a claim")),
            _ => Err(unexpected(self.host.name(), "a claim")),
        }
    }

    pub(crate) async fn lock_renew(
        &self,
        name: &str,
        owner: Uuid,
        ttl: Option<Duration>,
    ) -> Result<Option<Duration>> {
        let mut call = self.lock_call(Script::LockRenew, name, &[""]);
        call.command.arg(owner.as_bytes()).arg(ttl.map_or(0, micros));
        let ttl = span(&self.lock_answer(call).await?);
        let ttl = ttl.ok_or_else(|| unexpected(self.host.name(), "a renewal"))?;
        Ok((!ttl.is_zero()).then_some(ttl))
    }

    pub(crate) async fn lock_release(&self, name: &str, owner: Uuid) -> Result<bool> {
        self.give_back(name, &claimant(owner)).await
    }

    pub(crate) async fn lock_force_release(&self, name: &str) -> Result<bool> {
        self.give_back(name, &[]).await
    }

    pub(crate) async fn lock_state(&self, name: &str) -> Result<LockState> {
        let call = self.lock_call(Script::LockState, name, &["", ":heard"]);
        let reply = self.lock_answer(call).await?;
        let state = words(&reply).and_then(|words| match words {
            [waiters] => Some(LockState { holding: None, waiters: number(waiters)? }),
            [waiters, owner, fence, held_for, remaining] => {
                let (holder, fence) = (Holder::from_owner(uuid(owner)?), number(fence)?);
                let (held_for, remaining) = (span(held_for)?, span(remaining)?);
                let holding = Some(Holding { holder, fence, held_for, remaining });
                Some(LockState { holding, waiters: number(waiters)? })
            }
            _ => None,
        });
        state.ok_or_else(|| unexpected(self.host.name(), "a look at a lock"))
    }

    pub(crate) fn lock_subscribe(&self, _name: &str, owner: Uuid) -> Subscription {
        self.inbox.subscription(&self.host, owner)
    }

    async fn give_back(&self, name: &str, claimant: &[u8]) -> Result<bool> {
        let mut call = self.lock_call(Script::LockRelease, name, &["", ":queue", ":heard"]);
        call.command.arg(claimant).arg(self.inbox.before());
        match self.lock_answer(call).await? {
            Value::Int(was_there) => Ok(was_there == 1),
            _ => Err(unexpected(self.host.name(), "a release")),
        }
    }

    async fn lock_answer(&self, call: Call) -> Result<Value> {
        // Boxed: its kilobytes of driver state would otherwise be part of every task that waits for a lock.
        Box::pin(self.host.run(vec![call], PATIENCE)).await?.swap_remove(0)
    }

    fn lock_call(&self, script: Script, name: &str, parts: &[&str]) -> Call {
        let key = self.keys.lock(name);
        let mut call = self.host.call(script, parts.len(), parts.len() * (key.len() + 16) + 128);
        for part in parts {
            call.command.arg(format!("{key}{part}"));
        }
        call
    }
}

/// The claimant as the queue stores it: the owner, and the inbox of its process.
fn claimant(owner: Uuid) -> Vec<u8> {
    [owner.as_bytes(), Inbox::id().as_bytes()].concat()
}

fn words(reply: &Value) -> Option<&[Value]> {
    match reply {
        Value::Array(words) => Some(words),
        _ => None,
    }
}

fn number(word: &Value) -> Option<u64> {
    match word {
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

fn span(word: &Value) -> Option<Duration> {
    number(word).map(Duration::from_micros)
}

fn uuid(word: &Value) -> Option<Uuid> {
    match word {
        Value::BulkString(bytes) => Uuid::from_slice(bytes).ok(),
        _ => None,
    }
}
