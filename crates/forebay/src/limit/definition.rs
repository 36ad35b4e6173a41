//! What a limit is.

use std::time::Duration;

use super::{allowance::Allowance, lease::LeaseQuota, overrides::Override};
use crate::{
    error::{Error, Result, invalid, out_of_range},
    key::{Name, check_key},
    model::rate::rule::Rule,
    time::{days, hours, millis, mins, secs},
};

/// How many leases of one key there may be: they are looked through one by one.
pub const MAX_LEASES: u64 = 16_384;

/// How a limit counts.
///
/// # Examples
/// ```
/// use forebay::{Limit, limit::Kind};
/// let limit = Limit::per_minute("hits", 20).kind(Kind::SlidingWindow);
/// assert_eq!(limit.settings().kind, Kind::SlidingWindow);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Kind {
    /// A quota per window of the clock. Cheap and easy to explain; two quotas may pass around a window's edge.
    #[default]
    FixedWindow,
    /// A quota per any span of the window's length, as well as two counters can tell: what was taken in the window
    /// before counts for the part that still overlaps, as if it had come evenly. Nearly the quota around a window's
    /// edge, at the cost of a fixed window. The quota is 1 to 2^32 - 1.
    SlidingWindow,
    /// A bucket that refills steadily. At most `burst + rate × t` pass in any span t.
    TokenBucket,
    /// So many at the same time: leases, which are extended while they are used and end by themselves when their
    /// holder dies. See [`LimitHandle::lease`](super::LimitHandle::lease).
    Concurrency,
}

impl Kind {
    /// The word for it in configurations and answers, such as `fixed-window`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FixedWindow => "fixed-window",
            Self::SlidingWindow => "sliding-window",
            Self::TokenBucket => "token-bucket",
            Self::Concurrency => "concurrency",
        }
    }
}

/// What a limit answers when its store does not.
///
/// # Examples
/// ```
/// use forebay::{Limit, limit::OnError};
/// let limit = Limit::per_minute("logins", 5).on_error(OnError::Closed); // no answer: denied
/// assert_eq!(limit.settings().on_error, OnError::Closed);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum OnError {
    /// Admit: the limit protects a resource that can stand some more.
    #[default]
    Open,
    /// Deny: better no service than too much.
    Closed,
    /// Decide in this process alone, by the same rule: up to as many quotas as there are processes.
    Local,
}

impl OnError {
    /// The word for it in configurations and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Local => "local",
        }
    }
}

/// Who decides.
///
/// # Examples
/// ```
/// use forebay::{Limit, limit::Mode};
/// let limit = Limit::per_minute("hits", 100_000).mode(Mode::Leased);
/// assert_eq!(limit.settings().mode, Mode::Leased);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Mode {
    /// The store decides each time.
    #[default]
    Exact,
    /// Processes decide by themselves, each within slices of the quota that the store lends it: without a round trip,
    /// and never more than the quota. What one process holds and has not spent another is denied, near the end of a
    /// quota. Of no use in front of the embedded engine, and none for [`Kind::Concurrency`].
    Leased,
}

impl Mode {
    /// The word for it in configurations and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Leased => "leased",
        }
    }
}

/// What a definition says, to be shown.
///
/// # Examples
/// ```
/// use forebay::{Limit, time::mins};
/// let settings = Limit::per_minute("hits", 20).shadow().settings();
/// assert_eq!((settings.per, settings.shadow), (mins(1), true));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Settings {
    /// How it counts.
    pub kind: Kind,
    /// What keys are allowed that have no override.
    pub allowed: Override,
    /// The span of the quota; the ttl of leases.
    pub per: Duration,
    /// Where windows begin, counted from multiples of their length; `None`: at 64 times, by the key.
    pub phase: Option<Duration>,
    /// Who decides.
    pub mode: Mode,
    /// It never denies.
    pub shadow: bool,
    /// What it answers when its store does not.
    pub on_error: OnError,
    /// How long it waits for its store.
    pub deadline: Duration,
    /// How many keys the definition allows something else.
    pub overrides: usize,
}

/// Where windows begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// All of them so long after the multiples of their length since 1970.
    All(Duration),
    ByKey,
}

/// The definition of a limit.
///
/// ```
/// use forebay::{Limit, time::{millis, secs}};
/// let per_minute = Limit::per_minute("hits", 20);
/// let bucket = Limit::per_second("api", 100).burst(500);
/// let odd = Limit::new("login", 5, secs(90)).deadline(millis(20));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a definition does nothing until it is given to `Forebay::limit`"]
pub struct Limit {
    pub(super) name: String,
    quota: u64,
    per: Duration,
    kind: Option<Kind>,
    burst: Option<u64>,
    phase: Phase,
    pub(super) mode: Mode,
    pub(super) shadow: bool,
    pub(super) overrides: Vec<(String, Override)>,
    fixed: Option<Allowance>,
    pub(super) on_error: OnError,
    pub(super) deadline: Duration,
}

