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

use forebay::buffer::{Column, Row, RowKey, Value};

use super::{
    bindings::Parameters,
    codec::{Cell, ColumnCodec as _},
    ddl::MOVES,
    dialect::Dialect,
    key::{parse_key, stored_key},
    merge::Unreached,
    plan::Target,
    statement,
    transaction::{Checked, TextRow, Transaction, one_key, texts},
    work::Work,
};

/// A row that was moved, and the row that has its values. Both are [stored keys](stored_key).
type Move = [String; 2];

/// The value columns of a row, in order.
type Values = Box<[Option<Value>]>;

impl<T: Transaction> Work<'_, T> {
    /// Groups rows by the rows they were moved into, in [rounds]. Values for one row under several keys are merged, unless a
    /// sum would leave 64 bits.
    pub(crate) async fn follow<'r>(&mut self, rows: &'r [Row]) -> sqlx::Result<Vec<Cow<'r, [Row]>>> {
        let targets = self.targets(rows).await?;
        if targets.is_empty() {
            return Ok(vec![Cow::Borrowed(rows)]);
        }
        let mut gathered: BTreeMap<RowKey, Vec<Row>> = BTreeMap::new();
        for row in rows {
            let key = targets.get(&row.key).unwrap_or(&row.key).clone();
            let row = Row { key: key.clone(), cells: row.cells.clone() };
            let parts = gathered.entry(key).or_default();
            if parts.last_mut().is_none_or(|last| last.merge(self.schema, &row).is_err()) {
                parts.push(row);
            }
        }
        Ok(rounds(gathered).into_iter().map(Cow::Owned).collect())
    }

    /// The keys of those rows that were moved, and where they are. From now on, until the transaction ends, no row is moved.
    pub(crate) async fn targets(&mut self, rows: &[Row]) -> sqlx::Result<HashMap<RowKey, RowKey>> {
        if !self.transaction.any_moved(&self.plan, self.schema.name.as_str()).await? {
            return Ok(HashMap::new());
        }
        let keys: Vec<String> = rows.iter().map(|row| stored_key(&row.key)).collect();
        let moved = self.moved(&keys).await?;
        moved.iter().map(|[from, to]| Ok((self.parse(from)?, self.parse(to)?))).collect()
    }

    /// Locates a row: the key of the row that has its values, and all keys whose writes go there, if any row was moved into it.
    pub(crate) async fn locate(&mut self, row: &RowKey) -> sqlx::Result<(RowKey, Vec<RowKey>)> {
        let moves = self.moved_with(&stored_key(row)).await?;
        let Some([_, target]) = moves.first() else { return Ok((row.clone(), vec![])) };
        let target = self.parse(target)?;
        let mut keys = vec![target.clone()];
        for [from, _] in &moves {
            keys.push(self.parse(from)?);
        }
        Ok((target, keys))
    }

    /// Reads the value columns of the rows with a key. `lock` ends the query, for example with the dialect's `LOCK_ROWS`.
    pub(crate) async fn find(&mut self, key: &[Cell], lock: &str) -> Checked<Vec<Values>> {
        let query = statement::select(&self.plan) + lock;
        let rows = self.transaction.query(query, one_key(&self.plan, key)).await?;
        rows.into_iter().map(|row| Ok(self.decode(row)?)).collect()
    }

    /// Merges the row `from` into `to`, or into the row that `to` was moved into; deletes `from` and records the move. Returns
    /// where `from` is now.
    ///
    /// The target may be a row that was moved into `from`. Then that move is undone, so that there is no circle.
    pub(crate) async fn relocate(&mut self, from: &RowKey, to: &RowKey) -> Checked<RowKey> {
        if from == to {
            return Err("both are the same row".to_owned().into());
        }
        self.transaction.exclude_merges(&self.plan, self.schema.name.as_str()).await?;
        let (a, b) = (stored_key(from), stored_key(to));
        let known = self.moved(&[a.clone(), b.clone()]).await?;
        let of = |key: &str| known.iter().find(|[from, _]| from == key).map(|[_, to]| to.as_str());
        let target = of(&b).filter(|there| *there != a).unwrap_or(&b);
        if let Some(there) = of(&a).filter(|there| *there != target) {
            return Err(format!("it was moved to {there:?} before: move that one").into());
        }
        let target_key = self.parse(target)?;
        self.merge_into(from, &target_key).await?;
        self.record_move(&a, target).await?;
        Ok(target_key)
    }

    /// Merges the row `from` into `to` if `from` exists, and deletes it.
    async fn merge_into(&mut self, from: &RowKey, to: &RowKey) -> Checked<()> {
        // If no row of the table can have a key, there is no such row.
        let (plan, schema) = (self.plan.clone(), self.schema);
        let cells = |key: &RowKey| plan.key(&key.values(schema).ok()?).ok();
        let Some(from) = cells(from) else { return Ok(()) };
        let mut found = self.find(&from, T::Dialect::LOCK_ROWS).await?;
        let Some(values) = found.pop() else { return Ok(()) };
        if let Some(to) = cells(to) {
            let others = self.find(&to, T::Dialect::LOCK_ROWS).await?;
            if !found.is_empty() || others.len() > 1 {
                return Err("the table has several rows with one of the keys".to_owned().into());
            }
        }
        let row = Row { key: to.clone(), cells: values };
        let merged = self.merge_rows(&[row], Unreached::Refused).await?;
        if let Some((_, why)) = merged.refused.into_iter().next() {
            return Err(why.into());
        }
        match self.transaction.execute(statement::delete(&plan), one_key(&plan, &from)).await? {
            1 => Ok(()),
            _ => Err("the table keeps it: a trigger or a policy?".to_owned().into()),
        }
    }

    /// Those of some rows that were moved.
    async fn moved(&mut self, keys: &[String]) -> sqlx::Result<Vec<Move>> {
        let mut bind = Parameters::<T::Dialect>::new();
        let (keys, key) = T::Dialect::texts_table(&bind.texts(keys));
        let (join, moves, buffer) = (T::Dialect::JOIN, self.own(MOVES), bind.text(self.buffer()));
        let from = format!("{keys}{join}{moves} AS m ON m.buffer = {buffer} AND m.from_key = {key}");
        self.moves(from, bind).await
    }

    /// The moves into the row that has the values of `key`.
    async fn moved_with(&mut self, key: &str) -> sqlx::Result<Vec<Move>> {
        let mut bind = Parameters::<T::Dialect>::new();
        let moves = self.own(MOVES);
        let from = format!(
            "{moves} AS m WHERE m.buffer = {} AND m.to_key = COALESCE(
                 (SELECT to_key FROM {moves} WHERE buffer = {} AND from_key = {}), {})",
            bind.text(self.buffer()),
            bind.text(self.buffer()),
            bind.text(key),
            bind.text(key),
        );
        self.moves(from, bind).await
    }

    /// Reads moves. `from` follows the `FROM` of the query.
    async fn moves(&mut self, from: String, bind: Parameters<T::Dialect>) -> sqlx::Result<Vec<Move>> {
        let keys = ["m.from_key", "m.to_key"].map(T::Dialect::key_text).join(", ");
        self.query(format!("SELECT {keys} FROM {from}"), bind).await?.into_iter().map(texts).collect()
    }

    /// Records that the row `from`, and all rows that were moved into it, are in `to`. A `to` that was moved is a row of its
    /// own again.
    async fn record_move(&mut self, from: &str, to: &str) -> sqlx::Result<()> {
        let (moves, buffer) = (self.own(MOVES), self.schema.name.as_str());
        let mut bind = Parameters::<T::Dialect>::new();
        let (of, key) = (bind.text(buffer), bind.text(to));
        self.execute(format!("DELETE FROM {moves} WHERE buffer = {of} AND from_key = {key}"), bind).await?;
        let mut bind = Parameters::<T::Dialect>::new();
        let (to_key, of, from_key) = (bind.text(to), bind.text(buffer), bind.text(from));
        let sql = format!("UPDATE {moves} SET to_key = {to_key} WHERE buffer = {of} AND to_key = {from_key}");
        self.execute(sql, bind).await?;
        let mut bind = Parameters::<T::Dialect>::new();
        let now = Some(self.transaction.now());
        let values = [bind.text(buffer), bind.text(from), bind.text(to), bind.time(now)].join(", ");
        let sql = format!("INSERT INTO {moves} (buffer, from_key, to_key, at) VALUES ({values})");
        self.transaction.insert_new(sql, bind).await.map(|_| ())
    }

    /// Parses a key of `forebay_moves`.
    fn parse(&self, stored: &str) -> sqlx::Result<RowKey> {
        let key = parse_key(self.schema, stored);
        key.map_err(|why| sqlx::Error::Decode(format!("forebay_moves: {why}").into()))
    }

    /// Decodes a row, or says which column cannot be read.
    fn decode(&self, row: TextRow) -> Result<Values, String> {
        let columns = self.plan.columns.iter().zip(&self.schema.columns);
        let value = |((column, of), text): ((&Target<T::Dialect>, &Column), Option<String>)| {
            let Some(text) = text else { return Ok(None) };
            let value = column.codec.decode(&text, of.column_type);
            let unread = || format!("column {}: it holds {text:?}, which cannot be read", column.name);
            value.map(Some).ok_or_else(unread)
        };
        columns.zip(row).map(value).collect()
    }
}

