//! The database behind the buffers, whichever it is.

use std::sync::Arc;

use anyhow::{Context, Result};
use forebay::{
    Clock,
    buffer::Schema,
    sink::{Sink, SinkError},
};
use forebay_sql::{MySql, Options, Postgres, Sqlite, Totals};

use crate::config::{BufferConfig, Url};

/// What a database understands.
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
    /// The schemes of URLs that lead to one of these.
    pub const SCHEMES: [&str; 5] = ["sqlite", "postgres", "postgresql", "mysql", "mariadb"];

    /// That of a URL with one of the [`SCHEMES`](Self::SCHEMES).
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
    /// What is wrong with it.
    pub fn check(url: &Url) -> forebay::Result<()> {
        match Self::of(url) {
            Self::Sqlite => Sqlite::check(url.reveal()),
            Self::Postgres => Postgres::check(url.reveal()),
            Self::Mysql => MySql::check(url.reveal()),
        }
    }

    /// Checks a buffer without opening the database.
    ///
    /// # Errors
    /// Why it cannot flush to any table there.
    pub fn check_buffer(self, schema: &Schema) -> forebay::Result<()> {
        match self {
            Self::Sqlite => Sqlite::check_buffer(schema),
            Self::Postgres => Postgres::check_buffer(schema),
            Self::Mysql => MySql::check_buffer(schema),
        }
    }

    /// The statements that create what a buffer needs.
    pub fn ddl(self, schema: &Schema) -> String {
        match self {
            Self::Sqlite => Sqlite::ddl(schema),
            Self::Postgres => Postgres::ddl(schema),
            Self::Mysql => MySql::ddl(schema),
        }
    }
}

/// A database, before a buffer says how it wants its table treated.
#[derive(Clone, Debug)]
pub(crate) enum Database {
    Sqlite(Sqlite),
    Postgres(Postgres),
    MySql(MySql),
}

impl Database {
    /// Opens the database of a configuration.
    pub(crate) async fn open(url: &Url) -> Result<Self> {
        let opened = match Dialect::of(url) {
            Dialect::Sqlite => Sqlite::open(url.reveal()).await.map(Self::Sqlite),
            Dialect::Postgres => Postgres::open(url.reveal()).await.map(Self::Postgres),
            Dialect::Mysql => MySql::open(url.reveal()).await.map(Self::MySql),
        };
        opened.with_context(|| format!("opening the database {url}"))
    }

    /// The sink of one buffer.
    pub(crate) fn sink(&self, config: &BufferConfig, clock: &Clock) -> Arc<dyn Sink> {
        let options = options(config, clock);
        match self {
            Self::Sqlite(database) => Arc::new(database.with(options)),
            Self::Postgres(database) => Arc::new(database.with(options)),
            Self::MySql(database) => Arc::new(database.with(options)),
        }
    }

    /// Adds up the table of a buffer.
    pub(crate) async fn totals(&self, config: &BufferConfig, clock: &Clock) -> Result<Totals, SinkError> {
        let (options, schema) = (options(config, clock), &config.schema);
        match self {
            Self::Sqlite(database) => database.with(options).totals(schema).await,
            Self::Postgres(database) => database.with(options).totals(schema).await,
            Self::MySql(database) => database.with(options).totals(schema).await,
        }
    }

    /// Leaves it as a file that can be copied. A server needs no farewell.
    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(database) => database.close().await,
            Self::Postgres(_) | Self::MySql(_) => {}
        }
    }

    /// Whether it answers.
    pub(crate) async fn ping(&self) -> Result<(), SinkError> {
        match self {
            Self::Sqlite(database) => database.ping().await,
            Self::Postgres(database) => database.ping().await,
            Self::MySql(database) => database.ping().await,
        }
    }
}

/// How a buffer wants its table treated.
fn options(config: &BufferConfig, clock: &Clock) -> Options {
    let mut options = Options::new().clock(clock.clone());
    options = config.migrate.into_iter().fold(options, Options::migrate);
    options = config.missing.into_iter().fold(options, Options::missing);
    config.ledger_retention.into_iter().fold(options, Options::ledger_retention)
}
