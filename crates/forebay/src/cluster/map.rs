//! Gathering commands, and running them.

use std::{
    fmt,
    marker::PhantomData,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::{Answers, Argument, Fate, HostAnswer, Target, answers::Answered};
use crate::{
    error::{Result, invalid, out_of_range},
    model::{Command, FromReply, Reply, Verb, command::unfit},
    store::Store,
    time::{days, secs},
};

/// The longest time to live that [`Map::expire`] sets: a hundred years. Nobody means more, and far above it
/// stores refuse or, worse, wrap around.
pub const MAX_TTL: Duration = days(36_500);

/// How long a map waits for its answers unless told otherwise.
const DEADLINE: Duration = secs(1);

/// Commands that will be sent together.
///
/// Each method gives a [`Ticket`], with which [`Answers`] are asked. Commands for one host are executed in
/// the order in which they were added, each on its own, others' commands perhaps between them; between hosts there is
/// no order. The same command twice is two commands.
#[derive(Debug)]
#[must_use = "commands are sent by `run`"]
pub struct Map {
    store: Store,
    id: u64,
    deadline: Duration,
    entries: Vec<Entry>,
}

/// A command on its way.
#[derive(Debug)]
struct Entry {
    command: Command,
    /// Otherwise the key decides.
    host: Option<usize>,
    /// Why it is not sent at all.
    refused: Option<crate::Error>,
}

/// Stands for the answer to one command, a `T`.
pub struct Ticket<T> {
    pub(super) map: u64,
    pub(super) index: usize,
    answer: PhantomData<fn() -> T>,
}

impl<T> Clone for Ticket<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Ticket<T> {}

impl<T> fmt::Debug for Ticket<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ticket").field(&self.index).finish()
    }
}

impl Map {
    pub(super) fn new(store: Store) -> Self {
        /// Tells the tickets of one map from those of another. Only uniqueness matters, so no order is needed.
        static MAPS: AtomicU64 = AtomicU64::new(0);
        Self { store, id: MAPS.fetch_add(1, Ordering::Relaxed), deadline: DEADLINE, entries: vec![] }
    }

    /// How long [`run`](Self::run) waits at most, for all hosts together; default 1 s.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Reads a value: as `Option<i64>`, `Option<String>`, `Option<Vec<u8>>`, …
    pub fn get<T: FromReply>(&mut self, key: impl Argument) -> Ticket<T> {
        self.push(&key, Verb::Get)
    }

    /// Writes a value, which then has no time to live.
    pub fn set(&mut self, key: impl Argument, value: impl Argument) -> Ticket<()> {
        self.push(&key, Verb::Set(value.to_bytes()))
    }

    /// Adds to an integer, which begins at 0; answers the sum. The key keeps its time to live.
    pub fn incr(&mut self, key: impl Argument, by: i64) -> Ticket<i64> {
        self.push(&key, Verb::Incr(by))
    }

    /// Removes a key; answers whether it was there.
    pub fn del(&mut self, key: impl Argument) -> Ticket<bool> {
        self.push(&key, Verb::Del)
    }

