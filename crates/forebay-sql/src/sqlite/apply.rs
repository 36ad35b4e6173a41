//! A batch, in the transaction that also has its id.

use std::{collections::BTreeMap, ops::Range};

use forebay::{
    Timestamp,
    buffer::Row,
    sink::{Applied, Batch},
};
use sqlx::{Arguments as _, AssertSqlSafe, SqliteConnection, sqlite::SqliteArguments};

use super::{
    error::{Class, classify, reason},
    form::Cell,
    plan::{Plan, Written},
    statement,
};
use crate::{Missing, datetime, dead};

/// How many rows one statement may have. Few sizes, so that the prepared statements are few; beyond 512 nothing gets
/// faster. A piece that fails is done again in pieces of the next size, down to the row that is to blame.
///
/// 512 rows of 32 columns are 16 384 variables; SQLite allows 32 766.
const SIZES: [usize; 4] = [512, 64, 8, 1];

/// Merges the batch's rows into the table, and puts those that it refuses among the dead letters.
pub(super) async fn merge(
    connection: &mut SqliteConnection,
    plan: &Plan,
    batch: &Batch,
    now: Timestamp,
) -> sqlx::Result<Applied> {
    let (groups, mut dead) = encode(plan, batch);
    let mut reached = 0;
    for (written, rows) in &groups {
        let how = How::of(plan, *written);
        let mut pieces = split(0..rows.len(), SIZES[0]);
        while let Some(piece) = pieces.pop() {
            let sql = how.statement(plan, *written, piece.len());
            let part = &rows[piece.clone()];
            match attempt(connection, sql, part, how.all).await? {
                Ok(affected) => reached += affected,
                Err(Refusal { why }) => match part {
                    [row] => dead.push((row.row, why.unwrap_or_else(|| how.unreached(plan, *written)))),
                    _ => pieces.extend(split(piece.clone(), piece.len() - 1)),
                },
            }
        }
    }
    if let Some((_, why)) = dead.first() {
        let (buffer, rows) = (&batch.schema.name, dead.len());
        tracing::warn!(%buffer, batch = %batch.id, rows, error = why, "rows among the dead letters; the first one's error");
    }
    for (row, why) in &dead {
        bury(connection, batch, row, why, now).await?;
    }
    Ok(Applied::now(reached, dead.len() as u64))
}

/// A row, in the forms of the table's columns.
struct Encoded<'a> {
    row: &'a Row,
    cells: Vec<Cell>,
}

/// Rows that fit no column, and why.
type Dead<'a> = Vec<(&'a Row, String)>;

/// Sorts the rows by the columns they write; within a group they stay in the order of their keys.
fn encode<'a>(plan: &Plan, batch: &'a Batch) -> (BTreeMap<Written, Vec<Encoded<'a>>>, Dead<'a>) {
    let mut groups: BTreeMap<Written, Vec<Encoded<'a>>> = BTreeMap::new();
    let mut dead = vec![];
    for row in &batch.rows {
        match plan.row(&batch.schema, row) {
            Ok((written, cells)) => groups.entry(written).or_default().push(Encoded { row, cells }),
            Err(why) => dead.push((row, why)),
        }
    }
    (groups, dead)
}

/// How the rows of a group are merged.
#[derive(Clone, Copy)]
struct How {
    insert: bool,
    /// A row that the statement does not reach is refused.
    all: bool,
}

impl How {
    fn of(plan: &Plan, written: Written) -> Self {
        match plan.missing {
            // A new row could not be inserted, and an upsert without the column fails even when the row is there.
            Missing::Insert if plan.lacking(written).is_some() => Self { insert: false, all: true },
            Missing::Insert => Self { insert: true, all: true },
            Missing::DeadLetter => Self { insert: false, all: true },
            Missing::Skip => Self { insert: false, all: false },
        }
    }

