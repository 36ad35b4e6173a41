//! The kinds of limits, and the rule of a definition.

use std::time::Duration;

use super::{
    calendar::{CalendarUnit, Zone},
    rule::Rule,
};
use crate::error::{Result, invalid};

/// The way in which a limit counts.
///
/// # Examples
/// ```
/// use forebay::{Limit, limit::Kind};
/// let limit = Limit::per_minute("hits", 20).kind(Kind::SlidingWindow);
/// assert_eq!(limit.settings().kind, Kind::SlidingWindow);
/// assert_eq!(Limit::per_month("hits", 20).settings().kind, Kind::CalendarWindow);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Kind {
    /// A quota per window of the clock. Cheap and easy to explain; two quotas may pass around a window's edge.
    #[default]
    FixedWindow,
    /// A quota per any span of the window's length, estimated from two counters. The use in the window before counts for
    /// the part that still overlaps, as if it had been spread evenly. So nearly the quota passes around a window's edge,
    /// at the cost of a fixed window. The quota is 1 to 2^32 - 1.
    SlidingWindow,
    /// A bucket that refills steadily. At most `burst + rate × t` pass in any span t.
    TokenBucket,
    /// A quota per day, ISO week or month of a time zone. Its windows have the lengths that the calendar gives them.
    CalendarWindow,
    /// A number of leases at the same time. They are extended while they are used, and end by themselves when their holder
    /// dies. See [`LimitHandle::lease`](crate::limit::LimitHandle::lease).
    Concurrency,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::FixedWindow, Self::SlidingWindow, Self::TokenBucket, Self::CalendarWindow, Self::Concurrency];

    /// The word for it in configurations and answers, such as `fixed-window`.
    ///
    /// ```
    /// use forebay::limit::Kind;
    /// assert_eq!(Kind::CalendarWindow.as_str(), "calendar-window");
    /// ```
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FixedWindow => "fixed-window",
            Self::SlidingWindow => "sliding-window",
            Self::TokenBucket => "token-bucket",
            Self::CalendarWindow => "calendar-window",
            Self::Concurrency => "concurrency",
        }
    }
}

/// The span of a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Period {
    Span(Duration),
    Calendar(CalendarUnit),
}

/// The settings of a limit that apply to all of its rates, overrides for single keys included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub kind: Kind,
    /// The start of fixed windows.
    pub phase: Duration,
    /// The time zone of the calendar.
    pub zone: Zone,
}

impl Terms {
    /// The rule of a rate.
    pub(crate) fn rule(&self, quota: u64, per: Period, burst: Option<u64>) -> Result<Rule> {
        let kind = self.kind.as_str();
        if burst.is_some() && self.kind != Kind::TokenBucket {
            return Err(invalid(format!("a {kind} has no burst; only a token-bucket does")));
        }
        match (self.kind, per) {
            (Kind::CalendarWindow, Period::Calendar(unit)) => Rule::calendar_window(quota, unit, self.zone),
            (Kind::CalendarWindow, Period::Span(_)) => {
                Err(invalid("a calendar-window counts per day, week or month, such as 5/day"))
            }
            (Kind::Concurrency, _) => Err(invalid("a concurrency limit has no rate")),
            (_, Period::Calendar(unit)) => Err(invalid(format!(
                "a {kind} counts over a span such as 1d or 24h; per {} counts a calendar-window",
                unit.as_str()
            ))),
            (Kind::FixedWindow, Period::Span(span)) => Rule::fixed_window(quota, span, self.phase),
            (Kind::SlidingWindow, Period::Span(span)) => Rule::sliding_window(quota, span),
            (Kind::TokenBucket, Period::Span(span)) => {
                Rule::token_bucket(quota, span, burst.unwrap_or(quota))
            }
        }
    }
}
