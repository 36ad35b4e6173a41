//! Moments in time: the `from` and `to` of HTTP and of the command line.

use forebay::{Error, Timestamp};
use jiff::tz::TimeZone;

use crate::text::{Span, invalid, quoted, unknown};

/// 9999-12-31T23:59:59Z, the last second that RFC 3339 can write.
const LAST_SECOND: i64 = 253_402_300_799;

/// Reads a moment, relative to `now` and in `zone`.
///
/// Accepted are an RFC 3339 time (`2026-01-01T00:00:00Z`), seconds since 1970 (`1767225600`, also with
/// a fraction; what is finer than a microsecond is dropped), `now`, a [`Span`] before or after now
/// (`-1d`, `+10m`), and `today`: the first moment of the day in `zone`, which need not be 00:00 where the clocks
/// change.
///
/// ```
/// use forebay::{Timestamp, time::hours};
/// use forebay_server::text::{moment, moment::zone};
/// let now: Timestamp = "2026-03-01T12:00:00Z".parse()?;
/// assert_eq!(moment("-1h", now, &zone("UTC")?)?, now.minus(hours(1)));
/// assert_eq!(moment("today", now, &zone("Europe/Berlin")?)?.to_string(), "2026-02-28T23:00:00Z");
/// # Ok::<(), forebay::Error>(())
/// ```
///
/// # Errors
/// [`ErrorKind::Invalid`](forebay::ErrorKind::Invalid) if it has none of these forms, or is after the year 9999: the
/// seconds are probably milliseconds.
pub fn moment(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, Error> {
    let wrong = |why: &str| {
        invalid(format!(
            "time {}: {why} (RFC 3339 such as 2026-01-01T00:00:00Z, seconds since 1970, now, -1d or today)",
            quoted(text)
        ))
    };
    match text.as_bytes() {
        b"now" => Ok(now),
        b"today" => today(now, zone).ok_or_else(|| wrong("the clock shows a year that has no calendar")),
        [sign @ (b'-' | b'+'), ..] => {
            let Span(span) = text[1..].parse().map_err(|cause: Error| wrong(&cause.to_string()))?;
            Ok(if *sign == b'-' { now.minus(span) } else { now.plus(span) })
        }
        [b'0'..=b'9', ..] if text.bytes().all(|c| c.is_ascii_digit() || c == b'.') => {
            decimal(text, 6).ok_or_else(|| wrong("not within 0 to 253402300799 seconds; milliseconds?"))
        }
        // A form decoder turns the plus of an offset into a blank.
        _ if text.contains(' ') => Err(wrong("contains a blank; in a URL, write + as %2B")),
        _ => text.parse().map_err(|_| wrong("not a time")),
    }
}

/// Reads an absolute moment, as programs write it: an RFC 3339 time, or a number since 1970 whose size tells its unit.
/// Seconds are below 10^11 (the year 5138), milliseconds below 10^14, microseconds below 10^17,
/// above are nanoseconds. Any of them may have a fraction; what is finer than a microsecond is dropped.
///
/// HTTP and logs share it. `None` if it has neither form, or is after the year 9999.
pub fn absolute(text: &str) -> Option<Timestamp> {
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if text.bytes().all(|c| c.is_ascii_digit() || c == b'.') {
        return of_any_unit(text);
    }
    if text.contains(['e', 'E']) {
        // Rust writes it without an exponent.
        let number: f64 = text.parse().ok().filter(|number: &f64| number.is_finite())?;
        return of_any_unit(&number.to_string());
    }
    text.parse().ok()
}

/// Reads a number since 1970, in a unit of which a microsecond is `digits` places after the point: 6 for seconds, 3 for
/// milliseconds.
pub(crate) fn since_1970(number: &str, digits: u32) -> Option<Timestamp> {
    let is_number = number.bytes().all(|c| c.is_ascii_digit() || c == b'.');
    if is_number { decimal(number, digits) } else { None }
}

/// The number at which the next finer unit begins: as seconds the year 5138, as milliseconds 1973.
const NEXT_UNIT: u64 = 100_000_000_000;

/// A number since 1970 in the unit that its size tells.
fn of_any_unit(text: &str) -> Option<Timestamp> {
    let whole = text.split('.').next().unwrap_or_default();
    match whole.parse::<u64>().ok()? {
        seconds if seconds < NEXT_UNIT => decimal(text, 6),
        millis if millis < NEXT_UNIT * 1_000 => decimal(text, 3),
        micros if micros < NEXT_UNIT * 1_000_000 => decimal(text, 0),
        nanos => decimal(&text.replacen(whole, &(nanos / 1_000).to_string(), 1), 0),
    }
}

/// A decimal number since 1970, in a unit of which a microsecond is `digits` places after the point. Exact, because a double
/// would round the microseconds.
fn decimal(text: &str, digits: u32) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let fraction = fraction.bytes().chain(std::iter::repeat(b'0')).take(digits as usize);
    let fraction = fraction.fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    within_calendar(whole.parse::<u64>().ok()?.checked_mul(10_u64.pow(digits))?.checked_add(fraction)?)
}

