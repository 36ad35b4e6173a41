//! A buffer that is fitted to the table it flushes into.

use forebay::buffer::{Column, Merge, Row, Schema, Value};

use super::{
    codec::{Cell, ColumnCodec as _},
    dialect::Dialect,
    fit::check_table,
    table::{Table, TableColumn},
};
use crate::Missing;

/// The columns of a table that a buffer merges into, and how.
#[derive(Debug)]
pub(crate) struct Plan<D: Dialect> {
    /// The table, qualified and quoted, so that the search path cannot lead to another of the same name.
    pub(crate) table: String,
    /// The qualifier of Forebay's own tables, with a dot at its end.
    pub(crate) place: String,
    pub(crate) keys: Vec<Key<D>>,
    pub(crate) columns: Vec<Target<D>>,
    pub(crate) missing: Missing,
    /// Whether the ledger records the time of each batch's last write.
    pub(crate) dated: bool,
    /// Warnings for an operator, about the database and the tables.
    pub(crate) warnings: Vec<String>,
}

/// A key column.
#[derive(Debug)]
pub(crate) struct Key<D: Dialect> {
    /// Quoted.
    pub(crate) name: String,
    pub(crate) codec: D::Codec,
}

/// A value column.
#[derive(Debug)]
pub(crate) struct Target<D: Dialect> {
    /// Quoted.
    pub(crate) name: String,
    pub(crate) codec: D::Codec,
    pub(crate) merge: Merge,
    /// The index of the version column, for [`Merge::Last`] and [`Merge::First`].
    pub(crate) by: Option<usize>,
    /// Whether a new row needs a value here.
    pub(crate) required: bool,
}

/// A value column as a statement assigns it.
#[derive(Debug)]
pub(crate) struct Assigned<'a, D: Dialect> {
    pub(crate) column: &'a Target<D>,
    /// The expression for its new value.
    pub(crate) new: String,
    /// The version column, and the expression for its new value.
    pub(crate) by: Option<(&'a Target<D>, String)>,
}

/// The set of value columns that a row writes: a bit each, the first column's lowest. The others keep their value, and
/// get the table's default in a new row, so that each set needs its own statement.
pub(crate) type ColumnSet = u32;

/// How rows that write the same columns are merged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MergeMode {
    pub(crate) columns: ColumnSet,
    /// Rows that the table does not have are inserted. Otherwise they are not reached.
    pub(crate) insert: bool,
    /// A row that the statement does not reach is refused.
    pub(crate) all: bool,
}

impl MergeMode {
    pub(crate) fn new<D: Dialect>(plan: &Plan<D>, columns: ColumnSet) -> Self {
        let (insert, all) = match plan.missing {
            // A new row cannot be inserted, and an upsert without the column fails even when the row exists.
            Missing::Insert if plan.lacking(columns).is_some() => (false, true),
            Missing::Insert => (true, true),
            Missing::DeadLetter => (false, true),
            Missing::Skip => (false, false),
        };
        Self { columns, insert, all }
    }

    /// Whether the database has to say which rows it reached. An upsert reaches all.
    pub(crate) fn reports_rows(self) -> bool {
        self.all && !self.insert
    }
}

