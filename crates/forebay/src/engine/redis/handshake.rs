//! Makes a connection to a server: protocol, scripts, and the server's identity.

use std::sync::Arc;

use redis::{Value, aio::MultiplexedConnection};

use super::{
    access::Driver,
    dial::Endpoint,
    fence::Scripts,
    meter::memory,
    pipeline::{pipeline, send},
    refusal::Refusal,
    reply::{info_field, server_time, text, unavailable, unexpected, unreachable},
    script::Script,
    target::Target,
};
use crate::{
    clock::Clock,
    error::{Error, ErrorKind, Result},
    model::Memory,
};

/// The oldest server whose commands suffice.
pub(super) const MIN_VERSION: (u32, u32) = (6, 2);

/// The server's answers in the handshake.
#[derive(Debug)]
pub(super) struct ServerInfo {
    /// The scripts' hashes, in the order of [`Script::ALL`].
    pub hashes: Box<[String]>,
    /// Empty if it does not tell it.
    pub replid: Arc<str>,
    pub maxmemory_policy: Box<str>,
    pub memory: Option<Memory>,
    /// The server's clock, in microseconds.
    pub time: u64,
    /// Whether it is a node of a Redis Cluster.
    pub is_node: bool,
    /// Of a replica, where its primary is; empty if it does not tell.
    pub replica_of: Option<Box<str>>,
}

/// One attempt to connect to the host where it was found.
pub(super) async fn connect(
    target: &Target,
    endpoint: &Endpoint,
    clock: &Clock,
    scripts: &Scripts,
) -> Result<(MultiplexedConnection, Driver, ServerInfo)> {
    let name = target.name_at(endpoint);
    let attempt = target.access.connect(&name, endpoint, clock).await;
    let (mut connection, mut driver) = attempt.map_err(|error| {
        if !target.is_announced() || error.kind() != ErrorKind::Unavailable {
            return error;
        }
        // In containers a server may announce an address that only they can reach.
        let text = format!("{error} (the sentinels announce this address: see replica-announce-ip)");
        Error::new(error.kind(), text)
    })?;
    let server = tokio::select! {
        server = identify(&name, &mut connection, scripts) => server?,
        () = &mut driver => return Err(unavailable(&name, "the connection ended in the handshake")),
    };
    Ok((connection, driver, server))
}

/// The error of a server that is a replica.
pub(super) fn not_primary(name: &str, replica_of: &str) -> Error {
    let primary = if replica_of.is_empty() { String::new() } else { format!(": write {replica_of}") };
    unavailable(name, format_args!("this is a replica; its primary is needed{primary}"))
}

/// Loads the scripts, and asks for the server's identity.
async fn identify(
    name: &str,
    connection: &mut MultiplexedConnection,
    scripts: &Scripts,
) -> Result<ServerInfo> {
    let loads = Script::ALL.iter().map(|script| scripts.load(*script));
    let commands = loads.chain([redis::cmd("INFO"), redis::cmd("TIME")]);
    let values = send(connection, &pipeline(commands)).await.map_err(|cause| unreachable(name, &cause))?;
    let mut replies = values.into_iter();
    let mut next = |what| match replies.next() {
        Some(Value::ServerError(error)) => Err(Refusal::of(&error).error_at_start(name)),
        Some(value) => Ok(value),
        None => Err(unexpected(name, what)),
    };
    let mut hashes = vec![];
    for _ in Script::ALL {
        hashes.push(text(next("SCRIPT LOAD")?).ok_or_else(|| unexpected(name, "SCRIPT LOAD"))?);
    }
    let info = text(next("INFO")?).ok_or_else(|| unexpected(name, "INFO"))?;
    let time = server_time(next("TIME")?).ok_or_else(|| unexpected(name, "TIME"))?;
    let field = |name: &str| info_field(&info, name);
    let missing = |field| unavailable(name, format_args!("INFO does not tell {field}"));

    let version = field("redis_version").ok_or_else(|| missing("redis_version"))?;
    if parse_version(version).is_none_or(|version| version < MIN_VERSION) {
        let (major, minor) = MIN_VERSION;
        let text = format!("redis {name}: version {version}: {major}.{minor} or later is needed");
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    let replica_of = (field("role") != Some("master")).then(|| {
        let primary = field("master_host").zip(field("master_port"));
        primary.map_or(String::new(), |(host, port)| format!("{host}:{port}")).into()
    });
    // Some managed servers hide it: then no write in doubt is sent again.
    let replid = field("master_replid").unwrap_or_default();
    let policy = field("maxmemory_policy").unwrap_or("unknown");
    Ok(ServerInfo {
        hashes: hashes.into(),
        replid: replid.into(),
        maxmemory_policy: policy.into(),
        memory: memory(&info),
        time,
        is_node: field("cluster_enabled") == Some("1"),
        replica_of,
    })
}

pub(super) fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}
