//! The state of a lock.

use std::{fmt, time::Duration};

use uuid::Uuid;

/// Identifies an acquisition to others: in the answer to "who holds this lock", and in logs.
///
/// Each acquisition has a new one. It is not the [`Token`](crate::lock::Token): nothing can be released with it.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// let guard = bay.lock("nightly-report").acquire().await?;
/// assert_eq!(guard.holder().to_string().len(), 16); // hexadecimal digits
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Holder(u64);

/// The state of a lock, as [`LockHandle::state`](crate::lock::LockHandle::state) reads it.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// let state = bay.lock("nightly-report").state().await?;
/// assert_eq!((state.holding, state.waiters), (None, 0));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockState {
    /// The current holder. `None`: the lock is free, though there may be waiters.
    pub holding: Option<Holding>,
    /// The length of the queue.
    pub waiters: u64,
}

/// The current holder of a lock, and its lease.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// let guard = bay.lock("nightly-report").acquire().await?;
/// let holding = bay.lock("nightly-report").state().await?.holding.expect("the guard holds it");
/// assert_eq!((holding.holder, holding.fence), (guard.holder(), guard.fence()));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holding {
    /// The acquisition that holds the lock.
    pub holder: Holder,
    /// Its fence.
    pub fence: u64,
    /// The time since it was acquired.
    pub held_for: Duration,
    /// The time until the lease ends without a renewal.
    pub remaining: Duration,
}

impl Holder {
    /// A hash of the owner with half of its bits: enough to tell holders apart, too few to find the owner.
    pub(crate) fn from_owner(owner: Uuid) -> Self {
        Self(crate::key::hash(owner.as_bytes()))
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Holder({self})")
    }
}
