//! The definition of a buffer: its table, its key, its columns and how their values merge.

use std::{sync::Arc, time::Duration};

use super::{bounds::Bounds, value::ColumnType};
use crate::{
    error::{Error, Result, invalid, out_of_range},
    key::Name,
};

/// The rule by which two values of one column become one.
///
/// # Examples
/// ```
/// use forebay::{Buffer, buffer::{ColumnType, Merge}};
/// let schema = Buffer::new("projects").key("id").column("hits", Merge::Sum, ColumnType::Integer).build()?;
/// assert_eq!(schema.columns[0].merge, Merge::Sum);
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Merge {
    /// Their sum; integers only. A sum that leaves 64 bits is refused.
    Sum,
    /// The larger; NULL in the table counts as nothing.
    Max,
    /// The smaller; NULL in the table counts as nothing.
    Min,
    /// The value with the larger version: [`Column::by`]. Of two with the same version the larger value. NULL as the
    /// table's version counts as older than any.
    Last,
    /// The value with the smaller version: [`Column::by`]. Of two with the same version the smaller value. Otherwise like
    /// [`Last`](Self::Last).
    First,
}

/// The definition of a buffer: its table, its key, its columns, and how their values merge.
///
/// ```
/// use forebay::Buffer;
/// let projects = Buffer::new("projects").key("id").sum("hits").max("last_seen");
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a definition does nothing until it is given to `Forebay::buffer`"]
pub struct Buffer {
    name: String,
    table: Option<String>,
    keys: Vec<KeyColumn>,
    /// The columns, each with the name of its version column. The position of that column is set at the end.
    columns: Vec<(Column, Option<String>)>,
    partitions: u16,
    max_rows: u64,
    bounds: Bounds,
}

/// A column that tells rows apart.
///
/// # Examples
/// ```
/// use forebay::{Buffer, buffer::ColumnType};
/// let schema = Buffer::new("projects").key_of("id", ColumnType::Uuid).sum("hits").build()?;
/// assert_eq!((&*schema.keys[0].name, schema.keys[0].column_type), ("id", ColumnType::Uuid));
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyColumn {
    /// Its name in the table.
    pub name: Box<str>,
    /// Its type.
    pub column_type: ColumnType,
}

/// A column that is written.
///
/// # Examples
/// ```
/// use forebay::{Buffer, buffer::Merge};
/// let schema = Buffer::new("projects").key("id").sum("hits").max("last_seen").build()?;
/// assert_eq!((&*schema.columns[1].name, schema.columns[1].merge), ("last_seen", Merge::Max));
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Column {
    /// Its name in the table.
    pub name: Box<str>,
    /// Its type.
    pub column_type: ColumnType,
    /// The merge of its values.
    pub merge: Merge,
    /// The position of the version among the value columns, for [`Merge::Last`] and [`Merge::First`]. The version is a
    /// column of [`Merge::Max`] for `Last`, and of [`Merge::Min`] for `First`.
    ///
    /// A write of a version or of a column that depends on it must name all of them. So a version in the table always
    /// belongs to all of its columns, and one comparison with it decides for each.
    pub by: Option<usize>,
}

impl Buffer {
    /// A buffer called `name`, in front of the table of the same name.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::Buffer;
    /// let projects = bay.buffer(Buffer::new("projects").table("app_projects").key("id").sum("hits"))?;
    /// assert_eq!(&*projects.schema().table, "app_projects");
    /// # Ok(()) }
    /// ```
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            table: None,
            keys: vec![],
            columns: vec![],
            partitions: 16,
            max_rows: 10_000,
            bounds: Bounds::default(),
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

    /// Adds a timestamp column that keeps the latest value.
    pub fn max(self, column: impl Into<String>) -> Self {
        self.column(column, Merge::Max, ColumnType::Timestamp)
    }

    /// Adds a timestamp column that keeps the earliest value.
    pub fn min(self, column: impl Into<String>) -> Self {
        self.column(column, Merge::Min, ColumnType::Timestamp)
    }

    /// Adds a column that keeps the value with the largest version; `by` names the version, a column of its own that
    /// merges by `max`.
    ///
    /// ```
    /// use forebay::{Buffer, buffer::{ColumnType, Merge}};
    /// let version = |buffer: Buffer| buffer.column("version", Merge::Max, ColumnType::Integer);
    /// let devices = version(Buffer::new("devices").key("id")).last("state", ColumnType::Text, "version");
    /// assert!(devices.build().is_ok());
    /// ```
    pub fn last(self, column: impl Into<String>, column_type: ColumnType, by: impl Into<String>) -> Self {
        self.column_by(column, Merge::Last, column_type, by)
    }

    /// Adds a column that keeps the value with the smallest version; `by` names the version, a column of its own that
    /// merges by `min`.
    pub fn first(self, column: impl Into<String>, column_type: ColumnType, by: impl Into<String>) -> Self {
        self.column_by(column, Merge::First, column_type, by)
    }

