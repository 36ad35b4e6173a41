//! Queries by days, weeks and months of a time zone.

use super::{CalendarUnit, handle::SeriesHandle, query::Query, range::Range};
use crate::{error::Result, time::Timestamp};

impl SeriesHandle {
    /// Reads the counts of `key` from `from` until before `to` by days, weeks or months of a time zone: a name of the IANA
    /// database, such as `Europe/Berlin`. A day has 23 or 25 hours where clocks are changed.
    ///
    /// The windows add up to the [`total`](Self::total) over the same span. They begin where the calendar says as long as
    /// buckets are kept that begin there, too: with the default resolutions for 30 days, and in UTC for two years. Before
    /// that they begin with the nearest bucket, and the answer says so.
    ///
    /// # Errors
    /// As [`total`](Self::total); [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for an unknown zone;
    /// [`ErrorKind::OutOfRange`](crate::ErrorKind::OutOfRange) for more than 100 000 windows, or for a range that ends before
    /// it begins.
    ///
    /// # Cost
    /// One round trip.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> forebay::Result<()> {
    /// # use forebay::{series::CalendarUnit, time::days};
    /// # let bay = forebay::Forebay::open("memory:").await?;
    /// let (hits, now) = (bay.series("hits")?, bay.clock().now());
    /// hits.add("user:42", 5).await?;
    /// let months = hits.calendar_range("user:42", now.minus(days(70)), now, CalendarUnit::Month, "UTC").await?;
    /// for (start, n) in months.starts.iter().zip(&months.values) {
    ///     println!("{start}: {n}");
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn calendar_range(
        &self,
        key: impl AsRef<str>,
        from: Timestamp,
        to: Timestamp,
        unit: CalendarUnit,
        zone: &str,
    ) -> Result<Range> {
        self.query(key, &Query::between(from, to).step(unit).zone(zone)).await
    }

