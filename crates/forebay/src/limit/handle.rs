//! Asking a limit.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use super::{
    Kind, Limit, Mode, OnError, Override,
    allowance::Allowance,
    decision::{Decision, Source},
    lease::LeaseQuota,
    local::LocalLimiter,
    overrides::{Limits, Shared},
};
use crate::{
    engine::step::{Take, Taken},
    error::{Error, Result, invalid, out_of_range},
    key::{Count, Key, Name, hash},
    model::rate::{allotments, kind::Terms},
    store::Store,
    time::{Timestamp, When},
};

/// A limit of an open store. Clones share it.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// use forebay::Limit;
/// let hits = bay.limit(Limit::per_minute("hits", 20))?;
/// assert_eq!(hits.take_n("user:42", 5).await?.remaining(), 15);
/// assert_eq!(hits.peek("user:42").await?.remaining(), 15);
/// assert_eq!(hits.refund("user:42", 5).await?.remaining(), 20);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct LimitHandle(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub store: Store,
    pub limits: Arc<Limits>,
    pub name: Name,
    pub terms: Terms,
    /// The allowance of keys without an override.
    pub default: Allowance,
    /// The overrides of the definition. Those that were set at run time take precedence.
    pub instead: HashMap<Box<str>, (Override, Allowance)>,
    /// The definition, without its overrides.
    pub definition: Limit,
    pub shared: Arc<Shared>,
    /// Denials are remembered: not in front of an engine in this process, which answers as fast.
    pub remembers: bool,
    pub leased: Option<Arc<LocalLimiter>>,
    /// When an outage was last logged, in µs on the coarse clock. Zero: never. Orders nothing else.
    pub outage_noted: AtomicU64,
}

/// The amount that stays charged after a [reset](LimitHandle::reset), because others hold it.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// use forebay::Limit;
/// let hits = bay.limit(Limit::per_minute("hits", 20))?;
/// hits.take("user:42").await?;
/// let outstanding = hits.reset("user:42").await?;
/// assert!(outstanding.is_none()); // no other process holds a local budget
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outstanding {
    /// The amount that stays charged.
    pub amount: u64,
    /// Until when at the latest, unless it is extended.
    pub until: Timestamp,
}

/// The policy that a limit tells clients, besides its decisions.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// use forebay::{Limit, time::mins};
/// let hits = bay.limit(Limit::per_minute("hits", 20))?;
/// assert_eq!(hits.policy("user:42").window, mins(1));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy {
    /// The limit's name.
    pub name: String,
    /// The way of counting.
    pub kind: Kind,
    /// The span that the quota is for: of a bucket, in which it fills from empty.
    pub window: Duration,
    /// It never denies.
    pub shadow: bool,
    /// The largest cost that is ever admitted for the key; the number of its leases.
    pub quota: u64,
}

/// A validated take.
#[derive(Clone, Copy, Debug)]
pub(super) enum Resolved<'a> {
    /// The store decides.
    Take(Take<'a>),
    /// The definition or an override decides.
    Fixed(Decision),
}

impl LimitHandle {
    pub(crate) fn new(limits: &Arc<Limits>, mut definition: Limit) -> Result<Self> {
        let name = Name::new(&definition.name)?;
        let (default, instead) = definition.allowances()?;
        let overrides = std::mem::take(&mut definition.overrides).into_iter().zip(instead);
        let instead = overrides.map(|((key, what), allowance)| (key.into(), (what, allowance))).collect();
        let (limits, store, shared) = (limits.clone(), limits.store.clone(), limits.of(&name));
        let is_leased = definition.mode == Mode::Leased;
        // A shadow asks the store about every hit in order to count it. Under a leased limit other processes may return
        // budget at any time, so a denial may end early.
        let remembers = !store.engine().is_in_process() && !definition.shadow && !is_leased;
        let leased = is_leased.then(|| {
            LocalLimiter::new(name.clone(), store.engine().clone(), store.clock().clone(), &limits.leased)
        });
        Ok(Self(Arc::new(Inner {
            store,
            limits,
            name,
            terms: definition.terms()?,
            default,
            instead,
            definition,
            shared,
            remembers,
            leased,
            outage_noted: AtomicU64::new(0),
        })))
    }

