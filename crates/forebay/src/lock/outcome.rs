//! The outcomes of lock operations. They are values, not errors.

use std::time::Duration;

use crate::model::Holder;

/// The outcome of an attempt to acquire a lock.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::{Forebay, lock::Attempt};
///
/// let bay = Forebay::open("memory:").await?;
/// let _guard = bay.lock("nightly-report").acquire().await?;
/// match bay.lock("nightly-report").try_acquire().await? {
///     Attempt::Acquired(_) => unreachable!("the guard above still holds it"),
///     Attempt::Held { holder, remaining, .. } => println!("held by {holder} for up to {remaining:?}"),
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "dropping a guard releases the lock"]
pub enum Attempt<T> {
    /// The caller holds the lock now: a guard, or a lease.
    Acquired(T),
    /// Until the end of the wait somebody else held the lock, or was before the caller in the queue.
    Held {
        /// The holder; for a free lock, the first in its queue.
        holder: Holder,
        /// Until that holder's lease ends without a renewal; zero for a free lock.
        remaining: Duration,
        /// The number of waiters that were before the caller in the queue.
        ahead: u64,
    },
}

/// The outcome of a release.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::lock::Release;
/// # let bay = forebay::Forebay::open("memory:").await?;
/// let guard = bay.lock("nightly-report").acquire().await?;
/// bay.lock("nightly-report").force_release().await?;
/// assert_eq!(guard.release().await?, Release::AlreadyLost);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "work after the loss of the lock may have overlapped with another holder's"]
pub enum Release {
    /// The caller held the lock without a gap until this release.
    Released,
    /// The caller had lost the lock before.
    AlreadyLost,
}

impl<T> Attempt<T> {
    /// The guard or lease, if the lock was acquired.
    pub fn acquired(self) -> Option<T> {
        match self {
            Self::Acquired(acquired) => Some(acquired),
            Self::Held { .. } => None,
        }
    }

    pub(super) fn map<U>(self, change: impl FnOnce(T) -> U) -> Attempt<U> {
        match self {
            Self::Acquired(acquired) => Attempt::Acquired(change(acquired)),
            Self::Held { holder, remaining, ahead } => Attempt::Held { holder, remaining, ahead },
        }
    }
}
