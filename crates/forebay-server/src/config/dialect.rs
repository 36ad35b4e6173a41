//! The SQL dialects, and the checks that need no connection.

use forebay::buffer::Schema;
use forebay_sql::{MySql, Postgres, Sqlite};

use super::secret::Url;

/// The SQL dialect of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Dialect {
    /// SQLite.
    Sqlite,
    /// Postgres.
    Postgres,
    /// MySQL and MariaDB.
    Mysql,
}

impl Dialect {
    /// The URL schemes of databases.
    pub const SCHEMES: [&str; 5] = ["sqlite", "postgres", "postgresql", "mysql", "mariadb"];

    /// The dialect of a URL with one of the [`SCHEMES`](Self::SCHEMES).
    pub fn of(url: &Url) -> Self {
        match url.scheme() {
            "postgres" | "postgresql" => Self::Postgres,
            "mysql" | "mariadb" => Self::Mysql,
            _ => Self::Sqlite,
        }
    }

    /// Checks a URL with one of the [`SCHEMES`](Self::SCHEMES) without opening the database.
    ///
    /// # Errors
    /// The mistake in the URL.
    pub fn check(url: &Url) -> forebay::Result<()> {
        match Self::of(url) {
            Self::Sqlite => Sqlite::check(url.reveal()),
            Self::Postgres => Postgres::check(url.reveal()),
            Self::Mysql => MySql::check(url.reveal()),
        }
    }

    /// Checks that a buffer can flush to a table, without opening the database.
    ///
    /// # Errors
    /// The reason why it cannot.
    pub fn check_buffer(self, schema: &Schema) -> forebay::Result<()> {
        match self {
            Self::Sqlite => Sqlite::check_buffer(schema),
            Self::Postgres => Postgres::check_buffer(schema),
            Self::Mysql => MySql::check_buffer(schema),
        }
    }

    /// The statements that create the tables of a buffer.
    pub fn ddl(self, schema: &Schema) -> String {
        match self {
            Self::Sqlite => Sqlite::ddl(schema),
            Self::Postgres => Postgres::ddl(schema),
            Self::Mysql => MySql::ddl(schema),
        }
    }
}
