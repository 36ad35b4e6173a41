//! Limits.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use uuid::Uuid;

use super::{NOON, PATIENCE, fresh, splitmix::Random};
use crate::{
    bay::Forebay,
    engine::step::{LeaseAct, LeaseStep, Leases, Take, Taken},
    key::Name,
    model::rate::{
        calendar::{CalendarUnit, Zone},
        rule::Rule,
    },
    time::{When, micros, millis, mins, secs},
};

fn window(limit: u64) -> Rule {
    Rule::fixed_window(limit, mins(1), Duration::ZERO).unwrap()
}

fn sliding(limit: u64, length: Duration) -> Rule {
    Rule::sliding_window(limit, length).unwrap()
}

fn bucket(rate: u64, per: Duration, burst: u64) -> Rule {
    Rule::token_bucket(rate, per, burst).unwrap()
}

fn day(limit: u64) -> Rule {
    Rule::calendar_window(limit, CalendarUnit::Day, midnight_soon()).unwrap()
}

fn month(limit: u64) -> Rule {
    Rule::calendar_window(limit, CalendarUnit::Month, midnight_soon()).unwrap()
}

/// A zone in which it is midnight 70 s after [`NOON`].
fn midnight_soon() -> Zone {
    Zone::new(jiff::tz::TimeZone::posix("<XXX>-11:58:50").unwrap())
}

/// Rules of all kinds, for random steps: small quotas and the largest, fine ticks and coarse ones.
pub(super) fn samples() -> Vec<Rule> {
    vec![
        Rule::fixed_window(5, secs(1), Duration::ZERO).unwrap(),
        Rule::fixed_window(40, secs(10), secs(3)).unwrap(),
        sliding(5, secs(1)),
        sliding(1 << 31, secs(10)),
        bucket(7, secs(1), 9),
        bucket(1 << 20, secs(86_400), 1 << 21),
        month(1 << 40),
        day(9),
    ]
}

fn at(after: Duration) -> When {
    When::At(NOON.plus(after))
}

/// A key of a limit of its own. Times are spans after [`NOON`].
#[derive(Clone)]
struct Key {
    bay: Forebay,
    limit: Name,
    rule: Rule,
}

impl Key {
    fn new(bay: &Forebay, rule: Rule) -> Self {
        Self { bay: bay.clone(), limit: fresh("limit"), rule }
    }

    /// The same key under another rule.
    fn under(&self, rule: Rule) -> Self {
        Self { rule, ..self.clone() }
    }

    fn cost(&self, cost: u64) -> Take<'_> {
        Take { limit: &self.limit, key: "k", rule: self.rule, cost, within: PATIENCE }
    }

    async fn take(&self, cost: u64, after: Duration) -> Taken {
        self.bay.engine().take(self.cost(cost), at(after)).await.unwrap()
    }

    async fn admits(&self, cost: u64, after: Duration) -> bool {
        self.take(cost, after).await.allowed
    }

    async fn take_up_to(&self, most: u64) -> (u64, Taken) {
        self.bay.engine().take_up_to(self.cost(most), at(secs(0))).await.unwrap()
    }

    /// Gives a cost back that was charged in this window or at this tick; answers what is used then.
    async fn refund(&self, cost: u64, charged: Option<u64>, after: Duration) -> u64 {
        let refunded = self.bay.engine().refund(self.cost(cost), charged, at(after)).await.unwrap();
        self.rule.used(refunded.state)
    }

    async fn reset(&self) {
        self.bay.engine().reset(self.cost(1), at(secs(0))).await.unwrap();
    }

    async fn lease(&self, id: Uuid, act: LeaseAct) -> Leases {
        let step = LeaseStep { limit: &self.limit, key: "k", id, act };
        self.bay.engine().lease(step).await.unwrap()
    }

    /// Takes a cost. One that is denied is denied at every probe before the time that was told, and admitted at it.
    async fn retry_is_exact(&self, cost: u64, after: &mut Duration, random: &mut Random) -> bool {
        let (rule, taken) = (self.rule, self.take(cost, *after).await);
        if !taken.allowed {
            let wait = rule.wait(taken.state, taken.now, cost);
            for early in [1, 1 + random.below(wait), wait] {
                let probe = *after + Duration::from_micros(wait - early);
                assert!(!self.admits(cost, probe).await, "{rule:?} {early} µs early");
            }
            *after += Duration::from_micros(wait);
            assert!(self.admits(cost, *after).await, "{rule:?} after {wait} µs");
        }
        !taken.allowed
    }
}

