//! Requests that are carried out once, on a Redis host: their records, and the tokens of their parts.
//!
//! The scripts say what a record looks like. They look at who owns it, so that each may be called again.

use std::{sync::atomic::Ordering, time::Duration};

use redis::Value;
use uuid::Uuid;

use super::{
    Redis,
    about::{run_about, run_one_about},
    calls::{Call, PATIENCE},
    combine::late,
    limit::explicit,
    plan::{Gathered, Plan},
    reply::{info_field, strings, text, unexpected},
    script::Script,
    wire::{self, Times},
};
use crate::{
    engine::{
        request::{
            Attempt, Begin, ChargeToken, End, Epoch, Hosts, Known, Ours, Seen, Token, UNTOLD, read_hosts,
            write_hosts,
        },
        step::{BufferPart, SeriesPart, Take, TakenAll},
    },
    error::{ErrorKind, Result, Retry},
    time::{When, micros},
};

impl Redis {
    /// The replication id of this host, as the connection knows it.
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        self.host.replid().map(|replid| short(&replid))
    }

    /// The bytes of records and tokens that this host had when a request was last begun.
    pub(crate) fn once_bytes(&self) -> Vec<u64> {
        vec![self.once_bytes.iter().map(|bytes| bytes.load(Ordering::Relaxed)).sum()]
    }

    /// The only host: it needs no name.
    pub(crate) fn epochs(&self) -> Hosts {
        vec![(0, self.epoch())]
    }

    pub(crate) async fn once_begin(&self, begin: Begin<'_>) -> Result<Known> {
        let Begin { key, fingerprint, owner, lease, hosts, weight, most } = begin;
        let most = most / u64::from(self.keys.layout.shares());
        let call = || {
            let mut call = self.once_call(Script::OnceBegin, key);
            let command = &mut call.command;
            command.arg(format!("{fingerprint:032x}")).arg(owner.simple().to_string());
            command.arg(write_hosts(hosts)).arg(weight).arg(most).arg(micros(lease));
            call
        };
        let reply = twice(|| self.host.run_one(call())).await?;
        self.read_begun(key, reply).ok_or_else(|| unexpected(self.host.name(), "the begin of a request"))
    }

    fn read_begun(&self, key: &str, reply: Value) -> Option<Known> {
        let mut words = strings(reply)?.into_iter();
        let attempt = match &*words.next()? {
            "first" => Attempt::First,
            "again" => Attempt::Again,
            "takeover" => Attempt::Takeover,
            "running" => return Some(Known::Running(Duration::from_micros(words.next()?.parse().ok()?))),
            "done" => return Some(Known::Done(words.next()?.into())),
            "other" => return Some(Known::Other),
            "full" => {
                self.note_bytes(key, &words.next()?);
                return Some(Known::Full);
            }
            _ => return None,
        };
        let (hour, hosts) = (words.next()?.parse().ok()?, read_hosts(&words.next()?)?);
        let note = words.next()?.into();
        self.note_bytes(key, &words.next()?);
        Some(Known::Ours(Ours { attempt, hour, hosts, note }))
    }

    fn note_bytes(&self, key: &str, bytes: &str) {
        if let Ok(bytes) = bytes.parse() {
            self.once_bytes[self.keys.layout.group(key).index()].store(bytes, Ordering::Relaxed);
        }
    }

    pub(crate) async fn once_end(&self, key: &str, owner: Uuid, end: End<'_>) -> Result<bool> {
        let call = || {
            let mut call = self.once_call(Script::OnceEnd, key);
            let (state, text, more) = end.words();
            call.command.arg(owner.simple().to_string()).arg(state).arg(text).arg(more);
            call
        };
        Ok(twice(|| self.host.run_one(call())).await? == Value::Int(1))
    }

    fn once_call(&self, script: Script, key: &str) -> Call {
        let mut call = self.host.call(script, 2, 256 + key.len());
        call.command.arg(self.keys.once(key)).arg(self.keys.once_bytes(key));
        call
    }

    pub(crate) async fn buffer_peek(&self, part: &BufferPart, token: &Token) -> Result<Seen> {
        self.peek(self.keys.buffer_once(part, token.hour), token).await
    }

    pub(crate) async fn series_peek(&self, part: &SeriesPart, token: &Token) -> Result<Seen> {
        self.peek(self.keys.series_once(part, token.hour), token).await
    }

    /// The id is read before the token: if both change in between, the token is missed under the older id, and a write
    /// that follows finds that the id is another one.
    async fn peek(&self, key: String, token: &Token) -> Result<Seen> {
        let info = redis::cmd("INFO").arg("replication").to_owned();
        let member = redis::cmd("SISMEMBER").arg(key).arg(&token.id.to_be_bytes()).to_owned();
        let [info, member] = self.host.read([info, member]).await?;
        let seen = text(info).map(|info| {
            let replid = info_field(&info, "master_replid").unwrap_or_default();
            Seen { there: member == Value::Int(1), epoch: short(replid) }
        });
        seen.ok_or_else(|| unexpected(self.host.name(), "a question for a token"))
    }

    pub(crate) async fn take_all_once(
        &self,
        takes: &[Take<'_>],
        when: When,
        token: ChargeToken,
    ) -> Result<TakenAll> {
        let at = explicit(when)?;
        self.admit()?;
        let within = takes.iter().map(|take| take.within).min().unwrap_or_default();
        let answer = self.host.clock().timeout(within, self.charge_once(takes, at, token)).await;
        let answer = answer.unwrap_or_else(|| Err(late(self.host.name(), Retry::Unknown)));
        self.record_outcome(&answer);
        answer
    }

    /// Alone: its call has the token as one more key.
    async fn charge_once(&self, takes: &[Take<'_>], at: Option<u64>, token: ChargeToken) -> Result<TakenAll> {
        let mut batch = Gathered::default();
        batch.add(takes, at, Duration::MAX);
        let plan = Plan::whole(&batch, self.keys.layout);
        let key = self.keys.charge(takes.first().map_or("", |take| take.key), token.id);
        let call = |place, about| {
            let mut call = plan.call(place, about, (&batch, &self.keys), |script, keys, bytes| {
                let mut call = self.host.call(script, keys + 1, bytes + key.len() + 32);
                call.command.arg(&key);
                call
            });
            call.command.arg(token.owner.as_bytes());
            call
        };
        let sent = self.host.clock().monotonic();
        let replies = run_about(&self.host, plan.calls(), call, PATIENCE).await?;
        let mut answers = plan.answers(&batch, sent, replies, (self.host.name(), &self.keys));
        let verdict = answers.requests.swap_remove(0)?;
        Ok(TakenAll { allowed: verdict.allowed, now: verdict.now, states: answers.states })
    }

    pub(crate) async fn refund_once(&self, charged: &[(Take<'_>, u64)], token: ChargeToken) -> Result<()> {
        let Some((first, _)) = charged.first() else { return Ok(()) };
        let call = |about| {
            let mut call = self.host.call(Script::Refund, charged.len() + 1, 128 * charged.len());
            call.command.arg(self.keys.charge(first.key, token.id));
            for (take, _) in charged {
                let mut key = vec![];
                self.write_key(&mut key, take);
                call.command.arg(key);
            }
            for (take, window) in charged {
                call.command.arg(wire::refund(&take.rule, Times::new(None, about), take.cost, Some(*window)));
            }
            call.command.arg(token.owner.as_bytes());
            call
        };
        // Sent again when in doubt: a token that is not there any more was given back.
        twice(|| run_one_about(&self.host, call)).await.map(drop)
    }
}

/// Runs a script that may be run again, once more if the connection ends meanwhile.
async fn twice<F: Future<Output = Result<Value>>>(run: impl Fn() -> F) -> Result<Value> {
    match run().await {
        Err(error) if error.kind() == ErrorKind::Ambiguous => run().await,
        answer => answer,
    }
}

/// The first digits of a replication id; of none, [`UNTOLD`].
fn short(replid: &str) -> Epoch {
    let mut epoch = if replid.is_empty() { UNTOLD } else { Epoch::default() };
    for (to, from) in epoch.iter_mut().zip(replid.bytes()) {
        *to = from;
    }
    epoch
}