/// Microseconds since 1970, up to the year 9999.
fn within_calendar(micros: u64) -> Option<Timestamp> {
    let micros = i64::try_from(micros).ok().filter(|micros| *micros < (LAST_SECOND + 1) * 1_000_000)?;
    Some(Timestamp::from_micros(micros))
}

/// Finds a time zone by its IANA name, such as `Europe/Berlin`. `UTC` works without a time zone database.
///
/// # Errors
/// [`ErrorKind::Invalid`](forebay::ErrorKind::Invalid) with the nearest name, if there is no such zone.
pub fn zone(name: &str) -> Result<TimeZone, Error> {
    if name == "UTC" {
        return Ok(TimeZone::UTC);
    }
    TimeZone::get(name).map_err(|_| {
        let names: Vec<_> = jiff::tz::db().available().collect();
        unknown("time zone", name, names.iter().map(jiff::tz::TimeZoneName::as_str))
    })
}

/// The first moment of the day.
fn today(now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let now = jiff::Timestamp::from_microsecond(now.as_micros()).ok()?;
    let start = now.to_zoned_datetime(zone.clone()).start_of_day().ok()?;
    Some(Timestamp::from_micros(start.timestamp().as_microsecond()))
}

#[cfg(test)]
mod tests {
    use forebay::time::{days, mins};
    use proptest::prelude::*;

    use super::*;

    const NOON: Timestamp = Timestamp::from_secs(1_767_268_800); // 2026-01-01T12:00:00Z

    fn utc(text: &str) -> Result<Timestamp, Error> {
        moment(text, NOON, &TimeZone::UTC)
    }

    #[test]
    fn each_form_reads() {
        let cases = [
            ("now", NOON),
            ("-1d", NOON.minus(days(1))),
            ("+10m", NOON.plus(mins(10))),
            ("today", Timestamp::from_secs(1_767_225_600)),
            ("2026-01-01T00:00:00Z", Timestamp::from_secs(1_767_225_600)),
            ("2026-01-01T02:00:00+02:00", Timestamp::from_secs(1_767_225_600)),
            ("1767225600", Timestamp::from_secs(1_767_225_600)),
            ("1767225600.5", Timestamp::from_millis(1_767_225_600_500)),
            ("1767225600.1234569", Timestamp::from_micros(1_767_225_600_123_456)),
            ("0", Timestamp::UNIX_EPOCH),
            ("253402300799", Timestamp::from_secs(LAST_SECOND)),
        ];
        for (text, at) in cases {
            assert_eq!(utc(text).expect(text), at, "{text}");
        }
    }

