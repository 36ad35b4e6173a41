//! Makes a connection: URL, protocol, scripts, and the server's identity.

use std::{pin::Pin, sync::Arc};

use redis::{
    AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion,
    RedisConnectionInfo, RedisError, RedisResult, Value,
    aio::{MultiplexedConnection, PubSub},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

use super::{
    pipeline::{load, pipeline, send},
    refusal::Refusal,
    reply::{server_time, text, unavailable, unexpected, unreachable},
    script::Script,
};
use crate::{
    engine::{cluster::RouterKind, options::unknown_parameter},
    error::{Error, ErrorKind, Result, invalid},
};

/// The oldest server whose commands suffice.
const MIN_VERSION: (u32, u32) = (6, 2);

/// Where a host is, and how to log in there.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// For messages: never with a password.
    pub name: Box<str>,
    info: ConnectionInfo,
}

impl Target {
    /// Reads `redis://[user][:password@]host[:port][/db]` or `redis+unix:///path[?db=n]`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`], also for a parameter that nothing would read.
    pub(super) fn parse(url: &str) -> Result<Self> {
        let info = url.into_connection_info().map_err(|cause| {
            // The URL may hold a password: leave it out.
            invalid("store URL: redis://[user][:password@]host[:port][/db] is accepted").with_source(cause)
        })?;
        let db = info.redis_settings().db();
        if db < 0 {
            return Err(invalid(format!("store URL: database {db}: 0 or greater is accepted")));
        }
        let accepted: &[&str] = match info.addr() {
            ConnectionAddr::Unix(_) => &["db", "user", "pass", "protocol"],
            _ => &["protocol", "router"],
        };
        check_query(url, accepted)?;
        let name = match info.addr() {
            ConnectionAddr::Tcp(host, port) => format!("{host}:{port}/{db}"),
            ConnectionAddr::Unix(path) => format!("{}?db={db}", path.display()),
            _ => return Err(invalid("store URL: rediss:// is not supported by this build")),
        };
        Ok(Self { name: name.into(), info })
    }
}

/// Refuses a parameter of a URL that is not accepted.
fn check_query(url: &str, accepted: &[&str]) -> Result<()> {
    let query = url.split('#').next().and_then(|url| url.split_once('?')).map_or("", |(_, query)| query);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if !accepted.contains(&name) {
            // Then it may be the end of a password, which no message shows.
            if query.contains('@') {
                return Err(invalid("store URL: unknown parameter; a \"?\" in a login is written %3F"));
            }
            return Err(unknown_parameter(name, accepted));
        }
        // One host has all keys, whatever the router; a list has taken its own out.
        if name == "router" {
            value.parse::<RouterKind>()?;
        }
    }
    Ok(())
}

/// The server's answers in the handshake.
#[derive(Debug)]
pub(super) struct ServerInfo {
    /// The scripts' hashes, in the order of [`Script::ALL`].
    pub hashes: Box<[String]>,
    pub replid: Arc<str>,
    pub maxmemory_policy: Box<str>,
    /// The server's clock, in microseconds.
    pub time: u64,
}

/// Reads and writes the socket of a connection.
pub(super) type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One attempt: RESP3, or RESP2 where the server or something before it refuses that.
pub(super) async fn connect(target: &Target) -> Result<(MultiplexedConnection, Driver, ServerInfo)> {
    let mut attempt = handshake(target, ProtocolVersion::RESP3).await;
    if attempt.as_ref().is_err_and(refuses_resp3) {
        attempt = handshake(target, ProtocolVersion::RESP2).await;
    }
    let (mut connection, mut driver) = attempt.map_err(|cause| unreachable(&target.name, &cause))?;
    let server = tokio::select! {
        server = identify(&target.name, &mut connection) => server?,
        () = &mut driver => return Err(unavailable(&target.name, "the connection ended in the handshake")),
    };
    Ok((connection, driver, server))
}

/// Proxies, and servers whose `HELLO` was renamed.
fn refuses_resp3(cause: &RedisError) -> bool {
    cause.kind() == redis::ErrorKind::RESP3NotSupported
        || cause.code() == Some("NOPROTO")
        || cause.detail().is_some_and(|detail| detail.starts_with("unknown command"))
}

async fn handshake(
    target: &Target,
    protocol: ProtocolVersion,
) -> RedisResult<(MultiplexedConnection, Driver)> {
    let settings = target.info.redis_settings().clone().set_protocol(protocol);
    over(socket(target).await?, &settings).await
}

/// A connection that listens to one channel.
pub(super) async fn subscribe(target: &Target, channel: &str) -> RedisResult<PubSub> {
    // Subscriptions have no more to say in RESP3, and every server speaks this.
    let settings = target.info.redis_settings().clone().set_protocol(ProtocolVersion::RESP2);
    let mut connection = PubSub::new(&settings, socket(target).await?).await?;
    connection.subscribe(channel).await?;
    Ok(connection)
}

/// A TCP or Unix socket.
trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Socket for T {}

async fn socket(target: &Target) -> RedisResult<Box<dyn Socket>> {
    match target.info.addr() {
        ConnectionAddr::Tcp(name, port) => {
            let stream = TcpStream::connect((name.as_str(), *port)).await?;
            // Two pipelines are in flight: with Nagle's algorithm the second would wait for the first one's
            // acknowledgement.
            stream.set_nodelay(true)?;
            Ok(Box::new(stream))
        }
        ConnectionAddr::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
        _ => Err(RedisError::from((redis::ErrorKind::InvalidClientConfig, "TLS is not supported"))),
    }
}

async fn over(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    settings: &RedisConnectionInfo,
) -> RedisResult<(MultiplexedConnection, Driver)> {
    // Our own timeouts: redis-rs would drop a pipeline after half a second, and with it know less than we do.
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let (connection, driver) = MultiplexedConnection::new_with_config(settings, stream, config).await?;
    Ok((connection, Box::pin(driver)))
}

/// Loads the scripts, and asks for the server's identity.
async fn identify(name: &str, connection: &mut MultiplexedConnection) -> Result<ServerInfo> {
    let commands = Script::ALL.iter().copied().map(load).chain([redis::cmd("INFO"), redis::cmd("TIME")]);
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
    let field = |field: &str| info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let missing = |field| unavailable(name, format_args!("INFO does not tell {field}"));

    let version = field("redis_version").ok_or_else(|| missing("redis_version"))?;
    if parse_version(version).is_none_or(|version| version < MIN_VERSION) {
        let (major, minor) = MIN_VERSION;
        let text = format!("redis {name}: version {version}: {major}.{minor} or later is needed");
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    if field("role") != Some("master") {
        return Err(unavailable(name, "this is a replica; its primary is needed"));
    }
    let replid = field("master_replid").ok_or_else(|| missing("master_replid"))?;
    let policy = field("maxmemory_policy").unwrap_or("unknown");
    Ok(ServerInfo { hashes: hashes.into(), replid: replid.into(), maxmemory_policy: policy.into(), time })
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}
