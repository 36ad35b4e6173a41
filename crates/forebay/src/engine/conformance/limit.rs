//! Limits.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use uuid::Uuid;

use super::{NOON, PATIENCE, fresh, splitmix::Random};
use crate::{
    bay::Forebay,
    engine::step::{LeaseAct, LeaseStep, Leases, Take},
    key::Name,
    model::rate::{
        calendar::{CalendarUnit, Zone},
        rule::Rule,
    },
    time::{Timestamp, When, millis, mins, secs},
};

fn window(limit: u64) -> Rule {
    Rule::fixed_window(limit, mins(1), Duration::ZERO).unwrap()
}

/// Rules of all kinds, for random steps: small quotas and the largest, fine ticks and coarse ones.
pub(super) fn samples() -> Vec<Rule> {
    let month = Rule::calendar_window(1 << 40, CalendarUnit::Month, midnight_soon());
    let rules = [
        Rule::fixed_window(5, secs(1), Duration::ZERO),
        Rule::fixed_window(40, secs(10), secs(3)),
        Rule::sliding_window(5, secs(1)),
        Rule::sliding_window(1 << 31, secs(10)),
        Rule::token_bucket(7, secs(1), 9),
        Rule::token_bucket(1 << 20, secs(86_400), 1 << 21),
        month,
    ];
    rules.into_iter().map(Result::unwrap).chain([day(9)]).collect()
}

/// A zone in which it is midnight 70 s after [`NOON`].
fn midnight_soon() -> Zone {
    Zone::new(jiff::tz::TimeZone::posix("<XXX>-11:58:50").unwrap())
}

fn day(limit: u64) -> Rule {
    Rule::calendar_window(limit, CalendarUnit::Day, midnight_soon()).unwrap()
}

fn at(after: Duration) -> When {
    When::At(NOON.plus(after))
}

async fn takes(bay: &Forebay, limit: &Name, rule: Rule, cost: u64, when: When) -> bool {
    bay.engine().take(Take { limit, key: "k", rule, cost, within: PATIENCE }, when).await.unwrap().allowed
}

pub(super) async fn a_window_admits_its_quota_and_no_more(bay: Forebay) {
    let (limit, rule) = (fresh("window"), window(3));
    for _ in 0..3 {
        assert!(takes(&bay, &limit, rule, 1, at(secs(1))).await);
    }
    assert!(!takes(&bay, &limit, rule, 1, at(secs(59))).await);
    assert!(takes(&bay, &limit, rule, 3, at(secs(60))).await, "the next window is empty");
    assert!(!takes(&bay, &limit, rule, 1, at(secs(0))).await, "a clock that goes back opens nothing");
}

pub(super) async fn a_day_of_the_calendar_ends_at_midnight_of_its_zone(bay: Forebay) {
    let (limit, rule) = (fresh("day"), day(3));
    let take = |cost| Take { limit: &limit, key: "k", rule, cost, within: PATIENCE };
    let before = bay.engine().take(take(2), at(secs(0))).await.unwrap();
    assert!(before.allowed && rule.reset_after(before.state, before.now) == 70_000_000);
    assert!(!takes(&bay, &limit, rule, 2, at(Duration::from_micros(69_999_999))).await);
    assert!(takes(&bay, &limit, rule, 3, at(secs(70))).await, "the next day is empty");
    assert!(!takes(&bay, &limit, rule, 1, at(secs(68))).await, "a clock that is 2 s behind opens nothing");
    // What was charged yesterday does not come back today.
    let late = bay.engine().refund(take(2), Some(before.state.0), at(secs(71))).await.unwrap();
    assert_eq!(rule.used(late.state), 3);
    let back = bay.engine().refund(take(2), Some(late.state.0), at(secs(71))).await.unwrap();
    assert_eq!(rule.used(back.state), 1);
    // A limit whose zone is changed goes on.
    let elsewhere = Zone::new(jiff::tz::TimeZone::posix("<YYY>-12:30").unwrap());
    let moved = Rule::calendar_window(3, CalendarUnit::Day, elsewhere).unwrap();
    assert!(!takes(&bay, &limit, moved, 3, at(secs(72))).await);
    assert!(takes(&bay, &limit, moved, 2, at(secs(72))).await);
}

