//! What a buffer looks like: its table, its key, its columns and how their values merge.

use std::sync::Arc;

use super::{row_key::RowKey, value::ColumnType};
use crate::{
    error::{Result, invalid, out_of_range},
    key::{self, Name},
};

/// How two values of one column become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Merge {
    /// Their sum; integers only. A sum that leaves 64 bits is refused.
    Sum,
    /// The larger; NULL in the table counts as nothing.
    Max,
    /// The smaller; NULL in the table counts as nothing.
    Min,
}

/// The definition of a buffer: which table, which rows, which columns, and how values merge.
///
/// ```
/// use forebay::Buffer;
/// let projects = Buffer::new("projects").key("id").sum("hits").max("last_seen");
/// ```
#[derive(Clone, Debug)]
#[must_use = "a definition does nothing until it is given to `Forebay::buffer`"]
pub struct Buffer {
    name: String,
    table: Option<String>,
    keys: Vec<KeyColumn>,
    columns: Vec<Column>,
    partitions: u16,
    max_rows: u64,
}

/// A column that tells rows apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyColumn {
    /// Its name in the table.
    pub name: Box<str>,
    /// Its type.
    pub column_type: ColumnType,
}

/// A column that is written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Column {
    /// Its name in the table.
    pub name: Box<str>,
    /// Its type.
    pub column_type: ColumnType,
    /// How its values merge.
    pub merge: Merge,
}

impl Buffer {
    /// A buffer called `name`, in front of the table of the same name.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            table: None,
            keys: vec![],
            columns: vec![],
            partitions: 16,
            max_rows: 5_000,
        }
    }

    /// The table, which may be qualified by its schema; default: the buffer's name.
    pub fn table(mut self, table: impl Into<String>) -> Self {
        self.table = Some(table.into());
        self
    }

    /// Adds a text column to the key that tells rows apart.
    pub fn key(self, column: impl Into<String>) -> Self {
        self.key_of(column, ColumnType::Text)
    }

    /// Adds a column of another type to the key.
    pub fn key_of(mut self, column: impl Into<String>, column_type: ColumnType) -> Self {
        self.keys.push(KeyColumn { name: column.into().into(), column_type });
        self
    }

    /// Adds an integer column that is summed.
    pub fn sum(self, column: impl Into<String>) -> Self {
        self.column(column, Merge::Sum, ColumnType::Integer)
    }

    /// Adds a timestamp column of which the latest stays.
    pub fn max(self, column: impl Into<String>) -> Self {
        self.column(column, Merge::Max, ColumnType::Timestamp)
    }

    /// Adds a timestamp column of which the earliest stays.
    pub fn min(self, column: impl Into<String>) -> Self {
        self.column(column, Merge::Min, ColumnType::Timestamp)
    }

    /// Adds a column of any merge and type.
    pub fn column(mut self, column: impl Into<String>, merge: Merge, column_type: ColumnType) -> Self {
        self.columns.push(Column { name: column.into().into(), column_type, merge });
        self
    }

    /// Over how many partitions the rows spread, 1 to 1 024, default 16. A partition is flushed as one batch, and
    /// several flushers share the partitions.
    pub fn partitions(mut self, partitions: u16) -> Self {
        self.partitions = partitions;
        self
    }

    /// How many rows a partition gathers before it is flushed early, 1 to 100 000, default 5 000.
    pub fn max_rows(mut self, rows: u64) -> Self {
        self.max_rows = rows;
        self
    }

    /// Checks the definition.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a name that is none, a column named twice, no key, no
    /// column, a sum of what is no integer; [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) for the numbers.
    pub fn build(self) -> Result<Arc<Schema>> {
        let name = Name::new(&self.name)?;
        let table = self.table.unwrap_or(self.name);
        let problem = |what: String| Err(invalid(format!("buffer {name}: {what}")));
        if !is_table(&table) {
            return problem(format!("table {table:?}: an identifier or schema.identifier"));
        }
        if self.keys.is_empty() || self.columns.is_empty() {
            return problem("a buffer has at least one key column and one value column".into());
        }
        if self.keys.len() + self.columns.len() > MAX_COLUMNS {
            return problem(format!("more than {MAX_COLUMNS} columns"));
        }
        let mut seen: Vec<&str> = vec![];
        for column in self.keys.iter().map(|k| &*k.name).chain(self.columns.iter().map(|c| &*c.name)) {
            if !is_identifier(column) {
                return problem(format!(
                    "column {column:?}: 1 to 63 of a-z, A-Z, 0-9 and _, not beginning with a digit"
                ));
            }
            if seen.contains(&column) {
                return problem(format!("column {column:?} is named twice"));
            }
            seen.push(column);
        }
        if let Some(column) =
            self.columns.iter().find(|c| c.merge == Merge::Sum && c.column_type != ColumnType::Integer)
        {
            return problem(format!("column {:?}: only an integer can be summed", column.name));
        }
        for (what, value, most) in
            [("partitions", u64::from(self.partitions), 1_024), ("max_rows", self.max_rows, 100_000)]
        {
            if !(1..=most).contains(&value) {
                return Err(out_of_range(format!("buffer {name}: {what} {value}: 1 to {most}")));
            }
        }
        let schema = Schema {
            fingerprint: fingerprint(&table, &self.keys, &self.columns),
            name,
            table: table.into(),
            keys: self.keys.into(),
            columns: self.columns.into(),
            partitions: self.partitions,
            max_rows: self.max_rows,
        };
        Ok(Arc::new(schema))
    }
}

