//! Why a sink does not do what it is asked for.

use std::fmt;

use crate::error::{Error, ErrorKind};

/// Why a batch was not applied. Nothing of it was.
///
/// # Examples
/// ```
/// use forebay::{Error, ErrorKind, sink::SinkError};
/// let error = SinkError::Transient(Error::new(ErrorKind::Unavailable, "the database is down"));
/// assert_eq!(error.to_string(), "the database is down");
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SinkError {
    /// A retry may succeed: connection, deadlock, lock timeout, disk full. The batch is kept.
    Transient(Error),
    /// No retry succeeds: the table or a column is missing. The generation is parked until an operator resolves that.
    Permanent(Error),
}

impl fmt::Display for SinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Transient(error) | Self::Permanent(error)) = self;
        error.fmt(f)
    }
}

impl std::error::Error for SinkError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let (Self::Transient(error) | Self::Permanent(error)) = self;
        error.source()
    }
}

/// The answer of a sink that does not keep what it is asked for.
pub(super) fn unsupported(what: &str) -> SinkError {
    SinkError::Permanent(Error::new(ErrorKind::Unsupported, format!("this sink keeps no {what}")))
}
