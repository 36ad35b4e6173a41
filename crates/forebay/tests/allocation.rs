//! Counts allocations. A decision on a known key allocates nothing. A series allocates in proportion to its retention.

use std::{pin::pin, time::Duration};

use allocation_counter::{AllocationInfo, measure};
use forebay::{
    Clock, Forebay, Limit, ManualClock, Result, Series, Timestamp,
    limit::{Decision, Kind, Mode, Source},
    series::{Resolution, SeriesHandle},
    time::{days, hours, millis, secs},
};
use futures::FutureExt as _;

const KINDS: [Kind; 4] = [Kind::FixedWindow, Kind::SlidingWindow, Kind::TokenBucket, Kind::CalendarWindow];

fn limit(kind: Kind) -> Limit {
    match kind {
        Kind::CalendarWindow => Limit::per_week(kind.as_str(), 1 << 30),
        kind => Limit::new(kind.as_str(), 1 << 30, hours(1)).kind(kind),
    }
}

/// Makes a number of decisions, none of which waits. Neither a timer nor another task could run here.
fn decide(times: u32, take: impl AsyncFn() -> Result<Decision>) -> (AllocationInfo, Option<Source>) {
    let mut source = None;
    let allocated = measure(|| {
        for _ in 0..times {
            let decision = pin!(take()).now_or_never().expect("decides at once").expect("answers");
            assert!(decision.is_allowed());
            source = Some(decision.source());
        }
    });
    (allocated, source)
}

#[tokio::test]
async fn no_allocation_per_embedded_decision_on_a_known_key() {
    let bay = Forebay::open("memory:").await.expect("opens");
    for kind in KINDS {
        let limit = bay.limit(limit(kind)).expect("valid");
        let (first, _) = decide(1, async || limit.take("42").await);
        assert!(first.count_total > 0, "a new key is remembered: the counter counts");
        let (rest, _) = decide(1_000, async || limit.take_n("42", 3).await);
        assert_eq!(rest.count_total, 0, "{kind:?}: {} bytes", rest.bytes_total);
    }
}

#[tokio::test]
async fn no_allocation_per_decision_within_a_slice() {
    let bay = Forebay::open("memory:").await.expect("opens");
    for kind in KINDS {
        let limit = bay.limit(limit(kind).mode(Mode::Leased)).expect("valid");
        let (mut within, mut allocations) = (0, 0);
        for _ in 0..10_000 {
            let (taken, source) = decide(1, async || limit.take("42").await);
            if source == Some(Source::Lease) {
                within += 1;
                // A request for the next allotment runs in the background and allocates, once per allotment.
                allocations += u64::from(taken.count_total > 0);
            }
        }
        assert!(within > 9_900, "{kind:?}: {within} within slices");
        assert!(allocations < 100, "{kind:?}: {allocations} of {within} allocate");
    }
}

/// The number of keys; `scripts/faults series` sets a million.
fn keys() -> u64 {
    std::env::var("FOREBAY_TEST_KEYS").map_or(20_000, |n| n.parse().expect("a number"))
}

/// A series of 1 s buckets with the retention `kept`, on a clock that the test moves.
async fn seconds(kept: Duration) -> (SeriesHandle, ManualClock) {
    let hand = ManualClock::at(Timestamp::from_secs(1_790_000_000));
    let bay = Forebay::options().clock(Clock::from(hand.clone())).open("memory:").await.expect("opens");
    let second = Resolution::new(secs(1), kept).expect("valid");
    (bay.series(Series::new("hits").resolutions(vec![second])).expect("valid"), hand)
}

fn add(series: &SeriesHandle, key: &str) {
    pin!(series.add(key, 1)).now_or_never().expect("counts at once").expect("counts");
}

/// Advances the clock until the series has no key. Returns the time that this took.
async fn until_empty(series: &SeriesHandle, hand: &ManualClock) -> Duration {
    let mut passed = Duration::ZERO;
    while series.key_count() != Some(0) {
        hand.advance(millis(10));
        passed += millis(10);
        // The sweeper waits 20 ms of the machine's time between two looks.
        Clock::system().sleep(millis(1)).await;
    }
    passed
}

/// The number of this process's pages in memory.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number")
}

/// A million keys, each counted once in a series of `1s/30s`, once took 650 bytes each until the end of the hour, because
/// the buckets of an hour shared a chunk.
#[test]
fn a_series_gives_its_memory_back_after_its_retention() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("starts");
    let (mut opened, all) = (None, keys());
    let before = measure(|| opened = Some(runtime.block_on(seconds(secs(30)))));
    let (series, hand) = opened.expect("opened");
    let fill = |keys: std::ops::Range<u64>| {
        let filled = measure(|| keys.for_each(|key| add(&series, &key.to_string())));
        (filled.bytes_current, resident())
    };
    let (first, resident_first) = fill(0..all);
    let each = first / i64::try_from(all).expect("few");
    println!("{each} bytes for each of {all} keys");
    assert!(each < 320, "{each} bytes for each key");

    hand.advance(secs(29));
    let kept = runtime.block_on(series.sum("0", secs(60))).expect("answers");
    assert_eq!((kept, series.key_count()), (1, Some(all)), "kept for half a minute");
    let mut passed = Duration::ZERO;
    let gone = measure(|| passed = runtime.block_on(until_empty(&series, &hand)));
    assert!(passed < secs(10), "{passed:?} after a retention");
    let live = before.bytes_current + first + gone.bytes_current;
    assert!(live <= before.bytes_current * 6 / 5, "{live} bytes, before {}", before.bytes_current);

    let (second, resident_second) = fill(all..2 * all);
    assert!(second <= first * 6 / 5, "{second} bytes, the first time {first}");
    if all >= 500_000 {
        println!("{resident_first} pages in memory after the first fill, {resident_second} after the second");
        assert!(resident_second <= resident_first * 6 / 5, "{resident_second} pages, first {resident_first}");
    }
}

#[test]
fn a_key_that_is_always_counted_takes_what_its_retention_needs() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("starts");
    for (kept, most) in [(secs(1), 700), (secs(30), 2_000), (secs(300), 12_000), (days(1), 900_000)] {
        let (series, hand) = runtime.block_on(seconds(kept));
        add(&series, "k");
        let grown = measure(|| {
            for second in 0..3 * 3_600 {
                hand.advance(secs(1));
                add(&series, "k");
                if second % 60 == 0 {
                    runtime.block_on(Clock::system().sleep(millis(1)));
                }
            }
        });
        let seen = runtime.block_on(series.sum("k", kept)).expect("answers");
        assert_eq!(seen, kept.as_secs().min(3 * 3_600) + 1, "as many as there were");
        // The sweeper sleeps by the test's clock and may not have run since a chunk ended.
        let mut held = grown.bytes_current;
        for _ in 0..1_000 {
            if held < most {
                break;
            }
            hand.advance(millis(10));
            held += measure(|| runtime.block_on(Clock::system().sleep(millis(1)))).bytes_current;
        }
        assert!(held < most, "{held} bytes for {kept:?}");
    }
}
