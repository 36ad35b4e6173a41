//! Points in time as text: `2026-01-01 00:00:00.000000`, in UTC.
//!
//! SQL's own functions use this form. Django, Rails and SQLAlchemy write it where a database has no type for times.
//! All fields have a fixed width, so that texts order as the times do, also against `datetime('now')`. RFC 3339's `T` would
//! break that, because it is larger than a space.

use forebay::Timestamp;

/// Formats a time; `None` outside the years 0 to 9999.
pub(crate) fn text(at: Timestamp) -> Option<String> {
    let rfc3339 = at.to_string();
    let plain = rfc3339.strip_suffix('Z')?;
    // A year with a sign puts its `T` elsewhere.
    let (date, time) = plain.split_once('T').filter(|(date, _)| date.len() == 10)?;
    let (seconds, fraction) = time.split_once('.').unwrap_or((time, ""));
    Some(format!("{date} {seconds}.{fraction:0<6}"))
}

/// Parses the output of [`text`], or RFC 3339. Without an offset it is UTC.
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    text.parse().or_else(|_| format!("{text}Z").parse()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_have_one_width_and_years_four_digits() {
        let of = |text: &str| super::text(text.parse().expect("a time")).expect("in range");
        assert_eq!(of("2026-01-01T00:00:00Z"), "2026-01-01 00:00:00.000000");
        assert_eq!(of("1969-12-31T23:59:59.5Z"), "1969-12-31 23:59:59.500000");
        assert_eq!(of("0000-01-01T00:00:00.000001Z"), "0000-01-01 00:00:00.000001");
        assert_eq!(text("-000001-01-01T00:00:00Z".parse().expect("a time")), None);
        assert_eq!(text(Timestamp::from_micros(i64::MAX)), None);
    }

    #[test]
    fn what_applications_write_is_read() {
        let at = "2026-01-01T10:00:00.5Z".parse().ok();
        for text in ["2026-01-01 10:00:00.5", "2026-01-01T10:00:00.500Z", "2026-01-01 11:00:00.5+01:00"] {
            assert_eq!(parse(text), at, "{text}");
        }
        assert_eq!(parse("yesterday"), None);
    }

    proptest! {
        #[test]
        fn texts_order_as_times_and_are_read_back(a in YEARS, b in YEARS) {
            let (a, b) = (Timestamp::from_micros(a), Timestamp::from_micros(b));
            let (text_a, text_b) = (text(a).expect("in range"), text(b).expect("in range"));
            prop_assert_eq!(a.cmp(&b), text_a.cmp(&text_b));
            prop_assert_eq!(parse(&text_a), Some(a));
        }
    }

    /// The years 0 to 9999, in microseconds.
    const YEARS: std::ops::Range<i64> = -62_167_219_200_000_000..253_402_207_200_000_000;
}
