//! Maps: commands that are gathered, and run together.

use std::{
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    answers::{Answered, Answers, HostAnswer, Ticket},
    argument::Argument,
};
use crate::{
    engine::Engine,
    error::{Error, Result, invalid, out_of_range},
    model::{Command, Fate, FromReply, Reply, Script, ScriptCall, Verb, command::unfit},
    store::Store,
    time::{days, secs},
};

/// The longest time to live that [`Map::expire`] sets: a hundred years. Far above it stores refuse, or wrap around.
pub const MAX_TTL: Duration = days(36_500);

/// The most commands of one map.
pub const MAX_COMMANDS: usize = 1_000_000;

/// The most bytes of one map: the keys, values and words, and 64 bytes for each command. It does not bound the answers.
pub const MAX_BYTES: usize = 256 << 20;

/// A map waits for its answers for this long, unless [`Map::deadline`] sets another time.
const DEFAULT_DEADLINE: Duration = secs(1);

/// Commands that are sent together.
///
/// Each method returns a [`Ticket`] that selects the command's answer from [`Answers`]. A host executes its commands in the
/// order in which they were added, each on its own; commands of other callers may come between them. There is no order
/// between hosts. The same command twice is two commands.
///
/// A map of more than [`MAX_COMMANDS`] or [`MAX_BYTES`] is not sent at all: each ticket's error names the bound. A host gets a
/// megabyte at a time, and the next one after its answers. All maps of a process together have at most 16 of these on their
/// way to a host; others wait within their deadline.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// let mut map = bay.cluster().map();
/// map.set("name", "forebay");
/// let name = map.get::<String>("name");
/// let gone = map.del("name");
/// let answers = map.run().await;
/// assert_eq!((answers.get(name)?.as_str(), answers.get(gone)?), ("forebay", true));
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "commands are sent by `run`"]
pub struct Map {
    store: Store,
    id: u64,
    deadline: Duration,
    entries: Vec<Entry>,
}

/// A command to send.
#[derive(Debug)]
struct Entry {
    command: Command,
    /// The name of its host; `None`: the host of the key.
    host: Option<Arc<str>>,
    /// Why it is not sent.
    refused: Option<Error>,
}

/// Some of the hosts, for commands that have no key.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// let cluster = bay.cluster();
/// assert_eq!(cluster.target(["embedded"])?, cluster.all());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target(Names);

/// The names of hosts. One needs no allocation, and is never among the others.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Names {
    One(Arc<str>),
    Others(Vec<Arc<str>>),
}

impl Target {
    pub(super) fn one(host: Arc<str>) -> Self {
        Self(Names::One(host))
    }

    pub(super) fn of(hosts: Vec<Arc<str>>) -> Self {
        match &*hosts {
            [host] => Self::one(host.clone()),
            _ => Self(Names::Others(hosts)),
        }
    }

    fn hosts(&self) -> &[Arc<str>] {
        match &self.0 {
            Names::One(host) => std::slice::from_ref(host),
            Names::Others(hosts) => hosts,
        }
    }
}

impl Map {
    pub(super) fn new(store: Store) -> Self {
        /// Tells the tickets of maps apart. Only uniqueness matters, so no order is needed.
        static MAPS: AtomicU64 = AtomicU64::new(0);
        Self { store, id: MAPS.fetch_add(1, Ordering::Relaxed), deadline: DEFAULT_DEADLINE, entries: vec![] }
    }

    /// Sets how long [`run`](Self::run) waits at most, for all hosts together; default 1 s.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::time::millis;
    /// let mut map = bay.cluster().map().deadline(millis(50));
    /// let hits = map.incr("hits", 1);
    /// assert_eq!(map.run().await.get(hits)?, 1);
    /// # Ok(()) }
    /// ```
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Reads a value: as `Option<i64>`, `Option<String>`, `Option<Vec<u8>>`, …
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let mut map = bay.cluster().map();
    /// map.set("count", 42);
    /// let (number, text) = (map.get::<i64>("count"), map.get::<Option<String>>("count"));
    /// let answers = map.run().await;
    /// assert_eq!((answers.get(number)?, answers.get(text)?.as_deref()), (42, Some("42")));
    /// # Ok(()) }
    /// ```
    pub fn get<T: FromReply>(&mut self, key: impl Argument) -> Ticket<T> {
        self.push(&key, Verb::Get)
    }

