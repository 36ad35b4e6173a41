//! The ledger: which batches have been applied.

use forebay::Timestamp;
use uuid::Uuid;

use super::{
    form::Form,
    open::Open,
    query::{query, query_scalar},
};
use crate::common::{
    datetime,
    ledger::{Entry, Ledger, PRUNE_AT_ONCE},
    plan::Plan,
};

impl Ledger for Open {
    /// Answers whether commits wait for standbys: such a wait can be ended from outside, and the commit is then answered
    /// as if nothing had happened.
    async fn record(&mut self, plan: &Plan<Form>, entry: &Entry<'_>) -> sqlx::Result<bool> {
        let place = &plan.place;
        let [column, value] = if plan.dated { [r#", "last_write""#, ", $6::timestamptz"] } else { [""; 2] };
        let sql = format!(
            r#"INSERT INTO {place}"forebay_ledger" ("gen", "buffer", "partition", "rows", "applied_at"{column})
               VALUES ($1::uuid, $2, $3, $4, $5::timestamptz{value}) ON CONFLICT DO NOTHING
               RETURNING current_setting('synchronous_standby_names') <> ''"#
        );
        let mut query = query_scalar(sql)
            .bind(entry.id.to_string())
            .bind(entry.buffer)
            .bind(entry.partition)
            .bind(entry.rows)
            .bind(self.now.to_string());
        if plan.dated {
            // A time that Postgres cannot read would refuse the batch.
            let last_write = entry.last_write.filter(|at| datetime::text(*at).is_some());
            query = query.bind(last_write.map(|at| at.to_string()));
        }
        let waits: Option<bool> = query.fetch_optional(&mut *self.connection).await?;
        self.waits |= waits == Some(true);
        Ok(waits.is_some())
    }

    async fn last_write(&mut self, plan: &Plan<Form>, id: Uuid) -> sqlx::Result<Option<String>> {
        if !plan.dated {
            return Ok(None);
        }
        let sql = format!(
            r#"SELECT to_char("last_write" AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')
               FROM {}"forebay_ledger" WHERE "gen" = $1::uuid"#,
            plan.place
        );
        let query = query_scalar(sql).bind(id.to_string());
        Ok(query.fetch_optional(&mut *self.connection).await?.flatten())
    }

    /// Somebody else who prunes has others.
    async fn prune(&mut self, place: &str, before: Timestamp) -> sqlx::Result<u64> {
        let sql = format!(
            r#"DELETE FROM {place}"forebay_ledger" WHERE "gen" IN (
               SELECT "gen" FROM {place}"forebay_ledger" WHERE "applied_at" < $1::timestamptz AND "applied_at" < (
                   SELECT "applied_at" FROM {place}"forebay_ledger" ORDER BY "applied_at" DESC LIMIT 1 OFFSET 999)
               ORDER BY "applied_at" LIMIT {PRUNE_AT_ONCE} FOR UPDATE SKIP LOCKED)"#
        );
        let pruned = query(sql).bind(before.to_string()).execute(&mut *self.connection).await?;
        Ok(pruned.rows_affected())
    }

    async fn known(&mut self, place: &str, ids: &[Uuid]) -> sqlx::Result<Vec<String>> {
        let texts: Vec<String> = ids.iter().map(Uuid::to_string).collect();
        let sql = format!(
            r#"SELECT "gen"::text FROM {place}"forebay_ledger" WHERE "gen" = ANY ($1::text[]::uuid[])"#
        );
        query_scalar(sql).bind(texts).fetch_all(&mut *self.connection).await
    }
}