pub(super) async fn a_window_admits_its_quota_and_no_more(bay: Forebay) {
    let key = Key::new(&bay, window(3));
    for _ in 0..3 {
        assert!(key.admits(1, secs(1)).await);
    }
    assert!(!key.admits(1, secs(59)).await);
    assert!(key.admits(3, secs(60)).await, "the next window is empty");
    assert!(!key.admits(1, secs(0)).await, "a clock that goes back opens nothing");
}

pub(super) async fn a_day_of_the_calendar_ends_at_midnight_of_its_zone(bay: Forebay) {
    let key = Key::new(&bay, day(3));
    let before = key.take(2, secs(0)).await;
    assert!(before.allowed && key.rule.reset_after(before.state, before.now) == 70_000_000);
    assert!(!key.admits(2, Duration::from_micros(69_999_999)).await);
    let today = key.take(3, secs(70)).await;
    assert!(today.allowed, "the next day is empty");
    assert!(!key.admits(1, secs(68)).await, "a clock that is 2 s behind opens nothing");
    // A charge of yesterday does not come back today.
    assert_eq!(key.refund(2, Some(before.state.0), secs(71)).await, 3);
    assert_eq!(key.refund(2, Some(today.state.0), secs(71)).await, 1);
    // A limit whose zone is changed goes on.
    let elsewhere = Zone::new(jiff::tz::TimeZone::posix("<YYY>-12:30").unwrap());
    let moved = key.under(Rule::calendar_window(3, CalendarUnit::Day, elsewhere).unwrap());
    assert!(!moved.admits(3, secs(72)).await);
    assert!(moved.admits(2, secs(72)).await);
}

pub(super) async fn a_bucket_admits_its_burst_and_refills(bay: Forebay) {
    let key = Key::new(&bay, bucket(7, secs(1), 10));
    assert!(key.admits(10, secs(0)).await);
    let denied = key.take(1, secs(0)).await;
    assert!(!denied.allowed);
    let wait = Duration::from_micros(key.rule.wait(denied.state, denied.now, 1));
    assert!(!key.admits(1, wait.saturating_sub(Duration::from_micros(1))).await);
    assert!(key.admits(1, wait).await);
}

pub(super) async fn a_sliding_window_counts_what_still_overlaps(bay: Forebay) {
    let key = Key::new(&bay, sliding(10, mins(1)));
    assert!(key.admits(10, secs(50)).await);
    assert!(!key.admits(1, secs(60)).await, "the edge of a window opens nothing");
    assert!(!key.admits(1, millis(65_999)).await);
    assert!(key.admits(1, secs(66)).await, "a tenth of the window before has left");
    assert!(!key.admits(5, secs(95)).await);
    assert!(key.admits(4, secs(90)).await, "half of the window before still counts");
    assert!(key.admits(5, secs(120)).await, "the first window has left");
    assert!(!key.admits(1, secs(120)).await);
}

/// Rates whose period is no whole number of microseconds, and costs of several, at times that fit no grid.
pub(super) async fn a_denied_cost_is_admitted_at_the_time_it_was_told_and_not_before(bay: Forebay) {
    let rules = [
        Rule::fixed_window(7, secs(1), millis(300)).unwrap(),
        sliding(7, secs(1)),
        sliding(13, millis(1)),
        bucket(7, secs(1), 7),
        bucket(1_000_003, mins(60 * 24), 11),
        day(7),
    ];
    for (seed, rule) in (1..).zip(rules) {
        let (key, mut random, mut after) = (Key::new(&bay, rule), Random(seed), Duration::ZERO);
        for _ in 0..150 {
            after += Duration::from_micros(random.below(400_000));
            let cost = 1 + random.below(rule.quota());
            key.retry_is_exact(cost, &mut after, &mut random).await;
        }
    }
}

/// Rates whose periods are no whole number of microseconds, from one second of it to the last.
pub(super) async fn a_retry_is_exact_over_a_million_seconds(bay: Forebay) {
    const SPAN: Duration = Duration::from_secs(1_000_000);
    let rules = [
        Rule::fixed_window(7, secs(1), millis(137)).unwrap(),
        sliding(7, secs(1)),
        bucket(7, secs(1), 7),
        sliding(13, secs(90)),
        bucket(11, secs(90), 3),
        day(5),
    ];
    for (seed, rule) in (1..).zip(rules) {
        let (key, mut random) = (Key::new(&bay, rule), Random(seed));
        let (mut after, mut denied) = (Duration::ZERO, 0);
        while after < SPAN {
            after += Duration::from_micros(random.below(20_000_000_000));
            for _ in 0..9 {
                let cost = 1 + random.below(rule.quota());
                if key.retry_is_exact(cost, &mut after, &mut random).await {
                    denied += 1;
                } else {
                    after += Duration::from_micros(random.below(50_000));
                }
            }
        }
        let least = if matches!(rule, Rule::CalendarWindow(_)) { 10 } else { 100 };
        assert!(denied > least, "{rule:?}: {denied}");
    }
}

