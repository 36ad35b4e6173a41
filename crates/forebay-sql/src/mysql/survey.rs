//! Getting to know the tables.

use forebay::buffer::Schema;
use sqlx::{AssertSqlSafe, Executor as _, MySqlConnection, Row as _, SqlSafeStr as _};

use super::{
    catalogue,
    ddl::{MYSQL, collation},
    form::Form,
    open::Open,
    statement,
};
use crate::{
    Missing,
    common::{
        catalogue::{Fill, Found, Table, TableColumn, is_key},
        database::{Checked, NOT_DURABLE, Tables},
        merge::How,
        plan::{Key, Plan},
    },
};

impl Tables for Open {
    async fn look(&mut self, schema: &Schema) -> Checked<Found> {
        let version = version(&mut self.connection).await?;
        if !is_new_enough(&version) {
            return Ok(Err(format!(
                "version {version} is too old for the way in which batches are written and keys are compared: use MariaDB 10.6, \
                 MySQL 8.0.17, or newer"
            )));
        }
        catalogue::find(&mut self.connection, schema).await.map(Ok)
    }

    async fn create(&mut self, script: String) -> sqlx::Result<()> {
        sqlx::raw_sql(AssertSqlSafe(script)).execute(&mut *self.connection).await.map(|_| ())
    }

    async fn check(&mut self, schema: &Schema, table: &Table, plan: &Plan<Form>) -> Checked<Vec<String>> {
        let is_mariadb = is_mariadb(&version(&mut self.connection).await?);
        if let Some((name, engine)) = catalogue::not_transactional(&mut self.connection, schema).await? {
            return Ok(Err(format!(
                "table {name} has the engine {engine}, which has no transactions, so a batch could be applied by half: use \
                 ALTER TABLE {}{} ENGINE=InnoDB",
                table.place,
                MYSQL.quoted(&name)
            )));
        }
        if plan.missing == Missing::Insert {
            let checked = check_other_keys(schema, table)
                .and_then(|()| check_collations(schema, table, plan, is_mariadb));
            if let Err(why) = checked {
                return Ok(Err(why));
            }
        }
        try_statement(&mut self.connection, plan).await?;
        let mut warnings = durability(&mut self.connection).await?;
        warnings.extend(padded(schema, table, plan, is_mariadb));
        Ok(Ok(warnings))
    }

    async fn texts(&mut self, sql: String, columns: usize) -> sqlx::Result<Vec<Option<String>>> {
        let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(&mut *self.connection).await?;
        (0..columns).map(|i| row.try_get(i)).collect()
    }
}

async fn version(connection: &mut MySqlConnection) -> sqlx::Result<String> {
    sqlx::query_scalar("SELECT VERSION()").fetch_one(connection).await
}

fn is_new_enough(version: &str) -> bool {
    let mut numbers = version.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    let version_of = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    version_of >= if is_mariadb(version) { (10, 6, 0) } else { (8, 0, 17) }
}

fn is_mariadb(version: &str) -> bool {
    version.contains("MariaDB")
}

/// Key columns of a table that an older version made, whose collation does not see a space at the end of a key.
fn padded(schema: &Schema, table: &Table, plan: &Plan<Form>, is_mariadb: bool) -> Vec<String> {
    let warning = |key: &Key<Form>, column: &TableColumn| {
        format!(
            "key column {} of table {} does not see a space at the end of a key, so rows with such keys become dead letters: use \
             ALTER TABLE {} MODIFY {} {} CHARACTER SET utf8mb4 COLLATE {} NOT NULL",
            key.name,
            schema.table,
            table.name,
            key.name,
            column.declared,
            collation(is_mariadb),
        )
    };
    let keys = schema.keys.iter().zip(&plan.keys).filter(|(_, key)| table.migrated && key.form.pads());
    keys.filter_map(|(of, key)| Some(warning(key, table.column(&of.name)?))).collect()
}

/// The settings of the server under which a commit is not durable. A session cannot change them.
async fn durability(connection: &mut MySqlConnection) -> sqlx::Result<Vec<String>> {
    let (flush, binlog, sync) = sqlx::query_as(
        "SELECT CAST(@@innodb_flush_log_at_trx_commit AS SIGNED), CAST(@@log_bin AS SIGNED), CAST(@@sync_binlog AS SIGNED)",
    )
    .fetch_one(connection)
    .await?;
    Ok(weaknesses(flush, binlog, sync))
}

fn weaknesses(flush: i64, binlog: i64, sync: i64) -> Vec<String> {
    let mut weaknesses = vec![];
    if flush != 1 {
        weaknesses.push(format!("innodb_flush_log_at_trx_commit is {flush}: {NOT_DURABLE}; set it to 1"));
    }
    // After a crash the binlog says which of the prepared transactions were committed.
    if binlog != 0 && sync != 1 {
        weaknesses.push(format!("there is a binlog, and sync_binlog is {sync}: {NOT_DURABLE}; set it to 1"));
    }
    weaknesses
}

/// An upsert updates the row that has any of the unique keys, which may be another than the one that is meant.
fn check_other_keys(schema: &Schema, table: &Table) -> Result<(), String> {
    let harmless = |set: &Vec<String>| {
        // A conflict there is a conflict in the key as well; or nobody conflicts, as a new row has a new number or NULL.
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

/// Two rows of the buffer must not be one to the table.
fn check_collations(
    schema: &Schema,
    table: &Table,
    plan: &Plan<Form>,
    is_mariadb: bool,
) -> Result<(), String> {
    for (key, fitted) in schema.keys.iter().zip(&plan.keys) {
        let text = fitted.form.folds().filter(|_| key.column_type == forebay::buffer::ColumnType::Text);
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

/// Prepares the statement that will be used: the database has the last word on whether it fits the table.
async fn try_statement(connection: &mut MySqlConnection, plan: &Plan<Form>) -> sqlx::Result<()> {
    let sql = statement::merge(plan, How::usual(plan));
    connection.prepare(AssertSqlSafe(sql).into_sql_str()).await.map(|_| ())
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
            let weaknesses = weaknesses(flush, binlog, sync);
            assert_eq!(weaknesses.len(), named.len(), "{weaknesses:?}");
            assert!(weaknesses.iter().zip(named).all(|(one, part)| one.contains(part)), "{weaknesses:?}");
        }
    }
}
