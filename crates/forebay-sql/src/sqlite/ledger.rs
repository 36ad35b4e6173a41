//! The ledger: which batches have been applied.

use forebay::{Timestamp, sink::Batch};
use uuid::Uuid;

use super::open::Open;
use crate::common::{
    datetime,
    ledger::{Ledger, PRUNE_AT_ONCE},
};

impl Ledger for Open {
    async fn record(&mut self, _: &str, batch: &Batch) -> sqlx::Result<bool> {
        let recorded = sqlx::query(
            r#"INSERT INTO "main"."forebay_ledger" ("gen", "buffer", "partition", "rows", "applied_at")
           VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"#,
        )
        .bind(batch.id.to_string())
        .bind(batch.schema.name.as_str())
        .bind(batch.partition)
        .bind(i64::try_from(batch.rows.len()).unwrap_or(i64::MAX))
        .bind(datetime::text(self.now))
        .execute(&mut *self.connection)
        .await?;
        Ok(recorded.rows_affected() > 0)
    }

    async fn prune(&mut self, _: &str, before: Timestamp) -> sqlx::Result<u64> {
        let Some(before) = datetime::text(before) else { return Ok(0) };
        let pruned = sqlx::query(
        r#"DELETE FROM "main"."forebay_ledger" WHERE "gen" IN (
               SELECT "gen" FROM "main"."forebay_ledger" WHERE "applied_at" < ? AND "applied_at" < (
                   SELECT "applied_at" FROM "main"."forebay_ledger" ORDER BY "applied_at" DESC LIMIT 1 OFFSET 999)
               ORDER BY "applied_at" LIMIT ?)"#,
    )
    .bind(before)
    .bind(PRUNE_AT_ONCE)
    .execute(&mut *self.connection)
    .await?;
        Ok(pruned.rows_affected())
    }

    async fn known(&mut self, _: &str, ids: &[Uuid]) -> sqlx::Result<Vec<String>> {
        let texts: Vec<String> = ids.iter().map(Uuid::to_string).collect();
        sqlx::query_scalar(
            r#"SELECT "gen" FROM "main"."forebay_ledger" WHERE "gen" IN (SELECT "value" FROM json_each(?))"#,
        )
        .bind(serde_json::json!(texts).to_string())
        .fetch_all(&mut *self.connection)
        .await
    }
}
