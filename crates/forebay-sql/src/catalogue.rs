//! What a database says about a table, and whether a buffer can flush into it.

use forebay::buffer::{ColumnType, Schema};

use crate::{Missing, ddl::Dialect};

/// A table as the database describes it. Names are compared without regard to case, as SQL does.
#[derive(Debug)]
pub(crate) struct Table {
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
    pub(crate) not_null: bool,
    /// A new row that does not name it still has a value there: a default, or the database draws one.
    pub(crate) filled: bool,
    /// Its value is computed: nobody can write it.
    pub(crate) generated: bool,
}

impl TableColumn {
    /// A new row has to name it.
    pub(crate) fn required(&self) -> bool {
        self.not_null && !self.filled && !self.generated
    }
}

impl Table {
    pub(crate) fn column(&self, name: &str) -> Option<&TableColumn> {
        self.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name))
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
        for (name, column_type) in schema_columns(schema) {
            let Some(column) = self.column(name) else {
                return Err(format!(
                    "table {table} has no column {name}: add it with ALTER TABLE {} ADD COLUMN {} {}",
                    dialect.table(schema),
                    dialect.quoted(name),
                    (dialect.type_name)(column_type),
                ));
            };
            if column.generated {
                return Err(format!(
                    "column {name} of table {table} is computed, so it cannot be written: leave it out of the buffer"
                ));
            }
        }
        Ok(())
    }

    /// Merging into a row, or knowing that there is none, needs one row per key.
    fn check_key(&self, schema: &Schema, missing: Missing, dialect: &Dialect) -> Result<(), String> {
        let is_key = |column: &String| schema.keys.iter().any(|k| k.name.eq_ignore_ascii_case(column));
        if self.unique.iter().any(|set| set.len() == schema.keys.len() && set.iter().all(is_key)) {
            return Ok(());
        }
        let keys: Vec<String> = schema.keys.iter().map(|k| dialect.quoted(&k.name)).collect();
        let (table, keys) = (dialect.table(schema), keys.join(", "));
        Err(format!(
            "missing = {missing} needs one row per key, and table {} has no primary key or unique index of just ({keys}): create \
             one with CREATE UNIQUE INDEX ... ON {table} ({keys}), or choose missing = skip",
            schema.table
        ))
    }

    /// The database refuses an upsert that leaves such a column out even when the row is there.
    fn check_others(&self, schema: &Schema) -> Result<(), String> {
        let buffered = |column: &TableColumn| {
            schema_columns(schema).any(|(name, _)| name.eq_ignore_ascii_case(&column.name))
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

/// Key columns, then value columns.
fn schema_columns(schema: &Schema) -> impl Iterator<Item = (&str, ColumnType)> {
    let keys = schema.keys.iter().map(|k| (&*k.name, k.column_type));
    keys.chain(schema.columns.iter().map(|c| (&*c.name, c.column_type)))
}
