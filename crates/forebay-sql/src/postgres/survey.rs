//! Getting to know the tables.

use forebay::buffer::Schema;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use super::{
    catalogue::{self, NONDETERMINISTIC},
    ddl::POSTGRES,
    form::Form,
    open::Open,
    query::{query, query_scalar},
    statement,
};
use crate::common::{
    catalogue::{Found, Table},
    database::{Checked, NOT_DURABLE, Tables},
    merge::How,
    plan::Plan,
};

/// Two who create tables at once take turns: `IF NOT EXISTS` fails when both find nothing. Any number; this one spells
/// `forebay`.
const TURN: &str = "SELECT pg_advisory_xact_lock(x'666f7265626179'::bigint)";

impl Tables for Open {
    async fn look(&mut self, schema: &Schema) -> Checked<Found> {
        catalogue::find(&mut self.connection, schema).await.map(Ok)
    }

    async fn create(&mut self, script: String) -> sqlx::Result<()> {
        sqlx::raw_sql(TURN).execute(&mut *self.connection).await?;
        sqlx::raw_sql(AssertSqlSafe(script)).execute(&mut *self.connection).await.map(|_| ())
    }

    async fn check(&mut self, schema: &Schema, table: &Table, plan: &Plan<Form>) -> Checked<Vec<String>> {
        if let Err(why) = check_collations(schema, table) {
            return Ok(Err(why));
        }
        try_statement(&mut self.connection, plan).await?;
        // An update that changes no indexed column stays in its page; one that does writes into every index.
        let columns: Vec<&str> = schema.columns.iter().map(|column| &*column.name).collect();
        let indexed = catalogue::indexed(&mut self.connection, &table.name, &columns).await?;
        for (index, column) in indexed {
            tracing::warn!(
                table = table.name,
                index,
                column,
                "an index on a column that a buffer writes makes each of its updates several times dearer"
            );
        }
        let off: Vec<String> = query_scalar(
            "SELECT name FROM pg_settings WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off' ORDER BY name",
        )
        .fetch_all(&mut *self.connection)
        .await?;
        let warning = |name| format!("{name} is off: {NOT_DURABLE}; set it to on");
        Ok(Ok(off.into_iter().map(warning).collect()))
    }

    async fn texts(&mut self, sql: String, columns: usize) -> sqlx::Result<Vec<Option<String>>> {
        let row = query(sql).fetch_one(&mut *self.connection).await?;
        (0..columns).map(|i| row.try_get(i)).collect()
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

/// Prepares the statement that will be used: Postgres has the last word on whether it fits the table. In one exchange,
/// and by a name that is gone with it: the driver's own would stay.
async fn try_statement(connection: &mut PgConnection, plan: &Plan<Form>) -> sqlx::Result<()> {
    let sql = statement::merge(plan, How::usual(plan));
    let sql = format!(r#"PREPARE "forebay_try" AS {sql}; DEALLOCATE "forebay_try""#);
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.map(|_| ())
}
