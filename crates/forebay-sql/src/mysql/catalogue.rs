//! What MySQL and MariaDB say about a table.

use std::collections::BTreeMap;

use forebay::buffer::Schema;
use sqlx::{MySqlConnection, Row as _};

use super::ddl::MYSQL;
use crate::common::{
    catalogue::{Fill, Found, Table, TableColumn, is_dated},
    ddl::{MARK, OWN_TABLES, bare},
};

/// Looks for a buffer's table, and for Forebay's own in the same database.
pub(super) async fn find(connection: &mut MySqlConnection, schema: &Schema) -> sqlx::Result<Found> {
    let mut lacking = vec![];
    let database = match schema.table.split_once('.') {
        Some((database, _)) => database.to_owned(),
        None => sqlx::query_scalar("SELECT DATABASE()").fetch_one(&mut *connection).await?,
    };
    let (place, name) = (MYSQL.place(&database), bare(schema));
    let mut table = None;
    match relation(connection, &database, name).await? {
        None => lacking.push(schema.table.to_string()),
        Some(relation) if !relation.is_table => {}
        Some(relation) => {
            table = Some(Table {
                name: format!("{place}{}", MYSQL.quoted(name)),
                place: place.clone(),
                columns: columns(connection, &database, name).await?,
                unique: unique(connection, &database, name).await?,
                migrated: relation.comment.contains(MARK),
            });
        }
    }
    for own in OWN_TABLES {
        if relation(connection, &database, own).await?.is_none() {
            lacking.push(own.to_owned());
        }
    }
    let dated = is_dated(&columns(connection, &database, OWN_TABLES[0]).await?);
    Ok(Found { table, place, lacking, dated })
}

struct Relation {
    is_table: bool,
    comment: String,
}

async fn relation(
    connection: &mut MySqlConnection,
    database: &str,
    name: &str,
) -> sqlx::Result<Option<Relation>> {
    let row: Option<(String, String)> = sqlx::query_as(
        "SELECT CAST(table_type AS CHAR), CAST(table_comment AS CHAR)
         FROM information_schema.tables WHERE table_schema = ? AND table_name = ?",
    )
    .bind(database)
    .bind(name)
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|(kind, comment)| Relation { is_table: kind == "BASE TABLE", comment }))
}

/// The names of those of a buffer's tables whose engine has no transactions, and that engine.
pub(super) async fn not_transactional(
    connection: &mut MySqlConnection,
    schema: &Schema,
) -> sqlx::Result<Option<(String, String)>> {
    let (database, _) = schema.table.split_once('.').unzip();
    sqlx::query_as(
        "SELECT CAST(t.table_name AS CHAR), CAST(t.engine AS CHAR)
         FROM information_schema.tables AS t JOIN information_schema.engines AS e ON e.engine = t.engine
         WHERE t.table_schema = COALESCE(?, DATABASE()) AND t.table_name IN (?, ?, ?, ?)
               AND COALESCE(e.transactions, 'NO') <> 'YES' LIMIT 1",
    )
    .bind(database)
    .bind(bare(schema))
    .bind(OWN_TABLES[0])
    .bind(OWN_TABLES[1])
    .bind(OWN_TABLES[2])
    .fetch_optional(connection)
    .await
}

async fn columns(
    connection: &mut MySqlConnection,
    database: &str,
    name: &str,
) -> sqlx::Result<Vec<TableColumn>> {
    // MariaDB writes a default of NULL as text.
    let rows = sqlx::query(
        "SELECT CAST(column_name AS CHAR), CAST(column_type AS CHAR), CAST(collation_name AS CHAR),
                is_nullable = 'NO',
                COALESCE(column_default, 'NULL') <> 'NULL' OR LOCATE('auto_increment', extra) > 0,
                LOCATE('GENERATED', extra) > 0 AND LOCATE('DEFAULT_GENERATED', extra) = 0,
                LOCATE('auto_increment', extra) > 0
         FROM information_schema.columns WHERE table_schema = ? AND table_name = ? ORDER BY ordinal_position",
    )
    .bind(database)
    .bind(name)
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(TableColumn {
                name: row.try_get(0)?,
                declared: row.try_get(1)?,
                collation: row.try_get(2)?,
                not_null: row.try_get::<i64, _>(3)? != 0,
                fill: Fill::of(
                    row.try_get::<i64, _>(4)? != 0,
                    row.try_get::<i64, _>(6)? != 0,
                    row.try_get::<i64, _>(5)? != 0,
                ),
            })
        })
        .collect()
}

/// The primary key and the unique indexes. An expression is no column, nor is the beginning of one.
async fn unique(
    connection: &mut MySqlConnection,
    database: &str,
    name: &str,
) -> sqlx::Result<Vec<Vec<String>>> {
    let rows: Vec<(String, Option<String>)> = sqlx::query_as(
        "SELECT CAST(index_name AS CHAR), CASE WHEN sub_part IS NULL THEN CAST(column_name AS CHAR) END
         FROM information_schema.statistics WHERE table_schema = ? AND table_name = ? AND non_unique = 0
         ORDER BY index_name, seq_in_index",
    )
    .bind(database)
    .bind(name)
    .fetch_all(connection)
    .await?;
    let mut sets: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (index, column) in rows {
        sets.entry(index).or_default().push(column.unwrap_or_default());
    }
    Ok(sets.into_values().collect())
}
