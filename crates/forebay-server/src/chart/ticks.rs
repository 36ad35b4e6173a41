//! The labels of the axes.

use std::ops::Range;

use forebay::Timestamp;
use jiff::{ToSpan, civil, tz::TimeZone};

/// A label on the time axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tick {
    pub at: Timestamp,
    pub text: String,
}

/// The distance between labels, by the calendar.
#[derive(Clone, Copy, Debug)]
enum Every {
    Seconds(i64),
    Days(i64),
    Months(i64),
    Years(i64),
}

use Every::{Days, Months, Seconds, Years};

const SECONDS: [i64; 17] =
    [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200];
const DAYS: [i64; 4] = [1, 2, 7, 14];
const MONTHS: [i64; 4] = [1, 2, 3, 6];
const YEARS: [i64; 11] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 5_000];

/// The distances to choose from, shortest first.
fn distances() -> impl Iterator<Item = Every> {
    let seconds = SECONDS.into_iter().map(Seconds).chain(DAYS.into_iter().map(Days));
    seconds.chain(MONTHS.into_iter().map(Months)).chain(YEARS.into_iter().map(Years))
}

impl Every {
    fn micros(self) -> i64 {
        let secs = match self {
            Seconds(n) => n,
            Days(n) => n * 86_400,
            Months(n) => n * 30 * 86_400,
            Years(n) => n * 365 * 86_400,
        };
        secs * 1_000_000
    }

    /// The last label at or before `time`.
    fn floor(self, time: civil::DateTime) -> Option<civil::DateTime> {
        let (date, midnight) = (time.date(), civil::Time::midnight());
        let first = match self {
            Seconds(n) => {
                let midnight = date.to_datetime(midnight);
                let since = midnight.duration_until(time).as_secs();
                return midnight.checked_add((since - since.rem_euclid(n)).seconds()).ok();
            }
            // Whole weeks begin on Mondays, as 1970-01-05 was.
            Days(n) => {
                let since = civil::date(1970, 1, 5).duration_until(date).as_hours() / 24;
                date.checked_sub(since.rem_euclid(n).days())
            }
            Months(n) => date.first_of_month().checked_sub(((i64::from(date.month()) - 1) % n).months()),
            Years(n) => date.first_of_year().checked_sub(i64::from(date.year()).rem_euclid(n).years()),
        };
        Some(first.ok()?.to_datetime(midnight))
    }

    fn after(self, time: civil::DateTime) -> Option<civil::DateTime> {
        let step = match self {
            Seconds(n) => n.seconds(),
            Days(n) => n.days(),
            Months(n) => n.months(),
            Years(n) => n.years(),
        };
        time.checked_add(step).ok()
    }

    fn text(self, time: civil::DateTime) -> String {
        let midnight = time.time() == civil::Time::midnight();
        let format = match self {
            Seconds(_) | Days(_) if midnight => "%-d %b",
            Seconds(1..=59) => "%H:%M:%S",
            Seconds(_) | Days(_) => "%H:%M",
            Months(_) if time.month() == 1 => "%Y",
            Months(_) => "%b %Y",
            Years(_) => "%Y",
        };
        time.strftime(format).to_string()
    }
}

/// At most `most` labels within `span`, at round times in `zone`; none outside the calendar.
pub(super) fn times(span: &Range<Timestamp>, most: usize, zone: &TimeZone) -> Vec<Tick> {
    let length = span.end.as_micros().saturating_sub(span.start.as_micros());
    let most = i64::try_from(most.max(1)).unwrap_or(i64::MAX);
    let every = distances().find(|every| length / every.micros() < most).unwrap_or(Years(5_000));
    let mut ticks: Vec<Tick> = Vec::new();
    let start = jiff::Timestamp::from_microsecond(span.start.as_micros()).ok();
    let mut next = start.and_then(|start| every.floor(zone.to_datetime(start)));
    while let Some(time) = next {
        let Ok(at) = zone.to_timestamp(time) else { break };
        let at = Timestamp::from_micros(at.as_microsecond());
        if at > span.end {
            break;
        }
        // Two local times are the same moment where clocks go forward.
        let is_new = ticks.last().is_none_or(|last| last.at < at);
        if at >= span.start && is_new {
            ticks.push(Tick { at, text: every.text(time) });
        }
        next = every.after(time);
    }
    ticks
}

