//! What can become of a lock: all of it values, none an error.

use std::{fmt, time::Duration};

use uuid::Uuid;

use super::guard::Guard;
use crate::engine::step;

/// What became of an attempt to acquire a lock.
#[derive(Debug)]
#[must_use = "a guard that is dropped gives the lock back"]
pub enum Attempt<T = Guard> {
    /// It is held now.
    Acquired(T),
    /// Somebody else held it, or was next, until the end of the wait.
    Held {
        /// Who holds it; of a free lock, who is next.
        holder: Holder,
        /// Until that holder's lease ends unless it is renewed; zero for a free lock.
        remaining: Duration,
        /// How many waited before this caller.
        ahead: u64,
    },
}

/// An acquisition, as it may be shown: to those who ask who holds a lock, and in logs.
///
/// Another one for each acquisition. It is not the [`Token`](super::Token), and nothing can be released with it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Holder(u64);

/// Why a guard no longer holds its lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// The store did not confirm the lease before it ran out; somebody else may hold the lock soon.
    Expired,
    /// The store says that somebody else holds the lock, or nobody: it was released by force, or the store lost it.
    NotHolder,
    /// The guard itself gave it back.
    Released,
}

/// What became of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "work done after the lock was lost may have overlapped with another holder's"]
pub enum Release {
    /// It was held until now, by nobody else in between.
    Released,
    /// It had been lost before.
    AlreadyLost,
}

/// A lock, seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockState {
    /// Who holds it; `None`: nobody, but it may be waited for.
    pub holding: Option<Holding>,
    /// How many wait.
    pub waiters: u64,
}

/// Who holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holding {
    /// The acquisition.
    pub holder: Holder,
    /// Its fence.
    pub fence: u64,
    /// Since it was acquired.
    pub held_for: Duration,
    /// Until the lease ends unless it is renewed.
    pub remaining: Duration,
}

impl Holder {
    pub(super) fn of(owner: Uuid) -> Self {
        // Half as many bits as the owner has: enough to tell holders apart, too few to find an owner by.
        Self(crate::key::hash(owner.as_bytes()))
    }
}

impl From<step::LockState> for LockState {
    fn from(state: step::LockState) -> Self {
        let holding = state.holder.map(|holding| Holding {
            holder: Holder::of(holding.owner),
            fence: holding.fence,
            held_for: holding.held_for,
            remaining: holding.remaining,
        });
        Self { holding, waiters: state.waiters }
    }
}

impl<T> Attempt<T> {
    /// What was acquired, if anything.
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

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "the lease ran out before the store confirmed it again",
            Self::NotHolder => "the store says that it is held by another, or by nobody",
            Self::Released => "it was given back",
        })
    }
}
