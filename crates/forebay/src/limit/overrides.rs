//! What single keys are allowed instead of what their limit says.

use std::{
    collections::HashMap,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{allowance::Allowance, definition::Kind, lease::Slots, rule::Rule};
use crate::error::{Result, invalid};

/// What one key is allowed instead of what its limit says.
///
/// The limit's kind stays. Where the period stays, too, what was counted goes on counting; an override with another
/// period begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Override(What);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum What {
    Rate { quota: u64, per: Duration, burst: Option<u64> },
    Leases(u64),
    Unlimited,
    Blocked,
}

impl Override {
    /// `quota` per `per`; ranges as of [`Limit::new`](super::Limit::new). A bucket holds the quota at once.
    pub fn rate(quota: u64, per: Duration) -> Self {
        Self(What::Rate { quota, per, burst: None })
    }

    /// So many at once, of a rate for a token bucket. Changes nothing of other overrides.
    #[must_use]
    pub fn burst(self, at_once: u64) -> Self {
        match self.0 {
            What::Rate { quota, per, .. } => Self(What::Rate { quota, per, burst: Some(at_once) }),
            _ => self,
        }
    }

    /// So many leases, of a concurrency limit.
    pub fn leases(most: u64) -> Self {
        Self(What::Leases(most))
    }

    /// Everything, uncounted.
    pub fn unlimited() -> Self {
        Self(What::Unlimited)
    }

    /// Nothing.
    pub fn blocked() -> Self {
        Self(What::Blocked)
    }

    /// What it comes to, of a limit of this kind; `ttl` is that of its leases.
    pub(super) fn allowance(self, kind: Kind, ttl: Duration, phase: Duration) -> Result<Allowance> {
        let rate = |quota, per, burst: Option<u64>| match kind {
            Kind::FixedWindow if burst.is_none() => Rule::fixed_window(quota, per, phase),
            Kind::SlidingWindow if burst.is_none() => Rule::sliding_window(quota, per),
            Kind::TokenBucket => Rule::token_bucket(quota, per, burst.unwrap_or(quota)),
            Kind::Concurrency => Err(invalid("an override of a concurrency limit is a number of leases")),
            _ => Err(invalid(format!("a {} has no burst; only a token-bucket does", kind.as_str()))),
        };
        match self.0 {
            What::Unlimited => Ok(Allowance::Unlimited),
            What::Blocked => Ok(Allowance::Nothing),
            What::Rate { quota, per, burst } => rate(quota, per, burst).map(Allowance::Rate),
            What::Leases(most) if kind == Kind::Concurrency => {
                Slots { most, ttl }.checked().map(Allowance::Leases)
            }
            What::Leases(_) => {
                Err(invalid(format!("an override of a {} is a rate, not a number", kind.as_str())))
            }
        }
    }
}

/// The overrides of one limit, in this process.
#[derive(Debug, Default)]
pub(super) struct Overrides {
    table: RwLock<HashMap<Box<str>, (Override, Allowance)>>,
    /// How many the table holds, so that a limit without any takes no lock. Relaxed: an override counts from some
    /// moment during the call that sets it.
    held: AtomicUsize,
}

impl Overrides {
    /// What a key is allowed, if not the usual.
    pub(super) fn of(&self, key: &str) -> Option<Allowance> {
        if self.held.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.table.read().unwrap_or_else(PoisonError::into_inner).get(key).map(|(_, allowance)| *allowance)
    }

    pub(super) fn change<T>(
        &self,
        change: impl FnOnce(&mut HashMap<Box<str>, (Override, Allowance)>) -> T,
    ) -> T {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let answer = change(&mut table);
        self.held.store(table.len(), Ordering::Relaxed);
        answer
    }

    pub(super) fn all(&self) -> Vec<(String, Override)> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = table.iter().map(|(key, (what, _))| (key.to_string(), *what)).collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all
    }
}
