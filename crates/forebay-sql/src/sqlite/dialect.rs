//! How SQLite spells SQL.

use forebay::buffer::{ColumnType, Schema};

use super::{catalogue, codec::SqliteCodec, error};
use crate::{
    Migrate,
    common::{
        bindings,
        dialect::{Dialect, OwnTypes},
        error::Class,
        plan,
    },
};

#[derive(Debug)]
pub(super) struct SqliteDialect;

pub(super) type Bindings<'a> = bindings::Bindings<'a, SqliteDialect>;
pub(super) type Parameters = bindings::Parameters<SqliteDialect>;
pub(super) type Plan = plan::Plan<SqliteDialect>;

impl Dialect for SqliteDialect {
    type Codec = SqliteCodec;

    const NAME: &'static str = "SQLite";
    const ONLY_PLACE: Option<&'static str> = Some("main");
    const MIGRATE: Migrate = Migrate::Yes;
    const TEXT: &'static str = "TEXT";
    const OWN_TYPES: OwnTypes = OwnTypes {
        uuid: "TEXT",
        name: "TEXT",
        integer: "INTEGER",
        bigint: "INTEGER",
        time: "DATETIME",
        key: "TEXT",
        text: "TEXT",
        long_text: "TEXT",
        serial: "INTEGER PRIMARY KEY",
        options: "",
        keyed_options: " WITHOUT ROWID",
    };
    const JOIN: &'static str = " CROSS JOIN ";
    const TABLE_QUERY: &'static str = catalogue::TABLE;
    const COLUMNS_QUERY: &'static str = catalogue::COLUMNS;
    const UNIQUE_QUERY: &'static str = catalogue::UNIQUE;

    fn classify(error: &sqlx::Error) -> Class {
        error::classify(error)
    }

    fn reason(error: &sqlx::Error) -> String {
        error::reason(error)
    }

    /// `DATETIME` is what Django, Rails and SQLAlchemy declare, so their introspection finds a date.
    fn type_name(column_type: ColumnType, _: &Schema, _: bool) -> String {
        let name = match column_type {
            ColumnType::Integer => "INTEGER",
            ColumnType::Timestamp => "DATETIME",
            _ => "TEXT",
        };
        name.into()
    }

    /// A table that is its own index writes a fifth less than one with a row id and an index beside it. A single integer
    /// key is the row id, which is better still.
    fn table_options(schema: &Schema) -> &'static str {
        match &*schema.keys {
            [key] if key.column_type == ColumnType::Integer => "",
            _ => " WITHOUT ROWID",
        }
    }

    fn texts_table(placeholder: &str) -> (String, &'static str) {
        (format!("json_each({placeholder}) AS x"), "x.value")
    }

    fn time_text(column: &str) -> String {
        column.to_owned()
    }

    /// `VALUES (?,?),(?,?)`.
    ///
    /// The placeholders have no numbers, because the driver looks up a numbered one among all names before it, one by one.
    fn incoming(columns: &[(String, &SqliteCodec)], rows: usize, _: bool) -> String {
        let row = format!("({})", vec!["?"; columns.len()].join(","));
        format!("VALUES {}", vec![row; rows].join(","))
    }

    fn inserted(incoming: &str, _: &str) -> String {
        incoming.to_owned()
    }

    fn incoming_column(_: &str, index: usize) -> String {
        format!("x.column{}", index + 1)
    }

    fn key_placeholder(index: usize) -> Option<String> {
        Some(format!("?{}", index + 1))
    }

    /// SQLite makes a float of a sum that leaves 64 bits, and a number of any text. `abs` of the smallest integer is an
    /// error: it is how an expression refuses a row. Adding `0 *` keeps SQLite from computing it in advance.
    fn sum(old: &str, new: &str) -> String {
        format!(
            "CASE WHEN {old} IS NULL THEN {new} \
             WHEN typeof({old}) = 'integer' AND typeof({old} + {new}) = 'integer' THEN {old} + {new} \
             ELSE abs(-9223372036854775808 + 0 * {new}) END"
        )
    }

    fn update(table: &str, incoming: &str, matches: &str, assignments: &str) -> String {
        format!("UPDATE {table} AS t SET {assignments} FROM ({incoming}) AS x WHERE {matches}")
    }
}
