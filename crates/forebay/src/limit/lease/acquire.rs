//! Leases: how many may do something at the same time.

use std::time::Duration;

use super::{
    guard::LeaseGuard,
    id::{GrantedBy, LeaseId, LeaseTerm},
    quota::LeaseQuota,
};
use crate::{
    engine::step::{LeaseAct, LeaseStep, Leases},
    error::{Result, Retry},
    key::Key,
    limit::{Decision, LimitHandle, OnError, Outstanding, Source},
    time::secs,
};

/// The outcome of an attempt to get a lease.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// use forebay::{Limit, limit::Lease, time::secs};
/// let exports = bay.limit(Limit::concurrency("exports", 1, secs(10)))?;
/// let Lease::Granted(_guard) = exports.lease("user:42").await? else { unreachable!("the first") };
/// assert!(matches!(exports.lease("user:42").await?, Lease::Denied { .. }));
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "a guard that is dropped gives the lease back"]
pub enum Lease<T = LeaseGuard> {
    /// It is lent.
    Granted(T),
    /// As many as there may be are lent.
    Denied {
        /// How many, of how many; it knows no time after which a repetition succeeds.
        decision: Decision,
        /// Until the first of them ends unless it is extended; unknown when the store did not answer.
        first_end: Option<Duration>,
    },
}

/// An extension or a release waits for its answer for at most this long.
const ANSWER: Duration = secs(1);

impl LimitHandle {
    /// Gets a lease for `key` (1 to 512 bytes), if fewer than the limit's most are lent.
    ///
    /// The guard extends the lease in the background and gives it back when it is released or dropped. A process that
    /// dies keeps its leases until they run out, a ttl after they were extended last. A store that does not answer is
    /// no error: [`OnError`] decides then, and the guard says so.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a key out of range, and for a limit of another kind than
    /// [`Kind::Concurrency`](crate::limit::Kind::Concurrency).
    ///
    /// # Cancellation
    /// Dropping the future gives back, in the background, what it may have been lent.
    ///
    /// # Cost
    /// One round trip, one more for each third of the ttl, and one in the end; none on the embedded engine.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// use forebay::{Forebay, Limit, limit::Lease, time::secs};
    ///
    /// let bay = Forebay::open("memory:").await?;
    /// let reports = bay.limit(Limit::concurrency("reports", 2, secs(30)))?;
    /// match reports.lease("42").await? {
    ///     Lease::Granted(guard) => {
    ///         // At most two of these at a time.
    ///         guard.release().await?;
    ///     }
    ///     Lease::Denied { first_end, .. } => println!("try again, at the latest in {first_end:?}"),
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn lease(&self, key: impl AsRef<str>) -> Result<Lease> {
        let key = self.key(key.as_ref())?;
        let (slots, key) = (self.lease_quota(key)?, key.as_str());
        // From here on a dropped future releases the lease.
        let guard = LeaseGuard::asking(self, slots, key, LeaseId::random());
        let (outcome, lender) = self.lend(slots, key, guard.id()).await?;
        self.note(key, outcome.decision());
        Ok(match outcome {
            Lease::Granted(term) => Lease::Granted(guard.begin(&term, lender)),
            Lease::Denied { decision, first_end } => {
                if decision.is_degraded() {
                    // The answer may have been lost, and not the request.
                    drop(guard);
                } else {
                    guard.forget();
                }
                Lease::Denied { decision, first_end }
            }
        })
    }

    /// As [`lease`](Self::lease), for a holder elsewhere, who extends and releases by the id. Repeating it under the
    /// same id gets no second lease.
    ///
    /// # Errors
    /// As [`lease`](Self::lease).
    ///
    /// # Cancellation
    /// Dropping the future may leave the lease lent until it runs out.
    pub async fn lease_as(&self, key: impl AsRef<str>, id: LeaseId) -> Result<Lease<LeaseTerm>> {
        let key = self.key(key.as_ref())?;
        let (slots, key) = (self.lease_quota(key)?, key.as_str());
        let (outcome, lender) = self.lend(slots, key, id).await?;
        self.note(key, outcome.decision());
        Ok(match outcome {
            Lease::Granted(term) => Lease::Granted(LeaseTerm { id: id.granted_by(lender), ..term }),
            denied @ Lease::Denied { .. } => denied,
        })
    }

