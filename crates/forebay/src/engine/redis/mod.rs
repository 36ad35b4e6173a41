//! The engine on one Redis host.
//!
//! Every step is a script, so that it is atomic there; the steps that many callers make at once (takes)
//! are combined into few. What is stored under which key stands in `docs/keyspace.md`.

mod combine;
mod connection;
mod handshake;
mod keys;
mod limit;
mod plan;
mod reply;
mod script;
mod unready;
mod wire;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use self::{combine::Combiner, connection::Host, keys::Keys};
use crate::{clock::Clock, error::Result};

/// The engine on one Redis host.
#[derive(Debug)]
pub(crate) struct Redis {
    host: Arc<Host>,
    keys: Keys,
    combiner: Combiner,
}

impl Redis {
    /// Connects to the host at `url` (`redis://[user][:password@]host[:port][/db]`, or `redis+unix:///path`).
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for another URL; what the first attempt to
    /// connect came to, if it failed. From then on the connection is kept up by itself.
    pub(crate) async fn open(url: &str, prefix: &str, clock: Clock) -> Result<Arc<Self>> {
        let host = Host::open(url, clock).await?;
        let combiner = Combiner::new(host.clone());
        Ok(Arc::new(Self { host, keys: Keys::new(prefix), combiner }))
    }

    pub(crate) async fn ping(&self) -> Result<()> {
        self.host.query(&redis::cmd("PING")).await.map(|_| ())
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        self.host.warnings()
    }

    #[expect(clippy::unused_async, reason = "steps are async on every engine")]
    pub(crate) async fn close(&self) -> Result<()> {
        self.host.close();
        Ok(())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // Its tasks hold the host, which would otherwise stay connected for ever.
        self.host.close();
    }
}
