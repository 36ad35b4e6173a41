//! The ledger: which batches have been applied.

use forebay::{Timestamp, sink::Batch};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::open::Open;
use crate::common::ledger::{Ledger, PRUNE_AT_ONCE};

impl Ledger for Open {
    async fn record(&mut self, place: &str, batch: &Batch) -> sqlx::Result<bool> {
        let sql = format!(
            r#"INSERT INTO {place}"forebay_ledger" ("gen", "buffer", "partition", "rows", "applied_at")
           VALUES ($1::uuid, $2, $3, $4, $5::timestamptz) ON CONFLICT DO NOTHING"#
        );
        let recorded = sqlx::query(AssertSqlSafe(sql))
            .bind(batch.id.to_string())
            .bind(batch.schema.name.as_str())
            .bind(i32::from(batch.partition))
            .bind(i64::try_from(batch.rows.len()).unwrap_or(i64::MAX))
            .bind(self.now.to_string())
            .execute(&mut *self.connection)
            .await?;
        Ok(recorded.rows_affected() > 0)
    }

    /// Somebody else who prunes has others.
    async fn prune(&mut self, place: &str, before: Timestamp) -> sqlx::Result<u64> {
        let sql = format!(
            r#"DELETE FROM {place}"forebay_ledger" WHERE "gen" IN (
               SELECT "gen" FROM {place}"forebay_ledger" WHERE "applied_at" < $1::timestamptz AND "applied_at" < (
                   SELECT "applied_at" FROM {place}"forebay_ledger" ORDER BY "applied_at" DESC LIMIT 1 OFFSET 999)
               ORDER BY "applied_at" LIMIT {PRUNE_AT_ONCE} FOR UPDATE SKIP LOCKED)"#
        );
        let pruned =
            sqlx::query(AssertSqlSafe(sql)).bind(before.to_string()).execute(&mut *self.connection).await?;
        Ok(pruned.rows_affected())
    }

    async fn known(&mut self, place: &str, ids: &[Uuid]) -> sqlx::Result<Vec<String>> {
        let texts: Vec<String> = ids.iter().map(Uuid::to_string).collect();
        let sql = format!(
            r#"SELECT "gen"::text FROM {place}"forebay_ledger" WHERE "gen" = ANY ($1::text[]::uuid[])"#
        );
        sqlx::query_scalar(AssertSqlSafe(sql)).bind(texts).fetch_all(&mut *self.connection).await
    }
}
