//! How Postgres spells SQL.
//!
//! A statement takes each column as one array, so that its text, and the statement that Postgres prepares for it, is the
//! same for any number of rows.

use forebay::buffer::{ColumnType, Schema};

use super::{catalogue, codec::PostgresCodec, error};
use crate::common::{
    bindings,
    ddl::bare,
    dialect::{Dialect, Kind, OwnTypes},
    error::Class,
    plan,
};

#[derive(Debug)]
pub(super) struct PostgresDialect;

pub(super) type Bindings<'a> = bindings::Bindings<'a, PostgresDialect>;
pub(super) type Parameters = bindings::Parameters<PostgresDialect>;
pub(super) type Plan = plan::Plan<PostgresDialect>;

/// The prefix of the primary keys of tables that Forebay created. Postgres keeps no comments of a statement.
const MARK: &str = "created_by_forebay_";

/// Postgres truncates longer names.
const MAX_NAME_BYTES: usize = 63;

impl Dialect for PostgresDialect {
    type Codec = PostgresCodec;

    const NAME: &'static str = "Postgres";
    const FOLDS_COLUMNS: bool = false;
    const TEXT: &'static str = "text";
    const OWN_TYPES: OwnTypes = OwnTypes {
        uuid: "uuid",
        name: "text",
        integer: "integer",
        bigint: "bigint",
        time: "timestamptz",
        key: "text COLLATE \"C\"",
        text: "text",
        long_text: "text",
        serial: "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        options: "",
        keyed_options: "",
    };
    const JOIN: &'static str = " JOIN ";
    const LOCK_ROWS: &'static str = " FOR UPDATE OF t";
    const SKIP_LOCKED: &'static str = " FOR UPDATE SKIP LOCKED";
    const TABLE_QUERY: &'static str = catalogue::TABLE;
    const COLUMNS_QUERY: &'static str = catalogue::COLUMNS;
    const UNIQUE_QUERY: &'static str = catalogue::UNIQUE;

    fn classify(error: &sqlx::Error) -> Class {
        error::classify(error)
    }

    fn type_name(column_type: ColumnType, _: &Schema, _: bool) -> String {
        let name = match column_type {
            ColumnType::Integer => "bigint",
            ColumnType::Timestamp => "timestamptz",
            ColumnType::Uuid => "uuid",
            // Compares bytes, as the buffer does, and faster than any other.
            _ => "text COLLATE \"C\"",
        };
        name.into()
    }

    fn constraint(schema: &Schema) -> String {
        let mut name = format!("{MARK}{}", bare(schema));
        name.truncate(MAX_NAME_BYTES);
        format!("CONSTRAINT \"{name}\" ")
    }

    fn table_options(_: &Schema) -> &'static str {
        // Room in each page for the next version of its rows: without it half the updates move to another page and
        // rewrite the index (measured: 56 % in place at 100, all of them at 70).
        " WITH (fillfactor = 70)"
    }

    fn placeholder(number: usize, kind: Kind) -> String {
        match kind {
            Kind::Uuid => format!("${number}::uuid"),
            Kind::Time => format!("(${number}::timestamp AT TIME ZONE 'UTC')"),
            Kind::Plain => format!("${number}"),
        }
    }

    fn texts_table(placeholder: &str) -> (String, &'static str) {
        (format!("json_array_elements_text({placeholder}::json) AS x(k)"), "x.k")
    }

    fn time_text(column: &str) -> String {
        format!("to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')")
    }

    fn incoming(columns: &[(String, &PostgresCodec)], _: usize, numbered: bool) -> String {
        let array = |(i, (_, codec)): (usize, &(String, &PostgresCodec))| {
            format!("${}::{}[]", i + 1, codec.element.name())
        };
        let arrays: Vec<String> = columns.iter().enumerate().map(array).collect();
        let mut names: Vec<&str> = columns.iter().map(|(name, _)| &**name).collect();
        if numbered {
            names.push("n");
        }
        let ordinality = if numbered { " WITH ORDINALITY" } else { "" };
        format!("unnest({}){ordinality} AS x({})", arrays.join(", "), names.join(", "))
    }
}
