//! A buffer fitted to the table it flushes into.

use forebay::buffer::{Merge, Row, Schema, Value};

use super::{
    catalogue::{Table, TableColumn},
    cell::{Cell, Form},
    ddl::Dialect,
};
use crate::Missing;

/// What merging needs to know of a table.
#[derive(Debug)]
pub(crate) struct Plan<F> {
    /// The table, qualified and in quotes, so that no other of the same name can come between.
    pub(crate) table: String,
    /// What Forebay's own tables beside it are qualified with.
    pub(crate) place: String,
    pub(crate) keys: Vec<Key<F>>,
    pub(crate) columns: Vec<Target<F>>,
    pub(crate) missing: Missing,
    /// The ledger keeps the time of each batch's last write.
    pub(crate) dated: bool,
    /// What an operator should know of the database and the tables, as long as they are used.
    pub(crate) warnings: Vec<String>,
}

/// A key column.
#[derive(Debug)]
pub(crate) struct Key<F> {
    /// In quotes.
    pub(crate) name: String,
    pub(crate) form: F,
}

/// A value column.
#[derive(Debug)]
pub(crate) struct Target<F> {
    /// In quotes.
    pub(crate) name: String,
    pub(crate) form: F,
    pub(crate) merge: Merge,
    /// The place of the version that decides about it, for [`Merge::Last`] and [`Merge::First`].
    pub(crate) by: Option<usize>,
    /// A new row has to have a value here.
    pub(crate) required: bool,
}

/// A value column as a statement assigns it.
#[derive(Debug)]
pub(crate) struct Assigned<'a, F> {
    pub(crate) column: &'a Target<F>,
    /// What its new value is called.
    pub(crate) new: String,
    /// The version that decides, and what its new value is called.
    pub(crate) by: Option<(&'a Target<F>, String)>,
}

/// Whether every dialect has statements for this merge.
fn is_known(merge: Merge) -> bool {
    matches!(merge, Merge::Sum | Merge::Max | Merge::Min | Merge::Last | Merge::First)
}

/// Which of the value columns a row writes: a bit each, the first column's lowest. The others keep what they have,
/// and in a new row get the table's default, so that every set needs its own statement.
pub(crate) type Written = u32;

impl<F: Form> Plan<F> {
    /// Fits `schema` to `table`.
    ///
    /// # Errors
    /// What does not fit, and how to mend it.
    pub(crate) fn new(
        schema: &Schema,
        table: &Table,
        missing: Missing,
        dialect: &Dialect,
    ) -> Result<Self, String> {
        table.check(schema, missing, dialect)?;
        if let Some(column) = schema.columns.iter().find(|column| !is_known(column.merge)) {
            return Err(format!(
                "column {}: this version of forebay-sql has no merge {:?}",
                column.name, column.merge
            ));
        }
        let fit = |name: &str, column_type, key| {
            let column = table.column(name).ok_or_else(|| format!("no column {name}"))?;
            let form = F::of(column_type, column, key).ok_or_else(|| {
                format!(
                    "column {name} of table {} is declared {:?}, which cannot keep every {column_type:?} of the \
                     buffer{}: declare it {}",
                    schema.table,
                    column.declared,
                    if key { "'s key" } else { "" },
                    (dialect.type_name)(column_type, schema, key),
                )
            })?;
            Ok::<(F, &TableColumn), String>((form, column))
        };
        let keys = schema.keys.iter().map(|key| {
            let (form, column) = fit(&key.name, key.column_type, true)?;
            Ok(Key { name: dialect.quoted(&column.name), form })
        });
        let columns = schema.columns.iter().map(|target| {
            let (form, column) = fit(&target.name, target.column_type, false)?;
            let (name, required) = (dialect.quoted(&column.name), column.required());
            Ok(Target { name, form, merge: target.merge, by: target.by, required })
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

    /// Every value column.
    pub(crate) fn all(&self) -> Written {
        (0..self.columns.len()).fold(0, |written, i| written | 1 << i)
    }

    /// The columns of `written`, in order.
    pub(crate) fn written(&self, written: Written) -> impl Iterator<Item = &Target<F>> {
        let columns = self.columns.iter().enumerate();
        columns.filter(move |(i, _)| written & (1 << i) != 0).map(|(_, column)| column)
    }

    /// The assignments of `written`, where `new` says what the new value of a column is called that is the n-th of them.
    ///
    /// What goes by a version comes before that version: MySQL assigns one after the other, and each sees those before.
    pub(crate) fn assigned(
        &self,
        written: Written,
        new: impl Fn(usize, &Target<F>) -> String,
    ) -> Vec<Assigned<'_, F>> {
        let named = |place: usize| {
            let before = written & ((1 << place) - 1);
            let column = &self.columns[place];
            let is_written = written & (1 << place) != 0;
            is_written.then(|| (column, new(before.count_ones() as usize, column)))
        };
        let mut assigned: Vec<Assigned<'_, F>> = (0..self.columns.len())
            .filter_map(|place| {
                let (column, new) = named(place)?;
                Some(Assigned { column, new, by: column.by.and_then(named) })
            })
            .collect();
        assigned.sort_by_key(|assigned| assigned.by.is_none());
        assigned
    }

    /// A column that a new row needs and `written` leaves out.
    pub(crate) fn lacking(&self, written: Written) -> Option<&Target<F>> {
        let mut columns = self.columns.iter().enumerate();
        columns.find(|(i, column)| column.required && written & (1 << i) == 0).map(|(_, column)| column)
    }

    /// The forms of a row's cells: the key's, then those of `written`.
    #[cfg(feature = "postgres")]
    pub(crate) fn forms(&self, written: Written) -> impl Iterator<Item = &F> {
        self.keys.iter().map(|key| &key.form).chain(self.written(written).map(|column| &column.form))
    }

    /// The key in the forms of its columns.
    ///
    /// # Errors
    /// Why no row of the table can have it.
    pub(crate) fn key(&self, values: &[Value]) -> Result<Vec<Cell>, String> {
        self.keys.iter().zip(values).map(|(key, value)| key.form.encode(value)).collect()
    }

    /// Which columns a row writes, and its key and values in the forms of theirs.
    ///
    /// # Errors
    /// Why the table cannot have it.
    pub(crate) fn row(&self, schema: &Schema, row: &Row) -> Result<(Written, Vec<Cell>), String> {
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
