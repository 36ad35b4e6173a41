//! What a limit answers.

use std::time::Duration;

use super::rule::{Rule, State};

/// The answer to a take.
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
        /// Until nothing is used any more.
        reset_after: Duration,
        /// Who decided.
        source: Source,
        /// The store did not answer, and [`OnError`](super::OnError) decided.
        degraded: bool,
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
        /// Who decided.
        source: Source,
        /// The store did not answer, and [`OnError`](super::OnError) decided.
        degraded: bool,
    },
}

/// Who decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// The store.
    Engine,
    /// This process remembered an earlier denial.
    DenyCache,
    /// The store did not answer; [`OnError`](super::OnError) decided.
    Fallback,
}

impl Source {
    /// The word for this in JSON and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::DenyCache => "deny_cache",
            Self::Fallback => "fallback",
        }
    }
}

impl Decision {
    /// What a rule says about a state; `wait_for` is the cost that was denied.
    pub(super) fn from_state(rule: &Rule, state: State, now: u64, denied: Option<u64>) -> Self {
        let used = rule.used(state);
        let limit = rule.quota();
        let remaining = rule.room(state);
        let reset_after = Duration::from_micros(rule.reset_after(state, now));
        let (source, degraded) = (Source::Engine, false);
        match denied {
            None => Self::Allow { used, limit, remaining, reset_after, source, degraded },
            Some(cost) => {
                let retry_after = Some(Duration::from_micros(rule.wait(state, now, cost)));
                Self::Deny { used, limit, remaining, reset_after, retry_after, source, degraded }
            }
        }
    }

    /// What a number of leases comes to.
    pub(super) fn from_leases(limit: u64, used: u64, last_end: Option<Duration>, allowed: bool) -> Self {
        let (remaining, reset_after) = (limit.saturating_sub(used), last_end.unwrap_or_default());
        let (source, degraded) = (Source::Engine, false);
        if allowed {
            Self::Allow { used, limit, remaining, reset_after, source, degraded }
        } else {
            Self::Deny { used, limit, remaining, reset_after, retry_after: None, source, degraded }
        }
    }

    /// An answer without the store.
    pub(super) fn without_store(limit: u64, allowed: bool) -> Self {
        let (used, reset_after, source, degraded) = (0, Duration::ZERO, Source::Fallback, true);
        if allowed {
            Self::Allow { used, limit, remaining: limit, reset_after, source, degraded }
        } else {
            Self::Deny { used, limit, remaining: 0, reset_after, retry_after: None, source, degraded }
        }
    }

    /// The same answer, said to come from elsewhere.
    pub(super) fn from(self, new_source: Source) -> Self {
        let mut answer = self;
        match &mut answer {
            Self::Allow { source, degraded, .. } | Self::Deny { source, degraded, .. } => {
                *source = new_source;
                *degraded = new_source == Source::Fallback;
            }
        }
        answer
    }

    /// The same denial, `passed` later.
    pub(super) fn later(self, passed: Duration) -> Self {
        let mut answer = self;
        match &mut answer {
            Self::Allow { reset_after, .. } => *reset_after = reset_after.saturating_sub(passed),
            Self::Deny { reset_after, retry_after, .. } => {
                *reset_after = reset_after.saturating_sub(passed);
                *retry_after = retry_after.map(|after| after.saturating_sub(passed));
            }
        }
        answer
    }

    /// Whether the cost was charged.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow { .. })
    }

    /// How much of the limit is used now.
    pub fn used(&self) -> u64 {
        match *self {
            Self::Allow { used, .. } | Self::Deny { used, .. } => used,
        }
    }

    /// The quota, or the burst of a token bucket.
    pub fn limit(&self) -> u64 {
        match *self {
            Self::Allow { limit, .. } | Self::Deny { limit, .. } => limit,
        }
    }

    /// How much would still be admitted now.
    pub fn remaining(&self) -> u64 {
        match *self {
            Self::Allow { remaining, .. } | Self::Deny { remaining, .. } => remaining,
        }
    }

    /// Until nothing is used any more.
    pub fn reset_after(&self) -> Duration {
        match *self {
            Self::Allow { reset_after, .. } | Self::Deny { reset_after, .. } => reset_after,
        }
    }

    /// Until a denied cost would be admitted; `None` if it was admitted, or nobody knows.
    pub fn retry_after(&self) -> Option<Duration> {
        match *self {
            Self::Allow { .. } => None,
            Self::Deny { retry_after, .. } => retry_after,
        }
    }

    /// Who decided.
    pub fn source(&self) -> Source {
        match *self {
            Self::Allow { source, .. } | Self::Deny { source, .. } => source,
        }
    }

    /// Whether the store did not answer, so that the promises of the limit do not hold for this answer.
    pub fn is_degraded(&self) -> bool {
        match *self {
            Self::Allow { degraded, .. } | Self::Deny { degraded, .. } => degraded,
        }
    }
}
