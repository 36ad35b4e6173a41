//! Checks whether a buffer can flush into a table.

use forebay::buffer::{ColumnType, Schema};

use super::{
    ddl::{OWN_TABLES, bare},
    dialect::Dialect,
    table::{Fill, Table, TableColumn},
};
use crate::Missing;

/// Checks a buffer without the database, for what no table can resolve.
///
/// # Errors
/// A text that says what is wrong, and how to resolve it.
pub(crate) fn check_buffer<D: Dialect>(schema: &Schema) -> Result<(), String> {
    let table = &schema.table;
    if let (Some((place, _)), Some(only)) = (table.split_once('.'), D::ONLY_PLACE)
        && !place.eq_ignore_ascii_case(only)
    {
        return Err(format!(
            "table {table} is in another file than the ledger, and SQLite does not commit to several files at once: \
             give the buffer a table of the {only} database"
        ));
    }
    if OWN_TABLES.iter().any(|own| own.eq_ignore_ascii_case(bare(schema))) {
        let own = OWN_TABLES.join(", ");
        return Err(format!("table {table} is one of Forebay's own ({own}): give the buffer another"));
    }
    let columns: Vec<&str> = schema_columns(schema).map(|(name, ..)| name).collect();
    for (at, column) in columns.iter().enumerate().filter(|_| D::FOLDS_COLUMNS) {
        if let Some(other) = columns[..at].iter().find(|other| other.eq_ignore_ascii_case(column)) {
            return Err(format!(
                "columns {other} and {column} of table {table} differ only in case, and are one column to the \
                 database: rename one"
            ));
        }
    }
    Ok(())
}

/// Checks that a table has what the buffer writes.
///
/// # Errors
/// A text that says what is wrong, and how to resolve it.
pub(crate) fn check_table<D: Dialect>(
    table: &Table,
    schema: &Schema,
    missing: Missing,
) -> Result<(), String> {
    check_columns::<D>(table, schema)?;
    if missing != Missing::Skip {
        check_key::<D>(table, schema, missing)?;
    }
    if missing == Missing::Insert {
        check_others(table, schema)?;
    }
    Ok(())
}

fn check_columns<D: Dialect>(table: &Table, schema: &Schema) -> Result<(), String> {
    for (name, column_type, key) in schema_columns(schema) {
        let Some(column) = table.column(name) else {
            return Err(format!(
                "table {} has no column {name}: add it with ALTER TABLE {} ADD COLUMN {} {}",
                schema.table,
                table.name,
                D::quoted(name),
                D::type_name(column_type, schema, key),
            ));
        };
        if column.fill == Fill::Computed {
            return Err(format!(
                "column {name} of table {} is computed, so it cannot be written: leave it out of the buffer",
                schema.table
            ));
        }
    }
    Ok(())
}

/// To merge into a row, or to know that there is none, each key needs to have one row.
fn check_key<D: Dialect>(table: &Table, schema: &Schema, missing: Missing) -> Result<(), String> {
    let is_key = |column: &String| is_key(schema, column);
    if table.unique.iter().any(|set| set.len() == schema.keys.len() && set.iter().all(is_key)) {
        return Ok(());
    }
    let keys: Vec<String> = schema.keys.iter().map(|k| D::quoted(&k.name)).collect();
    let (name, keys) = (&table.name, keys.join(", "));
    Err(format!(
        "missing = {missing} needs one row per key, and table {} has no primary key or unique index of just ({keys}): create \
         one with CREATE UNIQUE INDEX ... ON {name} ({keys}), or choose missing = skip",
        schema.table
    ))
}

/// The database refuses an upsert that leaves such a column out even when the row exists.
fn check_others(table: &Table, schema: &Schema) -> Result<(), String> {
    let buffered = |column: &TableColumn| {
        schema_columns(schema).any(|(name, ..)| name.eq_ignore_ascii_case(&column.name))
    };
    match table.columns.iter().find(|column| column.required() && !buffered(column)) {
        None => Ok(()),
        Some(column) => Err(format!(
            "column {} of table {} is NOT NULL without a default and the buffer does not write it, so no row can be \
             inserted: choose missing = skip, which updates existing rows only, or give the column a default",
            column.name, schema.table
        )),
    }
}

/// Whether a column is part of the buffer's key.
pub(crate) fn is_key(schema: &Schema, column: &str) -> bool {
    schema.keys.iter().any(|key| key.name.eq_ignore_ascii_case(column))
}

/// The key columns, then the value columns. The last part says whether it is a key column.
fn schema_columns(schema: &Schema) -> impl Iterator<Item = (&str, ColumnType, bool)> {
    let keys = schema.keys.iter().map(|k| (&*k.name, k.column_type, true));
    keys.chain(schema.columns.iter().map(|c| (&*c.name, c.column_type, false)))
}
