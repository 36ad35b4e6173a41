//! The connections to a SQLite database.

use std::{str::FromStr, sync::Arc, time::Duration};

use forebay::{Clock, Error, ErrorKind, Result, time::secs};
use sqlx::{
    ConnectOptions as _, Connection as _, Executor as _, SqlSafeStr as _, SqliteConnection, SqlitePool,
    Transaction,
    pool::PoolConnection,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::{
    dialect::SqliteDialect,
    file::{OpenFile, create_private},
    transaction::Open,
};
use crate::common::{
    database::{self, Access},
    error::message,
};

/// How long a statement waits for another process that writes, before it fails with `database is locked`.
const BUSY_TIMEOUT: Duration = secs(5);

/// How many connections only read. One more connection writes.
const MAX_READERS: u32 = 4;

/// The page cache of a connection, as a negative number of KiB. A batch touches a page per row of a large table. With
/// SQLite's 2 MB, pages spill into the log and are read again (a third of the time of a batch of 5 000 rows among 200 000).
const CACHE_SIZE: &str = "-32000";

/// After how many pages the write-ahead log is copied into the database. With SQLite's 1 000, every batch of 5 000 scattered
/// rows pays for a copy. 10 000 pages are 40 MB of log.
const CHECKPOINT_PAGES: &str = "10000";

/// An open database.
#[derive(Debug)]
pub(super) struct Database {
    /// For messages.
    name: String,
    reads: SqlitePool,
    writes: SqlitePool,
    /// Held by the transaction that writes. SQLite has one writer. Waiting for it inside SQLite means polling; here it is a
    /// queue.
    write_permit: Arc<Mutex<()>>,
    /// Whether the pools are the user's, with the user's settings.
    shared: bool,
    /// `None` for a database in memory or of the user.
    file: Option<Arc<OpenFile>>,
}

impl Database {
    /// Opens the database that `url` names.
    pub(super) async fn open(url: &str) -> Result<Self> {
        let failed = |error: sqlx::Error| {
            Error::new(
                ErrorKind::Unavailable,
                format!("opening SQLite database {url}: {error} (its directory must exist and be writable)"),
            )
        };
        let location = Location::parse(url)?;
        let path = location.options.get_filename().to_owned();
        if location.creates {
            create_private(&path);
        }
        let options = location
            .options
            .busy_timeout(BUSY_TIMEOUT)
            // The store forgets a batch when it is committed, so a commit has to survive a power cut. EXTRA is FULL
            // that also covers a rollback journal, for a file that cannot have a write-ahead log.
            .synchronous(SqliteSynchronous::Extra)
            .pragma("cache_size", CACHE_SIZE)
            .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
            // Data to undo a failed statement is kept in memory, not in a file.
            .pragma("temp_store", "memory")
            .disable_statement_logging();
        // One connection that is never closed. A database in memory ends with it, and elsewhere its cache stays warm and its
        // statements stay prepared.
        let one = SqlitePoolOptions::new()
            .max_connections(1)
            .min_connections(1)
            .idle_timeout(None)
            .max_lifetime(None);
        let writes = one.connect_with(options.clone()).await.map_err(failed)?;
        let reads = if location.memory {
            writes.clone()
        } else {
            write_ahead(&writes, url).await;
            // A later connection must not create a new file.
            let options = options.create_if_missing(false);
            SqlitePoolOptions::new().max_connections(MAX_READERS).connect_lazy_with(options)
        };
        let file = (!location.memory).then(|| OpenFile::of(&path)).transpose();
        let file = file.map_err(|error| failed(error.into()))?.map(Arc::new);
        Ok(Self { name: location.name, reads, writes, write_permit: Arc::default(), shared: false, file })
    }

    /// Uses a user's connections.
    pub(super) fn of_pool(pool: SqlitePool) -> Self {
        let name = pool.connect_options().get_filename().display().to_string();
        Self {
            name,
            reads: pool.clone(),
            writes: pool,
            write_permit: Arc::default(),
            shared: true,
            file: None,
        }
    }

    /// Closes the connections, the writing one last: closing the last one moves the log into the file.
    pub(super) async fn close(&self) {
        if !self.shared {
            self.reads.close().await;
            self.writes.close().await;
        }
    }

    /// A connection to read with.
    async fn reader(&self) -> sqlx::Result<PoolConnection<sqlx::Sqlite>> {
        let mut connection = self.reads.acquire().await?;
        reset(&mut connection).await?;
        Ok(connection)
    }
}

impl database::Database for Database {
    type Dialect = SqliteDialect;
    /// With the permit to write, if it is for that.
    type Connection = (PoolConnection<sqlx::Sqlite>, Option<OwnedMutexGuard<()>>);
    type Transaction = Open;

    fn name(&self) -> &str {
        &self.name
    }

    async fn acquire(&self, access: Access) -> sqlx::Result<Self::Connection> {
        if access == Access::Read {
            return Ok((self.reader().await?, None));
        }
        let permit = self.write_permit.clone().lock_owned().await;
        let mut connection = self.writes.acquire().await?;
        reset(&mut connection).await?;
        if self.shared {
            connection.execute("PRAGMA synchronous = EXTRA").await?;
        }
        Ok((connection, Some(permit)))
    }

    /// Immediate if it writes, so that it waits for other writers before it does anything.
    async fn begin(
        &self,
        (connection, permit): Self::Connection,
        access: Access,
        clock: &Clock,
    ) -> sqlx::Result<Open> {
        let begin = (access == Access::Write).then(|| "BEGIN IMMEDIATE".into_sql_str());
        let connection = Transaction::begin(connection, begin).await?;
        Ok(Open { connection, now: clock.now(), file: self.file.clone(), _permit: permit })
    }

    async fn ping(&self) -> sqlx::Result<()> {
        self.file.as_deref().map_or(Ok(()), OpenFile::check)?;
        let mut reader = self.reader().await?;
        sqlx::query(r#"SELECT count(*) FROM "sqlite_schema""#).execute(&mut *reader).await.map(|_| ())
    }
}

/// Turns on the write-ahead log, with which readers and the writer do not block each other. A file that another process has
/// open keeps its journal mode: then they block each other, and nothing else changes.
async fn write_ahead(pool: &SqlitePool, url: &str) {
    match sqlx::query_scalar::<_, String>("PRAGMA journal_mode = WAL").fetch_one(pool).await {
        Ok(mode) if mode == "wal" => {}
        Ok(mode) => tracing::warn!(database = url, mode, "SQLite keeps its journal mode"),
        Err(error) => tracing::warn!(database = url, %error, "SQLite keeps its journal mode"),
    }
}

/// Makes a connection usable after SQLite itself ended its transaction.
///
/// A constraint or a full disk can cause that. The driver counts transactions by its own statements. Its rollback fails, and
/// from then on it believes that a transaction is open. Rolling back a real one corrects that.
async fn reset(connection: &mut SqliteConnection) -> sqlx::Result<()> {
    if !connection.is_in_transaction() {
        return Ok(());
    }
    // Fails if an earlier call was cancelled here. Then there is a transaction already.
    let _ = connection.execute("BEGIN").await;
    // Refused, because the driver believes that a transaction is open. It then rolls back the one that was just begun.
    drop(connection.begin_with("BEGIN").await);
    connection.ping().await?;
    if connection.is_in_transaction() { Err(sqlx::Error::BeginFailed) } else { Ok(()) }
}

/// The database that a URL names.
#[derive(Debug)]
pub(super) struct Location {
    name: String,
    options: SqliteConnectOptions,
    memory: bool,
    /// Whether a missing file is created.
    creates: bool,
}

impl Location {
    pub(super) fn parse(url: &str) -> Result<Self> {
        let invalid = |why: &dyn std::fmt::Display| {
            Error::new(
                ErrorKind::Invalid,
                format!("{url:?} is no SQLite database ({why}): give a path, sqlite:PATH or sqlite::memory:"),
            )
        };
        let (name, options) = match url.strip_prefix("sqlite:") {
            Some(rest) => {
                let path = rest.strip_prefix("//").unwrap_or(rest);
                let options =
                    SqliteConnectOptions::from_str(url).map_err(|error| invalid(&message(&error)))?;
                // A mode in the URL says whether to create the file.
                (path, if path.contains("mode=") { options } else { options.create_if_missing(true) })
            }
            None if url.contains("://") => return Err(invalid(&"another scheme")),
            None => (url, SqliteConnectOptions::new().filename(url).create_if_missing(true)),
        };
        let (path, parameters) = name.split_once('?').unwrap_or((name, ""));
        if path.is_empty() {
            return Err(invalid(&"no path"));
        }
        if path == ":memory:" || parameters.contains("mode=memory") {
            // The driver would share a database in memory by its name. This one is not shared.
            let options = SqliteConnectOptions::new().in_memory(true);
            return Ok(Self { name: ":memory:".into(), options, memory: true, creates: false });
        }
        let creates = !parameters.contains("mode=") || parameters.contains("mode=rwc");
        Ok(Self { name: path.into(), options, memory: false, creates })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_paths_name_databases() {
        let of = |url| Location::parse(url).map(|location| (location.name, location.memory));
        assert_eq!(of("app.db").expect("a path"), ("app.db".into(), false));
        assert_eq!(of("sqlite:app.db").expect("a URL"), ("app.db".into(), false));
        assert_eq!(of("sqlite:///var/app.db?mode=rw").expect("a URL"), ("/var/app.db".into(), false));
        for memory in [":memory:", "sqlite::memory:", "sqlite://:memory:", "sqlite:x?mode=memory"] {
            assert_eq!(of(memory).expect("memory"), (":memory:".into(), true), "{memory}");
        }
        for wrong in ["postgres://localhost/app", "sqlite:", "", "sqlite:app.db?mode=odd"] {
            let error = of(wrong).expect_err(wrong).to_string();
            assert!(error.contains("sqlite:PATH"), "{error}");
        }
    }
}
