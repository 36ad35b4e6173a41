//! Quotas per day, week and month of a time zone.

use std::time::Duration;

use forebay::{
    Clock, Forebay, Limit, ManualClock, Timestamp, When,
    limit::{CalendarUnit, Charge, Decision, Kind, LimitHandle, Mode, Override, Reserve, Source, headers},
    time::{days, hours, millis, mins, secs},
};
use forebay_testkit::{Redis, unique_prefix, without};

use crate::{START, Store, settle};

const MICRO: Duration = Duration::from_micros(1);

fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

/// A day in Berlin, which has midnight two hours before UTC in summer.
fn berlin(quota: u64, unit: CalendarUnit) -> Limit {
    Limit::calendar("calendar", quota, unit).zone("Europe/Berlin")
}

fn charge(limit: &LimitHandle, key: &str, cost: u64) -> Charge {
    Charge { limit: limit.clone(), key: key.into(), cost }
}

async fn take(limit: &LimitHandle) -> Decision {
    limit.take("42").await.expect("answers")
}

async fn used(limit: &LimitHandle) -> u64 {
    limit.peek("42").await.expect("answers").used()
}

#[tokio::test]
async fn a_month_ends_where_its_zone_has_it_and_a_denial_tells_when() {
    let store = Store::open().await;
    let limit = store.bay.limit(Limit::per_month("requests", 2).zone("Europe/Berlin")).expect("valid");
    assert_eq!(limit.kind(), Kind::CalendarWindow);
    for left in [1, 0] {
        let decision = take(&limit).await;
        assert_eq!((decision.is_allowed(), decision.remaining()), (true, left));
        assert_eq!(decision.reset_after(), time("2026-09-30T22:00:00Z").since(START));
    }
    let denied = take(&limit).await;
    let wait = denied.retry_after().expect("known");
    assert_eq!(wait, time("2026-09-30T22:00:00Z").since(START));
    let policy = limit.policy("42");
    assert_eq!(policy.window, days(30));
    let told = headers([(&policy, Some(&denied))]);
    assert!(told.contains(&("ratelimit-policy", "\"requests\";q=2;w=2592000".to_owned())), "{told:?}");
    assert!(told.contains(&("retry-after", wait.as_secs().to_string())), "{told:?}");
    store.hand.advance(wait.saturating_sub(MICRO));
    assert!(!take(&limit).await.is_allowed());
    store.hand.advance(MICRO);
    assert!(take(&limit).await.is_allowed());
    assert_eq!(limit.policy("42").window, days(31) + hours(1), "an hour comes twice in October");
}

/// Other implementations begin a day at the first use of a key, end it by the server's own zone, or never end it.
#[tokio::test]
async fn a_day_goes_from_midnight_to_midnight_whenever_it_was_first_asked_about() {
    let store = Store::open().await;
    let limit = store.bay.limit(berlin(1, CalendarUnit::Day)).expect("valid");
    let mut admitted = vec![];
    for half_hour in 0..2 * 24 * 3 {
        if take(&limit).await.is_allowed() {
            admitted.push(START.plus(mins(30) * half_hour).to_string());
        }
        store.hand.advance(mins(30));
    }
    assert_eq!(
        admitted,
        ["2026-09-21T14:13:20Z", "2026-09-21T22:13:20Z", "2026-09-22T22:13:20Z", "2026-09-23T22:13:20Z"]
    );
}

#[tokio::test]
async fn settings_that_exclude_each_other_are_refused() {
    let store = Store::open().await;
    let refused = |limit: Limit| store.bay.limit(limit).expect_err("refused").to_string();
    for (limit, text) in [
        (
            Limit::per_month("a", 1).zone("Europe/Berln"),
            "limit a: zone \"Europe/Berln\": no such time zone; a name such as Europe/Berlin",
        ),
        (
            Limit::per_day("a", 1).zone("Europe/Berlin"),
            "limit a: a fixed-window has no zone; only a calendar-window does",
        ),
        (
            Limit::per_month("a", 1).kind(Kind::SlidingWindow),
            "limit a: a sliding-window counts over a span such as 1d or 24h; per month counts a calendar-window",
        ),
        (
            Limit::per_hour("a", 1).kind(Kind::CalendarWindow),
            "limit a: a calendar-window counts per day, week or month, such as 5/day",
        ),
        (
            Limit::per_week("a", 1).burst(5),
            "limit a: a calendar-window has no burst; only a token-bucket does",
        ),
        (
            Limit::per_week("a", 1).phase(mins(1)),
            "limit a: a calendar-window has no phase; only a fixed-window does",
        ),
        (
            Limit::per_week("a", 1).allow("42", Override::rate(1, days(7))),
            "limit a: override of \"42\": a calendar-window counts per day, week or month, such as 5/day",
        ),
        (
            Limit::per_day("a", 1).allow("42", Override::calendar(1, CalendarUnit::Day)),
            "limit a: override of \"42\": a fixed-window counts over a span such as 1d or 24h; per day counts a calendar-window",
        ),
        (Limit::per_month("a", 0), "limit a: limit 0: a limit is 1 to 2^50"),
    ] {
        assert_eq!(refused(limit), text);
    }
}