    fn statement(self, plan: &Plan, written: Written, rows: usize) -> String {
        if self.insert {
            statement::upsert(plan, written, rows)
        } else {
            statement::update(plan, written, rows)
        }
    }

    /// Why a row alone in its statement changed nothing.
    fn unreached(self, plan: &Plan, written: Written) -> String {
        match plan.lacking(written) {
            _ if self.insert => "a trigger or a conflict clause of the table ignored the row".into(),
            Some(column) if plan.missing == Missing::Insert => {
                format!("the table has no row with this key, and a new one needs {}", column.name)
            }
            _ => "the table has no row with this key".into(),
        }
    }
}

/// Some row of a statement was refused; `None`: one was not reached.
struct Refusal {
    why: Option<String>,
}

/// Runs one statement, wholly or not at all.
///
/// The savepoint is for tables with `ON CONFLICT FAIL`, which keep what the statement did before it failed. It also
/// notices when a constraint or trigger ended the transaction: rolling back to it then fails, and nothing more is done.
async fn attempt(
    connection: &mut SqliteConnection,
    sql: String,
    rows: &[Encoded<'_>],
    all: bool,
) -> sqlx::Result<Result<u64, Refusal>> {
    let arguments = bind(rows.iter().flat_map(|row| &row.cells))?;
    run(connection, "SAVEPOINT forebay").await?;
    let executed = sqlx::query_with(AssertSqlSafe(sql), arguments).execute(&mut *connection).await;
    let refusal = match executed {
        Ok(done) if !all || done.rows_affected() >= rows.len() as u64 => {
            run(connection, "RELEASE forebay").await?;
            return Ok(Ok(done.rows_affected()));
        }
        Ok(_) => Refusal { why: None },
        Err(error) if classify(&error) == Class::Data => Refusal { why: Some(reason(&error)) },
        Err(error) => return Err(error),
    };
    run(connection, "ROLLBACK TO forebay").await?;
    run(connection, "RELEASE forebay").await?;
    Ok(Err(refusal))
}

async fn run(connection: &mut SqliteConnection, sql: &'static str) -> sqlx::Result<()> {
    sqlx::query(sql).execute(connection).await.map(|_| ())
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

/// Cuts a range into pieces of the [`SIZES`] up to `most`, the last piece first.
fn split(range: Range<usize>, most: usize) -> Vec<Range<usize>> {
    let mut pieces = vec![];
    let mut start = range.start;
    while start < range.end {
        let left = (range.end - start).min(most);
        let size = SIZES.into_iter().find(|size| *size <= left).expect("1 is a size and something is left");
        pieces.push(start..start + size);
        start += size;
    }
    pieces.reverse();
    pieces
}

async fn bury(
    connection: &mut SqliteConnection,
    batch: &Batch,
    row: &Row,
    why: &str,
    now: Timestamp,
) -> sqlx::Result<()> {
    sqlx::query(
        r#"INSERT INTO "main"."forebay_dead_letters" ("gen", "buffer", "row_key", "cells", "error", "at")
           VALUES (?, ?, ?, ?, ?, ?)"#,
    )
    .bind(batch.id.to_string())
    .bind(batch.schema.name.as_str())
    .bind(row.key.as_str())
    .bind(dead::cells(&batch.schema, row))
    .bind(why)
    .bind(datetime::text(now))
    .execute(connection)
    .await
    .map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_few_sizes_and_cover_the_range_in_order() {
        let sizes = |range, most| split(range, most).iter().rev().map(Range::len).collect::<Vec<_>>();
        assert_eq!(sizes(0..0, 512), Vec::<usize>::new());
        assert_eq!(sizes(0..1_100, 512), [512, 512, 64, 8, 1, 1, 1, 1]);
        assert_eq!(sizes(100..108, 7), [1; 8]);
        assert_eq!(sizes(0..64, 63), [8; 8]);
        assert_eq!(split(3..5, 512), [4..5, 3..4]);
    }
}
