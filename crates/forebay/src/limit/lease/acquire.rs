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

/// How long an extension or a release waits for its answer.
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
        // From here on, whatever becomes of this future, the lease goes back.
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
        let held = match lender {
            GrantedBy::Store => {
                self.ask_lease(key, id, LeaseAct::Renew { ttl: slots.ttl }, ANSWER).await?.held
            }
            other => self.extend(other, slots, key, id).await?,
        };
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
        match self.give_back_lease(lender, key.as_str(), id).await {
            // Its request may have reached the store all the same, which then forgets it at its end.
            Err(error) if lender != GrantedBy::Store && error.is_outage() => Ok(true),
            answer => answer,
        }
    }

    async fn lend(&self, slots: LeaseQuota, key: &str, id: LeaseId) -> Result<(Lease<LeaseTerm>, GrantedBy)> {
        // A shadow lends whatever it is asked for, so that it counts what it would have to.
        let most = if self.is_shadow() { Decision::UNLIMITED } else { slots.most };
        let act = LeaseAct::Take { most, ttl: slots.ttl };
        match self.ask_lease(key, id, act, self.deadline()).await {
            Ok(leases) => Ok((slots.outcome(id, &leases, Source::Engine), GrantedBy::Store)),
            Err(error) if error.is_outage() => {
                self.note_outage(key, &error);
                self.lend_without_store(slots, key, id, act).await
            }
            Err(error) => Err(error),
        }
    }

    /// The decision by [`OnError`].
    async fn lend_without_store(
        &self,
        slots: LeaseQuota,
        key: &str,
        id: LeaseId,
        act: LeaseAct,
    ) -> Result<(Lease<LeaseTerm>, GrantedBy)> {
        match self.on_error() {
            OnError::Local => {
                let step = LeaseStep { limit: self.name(), key, id: id.0, act };
                let leases = Box::pin(self.store().fallback().lease(step)).await?;
                Ok((slots.outcome(id, &leases, Source::Fallback), GrantedBy::Fallback))
            }
            OnError::Open => {
                let decision = Decision::without_store(slots.most, true);
                let term = LeaseTerm { id, expires_in: slots.counted(), decision };
                Ok((Lease::Granted(term), GrantedBy::Nobody))
            }
            OnError::Closed => {
                let decision = Decision::without_store(slots.most, false);
                if self.is_shadow() {
                    let (expires_in, decision) = (slots.counted(), decision.shadowed());
                    return Ok((Lease::Granted(LeaseTerm { id, expires_in, decision }), GrantedBy::Nobody));
                }
                Ok((Lease::Denied { decision, first_end: None }, GrantedBy::Nobody))
            }
        }
    }

    /// The decision that a peek at a concurrency limit shows.
    pub(crate) async fn peek_leases(&self, slots: LeaseQuota, key: &str) -> Result<Decision> {
        let answer = self.ask_lease(key, LeaseId::random(), LeaseAct::Peek, self.deadline()).await;
        match answer {
            Ok(leases) => {
                Ok(self.apply_shadow(slots.decision(&leases, leases.number < slots.most, Source::Engine)))
            }
            Err(error) if error.is_outage() => {
                Ok(Decision::without_store(slots.most, self.on_error() != OnError::Closed))
            }
            Err(error) => Err(error),
        }
    }

    /// Leases that remain after a reset of a concurrency limit: they stand until their holders release them.
    pub(crate) async fn reset_leases(&self, key: Key<'_>) -> Result<Option<Outstanding>> {
        self.lease_quota(key)?;
        let leases = self.ask_lease(key.as_str(), LeaseId::random(), LeaseAct::Heal, self.deadline()).await?;
        let until = self.store().clock().now().plus(leases.last_end.unwrap_or_default());
        Ok((leases.number > 0).then_some(Outstanding { amount: leases.number, until }))
    }

    pub(crate) async fn ask_lease(
        &self,
        key: &str,
        id: LeaseId,
        act: LeaseAct,
        within: Duration,
    ) -> Result<Leases> {
        let step = self.store().engine().lease(LeaseStep { limit: self.name(), key, id: id.0, act });
        self.store().in_time(within, || format!("limit {}", self.name()), step).await
    }

    /// One extension of a lease by whoever lent it.
    pub(crate) async fn extend(
        &self,
        lender: GrantedBy,
        slots: LeaseQuota,
        key: &str,
        id: LeaseId,
    ) -> Result<bool> {
        let act = LeaseAct::Renew { ttl: slots.ttl };
        match lender {
            GrantedBy::Store => Ok(self.ask_lease(key, id, act, ANSWER.min(slots.ttl / 4)).await?.held),
            GrantedBy::Fallback => {
                let step = LeaseStep { limit: self.name(), key, id: id.0, act };
                Ok(self.store().fallback().lease(step).await?.held)
            }
            GrantedBy::Nobody => Ok(true),
        }
    }

    /// Gives back to the store and, if that did not answer, to whoever lent instead.
    pub(crate) async fn give_back_lease(&self, lender: GrantedBy, key: &str, id: LeaseId) -> Result<bool> {
        if lender == GrantedBy::Fallback {
            let step = LeaseStep { limit: self.name(), key, id: id.0, act: LeaseAct::Release };
            self.store().fallback().lease(step).await?;
        }
        // Of what it has not lent the store need not say much.
        let within = if lender == GrantedBy::Store { ANSWER } else { self.deadline() };
        let answer = self.ask_lease(key, id, LeaseAct::Release, within).await;
        match answer {
            Ok(leases) => Ok(leases.held || lender != GrantedBy::Store),
            Err(error) if error.retry() == Retry::Never => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl LeaseQuota {
    fn outcome(self, id: LeaseId, leases: &Leases, source: Source) -> Lease<LeaseTerm> {
        let decision = self.decision(leases, leases.held && leases.number <= self.most, source);
        if leases.held {
            // More than there should be: the limit is a shadow, or allows less than it did when they were lent.
            let decision = decision.shadowed();
            Lease::Granted(LeaseTerm { id, expires_in: self.counted(), decision })
        } else {
            Lease::Denied { decision, first_end: leases.first_end }
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