    /// Tells what a take of 1 would get now, without taking.
    ///
    /// # Errors
    /// As [`take_n`](Self::take_n).
    ///
    /// # Cost
    /// As [`take`](Self::take).
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::Limit;
    /// let hits = bay.limit(Limit::per_minute("hits", 20))?;
    ///
    /// let _ = hits.take("user:42").await?;
    /// assert_eq!(hits.peek("user:42").await?.remaining(), 19);
    /// assert_eq!(hits.peek("user:42").await?.remaining(), 19);
    /// # Ok(()) }
    /// ```
    pub async fn peek(&self, key: impl AsRef<str>) -> Result<Decision> {
        self.peek_at(self.key(key.as_ref())?, When::EngineClock).await
    }

    pub(super) async fn peek_at(&self, key: Key<'_>, when: When) -> Result<Decision> {
        if self.kind() == Kind::Concurrency {
            return self.peek_leases(self.lease_quota(key)?, key.as_str()).await;
        }
        self.peek_for(key, 1, when).await
    }

    /// The decision that a take of `cost` would get.
    pub(super) async fn peek_for(&self, key: Key<'_>, cost: u64, when: When) -> Result<Decision> {
        let take = match self.resolve(key, cost)? {
            Resolved::Take(take) => take,
            Resolved::Fixed(decision) => return Ok(self.apply_shadow(decision)),
        };
        let peek = Take { cost: 0, ..take };
        match self.ask(peek, when).await {
            Ok(taken) => {
                // The unspent local budget is not used.
                let local = self.0.leased.as_ref().filter(|_| when == When::EngineClock);
                let held = local.map_or(0, |local| local.left(&take));
                let state = take.rule.refund(taken.state, held, None);
                let allowed = take.rule.room(state) >= cost;
                Ok(self.apply_shadow(Decision::of(&take, Taken { allowed, state, ..taken })))
            }
            Err(error) => self.without_store(peek, when, error).await,
        }
    }

    /// Refunds `cost` to the current window, for a take whose purpose failed. At most what is used comes back. A cost of 0
    /// is a [`peek`](Self::peek).
    ///
    /// # Errors
    /// As [`take_n`](Self::take_n); and whatever the store answers, since nothing else can be done about it.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::Limit;
    /// let hits = bay.limit(Limit::per_minute("hits", 20))?;
    ///
    /// let _ = hits.take_n("user:42", 5).await?;
    /// assert_eq!(hits.refund("user:42", 2).await?.remaining(), 17);
    /// # Ok(()) }
    /// ```
    pub async fn refund(&self, key: impl AsRef<str>, cost: u64) -> Result<Decision> {
        if cost == 0 {
            return self.peek(key).await;
        }
        self.refund_into(self.key(key.as_ref())?, cost, None).await
    }

    /// As [`refund`](Self::refund), but only while the charged window still counts.
    pub(super) async fn refund_into(
        &self,
        key: Key<'_>,
        cost: u64,
        charged: Option<u64>,
    ) -> Result<Decision> {
        let take = match self.resolve(key, cost)? {
            Resolved::Take(take) => take,
            Resolved::Fixed(decision) => return Ok(self.apply_shadow(decision)),
        };
        let answer = self.in_time(self.0.store.engine().refund(take, charged, When::EngineClock)).await;
        self.forget_denial(take.key);
        let taken = answer.map_err(|error| self.described(take.key, error))?;
        Ok(Decision::of(&Take { cost: 0, ..take }, taken))
    }

