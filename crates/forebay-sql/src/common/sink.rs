//! The operations of a sink.

use std::{sync::Arc, time::Duration};

use forebay::{
    ErrorKind,
    buffer::{Merge, RowKey, Schema},
    sink::{Applied, Batch, BoxFuture, DeadLetter, Replayed, SinkError, Snapshot},
};
use uuid::Uuid;

use super::{
    bindings::Parameters,
    database::{Access, Database},
    dead_letter::DeadRow,
    dialect::Dialect as _,
    error::{Class, StepError, permanent},
    ledger::{self, MAX_PRUNED_AT_ONCE, check_age},
    merge::Unreached,
    plan::Plan,
    session::Session,
    transaction::{Checked, Transaction},
    work::Work,
};
use crate::Totals;

impl<D: Database> Session<D> {
    pub(crate) fn ledger_retention(&self) -> Duration {
        self.state.options.ledger_retention
    }

    pub(crate) async fn prepare(&self, schema: &Schema) -> Result<(), SinkError> {
        self.inspect_and_plan(schema).await?;
        self.prune_if_due().await;
        Ok(())
    }

    pub(crate) async fn apply(&self, batch: &Batch) -> Result<Applied, SinkError> {
        let applied = self.in_time("a batch", Box::pin(self.apply_now(batch))).await;
        self.state.record(&batch.schema, &applied);
        if applied.is_ok() {
            self.prune_if_due().await;
        }
        applied
    }

    async fn apply_now<'a>(&'a self, batch: &'a Batch) -> Result<Applied, SinkError> {
        let (schema, plan) = (&batch.schema, self.plan(&batch.schema).await?);
        let applied = self.write(plan, schema, |work| Box::pin(self.apply_once(work, batch))).await;
        applied.map_err(|error| self.failed(&format!("writing into table {}", schema.table), error))
    }

    async fn apply_once(&self, work: &mut Work<'_, D::Transaction>, batch: &Batch) -> Checked<Applied> {
        if work.record_batch(batch).await? {
            check_age(&self.name(), batch.id, self.clock().now(), self.ledger_retention())?;
            return Ok(work.merge_batch(batch).await?);
        }
        let committed = work.last_write(batch.id).await?;
        // The transaction that recorded the batch may still wait for the disk.
        work.record_barrier().await?;
        Ok(Applied::again(batch, committed))
    }

    /// Runs steps in one transaction and commits it, and commits once more if the answer to the first commit does not prove
    /// that it is durable.
    async fn write<'a, R>(
        &self,
        plan: Arc<Plan<D::Dialect>>,
        schema: &'a Schema,
        steps: impl for<'w> FnOnce(&'w mut Work<'a, D::Transaction>) -> BoxFuture<'w, Checked<R>> + Send,
    ) -> Checked<R> {
        let mut work = self.open(Access::Write, plan.clone(), schema).await?;
        let answer = steps(&mut work).await?;
        let may_be_cut_short = work.transaction.may_be_cut_short();
        work.transaction.commit().await?;
        if may_be_cut_short {
            let mut work = self.open(Access::Write, plan, schema).await?;
            work.record_barrier().await?;
            work.transaction.commit().await?;
        }
        Ok(answer)
    }

    /// Runs steps that read one snapshot, while `doing` something.
    async fn snapshot<'a, R>(
        &self,
        doing: &str,
        schema: &'a Schema,
        steps: impl for<'w> FnOnce(&'w mut Work<'a, D::Transaction>) -> BoxFuture<'w, Checked<R>> + Send,
    ) -> Result<R, SinkError> {
        let plan = self.plan(schema).await?;
        let read = async {
            let mut work = self.open(Access::Read, plan, schema).await?;
            let answer = steps(&mut work).await?;
            work.transaction.rollback().await?;
            Ok(answer)
        };
        read.await.map_err(|error: StepError| self.failed(doing, error))
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        let warnings = self.state.warnings().into_iter();
        warnings.map(|warning| format!("{}: {warning}", self.name())).collect()
    }

    pub(crate) async fn read<'a>(
        &self,
        schema: &'a Schema,
        row: &'a RowKey,
        ids: &'a [Uuid],
    ) -> Result<Snapshot, SinkError> {
        let doing = format!("reading from table {}", schema.table);
        self.snapshot(&doing, schema, |work| Box::pin(work.read(row, ids))).await
    }

    pub(crate) async fn prune(&self) -> Result<u64, SinkError> {
        let before = self.clock().now().minus(self.ledger_retention());
        let prune = async {
            let mut pruned = 0;
            for place in self.state.places() {
                loop {
                    let mut transaction = self.begin(Access::Write).await?;
                    let rows = ledger::prune(&mut transaction, &place, before).await?;
                    transaction.commit().await?;
                    pruned += rows;
                    if rows < u64::from(MAX_PRUNED_AT_ONCE) {
                        break;
                    }
                }
            }
            Ok(pruned)
        };
        prune.await.map_err(|error: StepError| self.failed("pruning the ledger", error))
    }

    /// Prunes if that is due. A failure fails no batch: the next time is soon enough.
    async fn prune_if_due(&self) {
        if !self.state.prune_is_due() {
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
        self.snapshot("listing dead letters", schema, |work| Box::pin(work.list_dead(after, limit))).await
    }

    pub(crate) async fn count_dead(&self, schema: &Schema) -> Result<u64, SinkError> {
        self.snapshot("counting dead letters", schema, |work| Box::pin(work.count_dead())).await
    }

    /// Inspects the table first, because an operator may have altered it.
    pub(crate) async fn replay_dead<'a>(
        &'a self,
        schema: &'a Schema,
        ids: &'a [u64],
    ) -> Result<Replayed, SinkError> {
        let replay = async {
            let plan = self.inspect_and_plan(schema).await?;
            let replayed = self.write(plan, schema, |work| Box::pin(work.replay(ids))).await;
            replayed.map_err(|error| self.failed(&format!("writing into table {}", schema.table), error))
        };
        self.in_time("a replay", Box::pin(replay)).await
    }

    pub(crate) async fn move_row<'a>(
        &'a self,
        schema: &'a Schema,
        from: &'a RowKey,
        to: &'a RowKey,
    ) -> Result<RowKey, SinkError> {
        let relocate = async {
            let plan = self.inspect_and_plan(schema).await?;
            let moved = self.write(plan, schema, |work| Box::pin(work.relocate(from, to))).await;
            moved.map_err(|error| match error {
                StepError::Refused(why) => permanent(ErrorKind::OutOfRange, why),
                StepError::Database(error) if D::Dialect::classify(&error) == Class::Data => {
                    permanent(ErrorKind::OutOfRange, D::Dialect::reason(&error))
                }
                error => self.failed(&format!("moving a row of table {}", schema.table), error),
            })
        };
        self.in_time("a move", Box::pin(relocate)).await
    }

    pub(crate) async fn totals(&self, schema: &Schema) -> Result<Totals, SinkError> {
        let doing = format!("adding up table {}", schema.table);
        self.snapshot(&doing, schema, |work| Box::pin(work.totals())).await
    }

    pub(crate) async fn ping(&self) -> Result<(), SinkError> {
        self.database.ping().await.map_err(|error| self.failed("pinging it", error))
    }
}

