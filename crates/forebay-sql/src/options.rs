//! What a user may choose about a sink.

use std::{fmt, time::Duration};

use forebay::{Clock, time::days};

/// What becomes of a row of a batch that the table does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Missing {
    /// It is inserted: an upsert. Default for a table that Forebay created.
    ///
    /// The key needs a primary key or unique index of exactly its columns, and every other column of the table must
    /// be nullable or have a default. An upsert draws a number for each of its rows, also for those that are there:
    /// beside a key of its own, a column that counts up needs 64 bits.
    Insert,
    /// It is left out, as a plain `UPDATE` does. Default for every other table: a counter belongs to a row that the
    /// application made, and a row that is gone stays gone.
    Skip,
    /// It goes to `forebay_dead_letters`. The key must be unique, as for [`Insert`](Self::Insert).
    DeadLetter,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Insert => "insert",
            Self::Skip => "skip",
            Self::DeadLetter => "dead_letter",
        })
    }
}

/// Whether a sink may create the tables it misses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Migrate {
    /// It creates them. What is there is never altered, except that a ledger of an older version gets the column
    /// `last_write`.
    Yes,
    /// It refuses to work without them, and says what to create.
    No,
}

impl From<bool> for Migrate {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

/// How a sink treats the buffers that flush through it.
///
/// ```
/// use forebay_sql::{Migrate, Missing, Options};
/// let options = Options::new().migrate(Migrate::No).missing(Missing::Skip);
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until a sink has them"]
pub struct Options {
    pub(crate) migrate: Option<Migrate>,
    pub(crate) missing: Option<Missing>,
    pub(crate) ledger_retention: Duration,
    pub(crate) clock: Clock,
}

impl Default for Options {
    fn default() -> Self {
        Self { migrate: None, missing: None, ledger_retention: days(7), clock: Clock::system() }
    }
}

impl Options {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether to create missing tables; default [`Migrate::Yes`] for SQLite, else [`Migrate::No`].
    pub fn migrate(mut self, migrate: Migrate) -> Self {
        self.migrate = Some(migrate);
        self
    }

    /// What becomes of rows that the table does not have; the default depends on who made the table, see [`Missing`].
    pub fn missing(mut self, missing: Missing) -> Self {
        self.missing = Some(missing);
        self
    }

    /// How long the ledger remembers a batch, default 7 days.
    ///
    /// A batch older than this that the ledger does not know is refused, because nobody can tell any more whether it
    /// was applied. Longer than any outage of the database, then; a row of the ledger is some 100 bytes.
    pub fn ledger_retention(mut self, retention: Duration) -> Self {
        self.ledger_retention = retention;
        self
    }

    /// Whose time the ledger and the dead letters show; default the machine's.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }
}
