//! The statements of a batch, in the transaction that also has its id.

use forebay::sink::Batch;
use sqlx::{Arguments as _, AssertSqlSafe, sqlite::SqliteArguments};

use super::{
    error::{classify, reason},
    form::Form,
    open::Open,
    statement,
};
use crate::common::{
    cell::Cell,
    datetime,
    error::Class,
    merge::{Encoded, How, Letter, Outcome, Transaction},
    plan::Plan,
};

/// How many rows one statement may have. Few sizes, so that the prepared statements are few; beyond 512 nothing gets
/// faster.
///
/// 512 rows of 32 columns are 16 384 variables; SQLite allows 32 766.
const SIZES: [usize; 4] = [512, 64, 8, 1];

impl Transaction for Open {
    type Form = Form;

    fn piece(left: usize) -> usize {
        SIZES.into_iter().find(|size| *size <= left).unwrap_or(1)
    }

    /// The savepoint is for tables with `ON CONFLICT FAIL`, which keep what the statement did before it failed. It also
    /// notices when a constraint or trigger ended the transaction: rolling back to it then fails, and nothing more is
    /// done.
    async fn attempt(&mut self, plan: &Plan<Form>, how: How, rows: &[Encoded]) -> sqlx::Result<Outcome> {
        let arguments = bind(rows.iter().flat_map(|row| &row.cells))?;
        let sql = statement::merge(plan, how, rows.len());
        self.run("SAVEPOINT forebay").await?;
        let executed = sqlx::query_with(AssertSqlSafe(sql), arguments).execute(&mut *self.connection).await;
        let refusal = match executed {
            Ok(done) if !how.all || done.rows_affected() >= rows.len() as u64 => {
                self.run("RELEASE forebay").await?;
                return Ok(Outcome::Merged { rows: done.rows_affected(), unreached: vec![] });
            }
            Ok(_) => None,
            Err(error) if classify(&error) == Class::Data => Some(reason(&error)),
            Err(error) => return Err(error),
        };
        self.run("ROLLBACK TO forebay").await?;
        self.run("RELEASE forebay").await?;
        Ok(Outcome::Refused(refusal))
    }

    async fn bury(&mut self, plan: &Plan<Form>, batch: &Batch, letters: &[Letter]) -> sqlx::Result<()> {
        let sql = format!(
            r#"INSERT INTO {}"forebay_dead_letters" ("gen", "buffer", "row_key", "cells", "error", "at")
               VALUES (?, ?, ?, ?, ?, ?)"#,
            plan.place
        );
        for letter in letters {
            sqlx::query(AssertSqlSafe(sql.as_str()))
                .bind(batch.id.to_string())
                .bind(batch.schema.name.as_str())
                .bind(&letter.key)
                .bind(&letter.cells)
                .bind(&letter.why)
                .bind(datetime::text(self.now))
                .execute(&mut *self.connection)
                .await?;
        }
        Ok(())
    }
}

impl Open {
    async fn run(&mut self, sql: &'static str) -> sqlx::Result<()> {
        sqlx::query(sql).execute(&mut *self.connection).await.map(|_| ())
    }
}

/// The values for a statement's places.
pub(super) fn bind<'a>(cells: impl Iterator<Item = &'a Cell>) -> sqlx::Result<SqliteArguments> {
    let mut arguments = SqliteArguments::default();
    for cell in cells {
        match cell {
            Cell::Integer(n) => arguments.add(*n),
            Cell::Text(text) => arguments.add(text.clone()),
            Cell::Bytes(bytes) => arguments.add(bytes.clone()),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}
