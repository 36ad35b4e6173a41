//! A lock that this process holds, in a store or through a server.

use std::time::Duration;

use anyhow::Result;
use forebay::{
    Clock, Guard,
    lock::{Loss, Release},
};

use super::server::RemoteLock;

/// A lock that is held.
#[derive(Debug)]
pub(super) enum Held {
    Store(Guard),
    Server(RemoteLock),
}

impl Held {
    pub(super) fn fence(&self) -> u64 {
        match self {
            Self::Store(guard) => guard.fence(),
            Self::Server(remote) => remote.fence(),
        }
    }

    /// How long it is certainly held.
    pub(super) fn remaining(&self) -> Duration {
        match self {
            Self::Store(guard) => guard.remaining(),
            Self::Server(remote) => remote.remaining(),
        }
    }

    /// Waits until the lock is lost, or will be within `margin` because it could not be renewed. Returns why.
    pub(super) async fn losing(&self, margin: Duration) -> &'static str {
        let clock = Clock::system();
        loop {
            let left = self.remaining();
            if left.is_zero() {
                return self.why_lost().await;
            }
            let Some(spare) = left.checked_sub(margin).filter(|spare| !spare.is_zero()) else {
                return "it cannot be renewed, and would soon be lost";
            };
            tokio::select! {
                why = self.why_lost() => return why,
                () = clock.sleep(spare) => {}
            }
        }
    }

    async fn why_lost(&self) -> &'static str {
        let loss = match self {
            Self::Store(guard) => guard.lost().await,
            Self::Server(remote) => remote.lost().await,
        };
        match loss {
            Loss::NotHolder => "it was taken away",
            _ => "it was not renewed in time",
        }
    }

    /// Releases it.
    pub(super) async fn release(self) -> Result<Release> {
        match self {
            Self::Store(guard) => Ok(guard.release().await?),
            Self::Server(remote) => remote.release().await,
        }
    }
}
