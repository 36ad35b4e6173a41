//! Inspects the tables of a buffer.

use std::collections::BTreeMap;

use forebay::buffer::Schema;

use super::{
    bindings::Parameters,
    ddl::{LAST_WRITE, LEDGER, OWN_TABLES, bare},
    dialect::Dialect,
    table::{Fill, Inspection, Table, TableColumn},
    transaction::{Checked, TextRow, Transaction, texts},
};

/// Looks for a buffer's table, and for Forebay's own beside it.
///
/// The ledger is in the schema of the buffer's table, not in the default one of a connection: all flushers of a table have
/// to see one ledger.
pub(crate) async fn inspect<T: Transaction>(transaction: &mut T, schema: &Schema) -> Checked<Inspection> {
    transaction.check_server().await?;
    let mut place = schema.table.split_once('.').map(|(place, _)| place.to_owned());
    let qualifier = |place: &Option<String>| place.as_deref().map(T::Dialect::place).unwrap_or_default();
    let (mut table, mut missing) = (None, vec![]);
    match relation(transaction, place.as_deref(), bare(schema)).await? {
        None => missing.push(schema.table.to_string()),
        Some((found, is_table, migrated)) => {
            place = Some(found);
            if is_table {
                table = Some(Table {
                    name: T::Dialect::own(&qualifier(&place), bare(schema)),
                    place: qualifier(&place),
                    columns: columns(transaction, place.as_deref(), bare(schema)).await?,
                    unique: unique(transaction, place.as_deref(), bare(schema)).await?,
                    migrated,
                });
            }
        }
    }
    for own in OWN_TABLES {
        if relation(transaction, place.as_deref(), own).await?.is_none() {
            missing.push(own.to_owned());
        }
    }
    let ledger = columns(transaction, place.as_deref(), LEDGER).await?;
    // A ledger that is missing will have the column.
    let dated = ledger.is_empty() || ledger.iter().any(|column| column.name.eq_ignore_ascii_case(LAST_WRITE));
    Ok(Inspection { table, place: qualifier(&place), missing, dated })
}

/// The schema of a table, whether it is an ordinary one, and whether Forebay created it.
async fn relation<T: Transaction>(
    transaction: &mut T,
    place: Option<&str>,
    name: &str,
) -> sqlx::Result<Option<(String, bool, bool)>> {
    let rows = ask(transaction, T::Dialect::TABLE_QUERY, place, name).await?;
    let relation = rows.into_iter().next().map(|row| {
        let [place] = texts(row[..1].to_vec())?;
        Ok((place, row[1].is_some(), row[2].is_some()))
    });
    relation.transpose()
}

async fn columns<T: Transaction>(
    transaction: &mut T,
    place: Option<&str>,
    name: &str,
) -> sqlx::Result<Vec<TableColumn>> {
    let rows = ask(transaction, T::Dialect::COLUMNS_QUERY, place, name).await?;
    let column = |row: TextRow| {
        let [name, declared] = texts(row[..2].to_vec())?;
        let (collation, not_null, fill) = (row[2].clone(), row[3].is_some(), Fill::parse(row[4].as_deref()));
        Ok(TableColumn { name, declared, collation, not_null, fill })
    };
    rows.into_iter().map(column).collect()
}

async fn unique<T: Transaction>(
    transaction: &mut T,
    place: Option<&str>,
    name: &str,
) -> sqlx::Result<Vec<Vec<String>>> {
    let mut sets: BTreeMap<Option<String>, Vec<String>> = BTreeMap::new();
    for mut row in ask(transaction, T::Dialect::UNIQUE_QUERY, place, name).await? {
        // An expression is no column.
        let column = row.pop().flatten().unwrap_or_default();
        sets.entry(row.pop().flatten()).or_default().push(column);
    }
    Ok(sets.into_values().collect())
}

async fn ask<T: Transaction>(
    transaction: &mut T,
    query: &str,
    place: Option<&str>,
    name: &str,
) -> sqlx::Result<Vec<TextRow>> {
    let mut bind = Parameters::<T::Dialect>::new();
    bind.optional_text(place);
    bind.text(name);
    transaction.query(query.to_owned(), bind.into()).await
}
