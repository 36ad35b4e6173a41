//! What a buffer looks like: its table, its key, its columns and how their values merge.

use std::sync::Arc;

use uuid::Uuid;

use crate::{
    error::{Result, invalid, out_of_range},
    key::{self, MAX_KEY, Name},
    time::Timestamp,
};

/// The type of a column, as the buffer sees it; a sink casts to what the table really has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ColumnType {
    /// A 64-bit signed integer.
    Integer,
    /// Text: UTF-8, compared byte by byte; at most 512 bytes as a key.
    Text,
    /// A point in time, in microseconds.
    Timestamp,
    /// A UUID.
    Uuid,
}

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

/// A value of a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Value {
    /// For [`ColumnType::Integer`].
    Integer(i64),
    /// For [`ColumnType::Text`].
    Text(Box<str>),
    /// For [`ColumnType::Timestamp`].
    Timestamp(Timestamp),
    /// For [`ColumnType::Uuid`].
    Uuid(Uuid),
}

impl Value {
    /// The type of column this goes into.
    pub fn column_type(&self) -> ColumnType {
        match self {
            Self::Integer(_) => ColumnType::Integer,
            Self::Text(_) => ColumnType::Text,
            Self::Timestamp(_) => ColumnType::Timestamp,
            Self::Uuid(_) => ColumnType::Uuid,
        }
    }

    /// The one text for this value: what keys are made of and what a store holds.
    ///
    /// Timestamps are microseconds since 1970, UUIDs lower case with hyphens, so that equal values have
    /// equal texts, and texts and UUIDs order as their bytes do.
    pub fn to_text(&self) -> String {
        match self {
            Self::Integer(n) => n.to_string(),
            Self::Text(text) => text.to_string(),
            Self::Timestamp(at) => at.as_micros().to_string(),
            Self::Uuid(id) => id.hyphenated().to_string(),
        }
    }

    /// Reads what [`to_text`](Self::to_text) wrote.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if `text` is none of `column_type`.
    pub fn from_text(column_type: ColumnType, text: &str) -> Result<Self> {
        let integer = |what| {
            text.parse::<i64>().map_err(|cause| invalid(format!("{text:?} is not {what}")).with_source(cause))
        };
        Ok(match column_type {
            ColumnType::Integer => Self::Integer(integer("an integer from -2^63 to 2^63-1")?),
            ColumnType::Text => Self::Text(text.into()),
            ColumnType::Timestamp => {
                Self::Timestamp(Timestamp::from_micros(integer("a time in microseconds since 1970")?))
            }
            ColumnType::Uuid => Self::Uuid(
                Uuid::parse_str(text)
                    .map_err(|cause| invalid(format!("{text:?} is not a UUID")).with_source(cause))?,
            ),
        })
    }
}

macro_rules! value_from {
    ($($from:ty => |$name:ident| $value:expr;)*) => {$(
        impl From<$from> for Value {
            fn from($name: $from) -> Self { $value }
        }
    )*};
}
value_from! {
    i64 => |n| Self::Integer(n);
    i32 => |n| Self::Integer(n.into());
    u32 => |n| Self::Integer(n.into());
    &str => |text| Self::Text(text.into());
    String => |text| Self::Text(text.into());
    Timestamp => |at| Self::Timestamp(at);
    Uuid => |id| Self::Uuid(id);
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

/// The key of a row as one text: the values' texts, each with `%` and `|` written as `%25` and `%7C`, joined by `|`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowKey(Arc<str>);

impl RowKey {
    /// Builds the key of a row of `schema`, its values in the order of the key columns.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the number or a type of the values is wrong, a text is
    /// empty, or the whole is longer than 512 bytes.
    pub fn new(schema: &Schema, values: &[Value]) -> Result<Self> {
        if values.len() != schema.keys.len() {
            let (want, got) = (schema.keys.len(), values.len());
            return Err(invalid(format!(
                "row of buffer {}: {got} key values for {want} key columns",
                schema.name
            )));
        }
        let mut text = String::new();
        for (column, value) in schema.keys.iter().zip(values) {
            if value.column_type() != column.column_type {
                let (want, got) = (column.column_type, value.column_type());
                return Err(invalid(format!(
                    "row of buffer {}: key column {} is {want:?}, not {got:?}",
                    schema.name, column.name
                )));
            }
            if !text.is_empty() {
                text.push('|');
            }
            let part = value.to_text();
            if part.is_empty() {
                return Err(invalid(format!(
                    "row of buffer {}: key column {} is empty",
                    schema.name, column.name
                )));
            }
            for c in part.chars() {
                match c {
                    '%' => text.push_str("%25"),
                    '|' => text.push_str("%7C"),
                    other => text.push(other),
                }
            }
        }
        if text.len() > MAX_KEY {
            return Err(invalid(format!(
                "row of buffer {}: a key of {} bytes, a row's key has 1 to {MAX_KEY}",
                schema.name,
                text.len()
            )));
        }
        Ok(Self(text.into()))
    }

    /// Takes a key's text as a store returned it.
    pub(crate) fn from_store(text: &str) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The values this key was made of.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if it was made for another schema.
    pub fn values(&self, schema: &Schema) -> Result<Vec<Value>> {
        let parts: Vec<&str> = self.0.split('|').collect();
        if parts.len() != schema.keys.len() {
            return Err(invalid(format!(
                "row key {:?} does not fit the key columns of buffer {}",
                self.0, schema.name
            )));
        }
        let plain = |part: &str| part.replace("%7C", "|").replace("%25", "%");
        schema
            .keys
            .iter()
            .zip(parts)
            .map(|(column, part)| Value::from_text(column.column_type, &plain(part)))
            .collect()
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
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn row_keys_are_read_back(a in ".{1,40}", n in any::<i64>()) {
            let schema = Buffer::new("p").key("a").key_of("n", ColumnType::Integer).sum("x").build().expect("valid");
            let values = vec![Value::from(a.as_str()), Value::from(n)];
            if let Ok(key) = RowKey::new(&schema, &values) {
                prop_assert_eq!(key.values(&schema).expect("ours"), values);
            }
        }
    }
}
