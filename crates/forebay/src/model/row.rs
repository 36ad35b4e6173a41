//! Rows: written values, merged until they are flushed.
//!
//! It uses no clock and no engine.

use super::{
    row_key::RowKey,
    schema::{Column, Merge, Schema},
    value::Value,
};
use crate::error::{Result, invalid, out_of_range};

/// A row, and the values to merge into it.
///
/// `cells` has one place per value column of the schema, in order; `None` leaves the column alone.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// # let projects = bay.buffer(forebay::Buffer::new("projects").key("id").sum("hits"))?;
///
/// let row = projects.row("42").add("hits", 3).into_row()?;
/// assert_eq!((row.key.as_str(), &*row.cells), ("42", &[Some(3.into())][..]));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The key of the row.
    pub key: RowKey,
    /// The values to merge into its columns.
    pub cells: Box<[Option<Value>]>,
}

impl Row {
    /// A row with nothing to merge yet.
    pub fn empty(schema: &Schema, key: RowKey) -> Self {
        Self { key, cells: vec![None; schema.columns.len()].into() }
    }

    /// Merges `other`, a later write of the same row, into this one; all columns or none.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) if a sum would leave 64 bits; nothing is merged then.
    pub fn merge(&mut self, schema: &Schema, other: &Self) -> Result<()> {
        merge_cells(schema, &mut self.cells, &other.cells)
    }
}

impl Schema {
    /// Checks that a row can be merged.
    pub(crate) fn check_row(&self, row: &Row) -> Result<()> {
        let (want, got) = (self.columns.len(), row.cells.len());
        if want != got {
            return Err(invalid(format!("buffer {}: a row with {got} cells for {want} columns", self.name)));
        }
        self.check_named(|place| row.cells[place].is_some())
    }
}

/// Merges `new` into `cells`, all columns or none.
pub(crate) fn merge_cells(schema: &Schema, cells: &mut [Option<Value>], new: &[Option<Value>]) -> Result<()> {
    // Only sums can fail. This pass checks all of them first, so that no merge has to be undone.
    for ((column, old), new) in schema.columns.iter().zip(&*cells).zip(new) {
        if let (Merge::Sum, Some(Value::Integer(old)), Some(Value::Integer(new))) = (column.merge, old, new)
            && old.checked_add(*new).is_none()
        {
            return Err(overflow(schema, column));
        }
    }
    // Columns with a version are merged before the version itself is replaced, because they are compared with it.
    for (place, column) in schema.columns.iter().enumerate() {
        if let Some(by) = column.by
            && let (Some(value), Some(version)) = (&new[place], &new[by])
            && replaces(column.merge, (version, value), (cells[by].as_ref(), cells[place].as_ref()))
        {
            cells[place] = Some(value.clone());
        }
    }
    for ((column, old), new) in schema.columns.iter().zip(cells).zip(new) {
        let Some(new) = new.as_ref().filter(|_| column.by.is_none()) else { continue };
        *old = Some(match old.take() {
            None => new.clone(),
            Some(old) => merge_values(column.merge, old, new),
        });
    }
    Ok(())
}

/// Returns whether a version and its value replace others. Of two values of one version the larger counts for `last`, and the
/// smaller for `first`, so that the order of the writes does not matter.
fn replaces(merge: Merge, new: (&Value, &Value), (version, value): (Option<&Value>, Option<&Value>)) -> bool {
    let (Some(version), Some(value)) = (version, value) else {
        return version.is_none_or(|version| new.0 == version || is_newer(merge, new.0, version));
    };
    is_newer(merge, &new, &(version, value))
}

fn is_newer<T: PartialOrd>(merge: Merge, new: &T, old: &T) -> bool {
    if merge == Merge::Last { new > old } else { new < old }
}

fn merge_values(merge: Merge, old: Value, new: &Value) -> Value {
    match (merge, old, new) {
        (Merge::Sum, Value::Integer(old), Value::Integer(new)) => Value::Integer(old.wrapping_add(*new)),
        (Merge::Max, old, new) if *new > old => new.clone(),
        (Merge::Min, old, new) if *new < old => new.clone(),
        (_, old, _) => old,
    }
}

/// The error of a sum that would leave 64 bits.
pub(crate) fn overflow(schema: &Schema, column: &Column) -> crate::Error {
    let (buffer, column) = (&schema.name, &column.name);
    out_of_range(format!("buffer {buffer}: the pending sum of column {column} would leave 64 bits"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Buffer, Timestamp, model::ColumnType};

    #[test]
    fn each_column_merges_its_own_way_and_all_or_none() {
        let schema = Buffer::new("p").key("id").sum("n").max("last").min("first").build().expect("valid");
        let key = RowKey::new(&schema, &["1".into()]).expect("valid");
        let at = |s| Some(Value::from(Timestamp::from_secs(s)));
        let row = |n: i64, s| Row { key: key.clone(), cells: Box::new([Some(n.into()), at(s), at(s)]) };
        let mut pending = Row::empty(&schema, key.clone());
        for (n, s) in [(1, 5), (2, 9), (4, 3)] {
            pending.merge(&schema, &row(n, s)).expect("fits");
        }
        assert_eq!(*pending.cells, [Some(7.into()), at(9), at(3)]);
        assert!(pending.merge(&schema, &row(i64::MAX, 99)).is_err());
        assert_eq!(*pending.cells, [Some(7.into()), at(9), at(3)]);
    }

    #[test]
    fn the_version_decides_in_whatever_order_writes_come() {
        let columns = |buffer: Buffer, v: &str, merge| buffer.column(v, merge, ColumnType::Integer);
        let schema = columns(columns(Buffer::new("p").key("id"), "v", Merge::Max), "f", Merge::Min);
        let schema = schema.last("state", ColumnType::Text, "v").first("origin", ColumnType::Text, "f");
        let schema = schema.build().expect("valid");
        let key = RowKey::new(&schema, &["1".into()]).expect("valid");
        let row = |n: i64, text: &str| {
            let (n, text) = (Some(Value::from(n)), Some(Value::from(text)));
            Row { key: key.clone(), cells: [n.clone(), n, text.clone(), text].into() }
        };
        let far = i64::MAX;
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [1, 0, 2]] {
            let mut pending = Row::empty(&schema, key.clone());
            for place in order {
                let rows = [row(far - 1, "a"), row(far, "b"), row(-5, "c")];
                pending.merge(&schema, &rows[place]).expect("fits");
            }
            let expected = [Some(far.into()), Some((-5).into()), Some("b".into()), Some("c".into())];
            assert_eq!(*pending.cells, expected, "{order:?}");
        }
        // Of one version the larger text is the last, and the smaller one the first.
        for (one, other) in [("a", "b"), ("b", "a")] {
            let mut pending = row(7, one);
            pending.merge(&schema, &row(7, other)).expect("fits");
            assert_eq!(pending.cells[2..], [Some("b".into()), Some("a".into())], "{one} before {other}");
        }
    }
}
