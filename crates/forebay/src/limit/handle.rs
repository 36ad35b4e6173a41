//! Asking a limit.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use super::{
    Kind, Limit, Mode, OnError, Override,
    allowance::Allowance,
    decide::{DenyCache, apart},
    decision::{Decision, Source},
    lease::{LeaseQuota, wrong_kind},
    local::LocalLimiter,
    overrides::{Limits, Shared},
};
use crate::{
    engine::step::{Take, Taken},
    error::{Error, ErrorKind, Result, out_of_range},
    key::{Name, check_key, hash},
    model::rate::{allotments, kind::Terms, rule::Rule},
    store::Store,
    time::{Timestamp, When},
};

/// The largest cost of one call.
pub const MAX_COST: u64 = 1 << 31;

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
    /// What keys are allowed that have no override.
    pub usual: Allowance,
    /// What single keys are allowed by the definition. What was set at run time goes before it.
    pub instead: HashMap<Box<str>, (Override, Allowance)>,
    /// The span of the quota; the ttl of leases.
    pub per: Duration,
    pub phased_by_key: bool,
    pub shadow: bool,
    pub on_error: OnError,
    pub deadline: Duration,
    pub shared: Arc<Shared>,
    /// Not in front of the embedded engine, which answers as fast.
    pub denied: Option<DenyCache>,
    pub leased: Option<Arc<LocalLimiter>>,
    /// When the log was last told that the store is away, in µs on the coarse clock; zero: never. Orders nothing else.
    pub outage_noted: AtomicU64,
}

/// What is still charged after a [reset](LimitHandle::reset): others hold it.
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
    /// How much.
    pub amount: u64,
    /// Until when at the latest, unless it is extended.
    pub until: Timestamp,
}

/// What a limit tells clients, beside its decisions.
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
    /// How it counts.
    pub kind: Kind,
    /// The span that the quota is for: of a bucket, in which it fills from empty.
    pub window: Duration,
    /// It never denies.
    pub shadow: bool,
}

/// A question that is within the rules.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked<'a> {
    /// For the store.
    Take(Take<'a>),
    /// Whatever the store says.
    Fixed(Decision),
}