    /// Extends a lease to its full ttl from now: for how long it stands, counted from before the call, less the
    /// allowance for clocks. `None`: it does not stand (any more).
    ///
    /// A lease that was granted [without the store](LeaseId::is_degraded) is extended without it, also when the store
    /// answers again: it is not counted there.
    ///
    /// # Errors
    /// As [`lease`](Self::lease); and whatever the store answers. Repeating is safe.
    pub async fn extend_lease(&self, key: impl AsRef<str>, id: LeaseId) -> Result<Option<Duration>> {
        let key = self.key(key.as_ref())?;
        let (slots, key) = (self.lease_quota(key)?, key.as_str());
        let (lender, id) = id.grantor();
        let held = self.extend(lender, slots, key, id, ANSWER).await?;
        Ok(held.then(|| slots.counted()))
    }

    /// Gives a lease back; false: it did not stand (any more).
    ///
    /// # Errors
    /// As [`extend_lease`](Self::extend_lease).
    pub async fn release_lease(&self, key: impl AsRef<str>, id: LeaseId) -> Result<bool> {
        let key = self.key(key.as_ref())?;
        self.lease_quota(key)?;
        let (lender, id) = id.grantor();
        lender.released(self.give_back_lease(lender, key.as_str(), id).await)
    }

    async fn lend(&self, slots: LeaseQuota, key: &str, id: LeaseId) -> Result<(Lease<LeaseTerm>, GrantedBy)> {
        // A shadow grants every lease, so that it counts all of them.
        let most = if self.is_shadow() { Decision::UNLIMITED } else { slots.most };
        let act = LeaseAct::Take { most, ttl: slots.ttl };
        match self.ask_lease(key, id, act, self.0.definition.deadline).await {
            Ok(leases) => Ok((slots.outcome(id, &leases, Source::Engine), GrantedBy::Store)),
            Err(error) if error.is_outage() => {
                self.note_outage(key, &error);
                self.lend_without_store(slots, key, id, act).await
            }
            Err(error) => Err(error),
        }
    }

    /// Decides by [`OnError`].
    async fn lend_without_store(
        &self,
        slots: LeaseQuota,
        key: &str,
        id: LeaseId,
        act: LeaseAct,
    ) -> Result<(Lease<LeaseTerm>, GrantedBy)> {
        if self.0.definition.on_error == OnError::Local {
            let leases = self.ask_fallback(key, id, act).await?;
            return Ok((slots.outcome(id, &leases, Source::Fallback), GrantedBy::Fallback));
        }
        let decision = Decision::without_store(slots.most, self.0.definition.on_error == OnError::Open);
        Ok((slots.decided(id, self.apply_shadow(decision), None), GrantedBy::Nobody))
    }

    /// The decision that a peek at a concurrency limit shows.
    pub(crate) async fn peek_leases(&self, slots: LeaseQuota, key: &str) -> Result<Decision> {
        let answer = self.ask_lease(key, LeaseId::random(), LeaseAct::Peek, self.0.definition.deadline).await;
        match answer {
            Ok(leases) => {
                Ok(self.apply_shadow(slots.decision(&leases, leases.number < slots.most, Source::Engine)))
            }
            Err(error) if error.is_outage() => {
                Ok(Decision::without_store(slots.most, self.0.definition.on_error != OnError::Closed))
            }
            Err(error) => Err(error),
        }
    }

    /// Leases that remain after a reset of a concurrency limit: they stand until their holders release them.
    pub(crate) async fn reset_leases(&self, key: Key<'_>) -> Result<Option<Outstanding>> {
        self.lease_quota(key)?;
        let leases = self
            .ask_lease(key.as_str(), LeaseId::random(), LeaseAct::Heal, self.0.definition.deadline)
            .await?;
        let until = self.0.store.clock().now().plus(leases.last_end.unwrap_or_default());
        Ok((leases.number > 0).then_some(Outstanding { amount: leases.number, until }))
    }

