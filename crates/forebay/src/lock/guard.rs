//! Holding a lock.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    held::HeldLock,
    manager::{RETRY_SPAN, backoff},
    outcome::{Holder, Loss, Release},
    renew,
};
use crate::error::{Result, Retry};

/// A lock that is held, and renewed in the background.
///
/// Dropping it gives the lock back in the background; [`release`](Self::release) tells what became of that. To share it
/// between tasks, put it into an [`Arc`].
#[must_use = "a guard that is dropped gives the lock back"]
pub struct Guard(Arc<HeldLock>);

impl Guard {
    pub(super) fn new(hold: HeldLock) -> Self {
        Self(Arc::new(hold))
    }

    /// Renews it from now on.
    pub(super) fn renewed(self) -> Self {
        renew::add(self.0.clone());
        self
    }

    /// Ends the guard and leaves the lock held.
    pub(super) fn hand_over(self) -> Arc<HeldLock> {
        self.0.end();
        self.0.clone()
    }

    /// A number larger than that of every hold of this lock before: what is written under the lock can carry it, and
    /// whoever keeps what is written can refuse a smaller one.
    ///
    /// Below 2^53, so that Lua and JavaScript keep it exactly.
    pub fn fence(&self) -> u64 {
        self.0.fence
    }

    /// How long it is held for certain, unless it is renewed; zero once it is lost. Asks nobody.
    pub fn remaining(&self) -> Duration {
        self.0.remaining()
    }

    /// Whether it is held for certain. Asks nobody; true may be out of date when it is read.
    pub fn is_held(&self) -> bool {
        self.0.held_until().is_some()
    }

    /// Waits until the lock is lost, and says why.
    ///
    /// Ends at the latest at the deadline of [`remaining`](Self::remaining), also when the store is out of reach; and
    /// with [`Loss::Released`] when the guard is released or dropped. The future does not borrow the guard, and can be
    /// given to another task.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// # async fn report(_fence: u64) {}
    /// let guard = bay.lock("nightly-report").acquire().await?;
    /// tokio::select! {
    ///     () = report(guard.fence()) => guard.release().await.map(drop)?,
    ///     why = guard.lost() => eprintln!("the report was given up: {why}"),
    /// }
    /// # Ok(()) }
    /// ```
    pub fn lost(&self) -> impl Future<Output = Loss> + Send + 'static {
        let hold = self.0.clone();
        async move { hold.lost().await }
    }

    /// Runs `work` for as long as the lock is held. When it is lost, `work` is dropped where it stands.
    ///
    /// # Errors
    /// Why the lock was lost.
    pub async fn while_held<T>(&self, work: impl Future<Output = T>) -> Result<T, Loss> {
        tokio::select! {
            biased;
            why = self.lost() => Err(why),
            done = work => Ok(done),
        }
    }

    /// The lock's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// This acquisition, as others see it.
    pub fn holder(&self) -> Holder {
        Holder::of(self.0.owner)
    }

    /// Gives the lock back.
    ///
    /// # Errors
    /// Whatever the store answers, after a second of trying. It is then tried further in the background, until the
    /// lease has run out.
    ///
    /// # Cancellation
    /// Dropping the future gives the lock back in the background.
    ///
    /// # Cost
    /// One round trip; none on the embedded engine.
    pub async fn release(self) -> Result<Release> {
        let HeldLock { manager, name, owner, .. } = &*self.0;
        let held = self.0.begin_release();
        manager.renewals.remove(*owner);
        if held == Err(Loss::NotHolder) {
            return Ok(Release::AlreadyLost);
        }
        let give_up = manager.clock().monotonic() + RETRY_SPAN;
        let mut failures = 0;
        let was_there = loop {
            match manager.run_step("release", name, manager.engine().lock_release(name, *owner)).await {
                Ok(was_there) => break was_there,
                Err(error) if error.retry() == Retry::Never || manager.clock().monotonic() >= give_up => {
                    return Err(error);
                }
                Err(_) => failures += 1,
            }
            manager.clock().sleep(backoff(failures, *owner)).await;
        };
        self.0.end();
        // Nobody else can have had it before the deadline. So, if an earlier try got no answer, it was that one.
        let now = manager.clock().monotonic();
        let by_an_earlier_try = failures > 0 && held.is_ok_and(|until| now < until);
        let ours = held.is_ok() && (was_there || by_an_earlier_try);
        Ok(if ours { Release::Released } else { Release::AlreadyLost })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // The state first: a renewal that is under way looks at it before it asks to be renewed again.
        let left = self.0.end();
        self.0.manager.renewals.remove(self.0.owner);
        if left {
            self.0.release_in_background();
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("name", &self.0.name)
            .field("fence", &self.0.fence)
            .field("remaining", &self.remaining())
            .finish_non_exhaustive()
    }
}