    /// Gives a key `ttl` to live from now, 0 to [`MAX_TTL`], rounded up to milliseconds; answers whether it was there.
    pub fn expire(&mut self, key: impl Argument, ttl: Duration) -> Ticket<bool> {
        let ms = u64::try_from(ttl.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        let refused = (ttl > MAX_TTL).then(|| {
            out_of_range(format!("time to live of {} s: at most {} s", ttl.as_secs(), MAX_TTL.as_secs()))
        });
        let command = Command { key: key.to_bytes(), verb: Verb::Expire(ms) };
        self.add(Entry { command, host: None, refused })
    }

    /// Any other command that Redis has, as words, on the host of `key`. Only on Redis.
    ///
    /// The key is given apart, since only the caller knows which of the words it is. Commands that would change
    /// the connection, or wait on it (`MULTI`, `SUBSCRIBE`, `BLPOP`, …), are refused: others share it.
    pub fn raw<T: FromReply>(
        &mut self,
        key: impl Argument,
        words: impl IntoIterator<Item = impl Argument>,
    ) -> Ticket<T> {
        self.push_raw(key.to_bytes(), words, None)
    }

    /// Any command that Redis has, as words, on each host of a [`Target`]. Only on Redis.
    ///
    /// The tickets are in the order of the target's hosts; [`Answers::host`] names them.
    pub fn fanout<T: FromReply>(
        &mut self,
        target: &Target,
        words: impl IntoIterator<Item = impl Argument>,
    ) -> Vec<Ticket<T>> {
        let words: Vec<_> = words.into_iter().map(|word| word.to_bytes()).collect();
        target.hosts.iter().map(|&host| self.push_raw([].into(), &words, Some(host))).collect()
    }

    /// How many commands there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Sends all commands, to all hosts at once, and waits for the answers.
    ///
    /// # Cancellation
    /// Dropping the future may leave any of the commands executed.
    ///
    /// # Cost
    /// One round trip if each host's commands and answers fit into a megabyte, else more. None embedded.
    pub async fn run(self) -> Answers {
        let engine = self.store.engine();
        let mut hosts: Vec<HostAnswer> = engine.hosts().into_iter().map(HostAnswer::idle).collect();
        let mut shares: Vec<Vec<usize>> = vec![vec![]; hosts.len()];
        let mut places = Vec::with_capacity(self.entries.len());
        for (index, entry) in self.entries.iter().enumerate() {
            let host = entry.host.unwrap_or_else(|| engine.host_of(&entry.command.key));
            places.push(host);
            if entry.refused.is_none() {
                shares[host].push(index);
            }
        }
        let sendings =
            shares.iter().enumerate().filter(|(_, share)| !share.is_empty()).map(async |(host, share)| {
                let commands: Vec<&Command> =
                    share.iter().map(|&index| &self.entries[index].command).collect();
                let began = self.store.clock().monotonic();
                let answers = engine.kv(host, &commands, self.deadline).await;
                (host, answers, self.store.clock().monotonic().saturating_sub(began))
            });
        let mut replies: Vec<Option<Result<Reply, _>>> = self.entries.iter().map(|_| None).collect();
        for (host, answers, took) in futures::future::join_all(sendings).await {
            hosts[host].took = took;
            for (&index, answer) in shares[host].iter().zip(answers) {
                replies[index] = Some(answer);
            }
        }
        let answered = self.entries.into_iter().zip(places).zip(replies).map(|((entry, host), reply)| {
            let answer = match entry.refused {
                Some(error) => Err((Fate::NotSent, error)),
                None => reply.expect("an engine answers every command"),
            };
            hosts[host].commands += 1;
            hosts[host].failed += usize::from(answer.is_err());
            Answered { command: entry.command, host, answer }
        });
        Answers { map: self.id, answered: answered.collect(), hosts }
    }

    fn push<T>(&mut self, key: &impl Argument, verb: Verb) -> Ticket<T> {
        self.add(Entry { command: Command { key: key.to_bytes(), verb }, host: None, refused: None })
    }

    fn push_raw<T>(
        &mut self,
        key: Box<[u8]>,
        words: impl IntoIterator<Item = impl Argument>,
        host: Option<usize>,
    ) -> Ticket<T> {
        let words: Vec<_> = words.into_iter().map(|word| word.to_bytes()).collect();
        let refused = unfit(&words).map(|why| invalid(format!("raw command: {why}")));
        self.add(Entry { command: Command { key, verb: Verb::Raw(words) }, host, refused })
    }

    fn add<T>(&mut self, entry: Entry) -> Ticket<T> {
        self.entries.push(entry);
        Ticket { map: self.id, index: self.entries.len() - 1, answer: PhantomData }
    }
}

impl HostAnswer {
    fn idle(host: super::HostStatus) -> Self {
        Self { name: host.name, commands: 0, failed: 0, took: Duration::ZERO }
    }
}
