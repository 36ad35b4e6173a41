//! The public type.

use forebay::sink::BoxFuture;
use sqlx::PgPool;

use super::{
    dialect::PostgresDialect,
    open::{Database, parse},
};
use crate::common::{public::public_sink, session::Session};

/// A Postgres database that buffers flush to; 12 or newer.
///
/// Clones are cheap and share the connections. Any number of processes may flush to one database.
///
/// # Guarantees
/// A commit survives a power cut: `synchronous_commit` is on for a batch, whatever the default. The server can still lose it
/// (`fsync = off`, an asynchronous standby that is promoted).
///
/// # Columns
/// Sums go into `smallint`, `integer` and `bigint`; a sum that leaves the column's type is a dead letter. Timestamps go
/// into `timestamptz`, or `timestamp` as UTC, down to the column's precision; UUIDs into `uuid`, `text` or `varchar`; texts
/// into `text` and `varchar`, and compare byte by byte. A text key goes into an integer or `uuid` column if it is such a
/// value in its one spelling.
///
/// `forebay_ledger`, `forebay_dead_letters` and `forebay_moves` are in the schema of the buffer's table.
///
/// # Cost
/// A batch is one transaction: one statement per set of columns that its rows write, with an array per column, whatever
/// the number of rows.
///
/// # Examples
/// ```no_run
/// # async fn example() -> forebay::Result<()> {
/// use forebay_sql::{Missing, Options, Postgres};
///
/// let database = Postgres::open("postgres://app@localhost/app").await?;
/// // The same connections, for a buffer whose rows all have to exist.
/// let careful = database.with(Options::new().missing(Missing::DeadLetter));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Postgres(Session<Database>);

public_sink!(Postgres, PostgresDialect);

impl Postgres {
    /// Opens a database by its URL, `postgres://USER:PASSWORD@HOST:PORT/DATABASE`; what it leaves out comes from the
    /// variables that `psql` reads. `?sslmode=verify-full` asks for TLS and checks the server's name.
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
    /// use forebay_sql::Postgres;
    ///
    /// let database = Postgres::open("postgres://app@localhost/app").await?;
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
    /// use forebay_sql::Postgres;
    /// assert!(Postgres::check("postgres://app@localhost/app?sslmode=require").is_ok());
    /// assert!(Postgres::check("postgres://app@localhost/app?sslmod=require").is_err());
    /// ```
    pub fn check(url: &str) -> forebay::Result<()> {
        parse(url).map(|_| ())
    }

    /// Uses an application's connections. Nothing about them changes outside the sink's own transactions.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example() -> Result<(), sqlx::Error> {
    /// use forebay_sql::Postgres;
    ///
    /// let pool = sqlx::PgPool::connect("postgres://app@localhost/app").await?;
    /// let sink = Postgres::from_pool(pool);
    /// # Ok(()) }
    /// ```
    pub fn from_pool(pool: PgPool) -> Self {
        Self(Session::new(Database::of_pool(pool)))
    }
}