/// At most seven round values, of which the first and the last enclose zero and `range`; whole numbers for counts.
pub(super) fn values(range: &Range<f64>, is_whole: bool) -> Vec<f64> {
    let bounded = |value: f64| if value.is_finite() { value.clamp(-1e300, 1e300) } else { 0.0 };
    let (low, high) = (bounded(range.start).min(0.0), bounded(range.end).max(0.0));
    let high = if high > low { high } else { low + 1.0 };
    let least = if is_whole { 1.0 } else { 1e-300 };
    let rough = ((high - low) / 5.0).max(least);
    #[expect(clippy::cast_possible_truncation, reason = "between -300 and 300")]
    let power = rough.log10().floor() as i32;
    // Powers below one are divided by, because 0.1 is no binary fraction.
    let scaled = |n: f64| if power < 0 { n / 10_f64.powi(-power) } else { n * 10_f64.powi(power) };
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|&factor| scaled(factor) >= rough * (1.0 - 1e-9));
    let factor = factor.unwrap_or(10.0);
    #[expect(clippy::cast_possible_truncation, reason = "at most seven steps from zero")]
    let (first, last) =
        ((low / scaled(factor)).floor() as i32, (high / scaled(factor) * (1.0 - 1e-9)).ceil() as i32);
    (first..=last).map(|n| scaled(f64::from(n) * factor)).collect()
}

