//! The short ways to a decision: those that take no round trip (an engine in this process, a slice, a denial remembered),
//! and the one that shares a round trip which others have begun.
//!
//! Some dozen nanoseconds each, and a copy of what was just written costs five of them: hence plain functions, and on the
//! usual way inline ones, so that an answer is put together where it is wanted.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use crate::{
    engine::{
        BatchedTake,
        step::{Take, Taken},
    },
    error::Result,
    key::is_key,
    limit::{
        LimitHandle, MAX_COST,
        allowance::Allowance,
        decision::Decision,
        handle::{Asked, decision},
        report::is_near,
    },
    model::rate::rule::{Rule, State},
    time::When,
};

impl LimitHandle {
    /// The decision about nearly every take that asks nobody: the limit's own rule, and a key and a cost within bounds.
    /// `None`: [`decide_at_once`](Self::decide_at_once) tells.
    #[expect(clippy::inline_always, reason = "an answer is put together where it is wanted: see above")]
    #[inline(always)]
    pub(crate) fn decide_plainly(&self, key: &str, cost: u64) -> Option<Decision> {
        let take = self.take_under(self.plain_rule(key, cost)?, key, cost);
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
            self.note_near(key, decision);
        }
        Some(decision)
    }

    /// The decision, or an error of the caller's; `None`: the store has to be asked.
    pub(crate) fn decide_at_once(&self, key: &str, cost: u64, when: When) -> Option<Result<Decision>> {
        let leased = self.0.leased.as_ref().filter(|_| when == When::EngineClock);
        if leased.is_none() && !self.0.store.engine().is_in_process() {
            return self.remembered(key, cost, when).map(Ok);
        }
        let answer = match (self.asked(key, cost), leased) {
            (Ok(Asked::Take(take)), Some(leased)) => Ok(leased.spend(&take)?),
            (Ok(Asked::Take(take)), None) => self.decide_here(&take, when)?,
            (Ok(Asked::Fixed(decision)), _) => Ok(self.shown(decision)),
            (Err(error), _) => Err(error),
        };
        Some(answer.map(|decision| self.noted(key, decision)))
    }

    /// A denial that the store said lately.
    fn remembered(&self, key: &str, cost: u64, when: When) -> Option<Decision> {
        let denied = self.0.denied.as_ref()?;
        if denied.is_empty() || when != When::EngineClock || self.0.store.engine().is_closed() {
            return None;
        }
        let Ok(Asked::Take(take)) = self.asked(key, cost) else { return None };
        let decision = denied.look_up(key, &take.rule, cost, self.0.store.clock().monotonic())?;
        Some(self.noted(key, decision))
    }

    /// A take that goes to the store with others, and its rule.
    #[inline(never)]
    pub(crate) fn take_batched<'a>(&'a self, key: &'a str, cost: u64) -> Option<(&'a Rule, BatchedTake<'a>)> {
        let rule = self.plain_rule(key, cost).filter(|_| self.0.leased.is_none())?;
        Some((rule, self.0.store.engine().take_batched(self.take_under(rule, key, cost))?))
    }

    #[inline]
    pub(crate) fn take_under<'a>(&'a self, rule: &Rule, key: &'a str, cost: u64) -> Take<'a> {
        Take { limit: &self.0.name, key, rule: *rule, cost, within: self.0.deadline }
    }

    /// What the store said of a take that was sent at `sent`, at the earliest.
    #[inline(never)]
    pub(crate) fn decided(&self, take: Take<'_>, taken: Taken, sent: Duration) -> Decision {
        let Taken { allowed, now, state } = taken;
        if !allowed {
            let decision = self.denied(take, now, state);
            if let Some(denied) = &self.0.denied {
                denied.remember(&take, sent, decision);
            }
            return decision;
        }
        self.noted(take.key, Decision::from_state(&take.rule, state, now, None))
    }

    #[inline]
    fn plain_rule(&self, key: &str, cost: u64) -> Option<&Rule> {
        let Allowance::Rate(rule) = &self.0.usual else { return None };
        let plain = !self.0.phased_by_key && self.has_no_overrides();
        (plain && is_key(key) && (1..=rule.quota().min(MAX_COST)).contains(&cost)).then_some(rule)
    }

    #[cold]
    fn denied(&self, take: Take<'_>, now: u64, state: State) -> Decision {
        let denied = Decision::from_state(&take.rule, state, now, Some(take.cost));
        self.noted(take.key, self.shown(denied))
    }

    /// What an engine in this process says.
    pub(crate) fn decide_here(&self, take: &Take<'_>, when: When) -> Option<Result<Decision>> {
        let answer = self.0.store.engine().take_at_once(take, when)?;
        Some(answer.map(|taken| self.shown(decision(&take.rule, take.cost, taken))))
    }
}

/// Waits for `step` without its code becoming part of the caller's, whose other ways are short.
pub(crate) async fn apart<F: Future>(mut step: Pin<&mut F>) -> F::Output {
    #[inline(never)]
    fn poll<F: Future>(step: Pin<&mut F>, context: &mut Context<'_>) -> Poll<F::Output> {
        step.poll(context)
    }
    std::future::poll_fn(|context| poll(step.as_mut(), context)).await
}
