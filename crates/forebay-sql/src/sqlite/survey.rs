//! Getting to know the tables.

use forebay::buffer::Schema;
use sqlx::{AssertSqlSafe, Executor as _, Row as _, SqlSafeStr as _, SqliteConnection};

use super::{catalogue, form::Form, open::Open, statement};
use crate::common::{
    catalogue::{Found, Table},
    database::{Checked, NOT_DURABLE, Tables},
    merge::How,
    plan::Plan,
};

impl Tables for Open {
    async fn look(&mut self, schema: &Schema) -> Checked<Found> {
        catalogue::find(&mut self.connection, schema).await.map(Ok)
    }

    async fn create(&mut self, script: String) -> sqlx::Result<()> {
        sqlx::raw_sql(AssertSqlSafe(script)).execute(&mut *self.connection).await.map(|_| ())
    }

    async fn check(&mut self, _: &Schema, _: &Table, plan: &Plan<Form>) -> Checked<Vec<String>> {
        if let Some(why) = catalogue::odd_column(&mut self.connection, plan).await? {
            return Ok(Err(why));
        }
        try_statement(&mut self.connection, plan).await?;
        let mode: String =
            sqlx::query_scalar("PRAGMA main.journal_mode").fetch_one(&mut *self.connection).await?;
        let file: String =
            sqlx::query_scalar("SELECT coalesce(file, '') FROM pragma_database_list WHERE name = 'main'")
                .fetch_one(&mut *self.connection)
                .await?;
        // A database in memory has no journal on disk, and nothing else either.
        let weak = !file.is_empty() && ["off", "memory"].contains(&mode.as_str());
        let warning = format!("journal_mode is {mode}: {NOT_DURABLE}; set it to wal");
        Ok(Ok(weak.then_some(warning).into_iter().collect()))
    }

    async fn texts(&mut self, sql: String, columns: usize) -> sqlx::Result<Vec<Option<String>>> {
        let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(&mut *self.connection).await?;
        (0..columns).map(|i| row.try_get(i)).collect()
    }
}

/// Compiles the statement that will be used: SQLite has the last word on whether it fits the table.
async fn try_statement(connection: &mut SqliteConnection, plan: &Plan<Form>) -> sqlx::Result<()> {
    let sql = statement::merge(plan, How::usual(plan), 1);
    connection.prepare(AssertSqlSafe(sql).into_sql_str()).await.map(|_| ())
}