impl Limit {
    /// `quota` (1 to 2^50) per `per` (1 ms to 366 days).
    ///
    /// # Examples
    /// ```
    /// use forebay::{Limit, time::mins};
    /// let limit = Limit::new("logins", 5, mins(15));
    /// assert_eq!(limit.rate(), (5, mins(15)));
    /// ```
    pub fn new(name: impl Into<String>, quota: u64, per: Duration) -> Self {
        Self {
            name: name.into(),
            quota,
            per,
            kind: None,
            burst: None,
            phase: Phase::All(Duration::ZERO),
            mode: Mode::default(),
            shadow: false,
            overrides: vec![],
            fixed: None,
            on_error: OnError::default(),
            deadline: millis(50),
        }
    }

    /// `most` (1 to 16 384) at the same time, each for `ttl` (100 ms to 24 h) unless it is extended: for
    /// [`LimitHandle::lease`](super::LimitHandle::lease).
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::{Limit, time::secs};
    /// let exports = bay.limit(Limit::concurrency("exports", 2, secs(30)))?;
    /// let (one, two) = (exports.lease("user:42").await?.granted(), exports.lease("user:42").await?.granted());
    /// assert!(one.is_some() && two.is_some());
    /// assert!(exports.lease("user:42").await?.granted().is_none());
    /// # Ok(()) }
    /// ```
    pub fn concurrency(name: impl Into<String>, most: u64, ttl: Duration) -> Self {
        Self::new(name, most, ttl).kind(Kind::Concurrency)
    }

    /// `quota` per second.
    pub fn per_second(name: impl Into<String>, quota: u64) -> Self {
        Self::new(name, quota, secs(1))
    }

    /// `quota` per minute.
    pub fn per_minute(name: impl Into<String>, quota: u64) -> Self {
        Self::new(name, quota, mins(1))
    }

    /// `quota` per hour.
    pub fn per_hour(name: impl Into<String>, quota: u64) -> Self {
        Self::new(name, quota, hours(1))
    }

    /// `quota` per day of UTC.
    pub fn per_day(name: impl Into<String>, quota: u64) -> Self {
        Self::new(name, quota, days(1))
    }

    /// How it counts; default a fixed window, or a token bucket once a [`burst`](Self::burst) is given.
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// How many may pass at once (1 to 2^50): makes it a token bucket. A bucket without one holds the quota.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::{Limit, limit::Kind};
    /// let bucket = Limit::per_second("hits", 10).kind(Kind::TokenBucket).burst(50);
    /// assert_eq!(bay.limit(bucket)?.take_n("user:42", 50).await?.remaining(), 0);
    /// # Ok(()) }
    /// ```
    pub fn burst(mut self, burst: u64) -> Self {
        self.burst = Some(burst);
        self
    }

    /// Where fixed windows begin: this long after the multiples of their length since 1970.
    pub fn phase(mut self, phase: Duration) -> Self {
        self.phase = Phase::All(phase);
        self
    }

    /// Lets the fixed windows of different keys begin at different times, 64 of them, so that not all quotas renew at
    /// once.
    pub fn phase_by_key(mut self) -> Self {
        self.phase = Phase::ByKey;
        self
    }

    /// Who decides; default [`Mode::Exact`].
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Only shows what it would do: it counts, and never denies. A decision says so where it would have.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::Limit;
    /// let hits = bay.limit(Limit::per_minute("hits", 1).shadow())?;
    /// let _ = hits.take("user:42").await?;
    /// let decision = hits.take("user:42").await?;
    /// assert!(decision.is_allowed() && decision.is_shadowed());
    /// # Ok(()) }
    /// ```
    pub fn shadow(mut self) -> Self {
        self.shadow = true;
        self
    }

    /// What one key is allowed instead; see [`LimitHandle::set_override`](super::LimitHandle::set_override).
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::{Limit, limit::Override};
    /// let hits = bay.limit(Limit::per_minute("hits", 1).allow("monitor", Override::unlimited()))?;
    /// for _ in 0..10 {
    ///     assert!(hits.take("monitor").await?.is_allowed());
    /// }
    /// # Ok(()) }
    /// ```
    pub fn allow(mut self, key: impl Into<String>, instead: Override) -> Self {
        self.overrides.push((key.into(), instead));
        self
    }

    /// Admits everything, and counts nothing, but for the keys that are [allowed](Self::allow) less.
    pub fn unlimited(mut self) -> Self {
        self.fixed = Some(Allowance::Unlimited);
        self
    }

    /// Admits nothing, but for the keys that are [allowed](Self::allow) more.
    pub fn blocked(mut self) -> Self {
        self.fixed = Some(Allowance::Nothing);
        self
    }

    /// Whether it admits [everything](Self::unlimited), or [nothing](Self::blocked), whatever was taken. `None`: it counts.
    pub fn fixed_answer(&self) -> Option<bool> {
        self.fixed.map(|allowance| allowance.quota() > 0)
    }

