//! The answers to the commands of a map.

use std::{any::type_name, fmt, marker::PhantomData, time::Duration};

use crate::{
    error::{Error, ErrorKind, Result, Retry, invalid},
    model::{Command, Failure, Fate, FromReply, Reply},
};

/// Stands for the answer to one command of a [`Map`](super::Map), a `T`.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::cluster::Ticket;
/// # let bay = forebay::Forebay::open("memory:").await?;
/// let mut map = bay.cluster().map();
/// let hits: Ticket<i64> = map.incr("hits", 5);
/// assert_eq!(map.run().await.get(hits)?, 5);
/// # Ok(()) }
/// ```
pub struct Ticket<T> {
    pub(super) map: u64,
    pub(super) index: usize,
    pub(super) answer: PhantomData<fn() -> T>,
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

/// The error of a command without an answer: the command, its host, its fate, and the cause.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::cluster::Fate;
/// # let bay = forebay::Forebay::open("memory:").await?;
/// let mut map = bay.cluster().map();
/// map.set("name", "forebay");
/// let hits = map.incr("name", 1); // not a number
/// let error = map.run().await.get(hits).unwrap_err();
/// assert_eq!((error.host(), error.fate()), ("embedded", Fate::Rejected));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct CommandError {
    fate: Fate,
    host: Box<str>,
    message: Box<str>,
    cause: Error,
}

impl CommandError {
    /// Whether the command was executed.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::cluster::Fate;
    /// let mut map = bay.cluster().map();
    /// map.set("name", "forebay");
    /// let hits = map.incr("name", 1); // not a number
    /// assert_eq!(map.run().await.get(hits).unwrap_err().fate(), Fate::Rejected);
    /// # Ok(()) }
    /// ```
    pub fn fate(&self) -> Fate {
        self.fate
    }

    /// The name of the host that has the key.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The cause.
    pub fn cause(&self) -> &Error {
        &self.cause
    }

    /// The advice to the caller: [`Retry::Unknown`] after [`Fate::MaybeExecuted`], else as the cause says.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::Retry;
    /// let mut map = bay.cluster().map();
    /// map.set("name", "forebay");
    /// let hits = map.incr("name", 1); // not a number
    /// assert_eq!(map.run().await.get(hits).unwrap_err().retry(), Retry::Never);
    /// # Ok(()) }
    /// ```
    pub fn retry(&self) -> Retry {
        if self.fate == Fate::MaybeExecuted { Retry::Unknown } else { self.cause.retry() }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CommandError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

impl From<CommandError> for Error {
    fn from(error: CommandError) -> Self {
        let retry = error.retry();
        Self::new(error.cause.kind(), error.message).with_retry(retry).with_source(error.cause)
    }
}

/// The answers to the commands of a [`Map`](super::Map). Its tickets select them.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// let mut map = bay.cluster().map();
/// let name = map.get::<Option<String>>("name");
/// let answers = map.run().await;
/// assert_eq!(answers.get(name)?, None);
/// assert!(answers.is_complete());
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "each command has an answer or an error of its own"]
pub struct Answers {
    pub(super) map: u64,
    /// In the order of the tickets.
    pub(super) answered: Vec<Answered>,
    pub(super) hosts: Vec<HostAnswer>,
}

/// A command, its host and its answer.
#[derive(Debug)]
pub(super) struct Answered {
    pub command: Command,
    /// The host's position in [`Answers::hosts`].
    pub host: usize,
    pub answer: Result<Reply, Failure>,
}

/// The answer of one host to its part of a map.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// let mut map = bay.cluster().map();
/// map.del("name");
/// for host in map.run().await.hosts() {
///     assert_eq!((&*host.name, host.commands, host.failed), ("embedded", 1, 0));
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HostAnswer {
    /// Its name.
    pub name: Box<str>,
    /// The number of commands for it.
    pub commands: usize,
    /// How many of them have no answer.
    pub failed: usize,
    /// The time from sending the first command to the last answer, or to giving up.
    pub took: Duration,
}

impl HostAnswer {
    pub(super) fn idle(name: Box<str>) -> Self {
        Self { name, commands: 0, failed: 0, took: Duration::ZERO }
    }
}

impl Answers {
    /// The answer to the command of this ticket. It can be read more than once.
    ///
    /// # Errors
    /// When there is no answer: see [`Fate`]. The fate of a ticket of another map is [`Fate::NotSent`].
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let mut map = bay.cluster().map();
    /// let (hits, name) = (map.incr("hits", 5), map.get::<Option<String>>("name"));
    /// let answers = map.run().await;
    /// assert_eq!((answers.get(hits)?, answers.get(name)?), (5, None));
    /// # Ok(()) }
    /// ```
    pub fn get<T: FromReply>(&self, ticket: Ticket<T>) -> Result<T, CommandError> {
        let Some(answered) = self.answered(ticket) else {
            let cause = invalid("the ticket is of another map: ask the answers of the map that returned it");
            let message = "answer of a map: not sent".into();
            return Err(CommandError { fate: Fate::NotSent, host: "".into(), message, cause });
        };
        match &answered.answer {
            Ok(reply) => T::from_reply(reply).ok_or_else(|| {
                let (is, wanted) = (reply.noun(), type_name::<T>());
                let cause = Error::new(ErrorKind::Invalid, format!("the answer is {is}, not {wanted}"));
                self.error(answered, Fate::Unreadable, &cause)
            }),
            Err((fate, cause)) => Err(self.error(answered, *fate, cause)),
        }
    }

    /// The name of the host for the command of this ticket; `None` for a ticket of another map.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let mut map = bay.cluster().map();
    /// let hits = map.incr("hits", 1);
    /// assert_eq!(map.run().await.host(hits), Some("embedded"));
    /// # Ok(()) }
    /// ```
    pub fn host<T>(&self, ticket: Ticket<T>) -> Option<&str> {
        self.answered(ticket).map(|answered| &*self.hosts[answered.host].name)
    }

    /// Whether every command was executed and answered.
    pub fn is_complete(&self) -> bool {
        self.answered.iter().all(|answered| answered.answer.is_ok())
    }

    /// The errors of the commands without an answer, in the order of the tickets.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let mut map = bay.cluster().map();
    /// map.set("name", "forebay");
    /// let hits = map.incr("name", 1); // not a number
    /// let answers = map.run().await;
    /// assert!(!answers.is_complete() && answers.get(hits).is_err());
    /// for error in answers.failed() {
    ///     println!("{error}"); // the command, its host and what became of it
    /// }
    /// # Ok(()) }
    /// ```
    pub fn failed(&self) -> impl Iterator<Item = CommandError> {
        self.answered.iter().filter_map(|answered| {
            let (fate, cause) = answered.answer.as_ref().err()?;
            Some(self.error(answered, *fate, cause))
        })
    }

    /// The answers of the hosts with commands, in the order of their numbers.
    pub fn hosts(&self) -> impl Iterator<Item = &HostAnswer> {
        self.hosts.iter().filter(|host| host.commands > 0)
    }

    fn answered<T>(&self, ticket: Ticket<T>) -> Option<&Answered> {
        self.answered.get(ticket.index).filter(|_| ticket.map == self.map)
    }

    fn error(&self, answered: &Answered, fate: Fate, cause: &Error) -> CommandError {
        let host = &self.hosts[answered.host].name;
        let message = format!("{} on host {host}: {}", answered.command, fate.phrase());
        CommandError { fate, host: host.clone(), message: message.into(), cause: cause.clone() }
    }
}