pub(super) async fn a_rule_of_another_period_counts_anew_and_one_of_another_quota_goes_on(bay: Forebay) {
    let key = Key::new(&bay, window(5));
    assert!(key.admits(5, secs(1)).await);
    assert!(!key.under(window(8)).admits(4, secs(1)).await);
    assert!(key.under(window(8)).admits(3, secs(1)).await);
    assert!(!key.under(window(3)).admits(1, secs(1)).await, "more is used than there is");
    let seconds = Rule::fixed_window(5, secs(1), Duration::ZERO).unwrap();
    for rule in [seconds, day(5), month(5), bucket(5, mins(1), 5), sliding(5, mins(1))] {
        let key = key.under(rule);
        assert!(key.admits(5, secs(1)).await);
        assert!(!key.admits(1, secs(1)).await);
    }
    assert!(!key.under(window(8)).admits(1, secs(1)).await, "as it was left");
}

pub(super) async fn a_cost_is_taken_whole_or_not_at_all(bay: Forebay) {
    let key = Key::new(&bay, window(10));
    assert!(key.admits(6, secs(0)).await);
    assert!(!key.admits(5, secs(0)).await);
    assert!(key.admits(4, secs(0)).await);
}

pub(super) async fn many_tasks_never_exceed_a_limit(bay: Forebay) {
    for rule in [window(100), day(100), bucket(1, mins(60), 100), sliding(100, mins(60))] {
        let key = Key::new(&bay, rule);
        let tasks = (0..64).map(|_| {
            let key = key.clone();
            tokio::spawn(async move {
                let mut admitted = 0;
                for _ in 0..10 {
                    admitted += u32::from(key.admits(1, secs(5)).await);
                }
                admitted
            })
        });
        let admitted: u32 = join_all(tasks).await.into_iter().map(Result::unwrap).sum();
        assert_eq!(admitted, 100);
    }
}

