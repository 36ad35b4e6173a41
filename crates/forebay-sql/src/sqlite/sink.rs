//! The public type.

use forebay::sink::BoxFuture;
use sqlx::SqlitePool;

use super::{
    dialect::SqliteDialect,
    open::{Database, Location},
};
use crate::common::{public::public_sink, session::Session};

/// A SQLite database that buffers flush to.
///
/// Clones are cheap and share the connections. Several processes may flush to one file.
///
/// # Guarantees
/// A commit survives a power cut (`synchronous` is at least `FULL`): the store forgets a batch when it is committed.
/// The file gets a write-ahead log, unless another process has it open at that moment. Only its owner can read a file that
/// Forebay creates. If the file is deleted or replaced while it is open, no batch is acknowledged until that is undone, or
/// the sink is opened again.
///
/// # Columns
/// Timestamps are text in UTC, `2026-01-01 00:00:00.000000`, in columns declared `DATETIME`, `TIMESTAMP` or `TEXT`.
/// SQLite's own functions, Django, Rails and SQLAlchemy write the same, and it orders by its bytes. In a column declared
/// `INTEGER` they are seconds since 1970, as SQLite's functions take them. UUIDs are lower-case text, or 16 bytes in a
/// `BLOB`. A text key goes into an `INTEGER` column if it is an integer in its one spelling.
///
/// A buffer's table is in the main database of the connection: SQLite does not commit to several files at once.
///
/// # Cost
/// A batch is one transaction: one statement per 512 rows, and one sync of the file.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay_sql::{Missing, Options, Sqlite};
///
/// let database = Sqlite::open("sqlite::memory:").await?;
/// // The same connections, for a buffer that only updates existing rows.
/// let careful = database.with(Options::new().missing(Missing::Skip));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Sqlite(Session<Database>);

public_sink!(Sqlite, SqliteDialect);

impl Sqlite {
    /// Opens a database: a path (`app.db`), a URL (`sqlite:app.db`, `sqlite:///var/app.db?mode=rw`), or
    /// `sqlite::memory:`, which lasts as long as the sink and its clones. The file is created unless the URL has a mode.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](forebay::ErrorKind::Invalid) for a URL of something else;
    /// [`ErrorKind::Unavailable`](forebay::ErrorKind::Unavailable) if the file cannot be opened.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// use forebay::sink::Sink;
    /// use forebay_sql::Sqlite;
    ///
    /// let database = Sqlite::open("sqlite::memory:").await?;
    /// database.ping().await.expect("the database answers");
    /// # Ok(()) }
    /// ```
    pub fn open(url: &str) -> BoxFuture<'_, forebay::Result<Self>> {
        Box::pin(async move { Ok(Self(Session::new(Database::open(url).await?))) })
    }

    /// Checks a URL without connecting, for the check of a configuration. [`open`](Self::open) checks the same first.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](forebay::ErrorKind::Invalid) for a URL of something else.
    ///
    /// # Examples
    /// ```
    /// use forebay_sql::Sqlite;
    /// assert!(Sqlite::check("app.db").is_ok());
    /// assert!(Sqlite::check("mysql://localhost/app").is_err());
    /// ```
    pub fn check(url: &str) -> forebay::Result<()> {
        Location::parse(url).map(|_| ())
    }

    /// Uses an application's connections.
    ///
    /// Those that the sink has used commit durably from then on (`PRAGMA synchronous = EXTRA`); nothing else about them
    /// changes. A pool of a database in memory must not close its connections.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), sqlx::Error> {
    /// use forebay_sql::Sqlite;
    ///
    /// let pool = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await?;
    /// let sink = Sqlite::from_pool(pool);
    /// # Ok(()) }
    /// ```
    pub fn from_pool(pool: SqlitePool) -> Self {
        Self(Session::new(Database::of_pool(pool)))
    }

    /// Closes the connections that [`open`](Self::open) made, also those of clones, after their current work. SQLite then
    /// moves its write-ahead log into the file and removes it. Nothing is lost without a close: the next process that opens
    /// the file does the same. An application's connections stay open.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("app.db").display().to_string();
    /// use forebay_sql::Sqlite;
    ///
    /// let database = Sqlite::open(&path).await?;
    /// database.close().await; // one file now, which can be copied
    /// # Ok(()) }
    /// ```
    pub fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.0.database.close())
    }
}
