//! The sink.

use std::{fmt, sync::Arc, time::Duration};

use forebay::{
    buffer::{RowKey, Schema, Value},
    sink::{Applied, Batch, BoxFuture, DeadLetter, Replayed, Sink, SinkError, Snapshot},
};
use sqlx::{AssertSqlSafe, Connection as _, SqlitePool, sqlite::SqliteRow};
use uuid::Uuid;

use super::{
    apply::{self, Applying},
    ddl::SQLITE,
    error::classify,
    form::Form,
    ledger, moves,
    open::Database,
    statement,
};
use crate::{
    Options,
    common::{
        datetime, error,
        ledger::{PRUNE_AT_ONCE, check_age},
        merge::merge,
        moves::Place,
        plan::Plan,
        state::State,
    },
};

/// A SQLite database that buffers flush to.
///
/// Clones are cheap and share the connections. Several processes may flush to one file.
///
/// # Guarantees
/// A commit survives a power cut (`synchronous` is at least `FULL`): the store forgets a batch when it is committed.
/// The file gets a write-ahead log, unless somebody else has it open at that moment.
///
/// # Columns
/// Timestamps are text in UTC, `2026-01-01 00:00:00.000000`, in columns declared `DATETIME`, `TIMESTAMP` or `TEXT`: what
/// SQLite's own functions, Django, Rails and SQLAlchemy write, and it orders by its bytes. In a column declared
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
/// // The same connections, for a buffer that only updates rows that are there.
/// let careful = database.with(Options::new().missing(Missing::Skip));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Sqlite {
    pub(super) database: Arc<Database>,
    pub(super) state: State<Form>,
}

impl Sqlite {
    /// Opens a database: a path (`app.db`), a URL (`sqlite:app.db`, `sqlite:///var/app.db?mode=rw`), or
    /// `sqlite::memory:`, which lasts as long as the sink and its clones. The file is created unless the URL has a mode.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](forebay::ErrorKind::Invalid) for a URL of something else;
    /// [`ErrorKind::Unavailable`](forebay::ErrorKind::Unavailable) if the file cannot be opened.
    pub async fn open(url: &str) -> forebay::Result<Self> {
        Ok(Self::new(Database::open(url).await?))
    }

    /// Uses an application's connections.
    ///
    /// Those that the sink has used commit durably from then on (`PRAGMA synchronous = EXTRA`); nothing else about them
    /// changes. A pool of a database in memory must not close its connections.
    pub fn from_pool(pool: SqlitePool) -> Self {
        Self::new(Database::of_pool(pool))
    }

    fn new(database: Database) -> Self {
        Self { database: Arc::new(database), state: State::new(Options::default()) }
    }

    /// Closes the connections that [`open`](Self::open) made, those of clones too, after what they are doing. SQLite then
    /// takes its write-ahead log into the file and removes it. Nothing is lost without: the next who opens the file does
    /// so. An application's connections stay as they are.
    pub async fn close(&self) {
        self.database.close().await;
    }

    /// A sink with the same connections and other options.
    #[must_use = "the sink it is called on keeps its options"]
    pub fn with(&self, options: Options) -> Self {
        Self { database: self.database.clone(), state: State::new(options) }
    }

    /// The statements that create what a buffer needs, for who does so by hand.
    pub fn ddl(schema: &Schema) -> String {
        SQLITE.script(schema, &SQLITE.named_place(schema))
    }

    /// Forgets the batches that were applied longer ago than the ledger's retention, except the newest 1 000: a clock
    /// that jumps ahead must not take what was applied a moment ago. Returns how many.
    ///
    /// Happens by itself when a buffer is prepared, and every hour while batches come.
    ///
    /// # Errors
    /// [`SinkError::Transient`] if the database does not take it now.
    ///
    /// # Cancellation
    /// What was pruned so far stays so.
    pub async fn prune(&self) -> Result<u64, SinkError> {
        let Some(before) = datetime::text(self.state.prune_before()) else {
            return Ok(0);
        };
        let pruning = |error| self.failed("pruning the ledger", &error);
        let mut pruned = 0;
        loop {
            let mut writer = self.database.writer().await.map_err(pruning)?;
            let rows = ledger::prune(&mut writer.connection, &before).await.map_err(pruning)?;
            pruned += rows;
            if rows < u64::from(PRUNE_AT_ONCE) {
                return Ok(pruned);
            }
        }
    }

    /// Prunes if that is due. Its failure is nobody's answer: the next one does it.
    async fn prune_if_due(&self) {
        if !self.state.prune_is_due() {
            return;
        }
        if let Err(error) = self.prune().await {
            tracing::warn!(%error, "the ledger was not pruned");
        }
    }

    async fn apply_batch(&self, batch: &Batch) -> Result<Applied, SinkError> {
        let plan = self.plan(&batch.schema).await?;
        let applied = self.commit(&plan, batch).await;
        self.state.forget_after(&batch.schema, &applied);
        if applied.is_ok() {
            self.prune_if_due().await;
        }
        applied
    }

