//! Merges rows into a table, down to the single rows that the database refuses.

use std::{collections::BTreeMap, ops::Range};

use forebay::buffer::{Row, Schema};

use super::{
    dialect::Dialect,
    error::Class,
    plan::{ColumnSet, MergeMode, Plan},
    transaction::{Encoded, Outcome, Transaction},
    work::Work,
};
use crate::Missing;

/// The name of the savepoint to which a failed statement is rolled back.
const SAVEPOINT: &str = "SAVEPOINT forebay";

/// The result of merging rows.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    /// How many rows of the table were reached.
    pub(crate) reached: u64,
    /// The indexes of the rows that were refused, and the reasons.
    pub(crate) refused: Vec<(usize, String)>,
}

/// The treatment of a row that the table does not have and that is not inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreached {
    /// The plan decides.
    AsPlanned,
    /// It is refused, also where the plan leaves it out.
    Refused,
}

impl<T: Transaction> Work<'_, T> {
    /// Merges rows, each of another key, into the table. Splits a statement that fails, to find the rows that the database
    /// refuses.
    pub(crate) async fn merge_rows(&mut self, rows: &[Row], unreached: Unreached) -> sqlx::Result<Merged> {
        let plan = self.plan.clone();
        let (groups, refused) = encode(&plan, self.schema, rows);
        let mut merged = Merged { reached: 0, refused };
        for (columns, rows) in &groups {
            let planned = MergeMode::new(&plan, *columns);
            let mode = MergeMode { all: planned.all || unreached == Unreached::Refused, ..planned };
            // Where the plan leaves out unreached rows, keys need not be unique. The number of affected rows then does not
            // tell which row was reached, so each row gets a statement of its own.
            let size = if mode.all == planned.all { T::rows_per_statement } else { |_| 1 };
            let mut pieces = split(0..rows.len(), rows.len(), size);
            while let Some(piece) = pieces.pop() {
                let part = &rows[piece.clone()];
                match (self.attempt(mode, part).await?, part) {
                    (Outcome::Merged { rows, unreached }, _) => {
                        merged.reached += rows;
                        let refused = unreached.iter().map(|i| (part[*i].index, why_unreached(&plan, mode)));
                        merged.refused.extend(refused);
                    }
                    (Outcome::Refused(why), [row]) => {
                        merged.refused.push((row.index, why.unwrap_or_else(|| why_unreached(&plan, mode))));
                    }
                    // An eighth each: one refused row among 10 000 costs five further rounds, and the first merges most
                    // rows.
                    (Outcome::Refused(_), _) => {
                        pieces.extend(split(piece.clone(), piece.len().div_ceil(8), size));
                    }
                }
            }
        }
        Ok(merged)
    }

    /// Merges rows by one statement, and undoes it if a row is refused.
    ///
    /// # Errors
    /// Errors that no row causes. The transaction is over then.
    async fn attempt(&mut self, mode: MergeMode, rows: &[Encoded]) -> sqlx::Result<Outcome> {
        if T::Dialect::SAVEPOINTS {
            self.transaction.run(SAVEPOINT.into()).await?;
        }
        let outcome = match self.transaction.merge_rows(&self.plan, mode, rows).await {
            Err(error) if T::Dialect::classify(&error) == Class::Data => {
                Outcome::Refused(Some(T::Dialect::reason(&error)))
            }
            other => other?,
        };
        if T::Dialect::SAVEPOINTS {
            if matches!(outcome, Outcome::Refused(_)) {
                self.transaction.run(format!("ROLLBACK TO {SAVEPOINT}")).await?;
            }
            self.transaction.run(format!("RELEASE {SAVEPOINT}")).await?;
        }
        Ok(outcome)
    }
}

/// Why a row was not reached.
fn why_unreached<D: Dialect>(plan: &Plan<D>, mode: MergeMode) -> String {
    match plan.lacking(mode.columns) {
        _ if mode.insert => "a trigger or a conflict clause of the table ignored the row".into(),
        Some(column) if plan.missing == Missing::Insert => {
            format!("the table has no row with this key, and a new one needs {}", column.name)
        }
        _ => "the table has no row with this key".into(),
    }
}

/// Rows by the columns they write; and the indexes of those that do not fit a column, with the reasons.
type Groups = (BTreeMap<ColumnSet, Vec<Encoded>>, Vec<(usize, String)>);

/// Encodes rows and groups them by the columns they write. Within a group they keep their order.
fn encode<D: Dialect>(plan: &Plan<D>, schema: &Schema, rows: &[Row]) -> Groups {
    let mut groups: BTreeMap<ColumnSet, Vec<Encoded>> = BTreeMap::new();
    let mut refused = vec![];
    for (index, row) in rows.iter().enumerate() {
        match plan.row(schema, row) {
            Ok((columns, cells)) => groups.entry(columns).or_default().push(Encoded { index, cells }),
            Err(why) => refused.push((index, why)),
        }
    }
    (groups, refused)
}

/// Splits a range into pieces of at most `most`, whose sizes `piece` chooses. The last piece comes first.
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