impl<D: Dialect> Plan<D> {
    /// Fits `schema` to `table`.
    ///
    /// # Errors
    /// A text that says what does not fit, and how to resolve it.
    pub(crate) fn new(schema: &Schema, table: &Table, missing: Missing) -> Result<Self, String> {
        check_table::<D>(table, schema, missing)?;
        // A later version of the library may know more merges.
        let known = [Merge::Sum, Merge::Max, Merge::Min, Merge::Last, Merge::First];
        if let Some(Column { name, merge, .. }) = schema.columns.iter().find(|c| !known.contains(&c.merge)) {
            return Err(format!("column {name}: this version of forebay-sql has no merge {merge:?}"));
        }
        let fit = |name: &str, column_type, key| {
            let column = table.column(name).ok_or_else(|| format!("no column {name}"))?;
            let codec = D::Codec::for_column(column_type, column, key).ok_or_else(|| {
                format!(
                    "column {name} of table {} is declared {:?}, which cannot keep every {column_type:?} of the \
                     buffer{}: declare it {}",
                    schema.table,
                    column.declared,
                    if key { "'s key" } else { "" },
                    D::type_name(column_type, schema, key),
                )
            })?;
            Ok::<(D::Codec, &TableColumn), String>((codec, column))
        };
        let keys = schema.keys.iter().map(|key| {
            let (codec, column) = fit(&key.name, key.column_type, true)?;
            Ok(Key { name: D::quoted(&column.name), codec })
        });
        let columns = schema.columns.iter().map(|target| {
            let (codec, column) = fit(&target.name, target.column_type, false)?;
            let (name, required) = (D::quoted(&column.name), column.required());
            Ok(Target { name, codec, merge: target.merge, by: target.by, required })
        });
        Ok(Self {
            table: table.name.clone(),
            place: table.place.clone(),
            keys: keys.collect::<Result<_, String>>()?,
            columns: columns.collect::<Result<_, String>>()?,
            missing,
            dated: true,
            warnings: vec![],
        })
    }

    /// The set of all value columns.
    pub(crate) fn all(&self) -> ColumnSet {
        (0..self.columns.len()).fold(0, |set, i| set | 1 << i)
    }

    /// The columns of a set, in order.
    pub(crate) fn written(&self, set: ColumnSet) -> impl Iterator<Item = &Target<D>> {
        let columns = self.columns.iter().enumerate();
        columns.filter(move |(i, _)| set & (1 << i) != 0).map(|(_, column)| column)
    }

    /// The codecs of a row's cells: those of the key, then those of the set.
    pub(crate) fn codecs(&self, set: ColumnSet) -> impl Iterator<Item = &D::Codec> {
        self.keys.iter().map(|key| &key.codec).chain(self.written(set).map(|column| &column.codec))
    }

    /// The assignments of a set. `new` spells the new value of the set's n-th column.
    ///
    /// A column that has a version comes before that version: MySQL assigns one after the other, and each assignment sees
    /// those before it.
    pub(crate) fn assigned(
        &self,
        set: ColumnSet,
        new: impl Fn(usize, &Target<D>) -> String,
    ) -> Vec<Assigned<'_, D>> {
        let named = |index: usize| {
            let before = set & ((1 << index) - 1);
            let column = &self.columns[index];
            let is_written = set & (1 << index) != 0;
            is_written.then(|| (column, new(before.count_ones() as usize, column)))
        };
        let mut assigned: Vec<Assigned<'_, D>> = (0..self.columns.len())
            .filter_map(|index| {
                let (column, new) = named(index)?;
                Some(Assigned { column, new, by: column.by.and_then(named) })
            })
            .collect();
        assigned.sort_by_key(|assigned| assigned.by.is_none());
        assigned
    }

    /// A column that a new row needs and the set leaves out.
    pub(crate) fn lacking(&self, set: ColumnSet) -> Option<&Target<D>> {
        let mut columns = self.columns.iter().enumerate();
        columns.find(|(i, column)| column.required && set & (1 << i) == 0).map(|(_, column)| column)
    }

    /// Encodes a key.
    ///
    /// # Errors
    /// Why no row of the table can have it.
    pub(crate) fn key(&self, values: &[Value]) -> Result<Vec<Cell>, String> {
        self.keys.iter().zip(values).map(|(key, value)| key.codec.encode(value)).collect()
    }

    /// The columns that a row writes, and its encoded key and values.
    ///
    /// # Errors
    /// Why the table cannot have it.
    pub(crate) fn row(&self, schema: &Schema, row: &Row) -> Result<(ColumnSet, Vec<Cell>), String> {
        let values = row.key.values(schema).map_err(|error| error.to_string())?;
        let mut cells = self.key(&values)?;
        let mut set = 0;
        for (i, (column, cell)) in self.columns.iter().zip(&row.cells).enumerate() {
            if let Some(value) = cell {
                set |= 1 << i;
                cells.push(column.codec.encode(value).map_err(|why| format!("{}: {why}", column.name))?);
            }
        }
        Ok((set, cells))
    }
}
