//! The tables that Forebay creates.

use forebay::buffer::{ColumnType, Merge, Schema};

/// In the text of a table that Forebay created: it tells those from an application's own.
pub(crate) const MARK: &str = "created by forebay";

/// How a database spells things.
#[derive(Debug)]
pub(crate) struct Dialect {
    /// Before and after an identifier.
    pub(crate) quote: char,
    pub(crate) type_name: fn(ColumnType) -> &'static str,
    /// After the closing parenthesis of a buffer's table.
    pub(crate) table_options: fn(&Schema) -> &'static str,
    /// The ledger and the dead letters, one statement each.
    pub(crate) own_tables: &'static [&'static str],
}

impl Dialect {
    /// An identifier in quotes. [`Schema`] lets only letters, digits and `_` through, so none is inside.
    pub(crate) fn quoted(&self, identifier: &str) -> String {
        format!("{0}{identifier}{0}", self.quote)
    }

    /// The buffer's table, each part in quotes.
    pub(crate) fn table(&self, schema: &Schema) -> String {
        schema.table.split('.').map(|part| self.quoted(part)).collect::<Vec<_>>().join(".")
    }

    /// Creates the buffer's table unless it is there. A sum begins at 0, not at NULL: it is a counter.
    pub(crate) fn create_table(&self, schema: &Schema) -> String {
        let of = |column_type| (self.type_name)(column_type);
        let keys =
            schema.keys.iter().map(|k| format!("{} {} NOT NULL", self.quoted(&k.name), of(k.column_type)));
        let columns = schema.columns.iter().map(|c| {
            let default = if c.merge == Merge::Sum { " NOT NULL DEFAULT 0" } else { "" };
            format!("{} {}{default}", self.quoted(&c.name), of(c.column_type))
        });
        let lines: Vec<String> = keys.chain(columns).collect();
        let primary: Vec<String> = schema.keys.iter().map(|k| self.quoted(&k.name)).collect();
        format!(
            "CREATE TABLE IF NOT EXISTS {} (/* {MARK} */\n    {},\n    PRIMARY KEY ({})\n){}",
            self.table(schema),
            lines.join(",\n    "),
            primary.join(", "),
            (self.table_options)(schema),
        )
    }

    /// Everything a buffer needs, as one script.
    pub(crate) fn script(&self, schema: &Schema) -> String {
        let mut script = format!("{};\n", self.create_table(schema));
        for statement in self.own_tables {
            script.push_str(statement);
            script.push_str(";\n");
        }
        script
    }
}
