//! Messages for this process: who of its waiters should claim again.
//!
//! One subscription for all locks, on a connection of its own, made when somebody waits for the first time. A message
//! may get lost with a connection, so every new one rings all bells: a claim that comes for nothing costs little.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures::StreamExt as _;
use redis::aio::PubSubSink;
use tokio::task::AbortHandle;
use uuid::Uuid;

use super::{connection::Host, handshake::subscribe};
use crate::{
    clock::Clock,
    engine::bell::{Bell, Bells},
    time::{millis, secs},
};

/// How often a silent connection is asked whether it still stands, and how long it may take to say so.
const CHECK: Duration = secs(10);
const ANSWER: Duration = secs(2);

/// The pause after a failure, doubled each time, and its bound.
const BACK_OFF: Duration = millis(50);
const MOST_BACK_OFF: Duration = secs(2);

/// The inbox of this process on one host.
#[derive(Debug)]
pub(super) struct Inbox {
    id: String,
    /// What comes before the id in the channel's name.
    before: String,
    bells: Arc<Bells>,
    listener: OnceLock<AbortHandle>,
}

impl Inbox {
    pub(super) fn new(before: String) -> Self {
        let id = Uuid::new_v4().simple().to_string();
        Self { id, before, bells: Arc::default(), listener: OnceLock::new() }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn before(&self) -> &str {
        &self.before
    }

    /// A bell for a waiter; the first one opens the inbox, which needs a tokio runtime.
    pub(super) fn bell(&self, host: &Arc<Host>, owner: Uuid) -> Bell {
        let bell = self.bells.hang(owner);
        self.listener.get_or_init(|| {
            let channel = format!("{}{}", self.before, self.id);
            tokio::spawn(listen(host.clone(), channel, self.bells.clone())).abort_handle()
        });
        bell
    }

    pub(super) fn close(&self) {
        if let Some(listener) = self.listener.get() {
            listener.abort();
        }
    }
}

async fn listen(host: Arc<Host>, channel: String, bells: Arc<Bells>) {
    let mut pause = BACK_OFF;
    loop {
        match host.clock().timeout(ANSWER, subscribe(host.target(), &channel)).await {
            Some(Ok(subscription)) => {
                pause = BACK_OFF;
                // Whatever was said before has been missed.
                bells.ring_all();
                let (mut ask, mut messages) = subscription.split();
                tokio::select! {
                    () = silent(&mut ask, host.clock()) => {}
                    () = async {
                        while let Some(message) = messages.next().await {
                            if let Ok(owner) = Uuid::from_slice(message.get_payload_bytes()) {
                                bells.ring(owner);
                            }
                        }
                    } => {}
                }
                tracing::debug!(host = host.name(), "the inbox lost its connection");
            }
            Some(Err(error)) => tracing::debug!(host = host.name(), %error, "cannot open the inbox"),
            None => tracing::debug!(host = host.name(), "cannot open the inbox within {ANSWER:?}"),
        }
        host.clock().sleep(pause).await;
        pause = (pause * 2).min(MOST_BACK_OFF);
    }
}

/// Ends when the connection does not answer any more.
async fn silent(ask: &mut PubSubSink, clock: &Clock) {
    loop {
        clock.sleep(CHECK).await;
        if !matches!(clock.timeout(ANSWER, ask.ping::<redis::Value>()).await, Some(Ok(_))) {
            return;
        }
    }
}
