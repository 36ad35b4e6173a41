//! A batch, statement by statement, down to the rows that the database refuses.

use std::{collections::BTreeMap, ops::Range};

use forebay::{
    buffer::{Row, Schema},
    sink::{Applied, Batch},
};

use super::{
    cell::{Cell, Form},
    dead,
    moves::{Moves, follow},
    plan::{Plan, Written},
};
use crate::Missing;

/// A transaction into which rows are merged.
pub(crate) trait Transaction: Send {
    type Form: Form + Send + Sync;

    /// How many of `left` rows one statement takes, at least 1.
    fn piece(left: usize) -> usize;

    /// Merges `rows` by one statement, wholly or not at all.
    ///
    /// # Errors
    /// What is no row's fault; the transaction is over then.
    fn attempt(
        &mut self,
        plan: &Plan<Self::Form>,
        how: How,
        rows: &[Encoded],
    ) -> impl Future<Output = sqlx::Result<Outcome>> + Send;

    /// Writes rows among the dead letters.
    fn bury(
        &mut self,
        plan: &Plan<Self::Form>,
        batch: &Batch,
        letters: &[Letter],
    ) -> impl Future<Output = sqlx::Result<()>> + Send;
}

/// What became of the rows of a statement.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// They are merged.
    Merged {
        /// How many rows of the table were reached.
        rows: u64,
        /// Which of them had no row in the table, by their places; empty if nobody asked.
        unreached: Vec<usize>,
    },
    /// None is. Some row is refused, for this reason; `None`: some row was not reached.
    Refused(Option<String>),
}

/// A row, in the forms of the table's columns.
#[derive(Debug)]
pub(crate) struct Encoded {
    /// Its place among the rows that are merged.
    place: usize,
    pub(crate) cells: Vec<Cell>,
}

/// A row that the database does not take.
#[derive(Debug)]
pub(crate) struct Letter {
    /// Its key as [`dead::stored_key`] has it.
    pub(crate) key: String,
    /// What it would have written, as JSON.
    pub(crate) cells: String,
    pub(crate) why: String,
}

/// How rows that write the same columns are merged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    pub(crate) written: Written,
    /// Rows that are not there are inserted; else they are not reached.
    pub(crate) insert: bool,
    /// A row that the statement does not reach is refused.
    pub(crate) all: bool,
}

impl How {
    fn of<F: Form>(plan: &Plan<F>, written: Written) -> Self {
        let (insert, all) = match plan.missing {
            // A new row could not be inserted, and an upsert without the column fails even when the row is there.
            Missing::Insert if plan.lacking(written).is_some() => (false, true),
            Missing::Insert => (true, true),
            Missing::DeadLetter => (false, true),
            Missing::Skip => (false, false),
        };
        Self { written, insert, all }
    }

    /// The statement that every row uses which writes all columns.
    pub(crate) fn usual<F: Form>(plan: &Plan<F>) -> Self {
        Self::of(plan, plan.all())
    }

    /// Why a row was not reached.
    fn unreached<F: Form>(self, plan: &Plan<F>) -> String {
        match plan.lacking(self.written) {
            _ if self.insert => "a trigger or a conflict clause of the table ignored the row".into(),
            Some(column) if plan.missing == Missing::Insert => {
                format!("the table has no row with this key, and a new one needs {}", column.name)
            }
            _ => "the table has no row with this key".into(),
        }
    }
}

/// What became of rows.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    /// How many rows of the table were reached.
    pub(crate) reached: u64,
    /// The places of those that were refused, and why.
    pub(crate) refused: Vec<(usize, String)>,
}

/// What becomes of a row that the table does not have and that is not to be inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreached {
    /// What the plan says.
    AsPlanned,
    /// It is refused, also where the plan leaves it out.
    Refused,
}

