//! Rows that were moved.
//!
//! SQLite has one writer: a transaction that merges rows and one that moves one are never at work at once.

use forebay::{
    buffer::{RowKey, Schema},
    sink::SinkError,
};
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};

use super::{
    Sqlite,
    apply::{Applying, bind},
    error::{classify, reason},
    form::Form,
    sink::decode,
    statement,
};
use crate::common::{
    cell::Cell,
    datetime,
    dead::stored_key,
    error::Class,
    moves::{self, Mover, Moves, Place, Values, relocate},
    plan::Plan,
};

impl Moves for Applying<'_> {
    async fn any_moved(&mut self, _: &Plan<Form>, schema: &Schema) -> sqlx::Result<bool> {
        sqlx::query_scalar(r#"SELECT EXISTS (SELECT 1 FROM "main"."forebay_moves" WHERE "buffer" = ?)"#)
            .bind(schema.name.as_str())
            .fetch_one(&mut *self.connection)
            .await
    }

    async fn moved(
        &mut self,
        _: &Plan<Form>,
        schema: &Schema,
        keys: &[String],
    ) -> sqlx::Result<Vec<(String, String)>> {
        sqlx::query_as(
            r#"SELECT "from_key", "to_key" FROM "main"."forebay_moves"
               WHERE "buffer" = ? AND "from_key" IN (SELECT "value" FROM json_each(?))"#,
        )
        .bind(schema.name.as_str())
        .bind(serde_json::json!(keys).to_string())
        .fetch_all(&mut *self.connection)
        .await
    }
}

impl Mover for Applying<'_> {
    async fn alone(&mut self, _: &Plan<Form>, _: &Schema) -> sqlx::Result<()> {
        Ok(())
    }

    async fn find(
        &mut self,
        plan: &Plan<Form>,
        _: &Schema,
        key: &[Cell],
    ) -> sqlx::Result<Result<Vec<Values>, String>> {
        let query = sqlx::query_with(AssertSqlSafe(statement::select(plan)), bind(key.iter())?);
        let rows = query.fetch_all(&mut *self.connection).await?;
        Ok(rows.iter().map(|row| decode(plan, row)).collect())
    }

    async fn remove(&mut self, plan: &Plan<Form>, key: &[Cell]) -> sqlx::Result<u64> {
        let query = sqlx::query_with(AssertSqlSafe(statement::delete(plan)), bind(key.iter())?);
        Ok(query.execute(&mut *self.connection).await?.rows_affected())
    }

    async fn record(&mut self, _: &Plan<Form>, schema: &Schema, from: &str, to: &str) -> sqlx::Result<()> {
        let name = schema.name.as_str();
        sqlx::query(r#"DELETE FROM "main"."forebay_moves" WHERE "buffer" = ? AND "from_key" = ?"#)
            .bind(name)
            .bind(to)
            .execute(&mut *self.connection)
            .await?;
        sqlx::query(r#"UPDATE "main"."forebay_moves" SET "to_key" = ? WHERE "buffer" = ? AND "to_key" = ?"#)
            .bind(to)
            .bind(name)
            .bind(from)
            .execute(&mut *self.connection)
            .await?;
        sqlx::query(
            r#"INSERT INTO "main"."forebay_moves" ("buffer", "from_key", "to_key", "at") VALUES (?, ?, ?, ?)
               ON CONFLICT DO NOTHING"#,
        )
        .bind(name)
        .bind(from)
        .bind(to)
        .bind(datetime::text(self.now))
        .execute(&mut *self.connection)
        .await
        .map(|_| ())
    }
}

impl Sqlite {
    pub(super) async fn move_now(
        &self,
        schema: &Schema,
        from: &RowKey,
        to: &RowKey,
    ) -> Result<RowKey, SinkError> {
        let plan = self.survey(schema).await?;
        let moving = |error: sqlx::Error| match classify(&error) {
            Class::Data => moves::refused(reason(&error)),
            _ => self.failed(&format!("moving a row of table {}", schema.table), &error),
        };
        let mut writer = self.database.writer().await.map_err(moving)?;
        let now = self.state.options.clock.now();
        let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await.map_err(moving)?;
        let mut mover = Applying { connection: &mut transaction, now };
        let target = relocate(&mut mover, &plan, schema, from, to).await.map_err(moving)?;
        let target = target.map_err(moves::refused)?;
        transaction.commit().await.map_err(moving)?;
        Ok(target)
    }
}

/// Where a row is, as the transaction sees it.
pub(super) async fn place(
    connection: &mut SqliteConnection,
    schema: &Schema,
    row: &RowKey,
) -> sqlx::Result<Place> {
    let moves: Vec<(String, String)> = sqlx::query_as(
        r#"SELECT "from_key", "to_key" FROM "main"."forebay_moves" WHERE "buffer" = ?1 AND "to_key" = coalesce(
               (SELECT "to_key" FROM "main"."forebay_moves" WHERE "buffer" = ?1 AND "from_key" = ?2), ?2)"#,
    )
    .bind(schema.name.as_str())
    .bind(stored_key(row))
    .fetch_all(connection)
    .await?;
    Place::of(schema, row, &moves)
}
