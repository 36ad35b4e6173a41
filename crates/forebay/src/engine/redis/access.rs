//! Makes connections to any server of a store. They share login, database, protocol and TLS.

use std::{pin::Pin, time::Duration};

use redis::{
    AsyncConnectionConfig, ErrorKind as Cause, ProtocolVersion, RedisConnectionInfo, RedisError, RedisResult,
    aio::{MultiplexedConnection, PubSub, PubSubSink},
};

use super::{
    dial::{Endpoint, Socket, dial, speaks_tls},
    login::Login,
    reply::unreachable,
    tls::Tls,
};
use crate::{
    clock::Clock,
    error::{Error, ErrorKind, Result},
    time::secs,
};

/// How often a silent connection is asked whether it still stands, and how long it may take to say so.
const PING_INTERVAL: Duration = secs(10);
const PING_TIMEOUT: Duration = secs(2);

/// How to be let in to the servers of a store.
#[derive(Clone, Debug, Default)]
pub(super) struct Access {
    pub login: Login,
    pub db: u32,
    /// Whether RESP3 is not to be tried.
    pub resp2: bool,
    pub tls: Option<Tls>,
}

/// Reads and writes the socket of a connection.
pub(super) type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Access {
    /// A connection that answers commands: by RESP3, or by RESP2 where the server or something before it refuses that.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] where login or TLS do not fit, else [`ErrorKind::Unavailable`].
    pub(super) async fn connect(
        &self,
        name: &str,
        endpoint: &Endpoint,
        clock: &Clock,
    ) -> Result<(MultiplexedConnection, Driver)> {
        if !self.resp2 {
            match self.attempt(name, endpoint, ProtocolVersion::RESP3, clock).await? {
                Err(cause) if refuses_resp3(&cause) => {}
                attempt => return self.made(name, endpoint, attempt, clock).await,
            }
        }
        let attempt = self.attempt(name, endpoint, ProtocolVersion::RESP2, clock).await?;
        self.made(name, endpoint, attempt, clock).await
    }

    /// A connection that listens to one channel.
    pub(super) async fn subscribe(
        &self,
        name: &str,
        endpoint: &Endpoint,
        channel: &str,
        clock: &Clock,
    ) -> Result<PubSub> {
        // Subscriptions have no more to say in RESP3, and every server speaks this. They know no databases.
        let settings = self.login.settings()?.set_protocol(ProtocolVersion::RESP2);
        let stream = dial(name, endpoint, self.tls.as_ref(), clock).await?;
        let listening = async {
            let mut connection = PubSub::new(&settings, stream).await?;
            connection.subscribe(channel).await?;
            Ok(connection)
        };
        self.made(name, endpoint, listening.await, clock).await
    }

    /// The words of `AUTH` for a connection that stands, if the password may be another by now.
    pub(super) fn words(&self) -> Result<Option<Vec<String>>> {
        if !self.login.may_change() {
            return Ok(None);
        }
        let user = self.login.user.as_deref().map(str::to_owned);
        Ok(self.login.password()?.map(|password| user.into_iter().chain([password]).collect()))
    }

    async fn attempt(
        &self,
        name: &str,
        endpoint: &Endpoint,
        protocol: ProtocolVersion,
        clock: &Clock,
    ) -> Result<RedisResult<(MultiplexedConnection, Driver)>> {
        let settings = self.login.settings()?.set_protocol(protocol).set_db(self.db.into());
        let stream = dial(name, endpoint, self.tls.as_ref(), clock).await?;
        Ok(over(stream, &settings).await)
    }

    /// Explains an attempt that the server did not let pass.
    async fn made<T>(
        &self,
        name: &str,
        endpoint: &Endpoint,
        attempt: RedisResult<T>,
        clock: &Clock,
    ) -> Result<T> {
        let cause = match attempt {
            Ok(made) => return Ok(made),
            Err(cause) => cause,
        };
        let text = match &self.tls {
            Some(tls) => tls.refusal(&cause.to_string()),
            None if matches!(cause.kind(), Cause::Io | Cause::Parse) && speaks_tls(endpoint, clock).await => {
                Some("the server speaks TLS on this port: write rediss: (rediss+sentinel:) in the URL".into())
            }
            None => None,
        };
        Err(text.map_or_else(
            || unreachable(name, &cause),
            |text| Error::new(ErrorKind::Configuration, format!("redis {name}: cannot connect: {text}")),
        ))
    }
}

/// Ends when a connection that only listens does not answer any more.
pub(super) async fn silent(ask: &mut PubSubSink, clock: &Clock) {
    loop {
        clock.sleep(PING_INTERVAL).await;
        if !matches!(clock.timeout(PING_TIMEOUT, ask.ping::<redis::Value>()).await, Some(Ok(_))) {
            return;
        }
    }
}

/// Proxies, and servers whose `HELLO` was renamed.
fn refuses_resp3(cause: &RedisError) -> bool {
    cause.kind() == redis::ErrorKind::RESP3NotSupported
        || cause.code() == Some("NOPROTO")
        || cause.detail().is_some_and(|detail| detail.starts_with("unknown command"))
}

async fn over(
    stream: Box<dyn Socket>,
    settings: &RedisConnectionInfo,
) -> RedisResult<(MultiplexedConnection, Driver)> {
    // Our own timeouts: redis-rs would drop a pipeline after half a second, and with it know less than we do.
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let (connection, driver) = MultiplexedConnection::new_with_config(settings, stream, config).await?;
    Ok((connection, Box::pin(driver)))
}
