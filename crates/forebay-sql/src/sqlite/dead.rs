//! Dead letters: listed, and replayed.

use forebay::{buffer::Schema, sink::Replayed};

use super::{form::Form, open::Open};
use crate::common::{dead::Line, plan::Plan, replay::Letters};

impl Letters for Open {
    /// The transaction is the file's only one that writes.
    async fn take(
        &mut self,
        _: &Plan<Form>,
        schema: &Schema,
        ids: &[u64],
    ) -> sqlx::Result<Vec<(i64, String, String)>> {
        sqlx::query_as(
            r#"SELECT "id", "row_key", "cells" FROM "main"."forebay_dead_letters"
               WHERE "buffer" = ? AND "id" IN (SELECT "value" FROM json_each(?)) ORDER BY "id""#,
        )
        .bind(schema.name.as_str())
        .bind(serde_json::json!(ids).to_string())
        .fetch_all(&mut *self.connection)
        .await
    }

    async fn settle(&mut self, _: &Plan<Form>, replayed: &Replayed) -> sqlx::Result<()> {
        sqlx::query(
            r#"DELETE FROM "main"."forebay_dead_letters" WHERE "id" IN (SELECT "value" FROM json_each(?))"#,
        )
        .bind(serde_json::json!(replayed.applied).to_string())
        .execute(&mut *self.connection)
        .await?;
        for (id, why) in &replayed.refused {
            sqlx::query(r#"UPDATE "main"."forebay_dead_letters" SET "error" = ? WHERE "id" = ?"#)
                .bind(why)
                .bind(id.cast_signed())
                .execute(&mut *self.connection)
                .await?;
        }
        Ok(())
    }
    async fn list(
        &mut self,
        _: &Plan<Form>,
        schema: &Schema,
        after: u64,
        limit: u32,
    ) -> sqlx::Result<Vec<Line>> {
        sqlx::query_as(
            r#"SELECT "id", "gen", "row_key", "cells", "error", "at" FROM "main"."forebay_dead_letters"
               WHERE "buffer" = ? AND "id" > ? ORDER BY "id" LIMIT ?"#,
        )
        .bind(schema.name.as_str())
        .bind(after.cast_signed())
        .bind(limit)
        .fetch_all(&mut *self.connection)
        .await
    }

    async fn count(&mut self, _: &Plan<Form>, schema: &Schema) -> sqlx::Result<i64> {
        sqlx::query_scalar(r#"SELECT count(*) FROM "main"."forebay_dead_letters" WHERE "buffer" = ?"#)
            .bind(schema.name.as_str())
            .fetch_one(&mut *self.connection)
            .await
    }
}