#[tokio::test]
async fn an_override_of_the_same_unit_goes_on_and_one_of_another_begins_anew() {
    let store = Store::open().await;
    let limit = berlin(2, CalendarUnit::Month).allow("43", Override::calendar(1, CalendarUnit::Week));
    let limit = store.bay.limit(limit).expect("valid");
    for _ in 0..3 {
        let _ = take(&limit).await;
    }
    limit.set_override("42", Override::calendar(5, CalendarUnit::Month)).await.expect("answers");
    let raised = take(&limit).await;
    assert_eq!((raised.used(), raised.limit()), (3, 5));
    limit.set_override("42", Override::calendar(5, CalendarUnit::Day)).await.expect("answers");
    assert_eq!(used(&limit).await, 0);
    assert_eq!(limit.policy("42").window, days(1));
    limit.remove_override("42").await.expect("answers");
    assert_eq!(used(&limit).await, 3);
    assert!(limit.take("43").await.expect("answers").is_allowed());
    let denied = limit.take("43").await.expect("answers");
    assert_eq!(denied.retry_after(), Some(time("2026-09-27T22:00:00Z").since(START)), "the end of the week");
}

#[tokio::test]
async fn a_late_refund_makes_no_room_in_the_next_window() {
    let store = Store::open().await;
    let limit = store.bay.limit(berlin(10, CalendarUnit::Day)).expect("valid");
    let to_midnight = time("2026-09-21T22:00:00Z").since(START);
    store.hand.advance(to_midnight.saturating_sub(secs(2)));
    let Reserve::Granted(late) = limit.reserve("42", 6, mins(5)).await.expect("answers") else {
        panic!("denied");
    };
    let Reserve::Granted(soon) = limit.reserve("42", 2, mins(5)).await.expect("answers") else {
        panic!("denied");
    };
    assert_eq!(used(&limit).await, 8);
    soon.release().await.expect("answers");
    assert_eq!(used(&limit).await, 6);
    store.hand.advance(secs(2));
    assert_eq!(limit.take_up_to("42", 9).await.expect("answers").0, 9);
    late.commit(1).await.expect("answers");
    assert_eq!(used(&limit).await, 9);
    assert_eq!(limit.reset("42").await.expect("answers"), None);
    assert_eq!(used(&limit).await, 0);
}

#[tokio::test]
async fn beside_another_kind_all_is_charged_or_nothing() {
    let store = Store::open().await;
    let month = store.bay.limit(Limit::per_month("month", 3)).expect("valid");
    let minute = store.bay.limit(Limit::per_minute("minute", 2)).expect("valid");
    let shadow = store.bay.limit(Limit::per_week("week", 1).shadow()).expect("valid");
    let charges = [charge(&month, "42", 1), charge(&minute, "42", 1), charge(&shadow, "42", 1)];
    let mut answers = vec![];
    for _ in 0..3 {
        answers.push(store.bay.take_all(&charges).await.expect("answers").allowed);
    }
    store.hand.advance(mins(1));
    for _ in 0..2 {
        answers.push(store.bay.take_all(&charges).await.expect("answers").allowed);
    }
    assert_eq!(answers, [true, true, false, true, false], "the minute denies, then the month");
    assert_eq!((used(&month).await, used(&minute).await, used(&shadow).await), (3, 1, 1));
    assert!(take(&shadow).await.is_shadowed());
}

/// A process's allotment of a day ends with that day, and none of it is spent on the next day.
#[tokio::test]
async fn a_leased_day_never_passes_more_than_its_quota_around_midnight() {
    let store = Store::open().await;
    let limit = berlin(500, CalendarUnit::Day).mode(Mode::Leased);
    let limit = store.bay.limit(limit).expect("valid");
    store.hand.advance(time("2026-09-21T22:00:00Z").since(START).saturating_sub(secs(1)));
    let (mut admitted, mut from_lease) = ([0; 2], 0);
    for tick in 0..2_000 {
        let decision = take(&limit).await;
        settle().await;
        admitted[usize::from(tick >= 1_000)] += u64::from(decision.is_allowed());
        from_lease += u64::from(decision.source() == Source::Lease);
        store.hand.advance(millis(1));
    }
    assert!(from_lease > 500, "{from_lease}");
    assert!(admitted.iter().all(|&sum| (450..=500).contains(&sum)), "{admitted:?}");
    limit.give_back().await;
    assert_eq!(used(&limit).await, admitted[1]);
}

