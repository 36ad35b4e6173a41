//! A buffer fitted to the table it flushes into.

use forebay::buffer::{Column, Merge, Row, Schema, Value};

use super::{
    ddl::SQLITE,
    form::{Cell, Form},
};
use crate::{Missing, catalogue::Table};

/// What [`apply`](super::apply) needs to know of a table.
#[derive(Debug)]
pub(super) struct Plan {
    /// The table in `main`, so that a temporary table of the same name cannot come between.
    pub(super) table: String,
    pub(super) keys: Vec<Key>,
    pub(super) columns: Vec<Target>,
    pub(super) missing: Missing,
}

/// A key column.
#[derive(Debug)]
pub(super) struct Key {
    /// In quotes.
    pub(super) name: String,
    pub(super) form: Form,
}

/// A value column.
#[derive(Debug)]
pub(super) struct Target {
    /// In quotes.
    pub(super) name: String,
    pub(super) form: Form,
    pub(super) merge: Merge,
    /// A new row has to have a value here.
    pub(super) required: bool,
}

/// Which of the value columns a row writes: a bit each, the first column's lowest. The others keep what they have,
/// and in a new row get the table's default, so that every set needs its own statement.
pub(super) type Written = u32;

impl Plan {
    /// Fits `schema` to `table`.
    ///
    /// # Errors
    /// What does not fit, and how to mend it.
    pub(super) fn new(schema: &Schema, table: &Table, missing: Missing) -> Result<Self, String> {
        table.check(schema, missing, &SQLITE)?;
        let bare = schema.table.rsplit('.').next().unwrap_or(&schema.table);
        let form = |name: &str, column_type, key| {
            let column = table.column(name).ok_or_else(|| format!("no column {name}"))?;
            let form = Form::of(column_type, &column.declared, key).ok_or_else(|| {
                format!(
                    "column {name} of table {} is declared {:?}, which cannot keep every {column_type:?} of the \
                     buffer{}: declare it {}",
                    schema.table,
                    column.declared,
                    if key { "'s key" } else { "" },
                    (SQLITE.type_name)(column_type),
                )
            })?;
            Ok::<_, String>((SQLITE.quoted(name), form, column.required()))
        };
        let key = |k: &forebay::buffer::KeyColumn| {
            form(&k.name, k.column_type, true).map(|(name, form, _)| Key { name, form })
        };
        let target = |c: &Column| {
            let (name, form, required) = form(&c.name, c.column_type, false)?;
            Ok::<_, String>(Target { name, form, merge: c.merge, required })
        };
        Ok(Self {
            table: format!("{}.{}", SQLITE.quoted("main"), SQLITE.quoted(bare)),
            keys: schema.keys.iter().map(key).collect::<Result<_, _>>()?,
            columns: schema.columns.iter().map(target).collect::<Result<_, _>>()?,
            missing,
        })
    }

    /// The columns of `written`, in order.
    pub(super) fn written(&self, written: Written) -> impl Iterator<Item = &Target> {
        self.columns
            .iter()
            .enumerate()
            .filter(move |(i, _)| written & (1 << i) != 0)
            .map(|(_, column)| column)
    }

    /// A column that a new row needs and `written` leaves out.
    pub(super) fn lacking(&self, written: Written) -> Option<&Target> {
        let mut columns = self.columns.iter().enumerate();
        columns.find(|(i, column)| column.required && written & (1 << i) == 0).map(|(_, column)| column)
    }

    /// The key in the forms of its columns.
    ///
    /// # Errors
    /// Why no row of the table can have it.
    pub(super) fn key(&self, values: &[Value]) -> Result<Vec<Cell>, String> {
        self.keys.iter().zip(values).map(|(key, value)| key.form.encode(value)).collect()
    }

    /// Which columns a row writes, and its key and values in the forms of theirs.
    ///
    /// # Errors
    /// Why the table cannot have it.
    pub(super) fn row(&self, schema: &Schema, row: &Row) -> Result<(Written, Vec<Cell>), String> {
        let values = row.key.values(schema).map_err(|error| error.to_string())?;
        let mut cells = self.key(&values)?;
        let mut written = 0;
        for (i, (column, cell)) in self.columns.iter().zip(&row.cells).enumerate() {
            if let Some(value) = cell {
                written |= 1 << i;
                cells.push(column.form.encode(value).map_err(|why| format!("{}: {why}", column.name))?);
            }
        }
        Ok((written, cells))
    }
}
