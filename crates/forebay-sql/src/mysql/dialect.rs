//! How MySQL and MariaDB spell SQL.
//!
//! A statement takes its rows as one JSON text, so that it is the same for any number of them. `JSON_TABLE` is read first
//! and in its order, so that row locks are taken in the order of keys.

use forebay::buffer::{ColumnType, Schema};

use super::{catalogue, codec::MySqlCodec, error};
use crate::common::{
    bindings,
    dialect::{Dialect, OwnTypes},
    error::Class,
    plan,
};

#[derive(Debug)]
pub(super) struct MySqlDialect;

pub(super) type Bindings<'a> = bindings::Bindings<'a, MySqlDialect>;
pub(super) type Parameters = bindings::Parameters<MySqlDialect>;
pub(super) type Plan = plan::Plan<MySqlDialect>;

/// The bytes that a key of InnoDB has room for. A character takes up to four.
const MAX_KEY_BYTES: usize = 3_072;

/// Compares byte by byte, to the last space: with any other collation two keys of the buffer could be one row. MariaDB and
/// MySQL have different names for it. Each runs the comment that is meant for it, so that a script works on both:
/// MariaDB skips the other because of its number, and to MySQL `/*M!` is an ordinary comment.
macro_rules! utf8 {
    ($column_type:literal) => {
        concat!(
            $column_type,
            " CHARACTER SET utf8mb4 /*M!100202 COLLATE utf8mb4_nopad_bin*/ /*!80017 COLLATE utf8mb4_0900_bin*/"
        )
    };
}

impl Dialect for MySqlDialect {
    type Codec = MySqlCodec;

    const NAME: &'static str = "MySQL";
    const QUOTE: char = '`';
    /// A statement that fails has changed nothing, and the transaction goes on, except after a deadlock.
    const SAVEPOINTS: bool = false;
    const TEXT: &'static str = "CHAR CHARACTER SET utf8mb4";
    const OWN_TYPES: OwnTypes = OwnTypes {
        uuid: "CHAR(36) CHARACTER SET ascii COLLATE ascii_bin",
        name: "VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin",
        integer: "INT",
        bigint: "BIGINT",
        time: "DATETIME(6)",
        // Bytes, which no collation folds.
        key: "VARBINARY(1536)",
        text: utf8!("TEXT"),
        long_text: utf8!("LONGTEXT"),
        serial: "BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY",
        options: " ENGINE=InnoDB",
        keyed_options: " ENGINE=InnoDB",
    };
    const INLINE_INDEXES: bool = true;
    const JOIN: &'static str = " STRAIGHT_JOIN ";
    const LOCK_ROWS: &'static str = " FOR UPDATE";
    const TABLE_QUERY: &'static str = catalogue::TABLE;
    const COLUMNS_QUERY: &'static str = catalogue::COLUMNS;
    const UNIQUE_QUERY: &'static str = catalogue::UNIQUE;

    fn classify(error: &sqlx::Error) -> Class {
        error::classify(error)
    }

    fn type_name(column_type: ColumnType, schema: &Schema, key: bool) -> String {
        match column_type {
            ColumnType::Integer => "BIGINT".into(),
            ColumnType::Timestamp => "DATETIME(6)".into(),
            ColumnType::Uuid => Self::OWN_TYPES.uuid.into(),
            _ if key => {
                let most = (MAX_KEY_BYTES / 4 / schema.keys.len().max(1)).saturating_sub(64).clamp(16, 512);
                format!(utf8!("VARCHAR({})"), most)
            }
            _ => utf8!("TEXT").into(),
        }
    }

    fn table_options(_: &Schema) -> &'static str {
        // The comment is `MARK`.
        " ENGINE=InnoDB COMMENT='created by forebay'"
    }

    fn texts_table(placeholder: &str) -> (String, &'static str) {
        let table = format!(
            "JSON_TABLE({placeholder}, '$[*]' COLUMNS (
                 k VARCHAR(1536) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$' ERROR ON ERROR)) AS x"
        );
        (table, "CAST(x.k AS BINARY)")
    }

    fn key_text(column: &str) -> String {
        format!("CONVERT({column} USING utf8mb4)")
    }

    /// MariaDB does not use an index for a subquery in a `DELETE`.
    fn prune(ledger: &str, before: &str, limit: u32) -> String {
        format!(
            "DELETE FROM {ledger} WHERE applied_at < {before} AND applied_at < (
                 SELECT least FROM (SELECT applied_at AS least FROM {ledger}
                                    ORDER BY applied_at DESC LIMIT 999, 1) AS newest)
             ORDER BY applied_at LIMIT {limit}"
        )
    }

    fn incoming(columns: &[(String, &MySqlCodec)], _: usize, numbered: bool) -> String {
        let column = |(i, (name, codec)): (usize, &(String, &MySqlCodec))| {
            format!("{name} {} PATH '$[{i}]' ERROR ON ERROR", codec.json())
        };
        let mut columns: Vec<String> = columns.iter().enumerate().map(column).collect();
        if numbered {
            columns.push("n FOR ORDINALITY".into());
        }
        format!("JSON_TABLE(?, '$[*]' COLUMNS ({})) AS x", columns.join(", "))
    }

    fn excluded(column: &str) -> String {
        format!("VALUES({column})")
    }

    fn upserted(table: &str) -> String {
        table.to_owned()
    }

    fn assigned(row: &str, column: &str) -> String {
        format!("{row}.{column}")
    }

    fn upsert(table: &str, columns: &str, source: &str, _: &str, assignments: &str) -> String {
        format!("INSERT INTO {table} ({columns}) {source} ON DUPLICATE KEY UPDATE {assignments}")
    }

    fn update(table: &str, incoming: &str, matches: &str, assignments: &str) -> String {
        format!("UPDATE {incoming} STRAIGHT_JOIN {table} AS t ON {matches} SET {assignments}")
    }

    fn delete(table: &str, incoming: &str, matches: &str) -> String {
        format!("DELETE t FROM {incoming} STRAIGHT_JOIN {table} AS t ON {matches}")
    }
}