#[tokio::test]
async fn a_file_goes_on_counting_until_the_month_ends() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let url = format!("embedded:{}", directory.path().join("store.redb").display());
    let hand = ManualClock::at(START);
    let open = async || {
        let bay = Forebay::options().clock(Clock::from(hand.clone())).open(&url).await.expect("opens");
        let limit = bay.limit(berlin(3, CalendarUnit::Month)).expect("valid");
        (bay, limit)
    };
    for (later, before) in [(secs(0), 0), (days(9), 2), (days(1), 0)] {
        hand.advance(later);
        let (bay, limit) = open().await;
        assert_eq!(used(&limit).await, before, "{later:?} later");
        assert_eq!(limit.take_up_to("42", 2).await.expect("answers").0, if before == 0 { 2 } else { 1 });
        bay.close().await.expect("closes");
    }
}

#[tokio::test]
async fn a_replay_counts_by_the_days_of_its_own_time() {
    let store = Store::open().await;
    let limit = store.bay.limit(berlin(1, CalendarUnit::Day)).expect("valid");
    // Starts at midnight of the day in 2019 on which the clocks changed.
    let mut admitted = 0;
    for hour in 0..72 {
        let at = time("2019-03-30T23:00:00Z").plus(hours(hour));
        admitted += u64::from(limit.take_at("42", 1, When::At(at)).await.expect("answers").is_allowed());
    }
    assert_eq!(admitted, 4, "a day of 23 h, two whole ones, and the first hour of a fourth");
}

/// A server sends Redis the windows around its own time. If the time of Redis is in none of them, Redis answers so, and
/// the server sends others.
#[tokio::test]
async fn processes_whose_clocks_are_years_off_share_the_stores_windows() {
    if without("redis") {
        return;
    }
    let port = Redis::shared().port();
    let prefix = unique_prefix();
    let stores = [
        format!("redis://127.0.0.1:{port}/0"),
        format!("redis://127.0.0.1:{port}/1,127.0.0.1:{port}/2,127.0.0.1:{port}/3"),
    ];
    for url in &stores {
        let mut bays = vec![];
        for clock in [Clock::system(), Clock::from(ManualClock::at(time("2020-02-29T12:00:00Z")))] {
            bays.push(Forebay::options().prefix(&prefix).clock(clock).open(url).await.expect("opens"));
        }
        let limits = |name: &str, mode| -> Vec<LimitHandle> {
            let limit = |bay: &Forebay| {
                let limit = Limit::calendar(name, 40, CalendarUnit::Month).mode(mode).deadline(secs(5));
                bay.limit(limit).expect("valid")
            };
            bays.iter().map(limit).collect()
        };
        for mode in [Mode::Exact, Mode::Leased] {
            let limits = limits(mode.as_str(), mode);
            let asked = (0..100).map(|n| limits[n % 2].take("42"));
            let answers = futures::future::join_all(asked).await;
            let admitted =
                answers.into_iter().filter(|answer| answer.as_ref().expect("answers").is_allowed());
            let admitted = admitted.count();
            assert!(
                if mode == Mode::Exact { admitted == 40 } else { admitted <= 40 },
                "{mode:?}: {admitted}"
            );
        }
        let [right, wrong] = &limits("steps", Mode::Exact)[..] else { panic!("two") };
        assert_eq!(wrong.take_up_to("42", 7).await.expect("answers").0, 7);
        assert_eq!(wrong.refund("42", 2).await.expect("answers").used(), 5);
        assert_eq!(used(right).await, 5);
        assert_eq!(right.peek("42").await.expect("answers").used(), used(wrong).await);
        let minute = bays[1].limit(Limit::per_minute("minute", 100).deadline(secs(5))).expect("valid");
        let charges = [charge(wrong, "42", 30), charge(&minute, "7", 1), charge(wrong, "43", 1)];
        assert!(bays[1].take_all(&charges).await.expect("answers").allowed);
        assert!(!bays[1].take_all(&charges).await.expect("answers").allowed);
        assert_eq!((used(right).await, minute.peek("7").await.expect("answers").used()), (35, 1));
        wrong.reset("42").await.expect("answers");
        assert_eq!(used(right).await, 0);
    }
}
