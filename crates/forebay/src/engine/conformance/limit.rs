//! Limits.

use std::time::Duration;

use super::{NOON, PATIENCE, fresh};
use crate::{
    bay::Forebay,
    engine::step::Take,
    key::Name,
    limit::rule::Rule,
    time::{Timestamp, When, millis, mins, secs},
};

fn window(limit: u64) -> Rule {
    Rule::fixed_window(limit, mins(1), Duration::ZERO).unwrap()
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

pub(super) async fn a_cost_is_taken_whole_or_not_at_all(bay: Forebay) {
    let (limit, rule) = (fresh("whole"), window(10));
    assert!(takes(&bay, &limit, rule, 6, at(secs(0))).await);
    assert!(!takes(&bay, &limit, rule, 5, at(secs(0))).await);
    assert!(takes(&bay, &limit, rule, 4, at(secs(0))).await);
}

pub(super) async fn many_tasks_never_exceed_a_limit(bay: Forebay) {
    for rule in [window(100), Rule::token_bucket(1, mins(60), 100).unwrap()] {
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
    bay.engine().reset(take).await.unwrap();
    assert!(takes(&bay, &limit, rule, 3, at(secs(0))).await);
}

/// A bucket has no windows, but what has leaked is gone: giving it back as well would be somebody else's.
pub(super) async fn a_late_refund_gives_back_what_still_counts(bay: Forebay) {
    let (limit, rule) = (fresh("late"), Rule::token_bucket(10, secs(1), 10).unwrap());
    let take = |cost| Take { limit: &limit, key: "k", rule, cost, within: PATIENCE };
    let used_after = async |ago| {
        bay.engine().reset(take(1)).await.unwrap();
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

fn now(when: When) -> u64 {
    let When::At(at) = when else { return 0 };
    u64::try_from(at.as_micros() - Timestamp::UNIX_EPOCH.as_micros()).unwrap()
}