pub(super) async fn take_all_charges_all_or_none(bay: Forebay) {
    let (wide, narrow) = (fresh("wide"), fresh("narrow"));
    let both = [
        Take { limit: &wide, key: "a", rule: window(100), cost: 5, within: PATIENCE },
        Take { limit: &narrow, key: "b", rule: bucket(1, mins(60), 2), cost: 1, within: PATIENCE },
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
    for rule in [window(7), day(7), sliding(7, mins(1)), bucket(1, mins(9), 7)] {
        let key = Key::new(&bay, rule);
        for (most, granted) in [(5, 5), (5, 2), (5, 0), (1 << 31, 0)] {
            assert_eq!(key.take_up_to(most).await.0, granted, "{rule:?}");
        }
        // By a rule of the same scale that knows no bounds more can be owed than there is.
        let boundless = key.under(rule.boundless());
        let (owed, taken) = boundless.take_up_to(100).await;
        assert_eq!((owed, rule.used(taken.state), rule.room(taken.state)), (100, 107, 0));
        assert!(!key.admits(1, secs(59)).await);
        let (all, taken) = boundless.take_up_to(1 << 31).await;
        assert!(all > 1_000 && rule.used(taken.state) == 107 + all);
    }
}

pub(super) async fn refund_and_reset_give_back(bay: Forebay) {
    let key = Key::new(&bay, window(3));
    let charged = key.take(2, secs(0)).await.state.0;
    assert_eq!(key.refund(2, Some(charged - 1), secs(0)).await, 2, "not into another window");
    assert_eq!(key.refund(2, Some(charged), secs(0)).await, 0);
    assert_eq!(key.refund(2, None, secs(0)).await, 0, "not below empty");
    assert!(key.admits(3, secs(0)).await);
    key.reset().await;
    assert!(key.admits(3, secs(0)).await);
}

/// A bucket has no windows, but what has leaked is gone: giving it back as well would be somebody else's.
pub(super) async fn a_late_refund_gives_back_what_still_counts(bay: Forebay) {
    let key = Key::new(&bay, bucket(10, secs(1), 10));
    // After 200 ms two of the four have leaked: eight were in use, and six of them are the other's.
    for ago in [secs(0), millis(200), secs(1)] {
        key.reset().await;
        let charged = key.take(4, secs(0)).await;
        assert!(charged.allowed && key.admits(6, ago).await);
        assert_eq!(key.refund(4, Some(charged.state.0), ago).await, 6, "after {ago:?}");
    }
}

pub(super) async fn a_zero_cost_only_looks(bay: Forebay) {
    let key = Key::new(&bay, window(1));
    assert!(key.admits(0, secs(0)).await);
    assert!(key.admits(1, secs(0)).await);
    let looked = key.take(0, secs(30)).await;
    let now = micros(secs(30)) + NOON.as_micros();
    assert_eq!((looked.now, key.rule.room(looked.state)), (now.unsigned_abs(), 0));
}

/// A key of a limit of leases, and ids for it. The rule is not used.
fn leases<const N: usize>(bay: &Forebay) -> (Key, [Uuid; N]) {
    (Key::new(bay, window(1)), std::array::from_fn(|_| Uuid::new_v4()))
}

fn lend(most: u64) -> LeaseAct {
    LeaseAct::Take { most, ttl: mins(10) }
}

pub(super) async fn leases_are_lent_up_to_the_most(bay: Forebay) {
    let (key, ids) = leases::<3>(&bay);
    let state = async |id: usize, act| {
        let leases = key.lease(ids[id], act).await;
        (leases.held, leases.number)
    };
    assert_eq!(key.lease(ids[0], LeaseAct::Peek).await, Leases::default());
    assert_eq!(state(0, lend(2)).await, (true, 1));
    assert_eq!(state(1, lend(2)).await, (true, 2));
    let denied = key.lease(ids[2], lend(2)).await;
    assert_eq!((denied.held, denied.number), (false, 2));
    assert!(denied.first_end.unwrap() <= denied.last_end.unwrap());
    assert!(denied.last_end.unwrap() <= mins(10));
    assert_eq!(state(0, LeaseAct::Release).await, (true, 1));
    assert_eq!(state(0, LeaseAct::Release).await, (false, 1), "it was back already");
    assert_eq!(state(2, lend(2)).await, (true, 2));
    assert_eq!(state(0, lend(1)).await, (false, 2), "more are lent than there should be by now");
}

pub(super) async fn a_lease_may_be_asked_for_again_and_extended(bay: Forebay) {
    let (key, [id, other]) = leases(&bay);
    for _ in 0..2 {
        let leases = key.lease(id, lend(1)).await;
        assert_eq!((leases.held, leases.number), (true, 1));
    }
    let renewed = key.lease(id, LeaseAct::Renew { ttl: mins(60) }).await;
    assert!(renewed.held && renewed.first_end.unwrap() > mins(30), "{renewed:?}");
    let nobody = key.lease(other, LeaseAct::Renew { ttl: mins(60) }).await;
    assert_eq!((nobody.held, nobody.number), (false, 1));
    assert!(key.lease(id, LeaseAct::Peek).await.held);
}

pub(super) async fn a_lease_that_is_not_extended_ends(bay: Forebay) {
    let (key, [id, other]) = leases(&bay);
    assert!(key.lease(id, LeaseAct::Take { most: 1, ttl: millis(50) }).await.held);
    let ended = async {
        while !key.lease(other, lend(1)).await.held {
            tokio::task::yield_now().await;
        }
    };
    bay.clock().timeout(PATIENCE, ended).await.unwrap();
    let renewed = key.lease(id, LeaseAct::Renew { ttl: mins(1) }).await;
    assert_eq!((renewed.held, renewed.number), (false, 1), "what has ended is not extended");
}

pub(super) async fn many_tasks_never_hold_more_leases_than_there_are(bay: Forebay) {
    const MOST: u64 = 5;
    let (key, [last]) = leases(&bay);
    let (held, seen) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let tasks = (0..32).map(|_| {
        let (key, held, seen) = (key.clone(), held.clone(), seen.clone());
        tokio::spawn(async move {
            for _ in 0..10 {
                let id = Uuid::new_v4();
                if key.lease(id, lend(MOST)).await.held {
                    seen.fetch_max(held.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    held.fetch_sub(1, Ordering::SeqCst);
                    assert!(key.lease(id, LeaseAct::Release).await.held);
                }
            }
        })
    });
    join_all(tasks).await.into_iter().for_each(Result::unwrap);
    assert!((1..=MOST).contains(&seen.load(Ordering::SeqCst)));
    assert_eq!(key.lease(last, LeaseAct::Peek).await, Leases::default());
}
