//! How Postgres spells the tables that Forebay creates.

use forebay::buffer::{ColumnType, Schema};

use crate::{
    Migrate,
    common::ddl::{Dialect, bare},
};

pub(super) const POSTGRES: Dialect = Dialect {
    quote: '"',
    type_name: |column_type, _, _| type_name(column_type).into(),
    constraint: |schema| format!("CONSTRAINT \"{}\" ", constraint(schema)),
    // Room in each page for the next version of its rows: without it half the updates move to another page and
    // rewrite the index (measured: 56 % in place at 100, all of them at 70).
    table_options: |_| " WITH (fillfactor = 70)",
    own_tables,
    only_place: None,
    folds_columns: false,
    text: "text",
    migrate: Migrate::No,
};

/// How the names begin of the primary keys of tables that Forebay created. Postgres keeps no comments of a statement.
pub(super) const MARK: &str = "created_by_forebay_";

/// Postgres would cut a longer name itself.
const NAME: usize = 63;

fn constraint(schema: &Schema) -> String {
    let mut name = format!("{MARK}{}", bare(schema));
    name.truncate(NAME);
    name
}

fn type_name(column_type: ColumnType) -> &'static str {
    match column_type {
        ColumnType::Integer => "bigint",
        ColumnType::Timestamp => "timestamptz",
        ColumnType::Uuid => "uuid",
        // Compares bytes, as the buffer does, and faster than any other.
        _ => "text COLLATE \"C\"",
    }
}

/// The ledger's index lets old rows be pruned without reading the rest, that of the dead letters lets those of one buffer be
/// listed and counted.
fn own_tables(place: &str) -> Vec<String> {
    vec![
        format!(
            r#"CREATE TABLE IF NOT EXISTS {place}"forebay_ledger" (
    "gen" uuid PRIMARY KEY,
    "buffer" text NOT NULL,
    "partition" integer NOT NULL,
    "rows" bigint NOT NULL,
    "applied_at" timestamptz NOT NULL,
    "last_write" timestamptz
)"#
        ),
        format!(
            r#"CREATE INDEX IF NOT EXISTS "forebay_ledger_applied_at" ON {place}"forebay_ledger" ("applied_at")"#
        ),
        format!(
            r#"CREATE TABLE IF NOT EXISTS {place}"forebay_dead_letters" (
    "id" bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    "gen" uuid NOT NULL,
    "buffer" text NOT NULL,
    "row_key" text NOT NULL,
    "cells" text NOT NULL,
    "error" text NOT NULL,
    "at" timestamptz NOT NULL
)"#
        ),
        format!(
            r#"CREATE INDEX IF NOT EXISTS "forebay_dead_letters_buffer" ON {place}"forebay_dead_letters" ("buffer", "id")"#
        ),
        format!(
            r#"CREATE TABLE IF NOT EXISTS {place}"forebay_moves" (
    "buffer" text NOT NULL,
    "from_key" text COLLATE "C" NOT NULL,
    "to_key" text COLLATE "C" NOT NULL,
    "at" timestamptz NOT NULL,
    PRIMARY KEY ("buffer", "from_key")
)"#
        ),
        format!(
            r#"CREATE INDEX IF NOT EXISTS "forebay_moves_to" ON {place}"forebay_moves" ("buffer", "to_key")"#
        ),
    ]
}
