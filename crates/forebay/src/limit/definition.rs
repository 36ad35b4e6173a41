//! The definition of a limit.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::{allowance::Allowance, lease::LeaseQuota, overrides::Override};
use crate::{
    error::{Error, Result, invalid, out_of_range},
    key::{Key, Name},
    model::rate::{
        calendar::{CalendarUnit, Zone},
        kind::{Kind, Period, Terms},
    },
    time::{days, hours, millis, mins, secs},
};

/// The answer of a limit whose store does not answer.
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

/// The place where a limit decides.
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

/// The settings of a definition, for display.
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
    /// The way of counting.
    pub kind: Kind,
    /// The allowance of keys without an override.
    pub allowed: Override,
    /// The span of the quota, of a month 31 days; the ttl of leases.
    pub per: Duration,
    /// The time zone of a [`Kind::CalendarWindow`].
    pub zone: Option<String>,
    /// Where windows begin, counted from multiples of their length; `None`: at 64 times, by the key.
    pub phase: Option<Duration>,
    /// The place where it decides.
    pub mode: Mode,
    /// It never denies.
    pub shadow: bool,
    /// The answer while its store does not answer.
    pub on_error: OnError,
    /// The longest wait for the store.
    pub deadline: Duration,
    /// The number of keys with an override in the definition.
    pub overrides: usize,
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
    pub(super) per: Duration,
    calendar: Option<CalendarUnit>,
    zone: Option<String>,
    kind: Option<Kind>,
    burst: Option<u64>,
    /// Where windows begin; `None`: each key has a phase of its own.
    phase: Option<Duration>,
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
            calendar: None,
            zone: None,
            kind: None,
            burst: None,
            phase: Some(Duration::ZERO),
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
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::Limit;
    /// let hits = bay.limit(Limit::per_minute("hits", 20))?;
    /// assert_eq!(hits.take("user:42").await?.remaining(), 19);
    /// # Ok(()) }
    /// ```
    pub fn per_minute(name: impl Into<String>, quota: u64) -> Self {
        Self::new(name, quota, mins(1))
    }

    /// `quota` per hour.
    pub fn per_hour(name: impl Into<String>, quota: u64) -> Self {
        Self::new(name, quota, hours(1))
    }

    /// `quota` per 24 hours, from midnight to midnight of UTC. In another time zone: [`calendar`](Self::calendar).
    pub fn per_day(name: impl Into<String>, quota: u64) -> Self {
        Self::new(name, quota, days(1))
    }

    /// `quota` per day, ISO week or month of the calendar: a [`Kind::CalendarWindow`], of UTC unless a [`zone`](Self::zone) is
    /// given.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// use forebay::{Forebay, Limit, limit::CalendarUnit};
    ///
    /// let bay = Forebay::open("memory:").await?;
    /// let mails = bay.limit(Limit::calendar("mails", 5, CalendarUnit::Day).zone("Asia/Tokyo"))?;
    /// let decision = mails.take("42").await?;
    /// assert_eq!(decision.remaining(), 4);
    /// // Until midnight in Tokyo.
    /// assert!(decision.reset_after() <= forebay::time::days(1));
    /// # Ok(()) }
    /// ```
    pub fn calendar(name: impl Into<String>, quota: u64, unit: CalendarUnit) -> Self {
        let longest = match unit {
            CalendarUnit::Day => days(1),
            CalendarUnit::Week => days(7),
            CalendarUnit::Month => days(31),
        };
        Self { calendar: Some(unit), ..Self::new(name, quota, longest) }
    }

    /// `quota` per ISO week, from Monday to Sunday: see [`calendar`](Self::calendar).
    pub fn per_week(name: impl Into<String>, quota: u64) -> Self {
        Self::calendar(name, quota, CalendarUnit::Week)
    }

    /// `quota` per month of the calendar: see [`calendar`](Self::calendar).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// use forebay::{Forebay, Limit};
    ///
    /// let bay = Forebay::open("memory:").await?;
    /// let requests = bay.limit(Limit::per_month("requests", 10_000).zone("Europe/Berlin"))?;
    /// assert!(requests.take("42").await?.is_allowed());
    /// # Ok(()) }
    /// ```
    pub fn per_month(name: impl Into<String>, quota: u64) -> Self {
        Self::calendar(name, quota, CalendarUnit::Month)
    }

    /// The time zone whose calendar counts, of a [`calendar`](Self::calendar) limit: a name of the IANA database, such as
    /// `Europe/Berlin`. Default UTC.
    ///
    /// A limit whose zone is changed goes on with what was counted.
    pub fn zone(mut self, name: impl Into<String>) -> Self {
        self.zone = Some(name.into());
        self
    }

    /// The way of counting; default a fixed window, or a token bucket once a [`burst`](Self::burst) is given.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::{Limit, limit::Kind};
    /// let hits = bay.limit(Limit::per_minute("hits", 20).kind(Kind::SlidingWindow))?;
    /// assert_eq!(hits.kind(), Kind::SlidingWindow);
    /// # Ok(()) }
    /// ```
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
        self.phase = Some(phase);
        self
    }

    /// Lets the fixed windows of different keys begin at different times, 64 of them, so that not all quotas renew at
    /// once.
    pub fn phase_by_key(mut self) -> Self {
        self.phase = None;
        self
    }

    /// Sets where it decides; default [`Mode::Exact`].
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::{Limit, limit::Mode};
    /// let hits = Limit::per_minute("hits", 10_000).mode(Mode::Leased); // most takes need no round trip
    /// assert!(bay.limit(hits)?.take("user:42").await?.is_allowed());
    /// # Ok(()) }
    /// ```
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

    /// Sets the override of one key; see [`LimitHandle::set_override`](super::LimitHandle::set_override).
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

    /// Sets the answer while its store does not answer; default [`OnError::Open`].
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// use forebay::{Limit, limit::OnError, time::millis};
    /// let payments = Limit::per_minute("payments", 5).on_error(OnError::Closed).deadline(millis(50));
    /// assert!(bay.limit(payments)?.take("user:42").await?.is_allowed());
    /// # Ok(()) }
    /// ```
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.on_error = on_error;
        self
    }

    /// The longest wait for the store, 1 ms to 1 min, default 50 ms.
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
        let default = match (self.calendar, self.burst) {
            (Some(_), _) => Kind::CalendarWindow,
            (None, Some(_)) => Kind::TokenBucket,
            (None, None) => Kind::FixedWindow,
        };
        (self.kind.unwrap_or(default), self.burst)
    }

    /// The span of the calendar that the quota is for, of a [`calendar`](Self::calendar) limit.
    pub fn calendar_unit(&self) -> Option<CalendarUnit> {
        self.calendar
    }

    /// Its settings, for display.
    pub fn settings(&self) -> Settings {
        let (kind, burst) = self.shape();
        let allowed = match self.fixed {
            Some(Allowance::Nothing) => Override::blocked(),
            Some(_) => Override::unlimited(),
            None if kind == Kind::Concurrency => Override::leases(self.quota),
            None => {
                let rate = self.calendar.map_or_else(
                    || Override::rate(self.quota, self.per),
                    |unit| Override::calendar(self.quota, unit),
                );
                burst.map_or(rate, |burst| rate.burst(burst))
            }
        };
        let Self { per, phase, mode, shadow, on_error, deadline, .. } = *self;
        let overrides = self.overrides.len();
        let zone = (kind == Kind::CalendarWindow).then(|| self.zone.clone().unwrap_or_else(|| "UTC".into()));
        Settings { kind, allowed, per, zone, phase, mode, shadow, on_error, deadline, overrides }
    }

    /// Checks the definition without opening it: what a configuration is checked by.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a name that is none or options that do not go together,
    /// [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) for a number outside its range.
    pub fn check(&self) -> Result<()> {
        Name::new(&self.name).and_then(|_| self.allowances()).map(|_| ())
    }

    /// Its allowance, and the overrides of single keys.
    pub(super) fn allowances(&self) -> Result<(Allowance, Vec<Allowance>)> {
        let name = &self.name;
        let terms = self.terms().map_err(|error| self.describe(error))?;
        let counted = self.counted(terms)?;
        let instead = |(key, instead): &(String, Override)| {
            Key::new(key)
                .and_then(|_| instead.allowance(terms, self.per))
                .map_err(|error| error.in_context(format_args!("limit {name}: override of {key:?}")))
        };
        let overrides = self.overrides.iter().map(instead).collect::<Result<_>>()?;
        Ok((self.fixed.unwrap_or(counted), overrides))
    }

    /// The settings that hold for all its rates.
    pub(super) fn terms(&self) -> Result<Terms> {
        let phase = self.phase.unwrap_or_default();
        let zone = self.zone.as_deref().unwrap_or("UTC");
        let zone = TimeZone::get(zone).map_err(|cause| {
            invalid(format!("zone {zone:?}: no such time zone; a name such as Europe/Berlin"))
                .with_source(cause)
        })?;
        Ok(Terms { kind: self.shape().0, phase, zone: Zone::new(zone) })
    }

    /// Whether each key has a phase of its own.
    #[inline]
    pub(super) fn is_phased_by_key(&self) -> bool {
        self.phase.is_none()
    }

    /// Its own allowance, if it counts.
    fn counted(&self, terms: Terms) -> Result<Allowance> {
        let (name, kind) = (&self.name, terms.kind);
        if !(millis(1)..=mins(1)).contains(&self.deadline) {
            return Err(out_of_range(format!("limit {name}: deadline {:?}: 1 ms to 1 min", self.deadline)));
        }
        let only = |has: bool, what: &str, of: Kind| {
            let text = || format!("a {} has no {what}; only a {} does", kind.as_str(), of.as_str());
            if has && kind != of { Err(self.describe(invalid(text()))) } else { Ok(()) }
        };
        only(self.burst.is_some(), "burst", Kind::TokenBucket)?;
        only(self.phase != Some(Duration::ZERO), "phase", Kind::FixedWindow)?;
        only(self.zone.is_some(), "zone", Kind::CalendarWindow)?;
        if self.mode == Mode::Leased && kind == Kind::Concurrency {
            return Err(self.describe(invalid(
                "the mode of a concurrency limit is exact: its leases cannot be cut in slices",
            )));
        }
        if kind == Kind::Concurrency && self.calendar.is_none() {
            return self.slots().map(Allowance::Leases);
        }
        let per = self.calendar.map_or(Period::Span(self.per), Period::Calendar);
        terms.rule(self.quota, per, self.burst).map(Allowance::Rate).map_err(|error| self.describe(error))
    }

    fn describe(&self, error: Error) -> Error {
        error.in_context(format_args!("limit {}", self.name))
    }

    fn slots(&self) -> Result<LeaseQuota> {
        let (name, most, ttl) = (&self.name, self.quota, self.per);
        if !(millis(100)..=hours(24)).contains(&ttl) {
            return Err(out_of_range(format!("limit {name}: ttl {ttl:?}: 100 ms to 24 h")));
        }
        LeaseQuota { most, ttl }.checked().map_err(|error| self.describe(error))
    }
}
