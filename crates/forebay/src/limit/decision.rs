//! The answer of a limit.

use std::time::Duration;

use crate::{
    engine::step::{Take, Taken},
    model::rate::rule::{Rule, State},
};

/// The answer to a take.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// use forebay::{Decision, Limit};
/// let hits = bay.limit(Limit::per_minute("hits", 1))?;
/// assert!(hits.take("user:42").await?.is_allowed());
/// match hits.take("user:42").await? {
///     Decision::Allow { .. } => unreachable!("one per minute"),
///     Decision::Deny { retry_after, .. } => println!("try again in {retry_after:?}"),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a denied request should not be served"]
pub enum Decision {
    /// The cost was charged.
    #[non_exhaustive]
    Allow {
        /// How much of the limit is used now.
        used: u64,
        /// The quota, or the burst of a token bucket.
        limit: u64,
        /// How much would still be admitted now.
        remaining: u64,
        /// Until nothing is used any more, of every kind; zero if nothing is, or nobody knows. Up to 10 ms more where this process decides, which does not look at the exact
        /// time for it.
        reset_after: Duration,
        /// The source of the decision.
        source: Source,
        /// The store did not answer, and [`OnError`](super::OnError) decided.
        degraded: bool,
        /// The limit is a [shadow](super::Limit::shadow): it would have denied, and nothing was charged.
        shadowed: bool,
    },
    /// Nothing was charged.
    #[non_exhaustive]
    Deny {
        /// How much of the limit is used now.
        used: u64,
        /// The quota, or the burst of a token bucket.
        limit: u64,
        /// How much would still be admitted now: less than was asked for.
        remaining: u64,
        /// Until nothing is used any more.
        reset_after: Duration,
        /// Until this cost would be admitted, absent other callers: not before, and exactly then. Unknown when the
        /// store did not answer, and of leases, which are given back when their holders please.
        retry_after: Option<Duration>,
        /// The source of the decision.
        source: Source,
        /// The store did not answer, and [`OnError`](super::OnError) decided.
        degraded: bool,
    },
}

/// The source of a decision.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// use forebay::{Limit, limit::Source};
/// let hits = bay.limit(Limit::per_minute("hits", 20))?;
/// assert_eq!(hits.take("user:42").await?.source(), Source::Engine);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// The store.
    Engine,
    /// This process, within a slice of the quota that the store lent it.
    Lease,
    /// This process remembered an earlier denial.
    DenyCache,
    /// The store did not answer; [`OnError`](super::OnError) decided.
    Fallback,
    /// The limit itself, or an override: whatever was taken, all is admitted, or nothing.
    Definition,
}

impl Source {
    /// The word for this in JSON and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Lease => "lease",
            Self::DenyCache => "deny_cache",
            Self::Fallback => "fallback",
            Self::Definition => "definition",
        }
    }
}

impl Decision {
    /// The decision of a rule about a state; `wait_for` is the cost that was denied.
    #[inline]
    pub(super) fn from_state(rule: &Rule, state: State, now: u64, denied: Option<u64>) -> Self {
        let used = rule.used(state);
        let limit = rule.quota();
        let remaining = rule.room(state);
        let reset_after = Duration::from_micros(rule.reset_after(state, now));
        let (source, degraded, shadowed) = (Source::Engine, false, false);
        match denied {
            None => Self::Allow { used, limit, remaining, reset_after, source, degraded, shadowed },
            Some(cost) => {
                let retry_after = Some(Duration::from_micros(rule.wait(state, now, cost)));
                Self::Deny { used, limit, remaining, reset_after, retry_after, source, degraded }
            }
        }
    }

    /// The decision about a take.
    pub(super) fn of(take: &Take<'_>, taken: Taken) -> Self {
        Self::from_state(&take.rule, taken.state, taken.now, (!taken.allowed).then_some(take.cost))
    }

    /// The decision about a number of leases.
    pub(super) fn from_leases(limit: u64, used: u64, last_end: Option<Duration>, allowed: bool) -> Self {
        let (remaining, reset_after) = (limit.saturating_sub(used), last_end.unwrap_or_default());
        let (source, degraded, shadowed) = (Source::Engine, false, false);
        if allowed {
            Self::Allow { used, limit, remaining, reset_after, source, degraded, shadowed }
        } else {
            Self::Deny { used, limit, remaining, reset_after, retry_after: None, source, degraded }
        }
    }

