//! The ledger: which batches have been applied.

use forebay::Timestamp;
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::{form::Form, open::Open};
use crate::common::{
    datetime,
    ledger::{Entry, Ledger, PRUNE_AT_ONCE},
    plan::Plan,
};

impl Ledger for Open {
    async fn record(&mut self, plan: &Plan<Form>, entry: &Entry<'_>) -> sqlx::Result<bool> {
        let [column, value] = if plan.dated { [r#", "last_write""#, ", ?"] } else { [""; 2] };
        let sql = format!(
            r#"INSERT INTO "main"."forebay_ledger" ("gen", "buffer", "partition", "rows", "applied_at"{column})
               VALUES (?, ?, ?, ?, ?{value}) ON CONFLICT DO NOTHING"#
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
        Ok(query.execute(&mut *self.connection).await?.rows_affected() > 0)
    }

    async fn last_write(&mut self, plan: &Plan<Form>, id: Uuid) -> sqlx::Result<Option<String>> {
        if !plan.dated {
            return Ok(None);
        }
        let query = sqlx::query_scalar(r#"SELECT "last_write" FROM "main"."forebay_ledger" WHERE "gen" = ?"#);
        Ok(query.bind(id.to_string()).fetch_optional(&mut *self.connection).await?.flatten())
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
