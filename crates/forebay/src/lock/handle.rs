//! The handle of a lock: acquire, renew, release, inspect.

use std::{sync::Arc, time::Duration};

use super::{
    acquire,
    guard::Guard,
    lease::{Lease, Renewal, Token},
    manager::{LockManager, STEP_TIMEOUT},
    outcome::{Attempt, Release},
};
use crate::{
    error::{Result, out_of_range},
    key::Key,
    lease_margin::{FINE_CLOCK, usable},
    model::LockState,
    time::{hours, millis, secs},
};

/// A lock is held without a renewal for this long, unless [`LockHandle::ttl`] sets another ttl.
pub const DEFAULT_TTL: Duration = secs(10);

/// The shortest ttl. Below it a few slow round trips would lose the lock.
pub const MIN_TTL: Duration = millis(100);

/// The longest ttl. The store remembers the last fence for longer than this.
pub const MAX_TTL: Duration = hours(24);

/// A lock of an open store. Clones share it.
///
/// Locks are not re-entrant: two acquisitions exclude each other also within one process or task.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::{Forebay, time::secs};
///
/// let bay = Forebay::open("memory:").await?;
/// let lock = bay.lock("nightly-report").ttl(secs(30));
/// let guard = lock.acquire().await?;
/// assert!(lock.try_acquire().await?.acquired().is_none());
/// guard.release().await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct LockHandle {
    manager: Arc<LockManager>,
    name: Arc<str>,
    ttl: Duration,
}

impl LockHandle {
    pub(crate) fn new(manager: Arc<LockManager>, name: Arc<str>) -> Self {
        Self { manager, name, ttl: DEFAULT_TTL }
    }

    /// Sets how long the lock outlives a holder that died: 100 ms to 24 h, default 10 s.
    ///
    /// A live holder renews the lock every third of the ttl. With a short ttl, a dead holder blocks others only briefly. With
    /// a long one, the store may be unreachable for longer before the lock is lost.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Acquires the lock if it is free and nobody waits for it.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a name that is empty or longer than 512 bytes;
    /// [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) for a ttl outside its range;
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when the store certainly did nothing;
    /// [`ErrorKind::Ambiguous`](crate::ErrorKind::Ambiguous) when the store may have granted the lock, and the answer was lost. In
    /// that case the lock is released in the background, or its lease runs out after one ttl.
    ///
    /// # Cancellation
    /// Dropping the future releases whatever was acquired.
    ///
    /// # Cost
    /// One round trip; none on the embedded engine.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// use forebay::{Forebay, lock::Attempt};
    ///
    /// let bay = Forebay::open("memory:").await?;
    /// let Attempt::Acquired(guard) = bay.lock("nightly-report").try_acquire().await? else { return Ok(()) };
    /// assert!(matches!(bay.lock("nightly-report").try_acquire().await?, Attempt::Held { .. }));
    /// guard.release().await?;
    /// # Ok(()) }
    /// ```
    pub async fn try_acquire(&self) -> Result<Attempt<Guard>> {
        self.acquire_within(Duration::ZERO).await
    }

    /// Acquires the lock, and waits for it as long as necessary.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire); and [`ErrorKind::Overloaded`](crate::ErrorKind::Overloaded) when the queue is full
    /// (16 384 waiters). When the store stops answering during the wait, the call fails after 5 s.
    ///
    /// # Cancellation
    /// Dropping the future leaves the queue.
    ///
    /// # Cost
    /// One round trip for a free lock. A waiter asks again at its turn, and about every 1.5 s to keep its place.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let first = bay.lock("nightly-report").acquire().await?;
    /// let waiting = tokio::spawn({
    ///     let lock = bay.lock("nightly-report");
    ///     async move { lock.acquire().await }
    /// });
    /// first.release().await?;
    /// let second = waiting.await.expect("no panic")?;
    /// assert!(second.is_held());
    /// # Ok(()) }
    /// ```
    pub async fn acquire(&self) -> Result<Guard> {
        match self.attempt(None).await? {
            Attempt::Acquired(guard) => Ok(guard.renewed()),
            Attempt::Held { .. } => unreachable!("a wait without end does not end"),
        }
    }

