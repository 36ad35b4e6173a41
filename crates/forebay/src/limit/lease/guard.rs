//! Holding a lease.

use std::{fmt, sync::Arc, time::Duration};

use tokio::{runtime::Handle, sync::watch, task::AbortHandle};

use super::{
    id::{GrantedBy, LeaseId, LeaseTerm},
    quota::LeaseQuota,
};
use crate::{
    error::Result,
    limit::{Decision, LimitHandle, Source},
};

/// A lease that is held, and extended in the background.
///
/// Dropping it gives the lease back in the background; [`release`](Self::release) waits for that.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// use forebay::{Limit, time::secs};
/// let exports = bay.limit(Limit::concurrency("exports", 1, secs(10)))?;
/// let guard = exports.lease("user:42").await?.granted().expect("the first");
/// assert!(guard.is_held());
/// assert!(guard.release().await?);
/// # Ok(()) }
/// ```
#[must_use = "a guard that is dropped gives the lease back"]
pub struct LeaseGuard {
    held: Arc<Held>,
    heartbeat: Option<AbortHandle>,
    /// Where a guard that is dropped, perhaps outside of any runtime, leaves its release.
    runtime: Handle,
    decision: Option<Decision>,
    /// Nothing has to go back any more.
    over: bool,
}

struct Held {
    limit: LimitHandle,
    key: Box<str>,
    id: LeaseId,
    slots: LeaseQuota,
    lender: GrantedBy,
    /// Until when it is held, on this process's clock; `None`: the store says that it is not.
    until: watch::Sender<Option<Duration>>,
}

impl LeaseGuard {
    /// Stands for a lease that is being asked for, and may be lent before the answer comes.
    pub(crate) fn asking(limit: &LimitHandle, slots: LeaseQuota, key: &str, id: LeaseId) -> Self {
        let asked = limit.store().clock().monotonic();
        let held = Held {
            limit: limit.clone(),
            key: key.into(),
            id,
            slots,
            lender: GrantedBy::Store,
            until: watch::Sender::new(Some(asked.saturating_add(slots.counted()))),
        };
        let held = Arc::new(held);
        Self { held, heartbeat: None, runtime: Handle::current(), decision: None, over: false }
    }

    /// Begins to extend what was lent.
    pub(crate) fn begin(mut self, term: &LeaseTerm, lender: GrantedBy) -> Self {
        if let Some(held) = Arc::get_mut(&mut self.held) {
            held.lender = lender;
        }
        self.decision = Some(term.decision);
        self.heartbeat = Some(self.runtime.spawn(beat(self.held.clone())).abort_handle());
        self
    }

    /// Ends a guard that got nothing.
    pub(crate) fn forget(mut self) {
        self.over = true;
    }

    /// The id of this lease.
    pub fn id(&self) -> LeaseId {
        self.held.id
    }

    /// How many were lent when this one was granted, of how many.
    pub fn decision(&self) -> Decision {
        self.decision.unwrap_or(Decision::without_store(self.held.slots.most, true))
    }

    /// The store or fallback that granted it.
    pub fn source(&self) -> Source {
        self.decision().source()
    }

    /// Whether the store did not answer, so that more may be lent than there should be.
    pub fn is_degraded(&self) -> bool {
        self.decision().is_degraded()
    }

    /// How long it is held for certain, unless it is extended; zero once it is lost. Asks nobody.
    pub fn remaining(&self) -> Duration {
        self.held.remaining()
    }

    /// Whether it is held for certain. Asks nobody; true may be out of date when it is read.
    pub fn is_held(&self) -> bool {
        !self.remaining().is_zero()
    }

    /// Waits until the lease is lost: it ran out because the store was out of reach, or the store has lost it. Others
    /// may then be lent what this holder still uses.
    ///
    /// The future does not borrow the guard, and can be given to another task. After a release it ends, too.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + 'static {
        let held = self.held.clone();
        async move { held.lost().await }
    }

    /// Gives the lease back; false: it had been lost before.
    ///
    /// # Errors
    /// Whatever the store answers. It is then tried further in the background, until the lease has run out.
    ///
    /// # Cancellation
    /// Dropping the future gives the lease back in the background.
    ///
    /// # Cost
    /// One round trip; none on the embedded engine.
    pub async fn release(mut self) -> Result<bool> {
        self.stop();
        let Held { limit, key, id, lender, .. } = &*self.held;
        match limit.give_back_lease(*lender, key, *id).await {
            // Not counted by the store, unless the answer was lost: that is seen to in the background.
            Err(error) if *lender != GrantedBy::Store && error.is_outage() => Ok(true),
            answer => {
                let released = answer?;
                self.over = true;
                Ok(released)
            }
        }
    }

    fn stop(&mut self) {
        if let Some(heartbeat) = self.heartbeat.take() {
            heartbeat.abort();
        }
        self.held.until.send_replace(None);
    }
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        self.stop();
        if !self.over {
            self.runtime.spawn(give_back(self.held.clone()));
        }
    }
}

impl Held {
    fn remaining(&self) -> Duration {
        let until = self.until.borrow().unwrap_or_default();
        until.saturating_sub(self.limit.store().clock().monotonic())
    }

    async fn lost(&self) {
        let mut changes = self.until.subscribe();
        loop {
            let left = self.remaining();
            if left.is_zero() {
                return;
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = self.limit.store().clock().sleep(left) => {}
            }
        }
    }
}

/// Extends a lease until it is lost. Three tries fit into its time.
async fn beat(held: Arc<Held>) {
    let Held { limit, key, id, slots, lender, until } = &*held;
    let clock = limit.store().clock();
    let mut pause = slots.ttl / 3;
    loop {
        clock.sleep(pause).await;
        let asked = clock.monotonic();
        if held.remaining().is_zero() {
            until.send_replace(None);
            tracing::warn!(limit = %limit.name(), "a lease ran out before the store extended it");
            return;
        }
        match limit.extend(*lender, *slots, key, *id).await {
            Ok(true) => {
                until.send_modify(|until| *until = until.map(|_| asked.saturating_add(slots.counted())));
                pause = slots.ttl / 3;
            }
            Ok(false) => {
                until.send_replace(None);
                tracing::warn!(limit = %limit.name(), "a lease was lost: the store does not have it");
                return;
            }
            Err(error) => {
                tracing::debug!(limit = %limit.name(), %error, "extending a lease failed");
                pause = slots.ttl / 10;
            }
        }
    }
}

/// Gives back until that is certain, or until it has run out by itself.
async fn give_back(held: Arc<Held>) {
    let Held { limit, key, id, slots, lender, .. } = &*held;
    let clock = limit.store().clock();
    let until = clock.monotonic().saturating_add(slots.ttl);
    while let Err(error) = limit.give_back_lease(*lender, key, *id).await {
        tracing::debug!(limit = %limit.name(), %error, "giving a lease back failed");
        if clock.monotonic() >= until {
            return;
        }
        clock.sleep(slots.ttl / 10).await;
    }
}

impl fmt::Debug for LeaseGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseGuard")
            .field("limit", self.held.limit.name())
            .field("id", &self.held.id)
            .field("remaining", &self.remaining())
            .finish_non_exhaustive()
    }
}
