//! The calendar window: a quota per day, ISO week or month of a time zone.
//!
//! All inputs and outputs are numbers: it uses no clock and no engine. A store has no time zones. So its caller computes a
//! table of the windows around a time, and the store picks the window of its own time from it.

use std::{
    hash::{Hash, Hasher},
    time::Duration,
};

use jiff::tz::TimeZone;
use parking_lot::{Mutex, RwLock};

pub use super::calendar_table::CalendarUnit;
use super::{
    bounds::quota,
    calendar_table::Boundaries,
    state::{MAX_QUOTA, RateKind, Scale, State},
};
use crate::error::Result;

/// A time zone, and its last used windows. There is one for each zone that limits name, and it is never freed.
#[derive(Debug)]
struct ZoneEntry {
    zone: TimeZone,
    /// The windows by [`CalendarUnit`]. Most callers need the same window again, and get it after one comparison.
    last: [RwLock<Boundaries>; 3],
}

/// All zones, in the order of their first use.
static ZONES: Mutex<Vec<&'static ZoneEntry>> = Mutex::new(vec![]);

/// A time zone. Copies are one reference, so that a rule can be copied with every take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Zone(&'static ZoneEntry);

impl Zone {
    pub(crate) fn new(zone: TimeZone) -> Self {
        let mut zones = ZONES.lock();
        if let Some(known) = zones.iter().find(|known| known.zone == zone) {
            return Self(known);
        }
        let last = CalendarUnit::ALL.map(|unit| RwLock::new(Boundaries::round(0, unit, &zone)));
        let entry = Box::leak(Box::new(ZoneEntry { zone, last }));
        zones.push(entry);
        Self(entry)
    }

    /// Returns the same as [`Boundaries::round`], with a cache.
    fn round(self, now: u64, unit: CalendarUnit) -> Boundaries {
        let last = &self.0.last[unit as usize];
        let known = *last.read();
        if known.current(now).is_some() {
            return known;
        }
        let boundaries = Boundaries::round(now, unit, &self.0.zone);
        *last.write() = boundaries;
        boundaries
    }
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl Eq for Zone {}

impl Hash for Zone {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        std::ptr::hash(self.0, hasher);
    }
}

/// A quota per window of the calendar.
///
/// The state is (ordinal of the window, used). The ordinal comes from the calendar and is not a time. So servers with
/// different time zone data count in the same windows, even if one of them thinks that a window starts an hour later. The
/// zone is not part of the state's name either, so that a limit keeps its counts when its zone is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CalendarWindow {
    /// The quota, at least 1.
    limit: u64,
    unit: CalendarUnit,
    zone: Zone,
}

impl CalendarWindow {
    pub(super) fn new(limit: u64, unit: CalendarUnit, zone: Zone) -> Result<Self> {
        Ok(Self { limit: quota("limit", limit)?, unit, zone })
    }

    fn windows(&self, now: u64) -> Boundaries {
        self.zone.round(now, self.unit)
    }
}

impl RateKind for CalendarWindow {
    const NUMBER: u8 = 4;
    const WORD: &'static str = "calendar";
    const KEPT: &'static str = "until the window after the current one ends";
    const HAS_WINDOWS: bool = true;

    #[inline]
    fn scale(&self) -> Scale {
        Scale::of_detail(Self::NUMBER, self.unit as u8)
    }

    #[cfg(feature = "redis")]
    fn write_span(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(self.unit.as_str().as_bytes());
    }

    #[cfg(feature = "redis")]
    fn write_words(&self, about: u64, mut write: impl FnMut(u64)) {
        write(self.limit);
        for (ordinal, start, end) in self.windows(about).0 {
            [ordinal, start, end].into_iter().for_each(&mut write);
        }
    }

    #[inline]
    fn quota(&self) -> u64 {
        self.limit
    }

    fn refill(&self, now: u64) -> Duration {
        let (_, start, end) = self.windows(now).0[1];
        Duration::from_micros(end - start)
    }

    fn boundless(self) -> Self {
        Self { limit: MAX_QUOTA, ..self }
    }

    /// A window that is over has no effect.
    #[inline]
    fn advance(&self, state: Option<State>, now: u64) -> State {
        let (window, ..) = self.windows(now).0[1];
        match state {
            Some(state) if state.0 >= window => state,
            _ => State(window, 0),
        }
    }

