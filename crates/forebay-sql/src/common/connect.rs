//! Connections to a database server.

use std::time::Duration;

use forebay::{Error, ErrorKind, Result, time::secs};
use sqlx::{ConnectOptions, Connection as _};

use super::error::message;

/// Connections that a sink opens at most: partitions that are flushed at once.
pub(crate) const MAX_CONNECTIONS: u32 = 8;

/// How long to wait for a connection, which includes making one.
pub(crate) const CONNECT_TIMEOUT: Duration = secs(10);

/// Connects once, and says why not. A pool would go on trying, and then only say that it took too long.
pub(crate) async fn reach(
    options: &impl ConnectOptions<Connection: Sized>,
    kind: &str,
    name: &str,
) -> Result<()> {
    let connected = match options.connect().await {
        Ok(connection) => connection.close().await,
        Err(error) => Err(error),
    };
    connected.map_err(|cause| {
        Error::new(ErrorKind::Unavailable, format!("opening {kind} {name}: {}", message(&cause)))
    })
}
