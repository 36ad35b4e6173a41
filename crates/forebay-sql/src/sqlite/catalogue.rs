//! What SQLite says about a table.

use std::collections::BTreeMap;

use forebay::buffer::Schema;
use sqlx::{AssertSqlSafe, Row as _, SqliteConnection};

use super::{ddl::SQLITE, form::Form};
use crate::common::{
    catalogue::{Fill, Found, Table, TableColumn, is_dated},
    ddl::{MARK, OWN_TABLES, bare},
    plan::Plan,
};

/// Looks for a buffer's table, and for Forebay's own.
pub(super) async fn find(connection: &mut SqliteConnection, schema: &Schema) -> sqlx::Result<Found> {
    let mut lacking = vec![];
    let (name, place) = (bare(schema), SQLITE.place("main"));
    let mut table = None;
    match definition(connection, name).await? {
        None => lacking.push(name.to_owned()),
        Some(sql) => {
            let columns = columns(connection, name).await?;
            let unique = unique(connection, name).await?;
            let qualified = format!("{place}{}", SQLITE.quoted(name));
            let migrated = sql.contains(MARK);
            table = Some(Table { name: qualified, place: place.clone(), columns, unique, migrated });
        }
    }
    for own in OWN_TABLES {
        if definition(connection, own).await?.is_none() {
            lacking.push(own.to_owned());
        }
    }
    let dated = is_dated(&columns(connection, OWN_TABLES[0]).await?);
    Ok(Found { table, place: SQLITE.named_place(schema), lacking, dated })
}

/// The statement that created a table, comments and all.
async fn definition(connection: &mut SqliteConnection, name: &str) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar(
        r#"SELECT "sql" FROM "main"."sqlite_schema" WHERE "type" = 'table' AND "name" = ? COLLATE NOCASE"#,
    )
    .bind(name)
    .fetch_optional(connection)
    .await
}

async fn columns(connection: &mut SqliteConnection, name: &str) -> sqlx::Result<Vec<TableColumn>> {
    // A primary key of one column that is declared exactly so is the row id, which SQLite draws.
    let rows = sqlx::query(
        r#"SELECT c."name", c."type", c."notnull", c."dflt_value" IS NOT NULL, c."hidden" > 0,
                  c."pk" AND upper(c."type") = 'INTEGER' AND NOT t."wr"
                         AND (SELECT count(*) FROM pragma_table_info(t."name", 'main') WHERE "pk") = 1
           FROM pragma_table_list(?) AS t, pragma_table_xinfo(t."name", 'main') AS c WHERE t."schema" = 'main'"#,
    )
    .bind(name)
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(TableColumn {
                name: row.try_get(0)?,
                declared: row.try_get(1)?,
                collation: None,
                not_null: row.try_get(2)?,
                fill: Fill::of(row.try_get(3)?, row.try_get(5)?, row.try_get(4)?),
            })
        })
        .collect()
}

/// The primary key, and every unique index without a condition; an expression in an index is no column.
async fn unique(connection: &mut SqliteConnection, name: &str) -> sqlx::Result<Vec<Vec<String>>> {
    let rows: Vec<(String, Option<String>)> = sqlx::query_as(
        r#"SELECT '', "name" FROM pragma_table_info(?1, 'main') WHERE "pk"
           UNION ALL
           SELECT l."name", c."name" FROM pragma_index_list(?1, 'main') AS l, pragma_index_info(l."name", 'main') AS c
           WHERE l."unique" AND NOT l."partial""#,
    )
    .bind(name)
    .fetch_all(connection)
    .await?;
    let mut sets: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (index, column) in rows {
        sets.entry(index).or_default().push(column.unwrap_or_default());
    }
    Ok(sets.into_values().collect())
}

/// A column whose rows keep values in another form than its declared type says; SQLite lets an application do that.
/// Looks at the first value among some rows, not at the whole table.
pub(super) async fn odd_column(
    connection: &mut SqliteConnection,
    plan: &Plan<Form>,
) -> sqlx::Result<Option<String>> {
    let keys = plan.keys.iter().map(|key| (&key.name, key.form));
    for (name, form) in keys.chain(plan.columns.iter().map(|column| (&column.name, column.form))) {
        let sql = format!(
            "SELECT typeof(c) FROM (SELECT {name} AS c FROM {} LIMIT 100) WHERE c IS NOT NULL LIMIT 1",
            plan.table
        );
        let stored: Option<String> =
            sqlx::query_scalar(AssertSqlSafe(sql)).fetch_optional(&mut *connection).await?;
        if let Some(stored) = stored.filter(|stored| stored != form.storage()) {
            return Ok(Some(format!(
                "column {name} of table {} holds values of type {stored}, and by its declared type the buffer would \
                 write {}: change the declared type, or the column's type in the buffer, to what is there",
                plan.table,
                form.storage()
            )));
        }
    }
    Ok(None)
}
