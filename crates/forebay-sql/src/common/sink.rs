//! The sink, for every database.

use std::{fmt, time::Duration};

use forebay::{
    buffer::{Merge, RowKey, Schema},
    sink::{Applied, Batch, DeadLetter, Replayed, SinkError, Snapshot},
};
use uuid::Uuid;

use super::{
    batch::merge,
    bindings::Parameters,
    database::{Access, Database},
    dead_letter,
    dialect::Dialect as _,
    error::Class,
    ledger::{self, Entry, MAX_PRUNED_AT_ONCE, check_age},
    moves::{self, Lock, RowLocation, find, locate, relocate},
    plan::Plan,
    prepare::{plan, prepare},
    replay::replay,
    session::Session,
    transaction::Transaction as _,
};
use crate::{Options, Totals};

/// A database that buffers flush to. Clones share the connections.
pub(crate) struct SqlSink<D: Database>(Session<D>);

impl<D: Database> SqlSink<D> {
    pub(crate) fn new(database: D) -> Self {
        Self(Session::new(database))
    }

    /// A sink with the same connections and other options.
    pub(crate) fn with(&self, options: Options) -> Self {
        Self(self.0.with(options))
    }

    /// The database, for what only one kind of database can do.
    #[cfg(feature = "sqlite")]
    pub(crate) fn database(&self) -> &D {
        &self.0.database
    }

    pub(crate) fn ledger_retention(&self) -> Duration {
        self.0.state.options.ledger_retention
    }

    pub(crate) async fn prepare(&self, schema: &Schema) -> Result<(), SinkError> {
        prepare(&self.0, schema).await?;
        self.prune_if_due().await;
        Ok(())
    }

    pub(crate) async fn apply(&self, batch: &Batch) -> Result<Applied, SinkError> {
        let applied = self.0.in_time("a batch", Box::pin(self.apply_now(batch))).await;
        self.0.state.record(&batch.schema, &applied);
        if applied.is_ok() {
            self.prune_if_due().await;
        }
        applied
    }

    async fn apply_now(&self, batch: &Batch) -> Result<Applied, SinkError> {
        let plan = plan(&self.0, &batch.schema).await?;
        let writing = |error| self.0.failed(&format!("writing into table {}", batch.schema.table), &error);
        let mut transaction = self.0.begin(Access::Write, writing).await?;
        let applied = if ledger::record(&mut transaction, &plan, &Entry::batch(batch))
            .await
            .map_err(writing)?
        {
            check_age(&self.0.name(), batch.id, self.0.clock().now(), self.ledger_retention())?;
            merge(&mut transaction, &plan, batch).await.map_err(writing)?
        } else {
            let committed = ledger::last_write(&mut transaction, &plan, batch.id).await.map_err(writing)?;
            // The transaction that recorded the batch may still wait for the disk.
            ledger::record(&mut transaction, &plan, &Entry::barrier(&batch.schema)).await.map_err(writing)?;
            Applied::again(batch, committed)
        };
        self.commit(transaction, &plan, &batch.schema, writing).await?;
        Ok(applied)
    }

    /// Commits, and once more if the answer to the first commit does not prove that it is durable.
    async fn commit(
        &self,
        transaction: D::Transaction,
        plan: &Plan<D::Dialect>,
        schema: &Schema,
        doing: impl Fn(sqlx::Error) -> SinkError + Copy + Send,
    ) -> Result<(), SinkError> {
        let may_be_cut_short = transaction.may_be_cut_short();
        transaction.commit().await.map_err(doing)?;
        if may_be_cut_short {
            let mut transaction = self.0.begin(Access::Write, doing).await?;
            ledger::record(&mut transaction, plan, &Entry::barrier(schema)).await.map_err(doing)?;
            transaction.commit().await.map_err(doing)?;
        }
        Ok(())
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        let warnings = self.0.state.warnings().into_iter();
        warnings.map(|warning| format!("{}: {warning}", self.0.name())).collect()
    }

    pub(crate) async fn read(
        &self,
        schema: &Schema,
        row: &RowKey,
        ids: &[Uuid],
    ) -> Result<Snapshot, SinkError> {
        let plan = plan(&self.0, schema).await?;
        let doing = || format!("reading from table {}", schema.table);
        let reading = |error| self.0.failed(&doing(), &error);
        let mut transaction = self.0.begin(Access::Read, reading).await?;
        let RowLocation { target, keys } =
            locate(&mut transaction, &plan, schema, row).await.map_err(reading)?;
        let values = target.values(schema).map_err(SinkError::Permanent)?;
        // If no row of the table can have a key, there is no such row.
        let found = match plan.key(&values) {
            Ok(key) => find(&mut transaction, &plan, schema, &key, Lock::No).await.map_err(reading)?,
            Err(_) => Ok(vec![]),
        };
        let applied = ledger::known(&mut transaction, &plan.place, ids).await.map_err(reading)?;
        transaction.rollback().await.map_err(reading)?;
        let rows = found.map_err(|why| self.0.refused(&format!("{}: {why}", doing())))?;
        Ok(Snapshot { row: rows.into_iter().next(), applied, keys })
    }

