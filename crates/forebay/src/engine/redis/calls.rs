//! Script calls and plain commands on one host, each with its own answer.

use std::time::Duration;

use futures::future::try_join_all;
use redis::{Arg, Cmd, Pipeline, Value};

use super::{
    connection::Host,
    fence::{admits, moved},
    pipeline::pipeline,
    redirect::{Bounds, Redirect, answered, asked},
    refusal::{Class, Refusal},
    reply::{foreign, refuses, text, unexpected},
    script::Script,
    session::Session,
};
use crate::error::{Error, ErrorKind, Result};

/// How long a call waits for keys that are on their way between two nodes of a Redis Cluster.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// A script call, ready to be sent.
#[derive(Debug)]
pub(super) struct Call {
    pub script: Script,
    pub command: Cmd,
    /// The epoch by which the caller came, for the fence.
    epoch: Option<u64>,
}

impl Call {
    /// A call of a script before which there is no fence.
    pub(super) fn unfenced(script: Script, command: Cmd) -> Self {
        Self { script, command, epoch: None }
    }

    /// The command with all of its arguments. The fence takes the last one away.
    pub(super) fn finish(mut self) -> Cmd {
        if let Some(epoch) = self.epoch {
            self.command.arg(epoch);
        }
        self.command
    }
}

/// Writes some of many commands, when it is their turn.
pub(super) type Piece<'a> = Box<dyn FnOnce() -> Pipeline + Send + 'a>;

/// How often a question is sent at most: one connection may be found dead, and the next one lose the answer.
const MAX_ASKED: usize = 3;

/// The answer to a part of a call.
#[derive(Debug)]
pub(super) enum Part {
    Answer(Result<Value>),
    /// Nothing was done: another node of a Redis Cluster has the keys.
    Redirected(Redirect),
}

impl Host {
    /// A call of `script`, whose keys and arguments are still to be added.
    pub(super) fn call(&self, script: Script, keys: usize, bytes: usize) -> Call {
        let mut command = Cmd::with_capacity(keys + 5, bytes + 64);
        let hash = self.hash(script).unwrap_or_default();
        command.arg("EVALSHA").arg(hash).arg(keys);
        let epoch = self.epoch().filter(|_| script.is_fenced());
        Call { script, command, epoch }
    }

    /// Sends calls as one pipeline. Each has its own answer; one that is refused costs the others nothing.
    ///
    /// A server that has lost a script says so before anything ran: that call, and only it, is sent again. A call whose keys are
    /// on two nodes of a Redis Cluster, because their slot is moving, is sent again for as long as there is `patience`. Then its
    /// error says [`Retry::Now`](crate::Retry): nothing was done.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]: nothing was sent. [`ErrorKind::Ambiguous`] or [`ErrorKind::Timeout`]:
    /// each of them may have been applied.
    pub(super) async fn run(&self, calls: Vec<Call>, patience: Duration) -> Result<Vec<Result<Value>>> {
        let session = self.session().await?;
        self.run_on(&session, calls, patience).await
    }

    /// [`run`](Self::run) on this connection.
    pub(super) async fn run_on(
        &self,
        session: &Session,
        calls: Vec<Call>,
        patience: Duration,
    ) -> Result<Vec<Result<Value>>> {
        let (sent, values) = self.run_raw(session, calls, false).await?;
        Ok(self.each_accepted(session, &sent, values, patience).await)
    }

    /// [`run_on`](Self::run_on), where the replies to the calls at some places come as they were: those calls follow no redirects.
    pub(super) async fn run_some_raw(
        &self,
        session: &Session,
        calls: Vec<Call>,
        raw: &[usize],
        patience: Duration,
    ) -> Result<Vec<Result<Value>>> {
        let (sent, mut values) = self.run_raw(session, calls, false).await?;
        let kept: Vec<Value> =
            raw.iter().map(|&place| std::mem::replace(&mut values[place], Value::Nil)).collect();
        let mut answers = self.each_accepted(session, &sent, values, patience).await;
        raw.iter().zip(kept).for_each(|(&place, value)| answers[place] = Ok(value));
        Ok(answers)
    }

    /// [`run`](Self::run) for a single call.
    pub(super) async fn run_one(&self, call: Call) -> Result<Value> {
        self.run(vec![call], PATIENCE).await?.swap_remove(0)
    }

