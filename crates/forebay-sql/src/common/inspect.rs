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
    let place = schema.table.split_once('.').map(|(place, _)| place.to_owned());
    let mut catalogue = Catalogue { transaction, place };
    let (mut table, mut missing) = (None, vec![]);
    match catalogue.relation(bare(schema)).await? {
        None => missing.push(schema.table.to_string()),
        Some((found, is_table, migrated)) => {
            catalogue.place = Some(found);
            if is_table {
                table = Some(Table {
                    name: T::Dialect::own(&catalogue.qualifier(), bare(schema)),
                    place: catalogue.qualifier(),
                    columns: catalogue.columns(bare(schema)).await?,
                    unique: catalogue.unique(bare(schema)).await?,
                    migrated,
                });
            }
        }
    }
    for own in OWN_TABLES {
        if catalogue.relation(own).await?.is_none() {
            missing.push(own.to_owned());
        }
    }
    let ledger = catalogue.columns(LEDGER).await?;
    // A ledger that is missing will have the column.
    let dated = ledger.is_empty() || ledger.iter().any(|column| column.name.eq_ignore_ascii_case(LAST_WRITE));
    Ok(Inspection { table, place: catalogue.qualifier(), missing, dated })
}

/// Asks a database for the tables in one of its schemas.
struct Catalogue<'a, T> {
    transaction: &'a mut T,
    /// The schema; `None`: the default one of the connection.
    place: Option<String>,
}

impl<T: Transaction> Catalogue<'_, T> {
    fn qualifier(&self) -> String {
        self.place.as_deref().map(T::Dialect::place).unwrap_or_default()
    }

    /// The schema of a table, whether it is an ordinary one, and whether Forebay created it.
    async fn relation(&mut self, name: &str) -> sqlx::Result<Option<(String, bool, bool)>> {
        let relation = self.ask(T::Dialect::TABLE_QUERY, name).await?.into_iter().next().map(|row| {
            let [place] = texts(row[..1].to_vec())?;
            Ok((place, row[1].is_some(), row[2].is_some()))
        });
        relation.transpose()
    }

    async fn columns(&mut self, name: &str) -> sqlx::Result<Vec<TableColumn>> {
        let column = |row: TextRow| {
            let [name, declared] = texts(row[..2].to_vec())?;
            let (not_null, fill) = (row[3].is_some(), Fill::parse(row[4].as_deref()));
            Ok(TableColumn { name, declared, collation: row[2].clone(), not_null, fill })
        };
        self.ask(T::Dialect::COLUMNS_QUERY, name).await?.into_iter().map(column).collect()
    }

    async fn unique(&mut self, name: &str) -> sqlx::Result<Vec<Vec<String>>> {
        let mut sets: BTreeMap<Option<String>, Vec<String>> = BTreeMap::new();
        for mut row in self.ask(T::Dialect::UNIQUE_QUERY, name).await? {
            // An expression is no column.
            let column = row.pop().flatten().unwrap_or_default();
            sets.entry(row.pop().flatten()).or_default().push(column);
        }
        Ok(sets.into_values().collect())
    }

    async fn ask(&mut self, query: &str, name: &str) -> sqlx::Result<Vec<TextRow>> {
        let mut bind = Parameters::<T::Dialect>::new();
        bind.optional_text(self.place.as_deref());
        bind.text(name);
        self.transaction.query(query.to_owned(), bind.into()).await
    }
}
