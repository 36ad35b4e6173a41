//! Guards: locks that this process holds.

use std::{fmt, sync::Arc, time::Duration};

use futures::TryFutureExt as _;
use tokio::runtime::Handle;
use uuid::Uuid;

use super::{
    manager::{LockManager, PendingRelease, RETRY_SPAN},
    outcome::Release,
};
use crate::{
    error::Result,
    held_lease::{HeldLease, Loss},
    model::Holder,
};

/// A lock that is held, and renewed in the background.
///
/// Dropping it releases the lock in the background; [`release`](Self::release) returns the outcome. To share a guard
/// between tasks, put it into an [`Arc`].
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// let guard = bay.lock("nightly-report").acquire().await?;
/// assert!(guard.is_held() && !guard.remaining().is_zero());
/// assert_eq!(bay.lock("nightly-report").state().await?.holding.map(|held| held.fence), Some(guard.fence()));
/// drop(guard); // releases it
/// # Ok(()) }
/// ```
#[must_use = "dropping a guard releases the lock"]
pub struct Guard {
    manager: Arc<LockManager>,
    lock: Arc<Grant>,
    /// A guard may be dropped outside of any runtime; its release runs here.
    runtime: Handle,
}

/// The lock that the store granted, shared by its guard and the task that renews it.
#[derive(Debug)]
pub(super) struct Grant {
    pub name: Arc<str>,
    pub owner: Uuid,
    pub fence: u64,
    /// From the call to the claim that was granted.
    pub waited: Duration,
    pub lease: HeldLease,
}

impl Guard {
    pub(super) fn new(manager: Arc<LockManager>, grant: Grant) -> Self {
        Self { manager, lock: Arc::new(grant), runtime: Handle::current() }
    }

    /// Starts to renew the lock.
    pub(super) fn renewed(self) -> Self {
        self.runtime.spawn(renew(self.manager.clone(), self.lock.clone()));
        self
    }

    /// Ends the guard, and leaves the lock held in the store.
    pub(super) fn hand_over(self) -> Arc<Grant> {
        self.lock.lease.end();
        self.lock.clone()
    }

    /// A number that is larger than the fence of every earlier holder of this lock.
    ///
    /// Send it along with each write that the lock protects, and let the resource refuse a smaller fence than it has seen.
    /// It is below 2^53, so Lua and JavaScript represent it exactly.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let first = bay.lock("nightly-report").acquire().await?;
    /// let fence = first.fence();
    /// first.release().await?;
    /// assert!(bay.lock("nightly-report").acquire().await?.fence() > fence);
    /// # Ok(()) }
    /// ```
    pub fn fence(&self) -> u64 {
        self.lock.fence
    }

    /// How long the lock is certainly still held without a renewal; zero once it is lost. Makes no call to the store.
    pub fn remaining(&self) -> Duration {
        self.lock.lease.remaining()
    }

    /// Whether the lock is certainly held. Makes no call to the store; the answer may be out of date when you read it.
    pub fn is_held(&self) -> bool {
        self.lock.lease.held_until().is_some()
    }

    /// Waits until the lock is lost, and returns the reason.
    ///
    /// Ends at the latest when [`remaining`](Self::remaining) reaches zero, also while the store is unreachable. Ends with
    /// [`Loss::Released`] when the guard is released or dropped. The future does not borrow the guard, so another task can
    /// await it.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// # async fn report(_fence: u64) {}
    /// let guard = bay.lock("nightly-report").acquire().await?;
    /// tokio::select! {
    ///     () = report(guard.fence()) => guard.release().await.map(drop)?,
    ///     why = guard.lost() => eprintln!("stopped the report: {why}"),
    /// }
    /// # Ok(()) }
    /// ```
    pub fn lost(&self) -> impl Future<Output = Loss> + Send + 'static {
        let lock = self.lock.clone();
        async move { lock.lease.lost().await }
    }

    /// Runs `work` while the lock is held. If the lock is lost first, `work` is dropped unfinished.
    ///
    /// # Errors
    /// The reason for the loss.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let guard = bay.lock("nightly-report").acquire().await?;
    /// assert_eq!(guard.while_held(async { 6 * 7 }).await, Ok(42));
    /// # Ok(()) }
    /// ```
    pub async fn while_held<T>(&self, work: impl Future<Output = T>) -> Result<T, Loss> {
        tokio::select! {
            biased;
            why = self.lost() => Err(why),
            done = work => Ok(done),
        }
    }

    /// The lock's name.
    pub fn name(&self) -> &str {
        &self.lock.name
    }

    /// This acquisition, as [`LockState`](super::LockState) shows it to others.
    pub fn holder(&self) -> Holder {
        Holder::from_owner(self.lock.owner)
    }

    /// Releases the lock.
    ///
    /// # Errors
    /// Whatever the store answers after a second of attempts. The release then goes on in the background until the lease
    /// runs out.
    ///
    /// # Cancellation
    /// Dropping the future releases the lock in the background.
    ///
    /// # Cost
    /// One round trip; none on the embedded engine.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// use forebay::lock::Release;
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let guard = bay.lock("nightly-report").acquire().await?;
    /// assert_eq!(guard.release().await?, Release::Released);
    /// # Ok(()) }
    /// ```
    pub async fn release(self) -> Result<Release> {
        let held = self.lock.lease.begin_release();
        if held == Err(Loss::NotHolder) {
            return Ok(Release::AlreadyLost);
        }
        let clock = self.manager.clock();
        let (was_there, failures) = self.manager.release(&self.pending(RETRY_SPAN)).await?;
        self.lock.lease.end();
        // Before the deadline nobody else can have released it. So an attempt without an answer did.
        let by_earlier_attempt = failures > 0 && held.is_ok_and(|until| clock.monotonic() < until);
        let ours = held.is_ok() && (was_there || by_earlier_attempt);
        Ok(if ours { Release::Released } else { Release::AlreadyLost })
    }

    fn pending(&self, span: Duration) -> PendingRelease {
        let Grant { name, owner, .. } = &*self.lock;
        let until = self.manager.clock().monotonic().saturating_add(span);
        PendingRelease { name: name.clone(), owner: *owner, until, in_doubt: false }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Grant { name, fence, lease, .. } = &*self.lock;
        if lease.end() {
            tracing::debug!(
                lock = &**name,
                fence,
                "a guard was dropped; releasing its lock in the background"
            );
            self.manager.release_in_background(&self.runtime, self.pending(lease.ttl));
        }
    }
}

/// Renews a lock until it ends, and logs a loss.
async fn renew(manager: Arc<LockManager>, lock: Arc<Grant>) {
    let Grant { name, owner, fence, lease, .. } = &*lock;
    let renew = |timeout| {
        let step = manager.engine().lock_renew(name, *owner, None).map_ok(|ttl| ttl.is_some());
        manager.run_step(timeout, "renew", name, step)
    };
    let loss = lease.keep(renew).await;
    if loss != Loss::Released {
        tracing::warn!(lock = &**name, fence, why = %loss, "a lock was lost");
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("name", &self.name())
            .field("fence", &self.fence())
            .field("remaining", &self.remaining())
            .finish_non_exhaustive()
    }
}
