//! Leases of holders elsewhere: a token instead of a guard.

use std::{fmt, str::FromStr, time::Duration};

use uuid::Uuid;

use super::{guard::Guard, outcome::Holder};
use crate::error::{Error, Result, invalid};

/// What proves a hold. Whoever has it can renew and release, so `Debug` does not show it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(Uuid);

/// A lock that is held by a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "nobody else can give the lock back before it runs out"]
pub struct Lease {
    /// What to renew and release it with.
    pub token: Token,
    /// Larger than that of every hold before.
    pub fence: u64,
    /// For how long it is held, less the allowance for clocks.
    ///
    /// It counts from [`waited`](Self::waited) after the call: a caller far away adds both to the instant before it
    /// sent its request, and has a deadline that is never too late.
    pub expires_in: Duration,
    /// From the call to the claim that was granted.
    pub waited: Duration,
}

/// What became of a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a lease that was not renewed is lost"]
pub enum Renewal {
    /// It is held.
    Renewed {
        /// For how long, counted from before the call.
        expires_in: Duration,
    },
    /// The token does not hold the lock (any more).
    NotHolder,
}

impl Token {
    pub(super) fn owner(self) -> Uuid {
        self.0
    }

    /// The acquisition it belongs to, as others see it.
    pub fn holder(self) -> Holder {
        Holder::of(self.0)
    }
}

impl Guard {
    /// Hands the hold over to a token: nothing renews or releases it here from now on.
    pub(super) fn into_lease(self) -> Lease {
        let hold = self.hand_over();
        Lease {
            token: Token(hold.owner),
            fence: hold.fence,
            expires_in: super::LockManager::counted_ttl(hold.ttl),
            waited: hold.waited,
        }
    }
}

impl FromStr for Token {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        text.parse().map(Self).map_err(|_| invalid("token: what an acquisition answered is accepted, a UUID"))
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