impl LimitHandle {
    pub(crate) fn new(limits: &Arc<Limits>, limit: &Limit) -> Result<Self> {
        let name = Name::new(&limit.name)?;
        let (usual, instead) = limit.allowances()?;
        let instead = limit.overrides.iter().zip(instead);
        let instead =
            instead.map(|((key, what), allowance)| (key.as_str().into(), (*what, allowance))).collect();
        let (limits, store, shared) = (limits.clone(), limits.store.clone(), limits.of(&name));
        // A shadow has nothing to gain from it: it asks for every hit, to count it.
        // Nor has a leased limit: what others hold may come back at any time.
        let is_leased = limit.mode == Mode::Leased;
        let remembers = !store.engine().is_in_process() && !limit.shadow && !is_leased;
        let denied = remembers.then(DenyCache::default);
        let leased = is_leased.then(|| {
            LocalLimiter::new(name.clone(), store.engine().clone(), store.clock().clone(), &limits.leased)
        });
        Ok(Self(Arc::new(Inner {
            store,
            limits,
            name,
            terms: limit.terms()?,
            usual,
            instead,
            per: limit.rate().1,
            phased_by_key: limit.is_phased_by_key(),
            shadow: limit.shadow,
            on_error: limit.on_error,
            deadline: limit.deadline,
            shared,
            denied,
            leased,
            outage_noted: AtomicU64::new(0),
        })))
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
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::{Decision, Limit};
    /// let hits = bay.limit(Limit::per_minute("hits", 20))?;
    ///
    /// match hits.take("user:42").await? {
    ///     Decision::Allow { remaining, .. } => assert_eq!(remaining, 19),
    ///     Decision::Deny { retry_after, .. } => println!("try again in {retry_after:?}"),
    /// }
    /// # Ok(()) }
    /// ```
    pub fn take(&self, key: impl AsRef<str>) -> impl Future<Output = Result<Decision>> {
        // Not a future of its own: it would copy the answer once more.
        self.take_n(key, 1)
    }

    /// Takes `cost` (1 to the limit, at most 2^31) for `key`, if it fits: all of it or nothing.
    ///
    /// A cost of 0 is a [`peek`](Self::peek): the answer to a take of 1, without the charge.
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
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::Limit;
    /// let hits = bay.limit(Limit::per_minute("hits", 20))?;
    ///
    /// assert_eq!(hits.take_n("user:42", 15).await?.remaining(), 5);
    /// assert!(!hits.take_n("user:42", 6).await?.is_allowed()); // nothing is charged
    /// assert_eq!(hits.peek("user:42").await?.remaining(), 5);
    /// # Ok(()) }
    /// ```
    pub async fn take_n(&self, key: impl AsRef<str>, cost: u64) -> Result<Decision> {
        let key = key.as_ref();
        if let Some(decision) = self.decide_plainly(key, cost) {
            return Ok(decision);
        }
        if cost == 0 {
            return Box::pin(self.peek_at(key, When::EngineClock)).await;
        }
        if let Some(answer) = self.decide_at_once(key, cost, When::EngineClock) {
            return answer;
        }
        if let Some((rule, among)) = self.take_batched(key, cost) {
            let answer = among.await;
            let take = self.take_under(rule, key, cost);
            return match answer {
                Ok((taken, sent)) => Ok(self.decided(take, taken, sent)),
                Err(error) => {
                    let step = pin!(self.undecided(take, error));
                    apart(step).await
                }
            };
        }
        let step = pin!(self.decide_by_store(key, cost, When::EngineClock));
        apart(step).await
    }

    /// As [`take_n`](Self::take_n), at a time other than the store's: for replays of old traffic.
    ///
    /// # Errors
    /// As [`take_n`](Self::take_n).
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::{Limit, Timestamp, When};
    /// let hits = bay.limit(Limit::per_minute("hits", 20))?;
    ///
    /// let then = When::At(Timestamp::from_secs(1_790_000_000)); // a replay
    /// assert!(hits.take_at("user:42", 1, then).await?.is_allowed());
    /// # Ok(()) }
    /// ```
    pub async fn take_at(&self, key: impl AsRef<str>, cost: u64, when: When) -> Result<Decision> {
        let key = key.as_ref();
        if cost == 0 {
            return Box::pin(self.peek_at(key, when)).await;
        }
        if let Some(answer) = self.decide_at_once(key, cost, when) {
            return answer;
        }
        let step = pin!(self.decide_by_store(key, cost, when));
        apart(step).await
    }

    /// The decision about any take, by way of the store.
    async fn decide_by_store(&self, key: &str, cost: u64, when: When) -> Result<Decision> {
        let take = match self.asked(key, cost)? {
            Asked::Take(take) => take,
            Asked::Fixed(decision) => return Ok(self.noted(key, self.shown(decision))),
        };
        let decision = match &self.0.leased {
            Some(leased) if when == When::EngineClock => self.decide_leased(leased, take).await?,
            _ => self.decide(take, when).await?,
        };
        Ok(self.noted(take.key, decision))
    }

    /// What is decided where the store has not answered.
    async fn undecided(&self, take: Take<'_>, error: Error) -> Result<Decision> {
        let decision = self.without_store(take, When::EngineClock, error).await?;
        Ok(self.noted(take.key, decision))
    }

    pub(super) async fn decide_exactly(&self, take: Take<'_>, when: When) -> Result<Decision> {
        match self.decide_here(&take, when) {
            Some(answer) => answer,
            None => self.decide(take, when).await,
        }
    }

    /// What the store says.
    async fn decide(&self, take: Take<'_>, when: When) -> Result<Decision> {
        let denied = self.0.denied.as_ref().filter(|_| when == When::EngineClock);
        let asked = denied.map(|_| self.0.store.clock().monotonic()).unwrap_or_default();
        let decision = match self.ask(take, when).await {
            Ok(taken) => self.shown(decision(&take.rule, take.cost, taken)),
            Err(error) => return self.without_store(take, when, error).await,
        };
        if let Some(denied) = denied {
            denied.remember(&take, asked, decision);
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
        self.peek_at(key.as_ref(), When::EngineClock).await
    }

    pub(super) async fn peek_at(&self, key: &str, when: When) -> Result<Decision> {
        if self.kind() == Kind::Concurrency {
            return self.peek_leases(self.slots(key)?, key).await;
        }
        let take = match self.asked(key, 1)? {
            Asked::Take(take) => Take { cost: 0, ..take },
            Asked::Fixed(decision) => return Ok(self.shown(decision)),
        };
        let answer = self.ask(take, when).await;
        match answer {
            Ok(taken) => {
                // What this process holds and has not spent is not used.
                let leased = self.0.leased.as_ref().filter(|_| when == When::EngineClock);
                let held = leased.map_or(0, |leased| leased.left(&take));
                let state = take.rule.refund(taken.state, held, None);
                let allowed = take.rule.room(state) >= 1;
                Ok(self.shown(decision(&take.rule, 1, Taken { allowed, state, ..taken })))
            }
            Err(error) => self.without_store(take, when, error).await,
        }
    }

    /// Gives back `cost` that was taken for something that then did not happen: to the current window, never below
    /// nothing used. A cost of 0 is a [`peek`](Self::peek).
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
        self.refund_into(key.as_ref(), cost, None).await
    }

    /// As [`refund`](Self::refund), but only while the window that was charged still counts.
    pub(super) async fn refund_into(&self, key: &str, cost: u64, charged: Option<u64>) -> Result<Decision> {
        let take = match self.asked(key, cost)? {
            Asked::Take(take) => take,
            Asked::Fixed(decision) => return Ok(self.shown(decision)),
        };
        let answer = self.in_time(self.0.store.engine().refund(take, charged, When::EngineClock)).await;
        self.forget_denial(take.key);
        let taken = answer.map_err(|error| self.described(take.key, error))?;
        Ok(decision(&take.rule, 0, taken))
    }

    /// Forgets what was taken for `key`, and removes what is there of somebody else. What others hold stays charged, and is
    /// answered: slices of a [leased](super::Mode::Leased) limit in other processes, and the leases of a
    /// [concurrency](super::Kind::Concurrency) limit.
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
        if self.kind() == Kind::Concurrency {
            return self.reset_leases(key.as_ref()).await;
        }
        let Asked::Take(take) = self.asked(key.as_ref(), 1)? else { return Ok(None) };
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

    /// The limit's name.
    pub fn name(&self) -> &Name {
        &self.0.name
    }

    /// The largest cost that is ever admitted; how many leases there may be.
    pub fn quota(&self) -> u64 {
        self.0.usual.quota()
    }

    /// What the limit tells clients about a key: see [`headers`](super::headers).
    pub fn policy(&self, key: impl AsRef<str>) -> Policy {
        let window = match self.allowance(key.as_ref()) {
            Allowance::Rate(rule) => rule.refill(self.0.store.clock().now().as_micros().unsigned_abs()),
            _ => self.0.per,
        };
        Policy { name: self.0.name.to_string(), kind: self.0.terms.kind, window, shadow: self.0.shadow }
    }

    /// Whether it only shows what it would do.
    pub fn is_shadow(&self) -> bool {
        self.0.shadow
    }

    /// How it counts.
    pub fn kind(&self) -> Kind {
        self.0.terms.kind
    }

    pub(super) fn store(&self) -> &Store {
        &self.0.store
    }

    /// What a concurrency limit lends.
    pub(super) fn slots(&self, key: &str) -> Result<LeaseQuota> {
        let key = self.checked_key(key)?;
        if self.kind() != Kind::Concurrency {
            return Err(wrong_kind(self, "a rate limit lends nothing; take from it"));
        }
        Ok(LeaseQuota { most: self.allowance(key).quota(), ttl: self.0.per })
    }

    pub(super) fn on_error(&self) -> OnError {
        self.0.on_error
    }

    pub(super) fn deadline(&self) -> Duration {
        self.0.deadline
    }

    pub(super) fn leased(&self) -> Option<&Arc<LocalLimiter>> {
        self.0.leased.as_ref()
    }

    /// Forgets what was noted of a key that has got something back.
    pub(super) fn forget_denial(&self, key: &str) {
        self.0.shared.nearest.lock().forget(key);
        if let Some(denied) = &self.0.denied {
            denied.forget(key);
        }
    }

    /// A take that is within the rules, whatever the store says.
    pub(super) fn asked<'a>(&'a self, key: &'a str, cost: u64) -> Result<Asked<'a>> {
        let Inner { name, terms, deadline, usual, .. } = &*self.0;
        let key = self.checked_key(key)?;
        if terms.kind == Kind::Concurrency {
            return Err(wrong_kind(self, "nothing is taken from a concurrency limit; it lends leases"));
        }
        let instead = self.instead(key);
        let allowance = instead.as_ref().unwrap_or(usual);
        let most = match allowance {
            Allowance::Rate(rule) => rule.quota().min(MAX_COST),
            _ => MAX_COST,
        };
        if !(1..=most).contains(&cost) {
            return Err(out_of_range(format!("limit {name}: cost {cost}: a cost is 1 to {most}")));
        }
        Ok(match allowance {
            Allowance::Rate(rule) => {
                let rule = if self.0.phased_by_key { rule.shifted(hash(key.as_bytes())) } else { *rule };
                Asked::Take(Take { limit: name, key, rule, cost, within: *deadline })
            }
            other => Asked::Fixed(Decision::by_definition(other.quota() > 0)),
        })
    }

    /// What a key is allowed.
    pub(super) fn allowance(&self, key: &str) -> Allowance {
        self.instead(key).unwrap_or(self.0.usual)
    }

    #[inline]
    pub(super) fn has_no_overrides(&self) -> bool {
        self.0.instead.is_empty() && self.0.shared.overrides.is_empty()
    }

    /// What a key is allowed instead of the usual.
    #[inline]
    fn instead(&self, key: &str) -> Option<Allowance> {
        let Inner { instead, shared, terms, per, .. } = &*self.0;
        if self.has_no_overrides() {
            return None;
        }
        let set = shared.overrides.of(key).and_then(|set| set.allowance(*terms, *per).ok());
        set.or_else(|| instead.get(key).map(|(_, allowance)| *allowance))
    }

    /// A decision as the caller sees it.
    pub(super) fn shown(&self, decision: Decision) -> Decision {
        if self.0.shadow { decision.shadowed() } else { decision }
    }

    pub(super) fn checked_key<'a>(&self, key: &'a str) -> Result<&'a str> {
        let describe = |error: Error| Error::new(error.kind(), format!("limit {}: {error}", self.0.name));
        check_key(key).map_err(describe)
    }

    /// What the store said, and of which key of which limit.
    pub(super) fn described(&self, key: &str, error: Error) -> Error {
        error.in_context(format_args!("limit {}, key {key:?}", self.0.name))
    }

    /// What [`OnError`] says. What the caller got wrong stays an error.
    pub(super) async fn without_store(&self, take: Take<'_>, when: When, error: Error) -> Result<Decision> {
        if !error.is_outage() {
            return Err(self.described(take.key, error));
        }
        self.note_outage(take.key, &error);
        match self.0.on_error {
            OnError::Open => Ok(Decision::without_store(take.rule.quota(), true)),
            OnError::Closed => Ok(self.shown(Decision::without_store(take.rule.quota(), false))),
            OnError::Local => {
                let taken = Box::pin(self.0.store.fallback().take(take, when)).await?;
                Ok(self.shown(decision(&take.rule, take.cost, taken).from(Source::Fallback)))
            }
        }
    }

    async fn ask(&self, take: Take<'_>, when: When) -> Result<Taken> {
        let engine = self.0.store.engine();
        // Not one future for both: it would be copied.
        if engine.keeps_deadlines() {
            engine.take(take, when).await
        } else {
            self.in_time(engine.take(take, when)).await
        }
    }

    pub(super) async fn in_time<T>(&self, step: impl Future<Output = Result<T>>) -> Result<T> {
        in_time(&self.0.store, self.0.deadline, self.name(), step).await
    }
}

/// What a state means for a cost that was, or was not, charged.
pub(super) fn decision(rule: &Rule, cost: u64, taken: Taken) -> Decision {
    Decision::from_state(rule, taken.state, taken.now, (!taken.allowed).then_some(cost))
}

/// Runs a step of a limit under a deadline.
pub(super) async fn in_time<T>(
    store: &Store,
    deadline: Duration,
    limit: &Name,
    step: impl Future<Output = Result<T>>,
) -> Result<T> {
    if store.engine().is_in_process() {
        return step.await;
    }
    store.clock().timeout(deadline, step).await.unwrap_or_else(|| {
        Err(Error::new(
            ErrorKind::Timeout,
            format!("limit {limit}: no answer from the store within {deadline:?}"),
        ))
    })
}
