//! Points in time, and short functions for spans.

use std::{fmt, str::FromStr, time::Duration};

use crate::error::{Error, Result, invalid};

/// A point in time: microseconds since 1970-01-01T00:00:00Z.
///
/// Microseconds are the unit of Redis `TIME`, and every date before the year 287396 stays below 2^63. `Display` writes RFC
/// 3339, and `FromStr` reads it.
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

    /// The time that is this many microseconds after 1970.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// The time that is this many milliseconds after 1970; saturates.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// The time that is this many seconds after 1970; saturates.
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

    /// This time plus a span; saturates.
    ///
    /// # Examples
    /// ```
    /// use forebay::{Timestamp, time::mins};
    /// let start = Timestamp::from_secs(600);
    /// assert_eq!(start.plus(mins(5)).minus(mins(15)), Timestamp::UNIX_EPOCH);
    /// assert_eq!(start.since(Timestamp::UNIX_EPOCH), mins(10));
    /// ```
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(micros(span)))
    }

    /// This time minus a span; saturates.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(micros(span)))
    }

    /// The span from `earlier` to this time; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// The microseconds of a span; saturates.
pub(crate) fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// The microseconds of a span without a sign, for times that count from a start.
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
/// Production code passes [`When::EngineClock`]: Redis scripts read `TIME`, so callers with different clocks agree about a
/// limit. Only replays of old traffic and tests pass [`When::At`].
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// use forebay::{Timestamp, When, time::days};
/// # let bay = forebay::Forebay::open("memory:").await?;
/// let (hits, then) = (bay.series("hits")?, Timestamp::from_secs(1_790_000_000));
/// hits.add_many([("user:42", 1, then)], When::At(then)).await?; // a replay
/// let total = hits.total_as_of("user:42", then.minus(days(1)), then.plus(days(1)), then).await?;
/// assert_eq!(total.sum, 1);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum When {
    /// The clock of the engine: the Redis server's, or this process's for the embedded engine.
    #[default]
    EngineClock,
    /// This time instead of a clock. The time of a key never goes back: an earlier time counts as the last one seen.
    At(Timestamp),
}

/// `n` milliseconds.
///
/// # Examples
/// ```
/// use forebay::time::{days, hours, millis, mins, secs};
/// assert_eq!(millis(1_000), secs(1));
/// assert_eq!((secs(60), mins(60), hours(24)), (mins(1), hours(1), days(1)));
/// ```
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