/// Merges the batch's rows into the table, and puts those that it refuses among the dead letters.
pub(crate) async fn merge<T: Moves>(
    transaction: &mut T,
    plan: &Plan<T::Form>,
    batch: &Batch,
) -> sqlx::Result<Applied> {
    let schema = &batch.schema;
    let (mut reached, mut letters) = (0, vec![]);
    for rows in follow(transaction, plan, schema, &batch.rows).await? {
        let merged = merge_rows(transaction, plan, schema, &rows, Unreached::AsPlanned).await?;
        reached += merged.reached;
        letters.extend(merged.refused.into_iter().map(|(place, why)| {
            let row = &rows[place];
            Letter { key: dead::stored_key(&row.key), cells: dead::cells(schema, row), why }
        }));
    }
    if let Some(first) = letters.first() {
        let (buffer, rows) = (&schema.name, letters.len());
        tracing::warn!(%buffer, batch = %batch.id, rows, error = first.why, "rows among the dead letters; the first one's error");
        transaction.bury(plan, batch, &letters).await?;
    }
    Ok(Applied::now(reached, letters.len() as u64))
}

/// Merges rows, each of another key, into the table, down to those that it refuses.
pub(crate) async fn merge_rows<T: Transaction>(
    transaction: &mut T,
    plan: &Plan<T::Form>,
    schema: &Schema,
    rows: &[Row],
    unreached: Unreached,
) -> sqlx::Result<Merged> {
    let (groups, refused) = encode(plan, schema, rows);
    let mut merged = Merged { reached: 0, refused };
    for (written, rows) in &groups {
        let planned = How::of(plan, *written);
        let how = How { all: planned.all || unreached == Unreached::Refused, ..planned };
        // Where nobody asks whether a row is reached its key need not be unique, and counting the rows of a statement does
        // not tell which was.
        let size = if how.all == planned.all { T::piece } else { |_| 1 };
        let mut pieces = split(0..rows.len(), rows.len(), size);
        while let Some(piece) = pieces.pop() {
            let part = &rows[piece.clone()];
            match (transaction.attempt(plan, how, part).await?, part) {
                (Outcome::Merged { rows, unreached }, _) => {
                    merged.reached += rows;
                    merged.refused.extend(unreached.iter().map(|i| (part[*i].place, how.unreached(plan))));
                }
                (Outcome::Refused(why), [row]) => {
                    merged.refused.push((row.place, why.unwrap_or_else(|| how.unreached(plan))));
                }
                // An eighth each: a poison row among 10 000 costs five further rounds, and most rows are merged in the first.
                (Outcome::Refused(_), _) => {
                    pieces.extend(split(piece.clone(), piece.len().div_ceil(8), size));
                }
            }
        }
    }
    Ok(merged)
}

/// Rows by the columns they write, and the places of those that fit no column, and why.
type Groups = (BTreeMap<Written, Vec<Encoded>>, Vec<(usize, String)>);

/// Sorts the rows by the columns they write; within a group they stay in their order.
fn encode<F: Form>(plan: &Plan<F>, schema: &Schema, rows: &[Row]) -> Groups {
    let mut groups: BTreeMap<Written, Vec<Encoded>> = BTreeMap::new();
    let mut refused = vec![];
    for (place, row) in rows.iter().enumerate() {
        match plan.row(schema, row) {
            Ok((written, cells)) => groups.entry(written).or_default().push(Encoded { place, cells }),
            Err(why) => refused.push((place, why)),
        }
    }
    (groups, refused)
}

/// Cuts a range into pieces of at most `most` as `piece` has them, the last piece first.
fn split(range: Range<usize>, most: usize, piece: fn(usize) -> usize) -> Vec<Range<usize>> {
    let mut pieces = vec![];
    let mut start = range.start;
    while start < range.end {
        let size = piece((range.end - start).min(most));
        pieces.push(start..start + size);
        start += size;
    }
    pieces.reverse();
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_the_range_in_order() {
        let eights = |left: usize| if left >= 8 { 8 } else { 1 };
        assert_eq!(split(0..0, 0, eights), []);
        assert_eq!(split(3..14, 11, eights), [13..14, 12..13, 11..12, 3..11]);
        assert_eq!(split(3..6, 2, |left| left), [5..6, 3..5]);
        assert_eq!(split(0..9, 1, eights).len(), 9);
    }
}