    pub(crate) async fn prune(&self) -> Result<u64, SinkError> {
        let pruning = |error| self.0.failed("pruning the ledger", &error);
        let before = self.0.state.prune_before();
        let mut pruned = 0;
        for place in self.0.state.places() {
            loop {
                let mut transaction = self.0.begin(Access::Write, pruning).await?;
                let rows = ledger::prune(&mut transaction, &place, before).await.map_err(pruning)?;
                transaction.commit().await.map_err(pruning)?;
                pruned += rows;
                if rows < u64::from(MAX_PRUNED_AT_ONCE) {
                    break;
                }
            }
        }
        Ok(pruned)
    }

    /// Prunes if that is due. A failure fails no batch: the next time is soon enough.
    async fn prune_if_due(&self) {
        if !self.0.state.prune_is_due() {
            return;
        }
        if let Err(error) = self.prune().await {
            tracing::warn!(%error, "cannot prune the ledger; trying again in an hour");
        }
    }

    pub(crate) async fn list_dead(
        &self,
        schema: &Schema,
        after: u64,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, SinkError> {
        let plan = plan(&self.0, schema).await?;
        let listing = |error| self.0.failed("listing dead letters", &error);
        let mut transaction = self.0.begin(Access::Read, listing).await?;
        let letters =
            dead_letter::list(&mut transaction, &plan, schema, after, limit).await.map_err(listing)?;
        transaction.rollback().await.map_err(listing)?;
        letters.map_err(|why| self.0.refused(&why))
    }

    pub(crate) async fn count_dead(&self, schema: &Schema) -> Result<u64, SinkError> {
        let plan = plan(&self.0, schema).await?;
        let counting = |error| self.0.failed("counting dead letters", &error);
        let mut transaction = self.0.begin(Access::Read, counting).await?;
        let count = dead_letter::count(&mut transaction, &plan, schema).await.map_err(counting)?;
        transaction.rollback().await.map_err(counting)?;
        Ok(count)
    }

    pub(crate) async fn replay_dead(&self, schema: &Schema, ids: &[u64]) -> Result<Replayed, SinkError> {
        self.0.in_time("a replay", Box::pin(self.replay_now(schema, ids))).await
    }

    /// Inspects the table first, because an operator may have altered it.
    async fn replay_now(&self, schema: &Schema, ids: &[u64]) -> Result<Replayed, SinkError> {
        let plan = prepare(&self.0, schema).await?;
        let writing = |error| self.0.failed(&format!("writing into table {}", schema.table), &error);
        let mut transaction = self.0.begin(Access::Write, writing).await?;
        let replayed = replay(&mut transaction, &plan, schema, ids).await.map_err(writing)?;
        self.commit(transaction, &plan, schema, writing).await?;
        Ok(replayed)
    }

    pub(crate) async fn move_row(
        &self,
        schema: &Schema,
        from: &RowKey,
        to: &RowKey,
    ) -> Result<RowKey, SinkError> {
        self.0.in_time("a move", Box::pin(self.move_now(schema, from, to))).await
    }

    async fn move_now(&self, schema: &Schema, from: &RowKey, to: &RowKey) -> Result<RowKey, SinkError> {
        let plan = prepare(&self.0, schema).await?;
        let moving = |error: sqlx::Error| match D::Dialect::classify(&error) {
            Class::Data => moves::refused(D::Dialect::reason(&error)),
            _ => self.0.failed(&format!("moving a row of table {}", schema.table), &error),
        };
        let mut transaction = self.0.begin(Access::Write, moving).await?;
        let target = relocate(&mut transaction, &plan, schema, from, to).await.map_err(moving)?;
        let target = target.map_err(moves::refused)?;
        // The row may have been moved before, by a transaction that still waits for the disk.
        ledger::record(&mut transaction, &plan, &Entry::barrier(schema)).await.map_err(moving)?;
        self.commit(transaction, &plan, schema, moving).await?;
        Ok(target)
    }

    pub(crate) async fn totals(&self, schema: &Schema) -> Result<Totals, SinkError> {
        let plan = plan(&self.0, schema).await?;
        let adding = |error| self.0.failed(&format!("adding up table {}", schema.table), &error);
        let mut sums = vec!["count(*)".to_owned()];
        sums.extend(plan.columns.iter().map(|column| match column.merge {
            // The sum over an empty table is NULL.
            Merge::Sum => format!("coalesce(sum({}), 0)", column.name),
            _ => "NULL".to_owned(),
        }));
        let texts: Vec<String> = sums.iter().map(|sum| D::Dialect::cast(sum)).collect();
        let sql = format!("SELECT {} FROM {}", texts.join(", "), plan.table);
        let mut transaction = self.0.begin(Access::Read, adding).await?;
        let texts = transaction.query(sql, Parameters::new().into()).await.map_err(adding)?;
        transaction.rollback().await.map_err(adding)?;
        let number = |text: Option<String>| text.map(|text| text.parse::<i64>()).transpose();
        let numbers: Result<Vec<Option<i64>>, _> = texts.into_iter().flatten().map(number).collect();
        let mut numbers = numbers
            .map_err(|_| self.0.refused(&format!("table {}: a sum would leave 64 bits", schema.table)))?
            .into_iter();
        let rows = numbers.next().flatten().unwrap_or(0).unsigned_abs();
        Ok(Totals { rows, sums: numbers.collect() })
    }

    pub(crate) async fn ping(&self) -> Result<(), SinkError> {
        self.0.database.ping().await.map_err(|error| self.0.failed("pinging it", &error))
    }
}

impl<D: Database> Clone for SqlSink<D> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<D: Database> fmt::Debug for SqlSink<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
