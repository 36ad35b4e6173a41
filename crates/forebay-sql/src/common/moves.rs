//! Rows that were moved into others: what is written for one of them lands in the other.
//!
//! `forebay_moves` has a line for each: from which key, and to which. Whoever merges rows looks there first, in the same
//! transaction. Lines are kept short: none leads to a key that was moved itself, so that one look is enough, however long the
//! chain was.
//!
//! A move must not come between that look and the merge: the hits would land in a row that is gone. So a transaction that
//! merges keeps moves waiting until it ends, and a move keeps those transactions waiting. How, each database says.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
};

use forebay::{
    Error, ErrorKind,
    buffer::{Row, RowKey, Schema, Value},
    sink::SinkError,
};

use super::{
    cell::Cell,
    database::Checked,
    dead::{key, stored_key},
    merge::{Transaction, Unreached, merge_rows},
    plan::Plan,
};

/// A transaction that knows of moves. Keys are as [`stored_key`] has them.
pub(crate) trait Moves: Transaction {
    /// Whether any row of the buffer was moved. From now on, until this transaction ends, none is.
    fn any_moved(
        &mut self,
        plan: &Plan<Self::Form>,
        schema: &Schema,
    ) -> impl Future<Output = sqlx::Result<bool>> + Send;

    /// Those of these keys whose rows were moved, and to which.
    fn moved(
        &mut self,
        plan: &Plan<Self::Form>,
        schema: &Schema,
        keys: &[String],
    ) -> impl Future<Output = sqlx::Result<Vec<(String, String)>>> + Send;

    /// The moves into the row where what is written for `key` is.
    fn moved_with(
        &mut self,
        plan: &Plan<Self::Form>,
        schema: &Schema,
        key: &str,
    ) -> impl Future<Output = sqlx::Result<Vec<(String, String)>>> + Send;

    /// Waits for the transactions that merge rows of the buffer, or move some. From now on, until this one ends, none
    /// does.
    fn alone(
        &mut self,
        plan: &Plan<Self::Form>,
        schema: &Schema,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// The value columns of the rows that have a key, or what cannot be read of them.
    fn find(
        &mut self,
        plan: &Plan<Self::Form>,
        schema: &Schema,
        key: &[Cell],
        lock: Lock,
    ) -> impl Future<Output = Checked<Vec<Values>>> + Send;

    /// Removes the rows that have a key; returns how many there were.
    fn remove(
        &mut self,
        plan: &Plan<Self::Form>,
        key: &[Cell],
    ) -> impl Future<Output = sqlx::Result<u64>> + Send;

    /// Writes down that the row `from`, and all that were moved into it, are in `to`, which is a row of its own again if it
    /// was moved itself.
    fn note_move(
        &mut self,
        plan: &Plan<Self::Form>,
        schema: &Schema,
        from: &str,
        to: &str,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;
}

/// Whether rows that are read are locked until the transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    No,
    Rows,
}

/// The value columns of a row, in order.
pub(crate) type Values = Box<[Option<Value>]>;

/// Where rows are to be merged after the moves there were, in rounds that have each key once. What was written for one
/// row under several keys is added up, unless the sum would leave 64 bits.
pub(crate) async fn follow<'a, T: Moves>(
    transaction: &mut T,
    plan: &Plan<T::Form>,
    schema: &Schema,
    rows: &'a [Row],
) -> sqlx::Result<Vec<Cow<'a, [Row]>>> {
    let targets = targets(transaction, plan, schema, rows).await?;
    if targets.is_empty() {
        return Ok(vec![Cow::Borrowed(rows)]);
    }
    let mut gathered: BTreeMap<RowKey, Vec<Row>> = BTreeMap::new();
    for row in rows {
        let key = targets.get(&row.key).unwrap_or(&row.key).clone();
        let row = Row { key: key.clone(), cells: row.cells.clone() };
        let parts = gathered.entry(key).or_default();
        if parts.last_mut().is_none_or(|last| last.merge(schema, &row).is_err()) {
            parts.push(row);
        }
    }
    let mut rounds: Vec<Vec<Row>> = vec![];
    for parts in gathered.into_values() {
        for (round, row) in parts.into_iter().enumerate() {
            if round == rounds.len() {
                rounds.push(vec![]);
            }
            rounds[round].push(row);
        }
    }
    Ok(rounds.into_iter().map(Cow::Owned).collect())
}

