//! The statements of a batch, in the transaction that also has its id.

use forebay::sink::Batch;
use sqlx::AssertSqlSafe;

use super::{error::classify, form::Form, json, open::Open, statement};
use crate::common::{
    cell::Cell,
    datetime,
    error::{Class, message},
    merge::{Encoded, How, Letter, Outcome, Transaction},
    plan::Plan,
};

/// How many rows one statement takes: more are not faster, and its text has to stay below `max_allowed_packet`.
const MOST: usize = 1_000;

impl Transaction for Open {
    type Form = Form;

    fn piece(left: usize) -> usize {
        left.min(MOST)
    }

    /// Needs no savepoint: a statement that fails has changed nothing, and the transaction goes on, except after a
    /// deadlock, which is no row's fault.
    async fn attempt(&mut self, plan: &Plan<Form>, how: How, rows: &[Encoded]) -> sqlx::Result<Outcome> {
        let outcome = if how.all && !how.insert {
            self.update_all(plan, how, rows).await
        } else {
            let affected = self.run(plan, how, json::of(rows)).await;
            // An upsert counts a row once, or twice, and reaches all.
            let reached = |affected| if how.insert { rows.len() as u64 } else { affected };
            affected.map(|affected| Outcome::Merged { rows: reached(affected), unreached: vec![] })
        };
        match outcome {
            Err(error) if classify(&error) == Class::Data => Ok(Outcome::Refused(Some(message(&error)))),
            other => other,
        }
    }

    async fn bury(&mut self, plan: &Plan<Form>, batch: &Batch, letters: &[Letter]) -> sqlx::Result<()> {
        let text = "LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH";
        let sql = format!(
            "INSERT INTO {}`forebay_dead_letters` (`gen`, `buffer`, `row_key`, `cells`, `error`, `at`)
             SELECT ?, ?, x.k, x.c, x.e, ? FROM JSON_TABLE(?, '$[*]' COLUMNS (
                 k {text} '$[0]' ERROR ON ERROR, c {text} '$[1]' ERROR ON ERROR, e {text} '$[2]' ERROR ON ERROR)) AS x",
            plan.place
        );
        for some in letters.chunks(MOST) {
            let rows = some
                .iter()
                .map(|letter| [&letter.key, &letter.cells, &letter.why].map(|part| Cell::Text(part.clone())));
            let rows: Vec<[Cell; 3]> = rows.collect();
            sqlx::query(AssertSqlSafe(sql.as_str()))
                .bind(batch.id.to_string())
                .bind(batch.schema.name.as_str())
                .bind(datetime::text(self.now))
                .bind(json::rows(rows.iter().map(<[Cell; 3]>::as_slice)))
                .execute(&mut *self.connection)
                .await?;
        }
        Ok(())
    }
}

impl Open {
    async fn run(&mut self, plan: &Plan<Form>, how: How, json: String) -> sqlx::Result<u64> {
        let sql = AssertSqlSafe(statement::merge(plan, how));
        let done = sqlx::query(sql).bind(json).execute(&mut *self.connection).await?;
        Ok(done.rows_affected())
    }

    /// Updates the rows that are there, and says which are not. They are locked first: one that comes or goes between
    /// would be told wrongly.
    async fn update_all(&mut self, plan: &Plan<Form>, how: How, rows: &[Encoded]) -> sqlx::Result<Outcome> {
        let lock = AssertSqlSafe(statement::lock(plan, how.written));
        let places: Vec<i64> =
            sqlx::query_scalar(lock).bind(json::of(rows)).fetch_all(&mut *self.connection).await?;
        let mut there = vec![false; rows.len()];
        for place in places {
            if let Some(there) = usize::try_from(place - 1).ok().and_then(|place| there.get_mut(place)) {
                *there = true;
            }
        }
        let some = rows.iter().zip(&there).filter(|(_, there)| **there).map(|(row, _)| &*row.cells);
        let affected = self.run(plan, how, json::rows(some)).await?;
        let unreached = (0..rows.len()).filter(|i| !there[*i]).collect();
        Ok(Outcome::Merged { rows: affected, unreached })
    }
}
