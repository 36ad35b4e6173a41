//! Points in time, and short names for spans.

use std::{fmt, str::FromStr, time::Duration};

use crate::error::{Error, Result, invalid};

/// A point in time: microseconds since 1970-01-01T00:00:00Z.
///
/// Microseconds because that is what Redis `TIME` tells, and because every date this side of the year
/// 287396 then stays below 2^63. Prints as RFC 3339, and reads it back.
///
/// ```
/// use forebay::Timestamp;
/// let t: Timestamp = "2026-01-01T00:00:00Z".parse()?;
/// assert_eq!(t.as_secs(), 1_767_225_600);
/// assert_eq!(t.to_string(), "2026-01-01T00:00:00Z");
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const UNIX_EPOCH: Self = Self(0);

    /// From microseconds since 1970.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From milliseconds since 1970; saturates.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// From seconds since 1970; saturates.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Microseconds since 1970.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Milliseconds since 1970, rounded down.
    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// Seconds since 1970, rounded down.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// This time moved ahead; saturates.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(micros(span)))
    }

    /// This time moved back; saturates.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(micros(span)))
    }

    /// The span from `earlier` to this, or zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// Microseconds of a span, saturating.
pub(crate) fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// The same without a sign, for what counts from a start.
#[inline]
pub(crate) fn whole_micros(span: Duration) -> u64 {
    micros(span).unsigned_abs()
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(time) => time.fmt(f),
            Err(_) => write!(f, "{} µs since 1970", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let time: jiff::Timestamp = text.parse().map_err(|cause: jiff::Error| {
            invalid(format!("{text:?} is not an RFC 3339 time such as 2026-01-01T00:00:00Z"))
                .with_source(cause)
        })?;
        Ok(Self(time.as_microsecond()))
    }
}

/// Which clock decides.
///
/// Production passes [`When::EngineClock`]: Redis scripts read `TIME`, so that callers whose clocks
/// disagree cannot disagree about a limit. Only replays of old traffic, and tests, pass
/// [`When::At`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum When {
    /// The clock of the engine: the Redis server's, or this process's for the embedded engine.
    #[default]
    EngineClock,
    /// This time, whatever any clock says. A key's own time never goes back: an earlier one counts as the last seen.
    At(Timestamp),
}

/// `n` milliseconds.
pub const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// `n` seconds.
pub const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// `n` minutes.
pub const fn mins(n: u64) -> Duration {
    Duration::from_secs(n * 60)
}

/// `n` hours.
pub const fn hours(n: u64) -> Duration {
    Duration::from_secs(n * 3_600)
}

/// `n` days of 24 hours.
pub const fn days(n: u64) -> Duration {
    Duration::from_secs(n * 86_400)
}
