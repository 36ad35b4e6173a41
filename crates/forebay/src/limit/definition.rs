//! What a limit is.

use std::time::Duration;

use super::rule::Rule;
use crate::{
    error::{Result, invalid, out_of_range},
    key::Name,
    time::{days, hours, millis, mins, secs},
};

/// How a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Kind {
    /// A quota per window of the clock. Cheap and easy to explain; two quotas may pass around a window's edge.
    #[default]
    FixedWindow,
    /// A bucket that refills steadily. At most `burst + rate × t` pass in any span t.
    TokenBucket,
}

impl Kind {
    /// The word for it in configurations and answers, such as `fixed-window`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FixedWindow => "fixed-window",
            Self::TokenBucket => "token-bucket",
        }
    }
}

/// What a limit answers when its store does not.
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

/// The definition of a limit.
///
/// ```
/// use forebay::{Limit, time::{millis, secs}};
/// let per_minute = Limit::per_minute("hits", 20);
/// let bucket = Limit::per_second("api", 100).burst(500);
/// let odd = Limit::new("login", 5, secs(90)).deadline(millis(20));
/// ```
#[derive(Clone, Debug)]
#[must_use = "a definition does nothing until it is given to `Forebay::limit`"]
pub struct Limit {
    pub(super) name: String,
    quota: u64,
    per: Duration,
    kind: Option<Kind>,
    burst: Option<u64>,
    phase: Duration,
    pub(super) on_error: OnError,
    pub(super) deadline: Duration,
}

impl Limit {
    /// `quota` (1 to 2^50) per `per` (1 ms to 366 days).
    pub fn new(name: impl Into<String>, quota: u64, per: Duration) -> Self {
        Self {
            name: name.into(),
            quota,
            per,
            kind: None,
            burst: None,
            phase: Duration::ZERO,
            on_error: OnError::default(),
            deadline: millis(50),
        }
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
    pub fn burst(mut self, burst: u64) -> Self {
        self.burst = Some(burst);
        self
    }

    /// Where windows begin: this long after the multiples of their length since 1970.
    pub fn phase(mut self, phase: Duration) -> Self {
        self.phase = phase;
        self
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

    /// The quota, and the span that it is for.
    pub fn rate(&self) -> (u64, Duration) {
        (self.quota, self.per)
    }

    /// How it counts, and how many may pass at once where a [`burst`](Self::burst) says so.
    pub fn shape(&self) -> (Kind, Option<u64>) {
        let bucket = self.burst.map_or(Kind::FixedWindow, |_| Kind::TokenBucket);
        (self.kind.unwrap_or(bucket), self.burst)
    }

    /// Checks the definition without opening it: what a configuration is checked by.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a name that is none or options that do not go together,
    /// [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) for a number outside its range.
    pub fn check(&self) -> Result<()> {
        Name::new(&self.name).and_then(|_| self.rule()).map(|_| ())
    }

    pub(super) fn rule(&self) -> Result<Rule> {
        let name = &self.name;
        if !(millis(1)..=mins(1)).contains(&self.deadline) {
            return Err(out_of_range(format!("limit {name}: deadline {:?}: 1 ms to 1 min", self.deadline)));
        }
        match self.shape() {
            (Kind::FixedWindow, None) => Rule::fixed_window(self.quota, self.per, self.phase),
            (Kind::FixedWindow, Some(_)) => {
                Err(invalid("a fixed window has no burst; only a token bucket does".to_owned()))
            }
            (Kind::TokenBucket, _) if !self.phase.is_zero() => {
                Err(invalid("a token bucket has no phase; only a window does".to_owned()))
            }
            (Kind::TokenBucket, burst) => {
                Rule::token_bucket(self.quota, self.per, burst.unwrap_or(self.quota))
            }
        }
        .map_err(|error| crate::Error::new(error.kind(), format!("limit {name}: {error}")))
    }
}
