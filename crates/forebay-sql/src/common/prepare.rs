//! Prepares a buffer: inspects its tables, creates missing ones, and plans how rows are merged.

use std::sync::Arc;

use forebay::{buffer::Schema, sink::SinkError};

use super::{
    database::{Access, Database},
    ddl::{add_last_write, script},
    dialect::Dialect as _,
    fit::check_buffer,
    inspect::inspect,
    plan::{MergeMode, Plan},
    session::Session,
    statement,
    table::Inspection,
    transaction::Transaction as _,
};
use crate::Migrate;

/// The plan for a buffer.
type PlanOf<D> = Arc<Plan<<D as Database>::Dialect>>;

/// The plan for a buffer, from memory if it is known.
pub(crate) async fn plan<D: Database>(session: &Session<D>, schema: &Schema) -> Result<PlanOf<D>, SinkError> {
    match session.state.plan(schema) {
        Some(plan) => Ok(plan),
        None => prepare(session, schema).await,
    }
}

/// Inspects the tables, creates missing ones if that is allowed, and remembers the plan.
pub(crate) async fn prepare<D: Database>(
    session: &Session<D>,
    schema: &Schema,
) -> Result<PlanOf<D>, SinkError> {
    let looking = |error| session.failed(&format!("looking at table {}", schema.table), &error);
    let refused = |why: String| session.refused(&why);
    check_buffer::<D::Dialect>(schema).map_err(refused)?;
    let mut transaction = session.begin(Access::Read, looking).await?;
    let mut found = inspect(&mut transaction, schema).await.map_err(looking)?.map_err(refused)?;
    if !found.missing.is_empty() || !found.dated {
        transaction.rollback().await.map_err(looking)?;
        if !found.missing.is_empty() {
            found = create(session, schema, found).await?;
        }
        if !found.dated {
            found.dated = alter_ledger(session, schema, &found.place).await;
        }
        transaction = session.begin(Access::Read, looking).await?;
    }
    let Some(table) = found.table else {
        return Err(refused(format!("{} is no table (a view?)", schema.table)));
    };
    let missing = session.state.options.missing.unwrap_or(table.missing());
    let mut plan = Plan::<D::Dialect>::new(schema, &table, missing).map_err(refused)?;
    plan.dated = found.dated;
    plan.warnings =
        transaction.check_table(schema, &table, &plan).await.map_err(looking)?.map_err(refused)?;
    // The database has the last word on whether the usual statement fits the table.
    let statement = statement::merge(&plan, MergeMode::usual(&plan), 1);
    transaction.prepare(statement).await.map_err(looking)?;
    transaction.rollback().await.map_err(looking)?;
    if !plan.dated {
        plan.warnings.push(format!(
            "the ledger was made by an older version and does not record when a batch was last written to, so hits that \
             a store adds to a batch after its commit are lost: use {}",
            add_last_write::<D::Dialect>(&plan.place)
        ));
    }
    for warning in &plan.warnings {
        tracing::warn!(database = session.database.name(), table = plan.table, "{warning}");
    }
    Ok(session.state.remember(schema, plan))
}

/// Adds the column that the ledger of an older version lacks, if that is allowed; returns whether the ledger has it now. An
/// error is no reason to stop, because the older version worked without the column.
async fn alter_ledger<D: Database>(session: &Session<D>, schema: &Schema, place: &str) -> bool {
    if migrate(session) == Migrate::No {
        return false;
    }
    let statement = add_last_write::<D::Dialect>(place);
    let altering = |error| session.failed("altering the ledger", &error);
    let add = async {
        let mut transaction = session.begin(Access::Write, altering).await?;
        transaction.before_create().await.map_err(altering)?;
        transaction.run(statement).await.map_err(altering)?;
        transaction.commit().await.map_err(altering)
    };
    let added = add.await;
    let look = async {
        let mut transaction = session.begin(Access::Read, altering).await?;
        inspect(&mut transaction, schema).await.map_err(altering)
    };
    // Another process may have added it meanwhile.
    let exists = look.await.is_ok_and(|found| found.is_ok_and(|found| found.dated));
    if let Some(error) = added.err().filter(|_| !exists) {
        tracing::warn!(%error, "cannot add the column to the ledger; continuing without it");
    }
    exists
}

async fn create<D: Database>(
    session: &Session<D>,
    schema: &Schema,
    found: Inspection,
) -> Result<Inspection, SinkError> {
    let missing = found.missing.join(", ");
    let script = script::<D::Dialect>(schema, &found.place);
    if migrate(session) == Migrate::No {
        return Err(session.refused(&format!(
            "it has no table {missing}: allow migrate, or create what is missing:\n{script}"
        )));
    }
    let creating = |error| session.failed(&format!("creating {missing}"), &error);
    let mut transaction = session.begin(Access::Write, creating).await?;
    transaction.before_create().await.map_err(creating)?;
    transaction.run(script).await.map_err(creating)?;
    let found = inspect(&mut transaction, schema).await.map_err(creating)?;
    transaction.commit().await.map_err(creating)?;
    found.map_err(|why| session.refused(&why))
}

fn migrate<D: Database>(session: &Session<D>) -> Migrate {
    session.state.options.migrate.unwrap_or(D::Dialect::MIGRATE)
}