    /// Writes a value. The key has no time to live afterwards.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let mut map = bay.cluster().map();
    /// let written = map.set("name", "forebay");
    /// map.run().await.get(written)?;
    /// # Ok(()) }
    /// ```
    pub fn set(&mut self, key: impl Argument, value: impl Argument) -> Ticket<()> {
        self.push(&key, Verb::Set(value.to_bytes()))
    }

    /// Adds to an integer, which starts at 0. The answer is the sum. The key keeps its time to live.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let mut map = bay.cluster().map();
    /// let sums = [map.incr("hits", 1), map.incr("hits", 1), map.incr("hits", -5)];
    /// let answers = map.run().await;
    /// assert_eq!(sums.map(|sum| answers.get(sum).ok()), [Some(1), Some(2), Some(-3)]);
    /// # Ok(()) }
    /// ```
    pub fn incr(&mut self, key: impl Argument, by: i64) -> Ticket<i64> {
        self.push(&key, Verb::Incr(by))
    }

    /// Removes a key. The answer is whether it existed.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let mut map = bay.cluster().map();
    /// map.set("name", "forebay");
    /// let existed = [map.del("name"), map.del("name")];
    /// let answers = map.run().await;
    /// assert_eq!(existed.map(|one| answers.get(one).ok()), [Some(true), Some(false)]);
    /// # Ok(()) }
    /// ```
    pub fn del(&mut self, key: impl Argument) -> Ticket<bool> {
        self.push(&key, Verb::Del)
    }

