//! Reads of plain values, many in a command.
//!
//! `MGET` costs a server less than half of the `GET` commands that it stands for, and costs this process less, too. But it answers
//! nil for a key of another type, where `GET` says so. Therefore the keys without a value are counted with `EXISTS`. If one of
//! them exists, each is asked for with `GET`, and its error counts. Only batches that write nothing go this way: the second look
//! must not see a later command of the same map.

use std::time::Duration;

use redis::{Cmd, Value, cmd};

use super::{
    Redis,
    calls::Piece,
    fence::{admits, moved},
    kv::{MAX_PIECE_BYTES, batches, packed},
    pipeline::pipeline,
    session::Session,
};
use crate::{
    error::Result,
    model::{Command, Verb},
};

/// The most keys of a command.
const MAX_KEYS: usize = 1_000;

impl Redis {
    /// Whether these commands can go this way. A node of a Redis Cluster takes keys of one slot only.
    pub(super) fn can_read_together(&self, batch: &[&Command]) -> bool {
        batch.len() > 1 && !self.plain().is_node() && batch.iter().all(|command| command.verb == Verb::Get)
    }

    /// Reads values; the answers are those of `GET`. `None`: the host refuses to read them together.
    pub(super) async fn read_together(
        &self,
        session: &Session,
        batch: &[&Command],
        within: Duration,
    ) -> Result<Option<Vec<Result<Value>>>> {
        let clock = self.plain().clock();
        let until = clock.monotonic().saturating_add(within);
        let left = || until.saturating_sub(clock.monotonic());
        let replies = match self.ask_behind_fence(session, in_pieces("MGET", batch), within).await? {
            Ok(replies) => replies,
            Err(moved) => return Ok(Some(vec![Err(moved); batch.len()])),
        };
        let mut values = Vec::with_capacity(batch.len());
        for reply in replies {
            let Value::Array(some) = reply else { return Ok(None) };
            values.extend(some.into_iter().map(Ok));
        }
        let without: Vec<usize> =
            (0..values.len()).filter(|&i| matches!(values[i], Ok(Value::Nil))).collect();
        let keys: Vec<&Command> = without.iter().filter_map(|&place| batch.get(place).copied()).collect();
        if keys.is_empty() {
            return Ok(Some(values));
        }
        let each =
            || keys.chunks(MAX_KEYS).map(|some| -> Piece<'_> { Box::new(move || gets(some)) }).collect();
        let second = match self.ask_behind_fence(session, in_pieces("EXISTS", &keys), left()).await? {
            Ok(counts) if counts.iter().all(|count| *count == Value::Int(0)) => return Ok(Some(values)),
            Ok(_) => self.ask_behind_fence(session, each(), left()).await?,
            Err(moved) => Err(moved),
        };
        match second {
            Ok(replies) => {
                for (place, reply) in without.into_iter().zip(replies) {
                    if matches!(reply, Value::ServerError(_)) {
                        values[place] = Ok(reply);
                    }
                }
            }
            Err(moved) => without.into_iter().for_each(|place| values[place] = Err(moved.clone())),
        }
        Ok(Some(values))
    }

    /// The replies to questions. An error of their own if slots of the host have moved: the fence is read behind them.
    async fn ask_behind_fence<'a>(
        &'a self,
        session: &Session,
        mut pieces: Vec<Piece<'a>>,
        within: Duration,
    ) -> Result<Result<Vec<Value>>> {
        let host = self.plain();
        let epoch = host.epoch();
        if epoch.is_some() {
            pieces.push(Box::new(|| pipeline([cmd("GET").arg(host.keys().cluster_fence()).to_owned()])));
        }
        let mut replies: Vec<Value> =
            host.send_within(session, pieces, within).await?.into_iter().collect::<Result<_>>()?;
        let fence = epoch.and_then(|epoch| Some((replies.pop()?, epoch)));
        match fence {
            Some((fence, epoch)) if !admits(&fence, epoch) => Ok(Err(moved(host.name(), fence))),
            _ => Ok(Ok(replies)),
        }
    }
}

/// A command of this name for the keys, in pieces.
fn in_pieces<'a>(name: &'static str, commands: &'a [&'a Command]) -> Vec<Piece<'a>> {
    let some = batches(commands, MAX_PIECE_BYTES, |command| command.size());
    let some = some.flat_map(|some| some.chunks(MAX_KEYS));
    some.map(|some| -> Piece<'a> { Box::new(move || pipeline([together(name, some)])) }).collect()
}

fn together(name: &str, commands: &[&Command]) -> Cmd {
    let bytes: usize = commands.iter().map(|command| command.key.len()).sum();
    let mut all = Cmd::with_capacity(commands.len() + 1, name.len() + bytes);
    all.arg(name);
    for command in commands {
        all.arg(&*command.key);
    }
    all
}

fn gets(commands: &[&Command]) -> redis::Pipeline {
    pipeline(commands.iter().map(|command| packed(command, true)))
}
