//! What Postgres says about a table.

use std::collections::BTreeMap;

use forebay::buffer::Schema;
use sqlx::{PgConnection, Row as _};

use super::{
    ddl::{MARK, POSTGRES},
    query::{query, query_as},
};
use crate::common::{
    catalogue::{Fill, Found, Table, TableColumn, is_dated},
    ddl::{OWN_TABLES, bare},
};

/// In [`TableColumn::collation`]: texts that are not the same may be equal.
pub(super) const NONDETERMINISTIC: &str = "nondeterministic";

/// Looks for a buffer's table, and for Forebay's own beside it.
///
/// The ledger is in the schema of the buffer's table, not in whichever comes first on a connection's search path: all
/// who flush into a table have to see one ledger.
pub(super) async fn find(connection: &mut PgConnection, schema: &Schema) -> sqlx::Result<Found> {
    let mut lacking = vec![];
    let mut place = POSTGRES.named_place(schema);
    let mut table = None;
    match relation(connection, &format!("{place}{}", POSTGRES.quoted(bare(schema)))).await? {
        None => lacking.push(schema.table.to_string()),
        Some(relation) => {
            place = POSTGRES.place(&relation.schema);
            if relation.is_table {
                table = Some(Table {
                    name: format!("{place}{}", POSTGRES.quoted(bare(schema))),
                    place: place.clone(),
                    columns: columns(connection, relation.id).await?,
                    unique: unique(connection, relation.id).await?,
                    migrated: relation.migrated,
                });
            }
        }
    }
    let mut dated = true;
    for own in OWN_TABLES {
        match relation(connection, &format!("{place}{}", POSTGRES.quoted(own))).await? {
            None => lacking.push(own.to_owned()),
            Some(ledger) if own == OWN_TABLES[0] => dated = is_dated(&columns(connection, ledger.id).await?),
            Some(_) => {}
        }
    }
    Ok(Found { table, place, lacking, dated })
}

struct Relation {
    id: i64,
    schema: String,
    /// An ordinary or partitioned one.
    is_table: bool,
    migrated: bool,
}

/// Looks a name up as statements do. A schema that is not there has no tables.
async fn relation(connection: &mut PgConnection, name: &str) -> sqlx::Result<Option<Relation>> {
    let row = query(
        r"SELECT c.oid::int8, n.nspname::text, c.relkind IN ('r', 'p'),
                 EXISTS (SELECT FROM pg_constraint AS k
                         WHERE k.conrelid = c.oid AND k.contype = 'p' AND starts_with(k.conname::text, $2))
          FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = to_regclass($1)",
    )
    .bind(name)
    .bind(MARK)
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        let (id, schema, is_table) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        Ok(Relation { id, schema, is_table, migrated: row.try_get(3)? })
    })
    .transpose()
}

async fn columns(connection: &mut PgConnection, id: i64) -> sqlx::Result<Vec<TableColumn>> {
    // A domain has its type, length and perhaps NOT NULL and default from itself.
    let rows = query(
        r"SELECT a.attname::text,
                 CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod)
                      ELSE format_type(a.atttypid, a.atttypmod) END,
                 CASE WHEN NOT k.collisdeterministic THEN $2 END,
                 a.attnotnull OR t.typnotnull,
                 a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL,
                 a.attgenerated <> '', a.attidentity <> ''
          FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid
               LEFT JOIN pg_collation AS k ON k.oid = a.attcollation
          WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
    )
    .bind(id)
    .bind(NONDETERMINISTIC)
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(TableColumn {
                name: row.try_get(0)?,
                declared: row.try_get(1)?,
                collation: row.try_get(2)?,
                not_null: row.try_get(3)?,
                fill: Fill::of(row.try_get(4)?, row.try_get(6)?, row.try_get(5)?),
            })
        })
        .collect()
}

/// What `ON CONFLICT` may name: unique indexes over all rows that are checked at once. An expression is no column.
async fn unique(connection: &mut PgConnection, id: i64) -> sqlx::Result<Vec<Vec<String>>> {
    let rows: Vec<(i64, Option<String>)> = query_as(
        r"SELECT i.indexrelid::int8, a.attname::text
          FROM pg_index AS i CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(number, place)
               LEFT JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.number
          WHERE i.indrelid = $1::oid AND k.place <= i.indnkeyatts
                AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL",
    )
    .bind(id)
    .fetch_all(connection)
    .await?;
    let mut sets: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    for (index, column) in rows {
        sets.entry(index).or_default().push(column.unwrap_or_default());
    }
    Ok(sets.into_values().collect())
}

/// The indexes of a table, each with one column that it has and a buffer writes.
pub(super) async fn indexed(
    connection: &mut PgConnection,
    table: &str,
    columns: &[&str],
) -> sqlx::Result<Vec<(String, String)>> {
    query_as(
        r"SELECT c.relname::text, min(a.attname::text)
          FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
               JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int2[])
          WHERE i.indrelid = to_regclass($1) AND a.attname = ANY ($2)
          GROUP BY c.relname ORDER BY c.relname",
    )
    .bind(table)
    .bind(columns)
    .fetch_all(connection)
    .await
}
