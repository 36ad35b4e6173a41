//! Checks of the server and its tables.

use forebay::buffer::{ColumnType, Schema};

use super::dialect::{MySqlDialect, Plan};
use crate::common::{
    database::NOT_DURABLE,
    fit::is_key,
    plan::Key,
    table::{Fill, Table, TableColumn},
};

/// The name of the collation of Forebay's own keys, which compares byte by byte, to the last space.
fn collation(is_mariadb: bool) -> &'static str {
    if is_mariadb { "utf8mb4_nopad_bin" } else { "utf8mb4_0900_bin" }
}

pub(super) fn is_new_enough(version: &str) -> bool {
    let mut numbers = version.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    let version_of = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    version_of >= if is_mariadb(version) { (10, 6, 0) } else { (8, 0, 17) }
}

pub(super) fn is_mariadb(version: &str) -> bool {
    version.contains("MariaDB")
}

/// Warns of key columns that ignore a space at the end of a key. Older versions created such tables.
pub(super) fn padding_warnings(schema: &Schema, table: &Table, plan: &Plan, is_mariadb: bool) -> Vec<String> {
    let warning = |key: &Key<MySqlDialect>, column: &TableColumn| {
        format!(
            "key column {} of table {} ignores a space at the end of a key, so rows with such keys become dead letters: use \
             ALTER TABLE {} MODIFY {} {} CHARACTER SET utf8mb4 COLLATE {} NOT NULL",
            key.name,
            schema.table,
            table.name,
            key.name,
            column.declared,
            collation(is_mariadb),
        )
    };
    let keys = schema.keys.iter().zip(&plan.keys).filter(|(_, key)| table.migrated && key.codec.pads());
    keys.filter_map(|(of, key)| Some(warning(key, table.column(&of.name)?))).collect()
}

/// Warns of settings under which a commit is not durable.
pub(super) fn durability_warnings([flush, binlog, sync]: [i64; 3]) -> Vec<String> {
    let mut warnings = vec![];
    if flush != 1 {
        warnings.push(format!("innodb_flush_log_at_trx_commit is {flush}: {NOT_DURABLE}; set it to 1"));
    }
    // After a crash, the binlog decides which of the prepared transactions were committed.
    if binlog != 0 && sync != 1 {
        warnings.push(format!("there is a binlog, and sync_binlog is {sync}: {NOT_DURABLE}; set it to 1"));
    }
    warnings
}

/// Refuses other unique keys. An upsert updates the row that has any of the unique keys, which may be another row.
pub(super) fn check_other_keys(schema: &Schema, table: &Table) -> Result<(), String> {
    let harmless = |set: &Vec<String>| {
        // A conflict in the set is a conflict in the key as well, or a new row has a number or NULL that conflicts with none.
        schema.keys.iter().all(|key| set.iter().any(|column| column.eq_ignore_ascii_case(&key.name)))
            || set.iter().any(|name| {
                let buffered = is_key(schema, name) || schema.position(name).is_some();
                !buffered
                    && table.column(name).is_some_and(|column| match column.fill {
                        Fill::Drawn => true,
                        Fill::Nothing => !column.not_null,
                        _ => false,
                    })
            })
    };
    match table.unique.iter().find(|set| !harmless(set)) {
        None => Ok(()),
        Some(set) => Err(format!(
            "table {} has a unique key over ({}) besides the buffer's, and an upsert into MySQL updates the row that has \
             either: choose missing = skip, which finds rows by the buffer's key alone, or drop that key",
            schema.table,
            set.join(", ")
        )),
    }
}

/// Refuses a collation that takes different keys of the buffer for one.
pub(super) fn check_collations(
    schema: &Schema,
    table: &Table,
    plan: &Plan,
    is_mariadb: bool,
) -> Result<(), String> {
    for (key, fitted) in schema.keys.iter().zip(&plan.keys) {
        let text = fitted.codec.folds().filter(|_| key.column_type == ColumnType::Text);
        if let (Some(text), Some(column)) = (text, table.column(&key.name)) {
            let charset = text.charset();
            let binary =
                if charset == "utf8mb4" { collation(is_mariadb).into() } else { format!("{charset}_bin") };
            return Err(format!(
                "key column {} of table {} has the collation {}, which takes keys that differ in case or accents for one, and \
                 inserting would merge them: use ALTER TABLE {} MODIFY {} {} CHARACTER SET {charset} COLLATE {binary} \
                 NOT NULL, or choose missing = skip, which compares bytes",
                key.name, schema.table, text.collation, table.name, fitted.name, column.declared,
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_apart() {
        for version in [
            "10.11.19-MariaDB-0+deb12u1",
            "11.4.2-MariaDB",
            "10.6.0-MariaDB",
            "8.0.17",
            "8.0.36",
            "9.1.0-commercial",
        ] {
            assert!(is_new_enough(version), "{version}");
        }
        for version in ["10.5.29-MariaDB", "5.7.44", "8.0.16", "5.5.5-10.5.1-MariaDB", ""] {
            assert!(!is_new_enough(version), "{version}");
        }
    }

    #[test]
    fn settings_that_lose_commits_are_named() {
        for (flush, binlog, sync, named) in [
            (1, 0, 0, vec![]),
            (1, 1, 1, vec![]),
            (2, 0, 1, vec!["innodb_flush_log_at_trx_commit is 2"]),
            (1, 1, 1_000, vec!["sync_binlog is 1000"]),
            (0, 1, 0, vec!["innodb_flush_log_at_trx_commit is 0", "sync_binlog is 0"]),
        ] {
            let warnings = durability_warnings([flush, binlog, sync]);
            assert_eq!(warnings.len(), named.len(), "{warnings:?}");
            assert!(warnings.iter().zip(named).all(|(one, part)| one.contains(part)), "{warnings:?}");
        }
    }
}
