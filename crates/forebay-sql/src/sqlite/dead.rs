//! Dead letters: listed, and replayed.

use forebay::{
    buffer::Schema,
    sink::{DeadLetter, Replayed, SinkError},
};
use sqlx::Connection as _;

use super::{Sqlite, apply::Applying, form::Form};
use crate::common::{
    dead::{self, Line},
    plan::Plan,
    replay::{Letters, replay},
};

impl Letters for Applying<'_> {
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
}

impl Sqlite {
    pub(super) async fn list_dead(
        &self,
        schema: &Schema,
        after: u64,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, SinkError> {
        self.plan(schema).await?;
        let listing = |error| self.failed("listing dead letters", &error);
        let mut reader = self.database.reader().await.map_err(listing)?;
        let lines: Vec<Line> = sqlx::query_as(
            r#"SELECT "id", "gen", "row_key", "cells", "error", "at" FROM "main"."forebay_dead_letters"
               WHERE "buffer" = ? AND "id" > ? ORDER BY "id" LIMIT ?"#,
        )
        .bind(schema.name.as_str())
        .bind(after.cast_signed())
        .bind(limit)
        .fetch_all(&mut *reader)
        .await
        .map_err(listing)?;
        let letters = lines.into_iter().map(|line| dead::letter(schema, line));
        letters.collect::<Result<_, _>>().map_err(|why| self.refused(&why))
    }

    pub(super) async fn count_dead(&self, schema: &Schema) -> Result<u64, SinkError> {
        self.plan(schema).await?;
        let counting = |error| self.failed("counting dead letters", &error);
        let mut reader = self.database.reader().await.map_err(counting)?;
        let count: i64 =
            sqlx::query_scalar(r#"SELECT count(*) FROM "main"."forebay_dead_letters" WHERE "buffer" = ?"#)
                .bind(schema.name.as_str())
                .fetch_one(&mut *reader)
                .await
                .map_err(counting)?;
        Ok(count.unsigned_abs())
    }

    /// Looks at the table first: somebody may have mended it.
    pub(super) async fn replay_dead(&self, schema: &Schema, ids: &[u64]) -> Result<Replayed, SinkError> {
        let plan = self.survey(schema).await?;
        let writing = |error| self.failed(&format!("writing into table {}", schema.table), &error);
        let mut writer = self.database.writer().await.map_err(writing)?;
        let now = self.state.options.clock.now();
        let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await.map_err(writing)?;
        let mut applying = Applying { connection: &mut transaction, now };
        let replayed = replay(&mut applying, &plan, schema, ids).await.map_err(writing)?;
        transaction.commit().await.map_err(writing)?;
        Ok(replayed)
    }
}
