//! Asking for a lock.

use std::{sync::Arc, time::Duration};

use super::{
    acquire::{self, Request},
    guard::Guard,
    lease::{Lease, Renewal, Token},
    manager::LockManager,
    outcome::{Attempt, LockState, Release},
};
use crate::{
    error::{Error, ErrorKind, Result, out_of_range},
    key::check_key,
    time::{hours, millis, secs},
};

/// How long a lock is held without being renewed, unless [`LockHandle::ttl`] says otherwise.
pub const DEFAULT_TTL: Duration = secs(10);

/// The shortest ttl: below it a few slow round trips would lose the lock.
pub const MIN_TTL: Duration = millis(100);

/// The longest ttl. A fence is remembered for longer than this.
pub const MAX_TTL: Duration = hours(24);

/// A lock of an open store. Clones share it.
///
/// Two acquisitions exclude each other also inside one process or task: there is no re-entry.
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

    /// How long the lock outlives a holder that died, 100 ms to 24 h, default 10 s.
    ///
    /// A holder that lives renews it every third of that. Short: a dead holder is in nobody's way for long; long: the
    /// store may be out of reach for longer before the lock is lost.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Acquires the lock if it is free and nobody waits for it.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a name that is empty or longer than 512 bytes, [`ErrorKind::OutOfRange`] for a ttl
    /// that is, [`ErrorKind::Unavailable`] when the store certainly did nothing, [`ErrorKind::Ambiguous`] when it may
    /// have granted the lock to nobody who knows: it is then given back in the background, or runs out after a ttl.
    ///
    /// # Cancellation
    /// Dropping the future gives back whatever was acquired.
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
    pub async fn try_acquire(&self) -> Result<Attempt> {
        self.acquire_within(Duration::ZERO).await
    }

    /// Acquires the lock, however long that takes.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire); and [`ErrorKind::Overloaded`] when 16 384 wait already. Of a store that
    /// stops answering during the wait it is told after 5 s.
    ///
    /// # Cancellation
    /// Dropping the future leaves the queue.
    ///
    /// # Cost
    /// One round trip for a free lock. Who waits asks again when it is its turn, and every 1.5 s to keep its place.
    pub async fn acquire(&self) -> Result<Guard> {
        match self.attempt(None).await? {
            Attempt::Acquired(guard) => Ok(guard.renewed()),
            Attempt::Held { .. } => unreachable!("a wait without end does not end"),
        }
    }

    /// Acquires the lock unless that takes longer than `wait`.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    ///
    /// # Cancellation
    /// Dropping the future leaves the queue.
    ///
    /// # Cost
    /// As [`acquire`](Self::acquire).
    pub async fn acquire_within(&self, wait: Duration) -> Result<Attempt> {
        Ok(self.attempt(Some(wait)).await?.map(Guard::renewed))
    }

    /// As [`acquire_within`](Self::acquire_within), for a holder elsewhere, who renews and releases by a token.
    ///
    /// Nothing renews it here.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    ///
    /// # Cancellation
    /// Dropping the future gives back whatever was acquired, or leaves the queue.
    pub async fn lease_within(&self, wait: Duration) -> Result<Attempt<Lease>> {
        Ok(self.attempt(Some(wait)).await?.map(Guard::into_lease))
    }

    /// Extends a lease to its full ttl from now.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a bad name; whatever the store answers. Repeating it is safe.
    ///
    /// # Cost
    /// One round trip.
    pub async fn renew(&self, token: Token) -> Result<Renewal> {
        let step = self.manager.engine().lock_renew(self.checked_name()?, token.owner());
        let renewed = self.manager.run_step("renew", &self.name, step).await?;
        Ok(renewed
            .map_or(Renewal::NotHolder, |ttl| Renewal::Renewed { expires_in: LockManager::counted_ttl(ttl) }))
    }

    /// Gives a lease back.
    ///
    /// # Errors
    /// As [`renew`](Self::renew). Repeating it is safe, but a release whose answer was lost is then told
    /// [`Release::AlreadyLost`].
    ///
    /// # Cost
    /// One round trip.
    pub async fn release(&self, token: Token) -> Result<Release> {
        let step = self.manager.engine().lock_release(self.checked_name()?, token.owner());
        let held = self.manager.run_step("release", &self.name, step).await?;
        Ok(if held { Release::Released } else { Release::AlreadyLost })
    }

    /// Looks at the lock.
    ///
    /// # Errors
    /// As [`renew`](Self::renew).
    ///
    /// # Cost
    /// One round trip.
    pub async fn state(&self) -> Result<LockState> {
        let step = self.manager.engine().lock_state(self.checked_name()?);
        Ok(self.manager.run_step("look at", &self.name, step).await?.into())
    }

    /// Takes the lock from whoever holds it; false: nobody did. The holder learns of it when it renews.
    ///
    /// # Errors
    /// As [`renew`](Self::renew).
    ///
    /// # Cost
    /// One round trip.
    pub async fn force_release(&self) -> Result<bool> {
        let step = self.manager.engine().lock_force_release(self.checked_name()?);
        let held = self.manager.run_step("release by force", &self.name, step).await?;
        if held {
            tracing::warn!(lock = &*self.name, "a lock was released by force");
        }
        Ok(held)
    }

    /// The lock's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    async fn attempt(&self, wait: Option<Duration>) -> Result<Attempt> {
        self.checked_name()?;
        if !(MIN_TTL..=MAX_TTL).contains(&self.ttl) {
            return Err(out_of_range(format!(
                "lock {:?}: ttl {:?}: a ttl is {MIN_TTL:?} to {} h",
                self.name,
                self.ttl,
                MAX_TTL.as_secs() / 3_600
            )));
        }
        let request = Request { manager: self.manager.clone(), name: self.name.clone(), ttl: self.ttl, wait };
        acquire::run(request).await
    }

    fn checked_name(&self) -> Result<&str> {
        check_key(&self.name).map_err(|error| Error::new(ErrorKind::Invalid, format!("lock name: {error}")))
    }
}
