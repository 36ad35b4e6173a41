//! The options of a sink.

use std::{fmt, time::Duration};

use forebay::{Clock, time::days};

/// The treatment of a row of a batch that the table does not have.
///
/// # Examples
/// ```
/// use forebay_sql::Missing;
/// assert_eq!(Missing::DeadLetter.to_string(), "dead_letter"); // as in the server's configuration
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Missing {
    /// Inserts it, by an upsert. Default for a table that Forebay created.
    ///
    /// The key needs a primary key or unique index of exactly its columns, and every other column of the table must
    /// be nullable or have a default. An upsert draws a number for each of its rows, also for those that exist. So an
    /// auto-increment column beside the key needs 64 bits.
    Insert,
    /// Leaves it out, as a plain `UPDATE` does. Default for every other table: a counter belongs to a row that the
    /// application inserted, and a row that was deleted stays deleted.
    Skip,
    /// Inserts it into `forebay_dead_letters`. The key must be unique, as for [`Insert`](Self::Insert).
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

/// Whether a sink may create missing tables.
///
/// # Examples
/// ```
/// use forebay_sql::Migrate;
/// assert_eq!(Migrate::from(true), Migrate::Yes);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Migrate {
    /// Creates them. An existing table is never altered, except that a ledger of an older version gets the column
    /// `last_write`.
    Yes,
    /// Refuses to work without them, and says what to create.
    No,
}

impl From<bool> for Migrate {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

/// The options of a sink, for the buffers that flush through it.
///
/// # Examples
/// ```
/// use forebay_sql::{Migrate, Missing, Options};
/// let options = Options::new().migrate(Migrate::No).missing(Missing::Skip);
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until a sink gets them"]
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
    /// Creates the default options.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets whether to create missing tables; default [`Migrate::Yes`] for SQLite, otherwise [`Migrate::No`].
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// use forebay_sql::{Migrate, Options, Sqlite};
    /// let database = Sqlite::open("sqlite::memory:").await?;
    /// let careful = database.with(Options::new().migrate(Migrate::No)); // a missing table is an error
    /// # Ok(()) }
    /// ```
    pub fn migrate(mut self, migrate: Migrate) -> Self {
        self.migrate = Some(migrate);
        self
    }

    /// Sets what to do with rows that the table does not have; the default depends on who created the table, see [`Missing`].
    pub fn missing(mut self, missing: Missing) -> Self {
        self.missing = Some(missing);
        self
    }

    /// Sets how long the ledger keeps the id of a batch, default 7 days.
    ///
    /// A batch that is older than this and not in the ledger is refused, because it may have been applied before. So this has
    /// to be longer than any outage of the database. A row of the ledger takes about 100 bytes.
    pub fn ledger_retention(mut self, retention: Duration) -> Self {
        self.ledger_retention = retention;
        self
    }

    /// Sets the clock for the times in the ledger and the dead letters; default the machine's.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }
}