    /// What it answers when its store does not; default [`OnError::Open`].
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.on_error = on_error;
        self
    }

    /// How long it waits for its store, 1 ms to 1 min, default 50 ms.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The quota, and the span that it is for; how many leases, and their ttl.
    pub fn rate(&self) -> (u64, Duration) {
        (self.quota, self.per)
    }

    /// How it counts, and how many may pass at once where a [`burst`](Self::burst) says so.
    pub fn shape(&self) -> (Kind, Option<u64>) {
        let bucket = self.burst.map_or(Kind::FixedWindow, |_| Kind::TokenBucket);
        (self.kind.unwrap_or(bucket), self.burst)
    }

    /// What it says, to be shown.
    pub fn settings(&self) -> Settings {
        let (kind, burst) = self.shape();
        let allowed = match self.fixed {
            Some(Allowance::Nothing) => Override::blocked(),
            Some(_) => Override::unlimited(),
            None if kind == Kind::Concurrency => Override::leases(self.quota),
            None => {
                let rate = Override::rate(self.quota, self.per);
                burst.map_or(rate, |burst| rate.burst(burst))
            }
        };
        let phase = match self.phase {
            Phase::All(phase) => Some(phase),
            Phase::ByKey => None,
        };
        let Self { per, mode, shadow, on_error, deadline, .. } = *self;
        let overrides = self.overrides.len();
        Settings { kind, allowed, per, phase, mode, shadow, on_error, deadline, overrides }
    }

    /// Checks the definition without opening it: what a configuration is checked by.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a name that is none or options that do not go together,
    /// [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) for a number outside its range.
    pub fn check(&self) -> Result<()> {
        Name::new(&self.name).and_then(|_| self.allowances()).map(|_| ())
    }

    /// What it allows, and what single keys instead.
    pub(super) fn allowances(&self) -> Result<(Allowance, Vec<Allowance>)> {
        let (name, kind) = (&self.name, self.shape().0);
        let counted = self.counted()?;
        let instead = |(key, instead): &(String, Override)| {
            check_key(key).and_then(|_| instead.allowance(kind, self.per, self.common_phase())).map_err(
                |error| Error::new(error.kind(), format!("limit {name}: override of {key:?}: {error}")),
            )
        };
        let overrides = self.overrides.iter().map(instead).collect::<Result<_>>()?;
        Ok((self.fixed.unwrap_or(counted), overrides))
    }

    /// Where all its windows begin.
    pub(super) fn common_phase(&self) -> Duration {
        match self.phase {
            Phase::All(phase) => phase,
            Phase::ByKey => Duration::ZERO,
        }
    }

    /// Whether each key has a phase of its own.
    pub(super) fn is_phased_by_key(&self) -> bool {
        self.phase == Phase::ByKey
    }

    /// What it allows where it counts.
    fn counted(&self) -> Result<Allowance> {
        let name = &self.name;
        if !(millis(1)..=mins(1)).contains(&self.deadline) {
            return Err(out_of_range(format!("limit {name}: deadline {:?}: 1 ms to 1 min", self.deadline)));
        }
        let (kind, burst) = self.shape();
        let describe = |error: Error| Error::new(error.kind(), format!("limit {name}: {error}"));
        if burst.is_some() && kind != Kind::TokenBucket {
            return Err(describe(invalid(format!(
                "a {} has no burst; only a token-bucket does",
                kind.as_str()
            ))));
        }
        if self.phase != Phase::All(Duration::ZERO) && kind != Kind::FixedWindow {
            return Err(describe(invalid(format!(
                "a {} has no phase; only a fixed-window does",
                kind.as_str()
            ))));
        }
        if self.mode == Mode::Leased && kind == Kind::Concurrency {
            return Err(describe(invalid(
                "the mode of a concurrency limit is exact: its leases cannot be cut in slices",
            )));
        }
        let rule = match kind {
            Kind::Concurrency => return self.slots().map(Allowance::Leases),
            Kind::FixedWindow => Rule::fixed_window(self.quota, self.per, self.common_phase()),
            Kind::SlidingWindow => Rule::sliding_window(self.quota, self.per),
            Kind::TokenBucket => Rule::token_bucket(self.quota, self.per, burst.unwrap_or(self.quota)),
        };
        rule.map(Allowance::Rate).map_err(describe)
    }

    fn slots(&self) -> Result<LeaseQuota> {
        let (name, most, ttl) = (&self.name, self.quota, self.per);
        if !(millis(100)..=hours(24)).contains(&ttl) {
            return Err(out_of_range(format!("limit {name}: ttl {ttl:?}: 100 ms to 24 h")));
        }
        let slots = LeaseQuota { most, ttl }.checked();
        slots.map_err(|error| Error::new(error.kind(), format!("limit {name}: {error}")))
    }
}