    /// [`run`](Self::run) on this connection for calls of several parts, each with the same number of keys. Answers each part,
    /// by its own reply or by one reply to its whole call. Follows no redirects. `asking`: the slots are only on their way here.
    pub(super) async fn run_parts(
        &self,
        session: &Session,
        calls: Vec<(Call, usize)>,
        asking: bool,
    ) -> Result<Vec<Part>> {
        let (calls, parts): (Vec<Call>, Vec<usize>) = calls.into_iter().unzip();
        let (sent, values) = self.run_raw(session, calls, asking).await?;
        let mut answers = vec![];
        for ((command, value), parts) in sent.cmd_iter().zip(values).zip(parts) {
            if let Some(redirect) = self.redirect(&value) {
                answers.extend(std::iter::repeat_n(redirect, parts).map(Part::Redirected));
                continue;
            }
            match value {
                Value::Array(each) if each.len() == parts => {
                    for (part, value) in each.into_iter().enumerate() {
                        answers.push(match self.redirect(&value) {
                            Some(redirect) => Part::Redirected(redirect),
                            None => Part::Answer(self.accepted(session, command, (part, parts), value).await),
                        });
                    }
                }
                value => {
                    let answer = self.accepted(session, command, (0, 1), value).await;
                    answers.extend(std::iter::repeat_n(answer, parts).map(Part::Answer));
                }
            }
        }
        Ok(answers)
    }

    /// The calls as they were sent, and the replies to them.
    async fn run_raw(
        &self,
        session: &Session,
        calls: Vec<Call>,
        asking: bool,
    ) -> Result<(Pipeline, Vec<Value>)> {
        if calls.is_empty() {
            return Ok((Pipeline::new(), vec![]));
        }
        let scripts: Vec<Script> = calls.iter().map(|call| call.script).collect();
        let sent = pipeline(calls.into_iter().map(Call::finish));
        let mut values = if asking {
            answered(self.transmit(session, &asked(sent.cmd_iter().cloned(), true)).await?, true).collect()
        } else {
            self.transmit(session, &sent).await?
        };
        let missing: Vec<usize> =
            (0..values.len()).filter(|&i| refuses(&values[i], &[Class::NoScript])).collect();
        if !missing.is_empty() {
            // `SCRIPT FLUSH`, or a restart that this connection has survived by way of a proxy.
            let loads = missing.iter().map(|&i| self.scripts().load(scripts[i]));
            let commands: Vec<&Cmd> = sent.cmd_iter().collect();
            let mut again = pipeline(loads);
            for command in asked(missing.iter().map(|&i| commands[i].clone()), asking).cmd_iter() {
                again.add_command(command.clone());
            }
            let answers = self.transmit(session, &again).await?.into_iter().skip(missing.len());
            for (&i, value) in missing.iter().zip(answered(answers, asking)) {
                values[i] = value;
            }
        }
        Ok((sent, values))
    }

    /// Sends one command that changes nothing; it is sent again if the connection ends meanwhile.
    pub(super) async fn query(&self, command: &Cmd) -> Result<Value> {
        self.read_all(vec![command.clone()]).await.map(|mut values| values.swap_remove(0))
    }

    /// [`query`](Self::query) for several commands in one pipeline. The fence is read behind them: what was read before it was
    /// raised was true.
    pub(super) async fn read_all(&self, mut commands: Vec<Cmd>) -> Result<Vec<Value>> {
        let Some(epoch) = self.epoch().filter(|_| !commands.is_empty()) else {
            return self.read_unfenced(commands).await;
        };
        commands.push(redis::cmd("GET").arg(self.keys().cluster_fence()).to_owned());
        let mut values = self.read_unfenced(commands).await?;
        match values.pop() {
            Some(fence) if !admits(&fence, epoch) => Err(moved(self.name(), fence)),
            _ => Ok(values),
        }
    }

    /// [`read_all`](Self::read_all) of keys that every host has.
    pub(super) async fn read_unfenced(&self, commands: Vec<Cmd>) -> Result<Vec<Value>> {
        if commands.is_empty() {
            return Ok(vec![]);
        }
        let (pipeline, mut session) = (pipeline(commands), self.session().await?);
        let mut asked = 0;
        loop {
            asked += 1;
            match self.send(&session, &pipeline).await {
                Err(error) if error.kind() == ErrorKind::Ambiguous && asked < MAX_ASKED => {
                    session = self.session_after(&session).await?;
                }
                values => return values?.into_iter().collect(),
            }
        }
    }

    /// [`read_all`](Self::read_all) for a known number of commands.
    pub(super) async fn read<const N: usize>(&self, commands: [Cmd; N]) -> Result<[Value; N]> {
        let values = self.read_all(commands.into()).await?;
        values.try_into().map_err(|_| unexpected(self.name(), "a pipeline"))
    }

