//! Rows that were moved into others: writes for the one go to the other.
//!
//! `forebay_moves` has a line for each moved row: its key, and the key of the row that has its values now. A transaction
//! that merges rows first looks there. No line leads to a key that was moved itself, so that one look is enough, whatever
//! the length of the chain was.
//!
//! A move must not come between that look and the merge, or hits would go to a row that is gone. So a transaction that merges
//! rows makes moves wait until it ends, and a move makes those transactions wait. Each database has its own way to do that.

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
    bindings::Parameters,
    codec::{Cell, ColumnCodec as _},
    ddl::MOVES,
    dialect::Dialect,
    key::{parse_key, stored_key},
    merge::{Unreached, merge_rows},
    plan::Plan,
    statement,
    transaction::{Checked, TextRow, Transaction, one_key, texts},
};

/// A row that was moved, and the row that has its values. Both are [stored keys](stored_key).
type Move = [String; 2];

/// The value columns of a row, in order.
type Values = Box<[Option<Value>]>;

/// Groups rows by the rows they were moved into, in rounds that have each key once. Values for one row under several keys
/// are merged, unless a sum would leave 64 bits.
pub(crate) async fn follow<'a, T: Transaction>(
    transaction: &mut T,
    plan: &Plan<T::Dialect>,
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

/// The keys of those rows that were moved, and where they are. From now on, until the transaction ends, no row is moved.
pub(crate) async fn targets<T: Transaction>(
    transaction: &mut T,
    plan: &Plan<T::Dialect>,
    schema: &Schema,
    rows: &[Row],
) -> sqlx::Result<HashMap<RowKey, RowKey>> {
    if !transaction.any_moved(plan, schema.name.as_str()).await? {
        return Ok(HashMap::new());
    }
    let keys = rows.iter().map(|row| stored_key(&row.key)).collect();
    let moved = moved(transaction, plan, schema, keys).await?;
    moved.iter().map(|[from, to]| Ok((read(schema, from)?, read(schema, to)?))).collect()
}

/// Where a row is.
#[derive(Debug)]
pub(crate) struct RowLocation {
    /// The key of the row that has its values.
    pub(crate) target: RowKey,
    /// All keys whose writes go to the target, if any row was moved into it.
    pub(crate) keys: Vec<RowKey>,
}

/// Locates a row.
pub(crate) async fn locate<T: Transaction>(
    transaction: &mut T,
    plan: &Plan<T::Dialect>,
    schema: &Schema,
    row: &RowKey,
) -> sqlx::Result<RowLocation> {
    let moves = moved_with(transaction, plan, schema, &stored_key(row)).await?;
    let Some([_, target]) = moves.first() else {
        return Ok(RowLocation { target: row.clone(), keys: vec![] });
    };
    let target = read(schema, target)?;
    let mut keys = vec![target.clone()];
    for [from, _] in &moves {
        keys.push(read(schema, from)?);
    }
    Ok(RowLocation { target, keys })
}

/// Reads the value columns of the rows with a key, or says which cannot be read.
pub(crate) async fn find<T: Transaction>(
    transaction: &mut T,
    plan: &Plan<T::Dialect>,
    schema: &Schema,
    key: &[Cell],
    lock: Lock,
) -> Checked<Vec<Values>> {
    let lock = if lock == Lock::Rows { T::Dialect::LOCK_ROWS } else { "" };
    let rows = transaction.query(statement::select(plan) + lock, one_key(plan, key)).await?;
    Ok(rows.into_iter().map(|row| decode(plan, schema, row)).collect())
}

/// Whether rows that are read are locked until the transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    No,
    Rows,
}

/// Merges the row `from` into `to`, or into the row that `to` was moved into; deletes `from` and records the move. Returns
/// where `from` is now, or why it could not be moved; then the transaction must not be committed.
///
/// The target may be a row that was moved into `from`. Then that move is undone, so that there is no circle.
pub(crate) async fn relocate<T: Transaction>(
    transaction: &mut T,
    plan: &Plan<T::Dialect>,
    schema: &Schema,
    from: &RowKey,
    to: &RowKey,
) -> Checked<RowKey> {
    if from == to {
        return Ok(Err("both are the same row".into()));
    }
    transaction.exclude_merges(plan, schema.name.as_str()).await?;
    let (a, b) = (stored_key(from), stored_key(to));
    let known = moved(transaction, plan, schema, vec![a.clone(), b.clone()]).await?;
    let of = |key: &str| known.iter().find(|[from, _]| from == key).map(|[_, to]| to.as_str());
    let target = of(&b).filter(|there| *there != a).unwrap_or(&b);
    if let Some(there) = of(&a).filter(|there| *there != target) {
        return Ok(Err(format!("it was moved to {there:?} before: move that one")));
    }
    let target_key = read(schema, target)?;
    if let Err(why) = merge_into(transaction, plan, schema, from, &target_key).await? {
        return Ok(Err(why));
    }
    record(transaction, plan, schema, &a, target).await?;
    Ok(Ok(target_key))
}

