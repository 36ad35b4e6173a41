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
    /// The hosts that have it.
    engines: Vec<Arc<Redis>>,
    /// Set when another process has taken over.
    displaced: Arc<AtomicBool>,
    renewals: Option<AbortHandle>,
}

impl Claim {
    /// Becomes the only process that moves keys of these hosts. With `take_over` it displaces one that seems to be at work.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if another one is at work.
    pub(super) async fn take(engines: Vec<Arc<Redis>>, clock: &Clock, take_over: bool) -> Result<Self> {
        let (mark, displaced) = (Uuid::now_v7().to_string(), Arc::<AtomicBool>::default());
        let mut claim = Self { mark, engines: vec![], displaced, renewals: None };
        for engine in engines {
            match engine.claim_reshard(&claim.mark, CLAIM, take_over).await {
                Ok(None) => claim.engines.push(engine),
                Ok(Some(other)) => {
                    claim.release().await;
                    let text = format!(
                        "another resharder ({other}) is at work, or ended less than {CLAIM:?} ago: wait for it, or displace it \
                         with --take-over"
                    );
                    return Err(Error::new(ErrorKind::Unavailable, text));
                }
                Err(error) => {
                    claim.release().await;
                    return Err(error);
                }
            }
        }
        let (engines, mark) = (claim.engines.clone(), claim.mark.clone());
        let renewals = renew(engines, mark, clock.clone(), claim.displaced.clone());
        claim.renewals = Some(tokio::spawn(renewals).abort_handle());
        Ok(claim)
    }

    /// The mark of this process among those that move keys.
    pub(super) fn mark(&self) -> &str {
        &self.mark
    }

    /// # Errors
    /// If another process has taken over.
    pub(super) fn check(&self) -> Result<()> {
        if self.displaced.load(Ordering::Relaxed) { Err(Self::displaced()) } else { Ok(()) }
    }

    /// The error of a process that another one has displaced.
    pub(super) fn displaced() -> Error {
        Error::new(ErrorKind::Unavailable, "another resharder has taken over")
    }

    /// Ends it at once, so that the next process need not wait.
    pub(super) async fn release(self) {
        self.renewals.iter().for_each(AbortHandle::abort);
        if self.check().is_err() {
            return;
        }
        for engine in &self.engines {
            // It would end by itself.
            let _ = engine.claim_reshard(&self.mark, millis(1), false).await;
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.renewals.iter().for_each(AbortHandle::abort);
    }
}

/// Renews a claim, and the notes of keys that hosts keep for its process.
async fn renew(engines: Vec<Arc<Redis>>, mark: String, clock: Clock, displaced: Arc<AtomicBool>) {
    loop {
        clock.sleep(RENEWAL).await;
        for engine in &engines {
            if let Ok(Some(_)) = engine.claim_reshard(&mark, CLAIM, false).await {
                displaced.store(true, Ordering::Relaxed);
                return;
            }
            // Where there are none this does nothing.
            let _ = engine.keep_tracking().await;
        }
    }
}