/// Column indexes are one character in a store.
const MAX_COLUMNS: usize = 32;

/// A checked [`Buffer`]: what engines and sinks work with.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Schema {
    /// The buffer's name.
    pub name: Name,
    /// The table, perhaps qualified by its schema.
    pub table: Box<str>,
    /// The columns that tell rows apart, at least one.
    pub keys: Box<[KeyColumn]>,
    /// The columns that are written, at least one.
    pub columns: Box<[Column]>,
    /// Over how many partitions the rows spread.
    pub partitions: u16,
    /// How many rows a partition gathers before it is flushed early.
    pub max_rows: u64,
    /// Names, types and merges in one text: a generation written under another one is never added to.
    pub fingerprint: Box<str>,
}

impl Schema {
    /// Which partition a row belongs to.
    pub fn partition_of(&self, row: &RowKey) -> u16 {
        u16::try_from(key::hash(row.as_str().as_bytes()) % u64::from(self.partitions))
            .expect("the remainder is below a u16")
    }

    /// The position of a value column.
    pub fn position(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|c| &*c.name == column)
    }
}

fn is_identifier(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && bytes.first().is_some_and(|&c| c.is_ascii_alphabetic() || c == b'_')
        && bytes.iter().all(|&c| c.is_ascii_alphanumeric() || c == b'_')
}

fn is_table(text: &str) -> bool {
    match text.split_once('.') {
        Some((schema, table)) => is_identifier(schema) && is_identifier(table),
        None => is_identifier(text),
    }
}

fn fingerprint(table: &str, keys: &[KeyColumn], columns: &[Column]) -> Box<str> {
    let keys = keys.iter().map(|k| format!("{}:{:?}", k.name, k.column_type));
    let columns = columns.iter().map(|c| format!("{}={:?}:{:?}", c.name, c.merge, c.column_type));
    let parts: Vec<String> = keys.chain(columns).collect();
    format!("{table}({})", parts.join(",")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_definitions_are_refused_with_the_reason() {
        let error = |buffer: Buffer| buffer.build().expect_err("wrong").to_string();
        assert!(error(Buffer::new("Projects").key("id").sum("n")).contains("a-z"));
        assert!(error(Buffer::new("p").sum("n")).contains("at least one key"));
        assert!(error(Buffer::new("p").key("id").sum("id")).contains("twice"));
        assert!(error(Buffer::new("p").key("id; drop").sum("n")).contains("id; drop"));
        assert!(error(Buffer::new("p").table("a.b.c").key("id").sum("n")).contains("a.b.c"));
        assert!(
            error(Buffer::new("p").key("id").column("t", Merge::Sum, ColumnType::Text)).contains("summed")
        );
        assert!(error(Buffer::new("p").key("id").sum("n").partitions(0)).contains("1 to 1024"));
    }
}