    /// As [`calendar_range`](Self::calendar_range), with `now` as the current time.
    ///
    /// # Errors
    /// As [`calendar_range`](Self::calendar_range).
    pub async fn calendar_range_as_of(
        &self,
        key: impl AsRef<str>,
        from: Timestamp,
        to: Timestamp,
        (unit, zone): (CalendarUnit, &str),
        now: Timestamp,
    ) -> Result<Range> {
        self.query(key, &Query::between(from, to).step(unit).zone(zone).as_of(now)).await
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use proptest::{collection::vec, prelude::*, sample::select, test_runner::TestRunner};

    use super::*;
    use crate::{
        Clock, ErrorKind, Forebay, ManualClock,
        time::{When, days, hours, secs},
    };

    /// Each on its own clock.
    async fn hits(now: Timestamp) -> SeriesHandle {
        let clock = Clock::from(ManualClock::at(now));
        let bay = Forebay::options().clock(clock).open("memory:").await.expect("opens");
        bay.series("hits").expect("valid")
    }

    fn moment(text: &str) -> Timestamp {
        let time: jiff::Timestamp = text.parse().expect("a time");
        Timestamp::from_micros(time.as_microsecond())
    }

    /// Clocks go forward on 29 March 2026 and back on 25 October 2026.
    #[tokio::test]
    async fn a_day_has_23_or_25_hours_where_clocks_are_changed() {
        for (from, counts) in [("2026-03-27T23:00:00Z", [24, 23, 24]), ("2026-10-23T22:00:00Z", [24, 25, 24])]
        {
            let from = moment(from);
            let now = from.plus(days(3)).plus(hours(2));
            let series = hits(now).await;
            for hour in 0..counts.iter().sum() {
                series.add_at("k", 1, from.plus(hours(hour))).await.expect("kept");
            }
            let to = from.plus(hours(counts.iter().sum()));
            let range = series.calendar_range("k", from, to, CalendarUnit::Day, "Europe/Berlin").await;
            let range = range.expect("answers");
            assert_eq!(range.values, counts);
            assert!(!range.coarsened && !range.is_first_partial() && !range.is_last_partial(), "{range:?}");
            assert_eq!((range.end, range.to), (to, to));
            let week = series.calendar_range("k", from, to, CalendarUnit::Week, "Europe/Berlin").await;
            let week = week.expect("answers");
            assert_eq!(week.sum(), range.sum());
            assert_eq!(week.values.len(), 2, "Monday begins another one");
        }
    }

    /// Days that are no longer kept but in UTC: each begins with the nearest day of UTC.
    #[tokio::test]
    async fn old_days_of_another_zone_are_those_of_utc_and_the_answer_says_so() {
        let now = moment("2026-11-30T12:00:00Z");
        let series = hits(now).await;
        for (zone, shown) in [("Europe/Berlin", "2026-09-02T00:00:00Z"), ("UTC", "2026-09-02T00:00:00Z")] {
            let from = moment("2026-09-01T00:00:00Z");
            series.add_at("k", 1, from.plus(hours(25))).await.expect("kept");
            let range = series.calendar_range("k", from, from.plus(days(3)), CalendarUnit::Day, zone).await;
            let range = range.expect("answers");
            assert_eq!(range.starts[1], moment(shown), "{zone}");
            assert_eq!(range.coarsened, zone != "UTC", "{zone}");
        }
    }

    #[tokio::test]
    async fn a_wrong_zone_a_reversed_range_and_too_many_days_are_refused() {
        let now = moment("2026-11-30T12:00:00Z");
        let series = hits(now).await;
        let ask = async |from, to, zone| {
            let asked = series.calendar_range("k", from, to, CalendarUnit::Day, zone).await;
            let error = asked.expect_err("refused");
            (error.kind(), error.to_string())
        };
        let (kind, text) = ask(now.minus(days(1)), now, "Europe/Berlinn").await;
        assert!(
            kind == ErrorKind::Invalid && text.contains("zone \"Europe/Berlinn\": no such time zone"),
            "{text}"
        );
        assert_eq!(ask(now, now, "UTC").await.0, ErrorKind::OutOfRange);
        let (kind, text) = ask(now, now.plus(days(365_000)), "UTC").await;
        assert!(kind == ErrorKind::OutOfRange && text.contains("more than 100000 days"), "{text}");
        let old = Timestamp::from_micros(i64::MIN);
        let none = series.calendar_range("k", old, old.plus(days(9)), CalendarUnit::Day, "UTC").await;
        assert_eq!(none.expect("answers").sum(), 0, "nothing is kept");
        let all = series.calendar_range("k", old, now, CalendarUnit::Month, "Asia/Tokyo").await;
        assert_eq!(all.expect("answers").values.len(), 25, "two years");
    }

    const ZONES: [&str; 8] = [
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "America/Santiago",
        "Asia/Kolkata",
        "Asia/Beirut",
        "Pacific/Auckland",
        "Pacific/Apia",
    ];

    /// Equal to a naive count of the points, with the starts that the answer names; and these are the calendar's if it does not
    /// say otherwise.
    #[test]
    fn windows_count_what_is_between_their_starts_and_add_up_to_the_total() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("starts");
        let cases = (
            0u64..730,
            (0u64..800 * 86_400, 1u64..90 * 86_400),
            vec((0u64..800 * 86_400, 1u64..5), 1..40),
            select(ZONES.to_vec()),
            select(CalendarUnit::ALL.to_vec()),
        );
        TestRunner::default()
            .run(&cases, |(day, (ago, length), points, zone, unit)| {
                // Among these are days on which clocks change.
                let now = moment("2026-01-01T00:00:00Z").plus(days(day)).plus(secs(12_345));
                let (from, range, total, kept) = runtime.block_on(async {
                    let series = hits(now).await;
                    let mut kept = vec![];
                    for (ago, n) in points {
                        let at = now.minus(secs(ago));
                        if series.add_many([("k", n, at)], When::At(now)).await.is_ok() {
                            kept.push((at, n));
                        }
                    }
                    let from = now.minus(secs(ago));
                    let to = from.plus(secs(length));
                    let range = series.calendar_range("k", from, to, unit, zone).await.expect("answers");
                    (from, range, series.total("k", from, to).await.expect("answers"), kept)
                });
                prop_assert_eq!((range.sum(), range.from, range.to), (total.sum, total.from, total.to));
                let mut edges = range.starts.clone();
                edges[0] = range.from;
                edges.push(range.to);
                for (pair, value) in edges.windows(2).zip(&range.values) {
                    let naive: u64 =
                        kept.iter().filter(|(at, _)| (pair[0]..pair[1]).contains(at)).map(|(_, n)| n).sum();
                    prop_assert_eq!(naive, *value, "{:?}", &range);
                }
                if !range.coarsened {
                    let found = TimeZone::get(zone).expect("known");
                    for start in &range.starts[1..] {
                        let time = jiff::Timestamp::from_microsecond(start.as_micros()).expect("in range");
                        let local = time.to_zoned_datetime(found.clone());
                        prop_assert_eq!(
                            local.start_of_day().expect("in range"),
                            local,
                            "{:?} {:?}",
                            from,
                            &range
                        );
                    }
                }
                Ok(())
            })
            .expect("all hold");
    }
}
