//! The value of an override.

use std::{fmt, time::Duration};

use crate::{
    error::{Result, invalid},
    limit::{allowance::Allowance, lease::LeaseQuota},
    model::rate::{
        calendar::CalendarUnit,
        kind::{Kind, Period, Terms},
    },
};

/// The allowance of one key in place of its limit's own.
///
/// The limit's kind stays. Where the period stays, too, what was counted goes on counting; an override with another
/// period begins anew.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
/// # let bay = forebay::Forebay::open("memory:").await?;
/// use forebay::{Limit, limit::Override};
/// let hits = bay.limit(Limit::per_minute("hits", 20).allow("monitor", Override::unlimited()))?;
/// hits.set_override("user:42", Override::blocked()).await?;
/// assert!(hits.take("user:42").await?.is_blocked());
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Override(What);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum What {
    Rate { quota: u64, per: Period, burst: Option<u64> },
    Leases(u64),
    Unlimited,
    Blocked,
}

impl Override {
    /// `quota` per `per`; ranges as of [`Limit::new`](crate::limit::Limit::new). A bucket holds the quota at once.
    pub fn rate(quota: u64, per: Duration) -> Self {
        Self(What::Rate { quota, per: Period::Span(per), burst: None })
    }

    /// `quota` per day, ISO week or month, of a [`Kind::CalendarWindow`].
    ///
    /// ```
    /// use forebay::limit::{CalendarUnit, Override};
    /// assert_eq!(Override::calendar(50_000, CalendarUnit::Month).to_string(), "50000/month");
    /// ```
    pub fn calendar(quota: u64, unit: CalendarUnit) -> Self {
        Self(What::Rate { quota, per: Period::Calendar(unit), burst: None })
    }

    /// So many at once, of a rate for a token bucket. Changes nothing of other overrides.
    #[must_use]
    pub fn burst(self, at_once: u64) -> Self {
        match self.0 {
            What::Rate { quota, per, .. } => Self(What::Rate { quota, per, burst: Some(at_once) }),
            _ => self,
        }
    }

    /// So many leases, of a concurrency limit.
    pub fn leases(most: u64) -> Self {
        Self(What::Leases(most))
    }

    /// Everything, uncounted.
    pub fn unlimited() -> Self {
        Self(What::Unlimited)
    }

    /// Nothing.
    pub fn blocked() -> Self {
        Self(What::Blocked)
    }

    /// The allowance under a limit with these terms; `ttl` is that of its leases.
    pub(crate) fn allowance(self, terms: Terms, ttl: Duration) -> Result<Allowance> {
        match self.0 {
            What::Unlimited => Ok(Allowance::Unlimited),
            What::Blocked => Ok(Allowance::Nothing),
            What::Rate { .. } if terms.kind == Kind::Concurrency => {
                Err(invalid("an override of a concurrency limit is a number of leases"))
            }
            What::Rate { quota, per, burst } => terms.rule(quota, per, burst).map(Allowance::Rate),
            What::Leases(most) if terms.kind == Kind::Concurrency => {
                LeaseQuota { most, ttl }.checked().map(Allowance::Leases)
            }
            What::Leases(_) => {
                Err(invalid(format!("an override of a {} is a rate, not a number", terms.kind.as_str())))
            }
        }
    }
}

/// The units of a period, in microseconds, the longest first.
const UNITS: [(&str, u128); 6] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

/// As people write it: `100/1m`, `100/1m burst 500`, `100/month`, `20`, `unlimited`, `blocked`.
impl fmt::Display for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            What::Unlimited => f.write_str("unlimited"),
            What::Blocked => f.write_str("blocked"),
            What::Leases(most) => write!(f, "{most}"),
            What::Rate { quota, per, burst } => {
                match per {
                    Period::Calendar(unit) => write!(f, "{quota}/{}", unit.as_str())?,
                    Period::Span(span) => {
                        let micros = span.as_micros();
                        let fits = |(_, length): &(&str, u128)| micros > 0 && micros.is_multiple_of(*length);
                        let (unit, length) = UNITS.into_iter().find(fits).unwrap_or(("us", 1));
                        write!(f, "{quota}/{}{unit}", micros / length)?;
                    }
                }
                burst.map_or(Ok(()), |burst| write!(f, " burst {burst}"))
            }
        }
    }
}

impl Override {
    /// Reads what [`Display`](fmt::Display) wrote, into a store.
    pub(crate) fn from_store(text: &str) -> Option<Self> {
        let rate = |rate: &str| {
            let (quota, per) = rate.split_once('/')?;
            if let Some(unit) = CalendarUnit::ALL.into_iter().find(|unit| unit.as_str() == per) {
                return Some(Self::calendar(quota.parse().ok()?, unit));
            }
            let digits = per.bytes().take_while(u8::is_ascii_digit).count();
            let (number, unit) = per.split_at(digits);
            let (_, length) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
            let micros = u64::try_from(length).ok()?.checked_mul(number.parse().ok()?)?;
            Some(Self::rate(quota.parse().ok()?, Duration::from_micros(micros)))
        };
        match text {
            "unlimited" => Some(Self::unlimited()),
            "blocked" => Some(Self::blocked()),
            _ if !text.contains('/') => text.parse().ok().map(Self::leases),
            _ => match text.split_once(" burst ") {
                None => rate(text),
                Some((text, burst)) => Some(rate(text)?.burst(burst.parse().ok()?)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time::{days, mins};

    fn overrides() -> impl Strategy<Value = Override> {
        let rate = (1u64..1 << 50, 1_000u64..1 << 44, prop::option::of(1u64..1 << 50));
        prop_oneof![
            Just(Override::unlimited()),
            Just(Override::blocked()),
            (1u64..1 << 20).prop_map(Override::leases),
            (1u64..1 << 50, prop::sample::select(&CalendarUnit::ALL[..]))
                .prop_map(|(quota, unit)| Override::calendar(quota, unit)),
            rate.prop_map(|(quota, per, burst)| {
                let rate = Override::rate(quota, Duration::from_micros(per));
                burst.into_iter().fold(rate, Override::burst)
            }),
        ]
    }

    proptest! {
        #[test]
        fn what_a_store_was_given_it_gives_back(instead in overrides()) {
            prop_assert_eq!(Override::from_store(&instead.to_string()), Some(instead));
        }

        #[test]
        fn what_somebody_else_wrote_there_is_no_panic(text in ".*", number in "[0-9/a-z ]{0,40}") {
            let _ = (Override::from_store(&text), Override::from_store(&number));
        }
    }

    #[test]
    fn it_is_written_as_people_write_it() {
        assert_eq!(Override::rate(100, mins(1)).to_string(), "100/1m");
        assert_eq!(Override::rate(5, mins(90)).burst(7).to_string(), "5/90m burst 7");
        assert_eq!(Override::rate(5, days(14)).to_string(), "5/14d");
        assert_eq!(Override::calendar(5, CalendarUnit::Week).to_string(), "5/week");
        assert_eq!(Override::leases(3).to_string(), "3");
    }
}
