//! Prepares a buffer: inspects its tables, creates missing ones, and plans how rows are merged.

use std::sync::Arc;

use forebay::{buffer::Schema, sink::SinkError};

use super::{
    database::{Access, Database},
    ddl::{add_last_write, script},
    dialect::Dialect as _,
    error::StepError,
    fit::check_buffer,
    inspect::inspect,
    plan::{MergeMode, Plan},
    session::Session,
    statement,
    table::Inspection,
    transaction::{Checked, Transaction as _},
};
use crate::Migrate;

/// The plan for a buffer.
type PlanOf<D> = Arc<Plan<<D as Database>::Dialect>>;

impl<D: Database> Session<D> {
    /// The plan for a buffer, from memory if it is known.
    pub(crate) async fn plan(&self, schema: &Schema) -> Result<PlanOf<D>, SinkError> {
        match self.state.plan(schema) {
            Some(plan) => Ok(plan),
            None => self.inspect_and_plan(schema).await,
        }
    }

    /// Inspects the tables, creates missing ones if that is allowed, and remembers the plan.
    pub(crate) async fn inspect_and_plan(&self, schema: &Schema) -> Result<PlanOf<D>, SinkError> {
        let plan = self.fit(schema).await;
        let plan = plan.map_err(|error| self.failed(&format!("looking at table {}", schema.table), error))?;
        for warning in &plan.warnings {
            tracing::warn!(database = self.database.name(), table = plan.table, "{warning}");
        }
        Ok(self.state.remember(schema, plan))
    }

    /// Fits a plan to the tables, and creates missing ones if that is allowed.
    async fn fit(&self, schema: &Schema) -> Checked<Plan<D::Dialect>> {
        check_buffer::<D::Dialect>(schema)?;
        let mut transaction = self.begin(Access::Read).await?;
        let mut found = inspect(&mut transaction, schema).await?;
        if !found.missing.is_empty() || !found.dated {
            transaction.rollback().await?;
            if !found.missing.is_empty() {
                found = self.create(schema, found).await?;
            }
            if !found.dated {
                found.dated = self.alter_ledger(schema, &found.place).await;
            }
            transaction = self.begin(Access::Read).await?;
        }
        let Some(table) = found.table else {
            return Err(format!("{} is no table (a view?)", schema.table).into());
        };
        let missing = self.state.options.missing.unwrap_or(table.missing());
        let mut plan = Plan::new(schema, &table, missing)?;
        plan.dated = found.dated;
        plan.warnings = transaction.check_table(schema, &table, &plan).await?;
        // The database has the last word on whether the usual statement fits the table.
        transaction.prepare(statement::merge(&plan, MergeMode::new(&plan, plan.all()), 1)).await?;
        transaction.rollback().await?;
        if !plan.dated {
            plan.warnings.push(format!(
                "the ledger was made by an older version and does not record when a batch was last written to, so hits that \
                 a store adds to a batch after its commit are lost: use {}",
                add_last_write::<D::Dialect>(&plan.place)
            ));
        }
        Ok(plan)
    }

    /// Adds the column that the ledger of an older version lacks, if that is allowed; returns whether the ledger has it now.
    /// An error is no reason to stop, because the older version worked without the column.
    async fn alter_ledger(&self, schema: &Schema, place: &str) -> bool {
        if self.migrate() == Migrate::No {
            return false;
        }
        let add = async {
            let mut transaction = self.begin(Access::Write).await?;
            transaction.before_create().await?;
            transaction.run(add_last_write::<D::Dialect>(place)).await?;
            Ok(transaction.commit().await?)
        };
        let added: Checked<()> = add.await;
        let look = async { inspect(&mut self.begin(Access::Read).await?, schema).await };
        // Another process may have added it meanwhile.
        let exists = look.await.is_ok_and(|found| found.dated);
        if let Some(error) = added.err().filter(|_| !exists) {
            let error = self.failed("altering the ledger", error);
            tracing::warn!(%error, "cannot add the column to the ledger; continuing without it");
        }
        exists
    }

    async fn create(&self, schema: &Schema, found: Inspection) -> Checked<Inspection> {
        let missing = found.missing.join(", ");
        let script = script::<D::Dialect>(schema, &found.place);
        if self.migrate() == Migrate::No {
            return Err(StepError::Refused(format!(
                "it has no table {missing}: allow migrate, or create what is missing:\n{script}"
            )));
        }
        let create = async {
            let mut transaction = self.begin(Access::Write).await?;
            transaction.before_create().await?;
            transaction.run(script).await?;
            let found = inspect(&mut transaction, schema).await?;
            transaction.commit().await?;
            Ok(found)
        };
        create.await.map_err(|error: StepError| self.failed(&format!("creating {missing}"), error).into())
    }

    fn migrate(&self) -> Migrate {
        self.state.options.migrate.unwrap_or(D::Dialect::MIGRATE)
    }
}
