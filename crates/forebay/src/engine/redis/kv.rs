//! Plain commands on a Redis host, over a connection of their own: a map of a hundred thousand commands would
//! otherwise stand before every limit's decision.

use std::time::Duration;

use redis::{Cmd, Value};

use super::{
    Redis,
    calls::Piece,
    pipeline::pipeline,
    refusal::{Class, Refusal},
    reply::{lacks_script, text},
    session::Session,
};
use crate::{
    error::{Error, ErrorKind, Result, Retry},
    model::{Command, Failure, Fate, Reply, Script, Verb},
};

/// Commands are sent together until they come to so many bytes, with what is around them: the server reads all of
/// a batch before it answers the first.
const MAX_BATCH_BYTES: usize = 1 << 20;

/// A batch is written in pieces of so many bytes: some hundred commands, which keep a server busy while the next are written.
pub(super) const MAX_PIECE_BYTES: usize = 64 << 10;

impl Redis {
    /// Sends commands in their order; each has its own answer.
    pub(crate) async fn kv(&self, commands: &[&Command], within: Duration) -> Vec<Result<Reply, Failure>> {
        let clock = self.host.clock();
        let deadline = clock.monotonic().saturating_add(within);
        let left = || deadline.saturating_sub(clock.monotonic());
        let mut answers = Vec::with_capacity(commands.len());
        let mut batches = batches(commands, MAX_BATCH_BYTES, |command| command.size());
        if self.host.trouble().is_none() {
            // The other connection stands: that this one failed a while ago means nothing any more.
            self.plain().hurry();
        }
        let session = match clock.timeout(left(), self.plain().session()).await {
            Some(Ok(session)) => session,
            Some(Err(error)) => return unsent(commands.len(), &error),
            None => return unsent(commands.len(), &self.late("no connection", within)),
        };
        while let Some(batch) = batches.next() {
            let turn = clock.timeout(left(), self.batches.acquire()).await;
            if left().is_zero() || turn.is_none() {
                answers.extend(unsent(batch.len(), &self.late("time for the commands before", within)));
                continue;
            }
            match self.send_all(&session, batch, left()).await {
                Ok(values) => answers.extend(values.into_iter().map(|value| self.answer(value))),
                Err(error) => {
                    let late = error.kind() == ErrorKind::Timeout;
                    let error = if late { self.doubt(within) } else { error };
                    answers.extend(batch.iter().map(|_| Err((Fate::MaybeExecuted, error.clone()))));
                    // The commands after these come after them, or not at all.
                    let rest = batches.by_ref().map(<[_]>::len).sum();
                    answers.extend(unsent(rest, &error));
                }
            }
        }
        answers
    }

    /// Sends the commands of a batch in the way that costs least.
    async fn send_all(
        &self,
        session: &Session,
        batch: &[&Command],
        within: Duration,
    ) -> Result<Vec<Result<Value>>> {
        let clock = self.host.clock();
        let until = clock.monotonic().saturating_add(within);
        let left = || until.saturating_sub(clock.monotonic());
        if self.can_read_together(batch)
            && let Some(values) = self.read_together(session, batch, within).await?
        {
            return Ok(values);
        }
        self.learn_hashes(session, batch, left()).await;
        match self.plain().epoch() {
            Some(_) => self.send_fenced(session, batch, left()).await,
            None => self.send_batch(session, batch, left()).await,
        }
    }

    /// Asks for the hashes of scripts that no server was asked for yet. Without, their text is sent with each call.
    async fn learn_hashes(&self, session: &Session, batch: &[&Command], within: Duration) {
        let mut unknown: Vec<&Script> = vec![];
        for script in batch.iter().filter_map(|command| script_of(command)) {
            if script.hash().is_none() && !unknown.contains(&script) {
                unknown.push(script);
            }
        }
        if unknown.is_empty() {
            return;
        }
        let loads =
            pipeline(unknown.iter().map(|script| with(with(redis::cmd("SCRIPT"), "LOAD"), script.source())));
        let Ok(values) = self.plain().transmit_within(session, &loads, within).await else { return };
        for (script, value) in unknown.into_iter().zip(values) {
            // A user may lack the right.
            script.learn_hash(&text(value).unwrap_or_default());
        }
    }

