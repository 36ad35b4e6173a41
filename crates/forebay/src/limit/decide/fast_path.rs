//! The short ways to a decision: those that take no round trip (an engine in this process, a slice, a denial remembered),
//! and the one that shares a round trip which others have begun.
//!
//! Some dozen nanoseconds each, and a copy of what was just written costs five of them: hence plain functions, and on the
//! default way inline ones, so that an answer is put together where it is wanted.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use crate::{
    engine::{
        BatchedTake,
        step::{Take, Taken},
    },
    key::{Count, Key},
    limit::{LimitHandle, allowance::Allowance, decision::Decision, report::is_near},
    model::rate::rule::{Rule, State},
};

impl LimitHandle {
    /// The decision about nearly every take that asks nobody: the limit's own rule, and a key and a cost within bounds.
    /// `None`: the other stages decide.
    #[expect(clippy::inline_always, reason = "an answer is put together where it is wanted: see above")]
    #[inline(always)]
    pub(crate) fn take_fast(&self, key: Key<'_>, cost: u64) -> Option<Decision> {
        let take = self.take_under(self.plain_rule(cost)?, key, cost);
        let decision = if let Some(leased) = &self.0.leased {
            leased.spend(&take)?
        } else {
            let Taken { allowed, now, state } = self.0.store.engine().take_now(&take)?;
            if !allowed {
                return Some(self.denied(take, now, state));
            }
            Decision::from_state(&take.rule, state, now, None)
        };
        // As `noted`, for which it would have to be in memory first.
        if is_near(decision.used(), decision.limit()) {
            self.note_near(take.key, decision);
        }
        Some(decision)
    }

    /// A take that goes to the store with others, and its rule.
    #[inline(never)]
    pub(crate) fn take_batched<'a>(&'a self, key: Key<'a>, cost: u64) -> Option<(&'a Rule, BatchedTake<'a>)> {
        let rule = self.plain_rule(cost).filter(|_| self.0.leased.is_none())?;
        Some((rule, self.0.store.engine().take_batched(self.take_under(rule, key, cost))?))
    }

    #[inline]
    pub(crate) fn take_under<'a>(&'a self, rule: &Rule, key: Key<'a>, cost: u64) -> Take<'a> {
        Take { limit: &self.0.name, key: key.as_str(), rule: *rule, cost, within: self.0.definition.deadline }
    }

    #[inline]
    fn plain_rule(&self, cost: u64) -> Option<&Rule> {
        let Allowance::Rate(rule) = &self.0.default else { return None };
        let plain = !self.0.definition.is_phased_by_key() && self.has_no_overrides();
        (plain && (1..=rule.quota().min(Count::MAX)).contains(&cost)).then_some(rule)
    }

    #[cold]
    fn denied(&self, take: Take<'_>, now: u64, state: State) -> Decision {
        let denied = Decision::from_state(&take.rule, state, now, Some(take.cost));
        self.noted(take.key, self.apply_shadow(denied))
    }
}

/// Waits for `step` without its code becoming part of the caller's, whose other ways are short.
pub(crate) async fn poll_outlined<F: Future>(mut step: Pin<&mut F>) -> F::Output {
    #[inline(never)]
    fn poll<F: Future>(step: Pin<&mut F>, context: &mut Context<'_>) -> Poll<F::Output> {
        step.poll(context)
    }
    std::future::poll_fn(|context| poll(step.as_mut(), context)).await
}