pub(super) async fn a_bucket_admits_its_burst_and_refills(bay: Forebay) {
    let (limit, rule) = (fresh("bucket"), Rule::token_bucket(7, secs(1), 10).unwrap());
    assert!(takes(&bay, &limit, rule, 10, at(secs(0))).await);
    let denied = bay
        .engine()
        .take(Take { limit: &limit, key: "k", rule, cost: 1, within: PATIENCE }, at(secs(0)))
        .await
        .unwrap();
    assert!(!denied.allowed);
    let wait = Duration::from_micros(rule.wait(denied.state, denied.now, 1));
    assert!(!takes(&bay, &limit, rule, 1, at(wait.saturating_sub(Duration::from_micros(1)))).await);
    assert!(takes(&bay, &limit, rule, 1, at(wait)).await);
}

pub(super) async fn a_sliding_window_counts_what_still_overlaps(bay: Forebay) {
    let (limit, rule) = (fresh("slide"), Rule::sliding_window(10, mins(1)).unwrap());
    assert!(takes(&bay, &limit, rule, 10, at(secs(50))).await);
    assert!(!takes(&bay, &limit, rule, 1, at(secs(60))).await, "the edge of a window opens nothing");
    assert!(!takes(&bay, &limit, rule, 1, at(millis(65_999))).await);
    assert!(takes(&bay, &limit, rule, 1, at(secs(66))).await, "a tenth of the window before has left");
    assert!(!takes(&bay, &limit, rule, 5, at(secs(95))).await);
    assert!(takes(&bay, &limit, rule, 4, at(secs(90))).await, "half of the window before still counts");
    assert!(takes(&bay, &limit, rule, 5, at(secs(120))).await, "the first window has left");
    assert!(!takes(&bay, &limit, rule, 1, at(secs(120))).await);
}

/// Rates whose period is no whole number of microseconds, and costs of several, at times that fit no grid.
pub(super) async fn a_denied_cost_is_admitted_at_the_time_it_was_told_and_not_before(bay: Forebay) {
    let rules = [
        Rule::fixed_window(7, secs(1), millis(300)).unwrap(),
        Rule::sliding_window(7, secs(1)).unwrap(),
        Rule::sliding_window(13, millis(1)).unwrap(),
        Rule::token_bucket(7, secs(1), 7).unwrap(),
        Rule::token_bucket(1_000_003, mins(60 * 24), 11).unwrap(),
        day(7),
    ];
    let micros = Duration::from_micros;
    for (seed, rule) in (1..).zip(rules) {
        let (limit, mut random) = (fresh("exact"), Random(seed));
        let mut after = Duration::ZERO;
        for _ in 0..150 {
            after += micros(random.below(400_000));
            let cost = 1 + random.below(rule.quota());
            let take = Take { limit: &limit, key: "k", rule, cost, within: PATIENCE };
            let taken = bay.engine().take(take, at(after)).await.unwrap();
            if taken.allowed {
                continue;
            }
            let wait = rule.wait(taken.state, taken.now, cost);
            for early in [1, 1 + random.below(wait)] {
                let early = micros(wait.saturating_sub(early));
                assert!(
                    !takes(&bay, &limit, rule, cost, at(after + early)).await,
                    "{rule:?} {early:?} early"
                );
            }
            after += micros(wait);
            assert!(takes(&bay, &limit, rule, cost, at(after)).await, "{rule:?} after {wait} µs");
        }
    }
}

/// Rates whose periods are no whole number of microseconds, from one second of it to the last: full, then denied at
/// every probe before the time that was told, and admitted at it.
pub(super) async fn a_retry_is_exact_over_a_million_seconds(bay: Forebay) {
    const SPAN: Duration = Duration::from_secs(1_000_000);
    let rules = [
        Rule::fixed_window(7, secs(1), millis(137)).unwrap(),
        Rule::sliding_window(7, secs(1)).unwrap(),
        Rule::token_bucket(7, secs(1), 7).unwrap(),
        Rule::sliding_window(13, secs(90)).unwrap(),
        Rule::token_bucket(11, secs(90), 3).unwrap(),
        day(5),
    ];
    let micros = Duration::from_micros;
    for (seed, rule) in (1..).zip(rules) {
        let (limit, mut random) = (fresh("exact"), Random(seed));
        let (mut after, mut denied) = (Duration::ZERO, 0);
        while after < SPAN {
            after += micros(random.below(20_000_000_000));
            for _ in 0..9 {
                let cost = 1 + random.below(rule.quota());
                let take = Take { limit: &limit, key: "k", rule, cost, within: PATIENCE };
                let taken = bay.engine().take(take, at(after)).await.unwrap();
                if taken.allowed {
                    after += micros(random.below(50_000));
                    continue;
                }
                denied += 1;
                let wait = rule.wait(taken.state, taken.now, cost);
                for early in [1, 1 + random.below(wait), wait] {
                    let probe = after + micros(wait - early);
                    assert!(!takes(&bay, &limit, rule, cost, at(probe)).await, "{rule:?} {early} µs early");
                }
                after += micros(wait);
                assert!(takes(&bay, &limit, rule, cost, at(after)).await, "{rule:?} after {wait} µs");
            }
        }
        let least = if matches!(rule, Rule::CalendarWindow(_)) { 10 } else { 100 };
        assert!(denied > least, "{rule:?}: {denied}");
    }
}

