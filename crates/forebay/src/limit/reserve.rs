//! Costs that are known only afterwards: reserved by an estimate, and settled by what it came to.
//!
//! A reservation is a charge, which every take sees, and a lease, of which only one settlement can be had. What is
//! never settled keeps its charge. A process that dies between the two steps of a settlement leaves the estimate
//! charged, which denies too much and never too little; only what went beyond the estimate may then be missing.

use std::time::Duration;

use super::{Charge, Decision, LimitHandle, MAX_LEASES, handle::Resolved, lease::LeaseId};
use crate::{
    engine::step::{LeaseAct, Take},
    error::{Error, ErrorKind, Result, invalid, out_of_range},
    key::{Count, Key},
    time::{When, hours, secs},
};

/// The outcome of an attempt to reserve.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// use forebay::{Limit, limit::Reserve, time::secs};
/// let tokens = bay.limit(Limit::per_minute("tokens", 1_000))?;
/// match tokens.reserve("user:42", 800, secs(60)).await? {
///     Reserve::Granted(reservation) => drop(reservation.commit(650).await?), // 150 go back
///     Reserve::Denied(decision) => println!("try again in {:?}", decision.retry_after()),
/// }
/// assert_eq!(tokens.peek("user:42").await?.remaining(), 350);
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "a reservation that is not settled keeps its charge"]
pub enum Reserve {
    /// The estimate is charged.
    Granted(Reservation),
    /// Nothing is.
    Denied(Decision),
}

/// A charge by estimate.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// use forebay::{Limit, limit::Reserve, time::secs};
/// let tokens = bay.limit(Limit::per_minute("tokens", 1_000))?;
/// let Reserve::Granted(reservation) = tokens.reserve("user:42", 800, secs(60)).await? else { unreachable!() };
/// let id = reservation.id(); // another process continues with it
/// tokens.reservation(&id)?.release().await?;
/// assert_eq!(tokens.peek("user:42").await?.remaining(), 1_000);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a reservation that is not settled keeps its charge"]
pub struct Reservation {
    limit: LimitHandle,
    key: String,
    lease: LeaseId,
    estimate: u64,
    /// The window or tick that was charged; `None`: nothing was, and there is nothing to settle.
    charged: Option<u64>,
    /// `None` for one that was taken up by its id.
    decision: Option<Decision>,
}

/// Digits of the lease and of a number in the id of a reservation.
const LEASE_DIGITS: usize = 32;
const DIGITS: usize = 16;

impl LimitHandle {
    /// Takes as much of `most` (1 to 2^31) as fits, perhaps nothing: how much, and what the limit says.
    ///
    /// A limit that denies has granted nothing; without its store it grants all or nothing, as
    /// [`OnError`](super::OnError) says.
    ///
    /// # Errors
    /// As [`take_n`](Self::take_n); `most` may be more than the limit.
    ///
    /// # Cancellation
    /// Dropping the future may leave a cost charged.
    ///
    /// # Cost
    /// One round trip; none on the embedded engine.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::Limit;
    /// let hits = bay.limit(Limit::per_minute("hits", 20))?;
    ///
    /// let (taken, _) = hits.take_up_to("user:42", 50).await?;
    /// assert_eq!(taken, 20);
    /// # Ok(()) }
    /// ```
    pub async fn take_up_to(&self, key: impl AsRef<str>, most: u64) -> Result<(u64, Decision)> {
        let most = Count::named("take of up to", most);
        let most = most.map_err(|error| error.in_context(format_args!("limit {}", self.name())))?.get();
        let take = match self.resolve(self.key(key.as_ref())?, 1)? {
            Resolved::Take(take) => Take { cost: most, ..take },
            Resolved::Fixed(decision) => {
                let decision = self.apply_shadow(decision);
                return Ok((if decision.is_allowed() { most } else { 0 }, decision));
            }
        };
        match self.in_time(self.0.store.engine().take_up_to(take, When::EngineClock)).await {
            Ok((granted, taken)) => {
                let decision = self.apply_shadow(Decision::of(&Take { cost: 1, ..take }, taken));
                Ok((if decision.is_shadowed() { most } else { granted }, decision))
            }
            Err(error) => {
                let take = Take { cost: most.min(take.rule.quota()), ..take };
                let decision = self.without_store(take, When::EngineClock, error).await?;
                Ok((if decision.is_allowed() { take.cost } else { 0 }, decision))
            }
        }
    }

