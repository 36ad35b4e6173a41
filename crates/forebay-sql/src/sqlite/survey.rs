//! Getting to know the tables.

use std::sync::Arc;

use forebay::{buffer::Schema, sink::SinkError};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, SqlSafeStr as _, SqliteConnection};

use super::{Sqlite, catalogue, ddl::SQLITE, form::Form, statement};
use crate::{
    Migrate,
    common::{catalogue::Found, merge::How, plan::Plan},
};

impl Sqlite {
    /// What is known of a buffer's table, or what there is to know.
    pub(super) async fn plan(&self, schema: &Schema) -> Result<Arc<Plan<Form>>, SinkError> {
        match self.state.plan(schema) {
            Some(plan) => Ok(plan),
            None => self.survey(schema).await,
        }
    }

    /// Looks at the tables, creates what may be created, and remembers how the buffer fits.
    pub(super) async fn survey(&self, schema: &Schema) -> Result<Arc<Plan<Form>>, SinkError> {
        if schema.table.split_once('.').is_some_and(|(place, _)| !place.eq_ignore_ascii_case("main")) {
            return Err(self.refused(&format!(
                "table {} is in another file than the ledger, and SQLite does not commit to several files at once: give \
                 the buffer a table of the main database",
                schema.table
            )));
        }
        let looking = |error| self.failed(&format!("looking at table {}", schema.table), &error);
        let mut found = {
            let mut reader = self.database.reader().await.map_err(looking)?;
            catalogue::find(&mut reader, schema).await.map_err(looking)?
        };
        if !found.lacking.is_empty() {
            found = self.create(schema, &found).await?;
        }
        let Some(table) = found.table else {
            return Err(self.refused(&format!("{} is no table (a view?)", schema.table)));
        };
        let missing = self.state.options.missing.unwrap_or(table.missing());
        let plan = Plan::new(schema, &table, missing, &SQLITE).map_err(|why| self.refused(&why))?;
        let mut reader = self.database.reader().await.map_err(looking)?;
        if let Some(why) = catalogue::odd_column(&mut reader, &plan).await.map_err(looking)? {
            return Err(self.refused(&why));
        }
        try_statement(&mut reader, &plan).await.map_err(looking)?;
        Ok(self.state.know(schema, plan))
    }

    async fn create(&self, schema: &Schema, found: &Found) -> Result<Found, SinkError> {
        let lacking = found.lacking.join(", ");
        if self.state.options.migrate == Some(Migrate::No) {
            return Err(self.refused(&format!(
                "it has no table {lacking}: allow migrate, or create what is not there:\n{}",
                Self::ddl(schema)
            )));
        }
        let creating = |error| self.failed(&format!("creating {lacking}"), &error);
        let mut writer = self.database.writer().await.map_err(creating)?;
        let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await.map_err(creating)?;
        sqlx::raw_sql(AssertSqlSafe(Self::ddl(schema))).execute(&mut *transaction).await.map_err(creating)?;
        let found = catalogue::find(&mut transaction, schema).await.map_err(creating)?;
        transaction.commit().await.map_err(creating)?;
        Ok(found)
    }
}

/// Compiles the statement that will be used: SQLite has the last word on whether it fits the table.
async fn try_statement(connection: &mut SqliteConnection, plan: &Plan<Form>) -> sqlx::Result<()> {
    let sql = statement::merge(plan, How::usual(plan), 1);
    connection.prepare(AssertSqlSafe(sql).into_sql_str()).await.map(|_| ())
}
