//! Rows that were moved.
//!
//! Each buffer has a line in `forebay_moves` whose keys are empty. A transaction that merges rows locks it together with
//! others of its kind, one that moves a row alone: so they wait for each other.

use forebay::buffer::Schema;
use sqlx::{AssertSqlSafe, Row as _, mysql::MySqlRow};

use super::{form::Form, json, open::Open, statement};
use crate::common::{
    cell::Cell,
    database::Checked,
    datetime,
    moves::{Lock, Moves, Values},
    plan::Plan,
};

/// A key as a text; the column has its bytes, which no collation folds.
const FROM: &str = "CONVERT(m.`from_key` USING utf8mb4)";
const TO: &str = "CONVERT(m.`to_key` USING utf8mb4)";

impl Moves for Open {
    async fn any_moved(&mut self, plan: &Plan<Form>, schema: &Schema) -> sqlx::Result<bool> {
        // The line with the empty key is the first of its buffer, and a second one is a move.
        let sql = format!(
            "SELECT m.`from_key` FROM {}`forebay_moves` AS m WHERE m.`buffer` = ? ORDER BY m.`from_key` LIMIT 2
             LOCK IN SHARE MODE",
            plan.place
        );
        loop {
            let query = sqlx::query_scalar(AssertSqlSafe(sql.as_str())).bind(schema.name.as_str());
            let lines: Vec<Vec<u8>> = query.fetch_all(&mut *self.connection).await?;
            if lines.first().is_some_and(Vec::is_empty) {
                return Ok(lines.len() > 1);
            }
            // And look again: it may have had to wait for the first move.
            self.begin_moves(plan, schema).await?;
        }
    }

    async fn moved(
        &mut self,
        plan: &Plan<Form>,
        schema: &Schema,
        keys: &[String],
    ) -> sqlx::Result<Vec<(String, String)>> {
        let sql = format!(
            "SELECT {FROM}, {TO} FROM JSON_TABLE(?, '$[*]' COLUMNS (
                 k VARCHAR(1536) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$' ERROR ON ERROR)) AS x
             STRAIGHT_JOIN {}`forebay_moves` AS m ON m.`buffer` = ? AND m.`from_key` = CAST(x.k AS BINARY)",
            plan.place
        );
        let keys = serde_json::json!(keys).to_string();
        let query = sqlx::query_as(AssertSqlSafe(sql)).bind(keys).bind(schema.name.as_str());
        query.fetch_all(&mut *self.connection).await
    }
    async fn moved_with(
        &mut self,
        plan: &Plan<Form>,
        schema: &Schema,
        key: &str,
    ) -> sqlx::Result<Vec<(String, String)>> {
        let table = format!("{}`forebay_moves`", plan.place);
        let sql = format!(
            "SELECT {FROM}, {TO} FROM {table} AS m WHERE m.`buffer` = ? AND m.`to_key` = COALESCE(
                 (SELECT `to_key` FROM {table} WHERE `buffer` = ? AND `from_key` = ?), ?)"
        );
        let name = schema.name.as_str();
        let query = sqlx::query_as(AssertSqlSafe(sql)).bind(name).bind(name).bind(key).bind(key);
        query.fetch_all(&mut *self.connection).await
    }

    async fn alone(&mut self, plan: &Plan<Form>, schema: &Schema) -> sqlx::Result<()> {
        self.begin_moves(plan, schema).await
    }

    async fn find(
        &mut self,
        plan: &Plan<Form>,
        schema: &Schema,
        key: &[Cell],
        lock: Lock,
    ) -> Checked<Vec<Values>> {
        let sql = statement::select(plan) + if lock == Lock::Rows { " FOR UPDATE" } else { "" };
        let query = sqlx::query(AssertSqlSafe(sql)).bind(json::rows([key].into_iter()));
        let rows = query.fetch_all(&mut *self.connection).await?;
        Ok(rows.iter().map(|row| decode(plan, schema, row)).collect())
    }

    async fn remove(&mut self, plan: &Plan<Form>, key: &[Cell]) -> sqlx::Result<u64> {
        let query = sqlx::query(AssertSqlSafe(statement::delete(plan))).bind(json::rows([key].into_iter()));
        Ok(query.execute(&mut *self.connection).await?.rows_affected())
    }

    async fn note_move(
        &mut self,
        plan: &Plan<Form>,
        schema: &Schema,
        from: &str,
        to: &str,
    ) -> sqlx::Result<()> {
        let table = format!("{}`forebay_moves`", plan.place);
        let name = schema.name.as_str();
        let sql = format!("DELETE FROM {table} WHERE `buffer` = ? AND `from_key` = ?");
        self.run_with(sql, [name, to]).await?;
        let sql = format!("UPDATE {table} SET `to_key` = ? WHERE `buffer` = ? AND `to_key` = ?");
        self.run_with(sql, [to, name, from]).await?;
        let at = datetime::text(self.now).unwrap_or_default();
        let sql = format!(
            "INSERT INTO {table} (`buffer`, `from_key`, `to_key`, `at`) VALUES (?, ?, ?, ?)
             ON DUPLICATE KEY UPDATE `to_key` = `to_key`"
        );
        self.run_with(sql, [name, from, to, &at]).await
    }
}

impl Open {
    /// Makes the line that the buffer's transactions lock. Who comes second waits for who comes first.
    async fn begin_moves(&mut self, plan: &Plan<Form>, schema: &Schema) -> sqlx::Result<()> {
        let sql = format!(
            "INSERT INTO {}`forebay_moves` (`buffer`, `from_key`, `to_key`, `at`) VALUES (?, '', '', ?)
             ON DUPLICATE KEY UPDATE `to_key` = ''",
            plan.place
        );
        let query = sqlx::query(AssertSqlSafe(sql)).bind(schema.name.as_str()).bind(datetime::text(self.now));
        query.execute(&mut *self.connection).await.map(|_| ())
    }

    async fn run_with<const N: usize>(&mut self, sql: String, values: [&str; N]) -> sqlx::Result<()> {
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for value in values {
            query = query.bind(value);
        }
        query.execute(&mut *self.connection).await.map(|_| ())
    }
}

fn decode(plan: &Plan<Form>, schema: &Schema, row: &MySqlRow) -> Result<Values, String> {
    let columns = plan.columns.iter().zip(&schema.columns).enumerate();
    columns
        .map(|(i, (column, of))| {
            let broken = |why: String| format!("column {}: {why}", column.name);
            let text: Option<String> = row.try_get(i).map_err(|error| broken(error.to_string()))?;
            let value = text.map(|text| column.form.decode(&text, of.column_type).ok_or(text));
            value.transpose().map_err(|text| broken(format!("it holds {text:?}, which cannot be read")))
        })
        .collect()
}