    /// Sets the time to live of a key, 0 to [`MAX_TTL`], rounded up to milliseconds. The answer is whether the key existed.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::time::days;
    /// let mut map = bay.cluster().map();
    /// map.incr("hits", 1);
    /// let existed = map.expire("hits", days(1));
    /// assert!(map.run().await.get(existed)?);
    /// # Ok(()) }
    /// ```
    pub fn expire(&mut self, key: impl Argument, ttl: Duration) -> Ticket<bool> {
        let ms = u64::try_from(ttl.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        let refused = (ttl > MAX_TTL).then(|| {
            out_of_range(format!("time to live of {} s: at most {} s", ttl.as_secs(), MAX_TTL.as_secs()))
        });
        let command = Command { key: key.to_bytes(), verb: Verb::Expire(ms) };
        self.add(Entry { command, host: None, refused })
    }

    /// Reads many values, each with its own ticket: [`get`](Self::get) for each key, on whichever hosts they are.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let mut map = bay.cluster().map();
    /// map.mset([("a", 1), ("b", 2)]);
    /// let values = map.mget::<Option<i64>>(["a", "b", "c"]);
    /// let answers = map.run().await;
    /// let values: Vec<_> = values.into_iter().map(|value| answers.get(value)).collect::<Result<_, _>>()?;
    /// assert_eq!(values, [Some(1), Some(2), None]);
    /// # Ok(()) }
    /// ```
    pub fn mget<T: FromReply>(&mut self, keys: impl IntoIterator<Item = impl Argument>) -> Vec<Ticket<T>> {
        keys.into_iter().map(|key| self.get(key)).collect()
    }

    /// Writes many values, each with its own ticket: [`set`](Self::set) for each pair. Unlike `MSET` of Redis it is not one
    /// atomic step.
    pub fn mset(
        &mut self,
        pairs: impl IntoIterator<Item = (impl Argument, impl Argument)>,
    ) -> Vec<Ticket<()>> {
        pairs.into_iter().map(|(key, value)| self.set(key, value)).collect()
    }

    /// Runs a Lua script on the host of its keys, which it gets as `KEYS` and `ARGV`. Only on Redis.
    ///
    /// At least one key is needed. All keys must be on one host, and in a Redis Cluster in one slot. A server that has lost the
    /// script gets its text again. Only then, or while the slot moves, the script may run after later commands of the map.
    ///
    /// # Examples
    /// ```no_run
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("redis://127.0.0.1").await?;
    /// use forebay::cluster::Script;
    /// let raise = Script::new("if tonumber(ARGV[1]) > tonumber(redis.call('GET', KEYS[1]) or 0) then \
    ///     redis.call('SET', KEYS[1], ARGV[1]) return 1 end return 0");
    /// let mut map = bay.cluster().map();
    /// let raised = map.script::<bool>(&raise, ["peak"], [42]);
    /// println!("{}", map.run().await.get(raised)?);
    /// # Ok(()) }
    /// ```
    pub fn script<T: FromReply>(
        &mut self,
        script: &Script,
        keys: impl IntoIterator<Item = impl Argument>,
        args: impl IntoIterator<Item = impl Argument>,
    ) -> Ticket<T> {
        let keys: Vec<_> = keys.into_iter().map(|key| key.to_bytes()).collect();
        let args = args.into_iter().map(|word| word.to_bytes()).collect();
        let refused = keys.is_empty().then(|| invalid("script: a key decides on its host, and it has none"));
        let key = keys.first().cloned().unwrap_or_default();
        let verb = Verb::Script(Box::new(ScriptCall { script: script.clone(), keys, args }));
        self.add(Entry { command: Command { key, verb }, host: None, refused })
    }

    /// Adds any other Redis command, as words, for the host of `key`. Only on Redis.
    ///
    /// The key is an argument of its own because only the caller knows which word it is. Commands that would change the
    /// connection or block it (`MULTI`, `SUBSCRIBE`, `BLPOP`, …) are refused: other callers share it.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let mut map = bay.cluster().map();
    /// let length = map.raw::<i64>("name", ["STRLEN", "name"]);
    /// let answers = map.run().await;
    /// assert!(answers.get(length).is_err()); // a store in this process has no other commands
    /// # Ok(()) }
    /// ```
    pub fn raw<T: FromReply>(
        &mut self,
        key: impl Argument,
        words: impl IntoIterator<Item = impl Argument>,
    ) -> Ticket<T> {
        self.push_raw(key.to_bytes(), words, None)
    }

    /// Adds any Redis command, as words, for each host of a [`Target`]. Only on Redis.
    ///
    /// The tickets are in the order of the target's hosts. [`Answers::host`] names them.
    ///
    /// # Examples
    /// ```no_run
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("redis://10.0.0.1,10.0.0.2").await?;
    /// let cluster = bay.cluster();
    /// let mut map = cluster.map();
    /// let sizes = map.fanout::<i64>(&cluster.all(), ["DBSIZE"]);
    /// let answers = map.run().await;
    /// for size in sizes {
    ///     println!("{:?}: {} keys", answers.host(size), answers.get(size)?);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn fanout<T: FromReply>(
        &mut self,
        target: &Target,
        words: impl IntoIterator<Item = impl Argument>,
    ) -> Vec<Ticket<T>> {
        let words: Vec<_> = words.into_iter().map(|word| word.to_bytes()).collect();
        target.hosts().iter().map(|host| self.push_raw([].into(), &words, Some(host.clone()))).collect()
    }

