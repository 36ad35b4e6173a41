//! The ledger: which batches have been applied.

use forebay::Timestamp;
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::{error::is_duplicate, form::Form, open::Open};
use crate::common::{
    datetime,
    ledger::{Entry, Ledger, PRUNE_AT_ONCE},
    plan::Plan,
};

impl Ledger for Open {
    /// `INSERT IGNORE` would ignore other errors as well, and what an upsert counts depends on the connection.
    async fn record(&mut self, plan: &Plan<Form>, entry: &Entry<'_>) -> sqlx::Result<bool> {
        let place = &plan.place;
        let [column, value] = if plan.dated { [", `last_write`", ", ?"] } else { [""; 2] };
        let sql = format!(
            "INSERT INTO {place}`forebay_ledger` (`gen`, `buffer`, `partition`, `rows`, `applied_at`{column})
             VALUES (?, ?, ?, ?, ?{value})"
        );
        let mut query = sqlx::query(AssertSqlSafe(sql))
            .bind(entry.id.to_string())
            .bind(entry.buffer)
            .bind(entry.partition)
            .bind(entry.rows)
            .bind(datetime::text(self.now));
        if plan.dated {
            query = query.bind(entry.last_write.and_then(datetime::text));
        }
        match query.execute(&mut *self.connection).await {
            Err(error) if is_duplicate(&error) => Ok(false),
            other => other.map(|_| true),
        }
    }

    async fn last_write(&mut self, plan: &Plan<Form>, id: Uuid) -> sqlx::Result<Option<String>> {
        if !plan.dated {
            return Ok(None);
        }
        let sql = format!(
            "SELECT CAST(`last_write` AS CHAR CHARACTER SET utf8mb4) FROM {}`forebay_ledger` WHERE `gen` = ?",
            plan.place
        );
        let query = sqlx::query_scalar(AssertSqlSafe(sql)).bind(id.to_string());
        Ok(query.fetch_optional(&mut *self.connection).await?.flatten())
    }

    async fn prune(&mut self, place: &str, before: Timestamp) -> sqlx::Result<u64> {
        let Some(before) = datetime::text(before) else { return Ok(0) };
        let sql = format!(
            "DELETE FROM {place}`forebay_ledger` WHERE `applied_at` < ? AND `applied_at` < (
             SELECT `least` FROM (SELECT `applied_at` AS `least` FROM {place}`forebay_ledger`
                                  ORDER BY `applied_at` DESC LIMIT 999, 1) AS `newest`)
         ORDER BY `applied_at` LIMIT {PRUNE_AT_ONCE}"
        );
        let pruned = sqlx::query(AssertSqlSafe(sql)).bind(before).execute(&mut *self.connection).await?;
        Ok(pruned.rows_affected())
    }

    async fn known(&mut self, place: &str, ids: &[Uuid]) -> sqlx::Result<Vec<String>> {
        if ids.is_empty() {
            return Ok(vec![]);
        }
        let places = vec!["?"; ids.len()].join(", ");
        let sql = format!("SELECT `gen` FROM {place}`forebay_ledger` WHERE `gen` IN ({places})");
        let mut query = sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false);
        for id in ids {
            query = query.bind(id.to_string());
        }
        query.fetch_all(&mut *self.connection).await
    }
}
