//! Dead letters: listed, and replayed.

use forebay::{buffer::Schema, sink::Replayed};

use super::{
    form::Form,
    open::Open,
    query::{query, query_as, query_scalar},
};
use crate::common::{dead::Line, plan::Plan, replay::Letters};

impl Letters for Open {
    async fn take(
        &mut self,
        plan: &Plan<Form>,
        schema: &Schema,
        ids: &[u64],
    ) -> sqlx::Result<Vec<(i64, String, String)>> {
        // As a batch does, whose id goes into the ledger: moves wait for it, and it for them.
        let sql = format!(r#"LOCK TABLE {}"forebay_ledger" IN ROW EXCLUSIVE MODE"#, plan.place);
        query(sql).execute(&mut *self.connection).await?;
        let sql = format!(
            r#"SELECT "id", "row_key", "cells" FROM {}"forebay_dead_letters"
               WHERE "buffer" = $1 AND "id" = ANY ($2) ORDER BY "id" FOR UPDATE"#,
            plan.place
        );
        let query = query_as(sql).bind(schema.name.as_str()).bind(signed(ids));
        query.fetch_all(&mut *self.connection).await
    }

    async fn settle(&mut self, plan: &Plan<Form>, replayed: &Replayed) -> sqlx::Result<()> {
        let place = &plan.place;
        let sql = format!(r#"DELETE FROM {place}"forebay_dead_letters" WHERE "id" = ANY ($1)"#);
        query(sql).bind(signed(&replayed.applied)).execute(&mut *self.connection).await?;
        let (ids, reasons): (Vec<u64>, Vec<String>) =
            replayed.refused.iter().map(|(id, why)| (*id, why.replace('\0', "\\0"))).unzip();
        let sql = format!(
            r#"UPDATE {place}"forebay_dead_letters" AS t SET "error" = x.e
               FROM unnest($1::int8[], $2::text[]) AS x(id, e) WHERE t."id" = x.id"#
        );
        let query = query(sql).bind(signed(&ids)).bind(reasons);
        query.execute(&mut *self.connection).await.map(|_| ())
    }

    async fn list(
        &mut self,
        plan: &Plan<Form>,
        schema: &Schema,
        after: u64,
        limit: u32,
    ) -> sqlx::Result<Vec<Line>> {
        let sql = format!(
            r#"SELECT "id", "gen"::text, "row_key", "cells", "error",
                      to_char("at" AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')
               FROM {}"forebay_dead_letters" WHERE "buffer" = $1 AND "id" > $2 ORDER BY "id" LIMIT $3"#,
            plan.place
        );
        query_as(sql)
            .bind(schema.name.as_str())
            .bind(after.cast_signed())
            .bind(i64::from(limit))
            .fetch_all(&mut *self.connection)
            .await
    }

    async fn count(&mut self, plan: &Plan<Form>, schema: &Schema) -> sqlx::Result<i64> {
        let sql = format!(r#"SELECT count(*) FROM {}"forebay_dead_letters" WHERE "buffer" = $1"#, plan.place);
        let query = query_scalar(sql).bind(schema.name.as_str());
        query.fetch_one(&mut *self.connection).await
    }
}

/// As the columns are. An id that is too large for one becomes a negative one, which no letter has.
fn signed(ids: &[u64]) -> Vec<i64> {
    ids.iter().map(|id| id.cast_signed()).collect()
}
