//! The ledger: which batches have been applied.

use forebay::{Timestamp, sink::Batch};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::{error::is_duplicate, open::Open};
use crate::common::{
    datetime,
    ledger::{Ledger, PRUNE_AT_ONCE},
};

impl Ledger for Open {
    /// `INSERT IGNORE` would ignore other errors as well, and what an upsert counts depends on the connection.
    async fn record(&mut self, place: &str, batch: &Batch) -> sqlx::Result<bool> {
        let sql = format!(
            "INSERT INTO {place}`forebay_ledger` (`gen`, `buffer`, `partition`, `rows`, `applied_at`) VALUES (?, ?, ?, ?, ?)"
        );
        let recorded = sqlx::query(AssertSqlSafe(sql))
            .bind(batch.id.to_string())
            .bind(batch.schema.name.as_str())
            .bind(batch.partition)
            .bind(i64::try_from(batch.rows.len()).unwrap_or(i64::MAX))
            .bind(datetime::text(self.now))
            .execute(&mut *self.connection)
            .await;
        match recorded {
            Err(error) if is_duplicate(&error) => Ok(false),
            other => other.map(|_| true),
        }
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