    /// Sends commands together. The first call of each script brings its text, so that the others find it.
    async fn send_batch(
        &self,
        session: &Session,
        batch: &[&Command],
        within: Duration,
    ) -> Result<Vec<Result<Value>>> {
        let until = self.host.clock().monotonic().saturating_add(within);
        let mut sent: Vec<&Script> = vec![];
        let mut first_calls = vec![];
        for (place, script) in batch.iter().enumerate().filter_map(|(i, it)| Some((i, script_of(it)?))) {
            if !sent.contains(&script) {
                sent.push(script);
                first_calls.push(place);
            }
        }
        let (first_calls, mut start) = (&first_calls, 0);
        let mut pieces: Vec<Piece<'_>> = vec![];
        for piece in batches(batch, MAX_PIECE_BYTES, |command| command.size()) {
            let places = start..start + piece.len();
            start = places.end;
            let is_known = |place: usize| !first_calls.contains(&place);
            pieces.push(Box::new(move || {
                pipeline(places.zip(piece).map(|(place, command)| packed(command, is_known(place))))
            }));
        }
        let mut values = self.plain().send_within(session, pieces, within).await?;
        let missing: Vec<usize> = (0..values.len())
            .filter(|&i| script_of(batch[i]).is_some() && lacks_script(&values[i]))
            .collect();
        let left = until.saturating_sub(self.host.clock().monotonic());
        if !missing.is_empty() && !left.is_zero() {
            // Nothing ran: the server lost its scripts meanwhile, or the slot is on a node that never had them.
            let again = pipeline(missing.iter().map(|&i| packed(batch[i], false)));
            match self.plain().send_within(session, vec![Box::new(|| again)], left).await {
                Ok(answers) => missing.into_iter().zip(answers).for_each(|(i, answer)| values[i] = answer),
                Err(error) => missing.into_iter().for_each(|i| values[i] = Err(error.clone())),
            }
        }
        Ok(values)
    }

    /// Reads a reply. A plain command that was refused did nothing, whatever the reason. One that was sent on to another node
    /// of a Redis Cluster may have no answer.
    fn answer(&self, value: Result<Value>) -> Result<Reply, Failure> {
        match value {
            Ok(Value::ServerError(refused)) => {
                let refusal = Refusal::of(&refused);
                let error = refusal.error(self.host.name());
                if refusal.class() == Class::Fenced {
                    return Err((Fate::NotSent, error));
                }
                let retry = if error.retry() == Retry::Unknown { Retry::Never } else { error.retry() };
                Err((Fate::Rejected, error.with_retry(retry)))
            }
            Ok(value) => Ok(reply(value)),
            Err(error) => Err((fate_of(&error), error)),
        }
    }

    /// No answer came in time. The caller may have been impatient, or the connection dead: that is found out beside it.
    fn doubt(&self, within: Duration) -> Error {
        let plain = self.plain().clone();
        tokio::spawn(async move { plain.query(&redis::cmd("PING")).await.map(|_| ()) });
        self.late("no answer", within)
    }

    fn late(&self, what: &str, within: Duration) -> Error {
        let text = format!("redis {}: {what} within {within:?}", self.host.name());
        Error::new(ErrorKind::Timeout, text)
    }
}

/// The fate of a command that was sent on and has no answer. Without a connection it was not sent.
fn fate_of(error: &Error) -> Fate {
    match error.kind() {
        ErrorKind::Unavailable | ErrorKind::Closed | ErrorKind::Configuration => Fate::NotSent,
        _ => Fate::MaybeExecuted,
    }
}

pub(super) fn script_of(command: &Command) -> Option<&Script> {
    match &command.verb {
        Verb::Script(call) => Some(&call.script),
        _ => None,
    }
}

/// The answers to commands that were not sent, and may be repeated.
fn unsent(commands: usize, error: &Error) -> Vec<Result<Reply, Failure>> {
    let retry = if error.retry() == Retry::Unknown { Retry::Later } else { error.retry() };
    vec![Err((Fate::NotSent, error.clone().with_retry(retry))); commands]
}

