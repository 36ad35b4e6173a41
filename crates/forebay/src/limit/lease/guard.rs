//! Holding a lease.

use std::{fmt, sync::Arc, time::Duration};

use tokio::runtime::Handle;

use super::{
    id::{GrantedBy, LeaseId, LeaseTerm},
    quota::LeaseQuota,
};
use crate::{
    error::Result,
    held_lease::{HeldLease, Loss},
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
    /// A guard may be dropped outside of any runtime; its release runs here.
    runtime: Handle,
    decision: Option<Decision>,
    /// The lease needs no release any more.
    over: bool,
}

struct Held {
    limit: LimitHandle,
    key: Box<str>,
    id: LeaseId,
    slots: LeaseQuota,
    lender: GrantedBy,
    lease: HeldLease,
}

impl LeaseGuard {
    /// The guard of a lease that was requested. The store may grant it before its answer comes.
    pub(crate) fn asking(limit: &LimitHandle, slots: LeaseQuota, key: &str, id: LeaseId) -> Self {
        let clock = limit.0.store.clock();
        let lease = HeldLease::new(clock, slots.ttl, clock.monotonic());
        let (limit, key, lender) = (limit.clone(), key.into(), GrantedBy::Store);
        let held = Arc::new(Held { limit, key, id, slots, lender, lease });
        Self { held, runtime: Handle::current(), decision: None, over: false }
    }

    /// Starts to extend a lease that was granted.
    pub(crate) fn begin(mut self, term: &LeaseTerm, lender: GrantedBy) -> Self {
        if let Some(held) = Arc::get_mut(&mut self.held) {
            held.lender = lender;
        }
        self.decision = Some(term.decision);
        self.runtime.spawn(keep(self.held.clone()));
        self
    }

    /// Ends a guard whose lease was denied.
    pub(crate) fn forget(mut self) {
        self.over = true;
    }

    /// The id of this lease.
    pub fn id(&self) -> LeaseId {
        self.held.id
    }

    /// The decision that granted it: the number of leases at that time, and the limit.
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
        self.held.lease.remaining()
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
        async move {
            held.lease.lost().await;
        }
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
        let Held { limit, key, id, lender, lease, .. } = &*self.held;
        lease.end();
        let answer = limit.give_back_lease(*lender, key, *id).await;
        self.over = answer.is_ok();
        lender.released(answer)
    }
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        self.held.lease.end();
        if !self.over {
            self.runtime.spawn(give_back(self.held.clone()));
        }
    }
}

/// Extends a lease until it ends, and logs a loss.
async fn keep(held: Arc<Held>) {
    let Held { limit, key, id, slots, lender, lease } = &*held;
    let loss = lease.keep(|timeout| limit.extend(*lender, *slots, key, *id, timeout)).await;
    if loss != Loss::Released {
        tracing::warn!(limit = %limit.name(), why = %loss, "a lease was lost");
    }
}

/// Releases a lease, again and again until the outcome is certain or the lease has run out.
async fn give_back(held: Arc<Held>) {
    let Held { limit, key, id, slots, lender, .. } = &*held;
    let clock = limit.0.store.clock();
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
