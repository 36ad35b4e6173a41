//! The steps of a transaction on SQLite.
//!
//! SQLite has one writer. So transactions that merge rows, move them, or create tables exclude each other without locks of
//! their own.
//!
//! Savepoints are for tables with `ON CONFLICT FAIL`, which keep what a statement did before it failed. They also notice when
//! a constraint or trigger ended the transaction: rolling back to the savepoint then fails, and so does the batch.

use std::sync::Arc;

use forebay::{Timestamp, buffer::Schema};
use sqlx::{
    Arguments as _, AssertSqlSafe, Executor as _, SqlSafeStr as _, Sqlite, query::Query,
    sqlite::SqliteArguments,
};
use tokio::sync::OwnedMutexGuard;

use super::{
    catalogue::JOURNAL,
    dialect::{Bindings, Parameters, Plan, SqliteDialect},
    file::OpenFile,
};
use crate::common::{
    bindings::Parameter,
    codec::Cell,
    database::NOT_DURABLE,
    driver::driver_steps,
    error::StepError,
    table::Table,
    transaction::{Checked, TextRow, Transaction, texts},
};

/// How many rows one statement may have. There are few sizes, so that there are few prepared statements. Beyond 512 nothing
/// gets faster.
///
/// 512 rows of 32 columns are 16 384 variables. SQLite allows 32 766.
const ROWS_PER_STATEMENT: [usize; 4] = [512, 64, 8, 1];

/// An open transaction.
pub(super) struct Open {
    // Before the permit, so that it is dropped first.
    pub(super) connection: sqlx::Transaction<'static, Sqlite>,
    pub(super) now: Timestamp,
    pub(super) file: Option<Arc<OpenFile>>,
    /// Held by a transaction that writes.
    pub(super) _permit: Option<OwnedMutexGuard<()>>,
}

impl Transaction for Open {
    type Dialect = SqliteDialect;

    driver_steps!();

    fn rows_per_statement(left: usize) -> usize {
        ROWS_PER_STATEMENT.into_iter().find(|rows| *rows <= left).unwrap_or(1)
    }

    async fn insert_new(&mut self, sql: String, parameters: Parameters) -> sqlx::Result<bool> {
        Ok(self.execute(sql + " ON CONFLICT DO NOTHING", parameters.into()).await? > 0)
    }

    async fn prepare(&mut self, sql: String) -> sqlx::Result<()> {
        self.connection.prepare(AssertSqlSafe(sql).into_sql_str()).await.map(|_| ())
    }

    async fn check_table(&mut self, _: &Schema, _: &Table, plan: &Plan) -> Checked<Vec<String>> {
        self.check_stored_types(plan).await?;
        let journal = self.query(JOURNAL.into(), Parameters::new().into()).await?;
        let [mode, file] = texts(journal.into_iter().next().unwrap_or_default())?;
        // A database in memory has no journal on disk, and nothing else either.
        let weak = !file.is_empty() && ["off", "memory"].contains(&mode.as_str());
        let warning = format!("journal_mode is {mode}: {NOT_DURABLE}; set it to wal");
        Ok(weak.then_some(warning).into_iter().collect())
    }

    async fn commit(self) -> sqlx::Result<()> {
        self.connection.commit().await?;
        Ok(self.file.as_deref().map_or(Ok(()), OpenFile::check)?)
    }
}

impl Open {
    /// Refuses a column whose rows have values of another type than its declared type says, which SQLite lets an application
    /// do. Looks at the first value among some rows, not at the whole table.
    async fn check_stored_types(&mut self, plan: &Plan) -> Checked<()> {
        let keys = plan.keys.iter().map(|key| (&key.name, key.codec));
        for (name, codec) in keys.chain(plan.columns.iter().map(|column| (&column.name, column.codec))) {
            let sql = format!(
                "SELECT typeof(c) FROM (SELECT {name} AS c FROM {} LIMIT 100) WHERE c IS NOT NULL LIMIT 1",
                plan.table
            );
            let stored = self.query(sql, Parameters::new().into()).await?.pop();
            if let Some(stored) =
                stored.into_iter().flatten().flatten().find(|stored| stored != codec.storage())
            {
                return Err(StepError::Refused(format!(
                    "column {name} of table {} holds values of type {stored}, and by its declared type the buffer would \
                     write {}: change the declared type, or the column's type in the buffer, to what is there",
                    plan.table,
                    codec.storage()
                )));
            }
        }
        Ok(())
    }
}

/// A query with what it binds. The rows of a buffer's table are bound cell by cell.
fn bound(sql: String, bindings: Bindings<'_>) -> sqlx::Result<Query<'static, Sqlite, SqliteArguments>> {
    let mut arguments = SqliteArguments::default();
    let reused = bindings.is_reused();
    match bindings {
        Bindings::Rows { rows, .. } => rows.into_iter().flatten().try_for_each(|cell| match cell {
            Cell::Integer(n) => arguments.add(*n),
            Cell::Text(text) => arguments.add(text.clone()),
            Cell::Bytes(bytes) => arguments.add(bytes.clone()),
        }),
        Bindings::Parameters(parameters) => parameters.values.into_iter().try_for_each(|value| match value {
            Parameter::Text(text) => arguments.add(text),
            Parameter::Integer(integer) => arguments.add(integer),
        }),
    }
    .map_err(sqlx::Error::Encode)?;
    Ok(sqlx::query_with(AssertSqlSafe(sql), arguments).persistent(reused))
}
