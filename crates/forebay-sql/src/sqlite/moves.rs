//! Rows that were moved.
//!
//! SQLite has one writer: a transaction that merges rows and one that moves one are never at work at once.

use forebay::buffer::Schema;
use sqlx::{AssertSqlSafe, sqlite::SqliteRow};

use super::{apply::bind, form::Form, open::Open, statement};
use crate::common::{
    cell::Cell,
    database::Checked,
    datetime,
    moves::{Lock, Moves, Values},
    plan::Plan,
};

impl Moves for Open {
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

    async fn moved_with(
        &mut self,
        _: &Plan<Form>,
        schema: &Schema,
        key: &str,
    ) -> sqlx::Result<Vec<(String, String)>> {
        sqlx::query_as(
            r#"SELECT "from_key", "to_key" FROM "main"."forebay_moves" WHERE "buffer" = ?1 AND "to_key" = coalesce(
                   (SELECT "to_key" FROM "main"."forebay_moves" WHERE "buffer" = ?1 AND "from_key" = ?2), ?2)"#,
        )
        .bind(schema.name.as_str())
        .bind(key)
        .fetch_all(&mut *self.connection)
        .await
    }

    async fn alone(&mut self, _: &Plan<Form>, _: &Schema) -> sqlx::Result<()> {
        Ok(())
    }

    async fn find(&mut self, plan: &Plan<Form>, _: &Schema, key: &[Cell], _: Lock) -> Checked<Vec<Values>> {
        let query = sqlx::query_with(AssertSqlSafe(statement::select(plan)), bind(key.iter())?);
        let rows = query.fetch_all(&mut *self.connection).await?;
        Ok(rows.iter().map(|row| decode(plan, row)).collect())
    }

    async fn remove(&mut self, plan: &Plan<Form>, key: &[Cell]) -> sqlx::Result<u64> {
        let query = sqlx::query_with(AssertSqlSafe(statement::delete(plan)), bind(key.iter())?);
        Ok(query.execute(&mut *self.connection).await?.rows_affected())
    }

    async fn note_move(&mut self, _: &Plan<Form>, schema: &Schema, from: &str, to: &str) -> sqlx::Result<()> {
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

fn decode(plan: &Plan<Form>, row: &SqliteRow) -> Result<Values, String> {
    let columns = plan.columns.iter().enumerate();
    columns
        .map(|(i, column)| column.form.decode(row, i).map_err(|why| format!("column {}: {why}", column.name)))
        .collect()
}
