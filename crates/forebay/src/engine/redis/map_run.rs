//! Commands of a map on a host whose slots can move.
//!
//! A plain command does not read the fence. So those that Forebay knows go by a script, many in a call. Raw commands and callers'
//! scripts go as they are.

use std::time::Duration;

use redis::{Cmd, Value, cmd};

use super::{
    Redis,
    calls::Piece,
    connection::Host,
    kv::{MAX_PIECE_BYTES, batches, packed, script_of},
    pipeline::pipeline,
    reply::{lacks_script, text},
    script::Script,
    session::Session,
};
use crate::{
    error::Result,
    model::{Command, Verb},
};

/// The most commands of a call.
const MAX_COMMANDS: usize = 1_000;

/// Commands that go together.
#[derive(Clone, Copy)]
enum Run<'a> {
    /// In one call.
    Known(&'a [&'a Command]),
    /// As it is; whether the host has got its script in this batch.
    Other(&'a Command, bool),
}

impl Redis {
    /// Sends commands together, in their order. Each has its own answer. If the slot of one has moved, its error says FENCED.
    pub(super) async fn send_fenced(
        &self,
        session: &Session,
        batch: &[&Command],
        within: Duration,
    ) -> Result<Vec<Result<Value>>> {
        let host = self.plain();
        let until = host.clock().monotonic().saturating_add(within);
        let runs = runs(batch);
        // Written one after the other, so that they keep their order.
        let pieces: Vec<Piece<'_>> =
            runs.iter().map(|run| -> Piece<'_> { Box::new(move || pipeline([run.packed(host)])) }).collect();
        let mut values = host.send_within(session, pieces, within).await?;
        let missing: Vec<usize> = (0..values.len()).filter(|&i| lacks_script(&values[i])).collect();
        let left = until.saturating_sub(host.clock().monotonic());
        if !missing.is_empty() && !left.is_zero() {
            // Nothing ran: the server lost its scripts meanwhile.
            let texts = pipeline(missing.iter().map(|&i| runs[i].with_text(host)));
            match host.send_within(session, vec![Box::new(|| texts)], left).await {
                Ok(answers) => missing.into_iter().zip(answers).for_each(|(i, answer)| values[i] = answer),
                Err(error) => missing.into_iter().for_each(|i| values[i] = Err(error.clone())),
            }
        }
        Ok(runs.iter().zip(values).flat_map(|(run, value)| run.answers(value)).collect())
    }
}

/// Cuts commands into runs.
fn runs<'a>(batch: &'a [&'a Command]) -> Vec<Run<'a>> {
    let (mut runs, mut scripts) = (vec![], vec![]);
    for together in batch.chunk_by(|one, other| is_known(one) && is_known(other)) {
        if is_known(together[0]) {
            let pieces = together
                .chunks(MAX_COMMANDS)
                .flat_map(|some| batches(some, MAX_PIECE_BYTES, |command| command.size()));
            runs.extend(pieces.map(Run::Known));
            continue;
        }
        let script = script_of(together[0]);
        let has_script = script.is_some_and(|script| scripts.contains(&script));
        scripts.extend(script.filter(|_| !has_script));
        runs.push(Run::Other(together[0], has_script));
    }
    runs
}

fn is_known(command: &Command) -> bool {
    letter(&command.verb).is_some()
}

impl Run<'_> {
    fn packed(self, host: &Host) -> Cmd {
        match self {
            Self::Other(command, has_script) => packed(command, has_script),
            Self::Known(commands) => {
                let mut call = host.call(Script::MapRun, commands.len(), self.bytes());
                self.add_to(&mut call.command);
                call.finish()
            }
        }
    }

    /// The same, for a server that has lost its scripts.
    fn with_text(self, host: &Host) -> Cmd {
        match self {
            Self::Other(command, _) => packed(command, false),
            Self::Known(commands) => {
                let mut command = cmd("EVAL");
                command.arg(host.scripts().text(Script::MapRun)).arg(commands.len());
                self.add_to(&mut command);
                command.arg(host.epoch().unwrap_or_default()).to_owned()
            }
        }
    }

    fn bytes(self) -> usize {
        let Self::Known(commands) = self else { return 0 };
        commands.iter().map(|command| command.size()).sum()
    }

    fn add_to(self, call: &mut Cmd) {
        let Self::Known(commands) = self else { return };
        for command in commands {
            call.arg(&*command.key);
        }
        call.arg(commands.iter().filter_map(|command| letter(&command.verb)).collect::<Vec<u8>>());
        for command in commands {
            match &command.verb {
                Verb::Set(value) => call.arg(&**value),
                Verb::Incr(by) => call.arg(*by),
                Verb::Expire(ms) => call.arg(*ms),
                Verb::Get | Verb::Del | Verb::Raw(_) | Verb::Script(_) => continue,
            };
        }
    }

    /// The answer to each of its commands.
    fn answers(&self, value: Result<Value>) -> Vec<Result<Value>> {
        let Self::Known(commands) = self else { return vec![value] };
        match value {
            Ok(Value::Array(values)) if values.len() == commands.len() => {
                let read = |(command, value): (&&Command, Value)| Ok(whole(command, value));
                commands.iter().zip(values).map(read).collect()
            }
            value => vec![value; commands.len()],
        }
    }
}

/// The letter of a command in `lua/map_run.lua`. Raw commands and callers' scripts have none.
fn letter(verb: &Verb) -> Option<u8> {
    match verb {
        Verb::Get => Some(b'g'),
        Verb::Set(_) => Some(b's'),
        Verb::Incr(_) => Some(b'i'),
        Verb::Expire(_) => Some(b'e'),
        Verb::Del => Some(b'd'),
        Verb::Raw(_) | Verb::Script(_) => None,
    }
}

/// An integer that Lua cannot hold comes as text.
fn whole(command: &Command, value: Value) -> Value {
    match (&command.verb, value) {
        (Verb::Incr(_), value @ Value::BulkString(_)) => {
            text(value).and_then(|text| text.parse().ok()).map_or(Value::Nil, Value::Int)
        }
        (_, value) => value,
    }
}