pub(super) async fn a_rule_of_another_period_counts_anew_and_one_of_another_quota_goes_on(bay: Forebay) {
    let limit = fresh("changed");
    assert!(takes(&bay, &limit, window(5), 5, at(secs(1))).await);
    assert!(!takes(&bay, &limit, window(8), 4, at(secs(1))).await);
    assert!(takes(&bay, &limit, window(8), 3, at(secs(1))).await);
    assert!(!takes(&bay, &limit, window(3), 1, at(secs(1))).await, "more is used than there is");
    let seconds = Rule::fixed_window(5, secs(1), Duration::ZERO).unwrap();
    let month = Rule::calendar_window(5, CalendarUnit::Month, midnight_soon()).unwrap();
    for rule in [
        seconds,
        day(5),
        month,
        Rule::token_bucket(5, mins(1), 5).unwrap(),
        Rule::sliding_window(5, mins(1)).unwrap(),
    ] {
        assert!(takes(&bay, &limit, rule, 5, at(secs(1))).await);
        assert!(!takes(&bay, &limit, rule, 1, at(secs(1))).await);
    }
    assert!(!takes(&bay, &limit, window(8), 1, at(secs(1))).await, "as it was left");
}

pub(super) async fn a_cost_is_taken_whole_or_not_at_all(bay: Forebay) {
    let (limit, rule) = (fresh("whole"), window(10));
    assert!(takes(&bay, &limit, rule, 6, at(secs(0))).await);
    assert!(!takes(&bay, &limit, rule, 5, at(secs(0))).await);
    assert!(takes(&bay, &limit, rule, 4, at(secs(0))).await);
}

pub(super) async fn many_tasks_never_exceed_a_limit(bay: Forebay) {
    let slow = [Rule::token_bucket(1, mins(60), 100), Rule::sliding_window(100, mins(60))];
    for rule in [window(100), day(100)].into_iter().chain(slow.map(Result::unwrap)) {
        let limit = fresh("many");
        let tasks: Vec<_> = (0..64)
            .map(|_| {
                let (bay, limit) = (bay.clone(), limit.clone());
                tokio::spawn(async move {
                    let mut admitted = 0;
                    for _ in 0..10 {
                        admitted += u32::from(takes(&bay, &limit, rule, 1, at(secs(5))).await);
                    }
                    admitted
                })
            })
            .collect();
        let mut admitted = 0;
        for task in tasks {
            admitted += task.await.unwrap();
        }
        assert_eq!(admitted, 100);
    }
}

pub(super) async fn take_all_charges_all_or_none(bay: Forebay) {
    let (wide, narrow) = (fresh("wide"), fresh("narrow"));
    let bucket = Rule::token_bucket(1, mins(60), 2).unwrap();
    let both = [
        Take { limit: &wide, key: "a", rule: window(100), cost: 5, within: PATIENCE },
        Take { limit: &narrow, key: "b", rule: bucket, cost: 1, within: PATIENCE },
    ];
    if !bay.engine().together(&both) {
        return;
    }
    for _ in 0..2 {
        assert!(bay.engine().take_all(&both, at(secs(0))).await.unwrap().allowed);
    }
    let denied = bay.engine().take_all(&both, at(secs(0))).await.unwrap();
    assert!(!denied.allowed);
    assert_eq!(window(100).used(denied.states[0]), 10, "the denied one charged nothing");
    let seen = bay.engine().take(Take { cost: 0, ..both[0] }, at(secs(0))).await.unwrap();
    assert_eq!(window(100).used(seen.state), 10);
}