/// A value in short: `950`, `1.5k`, `20M`, `0.25`.
pub(super) fn short(value: f64) -> String {
    const PREFIXES: [(f64, &str); 7] =
        [(1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")];
    let size = value.abs();
    if size >= 1e21 || (size > 0.0 && size < 1e-3) {
        return format!("{value:e}");
    }
    let (unit, prefix) = PREFIXES.into_iter().find(|(unit, _)| size >= *unit).unwrap_or((1.0, ""));
    let text = format!("{:.3}", value / unit);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}{prefix}")
}

/// The span as text: `17 May 2015 10:05 – 20 May 2015 21:05 UTC`.
pub(super) fn range(span: &Range<Timestamp>, zone: &TimeZone) -> String {
    let civil = |at: Timestamp| {
        let at = jiff::Timestamp::from_microsecond(at.as_micros()).ok()?;
        Some(at.to_zoned_datetime(zone.clone()))
    };
    let (Some(start), Some(end)) = (civil(span.start), civil(span.end)) else {
        return format!("{} – {}", span.start, span.end);
    };
    let seconds = span.end.since(span.start).as_secs() < 600;
    let (clock, name) = if seconds { ("%H:%M:%S", "%H:%M:%S %Z") } else { ("%H:%M", "%H:%M %Z") };
    let day = "%-d %b %Y";
    let end_day =
        if start.date() == end.date() { String::new() } else { end.strftime(day).to_string() + " " };
    format!("{} {} – {end_day}{}", start.strftime(day), start.strftime(clock), end.strftime(name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::text::grouped;

    fn labels(from: &str, to: &str, most: usize, zone: &str) -> Vec<String> {
        let span = from.parse().expect("a time")..to.parse().expect("a time");
        let zone = TimeZone::get(zone).expect("a zone");
        times(&span, most, &zone).into_iter().map(|tick| tick.text).collect()
    }

    #[test]
    fn labels_are_round_and_as_precise_as_the_span_needs() {
        let cases = [
            ("2026-01-01T10:00:03Z", "2026-01-01T10:00:12Z", "10:00:04 10:00:06 10:00:08 10:00:10 10:00:12"),
            ("2026-01-01T10:03:00Z", "2026-01-01T10:58:00Z", "10:15 10:30 10:45"),
            ("2026-01-01T20:00:00Z", "2026-01-02T08:00:00Z", "21:00 2 Jan 03:00 06:00"),
            ("2026-01-03T00:00:00Z", "2026-01-06T00:00:00Z", "3 Jan 4 Jan 5 Jan 6 Jan"),
            ("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z", "5 Jan 12 Jan 19 Jan 26 Jan"),
            ("2025-11-20T00:00:00Z", "2026-03-20T00:00:00Z", "Dec 2025 2026 Feb 2026 Mar 2026"),
            ("2021-05-01T00:00:00Z", "2026-01-01T00:00:00Z", "2022 2023 2024 2025 2026"),
            ("1926-05-01T00:00:00Z", "2026-01-01T00:00:00Z", "1940 1960 1980 2000 2020"),
        ];
        for (from, to, expected) in cases {
            assert_eq!(labels(from, to, 5, "UTC").join(" "), expected, "{from} to {to}");
        }
    }

    #[test]
    fn days_begin_when_the_zone_s_days_begin() {
        let texts = labels("2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z", 9, "Europe/Berlin");
        assert_eq!(texts.join(" "), "15:00 18:00 21:00 29 Mar 03:00 06:00 09:00 12:00");
    }

    #[test]
    fn counts_are_short_on_the_axis_and_full_in_texts() {
        let texts = |values: Vec<f64>| values.into_iter().map(short).collect::<Vec<_>>().join(" ");
        let axis = |max| texts(values(&(0.0..max), true));
        assert_eq!(axis(0.0), "0 1");
        assert_eq!(axis(3.0), "0 1 2 3");
        assert_eq!(axis(23.0), "0 5 10 15 20 25");
        assert_eq!(axis(2_100.0), "0 500 1k 1.5k 2k 2.5k");
        assert_eq!(axis(u64::MAX as f64), "0 5E 10E 15E 20E");
        let real = |low, high| texts(values(&(low..high), false));
        assert_eq!(real(0.0, 0.31), "0 0.1 0.2 0.3 0.4");
        assert_eq!(real(0.0, 0.000_25), "0 5e-5 1e-4 1.5e-4 2e-4 2.5e-4");
        assert_eq!(real(-180.0, 300.0), "-200 -100 0 100 200 300");
        assert_eq!(real(f64::NAN, f64::INFINITY), "0 0.2 0.4 0.6 0.8 1");
        assert_eq!([0, 999, 1_000, 1_234_567].map(|n| grouped(n, ',')), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn the_span_is_printed_with_its_zone() {
        let span = |from: &str, to: &str| from.parse().expect("a time")..to.parse().expect("a time");
        let berlin = TimeZone::get("Europe/Berlin").expect("a zone");
        let days = span("2026-01-01T10:00:00Z", "2026-01-03T23:00:00Z");
        assert_eq!(range(&days, &berlin), "1 Jan 2026 11:00 – 4 Jan 2026 00:00 CET");
        let minute = span("2026-01-01T10:00:00Z", "2026-01-01T10:01:00Z");
        assert_eq!(range(&minute, &TimeZone::UTC), "1 Jan 2026 10:00:00 – 10:01:00 UTC");
    }

    proptest! {
        #[test]
        fn labels_are_few_ordered_and_inside(start: i64, length in 0..i64::MAX, most in 1..20_usize) {
            // The shorter lengths are spans of a usual size, which a plain random length never has.
            for length in [length, length >> 20, length >> 36] {
                let span = Timestamp::from_micros(start >> 8)..Timestamp::from_micros((start >> 8).saturating_add(length));
                let ticks = times(&span, most, &TimeZone::UTC);
                prop_assert!(ticks.len() <= most + most / 8 + 1, "{} of {}", ticks.len(), most);
                prop_assert!(ticks.iter().all(|tick| span.start <= tick.at && tick.at <= span.end));
                prop_assert!(ticks.windows(2).all(|pair| pair[0].at < pair[1].at));
                prop_assert!(!range(&span, &TimeZone::UTC).is_empty());
            }
        }

        #[test]
        fn values_enclose_zero_and_the_range(low in prop::num::f64::ANY, high in prop::num::f64::ANY, is_whole: bool) {
            let range = low.min(high)..low.max(high);
            let values = values(&range, is_whole);
            prop_assert!((2..=8).contains(&values.len()), "{values:?}");
            prop_assert!(values.contains(&0.0) && values.windows(2).all(|pair| pair[0] < pair[1]), "{values:?}");
            // Anything beyond is none, or is cut.
            if [low, high].iter().all(|value| value.abs() <= 1e300) {
                let rounding = (range.end - range.start) * 1e-8 + low.abs().max(high.abs()) * 1e-8;
                let (first, last) = (values[0] - rounding, values[values.len() - 1] + rounding);
                prop_assert!(first <= range.start && range.end <= last, "{values:?} of {range:?}");
            }
            let mut texts: Vec<_> = values.iter().map(|&value| short(value)).collect();
            texts.dedup();
            prop_assert_eq!(texts.len(), values.len(), "{:?}", values);
        }
    }
}
