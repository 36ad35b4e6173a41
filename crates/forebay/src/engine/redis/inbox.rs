//! Messages that tell waiters of this process to claim their lock again.
//!
//! One subscription for all locks, on a connection of its own, made when somebody waits for the first time. A message
//! may get lost with a connection, so every new connection notifies all waiters: a needless claim costs little.

use std::{
    sync::{Arc, LazyLock, OnceLock},
    time::Duration,
};

use futures::StreamExt as _;
use tokio::task::AbortHandle;
use uuid::Uuid;

use super::{access::silent, connection::Host};
use crate::{
    backoff::Backoff,
    engine::notifier::{Notifier, Subscription},
    error::Error,
    time::{millis, secs},
};

/// How long the subscription may take.
const ANSWER_TIMEOUT: Duration = secs(2);

/// The pauses after the connection failed.
const RECONNECT: Backoff = Backoff::new(millis(50), secs(2));

/// The id of this process: the same on every host, so that a waiter has its place in a queue that moves to another one.
static ID: LazyLock<String> = LazyLock::new(|| Uuid::new_v4().simple().to_string());

/// The inbox of this process on one host.
#[derive(Debug)]
pub(super) struct Inbox {
    /// The prefix of the channel's name, before the id of the process.
    before: String,
    notifier: Arc<Notifier>,
    listener: OnceLock<AbortHandle>,
}

impl Inbox {
    pub(super) fn new(before: String) -> Self {
        Self { before, notifier: Arc::default(), listener: OnceLock::new() }
    }

    pub(super) fn id() -> &'static str {
        &ID
    }

    pub(super) fn before(&self) -> &str {
        &self.before
    }

    /// Subscribes a waiter. The first subscription opens the inbox, which needs a tokio runtime.
    pub(super) fn subscription(&self, host: &Arc<Host>, owner: Uuid) -> Subscription {
        let subscription = self.notifier.subscribe(owner);
        self.listener.get_or_init(|| {
            let channel = format!("{}{}", self.before, Self::id());
            tokio::spawn(listen(host.unowned(), channel, self.notifier.clone())).abort_handle()
        });
        subscription
    }

    pub(super) fn close(&self) {
        if let Some(listener) = self.listener.get() {
            listener.abort();
        }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.close();
    }
}

async fn listen(host: Arc<Host>, channel: String, notifier: Arc<Notifier>) {
    let mut backoff = RECONNECT;
    for number in 0.. {
        // Each node of a Redis Cluster hears what is published at any.
        let node = host.peers().and_then(|peers| peers.any(number));
        let host = node.as_ref().unwrap_or(&host);
        let clock = host.clock();
        let attempt = clock.timeout(ANSWER_TIMEOUT, async {
            let located = host.target().locate(clock).await?;
            let subscription = host.target().subscribe(&located.endpoint, &channel, clock).await?;
            Ok::<_, Error>((located, subscription))
        });
        match attempt.await {
            Some(Ok((mut located, subscription))) => {
                backoff.reset();
                // Earlier messages were missed.
                notifier.notify_all();
                let (mut ask, mut messages) = subscription.split();
                tokio::select! {
                    () = silent(&mut ask, clock) => {}
                    () = located.moved(clock) => {}
                    () = async {
                        while let Some(message) = messages.next().await {
                            if let Ok(owner) = Uuid::from_slice(message.get_payload_bytes()) {
                                notifier.notify(owner);
                            }
                        }
                    } => {}
                }
                tracing::debug!(host = host.name(), "the inbox lost its connection");
            }
            Some(Err(error)) => tracing::debug!(host = host.name(), %error, "cannot open the inbox"),
            None => tracing::debug!(host = host.name(), "cannot open the inbox within {ANSWER_TIMEOUT:?}"),
        }
        clock.sleep(backoff.after_failure()).await;
    }
}