    /// Acquires the lock, and waits for it at most for `wait`.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    ///
    /// # Cancellation
    /// Dropping the future leaves the queue.
    ///
    /// # Cost
    /// As [`acquire`](Self::acquire).
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// use forebay::{lock::Attempt, time::millis};
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let _guard = bay.lock("nightly-report").acquire().await?;
    /// let attempt = bay.lock("nightly-report").acquire_within(millis(5)).await?;
    /// assert!(matches!(attempt, Attempt::Held { ahead: 0, .. }));
    /// # Ok(()) }
    /// ```
    pub async fn acquire_within(&self, wait: Duration) -> Result<Attempt<Guard>> {
        Ok(self.attempt(Some(wait)).await?.map(Guard::renewed))
    }

    /// Acquires the lock for a holder elsewhere, which renews and releases it by a token.
    ///
    /// This process does not renew the lease. Otherwise as [`acquire_within`](Self::acquire_within).
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    ///
    /// # Cancellation
    /// Dropping the future releases whatever was acquired, or leaves the queue.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// use forebay::{lock::{Release, Renewal}, time::secs};
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let lock = bay.lock("nightly-report");
    /// let lease = lock.lease_within(secs(1)).await?.acquired().expect("nobody else holds it");
    /// assert!(matches!(lock.renew(lease.token).await?, Renewal::Renewed { .. }));
    /// assert_eq!(lock.release(lease.token).await?, Release::Released);
    /// # Ok(()) }
    /// ```
    pub async fn lease_within(&self, wait: Duration) -> Result<Attempt<Lease>> {
        Ok(self.attempt(Some(wait)).await?.map(Guard::into_lease))
    }

    /// Extends a lease to its full ttl from now.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a bad name; and when the store does not answer. Repeating the call is safe.
    ///
    /// # Cost
    /// One round trip.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::{lock::Renewal, time::secs};
    /// let lock = bay.lock("nightly-report");
    /// let lease = lock.lease_within(secs(1)).await?.acquired().expect("it is free");
    /// assert!(matches!(lock.renew(lease.token).await?, Renewal::Renewed { .. }));
    /// # Ok(()) }
    /// ```
    pub async fn renew(&self, token: Token) -> Result<Renewal> {
        self.renewal(token, None).await
    }

    /// Extends a lease to another ttl from now: 100 ms to 24 h. Later renewals extend it to this ttl, too.
    ///
    /// A lease that has more time left keeps it: even if the answer is lost, it ends no sooner than its holder knows.
    ///
    /// # Errors
    /// As [`renew`](Self::renew); [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) for a ttl outside its range.
    ///
    /// # Cost
    /// One round trip.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::{lock::Renewal, time::{mins, secs}};
    /// let lock = bay.lock("nightly-report");
    /// let lease = lock.lease_within(secs(1)).await?.acquired().expect("it is free");
    /// let Renewal::Renewed { expires_in } = lock.renew_for(lease.token, mins(5)).await? else { return Ok(()) };
    /// assert!(expires_in > mins(4));
    /// # Ok(()) }
    /// ```
    pub async fn renew_for(&self, token: Token, ttl: Duration) -> Result<Renewal> {
        self.renewal(token, Some(self.checked_ttl(ttl)?)).await
    }