    pub(crate) async fn ask_lease(
        &self,
        key: &str,
        id: LeaseId,
        act: LeaseAct,
        within: Duration,
    ) -> Result<Leases> {
        let step = self.0.store.engine().lease(LeaseStep { limit: self.name(), key, id: id.0, act });
        self.0.store.in_time(within, || format!("limit {}", self.name()), step).await
    }

    async fn ask_fallback(&self, key: &str, id: LeaseId, act: LeaseAct) -> Result<Leases> {
        let step = LeaseStep { limit: self.name(), key, id: id.0, act };
        Box::pin(self.0.store.fallback().lease(step)).await
    }

    /// Extends a lease once, where it was granted.
    pub(crate) async fn extend(
        &self,
        lender: GrantedBy,
        slots: LeaseQuota,
        key: &str,
        id: LeaseId,
        within: Duration,
    ) -> Result<bool> {
        let act = LeaseAct::Renew { ttl: slots.ttl };
        match lender {
            GrantedBy::Store => Ok(self.ask_lease(key, id, act, within).await?.held),
            GrantedBy::Fallback => Ok(self.ask_fallback(key, id, act).await?.held),
            GrantedBy::Nobody => Ok(true),
        }
    }

    /// Releases a lease in the store and, if the fallback granted it, there.
    pub(crate) async fn give_back_lease(&self, lender: GrantedBy, key: &str, id: LeaseId) -> Result<bool> {
        if lender == GrantedBy::Fallback {
            self.ask_fallback(key, id, LeaseAct::Release).await?;
        }
        // The store knows nothing of a lease that it did not grant. Its answer matters little.
        let within = if lender == GrantedBy::Store { ANSWER } else { self.0.definition.deadline };
        let answer = self.ask_lease(key, id, LeaseAct::Release, within).await;
        match answer {
            Ok(leases) => Ok(leases.held || lender != GrantedBy::Store),
            Err(error) if error.retry() == Retry::Never => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl GrantedBy {
    /// The outcome of a release. The store does not count a lease that it did not grant, so its silence is no failure. If the
    /// request reached it all the same, it forgets the lease at its end.
    pub(super) fn released(self, answer: Result<bool>) -> Result<bool> {
        match answer {
            Err(error) if self != Self::Store && error.is_outage() => Ok(true),
            answer => answer,
        }
    }
}

impl LeaseQuota {
    fn outcome(self, id: LeaseId, leases: &Leases, source: Source) -> Lease<LeaseTerm> {
        let decision = self.decision(leases, leases.held && leases.number <= self.most, source);
        // A lease beyond the quota is granted if the limit is a shadow, or allowed more when the lease was granted first.
        let decision = if leases.held { decision.shadowed() } else { decision };
        self.decided(id, decision, leases.first_end)
    }

    fn decided(self, id: LeaseId, decision: Decision, first_end: Option<Duration>) -> Lease<LeaseTerm> {
        if decision.is_allowed() {
            Lease::Granted(LeaseTerm { id, expires_in: self.counted(), decision })
        } else {
            Lease::Denied { decision, first_end }
        }
    }

    fn decision(self, leases: &Leases, allowed: bool, source: Source) -> Decision {
        Decision::from_leases(self.most, leases.number, leases.last_end, allowed).from(source)
    }
}

impl Lease<LeaseTerm> {
    fn decision(&self) -> &Decision {
        match self {
            Self::Granted(term) => &term.decision,
            Self::Denied { decision, .. } => decision,
        }
    }
}

impl<T> Lease<T> {
    /// The lease, if it was granted.
    pub fn granted(self) -> Option<T> {
        match self {
            Self::Granted(granted) => Some(granted),
            Self::Denied { .. } => None,
        }
    }
}
