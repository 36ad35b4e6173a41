//! Connections to a database server.

use std::{fmt, path::Path, str::FromStr, time::Duration};

use forebay::{Error, ErrorKind, Result, time::secs};
use sqlx::{ConnectOptions as _, Connection, Database, Pool, pool::PoolOptions};

use super::{error::message, url};

/// How many connections a sink opens at most. As many partitions can be flushed at once.
const MAX_CONNECTIONS: u32 = 8;

/// How long to wait for a connection, which may include making one.
const CONNECT_TIMEOUT: Duration = secs(10);

/// The URLs of a kind of server.
#[derive(Debug)]
pub(crate) struct ServerUrl {
    pub(crate) kind: &'static str,
    pub(crate) schemes: &'static [&'static str],
    /// The parameters that the driver reads, with spaces between them.
    pub(crate) parameters: &'static str,
    pub(crate) example: &'static str,
}

impl ServerUrl {
    /// Parses a URL.
    ///
    /// # Errors
    /// The mistake in it. The message does not contain the URL, which may have a password.
    pub(crate) fn parse<O: FromStr<Err = sqlx::Error>>(&self, url: &str) -> Result<O> {
        if !self.schemes.iter().any(|scheme| url.starts_with(scheme)) {
            return Err(self.invalid(&"another scheme"));
        }
        let parameters: Vec<&str> = self.parameters.split(' ').collect();
        url::check(url, &parameters).map_err(|why| self.invalid(&why))?;
        O::from_str(url).map_err(|error| self.invalid(&message(&error)))
    }

    pub(crate) fn invalid(&self, why: &dyn fmt::Display) -> Error {
        let Self { kind, example, .. } = self;
        Error::new(ErrorKind::Invalid, format!("that is no URL of a {kind} database ({why}): give {example}"))
    }
}

/// A server and a database in messages, without credentials.
pub(crate) fn name(socket: Option<&Path>, host: &str, port: u16, database: &str) -> String {
    match socket {
        Some(socket) => format!("{}/{database}", socket.display()),
        None => format!("{host}:{port}/{database}"),
    }
}

/// Opens a pool. Connects once first, to report why that fails: a pool would retry, and then only report a timeout.
pub(crate) async fn pool<D: Database>(
    options: <D::Connection as Connection>::Options,
    kind: &str,
    name: &str,
) -> Result<Pool<D>> {
    let connected = match options.connect().await {
        Ok(connection) => connection.close().await,
        Err(error) => Err(error),
    };
    connected.map_err(|cause| {
        Error::new(ErrorKind::Unavailable, format!("opening {kind} {name}: {}", message(&cause)))
    })?;
    let pool = PoolOptions::new().max_connections(MAX_CONNECTIONS).acquire_timeout(CONNECT_TIMEOUT);
    Ok(pool.connect_lazy_with(options))
}