    #[inline]
    fn end(&self, state: State, now: u64, _span: u64) -> (u64, u64) {
        let (_, start, end) = self.windows(now).window(state.0);
        (end, end - start)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::{
        Timestamp,
        civil::{DateTime, date},
    };
    use proptest::prelude::*;

    use super::{super::calendar_table::first_second, *};

    const SECOND: u64 = 1_000_000;
    const HOUR: u64 = 3_600 * SECOND;

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).expect("known")
    }

    fn micros(text: &str) -> u64 {
        text.parse::<Timestamp>().expect("a time").as_microsecond().unsigned_abs()
    }

    /// The starts of the three windows around a time, in local time.
    fn starts(now: &str, unit: CalendarUnit, name: &str) -> [String; 3] {
        let zone = zone(name);
        Boundaries::round(micros(now), unit, &zone).0.map(|(_, start, _)| {
            let start = Timestamp::from_microsecond(start.cast_signed()).expect("in range");
            zone.to_datetime(start).to_string()
        })
    }

    fn rule(limit: u64, unit: CalendarUnit, zone: TimeZone) -> CalendarWindow {
        CalendarWindow::new(limit, unit, Zone::new(zone)).expect("in range")
    }

    /// Takes one if it fits, and returns whether it did.
    fn take(rule: &CalendarWindow, state: &mut Option<State>, now: u64) -> bool {
        let advanced = rule.advance(*state, now);
        let fits = rule.room(advanced) > 0;
        if fits {
            *state = Some(rule.charge(advanced, 1));
        }
        fits
    }

    const ZONES: [&str; 12] = [
        "UTC",
        "Europe/Berlin",
        "America/Santiago",
        "Asia/Beirut",
        "Pacific/Apia",
        "America/St_Johns",
        "America/Havana",
        "Asia/Kathmandu",
        "Africa/Cairo",
        "America/Toronto",
        "Pacific/Kwajalein",
        "Antarctica/Troll",
    ];

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

        /// Compares the windows with a wall calendar of the zone, which only shows the current date.
        #[test]
        fn a_window_is_what_a_wall_calendar_shows(
            second in 10_000_000u64..4_000_000_000, unit in prop::sample::select(&CalendarUnit::ALL[..]),
            name in prop::sample::select(&ZONES[..]),
        ) {
            let zone = zone(name);
            let date_at = |second: i64| -> DateTime {
                zone.to_datetime(Timestamp::from_second(second).expect("in range"))
            };
            let name_at = |second: i64| {
                let date = date_at(second).date();
                match unit {
                    CalendarUnit::Day => date.to_string(),
                    CalendarUnit::Week => {
                        let week = date.iso_week_date();
                        format!("{}-W{}", week.year(), week.week())
                    }
                    CalendarUnit::Month => date.strftime("%Y-%m").to_string(),
                }
            };
            let rows = Boundaries::round(second * SECOND, unit, &zone).0;
            prop_assert!((rows[1].1..rows[1].2).contains(&(second * SECOND)));
            prop_assert!(rows[0].2 == rows[1].1 && rows[1].2 == rows[2].1);
            for (ordinal, start, end) in rows {
                let (start, end) = ((start / SECOND).cast_signed(), (end / SECOND).cast_signed());
                prop_assert!(start < end);
                // The calendar shows another name just before the start, and the same name just before the end. In
                // between, clocks may go back over midnight.
                let first = unit.first_day(ordinal.cast_signed());
                prop_assert!(date_at(start).date() >= first, "{rows:?}");
                prop_assert!(date_at(start - 1).date() < first, "{rows:?}");
                prop_assert_eq!(name_at(start), name_at(end - 1));
                prop_assert_eq!(unit.ordinal(date_at(start).date()), ordinal.cast_signed());
            }
        }

        /// One of two servers does not know a clock change in its time zone. They are an hour apart, at any time around a
        /// boundary.
        #[test]
        fn servers_with_different_zone_data_give_one_quota_together(
            unit in prop::sample::select(&CalendarUnit::ALL[..]),
            steps in prop::collection::vec((0u64..9_000, any::<bool>()), 50..400),
        ) {
            let fixed = |hours: i8| TimeZone::fixed(jiff::tz::offset(hours));
            let rules = [rule(3, unit, fixed(1)), rule(3, unit, fixed(2))];
            // Starts some hours before the end of a year, a month, a week and a day.
            let mut now = micros("2023-12-31T18:00:00Z");
            let first = rules[0].advance(None, now).0;
            let (mut state, mut admitted) = (None, BTreeMap::<u64, u64>::new());
            for (step, server) in steps {
                now += step * SECOND / 10;
                if take(&rules[usize::from(server)], &mut state, now) {
                    *admitted.entry(state.expect("charged").0).or_default() += 1;
                }
            }
            prop_assert!(admitted.values().all(|&sum| sum <= 3), "{admitted:?}");
            let last = rules[1].advance(None, now).0;
            prop_assert!(admitted.keys().all(|window| (first..=last).contains(window)), "{admitted:?}");
        }
    }

    #[test]
    fn a_day_begins_where_midnight_was_skipped() {
        // In Chile in 2024, 24:00 became 01:00. In Lebanon in 2022 likewise.
        assert_eq!(
            starts("2024-09-08T12:00:00Z", CalendarUnit::Day, "America/Santiago"),
            ["2024-09-07T00:00:00", "2024-09-08T01:00:00", "2024-09-09T00:00:00"]
        );
        assert_eq!(
            starts("2022-03-27T12:00:00Z", CalendarUnit::Day, "Asia/Beirut")[1],
            "2022-03-27T01:00:00"
        );
        // In Toronto in 1919, 23:30 became 00:30, so that midnight is in the middle of the gap.
        assert_eq!(
            starts("1970-01-10T00:00:00Z", CalendarUnit::Day, "America/Toronto")[1],
            "1970-01-09T00:00:00"
        );
        let day = first_second(date(1919, 3, 31), &zone("America/Toronto"));
        let start = zone("America/Toronto").to_datetime(Timestamp::from_second(day).expect("in range"));
        assert_eq!(start.to_string(), "1919-03-31T00:30:00");
    }

    #[test]
    fn a_day_that_a_zone_left_out_is_no_window() {
        // Samoa went from Thursday, 29 December 2011, to Saturday.
        let zone = zone("Pacific/Apia");
        let before = Boundaries::round(micros("2011-12-30T09:59:59Z"), CalendarUnit::Day, &zone).0;
        let after = Boundaries::round(micros("2011-12-30T10:00:00Z"), CalendarUnit::Day, &zone).0;
        assert_eq!(before[1].0 + 2, after[1].0);
        assert_eq!((before[1], before[2]), (after[0], after[1]));
        assert_eq!(before[1].2, micros("2011-12-30T10:00:00Z"));
        // A caller that names a day which does not exist counts in the day before it, and waits for the end of that day.
        let rule = rule(1, CalendarUnit::Day, zone);
        let state = State(before[1].0 + 1, 1);
        assert_eq!(rule.wait(state, before[1].2 - 5, 1), 5);
        assert_eq!(rule.advance(Some(state), after[1].1), State(after[1].0, 0));
    }

    #[test]
    fn clocks_that_go_back_over_midnight_do_not_renew_a_quota() {
        // In Newfoundland in 2010, at 00:01 of the 7th it was 23:01 of the 6th again.
        let zone = zone("America/St_Johns");
        // The 7th has begun, so the hour that shows the 6th again is in its window. Otherwise Redis finds no row for that
        // hour.
        let again = micros("2010-11-07T03:00:00Z");
        let seventh =
            Boundaries::round(again, CalendarUnit::Day, &zone).current(again).expect("a window round it");
        assert_eq!(seventh.1, micros("2010-11-07T02:30:00Z"));
        let rule = rule(1, CalendarUnit::Day, zone);
        let mut state = None;
        assert!(take(&rule, &mut state, micros("2010-11-07T02:29:00Z")), "23:59 of the 6th");
        assert!(take(&rule, &mut state, micros("2010-11-07T02:30:30Z")), "00:00 of the 7th");
        assert!(!take(&rule, &mut state, micros("2010-11-07T02:31:00Z")), "23:01 of the 6th");
        assert!(!take(&rule, &mut state, micros("2010-11-07T03:30:00Z")), "00:00 of the 7th again");
        assert!(take(&rule, &mut state, micros("2010-11-08T03:30:00Z")), "the 8th");
    }

    /// In other implementations, a monthly counter lived for 30 days and the 31st had its own quota, or every month had 30
    /// days.
    #[test]
    fn a_month_has_the_days_that_it_has() {
        for (now, days) in [
            ("2026-01-01T00:00:00Z", 31),
            ("2026-02-28T23:59:59Z", 28),
            ("2024-02-29T12:00:00Z", 29),
            ("2000-02-29T12:00:00Z", 29),
            ("2100-02-28T12:00:00Z", 28),
            ("2026-04-30T23:59:59Z", 30),
        ] {
            let (_, start, end) = Boundaries::round(micros(now), CalendarUnit::Month, &TimeZone::UTC).0[1];
            assert_eq!(end - start, days * 24 * HOUR, "{now}");
        }
        let rule = rule(1, CalendarUnit::Month, TimeZone::UTC);
        let mut state = None;
        assert!(take(&rule, &mut state, micros("2026-01-01T00:00:00Z")));
        let (first, last) = (micros("2026-01-01T00:00:00Z"), micros("2026-01-31T23:59:59Z"));
        assert!(!take(&rule, &mut state, last));
        assert!(first + rule.lifetime(state.expect("charged"), first) > last + 24 * HOUR);
        assert_eq!(rule.wait(state.expect("charged"), last, 1), SECOND);
        assert!(take(&rule, &mut state, micros("2026-02-01T00:00:00Z")));
    }

    #[test]
    fn a_week_begins_on_monday_also_where_the_year_turns() {
        for now in ["2020-12-28T00:00:00Z", "2021-01-01T12:00:00Z", "2021-01-03T23:59:59Z"] {
            let (_, start, end) = Boundaries::round(micros(now), CalendarUnit::Week, &TimeZone::UTC).0[1];
            assert_eq!((start, end), (micros("2020-12-28T00:00:00Z"), micros("2021-01-04T00:00:00Z")), "W53");
        }
        assert_eq!(
            starts("2027-01-01T12:00:00Z", CalendarUnit::Week, "Europe/Berlin")[1],
            "2026-12-28T00:00:00"
        );
    }

    /// Other implementations reported 24 h on a day of 25 h.
    #[test]
    fn a_denial_tells_the_true_end_of_a_day_on_which_clocks_are_changed() {
        let rule = rule(1, CalendarUnit::Day, zone("Europe/Berlin"));
        for (midnight, hours) in
            [("2026-10-24T22:00:00Z", 25), ("2026-03-28T23:00:00Z", 23), ("2026-03-29T22:00:00Z", 24)]
        {
            let (mut state, now) = (None, micros(midnight));
            assert!(take(&rule, &mut state, now));
            assert_eq!(rule.wait(state.expect("charged"), now, 1), hours * HOUR, "{midnight}");
            assert_eq!(rule.refill(now), Duration::from_hours(hours));
        }
    }

    /// The clock of a store or a server is 2 s behind. It reads a window that has not begun by its own time, and does not
    /// change it.
    #[test]
    fn a_clock_that_is_behind_goes_on_in_the_later_window() {
        let rule = rule(2, CalendarUnit::Month, zone("Europe/Berlin"));
        let midnight = micros("2026-10-31T23:00:00Z");
        let mut state = None;
        assert!(take(&rule, &mut state, midnight + SECOND));
        assert!(take(&rule, &mut state, midnight - SECOND), "the second of November");
        assert!(!take(&rule, &mut state, midnight - SECOND));
        assert_eq!(rule.wait(state.expect("charged"), midnight - SECOND, 1), 30 * 24 * HOUR + SECOND);
        assert!(!take(&rule, &mut state, midnight + 2 * SECOND));
    }

    /// The numbers are stored, so they must never change.
    #[test]
    fn the_numbers_of_windows_do_not_change() {
        let day = date(2026, 12, 31);
        let numbers = CalendarUnit::ALL.map(|unit| unit.ordinal(day));
        assert_eq!(numbers, [740_346, 105_763, 24_323]);
        for unit in CalendarUnit::ALL {
            for day in [day, date(1969, 12, 31), date(2112, 1, 1), date(2000, 2, 29)] {
                let ordinal = unit.ordinal(day);
                let (first, next) = (unit.first_day(ordinal), unit.first_day(ordinal + 1));
                assert!(first <= day && day < next && unit.ordinal(first) == ordinal);
            }
        }
        let scales = CalendarUnit::ALL.map(|unit| rule(1, unit, TimeZone::UTC).scale().to_bits());
        assert_eq!(scales, [4 << 56, 4 << 56 | 8, 4 << 56 | 16]);
    }

    #[test]
    fn times_at_the_ends_of_the_calendar_are_no_panic() {
        for now in [0, 1, 1 << 52, u64::MAX / 4, u64::MAX] {
            for unit in CalendarUnit::ALL {
                for name in ZONES {
                    let rule = rule(1, unit, zone(name));
                    let state = rule.advance(None, now);
                    let _ = (rule.lifetime(state, now), rule.end(state, now, 0), rule.refill(now));
                }
            }
        }
    }
}
