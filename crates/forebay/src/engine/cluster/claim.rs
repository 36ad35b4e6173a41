//! The claim of a process that moves keys between hosts: two do not at a time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::task::AbortHandle;
use uuid::Uuid;

use crate::{
    clock::Clock,
    engine::redis::Redis,
    error::{Error, ErrorKind, Result},
    time::{millis, secs},
};

/// For how long a claim holds that is not renewed.
const CLAIM: Duration = secs(30);

/// Between two renewals of a claim.
const RENEWAL: Duration = secs(5);

/// A claim, which is renewed until it is dropped.
///
/// It has a lifetime, so that it does not protect: a process that was stopped for long may go on after another one took over. What
/// protects is the mark on the hosts.
#[derive(Debug)]
pub(super) struct Claim {
    mark: String,
    /// On the host with the first name.
    engine: Arc<Redis>,
    /// Set when another process has taken over.
    displaced: Arc<AtomicBool>,
    renewals: AbortHandle,
}

impl Claim {
    /// Becomes the only process that moves keys of a store, of which `engine` is the host that decides. With `take_over` it displaces
    /// one that seems to be at work.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if another one is at work.
    pub(super) async fn take(engine: Arc<Redis>, clock: &Clock, take_over: bool) -> Result<Self> {
        let mark = Uuid::now_v7().to_string();
        if let Some(other) = engine.claim_reshard(&mark, CLAIM, take_over).await? {
            let text = format!(
                "another resharder ({other}) is at work, or ended less than {CLAIM:?} ago: wait for it, or displace it with --take-over"
            );
            return Err(Error::new(ErrorKind::Unavailable, text));
        }
        let displaced = Arc::<AtomicBool>::default();
        let renew = {
            let (engine, mark, clock, displaced) =
                (engine.clone(), mark.clone(), clock.clone(), displaced.clone());
            async move {
                loop {
                    clock.sleep(RENEWAL).await;
                    if let Ok(Some(_)) = engine.claim_reshard(&mark, CLAIM, false).await {
                        displaced.store(true, Ordering::Relaxed);
                    }
                }
            }
        };
        let renewals = tokio::spawn(renew).abort_handle();
        Ok(Self { mark, engine, displaced, renewals })
    }

    /// The mark of this process among those that move keys.
    pub(super) fn mark(&self) -> &str {
        &self.mark
    }

    /// # Errors
    /// If another process has taken over.
    pub(super) fn check(&self) -> Result<()> {
        if self.displaced.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Unavailable, "another resharder has taken over"));
        }
        Ok(())
    }

    /// Ends it at once, so that the next process need not wait.
    pub(super) async fn release(self) {
        self.renewals.abort();
        if !self.displaced.load(Ordering::Relaxed) {
            // It would end by itself.
            let _ = self.engine.claim_reshard(&self.mark, millis(1), false).await;
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.renewals.abort();
    }
}
