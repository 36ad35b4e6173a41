//! Takes of keys of several groups in one call to a node of a Redis Cluster.
//!
//! A script may use keys of one slot. One that says so may use keys of all slots of its node, if the server lets it: each node is
//! tried. Such a call never follows a redirect, since a node that is asked for one slot would let it write keys of another. What it
//! refuses, because a slot moves, was not done, and goes as a call for each group.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use redis::{Cmd, Value};

use super::{
    about::{about, run_about, run_other_tables},
    calls::Call,
    connection::Host,
    keys::Keys,
    pipeline::pipeline,
    plan::{Gathered, Plan},
    refusal::Refusal,
    reply::{text, unexpected},
    script::Script,
    session::Session,
};
use crate::{engine::cluster::Groups, error::Result, time::secs};

/// For how long the groups that a node refused go by themselves.
pub(super) const APART: Duration = secs(1);

/// Between two probes of a node that has refused one.
const PROBE_INTERVAL: Duration = secs(10);

/// How long the keys of a probe are kept, in ms.
const KEY_TTL_MS: u64 = 10_000;

/// What a script answers in place of the state of a key that was refused.
const REFUSED: [u8; 16] = [0xFF; 16];

/// The bytes of a time, before the states.
const TIME: usize = 8;

/// Whether a node lets one call have keys of several slots.
#[derive(Debug, Default)]
pub(super) struct Across {
    /// Whether it ever did. Orders nothing else.
    is_known: AtomicBool,
    /// Locked to copy and to replace, never across an await.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The scripts' hashes, in the order of [`Script::ACROSS`].
    hashes: Arc<[String]>,
    /// The last probe: when its connection was made, when that was, and whether the node let it pass.
    probed: Option<(Duration, Duration, bool)>,
    /// Groups that go by themselves, until this time.
    apart: Groups,
    until: Duration,
}

impl Across {
    /// The scripts' hashes and the groups that go by themselves, if the node at the end of a connection that was made at `session`
    /// has passed the probe.
    fn open(&self, session: Duration, now: Duration) -> Option<(Arc<[String]>, Groups)> {
        let state = self.state.lock();
        let passes = state.probed.is_some_and(|(on, _, passed)| on == session && passed);
        let apart = if now < state.until { state.apart } else { Groups::default() };
        passes.then(|| (state.hashes.clone(), apart))
    }

    /// Lets groups go by themselves for a while.
    fn leave_out(&self, groups: Groups, now: Duration) {
        let mut state = self.state.lock();
        if now >= state.until {
            (state.apart, state.until) = (Groups::default(), now.saturating_add(APART));
        }
        state.apart = state.apart.with(groups);
    }

    fn wants_probe(&self, session: Duration, now: Duration) -> bool {
        self.state.lock().probed.is_none_or(|(on, at, passed)| {
            on != session || !passed && now.saturating_sub(at) >= PROBE_INTERVAL
        })
    }

    fn note(&self, session: Duration, now: Duration, hashes: Option<Vec<String>>) {
        let mut state = self.state.lock();
        state.probed = Some((session, now, hashes.is_some()));
        if let Some(hashes) = hashes {
            state.hashes = hashes.into();
            self.is_known.store(true, Ordering::Relaxed);
        }
    }

    /// Finds out whether a node lets one call have keys of several slots, once for each connection. It has to have two of the groups.
    pub(super) async fn probe(&self, host: &Host, keys: &Keys, groups: Groups) {
        let mut groups = groups.iter();
        let (Some(one), Some(other)) = (groups.next(), groups.next()) else { return };
        let Ok(session) = host.session().await else { return };
        let now = host.clock().monotonic();
        if !self.wants_probe(session.since(), now) {
            return;
        }
        let tried = write_two_slots(host, &session, [one, other].map(|group| keys.probe(group))).await;
        if let Err(error) = &tried {
            tracing::debug!(host = host.name(), %error, "no calls over several slots");
        }
        self.note(session.since(), now, tried.ok());
    }
}

/// Loads the scripts and writes keys of two slots: the scripts' hashes.
async fn write_two_slots(host: &Host, session: &Session, [one, other]: [String; 2]) -> Result<Vec<String>> {
    let name = host.name();
    let read = |value| match value {
        Value::ServerError(error) => Err(Refusal::of(&error).error(name)),
        value => text(value).ok_or_else(|| unexpected(name, "a probe")),
    };
    let loads = pipeline(Script::ACROSS.iter().copied().map(|script| host.scripts().load(script)));
    let loaded = host.transmit(session, &loads).await?;
    let hashes: Vec<String> = loaded.into_iter().map(read).collect::<Result<_>>()?;
    let mut probe = start(Script::ProbeAcross, &hashes, 64);
    probe.command.arg(one).arg(other).arg(KEY_TTL_MS);
    read(host.transmit(session, &pipeline([probe.command])).await?.swap_remove(0))?;
    Ok(hashes)
}