/// Merges the row `from` into `to` if `from` exists, and deletes it.
async fn merge_into<T: Transaction>(
    transaction: &mut T,
    plan: &Plan<T::Dialect>,
    schema: &Schema,
    from: &RowKey,
    to: &RowKey,
) -> Checked<()> {
    // If no row of the table can have a key, there is no such row.
    let cells = |key: &RowKey| {
        let values = key.values(schema).map_err(|error| error.to_string())?;
        plan.key(&values)
    };
    let Ok(from) = cells(from) else { return Ok(Ok(())) };
    let mut found = match find(transaction, plan, schema, &from, Lock::Rows).await? {
        Ok(found) => found,
        Err(why) => return Ok(Err(why)),
    };
    let Some(values) = found.pop() else { return Ok(Ok(())) };
    if let Ok(to) = cells(to) {
        match find(transaction, plan, schema, &to, Lock::Rows).await? {
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
    match transaction.execute(statement::delete(plan), one_key(plan, &from)).await? {
        1 => Ok(Ok(())),
        _ => Ok(Err("the table keeps it: a trigger or a policy?".into())),
    }
}

/// Those of some rows that were moved.
async fn moved<T: Transaction>(
    transaction: &mut T,
    plan: &Plan<T::Dialect>,
    schema: &Schema,
    keys: Vec<String>,
) -> sqlx::Result<Vec<Move>> {
    let mut bind = Parameters::<T::Dialect>::new();
    let (keys, key) = T::Dialect::texts_table(&bind.texts(keys));
    let sql = format!(
        "SELECT {}, {} FROM {keys}{}{} AS m ON m.buffer = {} AND m.from_key = {key}",
        T::Dialect::key_text("m.from_key"),
        T::Dialect::key_text("m.to_key"),
        T::Dialect::JOIN,
        T::Dialect::own(&plan.place, MOVES),
        bind.text(schema.name.as_str()),
    );
    transaction.query(sql, bind.into()).await?.into_iter().map(texts).collect()
}

/// The moves into the row that has the values of `key`.
async fn moved_with<T: Transaction>(
    transaction: &mut T,
    plan: &Plan<T::Dialect>,
    schema: &Schema,
    key: &str,
) -> sqlx::Result<Vec<Move>> {
    let mut bind = Parameters::<T::Dialect>::new();
    let (moves, buffer) = (T::Dialect::own(&plan.place, MOVES), schema.name.as_str());
    let sql = format!(
        "SELECT {}, {} FROM {moves} AS m WHERE m.buffer = {} AND m.to_key = COALESCE(
             (SELECT to_key FROM {moves} WHERE buffer = {} AND from_key = {}), {})",
        T::Dialect::key_text("m.from_key"),
        T::Dialect::key_text("m.to_key"),
        bind.text(buffer),
        bind.text(buffer),
        bind.text(key),
        bind.text(key),
    );
    transaction.query(sql, bind.into()).await?.into_iter().map(texts).collect()
}

/// Records that the row `from`, and all rows that were moved into it, are in `to`. A `to` that was moved is a row of its own
/// again.
async fn record<T: Transaction>(
    transaction: &mut T,
    plan: &Plan<T::Dialect>,
    schema: &Schema,
    from: &str,
    to: &str,
) -> sqlx::Result<()> {
    let (moves, buffer) = (T::Dialect::own(&plan.place, MOVES), schema.name.as_str());
    let mut bind = Parameters::<T::Dialect>::new();
    let sql =
        format!("DELETE FROM {moves} WHERE buffer = {} AND from_key = {}", bind.text(buffer), bind.text(to));
    transaction.execute(sql, bind.into()).await?;
    let mut bind = Parameters::<T::Dialect>::new();
    let (to_key, of, from_key) = (bind.text(to), bind.text(buffer), bind.text(from));
    let sql = format!("UPDATE {moves} SET to_key = {to_key} WHERE buffer = {of} AND to_key = {from_key}");
    transaction.execute(sql, bind.into()).await?;
    let mut bind = Parameters::<T::Dialect>::new();
    let now = Some(transaction.now());
    let values = [bind.text(buffer), bind.text(from), bind.text(to), bind.time(now)].join(", ");
    let sql = format!("INSERT INTO {moves} (buffer, from_key, to_key, at) VALUES ({values})");
    transaction.insert_new(sql, bind).await.map(|_| ())
}

/// Parses a key of `forebay_moves`.
fn read(schema: &Schema, stored: &str) -> sqlx::Result<RowKey> {
    parse_key(schema, stored).map_err(|why| sqlx::Error::Decode(format!("forebay_moves: {why}").into()))
}

fn decode<D: Dialect>(plan: &Plan<D>, schema: &Schema, row: TextRow) -> Result<Values, String> {
    let columns = plan.columns.iter().zip(&schema.columns);
    let values = columns.zip(row).map(|((column, of), text)| {
        let value = text.map(|text| column.codec.decode(&text, of.column_type).ok_or(text));
        value
            .transpose()
            .map_err(|text| format!("column {}: it holds {text:?}, which cannot be read", column.name))
    });
    values.collect()
}

/// The error of a move that the table does not take.
pub(crate) fn refused(why: impl Into<String>) -> SinkError {
    SinkError::Permanent(Error::new(ErrorKind::OutOfRange, why.into()))
}