/// Splits the parts of rows into rounds that have each key once, because a statement merges into a row once. Parts of one key
/// keep their order. Within a round they are in the order of their keys, as in a batch.
pub(crate) fn rounds<P>(parts: BTreeMap<RowKey, Vec<P>>) -> Vec<Vec<P>> {
    let mut rounds: Vec<Vec<P>> = vec![];
    for parts in parts.into_values() {
        for (round, part) in parts.into_iter().enumerate() {
            if round == rounds.len() {
                rounds.push(vec![]);
            }
            rounds[round].push(part);
        }
    }
    rounds
}

#[cfg(test)]
mod tests {
    use forebay::Buffer;

    use super::*;

    #[test]
    fn a_round_has_a_key_once_and_the_parts_of_a_key_keep_their_order() {
        let schema = Buffer::new("p").key("id").sum("n").build().expect("valid");
        let mut parts: BTreeMap<RowKey, Vec<u64>> = BTreeMap::new();
        for (id, key) in [(1, "b"), (2, "a"), (3, "b"), (4, "b"), (5, "c")] {
            parts.entry(RowKey::parse(&schema, key).expect("a key")).or_default().push(id);
        }
        assert_eq!(rounds(parts), [vec![2, 1, 5], vec![3], vec![4]]);
    }
}