pub(super) async fn a_take_of_up_to_some_gets_what_is_left(bay: Forebay) {
    for rule in [
        window(7),
        day(7),
        Rule::sliding_window(7, mins(1)).unwrap(),
        Rule::token_bucket(1, mins(9), 7).unwrap(),
    ] {
        let limit = fresh("some");
        let take = |cost| Take { limit: &limit, key: "k", rule, cost, within: PATIENCE };
        let mut granted = vec![];
        for most in [5, 5, 5, 1 << 31] {
            granted.push(bay.engine().take_up_to(take(most), at(secs(0))).await.unwrap().0);
        }
        assert_eq!(granted, [5, 2, 0, 0], "{rule:?}");
        // By a rule of the same scale that knows no bounds more can be owed than there is.
        let boundless = Take { rule: rule.boundless(), ..take(100) };
        let (owed, taken) = bay.engine().take_up_to(boundless, at(secs(0))).await.unwrap();
        assert_eq!((owed, rule.used(taken.state), rule.room(taken.state)), (100, 107, 0));
        assert!(!takes(&bay, &limit, rule, 1, at(secs(59))).await);
        let all = bay.engine().take_up_to(Take { cost: 1 << 31, ..boundless }, at(secs(0))).await.unwrap();
        assert!(all.0 > 1_000 && rule.used(all.1.state) == 107 + all.0);
    }
}

pub(super) async fn refund_and_reset_give_back(bay: Forebay) {
    let (limit, rule) = (fresh("back"), window(3));
    let take = Take { limit: &limit, key: "k", rule, cost: 2, within: PATIENCE };
    let charged = bay.engine().take(take, at(secs(0))).await.unwrap();
    let elsewhere = bay.engine().refund(take, Some(charged.state.0 - 1), at(secs(0))).await.unwrap();
    assert_eq!(rule.used(elsewhere.state), 2, "not into another window");
    let refunded = bay.engine().refund(take, Some(charged.state.0), at(secs(0))).await.unwrap();
    assert_eq!(rule.used(refunded.state), 0);
    let below = bay.engine().refund(take, None, at(secs(0))).await.unwrap();
    assert_eq!(rule.used(below.state), 0);
    assert!(takes(&bay, &limit, rule, 3, at(secs(0))).await);
    bay.engine().reset(take, at(secs(0))).await.unwrap();
    assert!(takes(&bay, &limit, rule, 3, at(secs(0))).await);
}

/// A bucket has no windows, but what has leaked is gone: giving it back as well would be somebody else's.
pub(super) async fn a_late_refund_gives_back_what_still_counts(bay: Forebay) {
    let (limit, rule) = (fresh("late"), Rule::token_bucket(10, secs(1), 10).unwrap());
    let take = |cost| Take { limit: &limit, key: "k", rule, cost, within: PATIENCE };
    let used_after = async |ago| {
        bay.engine().reset(take(1), at(secs(0))).await.unwrap();
        let charged = bay.engine().take(take(4), at(secs(0))).await.unwrap();
        let other = bay.engine().take(take(6), at(ago)).await.unwrap();
        assert!(charged.allowed && other.allowed);
        let refunded = bay.engine().refund(take(4), Some(charged.state.0), at(ago)).await.unwrap();
        rule.used(refunded.state)
    };
    assert_eq!(used_after(secs(0)).await, 6);
    // Two of the four have leaked: eight were in use, and six of them are the other's.
    assert_eq!(used_after(millis(200)).await, 6);
    assert_eq!(used_after(secs(1)).await, 6, "all of it has leaked");
}

pub(super) async fn a_zero_cost_only_looks(bay: Forebay) {
    let (limit, rule) = (fresh("look"), window(1));
    assert!(takes(&bay, &limit, rule, 0, at(secs(0))).await);
    assert!(takes(&bay, &limit, rule, 1, at(secs(0))).await);
    let looked = bay
        .engine()
        .take(Take { limit: &limit, key: "k", rule, cost: 0, within: PATIENCE }, at(secs(30)))
        .await
        .unwrap();
    assert_eq!((looked.now, rule.room(looked.state)), (now(at(secs(30))), 0));
}