    /// Charges `estimate` for something whose cost is known only afterwards; within `ttl` (1 s to 24 h) it can be
    /// settled: [committed](Reservation::commit) for what it came to, or [released](Reservation::release).
    ///
    /// Every other take sees what is reserved. What is not settled in time keeps its charge until that has run out as
    /// any other.
    ///
    /// # Errors
    /// As [`take_n`](Self::take_n); [`ErrorKind::OutOfRange`] for a ttl out of its range, and
    /// [`ErrorKind::Overloaded`] while [`MAX_LEASES`] reservations of the key are open.
    ///
    /// # Cancellation
    /// Dropping the future may leave the estimate charged.
    ///
    /// # Cost
    /// Two round trips, and two more to settle; none on the embedded engine.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// use forebay::{Forebay, Limit, limit::Reserve, time::mins};
    ///
    /// let bay = Forebay::open("memory:").await?;
    /// let tokens = bay.limit(Limit::per_minute("tokens", 10_000))?;
    /// match tokens.reserve("42", 500, mins(5)).await? {
    ///     Reserve::Granted(reservation) => {
    ///         // It came to more than was thought.
    ///         reservation.commit(730).await?;
    ///     }
    ///     Reserve::Denied(decision) => println!("try again in {:?}", decision.retry_after()),
    /// }
    /// assert_eq!(tokens.peek("42").await?.used(), 730);
    /// # Ok(()) }
    /// ```
    pub async fn reserve(&self, key: impl AsRef<str>, estimate: u64, ttl: Duration) -> Result<Reserve> {
        let key = self.key(key.as_ref())?;
        let charge = Charge { limit: self.clone(), key: key.as_str().into(), cost: estimate };
        self.resolve(key, estimate)?;
        if !(secs(1)..=hours(24)).contains(&ttl) {
            return Err(out_of_range(format!("limit {}: reservation for {ttl:?}: 1 s to 24 h", self.name())));
        }
        if let Some(denied) = self.known_denial_of(key, estimate, false) {
            return Ok(Reserve::Denied(denied));
        }
        // The lease comes first: a charge without one could not be settled.
        let lease = LeaseId::random();
        let act = LeaseAct::Take { most: MAX_LEASES, ttl };
        let settles = match self.ask_lease(key.as_str(), lease, act, self.0.definition.deadline).await {
            Ok(leases) if leases.held => true,
            Ok(_) => {
                let text = format!("limit {}: {MAX_LEASES} reservations of the key are open", self.name());
                return Err(Error::new(ErrorKind::Overloaded, text));
            }
            Err(error) if error.is_outage() => false,
            Err(error) => return Err(error),
        };
        failpoint!("reserve_after_lease");
        let taken =
            self.0.store.take_all_with(std::slice::from_ref(&charge), When::EngineClock, None).await?;
        failpoint!("reserve_after_charge");
        let decision = taken.limits[0].expect("the only limit decides");
        let charged = taken.window(0).filter(|_| settles);
        if settles && charged.is_none() {
            // Nothing to settle. That it stays for its ttl if this fails does no harm.
            let _ = self.ask_lease(key.as_str(), lease, LeaseAct::Release, self.0.definition.deadline).await;
        }
        if !taken.allowed {
            return Ok(Reserve::Denied(decision));
        }
        let (limit, key) = (self.clone(), charge.key);
        Ok(Reserve::Granted(Reservation { limit, key, lease, estimate, charged, decision: Some(decision) }))
    }

