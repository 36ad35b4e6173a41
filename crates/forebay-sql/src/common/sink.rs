//! The sink, for every database.

use std::{fmt, sync::Arc, time::Duration};

use forebay::{
    Clock, Error, ErrorKind,
    buffer::{Merge, RowKey, Schema},
    sink::{Applied, Batch, BoxFuture, DeadLetter, Replayed, SinkError, Snapshot},
    time::mins,
};
use uuid::Uuid;

use super::{
    catalogue::Found,
    database::{Access, Database, Steps as _, Tables as _},
    datetime,
    dead::{self, stored_key},
    error::{self, Class},
    ledger::{Entry, Ledger as _, PRUNE_AT_ONCE, check_age},
    merge::merge,
    moves::{self, Lock, Moves as _, Place, relocate},
    plan::Plan,
    replay::{Letters as _, replay},
    state::State,
};
use crate::{Migrate, Options, Totals};

/// How long a transaction may take. A server that is gone without a word would else hold its flusher for ever.
const PATIENCE: Duration = mins(5);

/// A database that buffers flush to, and what is known of its tables. Clones share the connections.
pub(crate) struct SqlSink<D: Database> {
    database: Arc<D>,
    state: State<D::Form>,
}

type Known<D> = Arc<Plan<<D as Database>::Form>>;

impl<D: Database> SqlSink<D> {
    pub(crate) fn new(database: D) -> Self {
        Self { database: Arc::new(database), state: State::new(Options::default()) }
    }

    /// A sink with the same connections and other options.
    pub(crate) fn with(&self, options: Options) -> Self {
        Self { database: self.database.clone(), state: State::new(options) }
    }

    /// What only one kind of database can do.
    #[cfg(feature = "sqlite")]
    pub(crate) fn database(&self) -> &D {
        &self.database
    }

    pub(crate) fn ledger_retention(&self) -> Duration {
        self.state.options.ledger_retention
    }

    pub(crate) async fn prepare(&self, schema: &Schema) -> Result<(), SinkError> {
        self.survey(schema).await?;
        self.prune_if_due().await;
        Ok(())
    }

    pub(crate) async fn apply(&self, batch: &Batch) -> Result<Applied, SinkError> {
        let applied = self.in_time("a batch", Box::pin(self.commit(batch))).await;
        self.state.note(&batch.schema, &applied);
        if applied.is_ok() {
            self.prune_if_due().await;
        }
        applied
    }

    async fn commit(&self, batch: &Batch) -> Result<Applied, SinkError> {
        let plan = self.plan(&batch.schema).await?;
        let writing = |error| self.failed(&format!("writing into table {}", batch.schema.table), &error);
        let mut transaction = self.begin(Access::Write, writing).await?;
        let applied = if transaction.record(&plan, &Entry::batch(batch)).await.map_err(writing)? {
            check_age(&self.name(), batch.id, self.clock().now(), self.ledger_retention())?;
            merge(&mut transaction, &plan, batch).await.map_err(writing)?
        } else {
            let committed = transaction.last_write(&plan, batch.id).await.map_err(writing)?;
            // Whoever has recorded it may still be waiting for the disk.
            transaction.record(&plan, &barrier(&batch.schema)).await.map_err(writing)?;
            Applied::again(batch, committed.and_then(|text| datetime::parse(&text)))
        };
        self.commit_for_good(transaction, &plan, &batch.schema, writing).await?;
        Ok(applied)
    }

    /// Commits, and again if the answer to the first commit does not prove that it is durable.
    async fn commit_for_good(
        &self,
        transaction: D::Open,
        plan: &Plan<D::Form>,
        schema: &Schema,
        doing: impl Fn(sqlx::Error) -> SinkError + Copy + Send,
    ) -> Result<(), SinkError> {
        let may_be_cut_short = transaction.may_be_cut_short();
        transaction.commit().await.map_err(doing)?;
        if may_be_cut_short {
            let mut transaction = self.begin(Access::Write, doing).await?;
            transaction.record(plan, &barrier(schema)).await.map_err(doing)?;
            transaction.commit().await.map_err(doing)?;
        }
        Ok(())
    }