    /// Forgets what was taken for `key`, and removes a foreign value under its name.
    ///
    /// The parts of other holders stay charged and are returned: the local budgets of a [leased](super::Mode::Leased) limit in
    /// other processes, and the leases of a [concurrency](super::Kind::Concurrency) limit.
    ///
    /// # Errors
    /// As [`refund`](Self::refund).
    ///
    /// # Cost
    /// One round trip; of a leased limit two.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::Limit;
    /// let hits = bay.limit(Limit::per_minute("hits", 20))?;
    ///
    /// let _ = hits.take_n("user:42", 20).await?;
    /// hits.reset("user:42").await?;
    /// assert_eq!(hits.peek("user:42").await?.remaining(), 20);
    /// # Ok(()) }
    /// ```
    pub async fn reset(&self, key: impl AsRef<str>) -> Result<Option<Outstanding>> {
        let key = self.key(key.as_ref())?;
        if self.kind() == Kind::Concurrency {
            return self.reset_leases(key).await;
        }
        let Resolved::Take(take) = self.resolve(key, 1)? else { return Ok(None) };
        if let Some(leased) = &self.0.leased {
            leased.void(&take).await;
        }
        let answer = self.in_time(self.0.store.engine().reset(take, When::EngineClock)).await;
        self.forget_denial(take.key);
        let allotments::Outstanding { amount, until } =
            answer.map_err(|error| self.described(take.key, error))?;
        let until = Timestamp::from_micros(i64::try_from(until).unwrap_or(i64::MAX));
        Ok((amount > 0).then_some(Outstanding { amount, until }))
    }

    /// Returns the unspent local budgets of a [leased](super::Mode::Leased) limit to the store, as far as it answers within
    /// a second.
    ///
    /// [`Forebay::close`](crate::Forebay::close) and dropping the last handle do the same. Budget that is not returned is
    /// lost until its window ends, or until the bucket has refilled.
    ///
    /// # Cost
    /// One round trip for each key with a budget, 64 at a time.
    pub async fn give_back(&self) {
        if let Some(limiter) = &self.0.leased {
            limiter.give_back().await;
        }
    }

    /// The limit's name.
    pub fn name(&self) -> &Name {
        &self.0.name
    }

    /// The largest cost that is ever admitted; how many leases there may be.
    pub fn quota(&self) -> u64 {
        self.0.default.quota()
    }

    /// The policy that clients are told for a key: see [`headers`](super::headers).
    pub fn policy(&self, key: impl AsRef<str>) -> Policy {
        let allowance = self.allowance(key.as_ref());
        let window = match allowance {
            Allowance::Rate(rule) => rule.refill(self.0.store.clock().now().as_micros().unsigned_abs()),
            _ => self.0.definition.per,
        };
        let (name, kind, shadow) = (self.name().to_string(), self.kind(), self.is_shadow());
        Policy { name, kind, window, shadow, quota: allowance.quota() }
    }

    /// Whether it only shows what it would do.
    pub fn is_shadow(&self) -> bool {
        self.0.definition.shadow
    }

    /// The way of counting.
    pub fn kind(&self) -> Kind {
        self.0.terms.kind
    }

    /// The number and the ttl of the leases of a key.
    pub(super) fn lease_quota(&self, key: Key<'_>) -> Result<LeaseQuota> {
        if self.kind() != Kind::Concurrency {
            return Err(self.wrong_kind("a rate limit lends nothing; take from it"));
        }
        Ok(LeaseQuota { most: self.allowance(key.as_str()).quota(), ttl: self.0.definition.per })
    }

    /// The error of a call that does not suit the limit's kind.
    fn wrong_kind(&self, text: &str) -> Error {
        invalid(format!("limit {}: {text}", self.name()))
    }

    /// Forgets the denial of a key that was reset or refunded.
    pub(super) fn forget_denial(&self, key: &str) {
        self.0.shared.near.lock().forget(key);
        self.0.shared.denied.forget(key, self.0.store.clock().monotonic());
    }

