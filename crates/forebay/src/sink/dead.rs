//! Rows that a table refused.

use uuid::Uuid;

use crate::{
    error::{Error, ErrorKind, Result},
    model::Row,
    sink::SinkError,
    time::Timestamp,
};

/// A row that a table refused. It is kept beside the table until somebody has mended what was in its way and replays it.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// Its name, from 1. A larger one came later, but two transactions at once may show theirs in either order.
    pub id: u64,
    /// The batch that it was in.
    pub batch: Uuid,
    /// When it was first refused.
    pub at: Timestamp,
    /// Why it was last refused.
    pub reason: String,
    /// What it would merge, and into which row; an error that quotes what is there, if that does not fit the buffer's
    /// definition any more.
    pub row: Result<Row>,
}

/// What a replay of dead letters came to. A letter that was asked for and is in neither list was not there: somebody has
/// replayed it before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// The letters whose values are in the table now; they are gone.
    pub applied: Vec<u64>,
    /// Those that were refused again, and why: they stay, with this as their reason.
    pub refused: Vec<(u64, String)>,
}

/// What a sink answers that does not keep what it is asked for.
pub(super) fn unsupported(what: &str) -> SinkError {
    SinkError::Permanent(Error::new(ErrorKind::Unsupported, format!("this sink keeps no {what}")))
}