    /// The number of commands.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no commands.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Sends all commands, to all hosts at once, and waits for the answers.
    ///
    /// # Cancellation
    /// Dropping the future may leave any of the commands executed.
    ///
    /// # Cost
    /// One round trip if the commands and answers of each host fit into a megabyte, else more. None on the embedded engine.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let mut map = bay.cluster().map();
    /// let hits: Vec<_> = (0..100).map(|user| map.incr(format!("hits:{user}"), 1)).collect();
    /// let answers = map.run().await; // one call to each host
    /// assert!(hits.into_iter().all(|hits| answers.get(hits).is_ok()));
    /// # Ok(()) }
    /// ```
    pub async fn run(mut self) -> Answers {
        let engine = self.store.engine();
        let mut hosts: Vec<HostAnswer> =
            engine.hosts().into_iter().map(|host| HostAnswer::idle(host.name)).collect();
        let places = place(&mut self.entries, engine, &mut hosts);
        if let Some(excess) = excess(&self.entries) {
            self.entries.iter_mut().for_each(|entry| entry.refused = Some(excess.clone()));
        }
        let mut shares: Vec<Vec<usize>> = vec![vec![]; hosts.len()];
        for (index, _) in self.entries.iter().enumerate().filter(|(_, entry)| entry.refused.is_none()) {
            shares[places[index]].push(index);
        }
        let sent =
            shares.iter().enumerate().filter(|(_, share)| !share.is_empty()).map(async |(host, share)| {
                let commands: Vec<&Command> =
                    share.iter().map(|&index| &self.entries[index].command).collect();
                let started = self.store.clock().monotonic();
                let answers = engine.kv(&hosts[host].name, &commands, self.deadline).await;
                (host, answers, self.store.clock().monotonic().saturating_sub(started))
            });
        let mut replies: Vec<Option<Result<Reply, _>>> = self.entries.iter().map(|_| None).collect();
        for (host, answers, took) in futures::future::join_all(sent).await {
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
        host: Option<Arc<str>>,
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

/// Finds the host of each command, and refuses scripts whose keys are on several.
fn place(entries: &mut [Entry], engine: &Engine, hosts: &mut Vec<HostAnswer>) -> Vec<usize> {
    let known = hosts.len();
    let place = |entry: &mut Entry| {
        if let Some(name) = &entry.host {
            return hosts.iter().position(|host| *host.name == **name).unwrap_or_else(|| {
                // It has left since it was chosen. The engine says so.
                hosts.push(HostAnswer::idle((&**name).into()));
                hosts.len() - 1
            });
        }
        let host = engine.host_of(&entry.command.key);
        if let Verb::Script(call) = &entry.command.verb
            && call.keys.iter().any(|key| engine.host_of(key) != host)
        {
            entry.refused = Some(invalid("script: its keys are on several hosts"));
        }
        // Hosts may have left since, or joined.
        host.min(known - 1)
    };
    entries.iter_mut().map(place).collect()
}

/// The bound that a map exceeds.
fn excess(entries: &[Entry]) -> Option<Error> {
    beyond(entries.len(), entries.iter().map(|entry| entry.command.size()).sum())
}

fn beyond(commands: usize, bytes: usize) -> Option<Error> {
    let bounds = [(commands, "commands", MAX_COMMANDS), (bytes, "bytes", MAX_BYTES)];
    let (count, of, most) = bounds.into_iter().find(|(count, _, most)| count > most)?;
    Some(out_of_range(format!("map of {count} {of}: at most {most}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{bay::Forebay, error::ErrorKind};

    #[tokio::test]
    async fn a_map_that_is_too_large_is_not_sent() {
        let cluster = Forebay::open("memory:").await.expect("opens").cluster();
        let mut map = cluster.map();
        let first = map.incr("k", 1);
        map.mget::<Option<i64>>(std::iter::repeat_n("", MAX_COMMANDS));
        let answers = map.run().await;
        let error = answers.get(first).expect_err("too many");
        assert_eq!((error.fate(), error.cause().kind()), (Fate::NotSent, ErrorKind::OutOfRange));
        assert_eq!(answers.failed().count(), MAX_COMMANDS + 1);
        let mut map = cluster.map();
        let nothing = map.get::<Option<i64>>("k");
        assert_eq!(map.run().await.get(nothing).expect("answered"), None);
    }

    #[test]
    fn commands_and_bytes_are_bounded() {
        let text = |commands, bytes| beyond(commands, bytes).map(|error| error.to_string());
        assert_eq!(text(MAX_COMMANDS, MAX_BYTES), None);
        assert!(text(MAX_COMMANDS + 1, 0).is_some_and(|text| text.contains("1000001 commands")));
        assert!(
            text(1, MAX_BYTES + 1).is_some_and(|text| text.contains("268435457 bytes: at most 268435456"))
        );
    }
}
