//! The id of a lease, which also tells who granted it.

use std::{fmt, str::FromStr, time::Duration};

use uuid::Uuid;

use crate::{
    error::{Error, Result, invalid},
    limit::Decision,
};

/// The id of a lease. Whoever has it can extend the lease and give it back.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// use forebay::{Limit, limit::LeaseId, time::secs};
/// let exports = bay.limit(Limit::concurrency("exports", 1, secs(10)))?;
/// let id = LeaseId::random(); // a caller elsewhere keeps it
/// assert!(exports.lease_as("user:42", id).await?.granted().is_some());
/// assert!(exports.release_lease("user:42", id).await?);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaseId(pub(super) Uuid);

/// A lease that its holder extends by itself.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// use forebay::{Limit, limit::LeaseId, time::secs};
/// let exports = bay.limit(Limit::concurrency("exports", 1, secs(10)))?;
/// let term = exports.lease_as("user:42", LeaseId::random()).await?.granted().expect("the first");
/// assert!(term.expires_in > secs(9));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "nobody else can give the lease back before it runs out"]
pub struct LeaseTerm {
    /// The id to extend it and to give it back with.
    pub id: LeaseId,
    /// For how long it is lent, counted from before the call, less the allowance for clocks.
    pub expires_in: Duration,
    /// How many are lent now, of how many.
    pub decision: Decision,
}

/// The grantor of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GrantedBy {
    Store,
    /// This process alone, while the store does not answer.
    Fallback,
    /// Nobody: [`OnError::Open`](crate::limit::OnError::Open) admits without counting.
    Nobody,
}

/// Versions of ids: random, and two that no UUID has.
const RANDOM: u8 = 4;
const NOBODY: u8 = 0xe;
const FALLBACK: u8 = 0xf;

impl LeaseId {
    /// A new one, which nobody can guess.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// Whether the lease was granted without the store, which does not count it.
    pub fn is_degraded(&self) -> bool {
        self.grantor().0 != GrantedBy::Store
    }

    /// The id that names the grantor, which another process needs in order to extend the lease. It stands where a UUID has
    /// its version.
    pub(super) fn granted_by(self, by: GrantedBy) -> Self {
        let mark = match by {
            GrantedBy::Store => return self,
            GrantedBy::Nobody => NOBODY,
            GrantedBy::Fallback => FALLBACK,
        };
        self.with_version(mark)
    }

    /// The grantor, and the id that it knows.
    pub(super) fn grantor(self) -> (GrantedBy, Self) {
        match self.0.as_bytes()[6] >> 4 {
            NOBODY => (GrantedBy::Nobody, self.with_version(RANDOM)),
            FALLBACK => (GrantedBy::Fallback, self.with_version(RANDOM)),
            _ => (GrantedBy::Store, self),
        }
    }

    fn with_version(self, version: u8) -> Self {
        let mut bytes = self.0.into_bytes();
        bytes[6] = bytes[6] & 0x0f | version << 4;
        Self(Uuid::from_bytes(bytes))
    }
}

impl FromStr for LeaseId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        text.parse().map(Self).map_err(|_| invalid("lease: what it was granted under is accepted, a UUID"))
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Half of it: enough to tell leases apart, too little to release one by.
        write!(f, "LeaseId({:016x}..)", self.0.as_u64_pair().0)
    }
}
