//! The sink.

use std::{fmt, sync::Arc, time::Duration};

use forebay::{
    Error, ErrorKind,
    buffer::{RowKey, Schema, Value},
    sink::{Applied, Batch, BoxFuture, DeadLetter, Replayed, Sink, SinkError, Snapshot},
    time::mins,
};
use sqlx::{AssertSqlSafe, PgPool, postgres::PgRow};
use uuid::Uuid;

use super::{
    apply::{self, Applying},
    ddl::POSTGRES,
    error::classify,
    form::Form,
    ledger, moves,
    open::Database,
    statement,
};
use crate::{
    Options,
    common::{
        error,
        ledger::{PRUNE_AT_ONCE, check_age},
        merge::merge,
        moves::Place,
        plan::Plan,
        state::State,
    },
};

/// How long a transaction may take. A server that is gone without a word would else hold its flusher for ever.
const PATIENCE: Duration = mins(5);

/// A Postgres database that buffers flush to; 12 or newer.
///
/// Clones are cheap and share the connections. Any number of processes may flush to one database.
///
/// # Guarantees
/// A commit survives a power cut: `synchronous_commit` is on for a batch, whatever the default. What the server itself
/// does with it (`fsync = off`, an asynchronous standby that is promoted) is beyond that.
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
/// // The same connections, for a buffer whose rows all have to be there.
/// let careful = database.with(Options::new().missing(Missing::DeadLetter));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Postgres {
    pub(super) database: Arc<Database>,
    pub(super) state: State<Form>,
}

impl Postgres {
    /// Opens a database by its URL, `postgres://USER:PASSWORD@HOST:PORT/DATABASE`; what it leaves out comes from the
    /// variables that `psql` reads. `?sslmode=verify-full` asks for TLS and checks the server's name.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a URL of something else; [`ErrorKind::Unavailable`] if nobody answers there. Neither shows
    /// a password.
    pub async fn open(url: &str) -> forebay::Result<Self> {
        Ok(Self::new(Database::open(url).await?))
    }

    /// Uses an application's connections. Nothing about them changes outside the sink's own transactions.
    pub fn from_pool(pool: PgPool) -> Self {
        Self::new(Database::of_pool(pool))
    }

    fn new(database: Database) -> Self {
        Self { database: Arc::new(database), state: State::new(Options::default()) }
    }

    /// A sink with the same connections and other options.
    #[must_use = "the sink it is called on keeps its options"]
    pub fn with(&self, options: Options) -> Self {
        Self { database: self.database.clone(), state: State::new(options) }
    }

    /// The statements that create what a buffer needs, for who does so by hand.
    pub fn ddl(schema: &Schema) -> String {
        POSTGRES.script(schema, &POSTGRES.named_place(schema))
    }

    /// Forgets the batches that were applied longer ago than the ledger's retention, except the newest 1 000: a clock
    /// that jumps ahead must not take what was applied a moment ago. Returns how many. Looks at the ledgers beside the
    /// tables that were prepared.
    ///
    /// Happens by itself when a buffer is prepared, and every hour while batches come.
    ///
    /// # Errors
    /// [`SinkError::Transient`] if the database does not take it now.
    ///
    /// # Cancellation
    /// What was pruned so far stays so.
    pub async fn prune(&self) -> Result<u64, SinkError> {
        let pruning = |error| self.failed("pruning the ledger", &error);
        let before = self.state.prune_before();
        let mut pruned = 0;
        for place in self.state.places() {
            loop {
                let mut transaction = self.database.begin().await.map_err(pruning)?;
                let rows = ledger::prune(&mut transaction, &place, before).await.map_err(pruning)?;
                transaction.commit().await.map_err(pruning)?;
                pruned += rows;
                if rows < u64::from(PRUNE_AT_ONCE) {
                    break;
                }
            }
        }
        Ok(pruned)
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
        let applied = self.in_time("a batch", Box::pin(self.commit(batch))).await;
        self.state.forget_after(&batch.schema, &applied);
        if applied.is_ok() {
            self.prune_if_due().await;
        }
        applied
    }