    /// For how long a lease is still held, without extending it. `None`: the token does not hold the lock, or no longer.
    ///
    /// The answer may be late: use the [fence](Lease::fence) where that matters.
    ///
    /// # Errors
    /// As [`renew`](Self::renew).
    ///
    /// # Cost
    /// One round trip.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::time::secs;
    /// let lock = bay.lock("nightly-report");
    /// let lease = lock.lease_within(secs(1)).await?.acquired().expect("it is free");
    /// assert!(lock.remaining(lease.token).await?.is_some());
    /// lock.force_release().await?;
    /// assert_eq!(lock.remaining(lease.token).await?, None);
    /// # Ok(()) }
    /// ```
    pub async fn remaining(&self, token: Token) -> Result<Option<Duration>> {
        let holding = self.state().await?.holding.filter(|holding| holding.holder == token.holder());
        Ok(holding.map(|holding| usable(holding.remaining, FINE_CLOCK)))
    }

    async fn renewal(&self, token: Token, ttl: Option<Duration>) -> Result<Renewal> {
        let step = self.manager.engine().lock_renew(self.checked_name()?, token.owner(), ttl);
        let renewed = self.manager.run_step(STEP_TIMEOUT, "renew", &self.name, step).await?;
        let expires_in = |ttl| Renewal::Renewed { expires_in: usable(ttl, FINE_CLOCK) };
        Ok(renewed.map_or(Renewal::NotHolder, expires_in))
    }

    /// Releases a lease.
    ///
    /// # Errors
    /// As [`renew`](Self::renew). Repeating the call is safe, but then the answer to a release that succeeded before is
    /// [`Release::AlreadyLost`].
    ///
    /// # Cost
    /// One round trip.
    pub async fn release(&self, token: Token) -> Result<Release> {
        let step = self.manager.engine().lock_release(self.checked_name()?, token.owner());
        let held = self.manager.run_step(STEP_TIMEOUT, "release", &self.name, step).await?;
        Ok(if held { Release::Released } else { Release::AlreadyLost })
    }

    /// Reads who holds the lock, and how many wait for it.
    ///
    /// # Errors
    /// As [`renew`](Self::renew).
    ///
    /// # Cost
    /// One round trip.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let guard = bay.lock("nightly-report").acquire().await?;
    /// let state = bay.lock("nightly-report").state().await?;
    /// assert_eq!(state.holding.map(|held| held.holder), Some(guard.holder()));
    /// # Ok(()) }
    /// ```
    pub async fn state(&self) -> Result<LockState> {
        let step = self.manager.engine().lock_state(self.checked_name()?);
        self.manager.run_step(STEP_TIMEOUT, "read the state of", &self.name, step).await
    }

    /// Releases the lock, whoever holds it. Returns whether it was held. The holder notices at its next renewal.
    ///
    /// # Errors
    /// As [`renew`](Self::renew).
    ///
    /// # Cost
    /// One round trip.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let _guard = bay.lock("nightly-report").acquire().await?;
    /// assert!(bay.lock("nightly-report").force_release().await?);
    /// assert!(bay.lock("nightly-report").try_acquire().await?.acquired().is_some());
    /// # Ok(()) }
    /// ```
    pub async fn force_release(&self) -> Result<bool> {
        let step = self.manager.engine().lock_force_release(self.checked_name()?);
        let held = self.manager.run_step(STEP_TIMEOUT, "force the release of", &self.name, step).await?;
        if held {
            tracing::warn!(lock = &*self.name, "a lock was released by force");
        }
        Ok(held)
    }

    /// The lock's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    async fn attempt(&self, wait: Option<Duration>) -> Result<Attempt<Guard>> {
        self.checked_name()?;
        let ttl = self.checked_ttl(self.ttl)?;
        acquire::run(&self.manager, self.name.clone(), ttl, wait).await
    }

    fn checked_ttl(&self, ttl: Duration) -> Result<Duration> {
        if (MIN_TTL..=MAX_TTL).contains(&ttl) {
            return Ok(ttl);
        }
        let (name, longest) = (&self.name, MAX_TTL.as_secs() / 3_600);
        Err(out_of_range(format!("lock {name:?}: ttl {ttl:?}: {MIN_TTL:?} to {longest} h")))
    }

    fn checked_name(&self) -> Result<&str> {
        Ok(Key::new(&self.name).map_err(|error| error.in_context("lock name"))?.as_str())
    }
}