impl<T: Transaction> Work<'_, T> {
    /// Merges a batch into its table. The rows that the table refuses become dead letters.
    async fn merge_batch(&mut self, batch: &Batch) -> sqlx::Result<Applied> {
        let (mut reached, mut dead) = (0, vec![]);
        for rows in self.follow(&batch.rows).await? {
            let merged = self.merge_rows(&rows, Unreached::AsPlanned).await?;
            reached += merged.reached;
            dead.extend(merged.refused.iter().map(|(i, why)| DeadRow::new(self.schema, &rows[*i], why)));
        }
        if let Some(first) = dead.first() {
            let (buffer, rows, error) = (self.buffer(), dead.len(), &first.reason);
            tracing::warn!(buffer, batch = %batch.id, rows, error, "rows became dead letters; the error is that of the first");
            self.dead_letter(batch.id, &dead).await?;
        }
        Ok(Applied::now(reached, dead.len() as u64))
    }

    async fn read(&mut self, row: &RowKey, ids: &[Uuid]) -> Checked<Snapshot> {
        let (target, keys) = self.locate(row).await?;
        let values = target.values(self.schema).map_err(SinkError::Permanent)?;
        // If no row of the table can have a key, there is no such row.
        let found = match self.plan.key(&values) {
            Ok(key) => self.find(&key, "").await?,
            Err(_) => vec![],
        };
        let applied = self.known(ids).await?;
        Ok(Snapshot { row: found.into_iter().next(), applied, keys })
    }

    async fn totals(&mut self) -> Checked<Totals> {
        let mut sums = vec!["count(*)".to_owned()];
        sums.extend(self.plan.columns.iter().map(|column| match column.merge {
            // The sum over an empty table is NULL.
            Merge::Sum => format!("coalesce(sum({}), 0)", column.name),
            _ => "NULL".to_owned(),
        }));
        let texts: Vec<String> = sums.iter().map(|sum| T::Dialect::cast(sum)).collect();
        let sql = format!("SELECT {} FROM {}", texts.join(", "), self.plan.table);
        let texts = self.query(sql, Parameters::new()).await?;
        let number = |text: Option<String>| text.map(|text| text.parse::<i64>()).transpose();
        let numbers: Result<Vec<Option<i64>>, _> = texts.into_iter().flatten().map(number).collect();
        let too_large = |_| format!("table {}: a sum would leave 64 bits", self.schema.table);
        let mut numbers = numbers.map_err(too_large)?.into_iter();
        let rows = numbers.next().flatten().unwrap_or(0).unsigned_abs();
        Ok(Totals { rows, sums: numbers.collect() })
    }
}
