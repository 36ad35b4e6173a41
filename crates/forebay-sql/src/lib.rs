//! Sinks for Forebay's buffers: SQL databases, through `sqlx`.
//!
//! A sink takes a batch of merged rows and commits it, together with the batch's id in the table
//! `forebay_ledger`, in one transaction. A batch that comes a second time (its worker died, the answer was
//! lost, another worker had it too) finds its id there and changes nothing. So each batch is applied exactly once.
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
//! [`Sqlite`], [`Postgres`] and [`MySql`] (also for MariaDB) have the same methods and do the same. A test applies random
//! batches to all three and to a model, and compares the rows. Each type's docs list the column types that it accepts.
//!
//! # Tables
//! With [`Migrate::Yes`] a sink creates the missing tables: the buffer's table, `forebay_ledger`,
//! `forebay_dead_letters` and `forebay_moves`. It never alters an existing table, except that a ledger of an older version
//! gets the column that it lacks. A table of your own works as well. It needs the columns, and nothing else about it
//! changes. [`Sink::prepare`](forebay::sink::Sink::prepare) refuses a table that does not fit, with a message that says how
//! to resolve that.
//!
//! [`Missing`] sets what a sink does with a row that the table does not have.
//!
//! # Dead letters
//! A row that the database refuses (a sum that would leave its column, a constraint) does not block its batch. It is
//! inserted into `forebay_dead_letters` in the same transaction, with its key, its values and the reason, and the other
//! rows are applied. Once the reason is resolved, [`replay_dead`](forebay::buffer::BufferHandle::replay_dead) merges it, once.
//!
//! # Moves
//! [`move_row`](forebay::buffer::BufferHandle::move_row) merges a row into another and records that in `forebay_moves`.
//! Later batches follow the record. A batch and a move wait for each other.
//!
//! # Errors
//! [`SinkError::Transient`](forebay::sink::SinkError::Transient): a broken or refused connection, a deadlock, a lock timeout,
//! a full disk, a server that shuts down or is read-only, a missing right. The batch is kept and comes again. The ledger
//! knows whether it was applied before. [`SinkError::Permanent`](forebay::sink::SinkError::Permanent): the tables do not fit.
//!
//! # Features
//! One per database, none by default: `sqlite`, `postgres`, `mysql`. The latter two use rustls with ring for TLS, and
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
