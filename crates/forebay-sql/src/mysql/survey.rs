//! Getting to know the tables.

use std::sync::Arc;

use forebay::{buffer::Schema, sink::SinkError};
use sqlx::{AssertSqlSafe, Executor as _, MySqlConnection, SqlSafeStr as _};

use super::{MySql, catalogue, ddl::MYSQL, form::Form, statement};
use crate::{
    Migrate, Missing,
    common::{
        catalogue::{Fill, Found, Table, is_key},
        merge::How,
        plan::Plan,
    },
};

impl MySql {
    /// What is known of a buffer's table, or what there is to know.
    pub(super) async fn plan(&self, schema: &Schema) -> Result<Arc<Plan<Form>>, SinkError> {
        match self.state.plan(schema) {
            Some(plan) => Ok(plan),
            None => self.survey(schema).await,
        }
    }

    /// Looks at the tables, creates what may be created, and remembers how the buffer fits.
    pub(super) async fn survey(&self, schema: &Schema) -> Result<Arc<Plan<Form>>, SinkError> {
        let looking = |error| self.failed(&format!("looking at table {}", schema.table), &error);
        let mut connection = self.database.pool.acquire().await.map_err(looking)?;
        self.check_server(&mut connection).await?;
        let mut found = catalogue::find(&mut connection, schema).await.map_err(looking)?;
        if !found.lacking.is_empty() {
            found = self.create(&mut connection, schema, &found).await?;
        }
        let Some(table) = found.table else {
            return Err(self.refused(&format!("{} is no table (a view?)", schema.table)));
        };
        if let Some((name, engine)) =
            catalogue::not_transactional(&mut connection, schema).await.map_err(looking)?
        {
            return Err(self.refused(&format!(
                "table {name} has the engine {engine}, which has no transactions, so a batch could be applied by half: use \
                 ALTER TABLE {}{} ENGINE=InnoDB",
                table.place,
                MYSQL.quoted(&name)
            )));
        }
        let missing = self.state.options.missing.unwrap_or(table.missing());
        let plan = Plan::new(schema, &table, missing, &MYSQL).map_err(|why| self.refused(&why))?;
        if missing == Missing::Insert {
            check_other_keys(schema, &table).map_err(|why| self.refused(&why))?;
            check_collations(schema, &table, &plan).map_err(|why| self.refused(&why))?;
        }
        try_statement(&mut connection, &plan).await.map_err(looking)?;
        Ok(self.state.know(schema, plan))
    }

    async fn create(
        &self,
        connection: &mut MySqlConnection,
        schema: &Schema,
        found: &Found,
    ) -> Result<Found, SinkError> {
        let lacking = found.lacking.join(", ");
        let script = MYSQL.script(schema, &found.place);
        if self.state.options.migrate != Some(Migrate::Yes) {
            return Err(self.refused(&format!(
                "it has no table {lacking}: allow migrate, or create what is not there:\n{script}"
            )));
        }
        let creating = |error| self.failed(&format!("creating {lacking}"), &error);
        sqlx::raw_sql(AssertSqlSafe(script)).execute(&mut *connection).await.map_err(creating)?;
        catalogue::find(connection, schema).await.map_err(creating)
    }

    /// Whether the server has what the statements need, and whether its commits last.
    async fn check_server(&self, connection: &mut MySqlConnection) -> Result<(), SinkError> {
        let asking = |error| self.failed("asking for its version", &error);
        let (version, flush): (String, i64) =
            sqlx::query_as("SELECT VERSION(), CAST(@@innodb_flush_log_at_trx_commit AS SIGNED)")
                .fetch_one(connection)
                .await
                .map_err(asking)?;
        if !is_new_enough(&version) {
            return Err(self.refused(&format!(
                "version {version} has no JSON_TABLE, by which batches are written: use MariaDB 10.6, MySQL 8.0.4, or newer"
            )));
        }
        if flush != 1 {
            tracing::warn!(
                database = self.database.name,
                innodb_flush_log_at_trx_commit = flush,
                "a batch that was committed is lost with the machine's power, and the store no longer has it: set it to 1"
            );
        }
        Ok(())
    }
}

fn is_new_enough(version: &str) -> bool {
    let mut numbers = version.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    let version_of = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    version_of >= if version.contains("MariaDB") { (10, 6, 0) } else { (8, 0, 4) }
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
fn check_collations(schema: &Schema, table: &Table, plan: &Plan<Form>) -> Result<(), String> {
    for (key, fitted) in schema.keys.iter().zip(&plan.keys) {
        let text = fitted.form.folds().filter(|_| key.column_type == forebay::buffer::ColumnType::Text);
        if let (Some(text), Some(column)) = (text, table.column(&key.name)) {
            let charset = text.charset();
            return Err(format!(
                "key column {} of table {} has the collation {}, which takes keys that differ in case or accents for one, and \
                 inserting would merge them: use ALTER TABLE {} MODIFY {} {} CHARACTER SET {charset} COLLATE {charset}_bin \
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
        for version in
            ["10.11.19-MariaDB-0+deb12u1", "11.4.2-MariaDB", "10.6.0-MariaDB", "8.0.36", "9.1.0-commercial"]
        {
            assert!(is_new_enough(version), "{version}");
        }
        for version in ["10.5.29-MariaDB", "5.7.44", "8.0.3-rc", "5.5.5-10.5.1-MariaDB", ""] {
            assert!(!is_new_enough(version), "{version}");
        }
    }
}
