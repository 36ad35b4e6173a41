//! What became of the commands of a map.

use std::{any::type_name, fmt, time::Duration};

use super::Ticket;
use crate::{
    error::{Error, ErrorKind, Result, Retry, invalid},
    model::{Command, Failure, Fate, FromReply, Reply},
};

/// A command without an answer: which, on which host, what may have become of it, and why.
#[derive(Clone, Debug)]
pub struct CommandError {
    fate: Fate,
    host: Box<str>,
    message: Box<str>,
    cause: Error,
}

impl CommandError {
    /// What may have become of the command.
    pub fn fate(&self) -> Fate {
        self.fate
    }

    /// The host that has the key.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Why.
    pub fn cause(&self) -> &Error {
        &self.cause
    }

    /// What the caller can do: [`Retry::Unknown`] after [`Fate::MaybeExecuted`], else as the cause says.
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

/// What became of the commands of a [`Map`](super::Map): ask with its tickets.
#[derive(Debug)]
#[must_use = "each command has an answer or an error of its own"]
pub struct Answers {
    pub(super) map: u64,
    /// In the order in which the tickets were given out.
    pub(super) answered: Vec<Answered>,
    pub(super) hosts: Vec<HostAnswer>,
}

/// A command and what became of it.
#[derive(Debug)]
pub(super) struct Answered {
    pub command: Command,
    /// The host's position in [`Answers::hosts`].
    pub host: usize,
    pub answer: Result<Reply, Failure>,
}

/// How one host fared with its part of a map.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HostAnswer {
    /// Its name.
    pub name: Box<str>,
    /// How many commands were for it.
    pub commands: usize,
    /// How many of them have no answer.
    pub failed: usize,
    /// From sending the first to having the last answer, or giving up.
    pub took: Duration,
}

impl Answers {
    /// The answer to the command of this ticket. May be asked again.
    ///
    /// # Errors
    /// When there is none: see [`Fate`]. A ticket of another map is [`Fate::NotSent`].
    pub fn get<T: FromReply>(&self, ticket: Ticket<T>) -> Result<T, CommandError> {
        let Some(answered) = self.answered(ticket) else {
            let cause = invalid("ticket of another map: ask the answers of the map that gave it");
            let message = "answer of a map: not sent".into();
            return Err(CommandError { fate: Fate::NotSent, host: "".into(), message, cause });
        };
        match &answered.answer {
            Ok(reply) => T::from_reply(reply).ok_or_else(|| {
                let (is, wanted) = (reply.noun(), type_name::<T>());
                let cause = Error::new(ErrorKind::Invalid, format!("the answer is {is}, no {wanted}"));
                self.error(answered, Fate::Unreadable, &cause)
            }),
            Err((fate, cause)) => Err(self.error(answered, *fate, cause)),
        }
    }

    /// The host that the command of this ticket was for; `None` for a ticket of another map.
    pub fn host<T>(&self, ticket: Ticket<T>) -> Option<&str> {
        self.answered(ticket).map(|answered| &*self.hosts[answered.host].name)
    }

    /// Whether every command was executed and answered.
    pub fn is_complete(&self) -> bool {
        self.answered.iter().all(|answered| answered.answer.is_ok())
    }

    /// The errors of the commands without an answer, in the order of the tickets.
    pub fn failed(&self) -> impl Iterator<Item = CommandError> {
        self.answered.iter().filter_map(|answered| {
            let (fate, cause) = answered.answer.as_ref().err()?;
            Some(self.error(answered, *fate, cause))
        })
    }

    /// How the hosts fared that had a part in it, in the order of their numbers.
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
