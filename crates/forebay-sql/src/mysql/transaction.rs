//! The steps of a transaction on MySQL and MariaDB.

use forebay::{Timestamp, buffer::Schema};
use sqlx::{
    Arguments as _, AssertSqlSafe, Executor as _, MySql, SqlSafeStr as _, mysql::MySqlArguments, query::Query,
};

use super::{
    catalogue::{DURABILITY, NOT_TRANSACTIONAL},
    check::{
        check_collations, check_other_keys, durability_warnings, is_mariadb, is_new_enough, padding_warnings,
    },
    dialect::{Bindings, MySqlDialect, Parameters, Plan},
    error::is_duplicate,
    json,
};
use crate::{
    Missing,
    common::{
        bindings::Parameter,
        ddl::{MOVES, OWN_TABLES, bare},
        dialect::Dialect as _,
        driver::driver_steps,
        error::StepError,
        plan::MergeMode,
        statement,
        table::Table,
        transaction::{Checked, Encoded, Outcome, TextRow, Transaction, encoded, reached, texts, unreached},
    },
};

/// How many rows one statement takes. More are not faster, and its text has to stay below `max_allowed_packet`.
const MAX_ROWS_PER_STATEMENT: usize = 1_000;

/// An open transaction.
pub(super) struct Open {
    pub(super) connection: sqlx::Transaction<'static, MySql>,
    pub(super) now: Timestamp,
}

impl Transaction for Open {
    type Dialect = MySqlDialect;

    driver_steps!();

    fn rows_per_statement(left: usize) -> usize {
        left.min(MAX_ROWS_PER_STATEMENT)
    }

    /// `INSERT IGNORE` would ignore other errors as well, and what an upsert counts depends on the connection.
    async fn insert_new(&mut self, sql: String, parameters: Parameters) -> sqlx::Result<bool> {
        match self.execute(sql, parameters.into()).await {
            Err(error) if is_duplicate(&error) => Ok(false),
            other => other.map(|_| true),
        }
    }

    async fn prepare(&mut self, sql: String) -> sqlx::Result<()> {
        self.connection.prepare(AssertSqlSafe(sql).into_sql_str()).await.map(|_| ())
    }

    async fn check_server(&mut self) -> Checked<()> {
        let version = self.version().await?;
        if is_new_enough(&version) {
            return Ok(());
        }
        Err(StepError::Refused(format!(
            "version {version} is too old for the way in which batches are written and keys are compared: use MariaDB 10.6, \
             MySQL 8.0.17, or newer"
        )))
    }

    async fn check_table(&mut self, schema: &Schema, table: &Table, plan: &Plan) -> Checked<Vec<String>> {
        let is_mariadb = is_mariadb(&self.version().await?);
        let mut bind = Parameters::new();
        bind.optional_text(schema.table.split_once('.').map(|(database, _)| database));
        for table in [bare(schema)].into_iter().chain(OWN_TABLES) {
            bind.text(table);
        }
        if let Some(found) = self.query(NOT_TRANSACTIONAL.to_owned(), bind.into()).await?.pop() {
            let [name, engine] = texts(found)?;
            return Err(StepError::Refused(format!(
                "table {name} has the engine {engine}, which has no transactions, so a batch could be applied by half: use \
                 ALTER TABLE {} ENGINE=InnoDB",
                MySqlDialect::own(&table.place, &name)
            )));
        }
        if plan.missing == Missing::Insert {
            check_other_keys(schema, table)?;
            check_collations(schema, table, plan, is_mariadb)?;
        }
        let settings = self.one(DURABILITY).await?.map(|setting: String| setting.parse().unwrap_or_default());
        let mut warnings = durability_warnings(settings);
        warnings.extend(padding_warnings(schema, table, plan, is_mariadb));
        Ok(warnings)
    }

