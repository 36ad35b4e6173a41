//! Where Forebay's buffers flush to: SQL databases, through `sqlx`.
//!
//! A sink takes a batch of merged rows and commits it, together with the batch's id in the table
//! `forebay_ledger`, in one transaction. A batch that comes a second time (its worker died, the answer was
//! lost, another worker had it too) finds its id there and changes nothing: that is what makes a buffer exactly once.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
//! use forebay::{Buffer, Forebay, Timestamp, buffer::Value};
//! use forebay_sql::Sqlite;
//!
//! let bay = Forebay::open("memory:").await?;
//! let projects = bay.buffer(Buffer::new("projects").key("id").sum("hits").max("last_seen"))?;
//! let _flusher = projects.flush_to(Sqlite::open(":memory:").await?).prepare().await?;
//!
//! let now = Timestamp::from_secs(1_767_225_600);
//! for _ in 0..20 {
//!     projects.row("42").add("hits", 1).max("last_seen", now).await?;
//! }
//! assert_eq!(projects.flush().await?, 1); // one row of SQL for twenty hits
//!
//! let cells = projects.value(["42".into()]).await?;
//! assert_eq!(*cells, [Some(Value::from(20)), Some(Value::from(now))]);
//! # Ok(()) }
//! ```
//!
//! # Databases
//! [`Sqlite`], [`Postgres`] and [`MySql`] (which is MariaDB as well) have the same methods and do the same: the same
//! random batches come to the same rows in all three, and in a model. Each says which column types it takes.
//!
//! # Tables
//! With [`Migrate::Yes`] a sink creates what is missing: the buffer's table, `forebay_ledger`,
//! `forebay_dead_letters` and `forebay_moves`. It never alters a table that is there, except that a ledger of an older version gets the column that it lacks. A table of your own works as well; it needs the
//! columns, and nothing else changes about it. What cannot work is refused by
//! [`Sink::prepare`](forebay::sink::Sink::prepare) with a message that says how to mend it.
//!
//! [`Missing`] says what becomes of a row that the table does not have.
//!
//! # Dead letters
//! A row that the database refuses (a sum that would leave its column, a constraint) does not hold up its batch: it is
//! written to `forebay_dead_letters` in the same transaction, with its key, its values and the reason, and the other
//! rows are applied. [`replay_dead`](forebay::buffer::BufferHandle::replay_dead) merges it after all, once, when that has
//! been mended.
//!
//! # Moves
//! [`move_row`](forebay::buffer::BufferHandle::move_row) merges a row into another and notes that in `forebay_moves`, which
//! every batch follows. A batch and a move wait for each other.
//!
//! # Errors
//! [`SinkError::Transient`](forebay::sink::SinkError::Transient): the connection, a deadlock, a lock that was not had in
//! time, a full disk, a server that shuts down or only reads, a connection that is refused for whatever reason, a right that
//! is missing. The batch is kept and comes again; whether it was applied
//! all the same, the ledger knows. [`SinkError::Permanent`](forebay::sink::SinkError::Permanent): the tables do not fit.
//!
//! # Features
//! One per database, none by default: `sqlite`, `postgres`, `mysql`. The latter two speak TLS by rustls with ring, and
//! trust the certificates of the system.

#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
mod common;
#[cfg(feature = "mysql")]
mod mysql;
mod options;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;
mod totals;

#[cfg(feature = "mysql")]
pub use mysql::MySql;
pub use options::{Migrate, Missing, Options};
#[cfg(feature = "postgres")]
pub use postgres::Postgres;
#[cfg(feature = "sqlite")]
pub use sqlite::Sqlite;
pub use totals::Totals;
