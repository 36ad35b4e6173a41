//! How SQLite spells the tables that Forebay creates.

use forebay::buffer::{ColumnType, Schema};

use crate::{Migrate, common::ddl::Dialect};

pub(super) const SQLITE: Dialect = Dialect {
    quote: '"',
    type_name: |column_type, _, _| type_name(column_type).into(),
    constraint: |_| String::new(),
    table_options,
    // All of them are in the main database.
    own_tables: |_| OWN_TABLES.map(str::to_owned).to_vec(),
    only_place: Some("main"),
    folds_columns: true,
    text: "TEXT",
    migrate: Migrate::Yes,
};

/// The ledger's index lets old rows be pruned without reading the rest, that of the dead letters lets those of one buffer be
/// listed and counted.
const OWN_TABLES: [&str; 6] = [
    r#"CREATE TABLE IF NOT EXISTS "forebay_ledger" (
    "gen" TEXT NOT NULL PRIMARY KEY,
    "buffer" TEXT NOT NULL,
    "partition" INTEGER NOT NULL,
    "rows" INTEGER NOT NULL,
    "applied_at" DATETIME NOT NULL,
    "last_write" DATETIME
) WITHOUT ROWID"#,
    r#"CREATE INDEX IF NOT EXISTS "forebay_ledger_applied_at" ON "forebay_ledger" ("applied_at")"#,
    r#"CREATE TABLE IF NOT EXISTS "forebay_dead_letters" (
    "id" INTEGER PRIMARY KEY,
    "gen" TEXT NOT NULL,
    "buffer" TEXT NOT NULL,
    "row_key" TEXT NOT NULL,
    "cells" TEXT NOT NULL,
    "error" TEXT NOT NULL,
    "at" DATETIME NOT NULL
)"#,
    r#"CREATE INDEX IF NOT EXISTS "forebay_dead_letters_buffer" ON "forebay_dead_letters" ("buffer", "id")"#,
    r#"CREATE TABLE IF NOT EXISTS "forebay_moves" (
    "buffer" TEXT NOT NULL,
    "from_key" TEXT NOT NULL,
    "to_key" TEXT NOT NULL,
    "at" DATETIME NOT NULL,
    PRIMARY KEY ("buffer", "from_key")
) WITHOUT ROWID"#,
    r#"CREATE INDEX IF NOT EXISTS "forebay_moves_to" ON "forebay_moves" ("buffer", "to_key")"#,
];

/// `DATETIME` is what Django, Rails and SQLAlchemy declare, so their introspection finds a date.
fn type_name(column_type: ColumnType) -> &'static str {
    match column_type {
        ColumnType::Integer => "INTEGER",
        ColumnType::Timestamp => "DATETIME",
        _ => "TEXT",
    }
}

/// A table that is its own index writes a fifth less than one with a row id and an index beside it. A single integer
/// key is the row id, which is better still.
fn table_options(schema: &Schema) -> &'static str {
    match &*schema.keys {
        [key] if key.column_type == ColumnType::Integer => "",
        _ => " WITHOUT ROWID",
    }
}
