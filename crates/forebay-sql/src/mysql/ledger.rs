//! The ledger: which batches have been applied.

use forebay::{Timestamp, sink::Batch};
use sqlx::{AssertSqlSafe, MySqlConnection};
use uuid::Uuid;

use super::error::is_duplicate;
use crate::common::{datetime, ledger::PRUNE_AT_ONCE};

/// Records the batch in the ledger; false if it is there. Waits while another transaction is about to record it.
///
/// `INSERT IGNORE` would ignore other errors as well, and what an upsert counts depends on the connection.
pub(super) async fn record(
    connection: &mut MySqlConnection,
    place: &str,
    batch: &Batch,
    now: Timestamp,
) -> sqlx::Result<bool> {
    let sql = format!(
        "INSERT INTO {place}`forebay_ledger` (`gen`, `buffer`, `partition`, `rows`, `applied_at`) VALUES (?, ?, ?, ?, ?)"
    );
    let recorded = sqlx::query(AssertSqlSafe(sql))
        .bind(batch.id.to_string())
        .bind(batch.schema.name.as_str())
        .bind(batch.partition)
        .bind(i64::try_from(batch.rows.len()).unwrap_or(i64::MAX))
        .bind(datetime::text(now))
        .execute(connection)
        .await;
    match recorded {
        Err(error) if is_duplicate(&error) => Ok(false),
        other => other.map(|_| true),
    }
}

/// Forgets some of the entries made before a time, but never one of the newest 1 000.
pub(super) async fn prune(connection: &mut MySqlConnection, place: &str, before: &str) -> sqlx::Result<u64> {
    let sql = format!(
        "DELETE FROM {place}`forebay_ledger` WHERE `applied_at` < ? AND `applied_at` < (
             SELECT `least` FROM (SELECT `applied_at` AS `least` FROM {place}`forebay_ledger`
                                  ORDER BY `applied_at` DESC LIMIT 999, 1) AS `newest`)
         ORDER BY `applied_at` LIMIT {PRUNE_AT_ONCE}"
    );
    let pruned = sqlx::query(AssertSqlSafe(sql)).bind(before).execute(connection).await?;
    Ok(pruned.rows_affected())
}

/// Which of some batches the ledger has.
pub(super) async fn known(
    connection: &mut MySqlConnection,
    place: &str,
    ids: &[Uuid],
) -> sqlx::Result<Vec<Uuid>> {
    if ids.is_empty() {
        return Ok(vec![]);
    }
    let places = vec!["?"; ids.len()].join(", ");
    let sql = format!("SELECT `gen` FROM {place}`forebay_ledger` WHERE `gen` IN ({places})");
    let mut query = sqlx::query_scalar::<_, String>(AssertSqlSafe(sql)).persistent(false);
    for id in ids {
        query = query.bind(id.to_string());
    }
    let known = query.fetch_all(connection).await?;
    Ok(ids.iter().copied().filter(|id| known.contains(&id.to_string())).collect())
}
