//! The statements of a batch, in the transaction that also has its id.

use forebay::sink::Batch;
use sqlx::{Arguments as _, postgres::PgArguments};

use super::{
    array::Array,
    error::classify,
    form::Form,
    open::Open,
    query::{query, query_scalar_with, query_with},
    statement,
};
use crate::common::{
    cell::Cell,
    error::{Class, message},
    merge::{Encoded, How, Letter, Outcome, Transaction},
    plan::Plan,
};

impl Transaction for Open {
    type Form = Form;

    /// An array has any number of elements.
    fn piece(left: usize) -> usize {
        left
    }

    async fn attempt(&mut self, plan: &Plan<Form>, how: How, rows: &[Encoded]) -> sqlx::Result<Outcome> {
        let cells = |i: usize| rows.iter().map(|row| &row.cells[i]).collect();
        let arguments = bind(plan.forms(how.written).enumerate().map(|(i, form)| (form, cells(i))))?;
        let sql = statement::merge(plan, how);
        // After an error a transaction only takes the way back to a savepoint.
        self.run("SAVEPOINT forebay").await?;
        let outcome = if how.all && !how.insert {
            let places = query_scalar_with(sql, arguments).fetch_all(&mut *self.connection).await;
            places.map(|places: Vec<i64>| told(&places, rows.len()))
        } else {
            let done = query_with(sql, arguments).execute(&mut *self.connection).await;
            done.map(|done| counted(done.rows_affected(), how, rows.len()))
        };
        let outcome = match outcome {
            Err(error) if classify(&error) == Class::Data => Outcome::Refused(Some(message(&error))),
            other => other?,
        };
        if matches!(outcome, Outcome::Refused(_)) {
            self.run("ROLLBACK TO SAVEPOINT forebay").await?;
        }
        self.run("RELEASE SAVEPOINT forebay").await?;
        Ok(outcome)
    }

    async fn bury(&mut self, plan: &Plan<Form>, batch: &Batch, letters: &[Letter]) -> sqlx::Result<()> {
        let sql = format!(
            r#"INSERT INTO {}"forebay_dead_letters" ("gen", "buffer", "row_key", "cells", "error", "at")
               SELECT $1::uuid, $2, x.k, x.c, x.e, $3::timestamptz
               FROM unnest($4::text[], $5::text[], $6::text[]) AS x(k, c, e)"#,
            plan.place
        );
        let keys: Vec<&str> = letters.iter().map(|letter| &*letter.key).collect();
        let cells: Vec<&str> = letters.iter().map(|letter| &*letter.cells).collect();
        // Text in Postgres has no NUL.
        let errors: Vec<String> = letters.iter().map(|letter| letter.why.replace('\0', "\\0")).collect();
        query(sql)
            .bind(batch.id.to_string())
            .bind(batch.schema.name.as_str())
            .bind(self.now.to_string())
            .bind(keys)
            .bind(cells)
            .bind(errors)
            .execute(&mut *self.connection)
            .await
            .map(|_| ())
    }
}

impl Open {
    async fn run(&mut self, sql: &'static str) -> sqlx::Result<()> {
        sqlx::raw_sql(sql).execute(&mut *self.connection).await.map(|_| ())
    }
}

/// The outcome of an update that answers the places it reached.
fn told(places: &[i64], rows: usize) -> Outcome {
    let mut reached = vec![false; rows];
    for place in places {
        let place = usize::try_from(place - 1).ok();
        if let Some(reached) = place.and_then(|place| reached.get_mut(place)) {
            *reached = true;
        }
    }
    let unreached = (0..rows).filter(|i| !reached[*i]).collect();
    Outcome::Merged { rows: places.len() as u64, unreached }
}

/// The outcome of a statement that only counts.
fn counted(reached: u64, how: How, rows: usize) -> Outcome {
    // A trigger left some out, and which is found by trying fewer.
    if how.all && reached < rows as u64 {
        return Outcome::Refused(None);
    }
    Outcome::Merged { rows: reached, unreached: vec![] }
}

/// A parameter per column.
pub(super) fn bind<'a>(
    columns: impl Iterator<Item = (&'a Form, Vec<&'a Cell>)>,
) -> sqlx::Result<PgArguments> {
    let mut arguments = PgArguments::default();
    for (form, cells) in columns {
        arguments.add(Array { element: form.element, cells }).map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}
