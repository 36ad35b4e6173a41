//! Getting to know the tables.

use std::sync::Arc;

use forebay::{buffer::Schema, sink::SinkError};
use sqlx::{AssertSqlSafe, Executor as _, PgConnection, SqlSafeStr as _};

use super::{
    Postgres,
    catalogue::{self, NONDETERMINISTIC},
    ddl::POSTGRES,
    form::Form,
    statement,
};
use crate::{
    Migrate,
    common::{
        catalogue::{Found, Table},
        merge::How,
        plan::Plan,
    },
};

/// Two who create tables at once take turns: `IF NOT EXISTS` fails when both find nothing. Any number; this one spells
/// `forebay`.
const TURN: &str = "SELECT pg_advisory_xact_lock(x'666f7265626179'::bigint)";

impl Postgres {
    /// What is known of a buffer's table, or what there is to know.
    pub(super) async fn plan(&self, schema: &Schema) -> Result<Arc<Plan<Form>>, SinkError> {
        match self.state.plan(schema) {
            Some(plan) => Ok(plan),
            None => self.survey(schema).await,
        }
    }

    /// Looks at the tables, creates what may be created, and remembers how the buffer fits.
    pub(super) async fn survey(&self, schema: &Schema) -> Result<Arc<Plan<Form>>, SinkError> {
        let looking = |error| self.failed(&format!("looking at table {}", schema.table), &error);
        let mut found = {
            let mut connection = self.database.pool.acquire().await.map_err(looking)?;
            catalogue::find(&mut connection, schema).await.map_err(looking)?
        };
        if !found.lacking.is_empty() {
            found = self.create(schema, &found).await?;
        }
        let Some(table) = found.table else {
            return Err(self.refused(&format!("{} is no table (a view?)", schema.table)));
        };
        let missing = self.state.options.missing.unwrap_or(table.missing());
        check_collations(schema, &table).map_err(|why| self.refused(&why))?;
        let plan = Plan::new(schema, &table, missing, &POSTGRES).map_err(|why| self.refused(&why))?;
        let mut connection = self.database.pool.acquire().await.map_err(looking)?;
        try_statement(&mut connection, &plan).await.map_err(looking)?;
        self.warn_of_indexes(&mut connection, schema, &table).await.map_err(looking)?;
        Ok(self.state.know(schema, plan))
    }

    async fn create(&self, schema: &Schema, found: &Found) -> Result<Found, SinkError> {
        let lacking = found.lacking.join(", ");
        let script = POSTGRES.script(schema, &found.place);
        if self.state.options.migrate != Some(Migrate::Yes) {
            return Err(self.refused(&format!(
                "it has no table {lacking}: allow migrate, or create what is not there:\n{script}"
            )));
        }
        let creating = |error| self.failed(&format!("creating {lacking}"), &error);
        let mut transaction = self.database.begin().await.map_err(creating)?;
        sqlx::raw_sql(TURN).execute(&mut *transaction).await.map_err(creating)?;
        sqlx::raw_sql(AssertSqlSafe(script)).execute(&mut *transaction).await.map_err(creating)?;
        let found = catalogue::find(&mut transaction, schema).await.map_err(creating)?;
        transaction.commit().await.map_err(creating)?;
        Ok(found)
    }

    /// An update that changes no indexed column stays in its page; one that does writes into every index.
    async fn warn_of_indexes(
        &self,
        connection: &mut PgConnection,
        schema: &Schema,
        table: &Table,
    ) -> sqlx::Result<()> {
        let columns: Vec<&str> = schema.columns.iter().map(|column| &*column.name).collect();
        for (index, column) in catalogue::indexed(connection, &table.name, &columns).await? {
            tracing::warn!(
                database = self.database.name,
                table = table.name,
                index,
                column,
                "an index on a column that a buffer writes makes each of its updates several times dearer"
            );
        }
        Ok(())
    }
}

/// Rows that the database takes for one, and the buffer for two.
fn check_collations(schema: &Schema, table: &Table) -> Result<(), String> {
    for key in &schema.keys {
        if let Some(column) = table.column(&key.name)
            && column.collation.as_deref() == Some(NONDETERMINISTIC)
        {
            return Err(format!(
                "key column {} of table {} has a nondeterministic collation, which takes different keys for one: use \
                 ALTER TABLE {} ALTER COLUMN {} TYPE {} COLLATE \"C\"",
                key.name,
                schema.table,
                table.name,
                POSTGRES.quoted(&column.name),
                column.declared,
            ));
        }
    }
    Ok(())
}

/// Prepares the statement that will be used: Postgres has the last word on whether it fits the table.
async fn try_statement(connection: &mut PgConnection, plan: &Plan<Form>) -> sqlx::Result<()> {
    let sql = statement::merge(plan, How::usual(plan));
    connection.prepare(AssertSqlSafe(sql).into_sql_str()).await.map(|_| ())
}