    /// Takes up a reservation by its [`id`](Reservation::id), in any process.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a text that is not the id of a reservation.
    pub fn reservation(&self, id: &str) -> Result<Reservation> {
        let read = || {
            let hexadecimal = id.bytes().all(|byte| byte.is_ascii_hexdigit());
            let (lease, rest) = id.split_at_checked(LEASE_DIGITS).filter(|_| hexadecimal)?;
            let (estimate, rest) = rest.split_at_checked(DIGITS)?;
            let (charged, digits) = rest.split_at_checked(DIGITS)?;
            let (pairs, odd) = digits.as_bytes().as_chunks::<2>();
            let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
            let key = String::from_utf8(pairs.iter().map(byte).collect::<Option<_>>()?).ok()?;
            let estimate = u64::from_str_radix(estimate, 16).ok()?;
            let charged = u64::from_str_radix(charged, 16).ok()?;
            self.resolve(Key::new(&key).ok()?, 1).ok().filter(|_| odd.is_empty())?;
            let estimate = Count::new(estimate).ok()?.get();
            let charged = (charged != u64::MAX).then_some(charged);
            let (limit, lease) = (self.clone(), lease.parse().ok()?);
            Some(Reservation { limit, key, lease, estimate, charged, decision: None })
        };
        read().ok_or_else(|| invalid("reservation: what was granted is accepted"))
    }
}

impl Reservation {
    /// The charged amount.
    pub fn estimate(&self) -> u64 {
        self.estimate
    }

    /// The decision that granted it; `None` if it was taken up by its id.
    pub fn decision(&self) -> Option<Decision> {
        self.decision
    }

    /// A text by which any process can settle it. Whoever has it can settle it.
    pub fn id(&self) -> String {
        use std::fmt::Write as _;
        let lease = self.lease.to_string().replace('-', "");
        let mut id = format!("{lease}{:016x}{:016x}", self.estimate, self.charged.unwrap_or(u64::MAX));
        for byte in self.key.bytes() {
            // Writing to a string does not fail.
            let _ = write!(id, "{byte:02x}");
        }
        id
    }

    /// Settles it for what it came to, 0 to 2^31: what was charged too much comes back, as far as its window still
    /// counts; what was charged too little is charged now, also beyond the limit. `None`: it was settled before, or
    /// its time is over; nothing changes.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`] for a cost out of its range; and whatever the store answers.
    /// [`Retry::Unknown`](crate::Retry::Unknown): it may be settled, and another try does no harm.
    ///
    /// # Cancellation
    /// Dropping the future may leave it settled, or the estimate charged for good.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::{Limit, limit::Reserve, time::secs};
    /// let tokens = bay.limit(Limit::per_minute("tokens", 1_000))?;
    /// let Reserve::Granted(reservation) = tokens.reserve("user:42", 800, secs(60)).await? else { unreachable!() };
    /// let decision = reservation.commit(650).await?.expect("the first time");
    /// assert_eq!(decision.remaining(), 350);
    /// assert_eq!(reservation.commit(650).await?, None);
    /// # Ok(()) }
    /// ```
    pub async fn commit(&self, actual: u64) -> Result<Option<Decision>> {
        let Self { limit, key, lease, estimate, charged, .. } = self;
        if actual > Count::MAX {
            let (name, most) = (limit.name(), Count::MAX);
            return Err(out_of_range(format!("limit {name}: commit of {actual}: 0 to {most}")));
        }
        let key = limit.key(key)?;
        let Some(window) = *charged else { return limit.peek(key.as_str()).await.map(Some) };
        if !limit.ask_lease(key.as_str(), *lease, LeaseAct::Release, secs(1)).await?.held {
            return Ok(None);
        }
        failpoint!("commit_after_release");
        let settled = match actual.checked_sub(*estimate) {
            Some(0) => limit.peek(key.as_str()).await,
            Some(more) => limit.owe(key, more).await,
            None => limit.refund_into(key, estimate - actual, Some(window)).await,
        };
        settled.map(Some)
    }

    /// Settles it for nothing: what it was for did not happen.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub async fn release(&self) -> Result<Option<Decision>> {
        self.commit(0).await
    }
}

impl LimitHandle {
    /// Charges also what does not fit.
    async fn owe(&self, key: Key<'_>, cost: u64) -> Result<Decision> {
        let take = match self.resolve(key, 1)? {
            Resolved::Take(take) => take,
            Resolved::Fixed(decision) => return Ok(self.apply_shadow(decision)),
        };
        let boundless = Take { rule: take.rule.boundless(), cost, ..take };
        let (_, taken) = self.in_time(self.0.store.engine().take_up_to(boundless, When::EngineClock)).await?;
        Ok(Decision::of(&Take { cost: 0, ..take }, taken))
    }
}