    /// What an operator should know: settings under which a commit is not durable, why batches are not applied.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.state.warnings().into_iter().map(|warning| format!("{}: {warning}", self.name())).collect()
    }

    pub(crate) async fn read(
        &self,
        schema: &Schema,
        row: &RowKey,
        ids: &[Uuid],
    ) -> Result<Snapshot, SinkError> {
        let plan = self.plan(schema).await?;
        let doing = || format!("reading from table {}", schema.table);
        let reading = |error| self.failed(&doing(), &error);
        let mut transaction = self.begin(Access::Read, reading).await?;
        let moves = transaction.moved_with(&plan, schema, &stored_key(row)).await.map_err(reading)?;
        let Place { target, keys } = Place::of(schema, row, &moves).map_err(reading)?;
        let values = target.values(schema).map_err(SinkError::Permanent)?;
        // A key that no row of the table can have is a row that is not there.
        let found = match plan.key(&values) {
            Ok(key) => transaction.find(&plan, schema, &key, Lock::No).await.map_err(reading)?,
            Err(_) => Ok(vec![]),
        };
        let known = transaction.known(&plan.place, ids).await.map_err(reading)?;
        transaction.rollback().await.map_err(reading)?;
        let rows = found.map_err(|why| self.refused(&format!("{}: {why}", doing())))?;
        let applied = ids.iter().copied().filter(|id| known.contains(&id.to_string())).collect();
        Ok(Snapshot { row: rows.into_iter().next(), applied, keys })
    }

    /// Forgets the batches that were applied longer ago than the ledger's retention; returns how many.
    pub(crate) async fn prune(&self) -> Result<u64, SinkError> {
        let pruning = |error| self.failed("pruning the ledger", &error);
        let before = self.state.prune_before();
        let mut pruned = 0;
        for place in self.state.places() {
            loop {
                let mut transaction = self.begin(Access::Write, pruning).await?;
                let rows = transaction.prune(&place, before).await.map_err(pruning)?;
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

    pub(crate) async fn list_dead(
        &self,
        schema: &Schema,
        after: u64,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, SinkError> {
        let plan = self.plan(schema).await?;
        let listing = |error| self.failed("listing dead letters", &error);
        let mut transaction = self.begin(Access::Read, listing).await?;
        let lines = transaction.list(&plan, schema, after, limit).await.map_err(listing)?;
        transaction.rollback().await.map_err(listing)?;
        let letters = lines.into_iter().map(|line| dead::letter(schema, line));
        letters.collect::<Result<_, _>>().map_err(|why| self.refused(&why))
    }

    pub(crate) async fn count_dead(&self, schema: &Schema) -> Result<u64, SinkError> {
        let plan = self.plan(schema).await?;
        let counting = |error| self.failed("counting dead letters", &error);
        let mut transaction = self.begin(Access::Read, counting).await?;
        let count = transaction.count(&plan, schema).await.map_err(counting)?;
        transaction.rollback().await.map_err(counting)?;
        Ok(count.unsigned_abs())
    }

    pub(crate) async fn replay_dead(&self, schema: &Schema, ids: &[u64]) -> Result<Replayed, SinkError> {
        self.in_time("a replay", Box::pin(self.replay_now(schema, ids))).await
    }

    /// Looks at the table first: somebody may have mended it.
    async fn replay_now(&self, schema: &Schema, ids: &[u64]) -> Result<Replayed, SinkError> {
        let plan = self.survey(schema).await?;
        let writing = |error| self.failed(&format!("writing into table {}", schema.table), &error);
        let mut transaction = self.begin(Access::Write, writing).await?;
        let replayed = replay(&mut transaction, &plan, schema, ids).await.map_err(writing)?;
        self.commit_for_good(transaction, &plan, schema, writing).await?;
        Ok(replayed)
    }

    pub(crate) async fn move_row(
        &self,
        schema: &Schema,
        from: &RowKey,
        to: &RowKey,
    ) -> Result<RowKey, SinkError> {
        self.in_time("a move", Box::pin(self.move_now(schema, from, to))).await
    }

    async fn move_now(&self, schema: &Schema, from: &RowKey, to: &RowKey) -> Result<RowKey, SinkError> {
        let plan = self.survey(schema).await?;
        let moving = |error: sqlx::Error| match D::classify(&error) {
            Class::Data => moves::refused(D::reason(&error)),
            _ => self.failed(&format!("moving a row of table {}", schema.table), &error),
        };
        let mut transaction = self.begin(Access::Write, moving).await?;
        let target = relocate(&mut transaction, &plan, schema, from, to).await.map_err(moving)?;
        let target = target.map_err(moves::refused)?;
        // The row may have been moved before, by a transaction that still waits for the disk.
        transaction.record(&plan, &barrier(schema)).await.map_err(moving)?;
        self.commit_for_good(transaction, &plan, schema, moving).await?;
        Ok(target)
    }

    /// Counts the rows of a buffer's table and adds up its `sum` columns, in one snapshot.
    pub(crate) async fn totals(&self, schema: &Schema) -> Result<Totals, SinkError> {
        let plan = self.plan(schema).await?;
        let adding = |error| self.failed(&format!("adding up table {}", schema.table), &error);
        let mut wanted = vec!["count(*)".to_owned()];
        wanted.extend(plan.columns.iter().map(|column| match column.merge {
            // An empty table has a sum of NULL.
            Merge::Sum => format!("coalesce(sum({}), 0)", column.name),
            _ => "NULL".to_owned(),
        }));
        let texts: Vec<String> =
            wanted.iter().map(|of| format!("CAST({of} AS {})", D::DIALECT.text)).collect();
        let sql = format!("SELECT {} FROM {}", texts.join(", "), plan.table);
        let mut transaction = self.begin(Access::Read, adding).await?;
        let texts = transaction.texts(sql, wanted.len()).await.map_err(adding)?;
        transaction.rollback().await.map_err(adding)?;
        let number = |text: Option<String>| text.map(|text| text.parse::<i64>()).transpose();
        let numbers: Result<Vec<Option<i64>>, _> = texts.into_iter().map(number).collect();
        let mut numbers = numbers
            .map_err(|_| self.refused(&format!("table {}: a sum would leave 64 bits", schema.table)))?
            .into_iter();
        let rows = numbers.next().flatten().unwrap_or(0).unsigned_abs();
        Ok(Totals { rows, sums: numbers.collect() })
    }

    pub(crate) async fn ping(&self) -> Result<(), SinkError> {
        self.database.ping().await.map_err(|error| self.failed("asking whether it answers", &error))
    }

    /// What is known of a buffer's table, or what there is to know.
    async fn plan(&self, schema: &Schema) -> Result<Known<D>, SinkError> {
        match self.state.plan(schema) {
            Some(plan) => Ok(plan),
            None => self.survey(schema).await,
        }
    }

    /// Looks at the tables, creates what may be created, and remembers how the buffer fits.
    async fn survey(&self, schema: &Schema) -> Result<Known<D>, SinkError> {
        let looking = |error| self.failed(&format!("looking at table {}", schema.table), &error);
        let refused = |why: String| self.refused(&why);
        D::DIALECT.check(schema).map_err(refused)?;
        let mut transaction = self.begin(Access::Read, looking).await?;
        let mut found = transaction.look(schema).await.map_err(looking)?.map_err(refused)?;
        if !found.lacking.is_empty() || !found.dated {
            transaction.rollback().await.map_err(looking)?;
            if !found.lacking.is_empty() {
                found = self.create(schema, found).await?;
            }
            if !found.dated {
                found.dated = self.add_last_write(schema, &found.place).await;
            }
            transaction = self.begin(Access::Read, looking).await?;
        }
        let Some(table) = found.table else {
            return Err(refused(format!("{} is no table (a view?)", schema.table)));
        };
        let missing = self.state.options.missing.unwrap_or(table.missing());
        let mut plan = Plan::new(schema, &table, missing, &D::DIALECT).map_err(refused)?;
        plan.dated = found.dated;
        plan.warnings = transaction.check(schema, &table, &plan).await.map_err(looking)?.map_err(refused)?;
        transaction.rollback().await.map_err(looking)?;
        if !plan.dated {
            plan.warnings.push(format!(
                "the ledger was made by an older version and does not keep when a batch was last written to, so hits that \
                 a store adds to a batch after its commit are lost: use {}",
                D::DIALECT.add_last_write(schema, &plan.place)
            ));
        }
        for warning in &plan.warnings {
            tracing::warn!(database = self.database.name(), table = plan.table, "{warning}");
        }
        Ok(self.state.know(schema, plan))
    }

    /// Adds the column that a ledger of an older version lacks, if that is allowed; whether it has it now. What goes
    /// wrong is no reason to stop: the older version worked without it.
    async fn add_last_write(&self, schema: &Schema, place: &str) -> bool {
        if self.migrate() == Migrate::No {
            return false;
        }
        let statement = D::DIALECT.add_last_write(schema, place);
        let altering = |error| self.failed("altering the ledger", &error);
        let add = async {
            let mut transaction = self.begin(Access::Write, altering).await?;
            transaction.create(statement).await.map_err(altering)?;
            transaction.commit().await.map_err(altering)
        };
        let added = add.await;
        let look = async {
            let mut transaction = self.begin(Access::Read, altering).await?;
            transaction.look(schema).await.map_err(altering)
        };
        // Somebody else may have added it meanwhile.
        let there = look.await.is_ok_and(|found| found.is_ok_and(|found| found.dated));
        if let Some(error) = added.err().filter(|_| !there) {
            tracing::warn!(%error, "the ledger was not altered");
        }
        there
    }

    fn migrate(&self) -> Migrate {
        self.state.options.migrate.unwrap_or(D::DIALECT.migrate)
    }

    async fn create(&self, schema: &Schema, found: Found) -> Result<Found, SinkError> {
        let lacking = found.lacking.join(", ");
        let script = D::DIALECT.script(schema, &found.place);
        if self.migrate() == Migrate::No {
            return Err(self.refused(&format!(
                "it has no table {lacking}: allow migrate, or create what is not there:\n{script}"
            )));
        }
        let creating = |error| self.failed(&format!("creating {lacking}"), &error);
        let mut transaction = self.begin(Access::Write, creating).await?;
        transaction.create(script).await.map_err(creating)?;
        let found = transaction.look(schema).await.map_err(creating)?;
        transaction.commit().await.map_err(creating)?;
        found.map_err(|why| self.refused(&why))
    }

    /// Gives up what takes longer than a transaction may.
    async fn in_time<T>(
        &self,
        what: &str,
        work: BoxFuture<'_, Result<T, SinkError>>,
    ) -> Result<T, SinkError> {
        self.clock().timeout(PATIENCE, work).await.unwrap_or_else(|| {
            let message = format!("{}: {what} took longer than {PATIENCE:?}", self.name());
            Err(SinkError::Transient(Error::new(ErrorKind::Unavailable, message)))
        })
    }

    /// Begins a transaction. Not to get a connection says nothing about a batch, whatever the server's reason: an account
    /// that is locked, a database that was renamed. It is an outage, and drains when that is mended.
    async fn begin(
        &self,
        access: Access,
        doing: impl Fn(sqlx::Error) -> SinkError + Send,
    ) -> Result<D::Open, SinkError> {
        let connection = self.database.acquire(access).await.map_err(|error| {
            error::failed(&format!("{}: connecting", self.name()), Class::Transient, &error)
        })?;
        self.database.begin(connection, access, self.clock()).await.map_err(doing)
    }

    fn clock(&self) -> &Clock {
        &self.state.options.clock
    }

    /// For messages.
    fn name(&self) -> String {
        format!("{} {}", D::NAME, self.database.name())
    }

    fn failed(&self, doing: &str, error: &sqlx::Error) -> SinkError {
        error::failed(&format!("{}: {doing}", self.name()), D::classify(error), error)
    }

    fn refused(&self, why: &str) -> SinkError {
        error::refused(format!("{}: {why}", self.name()))
    }
}

fn barrier(schema: &Schema) -> Entry<'_> {
    Entry::barrier(schema.name.as_str())
}

impl<D: Database> Clone for SqlSink<D> {
    fn clone(&self) -> Self {
        Self { database: self.database.clone(), state: self.state.clone() }
    }
}

impl<D: Database> fmt::Debug for SqlSink<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(D::NAME)
            .field("database", &self.database.name())
            .field("options", &self.state.options)
            .finish_non_exhaustive()
    }
}
