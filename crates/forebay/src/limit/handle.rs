//! Asking a limit.

use std::{sync::Arc, time::Duration};

use super::{
    Kind, Limit, OnError,
    decision::{Decision, Source},
    deny::DenyCache,
    lease::{Slots, wrong_kind},
    rule::Rule,
};
use crate::{
    bay::Forebay,
    engine::step::{Take, Taken},
    error::{Error, ErrorKind, Result, out_of_range},
    key::{Name, check_key},
    time::When,
};

/// The largest cost of one call.
pub const MAX_COST: u64 = 1 << 31;

/// A limit of an open store. Clones share it.
#[derive(Clone, Debug)]
pub struct LimitHandle(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bay: Forebay,
    name: Name,
    counts: Counts,
    on_error: OnError,
    deadline: Duration,
    /// Not in front of the embedded engine, which answers as fast.
    denied: Option<DenyCache>,
}

/// What a limit counts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Counts {
    /// What passes in a time.
    Rate(Rule),
    /// What goes on at a time.
    Leases(Slots),
}

impl LimitHandle {
    pub(crate) fn new(bay: Forebay, limit: &Limit) -> Result<Self> {
        let name = Name::new(&limit.name)?;
        let counts = limit.counts()?;
        let denied = (!bay.engine().is_in_process()).then(DenyCache::default);
        let (on_error, deadline) = (limit.on_error, limit.deadline);
        Ok(Self(Arc::new(Inner { bay, name, counts, on_error, deadline, denied })))
    }

    /// Takes 1 for `key`, if it fits.
    ///
    /// # Errors
    /// As [`take_n`](Self::take_n).
    ///
    /// # Cancellation
    /// Dropping the future may leave the cost charged.
    ///
    /// # Cost
    /// One round trip, shared with whatever else this process asks the host at that time; none while a
    /// denial is remembered, and none on the embedded engine.
    pub async fn take(&self, key: impl AsRef<str>) -> Result<Decision> {
        self.take_n(key, 1).await
    }

    /// Takes `cost` (1 to the limit, at most 2^31) for `key`, if it fits: all of it or nothing.
    ///
    /// A store that does not answer is no error: [`OnError`] decides then.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a key that is empty or longer than 512 bytes, [`ErrorKind::OutOfRange`] for a cost
    /// that could never be admitted.
    ///
    /// # Cancellation
    /// Dropping the future may leave the cost charged.
    ///
    /// # Cost
    /// As [`take`](Self::take).
    pub async fn take_n(&self, key: impl AsRef<str>, cost: u64) -> Result<Decision> {
        self.take_at(key, cost, When::EngineClock).await
    }

    /// As [`take_n`](Self::take_n), at a time other than the store's: for replays of old traffic.
    ///
    /// # Errors
    /// As [`take_n`](Self::take_n).
    pub async fn take_at(&self, key: impl AsRef<str>, cost: u64, when: When) -> Result<Decision> {
        let take = self.checked(key.as_ref(), cost)?;
        let denied = self.0.denied.as_ref().filter(|_| when == When::EngineClock);
        let asked = denied.map(|_| self.0.bay.clock().monotonic()).unwrap_or_default();
        if let Some(decision) = denied.and_then(|denied| denied.look_up(take.key, cost, asked)) {
            return Ok(decision);
        }
        let decision = match self.ask(take, when).await {
            Ok(taken) => decision(&take.rule, take.cost, taken),
            Err(error) => return self.without_store(take, when, error).await,
        };
        if let Some(denied) = denied {
            denied.remember(take.key, cost, asked, decision);
        }
        Ok(decision)
    }

    /// Looks without taking: what a take of 1 would be told now.
    ///
    /// # Errors
    /// As [`take_n`](Self::take_n).
    ///
    /// # Cost
    /// As [`take`](Self::take).
    pub async fn peek(&self, key: impl AsRef<str>) -> Result<Decision> {
        if let Counts::Leases(slots) = self.0.counts {
            return self.peek_leases(slots, self.checked_key(key.as_ref())?).await;
        }
        let take = Take { cost: 0, ..self.checked(key.as_ref(), 1)? };
        let answer = self.ask(take, When::EngineClock).await;
        match answer {
            Ok(taken) => {
                Ok(decision(&take.rule, 1, Taken { allowed: take.rule.room(taken.state) >= 1, ..taken }))
            }
            Err(error) => self.without_store(take, When::EngineClock, error).await,
        }
    }

    /// Gives back `cost` that was taken for something that then did not happen: to the current window, never below
    /// nothing used.
    ///
    /// # Errors
    /// As [`take_n`](Self::take_n); and whatever the store answers, since nothing else can be done about it.
    pub async fn refund(&self, key: impl AsRef<str>, cost: u64) -> Result<Decision> {
        self.refund_into(key.as_ref(), cost, None).await
    }

    /// As [`refund`](Self::refund), but only while the window that was charged still counts.
    pub(super) async fn refund_into(&self, key: &str, cost: u64, charged: Option<u64>) -> Result<Decision> {
        let take = self.checked(key, cost)?;
        let answer = self.in_time(self.0.bay.engine().refund(take, charged, When::EngineClock)).await;
        self.forget_denial(take.key);
        answer.map(|taken| decision(&take.rule, 0, taken))
    }