/// Cuts items into runs of bounded size, each of at least one.
pub(super) fn batches<T>(
    mut items: &[T],
    most: usize,
    size: impl Fn(&T) -> usize,
) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = items.iter().take_while(|item| {
            let first = bytes == 0;
            bytes += size(item);
            first || bytes <= most
        });
        let (batch, rest) = items.split_at(fits.count());
        items = rest;
        (!batch.is_empty()).then_some(batch)
    })
}

/// The digits of a 64-bit integer.
const DIGITS: usize = 20;

/// The command as it is sent. A script that the server has got before is called by its hash.
pub(super) fn packed(command: &Command, is_known: bool) -> Cmd {
    let key = &*command.key;
    let named = |name: &str, words: usize, bytes: usize| {
        let mut command = Cmd::with_capacity(words + 2, name.len() + key.len() + bytes);
        command.arg(name).arg(key);
        command
    };
    match &command.verb {
        Verb::Get => named("GET", 0, 0),
        Verb::Set(value) => with(named("SET", 1, value.len()), &**value),
        Verb::Incr(by) => with(named("INCRBY", 1, DIGITS), *by),
        // As `DEL`, but a large value is freed beside the commands that follow.
        Verb::Del => named("UNLINK", 0, 0),
        Verb::Expire(ms) => with(named("PEXPIRE", 1, DIGITS), *ms),
        Verb::Raw(words) => {
            let mut command = Cmd::new();
            for word in words {
                command.arg(&**word);
            }
            command
        }
        Verb::Script(call) => {
            let mut command = match call.script.hash().filter(|hash| is_known && !hash.is_empty()) {
                Some(hash) => with(redis::cmd("EVALSHA"), hash),
                None => with(redis::cmd("EVAL"), call.script.source()),
            };
            command.arg(call.keys.len());
            for word in call.keys.iter().chain(&call.args) {
                command.arg(&**word);
            }
            command
        }
    }
}

fn with(mut command: Cmd, word: impl redis::ToRedisArgs) -> Cmd {
    command.arg(word);
    command
}

/// Converts a value of redis-rs.
fn reply(value: Value) -> Reply {
    let each = |values: Vec<Value>| values.into_iter().map(reply).collect();
    match value {
        Value::Int(n) => Reply::Integer(n),
        Value::BulkString(bytes) | Value::BigNumber(bytes) => Reply::Bytes(bytes.into()),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => {
            Reply::Bytes(text.into_bytes().into())
        }
        Value::Okay => Reply::Bytes((*b"OK").into()),
        Value::Array(values) | Value::Set(values) | Value::Push { data: values, .. } => {
            Reply::Array(each(values))
        }
        Value::Map(pairs) => {
            Reply::Map(pairs.into_iter().map(|(key, value)| (reply(key), reply(value))).collect())
        }
        Value::Attribute { data, .. } => reply(*data),
        Value::Double(n) => Reply::Double(n),
        Value::Boolean(yes) => Reply::Boolean(yes),
        Value::ServerError(error) => Reply::Refused(error.to_string().into()),
        // Variants that later versions of the client add.
        _ => Reply::Nil,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(key: usize, value: usize) -> Command {
        Command { key: vec![b'k'; key].into(), verb: Verb::Set(vec![0; value].into()) }
    }

    #[test]
    fn batches_are_bounded_and_leave_nothing_out() {
        let sizes = [10, MAX_BATCH_BYTES, 10, 2 * MAX_BATCH_BYTES, 10, 10];
        let commands: Vec<_> = sizes.map(|size| command(1, size)).into();
        let commands: Vec<_> = commands.iter().collect();
        let batches =
            |commands| super::batches(commands, MAX_BATCH_BYTES, |command: &&Command| command.size());
        let lengths: Vec<_> = batches(&commands).map(<[_]>::len).collect();
        assert_eq!(lengths, [1, 1, 1, 1, 2]);
        assert_eq!(batches(&[]).count(), 0);
        let many: Vec<_> = (0..100_000).map(|_| command(16, 8)).collect();
        let many: Vec<_> = many.iter().collect();
        for batch in batches(&many) {
            assert!(
                batch.iter().map(|it| packed(it, false).get_packed_command().len()).sum::<usize>()
                    <= MAX_BATCH_BYTES
            );
        }
        assert_eq!(batches(&many).map(<[_]>::len).sum::<usize>(), many.len());
    }
}
