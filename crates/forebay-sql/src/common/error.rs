//! What a database's errors mean for a batch.

use forebay::{Error, ErrorKind, sink::SinkError};

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Try again later: the connection, a lock, the disk.
    Transient,
    /// A row is to blame.
    Data,
    /// The tables are, or this crate.
    Permanent,
}

/// An error while `doing` something.
///
/// Its text is in the message, and it is not kept as the source as well: logs show messages.
pub(crate) fn failed(doing: &str, class: Class, error: &sqlx::Error) -> SinkError {
    let message = format!("{doing}: {}", message(error));
    match class {
        Class::Transient => SinkError::Transient(Error::new(ErrorKind::Unavailable, message)),
        Class::Data | Class::Permanent => refused(message),
    }
}

/// What no retry mends.
pub(crate) fn refused(message: impl Into<String>) -> SinkError {
    SinkError::Permanent(Error::new(ErrorKind::Configuration, message))
}

/// What the database said, without what the driver adds.
pub(crate) fn message(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(database) => database.message().to_owned(),
        // One inside another: the driver wraps what its own parser of a value says.
        sqlx::Error::Configuration(cause) => match cause.downcast_ref::<sqlx::Error>() {
            Some(inner) => message(inner),
            None => cause.to_string(),
        },
        other => other.to_string(),
    }
}