    /// Gives up what takes longer than a transaction may.
    pub(super) async fn in_time<T>(
        &self,
        what: &str,
        work: BoxFuture<'_, Result<T, SinkError>>,
    ) -> Result<T, SinkError> {
        self.state.options.clock.timeout(PATIENCE, work).await.unwrap_or_else(|| {
            let message = format!("{}: {what} took longer than {PATIENCE:?}", self.name());
            Err(SinkError::Transient(Error::new(ErrorKind::Unavailable, message)))
        })
    }

    async fn commit(&self, batch: &Batch) -> Result<Applied, SinkError> {
        let plan = self.plan(&batch.schema).await?;
        let writing = |error| self.failed(&format!("writing into table {}", batch.schema.table), &error);
        let now = self.state.options.clock.now();
        let mut transaction = self.database.begin().await.map_err(writing)?;
        if !ledger::record(&mut transaction, &plan.place, batch, now).await.map_err(writing)? {
            transaction.rollback().await.map_err(writing)?;
            return Ok(Applied::Before);
        }
        check_age(&self.name(), batch.id, now, self.state.options.ledger_retention)?;
        let mut applying = Applying { connection: &mut transaction, now };
        let applied = merge(&mut applying, &plan, batch).await.map_err(writing)?;
        transaction.commit().await.map_err(writing)?;
        Ok(applied)
    }

    async fn read_row(&self, schema: &Schema, row: &RowKey, ids: &[Uuid]) -> Result<Snapshot, SinkError> {
        let plan = self.plan(schema).await?;
        let doing = || format!("reading from table {}", schema.table);
        let reading = |error| self.failed(&doing(), &error);
        let mut transaction = self.database.snapshot().await.map_err(reading)?;
        let Place { target, keys } =
            moves::place(&mut transaction, &plan, schema, row).await.map_err(reading)?;
        let values = target.values(schema).map_err(SinkError::Permanent)?;
        // A key that no row of the table can have is a row that is not there.
        let found = match plan.key(&values) {
            Ok(key) => {
                let columns = plan.keys.iter().zip(&key).map(|(key, cell)| (&key.form, vec![cell]));
                let arguments = apply::bind(columns).map_err(reading)?;
                let query = sqlx::query_with(AssertSqlSafe(statement::select(&plan)), arguments);
                query.fetch_optional(&mut *transaction).await.map_err(reading)?
            }
            Err(_) => None,
        };
        let applied = ledger::known(&mut transaction, &plan.place, ids).await.map_err(reading)?;
        transaction.rollback().await.map_err(reading)?;
        let row = found.map(|row| decode(&plan, schema, &row)).transpose();
        let row = row.map_err(|why| self.refused(&format!("{}: {why}", doing())))?;
        Ok(Snapshot { row, applied, keys })
    }

    /// For messages.
    fn name(&self) -> String {
        format!("Postgres {}", self.database.name)
    }

    pub(super) fn failed(&self, doing: &str, error: &sqlx::Error) -> SinkError {
        error::failed(&format!("{}: {doing}", self.name()), classify(error), error)
    }

    pub(super) fn refused(&self, why: &str) -> SinkError {
        error::refused(format!("{}: {why}", self.name()))
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres")
            .field("database", &self.database.name)
            .field("options", &self.state.options)
            .finish_non_exhaustive()
    }
}

impl Sink for Postgres {
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
        Box::pin(self.in_time("a replay", Box::pin(self.replay_dead(schema, ids))))
    }

    fn move_row<'a>(
        &'a self,
        schema: &'a Schema,
        from: &'a RowKey,
        to: &'a RowKey,
    ) -> BoxFuture<'a, Result<RowKey, SinkError>> {
        Box::pin(self.in_time("a move", Box::pin(self.move_now(schema, from, to))))
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(async {
            let asked = sqlx::query("SELECT 1").execute(&self.database.pool).await;
            asked.map(|_| ()).map_err(|error| self.failed("asking whether it answers", &error))
        })
    }
}

pub(super) fn decode(
    plan: &Plan<Form>,
    schema: &Schema,
    row: &PgRow,
) -> Result<Box<[Option<Value>]>, String> {
    let columns = plan.columns.iter().zip(&schema.columns).enumerate();
    columns
        .map(|(i, (column, of))| {
            let value = column.form.decode(row, i, of.column_type);
            value.map_err(|why| format!("column {}: {why}", column.name))
        })
        .collect()
}
