//! The database that the buffers flush to.

use std::sync::Arc;

use anyhow::{Context, Result};
use forebay::{
    Clock,
    sink::{Sink, SinkError},
};
use forebay_sql::{MySql, Options, Postgres, Sqlite, Totals};

use crate::config::{BufferConfig, Dialect, Url};

/// An open database. Each buffer adds its own options.
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

    /// Sums up the table of a buffer.
    pub(crate) async fn totals(&self, config: &BufferConfig, clock: &Clock) -> Result<Totals, SinkError> {
        let (options, schema) = (options(config, clock), &config.schema);
        match self {
            Self::Sqlite(database) => database.with(options).totals(schema).await,
            Self::Postgres(database) => database.with(options).totals(schema).await,
            Self::MySql(database) => database.with(options).totals(schema).await,
        }
    }

    /// Closes the database. SQLite then leaves a single file that can be copied; a database server needs no close.
    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(database) => database.close().await,
            Self::Postgres(_) | Self::MySql(_) => {}
        }
    }

    /// Checks that it answers.
    pub(crate) async fn ping(&self) -> Result<(), SinkError> {
        match self {
            Self::Sqlite(database) => database.ping().await,
            Self::Postgres(database) => database.ping().await,
            Self::MySql(database) => database.ping().await,
        }
    }
}

/// The options of a buffer for its table.
fn options(config: &BufferConfig, clock: &Clock) -> Options {
    let mut options = Options::new().clock(clock.clone());
    options = config.migrate.into_iter().fold(options, Options::migrate);
    options = config.missing.into_iter().fold(options, Options::missing);
    config.ledger_retention.into_iter().fold(options, Options::ledger_retention)
}
