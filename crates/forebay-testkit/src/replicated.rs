//! Whether the replica of a server has what the server did.

use std::io;

use crate::resp::{Connection, Reply};

/// Whether the server on a port of this machine answers and calls itself a primary.
pub fn is_primary(port: u16) -> bool {
    let role = || Connection::open(port)?.command(["ROLE"]);
    matches!(role(), Ok(Reply::Array(words)) if words.first() == Some(&Reply::text("master")))
}

/// Whether a replica of the server on a port of this machine says within a second that it has all that the server did until now
/// (`WAIT`). Increments `key`, since the answer is about the writes of the connection that asks.
pub fn is_replicated(port: u16, key: &str) -> bool {
    let acknowledged = || -> io::Result<bool> {
        let mut connection = Connection::open(port)?;
        let written = connection.command(["INCR", key])?;
        let replicas = connection.command(["WAIT", "1", "1000"])?;
        Ok(matches!((written, replicas), (Reply::Integer(_), Reply::Integer(1..))))
    };
    acknowledged().unwrap_or(false)
}