    /// Adds a column of any type, and any merge that needs no version.
    pub fn column(self, column: impl Into<String>, merge: Merge, column_type: ColumnType) -> Self {
        self.add(column.into(), merge, column_type, None)
    }

    /// Adds a column of any type that merges by a version.
    pub fn column_by(
        self,
        column: impl Into<String>,
        merge: Merge,
        column_type: ColumnType,
        by: impl Into<String>,
    ) -> Self {
        self.add(column.into(), merge, column_type, Some(by.into()))
    }

    fn add(mut self, column: String, merge: Merge, column_type: ColumnType, by: Option<String>) -> Self {
        self.columns.push((Column { name: column.into(), column_type, merge, by: None }, by));
        self
    }

    /// Sets the number of partitions over which the rows spread, 1 to 1 024, default 16. A partition is flushed as one
    /// batch, and several flushers share the partitions.
    pub fn partitions(mut self, partitions: u16) -> Self {
        self.partitions = partitions;
        self
    }

    /// Sets the number of rows at which a partition is flushed early, 1 to 100 000, default 10 000.
    pub fn max_rows(mut self, rows: u64) -> Self {
        self.max_rows = rows;
        self
    }

    /// Sets the number of pending rows at which an operator is warned, and the number at which writes are refused with
    /// [`ErrorKind::Overloaded`](crate::ErrorKind::Overloaded). A writer's number may be a second old. The range is 1 to
    /// 2^40, and the defaults are 1 000 000 and 10 000 000. On Redis a row with one counter takes some 70 bytes.
    pub fn bounds_rows(mut self, soft: u64, hard: u64) -> Self {
        (self.bounds.soft_rows, self.bounds.hard_rows) = (soft, hard);
        self
    }

    /// Sets the same bounds for the age of the oldest pending row, at least 1 s. Default: none.
    pub fn bounds_age(mut self, soft: Option<Duration>, hard: Option<Duration>) -> Self {
        (self.bounds.soft_age, self.bounds.hard_age) = (soft, hard);
        self
    }

    /// Checks the definition.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for an invalid name, a column named twice, no key, no column, a
    /// sum of another type than integer, or an invalid version; [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange)
    /// for the numbers.
    ///
    /// # Examples
    /// ```
    /// use forebay::Buffer;
    /// assert!(Buffer::new("projects").key("id").sum("hits").build().is_ok());
    /// assert!(Buffer::new("projects").sum("hits").build().is_err()); // no key column
    /// ```
    pub fn build(self) -> Result<Arc<Schema>> {
        let name = Name::new(&self.name)?;
        let described = |error: Error| Error::new(error.kind(), format!("buffer {name}: {error}"));
        let table = self.table.unwrap_or(self.name);
        if !is_table(&table) {
            return Err(described(invalid(format!("table {table:?}: an identifier or schema.identifier"))));
        }
        for (what, value, most) in
            [("partitions", u64::from(self.partitions), 1_024), ("max_rows", self.max_rows, 100_000)]
        {
            if !(1..=most).contains(&value) {
                return Err(described(out_of_range(format!("{what} {value}: 1 to {most}"))));
            }
        }
        self.bounds.check().map_err(described)?;
        let columns = check_columns(&self.keys, &self.columns).map_err(described)?;
        let schema = Schema {
            fingerprint: fingerprint(&table, &self.keys, &columns),
            name,
            table: table.into(),
            keys: self.keys.into(),
            columns,
            partitions: self.partitions,
            max_rows: self.max_rows,
            bounds: self.bounds,
        };
        Ok(Arc::new(schema))
    }
}

/// Checks the columns, and finds the positions of their versions.
fn check_columns(keys: &[KeyColumn], columns: &[(Column, Option<String>)]) -> Result<Box<[Column]>> {
    if keys.is_empty() || columns.is_empty() {
        return Err(invalid("a buffer has at least one key column and one value column"));
    }
    if keys.len() + columns.len() > MAX_COLUMNS {
        return Err(invalid(format!("more than {MAX_COLUMNS} columns")));
    }
    let mut seen: Vec<&str> = vec![];
    for column in keys.iter().map(|k| &*k.name).chain(columns.iter().map(|(c, _)| &*c.name)) {
        if !is_identifier(column) {
            return Err(invalid(format!(
                "column {column:?}: 1 to 63 of a-z, A-Z, 0-9 and _, not beginning with a digit"
            )));
        }
        if seen.contains(&column) {
            return Err(invalid(format!("column {column:?} is named twice")));
        }
        seen.push(column);
    }
    let check = |(column, by): &(Column, Option<String>)| {
        let by = version_of(column, by.as_deref(), columns)?;
        Ok(Column { by, ..column.clone() })
    };
    columns.iter().map(check).collect()
}