    /// The decision about a take from a local budget.
    #[inline]
    pub(super) fn from_lease(limit: u64, remaining: u64, reset_after: Duration) -> Self {
        let (used, remaining) = (limit.saturating_sub(remaining), remaining.min(limit));
        let (source, degraded, shadowed) = (Source::Lease, false, false);
        Self::Allow { used, limit, remaining, reset_after, source, degraded, shadowed }
    }

    /// An answer without the store.
    pub(super) fn without_store(limit: u64, allowed: bool) -> Self {
        let (used, reset_after, source, degraded) = (0, Duration::ZERO, Source::Fallback, true);
        if allowed {
            Self::Allow { used, limit, remaining: limit, reset_after, source, degraded, shadowed: false }
        } else {
            Self::Deny { used, limit, remaining: 0, reset_after, retry_after: None, source, degraded }
        }
    }

    /// The number for "no limit": the largest number that every JSON reader keeps exactly.
    pub const UNLIMITED: u64 = (1 << 53) - 1;

    /// An answer that needs no store: everything, or nothing, is admitted.
    pub(super) fn by_definition(allowed: bool) -> Self {
        let limit = if allowed { Self::UNLIMITED } else { 0 };
        Self::without_store(limit, allowed).from(Source::Definition)
    }

    /// The answer of a limit that only shows what it would do.
    pub(super) fn shadowed(self) -> Self {
        match self {
            Self::Allow { .. } => self,
            Self::Deny { used, limit, remaining, reset_after, source, degraded, .. } => {
                Self::Allow { used, limit, remaining, reset_after, source, degraded, shadowed: true }
            }
        }
    }

    /// The same answer, said to come from elsewhere.
    #[inline]
    pub(super) fn from(mut self, new_source: Source) -> Self {
        let (Self::Allow { source, degraded, .. } | Self::Deny { source, degraded, .. }) = &mut self;
        (*source, *degraded) = (new_source, new_source == Source::Fallback);
        self
    }

    /// The same denial, `passed` later.
    #[inline]
    pub(super) fn later(mut self, passed: Duration) -> Self {
        let (Self::Allow { reset_after, .. } | Self::Deny { reset_after, .. }) = &mut self;
        *reset_after = reset_after.saturating_sub(passed);
        if let Self::Deny { retry_after: Some(after), .. } = &mut self {
            *after = after.saturating_sub(passed);
        }
        self
    }

    /// Whether the cost was charged.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow { .. })
    }

    /// How much of the limit is used now.
    pub fn used(&self) -> u64 {
        let (Self::Allow { used, .. } | Self::Deny { used, .. }) = *self;
        used
    }

    /// The quota, or the burst of a token bucket.
    pub fn limit(&self) -> u64 {
        let (Self::Allow { limit, .. } | Self::Deny { limit, .. }) = *self;
        limit
    }

    /// How much would still be admitted now.
    pub fn remaining(&self) -> u64 {
        let (Self::Allow { remaining, .. } | Self::Deny { remaining, .. }) = *self;
        remaining
    }

    /// Until nothing is used any more.
    pub fn reset_after(&self) -> Duration {
        let (Self::Allow { reset_after, .. } | Self::Deny { reset_after, .. }) = *self;
        reset_after
    }

    /// Until a denied cost would be admitted; `None` if it was admitted, or nobody knows.
    pub fn retry_after(&self) -> Option<Duration> {
        match *self {
            Self::Allow { .. } => None,
            Self::Deny { retry_after, .. } => retry_after,
        }
    }

    /// Whether the key is allowed nothing, so that no waiting helps.
    pub fn is_blocked(&self) -> bool {
        matches!(*self, Self::Deny { limit: 0, degraded: false, .. })
    }

    /// The source of the decision.
    pub fn source(&self) -> Source {
        let (Self::Allow { source, .. } | Self::Deny { source, .. }) = *self;
        source
    }

    /// Whether the limit says no, though a shadow then lets it pass.
    pub(super) fn denies(&self) -> bool {
        !self.is_allowed() || self.is_shadowed()
    }

    /// Whether a [shadow](super::Limit::shadow) admitted what it would have denied.
    pub fn is_shadowed(&self) -> bool {
        matches!(self, Self::Allow { shadowed: true, .. })
    }

    /// Whether the store did not answer, so that the promises of the limit do not hold for this answer.
    pub fn is_degraded(&self) -> bool {
        let (Self::Allow { degraded, .. } | Self::Deny { degraded, .. }) = *self;
        degraded
    }
}
