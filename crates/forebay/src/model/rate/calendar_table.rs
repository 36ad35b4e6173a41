//! The windows of a calendar: which one contains a time, and where it begins and ends.

use jiff::{
    Timestamp,
    civil::{Date, date},
    tz::{AmbiguousOffset, TimeZone},
};

/// A calendar unit of a quota.
///
/// # Examples
/// ```
/// use forebay::{Limit, limit::CalendarUnit};
/// let reports = Limit::calendar("reports", 100, CalendarUnit::Month).zone("Europe/Berlin");
/// assert_eq!(reports.calendar_unit(), Some(CalendarUnit::Month));
/// assert_eq!(CalendarUnit::ALL.len(), 3);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CalendarUnit {
    /// From midnight to midnight: 24 h, or 23 h to 25 h where clocks are changed.
    Day,
    /// An ISO week, which begins on Monday.
    Week,
    /// From the first of a month to the first of the next one.
    Month,
}

impl CalendarUnit {
    /// All of them, the shortest first.
    pub const ALL: [Self; 3] = [Self::Day, Self::Week, Self::Month];

    /// The word for it in rates, such as `day` in `5/day`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }

    /// The number of the window that contains a day: days or weeks since the year 0, or year × 12 + month.
    pub(super) fn ordinal(self, day: Date) -> i64 {
        match self {
            Self::Day => day_number(day),
            Self::Week => (day_number(day) - MONDAY).div_euclid(7),
            Self::Month => i64::from(day.year()) * 12 + i64::from(day.month()) - 1,
        }
    }

    /// The starts of all windows of a zone that have a part of `from..to`, in microseconds since 1970 and in order, and the end of
    /// the last one; `None` if there are more than `most`. A day that a zone skipped is not a window.
    pub(crate) fn windows(self, from: i64, to: i64, zone: &TimeZone, most: usize) -> Option<(Vec<i64>, i64)> {
        const MICROS: i64 = 1_000_000;
        let (from, to) = (from.max(0), to.min(LAST_SECOND * MICROS));
        let seconds = (from / MICROS).min(LAST_SECOND);
        let at = Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
        let start = |ordinal| first_second(self.first_day(ordinal), zone);
        let mut ordinal = self.ordinal(zone.to_datetime(at).date());
        // As in `Boundaries::round`.
        while start(ordinal + 1) <= seconds {
            ordinal += 1;
        }
        let mut starts = vec![start(ordinal) * MICROS];
        loop {
            ordinal += 1;
            let next = start(ordinal) * MICROS;
            if starts.last().is_some_and(|last| *last >= next) {
                continue;
            }
            if next >= to {
                return Some((starts, next));
            }
            if starts.len() >= most {
                return None;
            }
            starts.push(next);
        }
    }

    /// The first day of a window, the inverse of [`ordinal`](Self::ordinal).
    pub(super) fn first_day(self, ordinal: i64) -> Date {
        let day = match self {
            Self::Day => YEAR_0.checked_add(jiff::Span::new().days(ordinal)),
            Self::Week => YEAR_0.checked_add(jiff::Span::new().days(ordinal * 7 + MONDAY)),
            Self::Month => {
                let year = i16::try_from(ordinal.div_euclid(12)).unwrap_or(i16::MAX);
                let month = i8::try_from(ordinal.rem_euclid(12) + 1).unwrap_or(1);
                Date::new(year, month, 1)
            }
        };
        day.unwrap_or(Date::MAX)
    }
}

const YEAR_0: Date = date(0, 1, 1);

/// Some time in the year 9987: the calendar ends soon after.
const LAST_SECOND: i64 = 253_000_000_000;

/// The first Monday of the year 0, in days after its first.
const MONDAY: i64 = 2;

fn day_number(day: Date) -> i64 {
    day.duration_since(YEAR_0).as_hours() / 24
}

/// A window: its ordinal, and its start and end in microseconds since 1970.
pub(super) type Row = (u64, u64, u64);

/// Three windows, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Boundaries(pub(super) [Row; 3]);

impl Boundaries {
    /// The windows around a time: the one that contains it, and its neighbours.
    ///
    /// A window starts with the first moment of its first day. A day that a zone skipped is not a window. Where clocks are
    /// put back over midnight, the new day continues.
    pub(super) fn round(now: u64, unit: CalendarUnit, zone: &TimeZone) -> Self {
        let seconds = i64::try_from(now / 1_000_000).unwrap_or(i64::MAX).min(LAST_SECOND);
        let today = zone.to_datetime(Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)).date();
        let start = |ordinal| first_second(unit.first_day(ordinal), zone);
        let mut current = unit.ordinal(today);
        // If clocks went back over midnight, they show the day before once more, although the later window has begun.
        while start(current + 1) <= seconds {
            current += 1;
        }
        let (from, to) = (start(current), start(current + 1));
        // The neighbours are the nearest windows that are not empty.
        let previous =
            (1..4).map(|n| current - n).find(|&ordinal| start(ordinal) < from).unwrap_or(current - 1);
        let next =
            (1..4).map(|n| current + n).find(|&ordinal| start(ordinal + 1) > to).unwrap_or(current + 1);
        let micros = |second: i64| u64::try_from(second).unwrap_or(0).saturating_mul(1_000_000);
        let edges = [start(previous), from, to, start(next + 1)].map(micros);
        let ordinals = [previous, current, next].map(|ordinal| u64::try_from(ordinal).unwrap_or(0));
        Self([0, 1, 2].map(|i| (ordinals[i], edges[i], edges[i + 1])))
    }

    /// The window that contains a time, if it is one of these.
    #[inline]
    pub(super) fn current(&self, now: u64) -> Option<Row> {
        let row = self.0[1];
        (row.1..row.2).contains(&now).then_some(row)
    }

    /// The window with this ordinal. If it is not one of these: the last one before it.
    #[inline]
    pub(super) fn window(&self, ordinal: u64) -> Row {
        self.0.into_iter().rfind(|row| row.0 <= ordinal).unwrap_or(self.0[0])
    }
}

/// The first moment of a day in seconds since 1970: midnight, or the end of the gap that contains midnight.
pub(super) fn first_second(day: Date, zone: &TimeZone) -> i64 {
    let midnight = zone.to_ambiguous_timestamp(day.at(0, 0, 0, 0));
    let gap = matches!(midnight.offset(), AmbiguousOffset::Gap { .. });
    // The first moment is missing only at the limits of the time range.
    let Ok(start) = midnight.compatible() else {
        return if day < date(1970, 1, 1) { i64::MIN } else { i64::MAX };
    };
    if !gap {
        return start.as_second();
    }
    let after = start.checked_add(jiff::SignedDuration::from_secs(1)).unwrap_or(start);
    zone.preceding(after).next().map_or(start, |transition| transition.timestamp()).as_second()
}