async fn lease(bay: &Forebay, limit: &Name, id: Uuid, act: LeaseAct) -> Leases {
    bay.engine().lease(LeaseStep { limit, key: "k", id, act }).await.unwrap()
}

fn lend(most: u64) -> LeaseAct {
    LeaseAct::Take { most, ttl: mins(10) }
}

pub(super) async fn leases_are_lent_up_to_the_most(bay: Forebay) {
    let limit = fresh("lent");
    let ids = [1, 2, 3].map(|_| Uuid::new_v4());
    let none = lease(&bay, &limit, ids[0], LeaseAct::Peek).await;
    assert_eq!(none, Leases::default());
    for (id, number) in ids[..2].iter().zip(1..) {
        let leases = lease(&bay, &limit, *id, lend(2)).await;
        assert_eq!((leases.held, leases.number), (true, number));
    }
    let denied = lease(&bay, &limit, ids[2], lend(2)).await;
    assert_eq!((denied.held, denied.number), (false, 2));
    assert!(denied.first_end.unwrap() <= denied.last_end.unwrap());
    assert!(denied.last_end.unwrap() <= mins(10));
    let back = lease(&bay, &limit, ids[0], LeaseAct::Release).await;
    assert_eq!((back.held, back.number), (true, 1));
    let again = lease(&bay, &limit, ids[0], LeaseAct::Release).await;
    assert_eq!((again.held, again.number), (false, 1), "it was back already");
    assert!(lease(&bay, &limit, ids[2], lend(2)).await.held);
    assert!(!lease(&bay, &limit, ids[0], lend(1)).await.held, "more are lent than there should be by now");
}

pub(super) async fn a_lease_may_be_asked_for_again_and_extended(bay: Forebay) {
    let (limit, id, other) = (fresh("again"), Uuid::new_v4(), Uuid::new_v4());
    for _ in 0..2 {
        let leases = lease(&bay, &limit, id, lend(1)).await;
        assert_eq!((leases.held, leases.number), (true, 1));
    }
    let renewed = lease(&bay, &limit, id, LeaseAct::Renew { ttl: mins(60) }).await;
    assert!(renewed.held && renewed.first_end.unwrap() > mins(30), "{renewed:?}");
    let nobody = lease(&bay, &limit, other, LeaseAct::Renew { ttl: mins(60) }).await;
    assert_eq!((nobody.held, nobody.number), (false, 1));
    assert!(lease(&bay, &limit, id, LeaseAct::Peek).await.held);
}

pub(super) async fn a_lease_that_is_not_extended_ends(bay: Forebay) {
    let (limit, id, other) = (fresh("ends"), Uuid::new_v4(), Uuid::new_v4());
    let short = LeaseAct::Take { most: 1, ttl: millis(50) };
    assert!(lease(&bay, &limit, id, short).await.held);
    let ended = async {
        while !lease(&bay, &limit, other, lend(1)).await.held {
            tokio::task::yield_now().await;
        }
    };
    bay.clock().timeout(PATIENCE, ended).await.unwrap();
    let renewed = lease(&bay, &limit, id, LeaseAct::Renew { ttl: mins(1) }).await;
    assert_eq!((renewed.held, renewed.number), (false, 1), "what has ended is not extended");
}

pub(super) async fn many_tasks_never_hold_more_leases_than_there_are(bay: Forebay) {
    const MOST: u64 = 5;
    let (limit, held, seen) = (fresh("crowd"), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let tasks: Vec<_> = (0..32)
        .map(|_| {
            let (bay, limit, held, seen) = (bay.clone(), limit.clone(), held.clone(), seen.clone());
            tokio::spawn(async move {
                for _ in 0..10 {
                    let id = Uuid::new_v4();
                    if lease(&bay, &limit, id, lend(MOST)).await.held {
                        seen.fetch_max(held.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        tokio::task::yield_now().await;
                        held.fetch_sub(1, Ordering::SeqCst);
                        assert!(lease(&bay, &limit, id, LeaseAct::Release).await.held);
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert!((1..=MOST).contains(&seen.load(Ordering::SeqCst)));
    assert_eq!(lease(&bay, &limit, Uuid::new_v4(), LeaseAct::Peek).await, Leases::default());
}

fn now(when: When) -> u64 {
    let When::At(at) = when else { return 0 };
    u64::try_from(at.as_micros() - Timestamp::UNIX_EPOCH.as_micros()).unwrap()
}