/// The position of a column's version, if the column needs one.
fn version_of(
    column: &Column,
    by: Option<&str>,
    columns: &[(Column, Option<String>)],
) -> Result<Option<usize>> {
    let name = &column.name;
    let (word, decides) = match (column.merge, by) {
        (Merge::Sum, None) if column.column_type != ColumnType::Integer => {
            return Err(invalid(format!("column {name:?}: only an integer can be summed")));
        }
        (Merge::Sum | Merge::Max | Merge::Min, None) => return Ok(None),
        (Merge::Sum | Merge::Max | Merge::Min, Some(_)) => {
            return Err(invalid(format!("column {name:?}: only last and first go by a version")));
        }
        (Merge::Last, _) => ("last", Merge::Max),
        (Merge::First, _) => ("first", Merge::Min),
    };
    let lower = format!("{decides:?}").to_lowercase();
    let Some(by) = by else {
        return Err(invalid(format!(
            "column {name:?}: {word} by what? name a column that merges by {lower}"
        )));
    };
    let place = columns.iter().position(|(version, _)| *version.name == *by && version.merge == decides);
    place.map(Some).ok_or_else(|| {
        invalid(format!(
            "column {name:?}: {word} by {by:?}, which has to be a value column that merges by {lower}"
        ))
    })
}

/// The largest number of columns. A column index is one character in a store.
const MAX_COLUMNS: usize = 32;

/// A checked [`Buffer`], which engines and sinks use.
///
/// # Examples
/// ```
/// use forebay::Buffer;
/// let schema = Buffer::new("projects").key("id").sum("hits").build()?;
/// assert_eq!((&*schema.table, schema.position("hits")), ("projects", Some(0)));
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Schema {
    /// The buffer's name.
    pub name: Name,
    /// The table, which may be qualified by its schema.
    pub table: Box<str>,
    /// The columns that tell rows apart, at least one.
    pub keys: Box<[KeyColumn]>,
    /// The columns that are written, at least one.
    pub columns: Box<[Column]>,
    /// The number of partitions over which the rows spread.
    pub partitions: u16,
    /// The number of rows at which a partition is flushed early.
    pub max_rows: u64,
    /// The bounds on the pending rows.
    pub bounds: Bounds,
    /// The names, types and merges in one text. A write is never added to a generation with another fingerprint.
    pub fingerprint: Box<str>,
}

impl Schema {
    /// Checks that a write names a version together with all columns that depend on it.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) with the missing column.
    pub fn check_named(&self, is_named: impl Fn(usize) -> bool) -> Result<()> {
        for (place, column) in self.columns.iter().enumerate() {
            let Some(by) = column.by.filter(|&by| is_named(by) != is_named(place)) else { continue };
            let version = &self.columns[by].name;
            let (there, missing) =
                if is_named(by) { (version, &column.name) } else { (&column.name, version) };
            return Err(invalid(format!(
                "buffer {}: names {there:?} without {missing:?}: a version and all that go by it are written together",
                self.name
            )));
        }
        Ok(())
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
    let by = |c: &Column| c.by.map(|by| format!(":{}", columns[by].name)).unwrap_or_default();
    let columns = columns.iter().map(|c| format!("{}={:?}:{:?}{}", c.name, c.merge, c.column_type, by(c)));
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
        let state = |buffer: Buffer| buffer.last("state", ColumnType::Text, "v");
        assert!(error(state(Buffer::new("p").key("v"))).contains("merges by max"));
        assert!(error(state(Buffer::new("p").key("id").min("v"))).contains("merges by max"));
        let no_version = Buffer::new("p").key("id").column("state", Merge::First, ColumnType::Text);
        assert!(error(no_version).contains("first by what"));
        let none_needed =
            Buffer::new("p").key("id").max("v").column_by("n", Merge::Sum, ColumnType::Integer, "v");
        assert!(error(none_needed).contains("only last and first"));
    }

    #[test]
    fn a_version_and_all_that_go_by_it_are_named_together() {
        let schema = Buffer::new("p").key("id").sum("n").max("v").last("state", ColumnType::Text, "v");
        let schema = schema.last("who", ColumnType::Uuid, "v").build().expect("valid");
        assert_eq!(
            [schema.columns[2].by, schema.columns[3].by, schema.columns[0].by],
            [Some(1), Some(1), None]
        );
        let named = |places: &'static [usize]| schema.check_named(|place| places.contains(&place));
        assert!(named(&[0]).is_ok() && named(&[1, 2, 3]).is_ok() && named(&[0, 1, 2, 3]).is_ok());
        for (places, missing) in [(&[1][..], "state"), (&[1, 2], "who"), (&[2, 3], "\"v\"")] {
            assert!(named(places).expect_err("incomplete").to_string().contains(missing), "{places:?}");
        }
    }
}