    /// Finds the allowance of a key, and checks a cost against it.
    pub(super) fn resolve<'a>(&'a self, key: Key<'a>, cost: u64) -> Result<Resolved<'a>> {
        let Inner { name, terms, definition, default, .. } = &*self.0;
        let key = key.as_str();
        if terms.kind == Kind::Concurrency {
            return Err(self.wrong_kind("nothing is taken from a concurrency limit; it lends leases"));
        }
        let instead = self.override_for(key);
        let allowance = instead.as_ref().unwrap_or(default);
        let most = match allowance {
            Allowance::Rate(rule) => rule.quota().min(Count::MAX),
            _ => Count::MAX,
        };
        if !(1..=most).contains(&cost) {
            return Err(out_of_range(format!("limit {name}: cost {cost}: a cost is 1 to {most}")));
        }
        Ok(match allowance {
            Allowance::Rate(rule) => {
                let rule =
                    if definition.is_phased_by_key() { rule.shifted(hash(key.as_bytes())) } else { *rule };
                Resolved::Take(Take { limit: name, key, rule, cost, within: definition.deadline })
            }
            other => Resolved::Fixed(Decision::by_definition(other.quota() > 0)),
        })
    }

    /// The allowance of a key.
    pub(super) fn allowance(&self, key: &str) -> Allowance {
        self.override_for(key).unwrap_or(self.0.default)
    }

    #[inline]
    pub(super) fn has_no_overrides(&self) -> bool {
        self.0.instead.is_empty() && self.0.shared.overrides.is_empty()
    }

    /// The override of a key.
    #[inline]
    fn override_for(&self, key: &str) -> Option<Allowance> {
        let Inner { instead, shared, terms, definition, .. } = &*self.0;
        if self.has_no_overrides() {
            return None;
        }
        let set = shared.overrides.of(key).and_then(|set| set.allowance(*terms, definition.per).ok());
        set.or_else(|| instead.get(key).map(|(_, allowance)| *allowance))
    }

    /// The decision as the caller sees it: a shadow never denies.
    pub(super) fn apply_shadow(&self, decision: Decision) -> Decision {
        if self.is_shadow() { decision.shadowed() } else { decision }
    }

    /// Checks a key.
    #[inline]
    pub(super) fn key<'a>(&self, text: &'a str) -> Result<Key<'a>> {
        Key::new(text).map_err(|error| error.in_context(format_args!("limit {}", self.0.name)))
    }

    /// Adds the limit and the key to an error.
    pub(super) fn described(&self, key: &str, error: Error) -> Error {
        error.in_context(format_args!("limit {}, key {key:?}", self.0.name))
    }

    /// Decides by [`OnError`]. An error of the caller stays an error.
    pub(super) async fn without_store(&self, take: Take<'_>, when: When, error: Error) -> Result<Decision> {
        if !error.is_outage() {
            return Err(self.described(take.key, error));
        }
        self.note_outage(take.key, &error);
        if self.0.definition.on_error == OnError::Local {
            let taken = Box::pin(self.0.store.fallback().take(take, when)).await?;
            return Ok(self.apply_shadow(Decision::of(&take, taken).from(Source::Fallback)));
        }
        let allowed = self.0.definition.on_error == OnError::Open;
        Ok(self.apply_shadow(Decision::without_store(take.rule.quota(), allowed)))
    }

    pub(super) async fn ask(&self, take: Take<'_>, when: When) -> Result<Taken> {
        let engine = self.0.store.engine();
        // One future for both would be copied.
        if engine.keeps_deadlines() {
            engine.take(take, when).await
        } else {
            self.in_time(engine.take(take, when)).await
        }
    }

    pub(super) async fn in_time<T>(&self, step: impl Future<Output = Result<T>>) -> Result<T> {
        self.0.store.in_time(self.0.definition.deadline, || format!("limit {}", self.name()), step).await
    }
}
