//! The tables that Forebay creates.

use forebay::buffer::{Merge, Schema};

use super::dialect::{Dialect, MARK};

/// The names of Forebay's own tables.
pub(crate) const OWN_TABLES: [&str; 3] = [LEDGER, DEAD_LETTERS, MOVES];

/// The ids of the batches that were applied.
pub(crate) const LEDGER: &str = "forebay_ledger";

/// The rows that a table refused.
pub(crate) const DEAD_LETTERS: &str = "forebay_dead_letters";

/// The rows that were merged into others.
pub(crate) const MOVES: &str = "forebay_moves";

/// The column with the time of a batch's last write. Ledgers of older versions do not have it.
pub(crate) const LAST_WRITE: &str = "last_write";

/// All tables that a buffer needs, as one script.
pub(crate) fn script<D: Dialect>(schema: &Schema, place: &str) -> String {
    // Where there is one place only, names need no qualifier.
    let place = if D::ONLY_PLACE.is_some() { "" } else { place };
    let mut script = format!("{};\n", create_table::<D>(schema, place));
    for statement in own_tables::<D>(place) {
        script.push_str(&statement);
        script.push_str(";\n");
    }
    script
}

/// Adds the column that the ledger of an older version lacks.
pub(crate) fn add_last_write<D: Dialect>(place: &str) -> String {
    format!(
        "ALTER TABLE {} ADD COLUMN {} {}",
        D::own(place, LEDGER),
        D::quoted(LAST_WRITE),
        D::OWN_TYPES.time
    )
}

/// The qualifier of a buffer's table, if its name has one.
pub(crate) fn named_place<D: Dialect>(schema: &Schema) -> String {
    schema.table.split_once('.').map(|(place, _)| D::place(place)).unwrap_or_default()
}

/// The name of a buffer's table without its qualifier.
pub(crate) fn bare(schema: &Schema) -> &str {
    schema.table.rsplit('.').next().unwrap_or(&schema.table)
}

/// Creates the buffer's table unless it exists. A sum begins at 0, not at NULL: it is a counter.
fn create_table<D: Dialect>(schema: &Schema, place: &str) -> String {
    let column =
        |name, column_type, key| format!("{} {}", D::quoted(name), D::type_name(column_type, schema, key));
    let keys = schema.keys.iter().map(|k| column(&k.name, k.column_type, true) + " NOT NULL");
    let columns = schema.columns.iter().map(|c| {
        let default = if c.merge == Merge::Sum { " NOT NULL DEFAULT 0" } else { "" };
        column(&c.name, c.column_type, false) + default
    });
    let lines: Vec<String> = keys.chain(columns).collect();
    let primary: Vec<String> = schema.keys.iter().map(|k| D::quoted(&k.name)).collect();
    format!(
        "CREATE TABLE IF NOT EXISTS {place}{} (/* {MARK} */\n    {},\n    {}PRIMARY KEY ({})\n){}",
        D::quoted(bare(schema)),
        lines.join(",\n    "),
        D::constraint(schema),
        primary.join(", "),
        D::table_options(schema),
    )
}

/// The ledger's index lets old entries be pruned without reading the rest. That of the dead letters lets those of one
/// buffer be listed and counted.
fn own_tables<D: Dialect>(place: &str) -> Vec<String> {
    let t = D::OWN_TYPES;
    let required = |name: &str, of: &str| format!("{} {of} NOT NULL", D::quoted(name));
    let ledger = vec![
        required("gen", t.uuid) + " PRIMARY KEY",
        required("buffer", t.name),
        required("partition", t.integer),
        required("rows", t.bigint),
        required("applied_at", t.time),
        format!("{} {}", D::quoted(LAST_WRITE), t.time),
    ];
    let dead_letters = vec![
        format!("{} {}", D::quoted("id"), t.serial),
        required("gen", t.uuid),
        required("buffer", t.name),
        required("row_key", t.text),
        required("cells", t.long_text),
        required("error", t.text),
        required("at", t.time),
    ];
    let moves = vec![
        required("buffer", t.name),
        required("from_key", t.key),
        required("to_key", t.key),
        required("at", t.time),
        format!("PRIMARY KEY ({}, {})", D::quoted("buffer"), D::quoted("from_key")),
    ];
    let mut statements = vec![];
    for (table, mut lines, index, columns, options) in [
        (LEDGER, ledger, "forebay_ledger_applied_at", &["applied_at"][..], t.keyed_options),
        (DEAD_LETTERS, dead_letters, "forebay_dead_letters_buffer", &["buffer", "id"], t.options),
        (MOVES, moves, "forebay_moves_to", &["buffer", "to_key"], t.keyed_options),
    ] {
        let (table, index) = (D::own(place, table), D::quoted(index));
        let columns = columns.iter().map(|column| D::quoted(column)).collect::<Vec<_>>().join(", ");
        if D::INLINE_INDEXES {
            lines.push(format!("KEY {index} ({columns})"));
        }
        statements
            .push(format!("CREATE TABLE IF NOT EXISTS {table} (\n    {}\n){options}", lines.join(",\n    ")));
        if !D::INLINE_INDEXES {
            statements.push(format!("CREATE INDEX IF NOT EXISTS {index} ON {table} ({columns})"));
        }
    }
    statements
}
