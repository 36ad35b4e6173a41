//! Leases: locks whose holder is elsewhere and proves itself by a token.

use std::{fmt, str::FromStr, time::Duration};

use uuid::Uuid;

use super::guard::Guard;
use crate::{
    error::{Error, Result, invalid},
    lease_margin::{FINE_CLOCK, usable},
    model::Holder,
};

/// Proves that the bearer holds a lock. Anybody who has it can renew and release, so `Debug` hides it.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::{lock::Token, time::secs};
/// # let bay = forebay::Forebay::open("memory:").await?;
/// let lease = bay.lock("nightly-report").lease_within(secs(1)).await?.acquired().expect("it is free");
/// let text = lease.token.to_string(); // sent to the holder, and back
/// assert_eq!(text.parse::<Token>()?, lease.token);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(Uuid);

/// A lock that is held by a token: the answer of [`lease_within`](super::LockHandle::lease_within).
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::time::secs;
/// # let bay = forebay::Forebay::open("memory:").await?;
/// let lease = bay.lock("nightly-report").ttl(secs(60)).lease_within(secs(1)).await?.acquired().expect("it is free");
/// assert!(lease.expires_in > secs(59) && lease.fence > 0);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "without the token the lock stays held until its lease ends"]
pub struct Lease {
    /// Renews and releases the lock.
    pub token: Token,
    /// Larger than the fence of every earlier holder.
    pub fence: u64,
    /// For how long the lock is held, less a margin for differences between clocks.
    ///
    /// It counts from [`waited`](Self::waited) after the call. A remote caller adds both to the time at which it sent its
    /// request, and so gets a deadline that is never too late.
    pub expires_in: Duration,
    /// The time from the call to the claim that was granted.
    pub waited: Duration,
}

/// The outcome of a renewal.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::{lock::Renewal, time::secs};
/// # let bay = forebay::Forebay::open("memory:").await?;
/// let lock = bay.lock("nightly-report");
/// let lease = lock.lease_within(secs(1)).await?.acquired().expect("it is free");
/// lock.force_release().await?;
/// assert_eq!(lock.renew(lease.token).await?, Renewal::NotHolder);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a lease that was not renewed is lost"]
pub enum Renewal {
    /// The token holds the lock.
    Renewed {
        /// For how long, counted from before the call.
        expires_in: Duration,
    },
    /// The token does not hold the lock, or no longer.
    NotHolder,
}

impl Token {
    pub(super) fn owner(self) -> Uuid {
        self.0
    }

    /// The acquisition that the token belongs to, as [`LockState`](super::LockState) shows it to others.
    pub fn holder(self) -> Holder {
        Holder::from_owner(self.0)
    }
}

impl Guard {
    /// Turns the guard into a lease: this process no longer renews or releases the lock.
    pub(super) fn into_lease(self) -> Lease {
        let lock = self.hand_over();
        let grant = &*lock;
        Lease {
            token: Token(grant.owner),
            fence: grant.fence,
            expires_in: usable(grant.lease.ttl, FINE_CLOCK),
            waited: grant.waited,
        }
    }
}

impl FromStr for Token {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        text.parse().map(Self).map_err(|_| invalid("token: a UUID, as the acquisition returned it"))
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token(of {})", self.holder())
    }
}
