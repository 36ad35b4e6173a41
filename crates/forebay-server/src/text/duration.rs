//! Spans of time: `500ms`, `10s`, `2y`.

use std::{fmt, str::FromStr, time::Duration};

use forebay::Error;
use serde::{Deserialize, Serialize};

use crate::text::{invalid, quoted};

/// The accepted units, each with its length in microseconds, shortest first.
const UNITS: [(&str, u64); 8] = [
    ("us", 1),
    ("ms", 1_000),
    ("s", SECOND),
    ("m", 60 * SECOND),
    ("h", 3_600 * SECOND),
    ("d", DAY),
    ("w", 7 * DAY),
    ("y", 365 * DAY),
];

const SECOND: u64 = 1_000_000;
const DAY: u64 = 86_400 * SECOND;

/// The longest span in microseconds, by which a [`forebay::Timestamp`] can be moved.
const LONGEST: u64 = i64::MAX.unsigned_abs();

/// A span of time, written as a whole number and one unit.
///
/// Units are `us`, `ms`, `s`, `m` (60 s), `h`, `d` (24 h), `w` (7 d) and `y` (365 d). One unit only,
/// no sign, no fraction and no blank: `90m`, not `1h30m` or `1.5h`. Zero is a span. The range ends at 292 471 years, because
/// microseconds have 63 bits.
///
/// Prints in the largest exact unit, but not in weeks: `7d` stays `7d`.
///
/// ```
/// use forebay_server::text::Span;
/// let week: Span = "7d".parse()?;
/// assert_eq!(week.0, forebay::time::days(7));
/// assert_eq!("120s".parse::<Span>()?.to_string(), "2m");
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = Error;

    /// Reads a span.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](forebay::ErrorKind::Invalid) if it is not a whole number with one of the units, or longer than
    /// the range.
    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |why: &str| {
            let units = UNITS.map(|(unit, _)| unit).join(", ");
            let found = quoted(text);
            invalid(format!("span {found}: {why} (a whole number and one of {units}, such as 10s or 90m)"))
        };
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        if number.is_empty() {
            return Err(wrong("does not begin with a number"));
        }
        if unit.is_empty() {
            return Err(wrong("lacks a unit"));
        }
        let Some((_, micros)) = UNITS.into_iter().find(|(name, _)| *name == unit) else {
            return Err(wrong(&format!("unknown unit {}", quoted(unit))));
        };
        let total = number.parse().ok().and_then(|n: u64| n.checked_mul(micros));
        match total {
            Some(total) if total <= LONGEST => Ok(Self(Duration::from_micros(total))),
            _ => Err(wrong("longer than 292471y")),
        }
    }
}

impl fmt::Display for Span {
    /// Writes the span; less than a microsecond is dropped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        if micros == 0 {
            return f.write_str("0s");
        }
        let fits = |unit: &(&str, u64)| unit.0 != "w" && micros.is_multiple_of(u128::from(unit.1));
        let (unit, length) = UNITS.into_iter().rev().find(fits).unwrap_or(UNITS[0]);
        write!(f, "{}{unit}", micros / u128::from(length))
    }
}

impl TryFrom<String> for Span {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

#[cfg(test)]
mod tests {
    use forebay::time::{days, hours, mins, secs};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_unit_has_its_length() {
        let cases = [
            ("7us", Duration::from_micros(7)),
            ("500ms", Duration::from_millis(500)),
            ("10s", secs(10)),
            ("1m", mins(1)),
            ("3h", hours(3)),
            ("7d", days(7)),
            ("2w", days(14)),
            ("2y", days(730)),
            ("0s", Duration::ZERO),
            ("007s", secs(7)),
            ("9223372036854775807us", Duration::from_micros(LONGEST)),
        ];
        for (text, span) in cases {
            assert_eq!(text.parse::<Span>().expect(text), Span(span), "{text}");
        }
    }

    #[test]
    fn errors_name_what_is_accepted() {
        let cases = [
            ("", "does not begin with a number"),
            ("s", "does not begin with a number"),
            ("-1s", "does not begin with a number"),
            (" 1s", "does not begin with a number"),
            ("10", "lacks a unit"),
            ("10 s", "unknown unit \" s\""),
            ("10S", "unknown unit \"S\""),
            ("1.5h", "unknown unit \".5h\""),
            ("1h30m", "unknown unit \"h30m\""),
            ("10µs", "unknown unit \"µs\""),
            ("9223372036854775808us", "longer than 292471y"),
            ("18446744073709551616s", "longer than 292471y"),
            ("292472y", "longer than 292471y"),
        ];
        for (text, why) in cases {
            let message = text.parse::<Span>().expect_err(text).to_string();
            assert!(message.contains(why), "{message}");
            assert!(message.contains("us, ms, s, m, h, d, w, y"), "{message}");
        }
    }

    #[test]
    fn prints_in_the_largest_unit_that_loses_nothing() {
        let cases = [(secs(90), "90s"), (mins(90), "90m"), (days(7), "7d"), (days(365), "1y")];
        for (span, text) in cases {
            assert_eq!(Span(span).to_string(), text);
        }
    }

    #[test]
    fn reads_and_writes_json_as_text() {
        let span: Span = serde_json::from_str("\"10s\"").expect("a span");
        assert_eq!(serde_json::to_string(&span).expect("text"), "\"10s\"");
        let error = serde_json::from_str::<Span>("\"10\"").expect_err("no unit").to_string();
        assert!(error.contains("lacks a unit"), "{error}");
    }

    proptest! {
        #[test]
        fn what_it_prints_it_reads(micros in 0..=LONGEST) {
            let span = Span(Duration::from_micros(micros));
            prop_assert_eq!(span.to_string().parse::<Span>().expect("its own text"), span);
        }

        #[test]
        fn never_panics(text in ".*", number in "[0-9]{0,30}", unit in "[a-z]{0,3}") {
            let _ = text.parse::<Span>();
            let _ = format!("{number}{unit}").parse::<Span>();
        }

        #[test]
        fn prints_any_duration(secs: u64, nanos in 0..1_000_000_000_u32) {
            prop_assert!(!Span(Duration::new(secs, nanos)).to_string().is_empty());
        }
    }
}
