//! The ledger: which batches have been applied.

use forebay::{Timestamp, sink::Batch};
use sqlx::SqliteConnection;
use uuid::Uuid;

use crate::common::{datetime, ledger::PRUNE_AT_ONCE};

/// Records the batch in the ledger; false if it is there.
pub(super) async fn record(
    connection: &mut SqliteConnection,
    batch: &Batch,
    now: Timestamp,
) -> sqlx::Result<bool> {
    let recorded = sqlx::query(
        r#"INSERT INTO "main"."forebay_ledger" ("gen", "buffer", "partition", "rows", "applied_at")
           VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"#,
    )
    .bind(batch.id.to_string())
    .bind(batch.schema.name.as_str())
    .bind(batch.partition)
    .bind(i64::try_from(batch.rows.len()).unwrap_or(i64::MAX))
    .bind(datetime::text(now))
    .execute(connection)
    .await?;
    Ok(recorded.rows_affected() > 0)
}

/// Forgets some of the entries made before a time, but never one of the newest 1 000.
pub(super) async fn prune(connection: &mut SqliteConnection, before: &str) -> sqlx::Result<u64> {
    let pruned = sqlx::query(
        r#"DELETE FROM "main"."forebay_ledger" WHERE "gen" IN (
               SELECT "gen" FROM "main"."forebay_ledger" WHERE "applied_at" < ? AND "applied_at" < (
                   SELECT "applied_at" FROM "main"."forebay_ledger" ORDER BY "applied_at" DESC LIMIT 1 OFFSET 999)
               ORDER BY "applied_at" LIMIT ?)"#,
    )
    .bind(before)
    .bind(PRUNE_AT_ONCE)
    .execute(connection)
    .await?;
    Ok(pruned.rows_affected())
}

/// Which of some batches the ledger has.
pub(super) async fn known(connection: &mut SqliteConnection, ids: &[Uuid]) -> sqlx::Result<Vec<Uuid>> {
    let texts: Vec<String> = ids.iter().map(Uuid::to_string).collect();
    let known: Vec<String> = sqlx::query_scalar(
        r#"SELECT "gen" FROM "main"."forebay_ledger" WHERE "gen" IN (SELECT "value" FROM json_each(?))"#,
    )
    .bind(serde_json::json!(texts).to_string())
    .fetch_all(connection)
    .await?;
    Ok(ids.iter().copied().filter(|id| known.contains(&id.to_string())).collect())
}
