//! The engine on one Redis host.
//!
//! Every step is a script, so that it is atomic there; the steps that many callers make at once (takes)
//! are combined into few. What is stored under which key stands in `docs/keyspace.md`.

mod breaker;
mod buffer;
mod chunk;
mod combine;
mod connection;
mod dedup;
mod handshake;
mod inbox;
mod keys;
mod kv;
mod lease;
mod limit;
mod lock;
mod once;
mod overrides;
mod partition_writer;
mod plan;
mod probe;
mod record;
mod refusal;
mod reply;
mod rows;
mod script;
mod series;
mod server_clock;
mod tokens;
mod wire;

#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock, atomic::AtomicU64};

pub(crate) use self::limit::BatchedTake;
use self::{
    breaker::Breaker, combine::Combiner, connection::Host, inbox::Inbox, keys::Keys,
    partition_writer::Writers, probe::Probe,
};
use crate::{
    clock::Clock,
    error::Result,
    model::{Health, HostStatus},
};

/// The engine on one Redis host.
#[derive(Debug)]
pub(crate) struct Redis {
    host: Arc<Host>,
    keys: Keys,
    combiner: Combiner,
    breaker: Breaker,
    probe: Probe,
    inbox: Inbox,
    /// The connection for plain commands, once there was one.
    plain: OnceLock<Arc<Host>>,
    writers: Writers,
    series_writers: series::Writers,
    /// The bytes of requests and their tokens, as the host said last. Only shown, so any memory order will do.
    once_bytes: AtomicU64,
}

impl Redis {
    /// Connects to the host at `url` (`redis://[user][:password@]host[:port][/db]`, or `redis+unix:///path`).
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for another URL; what the first attempt to
    /// connect came to, if it failed. From then on the connection is kept up by itself.
    pub(crate) async fn open(url: &str, prefix: &str, clock: Clock) -> Result<Arc<Self>> {
        let engine = Self::start(url, prefix, clock)?;
        engine.host.session().await?;
        engine.enter_service();
        Ok(engine)
    }

    /// Checks a URL without connecting.
    pub(crate) fn check(url: &str) -> Result<()> {
        handshake::Target::parse(url).map(|_| ())
    }

    /// As [`open`](Self::open), without waiting for the first attempt to connect, and whatever it comes to.
    pub(crate) fn start(url: &str, prefix: &str, clock: Clock) -> Result<Arc<Self>> {
        let keys = Keys::new(prefix);
        let host = Host::start(url, keys.clone(), clock)?;
        let combiner = Combiner::new(host.clone(), keys.clone());
        let inbox = Inbox::new(keys.inboxes());
        let writers = Writers::default();
        let series_writers = series::Writers::default();
        Ok(Arc::new(Self {
            host,
            keys,
            combiner,
            breaker: Breaker::default(),
            probe: Probe::default(),
            inbox,
            plain: OnceLock::new(),
            writers,
            series_writers,
            once_bytes: AtomicU64::new(0),
        }))
    }

    /// The store is open: whatever this host refuses from here on is an outage.
    pub(crate) fn enter_service(&self) {
        self.host.enter_service();
    }

    /// This host.
    pub(crate) fn hosts(&self) -> Vec<HostStatus> {
        let reason = self.host.trouble().map(|error| error.to_string().into());
        let health = if reason.is_some() { Health::Down } else { Health::Up };
        vec![HostStatus { health, reason, ..HostStatus::only(self.host.name()) }]
    }

    fn plain(&self) -> &Arc<Host> {
        self.plain.get_or_init(|| self.host.twin())
    }

    /// Whether it was closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.host.is_closed()
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        self.host.warnings()
    }

    pub(crate) async fn close(&self) -> Result<()> {
        self.end();
        Ok(())
    }

    fn end(&self) {
        self.host.close();
        self.inbox.close();
        if let Some(plain) = self.plain.get() {
            plain.close();
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // Its tasks hold the host, which would otherwise stay connected for ever.
        self.end();
    }
}