    /// Sends one command, once.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub(super) async fn command(&self, command: &Cmd) -> Result<Value> {
        let session = self.session().await?;
        self.send(&session, &pipeline([command.clone()])).await?.swap_remove(0)
    }

    /// The replies to the commands, in order, each accepted or refused. A connection without an answer is given up.
    pub(super) async fn send(&self, session: &Session, commands: &Pipeline) -> Result<Vec<Result<Value>>> {
        let values = self.transmit(session, commands).await?;
        Ok(self.each_accepted(session, commands, values, PATIENCE).await)
    }

    /// Sends commands on a caller's own keys, piece by piece: the host works on the first while the others are written. Returns the
    /// replies as they came: a refusal is one. All of it, calls that are sent on included, takes no longer than `within`. The
    /// connection stays: the caller may only have been impatient.
    ///
    /// # Errors
    /// As [`run`](Self::run), for all, and for each that was sent on.
    pub(super) async fn send_within(
        &self,
        session: &Session,
        pieces: Vec<Piece<'_>>,
        within: Duration,
    ) -> Result<Vec<Result<Value>>> {
        let until = self.clock().monotonic().saturating_add(within);
        // The connection keeps the order in which they are polled first.
        let sent = pieces.into_iter().map(async |write| {
            let commands = write();
            let values = self.transmit_within(session, &commands, within).await?;
            Ok::<_, Error>((commands, values))
        });
        let answered: Vec<(Pipeline, Vec<Value>)> = try_join_all(sent).await?;
        let left = until.saturating_sub(self.clock().monotonic());
        let bounds = Bounds { patience: PATIENCE.min(left), hop: left, all: left };
        if !answered.iter().any(|(_, values)| self.has_refusals(values)) {
            return Ok(answered.into_iter().flat_map(|(_, values)| values).map(Ok).collect());
        }
        // Together, so that those for one other node keep their order.
        let commands = pipeline(answered.iter().flat_map(|(commands, _)| commands.cmd_iter()).cloned());
        let values = answered.into_iter().flat_map(|(_, values)| values).collect();
        Ok(self.settled(&commands, values, bounds).await)
    }

    /// Whether another node may have the keys of some of the commands.
    fn has_refusals(&self, values: &[Value]) -> bool {
        self.is_node() && values.iter().any(|value| matches!(value, Value::ServerError(_)))
    }

    /// Replies, each from the node that has the keys.
    async fn settled(&self, commands: &Pipeline, values: Vec<Value>, bounds: Bounds) -> Vec<Result<Value>> {
        if self.has_refusals(&values) {
            // Boxed: it is rare, and its state would be part of every call.
            return Box::pin(self.follow(commands, values, bounds)).await;
        }
        values.into_iter().map(Ok).collect()
    }

    async fn each_accepted(
        &self,
        session: &Session,
        commands: &Pipeline,
        values: Vec<Value>,
        patience: Duration,
    ) -> Vec<Result<Value>> {
        let mut answers = self.settled(commands, values, Bounds::internal(patience)).await;
        for (command, answer) in commands.cmd_iter().zip(&mut answers) {
            if let Ok(value @ Value::ServerError(_)) = answer {
                let value = std::mem::replace(value, Value::Nil);
                *answer = self.accepted(session, command, (0, 1), value).await;
            }
        }
        answers
    }

    /// The reply to one of so many parts of a command, or the refusal: of a key of another type with what is there.
    async fn accepted(
        &self,
        session: &Session,
        command: &Cmd,
        (part, parts): (usize, usize),
        value: Value,
    ) -> Result<Value> {
        let Value::ServerError(refused) = &value else { return Ok(value) };
        let refusal = Refusal::of(refused);
        let error = refusal.error(self.name());
        if refusal.class() != Class::Type {
            return Err(error);
        }
        let keys = keys_of(command);
        let each = (keys.len() / parts).max(1);
        let (first, count) = refusal.foreign_key().map_or((part * each, each), |key| (key, 1));
        let keys: Vec<&[u8]> = keys.into_iter().skip(first).take(count).collect();
        let asks = keys.iter().map(|key| redis::cmd("TYPE").arg(*key).to_owned());
        let asks = pipeline(asks);
        let Ok(kinds) = Box::pin(self.transmit(session, &asks)).await else { return Err(error) };
        let kinds = self.settled(&asks, kinds, Bounds::internal(PATIENCE)).await.into_iter();
        let kinds = kinds.map(|kind| kind.ok().and_then(text).unwrap_or_default());
        Err(foreign(self.name(), self.keys(), keys.into_iter().zip(kinds))
            .map_or(error.clone(), |text| Error::new(error.kind(), text).with_retry(error.retry())))
    }
}

/// The keys of a script call, or of a plain command, which has one.
fn keys_of(command: &Cmd) -> Vec<&[u8]> {
    let words: Vec<&[u8]> = command
        .args_iter()
        .filter_map(|word| match word {
            Arg::Simple(word) => Some(word),
            _ => None,
        })
        .collect();
    let is_call = words.first().is_some_and(|word| word.eq_ignore_ascii_case(b"EVALSHA"));
    let number = words.get(2).and_then(|number| std::str::from_utf8(number).ok()?.parse().ok());
    match number.filter(|_| is_call) {
        Some(number) => words.into_iter().skip(3).take(number).collect(),
        None => words.into_iter().skip(1).take(1).collect(),
    }
}
