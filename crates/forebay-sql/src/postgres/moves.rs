//! Rows that were moved.
//!
//! A transaction that merges rows has written into the ledger or, for dead letters, locked it as if. A move takes a lock on
//! the ledger that excludes that, and other moves, but nobody who reads, so a backup does not hold it up.

use forebay::{
    buffer::{RowKey, Schema},
    sink::SinkError,
};
use sqlx::{AssertSqlSafe, PgConnection};

use super::{
    Postgres,
    apply::{Applying, bind},
    error::classify,
    form::Form,
    sink::decode,
    statement,
};
use crate::common::{
    cell::Cell,
    dead::stored_key,
    error::{Class, message},
    moves::{self, Mover, Moves, Place, Values, relocate},
    plan::Plan,
};

impl Moves for Applying<'_> {
    async fn any_moved(&mut self, plan: &Plan<Form>, schema: &Schema) -> sqlx::Result<bool> {
        let sql = format!(r#"SELECT EXISTS (SELECT FROM {}"forebay_moves" WHERE "buffer" = $1)"#, plan.place);
        let query = sqlx::query_scalar(AssertSqlSafe(sql)).bind(schema.name.as_str());
        query.fetch_one(&mut *self.connection).await
    }

    async fn moved(
        &mut self,
        plan: &Plan<Form>,
        schema: &Schema,
        keys: &[String],
    ) -> sqlx::Result<Vec<(String, String)>> {
        let sql = format!(
            r#"SELECT "from_key", "to_key" FROM {}"forebay_moves" WHERE "buffer" = $1 AND "from_key" = ANY ($2)"#,
            plan.place
        );
        let query = sqlx::query_as(AssertSqlSafe(sql)).bind(schema.name.as_str()).bind(keys);
        query.fetch_all(&mut *self.connection).await
    }
}

impl Mover for Applying<'_> {
    async fn alone(&mut self, plan: &Plan<Form>, _: &Schema) -> sqlx::Result<()> {
        let sql = format!(r#"LOCK TABLE {}"forebay_ledger" IN SHARE ROW EXCLUSIVE MODE"#, plan.place);
        sqlx::query(AssertSqlSafe(sql)).execute(&mut *self.connection).await.map(|_| ())
    }

    async fn find(
        &mut self,
        plan: &Plan<Form>,
        schema: &Schema,
        key: &[Cell],
    ) -> sqlx::Result<Result<Vec<Values>, String>> {
        let sql = statement::select(plan) + " FOR UPDATE OF t";
        let query = sqlx::query_with(AssertSqlSafe(sql), key_arguments(plan, key)?);
        let rows = query.fetch_all(&mut *self.connection).await?;
        Ok(rows.iter().map(|row| decode(plan, schema, row)).collect())
    }

    async fn remove(&mut self, plan: &Plan<Form>, key: &[Cell]) -> sqlx::Result<u64> {
        let query = sqlx::query_with(AssertSqlSafe(statement::delete(plan)), key_arguments(plan, key)?);
        Ok(query.execute(&mut *self.connection).await?.rows_affected())
    }

    async fn record(&mut self, plan: &Plan<Form>, schema: &Schema, from: &str, to: &str) -> sqlx::Result<()> {
        let table = format!(r#"{}"forebay_moves""#, plan.place);
        let name = schema.name.as_str();
        let sql = format!(r#"DELETE FROM {table} WHERE "buffer" = $1 AND "from_key" = $2"#);
        let query = sqlx::query(AssertSqlSafe(sql)).bind(name).bind(to);
        query.execute(&mut *self.connection).await?;
        let sql = format!(r#"UPDATE {table} SET "to_key" = $3 WHERE "buffer" = $1 AND "to_key" = $2"#);
        let query = sqlx::query(AssertSqlSafe(sql)).bind(name).bind(from).bind(to);
        query.execute(&mut *self.connection).await?;
        let sql = format!(
            r#"INSERT INTO {table} ("buffer", "from_key", "to_key", "at") VALUES ($1, $2, $3, $4::timestamptz)
               ON CONFLICT DO NOTHING"#
        );
        let query = sqlx::query(AssertSqlSafe(sql)).bind(name).bind(from).bind(to).bind(self.now.to_string());
        query.execute(&mut *self.connection).await.map(|_| ())
    }
}

impl Postgres {
    pub(super) async fn move_now(
        &self,
        schema: &Schema,
        from: &RowKey,
        to: &RowKey,
    ) -> Result<RowKey, SinkError> {
        let plan = self.survey(schema).await?;
        let moving = |error: sqlx::Error| match classify(&error) {
            Class::Data => moves::refused(message(&error)),
            _ => self.failed(&format!("moving a row of table {}", schema.table), &error),
        };
        let now = self.state.options.clock.now();
        let mut transaction = self.database.begin().await.map_err(moving)?;
        let mut mover = Applying { connection: &mut transaction, now };
        let target = relocate(&mut mover, &plan, schema, from, to).await.map_err(moving)?;
        let target = target.map_err(moves::refused)?;
        transaction.commit().await.map_err(moving)?;
        Ok(target)
    }
}

/// Where a row is, as the transaction sees it.
pub(super) async fn place(
    connection: &mut PgConnection,
    plan: &Plan<Form>,
    schema: &Schema,
    row: &RowKey,
) -> sqlx::Result<Place> {
    let table = format!(r#"{}"forebay_moves""#, plan.place);
    let sql = format!(
        r#"SELECT "from_key", "to_key" FROM {table} WHERE "buffer" = $1 AND "to_key" = coalesce(
               (SELECT "to_key" FROM {table} WHERE "buffer" = $1 AND "from_key" = $2), $2)"#
    );
    let query = sqlx::query_as(AssertSqlSafe(sql)).bind(schema.name.as_str()).bind(stored_key(row));
    let moves: Vec<(String, String)> = query.fetch_all(connection).await?;
    Place::of(schema, row, &moves)
}

fn key_arguments(plan: &Plan<Form>, key: &[Cell]) -> sqlx::Result<sqlx::postgres::PgArguments> {
    bind(plan.keys.iter().zip(key).map(|(key, cell)| (&key.form, vec![cell])))
}