/// A call of a script for keys of several slots, of which it declares one.
fn start(script: Script, hashes: &[String], bytes: usize) -> Call {
    let mut command = Cmd::with_capacity(8, bytes + 64);
    let hash = hashes.get(script.index() - Script::ALL.len()).map_or("", String::as_str);
    command.arg("EVALSHA").arg(hash).arg(1);
    Call::unfenced(script, command)
}

/// Runs the calls of a plan, with those over single keys put together where the host lets that. `patience` is that of [`Host::run`].
pub(super) async fn run(
    host: &Host,
    across: &Across,
    (plan, batch, keys): (&Plan, &Gathered, &Keys),
    patience: Duration,
) -> Result<Vec<Result<Value>>> {
    let call = |place, about| {
        let start = |script, keys, bytes| host.call(script, keys, bytes);
        plan.call(place, about, (batch, keys), start)
    };
    if !across.is_known.load(Ordering::Relaxed) {
        return run_about(host, plan.calls(), call, patience).await;
    }
    let (session, began) = (host.session().await?, host.clock().monotonic());
    let Some((hashes, apart)) = across.open(session.since(), began) else {
        return run_about(host, plan.calls(), call, patience).await;
    };
    let sent = plan.across(apart);
    let about = about(host);
    let start = |script, bytes| start(script, &hashes, bytes);
    let write = |places: &Vec<usize>| match places[..] {
        [place] => call(place, about),
        _ => plan.call_across(places, about, (batch, keys), start),
    };
    let together: Vec<usize> = (0..sent.len()).filter(|&place| sent[place].len() > 1).collect();
    let calls = sent.iter().map(write).collect();
    let answers = host.run_some_raw(&session, calls, &together, patience).await?;
    // `None`: nothing was done.
    let mut replies: Vec<Option<Result<Value>>> = vec![None; plan.calls()];
    let mut refused = Groups::default();
    for (places, answer) in sent.iter().zip(answers) {
        match (&places[..], answer) {
            (&[place], answer) => replies[place] = Some(answer),
            (_, Ok(reply)) => refused = refused.with(split(host, plan, places, reply, &mut replies)),
            (_, Err(error)) => places.iter().for_each(|&place| replies[place] = Some(Err(error.clone()))),
        }
    }
    let left: Vec<usize> = (0..replies.len()).filter(|&place| replies[place].is_none()).collect();
    if !left.is_empty() {
        across.leave_out(refused, began);
        let calls = left.iter().map(|&place| call(place, about)).collect();
        match host.run_on(&session, calls, patience).await {
            Ok(answers) => {
                left.iter().zip(answers).for_each(|(&place, answer)| replies[place] = Some(answer));
            }
            Err(error) => left.iter().for_each(|&place| replies[place] = Some(Err(error.clone()))),
        }
    }
    let mut replies: Vec<Result<Value>> = replies.into_iter().flatten().collect();
    run_other_tables(host, &mut replies, call).await;
    Ok(replies)
}

/// Splits the reply to a call over several groups into one for each of the calls in its place. Those for which nothing was done have
/// none; returns the groups that go by themselves from now on.
fn split(
    host: &Host,
    plan: &Plan,
    places: &[usize],
    reply: Value,
    replies: &mut [Option<Result<Value>>],
) -> Groups {
    let mut fill =
        |with: Option<Result<Value>>| places.iter().for_each(|&place| replies[place].clone_from(&with));
    let bytes = match reply {
        Value::BulkString(bytes) => bytes,
        // The node has not the slot of the first key.
        reply if host.redirect(&reply).is_some() => {
            fill(None);
            return Groups::of(plan.group_of(places[0]));
        }
        Value::ServerError(error) => {
            let refusal = Refusal::of(&error);
            if refusal.is_partial() {
                fill(Some(Err(refusal.error(host.name()))));
                return Groups::default();
            }
            // It is full, for one: such a script is refused as a whole, where a call of which nothing is admitted has an answer.
            fill(None);
            return Groups::ALL;
        }
        _ => {
            fill(Some(Err(unexpected(host.name(), "a take"))));
            return Groups::default();
        }
    };
    if bytes.len() == TIME {
        fill(Some(Ok(Value::BulkString(bytes))));
        return Groups::default();
    }
    let keys: usize = places.iter().map(|&place| plan.keys_of(place)).sum();
    if bytes.len() != TIME + keys * REFUSED.len() {
        fill(Some(Err(unexpected(host.name(), "a take"))));
        return Groups::default();
    }
    let (now, mut states) = bytes.split_at(TIME);
    let mut refused = Groups::default();
    for &place in places {
        let (own, others) = states.split_at(plan.keys_of(place) * REFUSED.len());
        states = others;
        replies[place] = if own.starts_with(&REFUSED) {
            refused = refused.with(Groups::of(plan.group_of(place)));
            None
        } else {
            Some(Ok(Value::BulkString([now, own].concat())))
        };
    }
    refused
}
