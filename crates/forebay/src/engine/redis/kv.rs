//! Plain commands on a Redis host, over a connection of their own: a map of a hundred thousand commands would
//! otherwise stand before every limit's decision.

use std::time::Duration;

use redis::{Cmd, Value};

use super::{Redis, pipeline::pipeline};
use crate::{
    error::{Error, ErrorKind, Result, Retry},
    model::{Command, Failure, Fate, Reply, Verb},
};

/// Commands are sent together until they come to so many bytes, with what is around them: the server reads all of
/// a batch before it answers the first.
const MAX_BATCH_BYTES: usize = 1 << 20;

/// The bytes of a command beside its key and value.
const COMMAND_OVERHEAD: usize = 64;

impl Redis {
    /// Sends commands in their order; each has its own answer.
    pub(crate) async fn kv(&self, commands: &[&Command], within: Duration) -> Vec<Result<Reply, Failure>> {
        let clock = self.host.clock();
        let deadline = clock.monotonic().saturating_add(within);
        let left = || deadline.saturating_sub(clock.monotonic());
        let mut answers = Vec::with_capacity(commands.len());
        let mut batches = batches(commands);
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
            if left().is_zero() {
                answers.extend(unsent(batch.len(), &self.late("time for the commands before", within)));
                continue;
            }
            let commands = pipeline(batch.iter().map(|command| packed(command)));
            match self.plain().send_within(&session, &commands, left()).await {
                Ok(values) => answers.extend(values.into_iter().map(answer)),
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

/// A plain command that was refused did nothing, whatever the reason.
fn answer(value: Result<Value>) -> Result<Reply, Failure> {
    value.map(reply).map_err(|error| {
        let retry = if error.retry() == Retry::Unknown { Retry::Never } else { error.retry() };
        (Fate::Rejected, error.with_retry(retry))
    })
}

/// The answers to commands that were not sent, and may be repeated.
fn unsent(commands: usize, error: &Error) -> Vec<Result<Reply, Failure>> {
    let retry = if error.retry() == Retry::Unknown { Retry::Later } else { error.retry() };
    vec![Err((Fate::NotSent, error.clone().with_retry(retry))); commands]
}

/// Cuts commands into runs of bounded size, each of at least one.
fn batches<'a, 'c>(mut commands: &'a [&'c Command]) -> impl Iterator<Item = &'a [&'c Command]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = commands.iter().take_while(|command| {
            let first = bytes == 0;
            bytes += size(command);
            first || bytes <= MAX_BATCH_BYTES
        });
        let (batch, rest) = commands.split_at(fits.count());
        commands = rest;
        (!batch.is_empty()).then_some(batch)
    })
}

fn size(command: &Command) -> usize {
    let value = match &command.verb {
        Verb::Set(value) => value.len(),
        Verb::Raw(words) => words.iter().map(|word| word.len() + COMMAND_OVERHEAD / 4).sum(),
        Verb::Get | Verb::Incr(_) | Verb::Del | Verb::Expire(_) => 0,
    };
    COMMAND_OVERHEAD + command.key.len() + value
}

fn packed(command: &Command) -> Cmd {
    let key = &*command.key;
    let named = |name: &str| {
        let mut command = redis::cmd(name);
        command.arg(key);
        command
    };
    match &command.verb {
        Verb::Get => named("GET"),
        Verb::Set(value) => named("SET").arg(&**value).to_owned(),
        Verb::Incr(by) => named("INCRBY").arg(*by).to_owned(),
        // As `DEL`, but a large value is freed beside the commands that follow.
        Verb::Del => named("UNLINK"),
        Verb::Expire(ms) => named("PEXPIRE").arg(*ms).to_owned(),
        Verb::Raw(words) => {
            let mut command = Cmd::new();
            for word in words {
                command.arg(&**word);
            }
            command
        }
    }
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
        let lengths: Vec<_> = batches(&commands).map(<[_]>::len).collect();
        assert_eq!(lengths, [1, 1, 1, 1, 2]);
        assert_eq!(batches(&[]).count(), 0);
        let many: Vec<_> = (0..100_000).map(|_| command(16, 8)).collect();
        let many: Vec<_> = many.iter().collect();
        for batch in batches(&many) {
            assert!(
                batch.iter().map(|it| packed(it).get_packed_command().len()).sum::<usize>()
                    <= MAX_BATCH_BYTES
            );
        }
        assert_eq!(batches(&many).map(<[_]>::len).sum::<usize>(), many.len());
    }
}