    /// Forgets what was taken for `key`.
    ///
    /// # Errors
    /// As [`refund`](Self::refund).
    pub async fn reset(&self, key: impl AsRef<str>) -> Result<()> {
        let take = self.checked(key.as_ref(), 1)?;
        let answer = self.in_time(self.0.bay.engine().reset(take)).await;
        self.forget_denial(take.key);
        answer
    }

    /// The limit's name.
    pub fn name(&self) -> &Name {
        &self.0.name
    }

    /// The largest cost that is ever admitted; how many leases there may be.
    pub fn quota(&self) -> u64 {
        match &self.0.counts {
            Counts::Rate(rule) => rule.quota(),
            Counts::Leases(slots) => slots.most,
        }
    }

    /// How it counts.
    pub fn kind(&self) -> Kind {
        match &self.0.counts {
            Counts::Rate(Rule::FixedWindow(_)) => Kind::FixedWindow,
            Counts::Rate(Rule::SlidingWindow(_)) => Kind::SlidingWindow,
            Counts::Rate(Rule::TokenBucket(_)) => Kind::TokenBucket,
            Counts::Leases(_) => Kind::Concurrency,
        }
    }

    pub(super) fn bay(&self) -> &Forebay {
        &self.0.bay
    }

    /// What a concurrency limit lends.
    pub(super) fn slots(&self, key: &str) -> Result<Slots> {
        let Counts::Leases(slots) = self.0.counts else {
            return Err(wrong_kind(self, "a rate limit lends nothing; take from it"));
        };
        self.checked_key(key).map(|_| slots)
    }

    pub(super) fn on_error(&self) -> OnError {
        self.0.on_error
    }

    pub(super) fn deadline(&self) -> Duration {
        self.0.deadline
    }

    pub(super) fn forget_denial(&self, key: &str) {
        if let Some(denied) = &self.0.denied {
            denied.forget(key);
        }
    }

    /// A take that is within the rules, whatever the store says.
    pub(super) fn checked<'a>(&'a self, key: &'a str, cost: u64) -> Result<Take<'a>> {
        let Inner { name, counts, deadline, .. } = &*self.0;
        let key = self.checked_key(key)?;
        let Counts::Rate(rule) = counts else {
            return Err(wrong_kind(self, "nothing is taken from a concurrency limit; it lends leases"));
        };
        let most = rule.quota().min(MAX_COST);
        if !(1..=most).contains(&cost) {
            return Err(out_of_range(format!("limit {name}: cost {cost}: a cost is 1 to {most}")));
        }
        Ok(Take { limit: name, key, rule: *rule, cost, within: *deadline })
    }

    fn checked_key<'a>(&self, key: &'a str) -> Result<&'a str> {
        let describe = |error: Error| Error::new(error.kind(), format!("limit {}: {error}", self.0.name));
        check_key(key).map_err(describe)
    }

    /// What [`OnError`] says. What the caller got wrong stays an error.
    async fn without_store(&self, take: Take<'_>, when: When, error: Error) -> Result<Decision> {
        if !is_outage(&error) {
            return Err(error);
        }
        match self.0.on_error {
            OnError::Open => Ok(Decision::without_store(self.quota(), true)),
            OnError::Closed => Ok(Decision::without_store(self.quota(), false)),
            OnError::Local => {
                let taken = Box::pin(self.0.bay.fallback().take(take, when)).await?;
                Ok(decision(&take.rule, take.cost, taken).from(Source::Fallback))
            }
        }
    }

    async fn ask(&self, take: Take<'_>, when: When) -> Result<Taken> {
        let step = self.0.bay.engine().take(take, when);
        if self.0.bay.engine().keeps_deadlines() { step.await } else { self.in_time(step).await }
    }

    async fn in_time<T>(&self, step: impl Future<Output = Result<T>>) -> Result<T> {
        in_time(&self.0.bay, self.0.deadline, self.name(), step).await
    }
}

/// What a state means for a cost that was, or was not, charged.
pub(super) fn decision(rule: &Rule, cost: u64, taken: Taken) -> Decision {
    Decision::from_state(rule, taken.state, taken.now, (!taken.allowed).then_some(cost))
}

/// Whether the store is at fault, so that [`OnError`] decides.
pub(super) fn is_outage(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Unavailable
            | ErrorKind::Timeout
            | ErrorKind::Overloaded
            | ErrorKind::Ambiguous
            | ErrorKind::Closed
    )
}

/// Runs a step of a limit under a deadline.
pub(super) async fn in_time<T>(
    bay: &Forebay,
    deadline: Duration,
    limit: &Name,
    step: impl Future<Output = Result<T>>,
) -> Result<T> {
    if bay.engine().is_in_process() {
        return step.await;
    }
    bay.clock().timeout(deadline, step).await.unwrap_or_else(|| {
        Err(Error::new(
            ErrorKind::Timeout,
            format!("limit {limit}: no answer from the store within {deadline:?}"),
        ))
    })
}
