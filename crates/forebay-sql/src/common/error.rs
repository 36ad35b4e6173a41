//! Classification of errors, and their messages.

use forebay::{Error, ErrorKind, sink::SinkError};
use sqlx::error::DatabaseError;

/// The reaction of the sink to an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Retries later. The cause is a connection, a lock or the disk.
    Transient,
    /// Finds the row that causes it and makes it a dead letter.
    Data,
    /// Parks the batch. The tables do not fit, or this crate has a mistake.
    Permanent,
}

/// The error of a step on a database.
#[derive(Debug)]
pub(crate) enum StepError {
    /// An error of the database or its driver.
    Database(sqlx::Error),
    /// The reason why the sink cannot go on.
    Refused(String),
    /// An error that is complete.
    Sink(SinkError),
}

impl From<sqlx::Error> for StepError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<String> for StepError {
    fn from(why: String) -> Self {
        Self::Refused(why)
    }
}

impl From<SinkError> for StepError {
    fn from(error: SinkError) -> Self {
        Self::Sink(error)
    }
}

/// Classifies an error. `reported` classifies those that the database itself reported.
pub(crate) fn classify(error: &sqlx::Error, reported: impl FnOnce(&dyn DatabaseError) -> Class) -> Class {
    match error {
        sqlx::Error::Database(error) => reported(&**error),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => Class::Transient,
        _ => Class::Permanent,
    }
}

/// The sink's error for a database error that happened while `doing` something.
///
/// The message contains the text of the database error. It is not kept as the source as well, because logs show messages.
pub(crate) fn failed(doing: &str, class: Class, error: &sqlx::Error) -> SinkError {
    let message = format!("{doing}: {}", message(error));
    match class {
        Class::Transient => SinkError::Transient(Error::new(ErrorKind::Unavailable, message)),
        Class::Data | Class::Permanent => permanent(ErrorKind::Configuration, message),
    }
}

/// An error that no retry resolves.
pub(crate) fn permanent(kind: ErrorKind, message: String) -> SinkError {
    SinkError::Permanent(Error::new(kind, message))
}

/// The database's own message, without the driver's additions.
pub(crate) fn message(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(database) => database.message().to_owned(),
        // The driver wraps the error of its own parser in another of its errors.
        sqlx::Error::Configuration(cause) => match cause.downcast_ref::<sqlx::Error>() {
            Some(inner) => message(inner),
            None => cause.to_string(),
        },
        other => other.to_string(),
    }
}
