//! The spelling of SQL, by database.
//!
//! The statements themselves are written once, in [`statement`](super::statement), [`ledger`](super::ledger),
//! [`dead_letter`](super::dead_letter), [`moves`](super::moves) and [`ddl`](super::ddl). A dialect has the tokens in which
//! they differ. The defaults are those that most databases share.

use forebay::buffer::{ColumnType, Schema};

use super::{
    codec::ColumnCodec,
    error::{Class, message},
};
use crate::Migrate;

/// In the text of a table that Forebay created. It tells those tables from an application's own.
pub(crate) const MARK: &str = "created by forebay";

/// How a database spells SQL.
pub(crate) trait Dialect: std::fmt::Debug + Send + Sync + 'static {
    type Codec: ColumnCodec;

    /// The database's name in messages.
    const NAME: &'static str;
    /// Before and after an identifier.
    const QUOTE: char = '"';
    /// The only schema in which a buffer's table can be.
    const ONLY_PLACE: Option<&'static str> = None;
    /// Whether column names that differ only in case are one name.
    const FOLDS_COLUMNS: bool = true;
    /// Whether a sink creates missing tables by default.
    const MIGRATE: Migrate = Migrate::No;
    /// Whether a failed statement has to be undone by rolling back to a savepoint.
    const SAVEPOINTS: bool = true;
    /// The type to which `CAST` converts a value that is read as text.
    const TEXT: &'static str;
    /// The column types of Forebay's own tables.
    const OWN_TYPES: OwnTypes;
    /// Whether `CREATE TABLE` contains the indexes of the table.
    const INLINE_INDEXES: bool = false;
    /// Joins the incoming rows to a table, in this order, with an `ON` after it.
    const JOIN: &'static str;
    /// Ends a `SELECT` that locks the rows it reads in table `t`.
    const LOCK_ROWS: &'static str = "";
    /// Ends a `SELECT` of rows to delete, so that it leaves out those that another transaction deletes.
    const SKIP_LOCKED: &'static str = "";
    /// Finds a table by schema (NULL: the default one) and name. Answers its schema, whether it is an ordinary table and
    /// whether Forebay created it; NULL means no.
    const TABLE_QUERY: &'static str;
    /// Lists the columns of a table by schema and name. Answers name, type, collation, whether it is NOT NULL (NULL means
    /// no), and the word of a [`Fill`](super::table::Fill).
    const COLUMNS_QUERY: &'static str;
    /// Lists the unique indexes of a table by schema and name. Answers an index and one of its columns; NULL stands for
    /// an expression. Indexes over some of the rows are left out.
    const UNIQUE_QUERY: &'static str;

    /// Classifies an error.
    fn classify(error: &sqlx::Error) -> Class;

    /// Why the database refused a row, for people.
    fn reason(error: &sqlx::Error) -> String {
        message(error)
    }

    /// The type that Forebay gives a column.
    fn type_name(column_type: ColumnType, schema: &Schema, key: bool) -> String;

    /// Comes before `PRIMARY KEY`, with a space at its end.
    fn constraint(_: &Schema) -> String {
        String::new()
    }

    /// Comes after the closing parenthesis of a buffer's table.
    fn table_options(schema: &Schema) -> &'static str;

    /// The placeholder of the parameter with this number, from 1.
    fn placeholder(_number: usize, _kind: Kind) -> String {
        "?".into()
    }

    /// A table `x` of the texts in a [list](super::bindings::Parameters::texts), and the expression for one of them as a key of `forebay_moves`.
    fn texts_table(placeholder: &str) -> (String, &'static str);

    /// A key of `forebay_moves` as text.
    fn key_text(column: &str) -> String {
        column.to_owned()
    }

    /// A time as text, `2026-01-01 00:00:00.000000` in UTC.
    fn time_text(column: &str) -> String {
        Self::cast(column)
    }

    /// An expression as text.
    fn cast(expression: &str) -> String {
        format!("CAST({expression} AS {})", Self::TEXT)
    }

    /// Deletes at most `limit` entries of the ledger from before a time, but none of the newest 1 000.
    fn prune(ledger: &str, before: &str, limit: u32) -> String {
        format!(
            "DELETE FROM {ledger} WHERE gen IN (
                 SELECT gen FROM {ledger} WHERE applied_at < {before} AND applied_at < (
                     SELECT applied_at FROM {ledger} ORDER BY applied_at DESC LIMIT 1 OFFSET 999)
                 ORDER BY applied_at LIMIT {limit}{})",
            Self::SKIP_LOCKED
        )
    }

    /// A table `x` of the incoming rows, in the columns that are named. `numbered` adds a column `n`, counted from 1.
    fn incoming(columns: &[(String, &Self::Codec)], rows: usize, numbered: bool) -> String;

    /// The source of an upsert's rows: `values` of the table that [`incoming`](Self::incoming) spells.
    fn inserted(incoming: &str, values: &str) -> String {
        format!("SELECT {values} FROM {incoming}")
    }

    /// A column of [`incoming`](Self::incoming), by its name and its index.
    fn incoming_column(name: &str, _index: usize) -> String {
        format!("x.{name}")
    }

    /// The placeholder of a key column in a statement about one row, where such a statement has no incoming table.
    fn key_placeholder(_index: usize) -> Option<String> {
        None
    }

    /// The new value of a column in the assignments of an upsert.
    fn excluded(column: &str) -> String {
        format!("excluded.{column}")
    }

    /// The name by which the assignments of an upsert call the row that is there.
    fn upserted(_table: &str) -> String {
        "t".into()
    }

    /// The left side of an assignment.
    fn assigned(_row: &str, column: &str) -> String {
        column.to_owned()
    }

    /// The sum of an old value, which may be NULL, and a new one.
    fn sum(old: &str, new: &str) -> String {
        format!("COALESCE({old}, 0) + {new}")
    }

    fn upsert(table: &str, columns: &str, source: &str, keys: &str, assignments: &str) -> String {
        format!(
            "INSERT INTO {table} AS t ({columns}) {source} ON CONFLICT ({keys}) DO UPDATE SET {assignments}"
        )
    }

    fn update(table: &str, incoming: &str, matches: &str, assignments: &str) -> String {
        format!("UPDATE {table} AS t SET {assignments} FROM {incoming} WHERE {matches}")
    }

    fn delete(table: &str, incoming: &str, matches: &str) -> String {
        format!("DELETE FROM {table} AS t USING {incoming} WHERE {matches}")
    }

    /// An identifier in quotes. [`Schema`] admits only letters, digits and `_`, but a database's schemas may have any name.
    fn quoted(identifier: &str) -> String {
        let quote = Self::QUOTE.to_string();
        format!("{quote}{}{quote}", identifier.replace(&quote, &quote.repeat(2)))
    }

    /// Qualifies a name by `schema`.
    fn place(schema: &str) -> String {
        format!("{}.", Self::quoted(schema))
    }

    /// One of Forebay's own tables.
    fn own(place: &str, table: &str) -> String {
        format!("{place}{}", Self::quoted(table))
    }
}

/// The type of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A text or an integer.
    Plain,
    Uuid,
    /// `2026-01-01 00:00:00.000000` in UTC.
    Time,
}

/// The column types of Forebay's own tables.
#[derive(Debug)]
pub(crate) struct OwnTypes {
    pub(crate) uuid: &'static str,
    /// The name of a buffer.
    pub(crate) name: &'static str,
    pub(crate) integer: &'static str,
    pub(crate) bigint: &'static str,
    pub(crate) time: &'static str,
    /// The key of a row, compared byte by byte.
    pub(crate) key: &'static str,
    pub(crate) text: &'static str,
    pub(crate) long_text: &'static str,
    /// A primary key that the database numbers.
    pub(crate) serial: &'static str,
    /// Comes after the closing parenthesis of a table.
    pub(crate) options: &'static str,
    /// The same for a table whose primary key is not a number.
    pub(crate) keyed_options: &'static str,
}
