//! Rows that were moved.
//!
//! A transaction that merges rows has written into the ledger or, for dead letters, locked it as if. A move takes a lock on
//! the ledger that excludes that, and other moves, but nobody who reads, so a backup does not hold it up.

use forebay::buffer::Schema;
use sqlx::postgres::{PgArguments, PgRow};

use super::{
    apply::bind,
    form::Form,
    open::Open,
    query::{query, query_as, query_scalar, query_with},
    statement,
};
use crate::common::{
    cell::Cell,
    database::Checked,
    moves::{Lock, Moves, Values},
    plan::Plan,
};

impl Moves for Open {
    async fn any_moved(&mut self, plan: &Plan<Form>, schema: &Schema) -> sqlx::Result<bool> {
        let sql = format!(r#"SELECT EXISTS (SELECT FROM {}"forebay_moves" WHERE "buffer" = $1)"#, plan.place);
        let query = query_scalar(sql).bind(schema.name.as_str());
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
        let query = query_as(sql).bind(schema.name.as_str()).bind(keys);
        query.fetch_all(&mut *self.connection).await
    }

    async fn moved_with(
        &mut self,
        plan: &Plan<Form>,
        schema: &Schema,
        key: &str,
    ) -> sqlx::Result<Vec<(String, String)>> {
        let table = format!(r#"{}"forebay_moves""#, plan.place);
        let sql = format!(
            r#"SELECT "from_key", "to_key" FROM {table} WHERE "buffer" = $1 AND "to_key" = coalesce(
                   (SELECT "to_key" FROM {table} WHERE "buffer" = $1 AND "from_key" = $2), $2)"#
        );
        let query = query_as(sql).bind(schema.name.as_str()).bind(key);
        query.fetch_all(&mut *self.connection).await
    }

    async fn alone(&mut self, plan: &Plan<Form>, _: &Schema) -> sqlx::Result<()> {
        let sql = format!(r#"LOCK TABLE {}"forebay_ledger" IN SHARE ROW EXCLUSIVE MODE"#, plan.place);
        query(sql).execute(&mut *self.connection).await.map(|_| ())
    }

    async fn find(
        &mut self,
        plan: &Plan<Form>,
        schema: &Schema,
        key: &[Cell],
        lock: Lock,
    ) -> Checked<Vec<Values>> {
        let sql = statement::select(plan) + if lock == Lock::Rows { " FOR UPDATE OF t" } else { "" };
        let query = query_with(sql, key_arguments(plan, key)?);
        let rows = query.fetch_all(&mut *self.connection).await?;
        Ok(rows.iter().map(|row| decode(plan, schema, row)).collect())
    }

    async fn remove(&mut self, plan: &Plan<Form>, key: &[Cell]) -> sqlx::Result<u64> {
        let query = query_with(statement::delete(plan), key_arguments(plan, key)?);
        Ok(query.execute(&mut *self.connection).await?.rows_affected())
    }

    async fn note_move(
        &mut self,
        plan: &Plan<Form>,
        schema: &Schema,
        from: &str,
        to: &str,
    ) -> sqlx::Result<()> {
        let table = format!(r#"{}"forebay_moves""#, plan.place);
        let name = schema.name.as_str();
        let sql = format!(r#"DELETE FROM {table} WHERE "buffer" = $1 AND "from_key" = $2"#);
        query(sql).bind(name).bind(to).execute(&mut *self.connection).await?;
        let sql = format!(r#"UPDATE {table} SET "to_key" = $3 WHERE "buffer" = $1 AND "to_key" = $2"#);
        query(sql).bind(name).bind(from).bind(to).execute(&mut *self.connection).await?;
        let sql = format!(
            r#"INSERT INTO {table} ("buffer", "from_key", "to_key", "at") VALUES ($1, $2, $3, $4::timestamptz)
               ON CONFLICT DO NOTHING"#
        );
        let query = query(sql).bind(name).bind(from).bind(to).bind(self.now.to_string());
        query.execute(&mut *self.connection).await.map(|_| ())
    }
}

fn key_arguments(plan: &Plan<Form>, key: &[Cell]) -> sqlx::Result<PgArguments> {
    bind(plan.keys.iter().zip(key).map(|(key, cell)| (&key.form, vec![cell])))
}

fn decode(plan: &Plan<Form>, schema: &Schema, row: &PgRow) -> Result<Values, String> {
    let columns = plan.columns.iter().zip(&schema.columns).enumerate();
    columns
        .map(|(i, (column, of))| {
            let value = column.form.decode(row, i, of.column_type);
            value.map_err(|why| format!("column {}: {why}", column.name))
        })
        .collect()
}
