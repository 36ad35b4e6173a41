//! The tables that Forebay creates.

use forebay::buffer::{ColumnType, Merge, Schema};

use super::ledger::LAST_WRITE;
use crate::Migrate;

/// In the text of a table that Forebay created: it tells those from an application's own.
pub(crate) const MARK: &str = "created by forebay";

/// The names of Forebay's own tables.
pub(crate) const OWN_TABLES: [&str; 3] = ["forebay_ledger", "forebay_dead_letters", "forebay_moves"];

/// How a database spells things.
#[derive(Debug)]
pub(crate) struct Dialect {
    /// Before and after an identifier.
    pub(crate) quote: char,
    /// The type that Forebay gives a column; the last argument: it is part of the key.
    pub(crate) type_name: fn(ColumnType, &Schema, bool) -> String,
    /// What comes before `PRIMARY KEY`, with a space after it.
    pub(crate) constraint: fn(&Schema) -> String,
    /// After the closing parenthesis of a buffer's table.
    pub(crate) table_options: fn(&Schema) -> &'static str,
    /// The ledger, the dead letters and the moves, one statement each, qualified by a place.
    pub(crate) own_tables: fn(&str) -> Vec<String>,
    /// The only place that a buffer's table can be in.
    pub(crate) only_place: Option<&'static str>,
    /// Names of columns that differ only in case are one name.
    pub(crate) folds_columns: bool,
    /// The type that `CAST` makes a text of.
    pub(crate) text: &'static str,
    /// Whether a sink creates missing tables unless its user said.
    pub(crate) migrate: Migrate,
}

impl Dialect {
    /// An identifier in quotes. [`Schema`] lets only letters, digits and `_` through; what a database calls its
    /// schemas may be anything.
    pub(crate) fn quoted(&self, identifier: &str) -> String {
        let quote = self.quote.to_string();
        format!("{quote}{}{quote}", identifier.replace(&quote, &quote.repeat(2)))
    }

    /// What qualifies a name by `schema`.
    pub(crate) fn place(&self, schema: &str) -> String {
        format!("{}.", self.quoted(schema))
    }

    /// Where a buffer's table is, if its name says so.
    pub(crate) fn named_place(&self, schema: &Schema) -> String {
        schema.table.split_once('.').map(|(place, _)| self.place(place)).unwrap_or_default()
    }

    /// Checks a buffer for what no table can mend, without the database.
    ///
    /// # Errors
    /// What is in the way, and how to mend it.
    pub(crate) fn check(&self, schema: &Schema) -> Result<(), String> {
        let table = &schema.table;
        if let (Some((place, _)), Some(only)) = (table.split_once('.'), self.only_place)
            && !place.eq_ignore_ascii_case(only)
        {
            return Err(format!(
                "table {table} is in another file than the ledger, and SQLite does not commit to several files at once: \
                 give the buffer a table of the {only} database"
            ));
        }
        if OWN_TABLES.iter().any(|own| own.eq_ignore_ascii_case(bare(schema))) {
            return Err(format!(
                "table {table} is one of Forebay's own ({}): give the buffer another",
                OWN_TABLES.join(", ")
            ));
        }
        let keys = schema.keys.iter().map(|key| &*key.name);
        let columns: Vec<&str> = keys.chain(schema.columns.iter().map(|column| &*column.name)).collect();
        for (at, column) in columns.iter().enumerate().filter(|_| self.folds_columns) {
            if let Some(other) = columns[..at].iter().find(|other| other.eq_ignore_ascii_case(column)) {
                return Err(format!(
                    "columns {other} and {column} of table {table} differ only in case, and are one column to the \
                     database: rename one"
                ));
            }
        }
        Ok(())
    }

    /// Creates the buffer's table unless it is there. A sum begins at 0, not at NULL: it is a counter.
    fn create_table(&self, schema: &Schema, place: &str) -> String {
        let column = |name, column_type, key| {
            format!("{} {}", self.quoted(name), (self.type_name)(column_type, schema, key))
        };
        let keys = schema.keys.iter().map(|k| column(&k.name, k.column_type, true) + " NOT NULL");
        let columns = schema.columns.iter().map(|c| {
            let default = if c.merge == Merge::Sum { " NOT NULL DEFAULT 0" } else { "" };
            column(&c.name, c.column_type, false) + default
        });
        let lines: Vec<String> = keys.chain(columns).collect();
        let primary: Vec<String> = schema.keys.iter().map(|k| self.quoted(&k.name)).collect();
        format!(
            "CREATE TABLE IF NOT EXISTS {place}{} (/* {MARK} */\n    {},\n    {}PRIMARY KEY ({})\n){}",
            self.quoted(bare(schema)),
            lines.join(",\n    "),
            (self.constraint)(schema),
            primary.join(", "),
            (self.table_options)(schema),
        )
    }

    /// Adds what the ledger of an older version lacks.
    pub(crate) fn add_last_write(&self, schema: &Schema, place: &str) -> String {
        let (ledger, column) = (self.quoted(OWN_TABLES[0]), self.quoted(LAST_WRITE));
        format!(
            "ALTER TABLE {place}{ledger} ADD COLUMN {column} {}",
            (self.type_name)(ColumnType::Timestamp, schema, false)
        )
    }

    /// Everything a buffer needs, as one script.
    pub(crate) fn script(&self, schema: &Schema, place: &str) -> String {
        let mut script = format!("{};\n", self.create_table(schema, place));
        for statement in (self.own_tables)(place) {
            script.push_str(&statement);
            script.push_str(";\n");
        }
        script
    }
}

/// The name of a buffer's table without its place.
pub(crate) fn bare(schema: &Schema) -> &str {
    schema.table.rsplit('.').next().unwrap_or(&schema.table)
}
