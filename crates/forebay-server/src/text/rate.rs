//! Rates: `20/1m`, `5/10s`, `100/s`, `10000/month`.

use std::{fmt, num::NonZeroU64, str::FromStr, time::Duration};

use forebay::{Error, limit::CalendarUnit};

use crate::text::{Span, invalid, quoted};

/// The shortest window of a limit.
const SHORTEST: Duration = Duration::from_millis(1);

/// The largest quota of a limit.
const LARGEST: u64 = 1 << 50;

/// A quota per window, written as `QUOTA/WINDOW`.
///
/// The quota is 1 to 2^50, the window a [`Span`] of at least 1 ms, or `day`, `week` or `month` of the calendar. A bare unit means one
/// of it: `100/s` is `100/1s`, and `100/d` is `100/1d`, which is 24 h. Prints with the number: `20/1m`.
///
/// ```
/// use forebay_server::text::{Rate, Window};
/// let rate: Rate = "20/1m".parse()?;
/// assert_eq!((rate.quota.get(), rate.window), (20, Window::Span(forebay::time::mins(1))));
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// Hits per window.
    pub quota: NonZeroU64,
    /// The window.
    pub window: Window,
}

/// The window of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Window {
    /// A span of this length.
    Span(Duration),
    /// From one midnight, Monday or first of a month to the next.
    Calendar(CalendarUnit),
}

impl FromStr for Rate {
    type Err = Error;

    /// Reads a rate.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](forebay::ErrorKind::Invalid): not a quota, a slash and a window within
    /// their ranges.
    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |why: &str| {
            invalid(format!(
                "rate {}: {why} (a quota, / and a window, such as 20/1m or 100/s; or per day, week or month of the calendar, such as 5/day)",
                quoted(text)
            ))
        };
        let Some((quota, window)) = text.split_once('/') else {
            return Err(wrong("lacks the /"));
        };
        if quota.is_empty() || !quota.bytes().all(|c| c.is_ascii_digit()) {
            return Err(wrong("the quota is not a whole number"));
        }
        let quota = quota.parse().ok().filter(|&quota: &u64| quota <= LARGEST).and_then(NonZeroU64::new);
        let Some(quota) = quota else {
            return Err(wrong(&format!("the quota is outside 1 to {LARGEST}")));
        };
        if let Some(unit) = CalendarUnit::ALL.into_iter().find(|unit| unit.as_str() == window) {
            return Ok(Self { quota, window: Window::Calendar(unit) });
        }
        let bare_unit = window.starts_with(|c: char| c.is_ascii_alphabetic());
        let window = if bare_unit { &format!("1{window}") } else { window };
        let Span(window) = window.parse().map_err(|cause: Error| wrong(&cause.to_string()))?;
        if window < SHORTEST {
            return Err(wrong("the window is shorter than 1ms"));
        }
        Ok(Self { quota, window: Window::Span(window) })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.window {
            Window::Span(span) => write!(f, "{}/{}", self.quota, Span(span)),
            Window::Calendar(unit) => write!(f, "{}/{}", self.quota, unit.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use forebay::time::{hours, millis, mins, secs};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_quota_and_a_window() {
        let cases = [
            ("20/1m", 20, mins(1)),
            ("5/10s", 5, secs(10)),
            ("100/s", 100, secs(1)),
            ("1/h", 1, hours(1)),
            ("1/d", 1, hours(24)),
            ("1/1d", 1, hours(24)),
            ("3/1ms", 3, millis(1)),
            ("1125899906842624/ms", LARGEST, millis(1)),
        ];
        for (text, quota, window) in cases {
            let rate: Rate = text.parse().expect(text);
            assert_eq!((rate.quota.get(), rate.window), (quota, Window::Span(window)), "{text}");
        }
        assert_eq!("100/s".parse::<Rate>().expect("a rate").to_string(), "100/1s");
    }

    #[test]
    fn a_day_of_the_calendar_is_not_24_hours() {
        for unit in CalendarUnit::ALL {
            let text = format!("10000/{}", unit.as_str());
            let rate: Rate = text.parse().expect("a rate");
            assert_eq!((rate.quota.get(), rate.window), (10_000, Window::Calendar(unit)));
            assert_eq!(rate.to_string(), text);
        }
    }

    #[test]
    fn errors_name_what_is_accepted() {
        let cases = [
            ("", "lacks the /"),
            ("20", "lacks the /"),
            ("20 per minute", "lacks the /"),
            ("/1m", "the quota is not a whole number"),
            ("-1/1m", "the quota is not a whole number"),
            ("1.5/1m", "the quota is not a whole number"),
            ("0/1m", "outside 1 to 1125899906842624"),
            ("1125899906842625/1m", "outside 1 to 1125899906842624"),
            ("99999999999999999999/1m", "outside 1 to 1125899906842624"),
            ("20/", "does not begin with a number"),
            ("20/1", "lacks a unit"),
            ("20/min", "unknown unit \"min\""),
            ("20/1day", "unknown unit \"day\""),
            ("20/2month", "unknown unit \"month\""),
            ("20/year", "unknown unit \"year\""),
            ("20/1m/2", "unknown unit \"m/2\""),
            ("20/999us", "shorter than 1ms"),
            ("20/0s", "shorter than 1ms"),
        ];
        for (text, why) in cases {
            let message = text.parse::<Rate>().expect_err(text).to_string();
            assert!(message.contains(why), "{message}");
            assert!(message.contains("such as 20/1m"), "{message}");
        }
    }

    proptest! {
        #[test]
        fn what_it_prints_it_reads(quota in 1..=LARGEST, micros in 1_000..=u64::MAX / 2) {
            let window = Window::Span(Duration::from_micros(micros));
            let rate = Rate { quota: quota.try_into().expect("not zero"), window };
            prop_assert_eq!(rate.to_string().parse::<Rate>().expect("its own text"), rate);
        }

        #[test]
        fn never_panics(text in ".*", quota in "[0-9]{0,22}", window in "[0-9]{0,22}[a-z]{0,2}") {
            let _ = text.parse::<Rate>();
            let _ = format!("{quota}/{window}").parse::<Rate>();
        }
    }
}