    #[test]
    fn the_size_of_a_number_tells_its_unit() {
        let at = Timestamp::from_micros(1_431_857_103_250_001);
        for text in [
            "1431857103.250001",
            "1431857103.2500019",
            "1431857103250.001",
            "1431857103250001",
            "1431857103250001.9",
            "1431857103250001999",
            "2015-05-17T10:05:03.250001Z",
            "2015-05-17T12:05:03.250001+02:00",
        ] {
            assert_eq!(absolute(text), Some(at), "{text}");
        }
        for (text, micros) in [
            ("0", 0),
            ("99999999999", 99_999_999_999_000_000),
            ("100000000000", 100_000_000_000_000),
            ("99999999999999", 99_999_999_999_999_000),
            ("100000000000000", 100_000_000_000_000),
            ("99999999999999999", 99_999_999_999_999_999),
            ("100000000000000000", 100_000_000_000_000),
            ("1.5e9", 1_500_000_000_000_000),
            ("1.43185710325E12", 1_431_857_103_250_000),
        ] {
            assert_eq!(absolute(text), Some(Timestamp::from_micros(micros)), "{text}");
        }
        for text in [
            "",
            "-1",
            "+1",
            "now",
            "today",
            "-1d",
            "1.",
            "1.2.3",
            ".5",
            "1e300",
            "NaN",
            "18446744073709551616",
            "2015-05-17",
            "1 ",
        ] {
            assert_eq!(absolute(text), None, "{text}");
        }
    }

    #[test]
    fn errors_name_what_is_accepted() {
        let cases = [
            ("", "not a time"),
            ("yesterday", "not a time"),
            ("2026-01-01", "not a time"),
            ("2026-01-01T00:00:00", "not a time"),
            ("2026-13-01T00:00:00Z", "not a time"),
            ("2026-01-01T00:00:00 02:00", "%2B"),
            ("1767225600000", "milliseconds?"),
            ("99999999999999999999", "milliseconds?"),
            ("1.", "0 to 253402300799"),
            ("1.2.3", "0 to 253402300799"),
            ("-1", "lacks a unit"),
            ("-", "does not begin with a number"),
            ("-1é", "unknown unit"),
        ];
        for (text, why) in cases {
            let message = utc(text).expect_err(text).to_string();
            assert!(message.contains(why) && message.contains("RFC 3339"), "{message}");
        }
    }

    #[test]
    fn today_begins_when_the_zone_s_day_begins() {
        // In Beirut the clocks went from 00:00 to 01:00 on 2022-03-27: that day had no midnight.
        let now = "2022-03-27T09:00:00Z".parse().expect("a time");
        let beirut = zone("Asia/Beirut").expect("a zone");
        let start = moment("today", now, &beirut).expect("today");
        assert_eq!(start.to_string(), "2022-03-26T22:00:00Z");
    }

    #[test]
    fn a_misspelt_zone_is_answered_with_the_nearest() {
        let message = zone("Europe/Berln").expect_err("no such zone").to_string();
        assert!(message.contains("did you mean \"Europe/Berlin\"?"), "{message}");
        assert!(zone("../../etc/passwd").is_err());
    }

    #[test]
    fn a_clock_outside_the_calendar_is_an_error_not_a_panic() {
        for now in [i64::MIN, i64::MAX] {
            let now = Timestamp::from_micros(now);
            assert!(moment("today", now, &TimeZone::UTC).is_err());
            assert!(moment("-1y", now, &TimeZone::UTC).is_ok());
        }
    }

    proptest! {
        #[test]
        fn what_a_timestamp_prints_it_reads(micros in 0..=LAST_SECOND * 1_000_000) {
            let at = Timestamp::from_micros(micros);
            prop_assert_eq!(utc(&at.to_string()).expect("its own text"), at);
            let seconds = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
            prop_assert_eq!(utc(&seconds).expect("seconds"), at);
        }

        #[test]
        fn never_panics(text in ".*", number in "[-+0-9.T:Z]{0,30}", now: i64) {
            let now = Timestamp::from_micros(now);
            for text in [text, number] {
                let _ = absolute(&text);
                let _ = moment(&text, now, &TimeZone::UTC);
                let _ = zone(&text);
            }
        }
    }
}