    async fn commit(&self, plan: &Plan<Form>, batch: &Batch) -> Result<Applied, SinkError> {
        let writing = |error| self.failed(&format!("writing into table {}", batch.schema.table), &error);
        let mut writer = self.database.writer().await.map_err(writing)?;
        let now = self.state.options.clock.now();
        // Immediate: it waits for other writers now, with nothing done yet.
        let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await.map_err(writing)?;
        if !ledger::record(&mut transaction, batch, now).await.map_err(writing)? {
            transaction.rollback().await.map_err(writing)?;
            return Ok(Applied::Before);
        }
        check_age(&self.name(), batch.id, now, self.state.options.ledger_retention)?;
        let mut applying = Applying { connection: &mut transaction, now };
        let applied = merge(&mut applying, plan, batch).await.map_err(writing)?;
        transaction.commit().await.map_err(writing)?;
        Ok(applied)
    }

    async fn read_row(&self, schema: &Schema, row: &RowKey, ids: &[Uuid]) -> Result<Snapshot, SinkError> {
        let plan = self.plan(schema).await?;
        let doing = || format!("reading from table {}", schema.table);
        let reading = |error| self.failed(&doing(), &error);
        let mut reader = self.database.reader().await.map_err(reading)?;
        let mut transaction = reader.begin().await.map_err(reading)?;
        let Place { target, keys } = moves::place(&mut transaction, schema, row).await.map_err(reading)?;
        let values = target.values(schema).map_err(SinkError::Permanent)?;
        // A key that no row of the table can have is a row that is not there.
        let found = match plan.key(&values) {
            Ok(key) => {
                let arguments = apply::bind(key.iter()).map_err(reading)?;
                let query = sqlx::query_with(AssertSqlSafe(statement::select(&plan)), arguments);
                query.fetch_optional(&mut *transaction).await.map_err(reading)?
            }
            Err(_) => None,
        };
        let applied = ledger::known(&mut transaction, ids).await.map_err(reading)?;
        transaction.rollback().await.map_err(reading)?;
        let row = found.map(|row| decode(&plan, &row)).transpose();
        let row = row.map_err(|why| self.refused(&format!("{}: {why}", doing())))?;
        Ok(Snapshot { row, applied, keys })
    }

    async fn ping_file(&self) -> sqlx::Result<()> {
        let mut reader = self.database.reader().await?;
        sqlx::query(r#"SELECT count(*) FROM "sqlite_schema""#).execute(&mut *reader).await.map(|_| ())
    }

    /// For messages.
    fn name(&self) -> String {
        format!("SQLite {}", self.database.name)
    }

    pub(super) fn failed(&self, doing: &str, error: &sqlx::Error) -> SinkError {
        error::failed(&format!("{}: {doing}", self.name()), classify(error), error)
    }

    pub(super) fn refused(&self, why: &str) -> SinkError {
        error::refused(format!("{}: {why}", self.name()))
    }
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite")
            .field("database", &self.database.name)
            .field("options", &self.state.options)
            .finish_non_exhaustive()
    }
}

impl Sink for Sqlite {
    fn prepare<'a>(&'a self, schema: &'a Schema) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async {
            self.survey(schema).await?;
            self.prune_if_due().await;
            Ok(())
        })
    }

    fn apply<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Applied, SinkError>> {
        Box::pin(self.apply_batch(batch))
    }

    fn read<'a>(
        &'a self,
        schema: &'a Schema,
        row: &'a RowKey,
        ids: &'a [Uuid],
    ) -> BoxFuture<'a, Result<Snapshot, SinkError>> {
        Box::pin(self.read_row(schema, row, ids))
    }

    fn ledger_retention(&self) -> Option<Duration> {
        Some(self.state.options.ledger_retention)
    }

    fn dead_letters<'a>(
        &'a self,
        schema: &'a Schema,
        after: u64,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<DeadLetter>, SinkError>> {
        Box::pin(self.list_dead(schema, after, limit))
    }

    fn count_dead<'a>(&'a self, schema: &'a Schema) -> BoxFuture<'a, Result<u64, SinkError>> {
        Box::pin(self.count_dead(schema))
    }

    fn replay_dead<'a>(
        &'a self,
        schema: &'a Schema,
        ids: &'a [u64],
    ) -> BoxFuture<'a, Result<Replayed, SinkError>> {
        Box::pin(self.replay_dead(schema, ids))
    }

    fn move_row<'a>(
        &'a self,
        schema: &'a Schema,
        from: &'a RowKey,
        to: &'a RowKey,
    ) -> BoxFuture<'a, Result<RowKey, SinkError>> {
        Box::pin(self.move_now(schema, from, to))
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(async {
            self.ping_file().await.map_err(|error| self.failed("asking whether it answers", &error))
        })
    }
}

pub(super) fn decode(plan: &Plan<Form>, row: &SqliteRow) -> Result<Box<[Option<Value>]>, String> {
    let columns = plan.columns.iter().enumerate();
    columns
        .map(|(i, column)| column.form.decode(row, i).map_err(|why| format!("column {}: {why}", column.name)))
        .collect()
}
