//! What a database says about a table, and whether a buffer can flush into it.

use forebay::buffer::{ColumnType, Schema};

use super::{ddl::Dialect, ledger::LAST_WRITE};
use crate::Missing;

/// What was found in a database for a buffer.
#[derive(Debug)]
pub(crate) struct Found {
    /// The buffer's table.
    pub(crate) table: Option<Table>,
    /// What Forebay's own tables beside it are qualified with.
    pub(crate) place: String,
    /// The names of the tables that are not there: the buffer's, Forebay's own.
    pub(crate) lacking: Vec<String>,
    /// Whether the ledger, if it is there, keeps the time of a batch's last write.
    pub(crate) dated: bool,
}

/// A table as the database describes it.
#[derive(Debug)]
pub(crate) struct Table {
    /// Qualified and in quotes.
    pub(crate) name: String,
    /// What Forebay's own tables beside it are qualified with.
    pub(crate) place: String,
    pub(crate) columns: Vec<TableColumn>,
    /// The sets of columns that tell rows apart: the primary key, and unique indexes over all rows.
    pub(crate) unique: Vec<Vec<String>>,
    /// Forebay created it.
    pub(crate) migrated: bool,
}

/// A column of a [`Table`].
#[derive(Debug)]
pub(crate) struct TableColumn {
    pub(crate) name: String,
    pub(crate) declared: String,
    /// How it compares texts, where the database says so.
    #[cfg_attr(
        not(any(feature = "postgres", feature = "mysql")),
        expect(dead_code, reason = "SQLite does not say")
    )]
    pub(crate) collation: Option<String>,
    pub(crate) not_null: bool,
    pub(crate) fill: Fill,
}

/// What a new row has in a column that it does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    /// NULL, if the column takes it.
    Nothing,
    /// A default.
    Default,
    /// A new number each time.
    Drawn,
    /// A value that nobody can write.
    Computed,
}

impl Fill {
    /// By what a catalogue says of a column.
    pub(crate) fn of(has_default: bool, is_drawn: bool, is_computed: bool) -> Self {
        match (is_computed, is_drawn, has_default) {
            (true, ..) => Self::Computed,
            (_, true, _) => Self::Drawn,
            (.., true) => Self::Default,
            _ => Self::Nothing,
        }
    }
}

impl TableColumn {
    /// A new row has to name it.
    pub(crate) fn required(&self) -> bool {
        self.not_null && self.fill == Fill::Nothing
    }
}

impl Table {
    /// The column of this name, or, as SQL does, one that differs in case only.
    pub(crate) fn column(&self, name: &str) -> Option<&TableColumn> {
        let exact = self.columns.iter().find(|column| column.name == name);
        exact.or_else(|| self.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name)))
    }

    /// What becomes of rows the table does not have, unless the user said.
    pub(crate) fn missing(&self) -> Missing {
        if self.migrated { Missing::Insert } else { Missing::Skip }
    }

    /// Checks that the table has what the buffer writes.
    ///
    /// # Errors
    /// What is in the way, and how to mend it.
    pub(crate) fn check(&self, schema: &Schema, missing: Missing, dialect: &Dialect) -> Result<(), String> {
        self.check_columns(schema, dialect)?;
        if missing != Missing::Skip {
            self.check_key(schema, missing, dialect)?;
        }
        if missing == Missing::Insert {
            self.check_others(schema)?;
        }
        Ok(())
    }

    fn check_columns(&self, schema: &Schema, dialect: &Dialect) -> Result<(), String> {
        let table = &schema.table;
        for (name, column_type, key) in schema_columns(schema) {
            let Some(column) = self.column(name) else {
                return Err(format!(
                    "table {table} has no column {name}: add it with ALTER TABLE {} ADD COLUMN {} {}",
                    self.name,
                    dialect.quoted(name),
                    (dialect.type_name)(column_type, schema, key),
                ));
            };
            if column.fill == Fill::Computed {
                return Err(format!(
                    "column {name} of table {table} is computed, so it cannot be written: leave it out of the buffer"
                ));
            }
        }
        Ok(())
    }

    /// Merging into a row, or knowing that there is none, needs one row per key.
    fn check_key(&self, schema: &Schema, missing: Missing, dialect: &Dialect) -> Result<(), String> {
        let is_key = |column: &String| is_key(schema, column);
        if self.unique.iter().any(|set| set.len() == schema.keys.len() && set.iter().all(is_key)) {
            return Ok(());
        }
        let keys: Vec<String> = schema.keys.iter().map(|k| dialect.quoted(&k.name)).collect();
        let (table, keys) = (&self.name, keys.join(", "));
        Err(format!(
            "missing = {missing} needs one row per key, and table {} has no primary key or unique index of just ({keys}): create \
             one with CREATE UNIQUE INDEX ... ON {table} ({keys}), or choose missing = skip",
            schema.table
        ))
    }

    /// The database refuses an upsert that leaves such a column out even when the row is there.
    fn check_others(&self, schema: &Schema) -> Result<(), String> {
        let buffered = |column: &TableColumn| {
            schema_columns(schema).any(|(name, ..)| name.eq_ignore_ascii_case(&column.name))
        };
        match self.columns.iter().find(|column| column.required() && !buffered(column)) {
            None => Ok(()),
            Some(column) => Err(format!(
                "column {} of table {} is NOT NULL without a default and the buffer does not write it, so no row can be \
                 inserted: choose missing = skip, which updates the rows that are there, or give the column a default",
                column.name, schema.table
            )),
        }
    }
}

/// Whether the columns of a ledger include the time of a batch's last write. One that is not there will.
pub(crate) fn is_dated(ledger: &[TableColumn]) -> bool {
    ledger.is_empty() || ledger.iter().any(|column| column.name.eq_ignore_ascii_case(LAST_WRITE))
}

/// Whether a column is part of the buffer's key.
pub(crate) fn is_key(schema: &Schema, column: &str) -> bool {
    schema.keys.iter().any(|key| key.name.eq_ignore_ascii_case(column))
}

/// Key columns, then value columns; the last says which.
fn schema_columns(schema: &Schema) -> impl Iterator<Item = (&str, ColumnType, bool)> {
    let keys = schema.keys.iter().map(|k| (&*k.name, k.column_type, true));
    keys.chain(schema.columns.iter().map(|c| (&*c.name, c.column_type, false)))
}