/// Where those of some rows are that were moved.
pub(crate) async fn targets<T: Moves>(
    transaction: &mut T,
    plan: &Plan<T::Form>,
    schema: &Schema,
    rows: &[Row],
) -> sqlx::Result<HashMap<RowKey, RowKey>> {
    if !transaction.any_moved(plan, schema).await? {
        return Ok(HashMap::new());
    }
    let keys: Vec<String> = rows.iter().map(|row| stored_key(&row.key)).collect();
    let moved = transaction.moved(plan, schema, &keys).await?;
    moved.iter().map(|(from, to)| Ok((read(schema, from)?, read(schema, to)?))).collect()
}

/// Reads a key of `forebay_moves`.
fn read(schema: &Schema, stored: &str) -> sqlx::Result<RowKey> {
    key(schema, stored).map_err(|why| sqlx::Error::Decode(format!("forebay_moves: {why}").into()))
}

/// What the moves say of a row.
#[derive(Debug)]
pub(crate) struct Place {
    /// The key of the row that has what was written for it.
    pub(crate) target: RowKey,
    /// All keys whose writes land there, if any were moved.
    pub(crate) keys: Vec<RowKey>,
}

impl Place {
    /// From the moves that led to the row's target, if there are any.
    pub(crate) fn of(schema: &Schema, row: &RowKey, moves: &[(String, String)]) -> sqlx::Result<Self> {
        let Some((_, target)) = moves.first() else {
            return Ok(Self { target: row.clone(), keys: vec![] });
        };
        let target = read(schema, target)?;
        let mut keys = vec![target.clone()];
        for (from, _) in moves {
            keys.push(read(schema, from)?);
        }
        Ok(Self { target, keys })
    }
}

/// Merges the row `from` into `to`, or into where that was moved, removes it, and writes that down. Answers where it is, or
/// why it could not be moved; then the transaction must not be committed.
///
/// A row that was moved into `from` can be its target: then that move is taken back, and there is no circle.
pub(crate) async fn relocate<T: Moves>(
    transaction: &mut T,
    plan: &Plan<T::Form>,
    schema: &Schema,
    from: &RowKey,
    to: &RowKey,
) -> Checked<RowKey> {
    if from == to {
        return Ok(Err("both are the same row".into()));
    }
    transaction.alone(plan, schema).await?;
    let (a, b) = (stored_key(from), stored_key(to));
    let known = transaction.moved(plan, schema, &[a.clone(), b.clone()]).await?;
    let of = |key: &str| known.iter().find(|(from, _)| from == key).map(|(_, to)| to.as_str());
    let target = of(&b).filter(|there| *there != a).unwrap_or(&b);
    if let Some(there) = of(&a).filter(|there| *there != target) {
        return Ok(Err(format!("it was moved to {there:?} before: move that one")));
    }
    let target_key = read(schema, target)?;
    if let Err(why) = merge_into(transaction, plan, schema, from, &target_key).await? {
        return Ok(Err(why));
    }
    transaction.note_move(plan, schema, &a, target).await?;
    Ok(Ok(target_key))
}

/// Merges the row `from` into `to` if it is there, and removes it.
async fn merge_into<T: Moves>(
    transaction: &mut T,
    plan: &Plan<T::Form>,
    schema: &Schema,
    from: &RowKey,
    to: &RowKey,
) -> Checked<()> {
    // A key that no row of the table can have is a row that is not there.
    let cells = |key: &RowKey| {
        let values = key.values(schema).map_err(|error| error.to_string())?;
        plan.key(&values)
    };
    let Ok(from) = cells(from) else { return Ok(Ok(())) };
    let mut found = match transaction.find(plan, schema, &from, Lock::Rows).await? {
        Ok(found) => found,
        Err(why) => return Ok(Err(why)),
    };
    let Some(values) = found.pop() else { return Ok(Ok(())) };
    if let Ok(to) = cells(to) {
        match transaction.find(plan, schema, &to, Lock::Rows).await? {
            Ok(others) if found.is_empty() && others.len() <= 1 => {}
            Ok(_) => return Ok(Err("the table has several rows with one of the keys".into())),
            Err(why) => return Ok(Err(why)),
        }
    }
    let row = Row { key: to.clone(), cells: values };
    let merged = merge_rows(transaction, plan, schema, &[row], Unreached::Refused).await?;
    if let Some((_, why)) = merged.refused.into_iter().next() {
        return Ok(Err(why));
    }
    match transaction.remove(plan, &from).await? {
        1 => Ok(Ok(())),
        _ => Ok(Err("the table keeps it: a trigger or a policy?".into())),
    }
}

/// A move that the table does not take.
pub(crate) fn refused(why: impl Into<String>) -> SinkError {
    SinkError::Permanent(Error::new(ErrorKind::OutOfRange, why.into()))
}