    /// An upsert reaches all rows, and counts each once or twice. Before an update that has to reach all, the rows are
    /// locked: one that is inserted or deleted in between would be reported wrongly.
    async fn merge_rows(&mut self, plan: &Plan, mode: MergeMode, rows: &[Encoded]) -> sqlx::Result<Outcome> {
        let sql = statement::merge(plan, mode, rows.len());
        if !mode.reports_rows() {
            let affected = self.execute(sql, encoded(plan, mode, rows)).await?;
            let rows = if mode.insert { rows.len() as u64 } else { affected };
            return Ok(Outcome::Merged { rows, unreached: vec![] });
        }
        let lock = statement::lock(plan, mode.columns);
        let reached = reached(self.query(lock, encoded(plan, mode, rows)).await?, rows.len());
        let found = rows.iter().zip(&reached).filter(|(_, reached)| **reached).map(|(row, _)| row);
        let affected = self.execute(sql, encoded(plan, mode, found)).await?;
        Ok(Outcome::Merged { rows: affected, unreached: unreached(&reached) })
    }

    /// Each buffer has a line in `forebay_moves` whose keys are empty. Transactions that merge rows lock it together, and one
    /// that moves a row locks it alone, so they wait for each other.
    async fn any_moved(&mut self, plan: &Plan, buffer: &str) -> sqlx::Result<bool> {
        loop {
            let mut bind = Parameters::new();
            // The line with the empty key is the first of its buffer, and a second one is a move.
            let sql = format!(
                "SELECT {} FROM {} AS m WHERE m.buffer = {} ORDER BY m.from_key LIMIT 2 LOCK IN SHARE MODE",
                MySqlDialect::key_text("m.from_key"),
                MySqlDialect::own(&plan.place, MOVES),
                bind.text(buffer),
            );
            let keys: Vec<String> =
                self.query(sql, bind.into()).await?.into_iter().flatten().flatten().collect();
            if keys.first().is_some_and(String::is_empty) {
                return Ok(keys.len() > 1);
            }
            // Then look again, because this may have waited for the first move.
            self.exclude_merges(plan, buffer).await?;
        }
    }

    /// Makes the line that the buffer's transactions lock. The second transaction waits for the first.
    async fn exclude_merges(&mut self, plan: &Plan, buffer: &str) -> sqlx::Result<()> {
        let mut bind = Parameters::new();
        let sql = format!(
            "INSERT INTO {} (buffer, from_key, to_key, at) VALUES ({}, '', '', {})
             ON DUPLICATE KEY UPDATE to_key = ''",
            MySqlDialect::own(&plan.place, MOVES),
            bind.text(buffer),
            bind.time(Some(self.now)),
        );
        self.execute(sql, bind.into()).await.map(|_| ())
    }

    async fn commit(self) -> sqlx::Result<()> {
        self.connection.commit().await
    }
}

impl Open {
    async fn version(&mut self) -> sqlx::Result<String> {
        let [version] = self.one("SELECT VERSION()").await?;
        Ok(version)
    }

    /// The one row of a query.
    async fn one<const N: usize>(&mut self, sql: &str) -> sqlx::Result<[String; N]> {
        let rows = self.query(sql.to_owned(), Parameters::new().into()).await?;
        texts(rows.into_iter().next().unwrap_or_default())
    }
}

/// A query with what it binds. The rows of a buffer's table are one JSON text.
fn bound(sql: String, bindings: Bindings<'_>) -> sqlx::Result<Query<'static, MySql, MySqlArguments>> {
    let mut arguments = MySqlArguments::default();
    let reused = bindings.is_reused();
    match bindings {
        Bindings::Rows { rows, .. } => arguments.add(json::rows(rows.into_iter())),
        Bindings::Parameters(parameters) => parameters.values.into_iter().try_for_each(|value| match value {
            Parameter::Text(text) => arguments.add(text),
            Parameter::Integer(integer) => arguments.add(integer),
        }),
    }
    .map_err(sqlx::Error::Encode)?;
    Ok(sqlx::query_with(AssertSqlSafe(sql), arguments).persistent(reused))
}
