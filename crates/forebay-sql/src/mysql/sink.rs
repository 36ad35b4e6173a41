//! The public type.

use forebay::sink::BoxFuture;
use sqlx::MySqlPool;

use super::{
    dialect::MySqlDialect,
    open::{Database, parse},
};
use crate::common::{public::public_sink, session::Session};

/// A MySQL (8.0.17 or newer) or MariaDB (10.6 or newer) database that buffers flush to.
///
/// Clones are cheap and share the connections. Any number of processes may flush to one database.
///
/// # Guarantees
/// A commit survives a power cut if the server's `innodb_flush_log_at_trx_commit` is 1, its default; a session cannot
/// change it, so any other value is a warning in the log.
///
/// # Columns
/// Sums go into integer columns, signed or not. A sum that leaves the column's type is a dead letter, and so is a negative
/// sum that would be inserted into an unsigned column. Timestamps go into `DATETIME` and `TIMESTAMP`, in UTC, down to the
/// column's precision; UUIDs into `BINARY(16)`, `CHAR(36)`, `CHAR(32)` or MariaDB's `UUID`; texts into `VARCHAR`, `CHAR` and
/// `TEXT`, and compare byte by byte whatever the collation. A text key goes into an integer column if it is an integer in
/// its one spelling. A key that ends in a space is a dead letter where the collation ignores that space. Tables that
/// Forebay creates have a collation that does not ignore it. For a table of an older version there is a warning with the
/// statement that changes it.
///
/// `forebay_ledger`, `forebay_dead_letters` and `forebay_moves` are in the database of the buffer's table.
///
/// # Cost
/// A batch is one transaction: one statement per 1 000 rows that write the same columns.
///
/// # Examples
/// ```no_run
/// # async fn example() -> forebay::Result<()> {
/// use forebay_sql::{Missing, MySql, Options};
///
/// let database = MySql::open("mysql://app@localhost/app").await?;
/// // The same connections, for a buffer whose rows all have to exist.
/// let careful = database.with(Options::new().missing(Missing::DeadLetter));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct MySql(Session<Database>);

public_sink!(MySql, MySqlDialect);

impl MySql {
    /// Opens a database by its URL, `mysql://USER:PASSWORD@HOST:PORT/DATABASE`, or `mariadb://`.
    /// `?ssl-mode=VERIFY_IDENTITY` asks for TLS and checks the server's name.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](forebay::ErrorKind::Invalid) for a URL of something else, or with a parameter that is not known;
    /// [`ErrorKind::Unavailable`](forebay::ErrorKind::Unavailable) if the server does not answer. Neither shows
    /// a password.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example() -> forebay::Result<()> {
    /// use forebay::sink::Sink;
    /// use forebay_sql::MySql;
    ///
    /// let database = MySql::open("mysql://app@localhost/app").await?;
    /// database.ping().await.expect("the database answers");
    /// # Ok(()) }
    /// ```
    pub fn open(url: &str) -> BoxFuture<'_, forebay::Result<Self>> {
        Box::pin(async move { Ok(Self(Session::new(Database::open(url).await?))) })
    }

    /// Checks a URL without connecting, for the check of a configuration. [`open`](Self::open) checks the same first.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](forebay::ErrorKind::Invalid) for a URL of something else, or with a parameter that is not known.
    ///
    /// # Examples
    /// ```
    /// use forebay_sql::MySql;
    /// assert!(MySql::check("mysql://app@localhost/app?ssl-mode=REQUIRED").is_ok());
    /// assert!(MySql::check("mysql://app@localhost/app?ssl-mod=REQUIRED").is_err());
    /// ```
    pub fn check(url: &str) -> forebay::Result<()> {
        parse(url).map(|_| ())
    }

    /// Uses an application's connections.
    ///
    /// Those that the sink has used have the time zone UTC, which is the driver's default, and a strict `sql_mode` from
    /// then on; nothing else about them changes.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example() -> Result<(), sqlx::Error> {
    /// use forebay_sql::MySql;
    ///
    /// let pool = sqlx::MySqlPool::connect("mysql://app@localhost/app").await?;
    /// let sink = MySql::from_pool(pool);
    /// # Ok(()) }
    /// ```
    pub fn from_pool(pool: MySqlPool) -> Self {
        Self(Session::new(Database::of_pool(pool)))
    }
}
