//! Reports of keys near their limit.

use forebay::{
    Limit,
    fault::Fault,
    limit::{Charge, Kind, LimitHandle, NearLimit, OnError, Override},
    time::{mins, secs},
};

use crate::Store;

fn near(limit: &LimitHandle) -> Vec<(String, u64, u64)> {
    limit.near(256).into_iter().map(|NearLimit { key, used, limit, .. }| (key, used, limit)).collect()
}

fn one(key: &str, used: u64, limit: u64) -> (String, u64, u64) {
    (key.to_owned(), used, limit)
}

#[tokio::test]
async fn a_key_with_four_fifths_used_is_near_until_the_window_ends() {
    let store = Store::open().await;
    for kind in [Kind::FixedWindow, Kind::SlidingWindow, Kind::TokenBucket] {
        let limit =
            Limit::per_minute(kind.as_str(), 10).kind(kind).allow("vip", Override::rate(100, mins(1)));
        let limit = store.bay.limit(limit).expect("valid");
        for (key, cost) in [("far", 7), ("near", 8), ("nearer", 9), ("vip", 79), ("full", 10), ("full", 1)] {
            let _ = limit.take_n(key, cost).await.expect("answers");
        }
        let all = [one("full", 10, 10), one("nearer", 9, 10), one("near", 8, 10)];
        assert_eq!(near(&limit), all, "{kind:?}");
        assert_eq!(limit.near(1).len(), 1);
        let _ = limit.take("vip").await.expect("answers");
        assert_eq!(near(&limit)[3..], [one("vip", 80, 100)]);
        let _ = limit.refund("near", 5).await.expect("answers");
        limit.reset("full").await.expect("answers");
        assert_eq!(
            near(&limit),
            [one("nearer", 9, 10), one("vip", 80, 100)],
            "{kind:?}: they have got something back"
        );
        if kind == Kind::TokenBucket {
            // Nine of ten are near the limit until two have leaked. That takes two tenths of a minute.
            store.pass(secs(11)).await;
            assert_eq!(near(&limit), [one("nearer", 9, 10)]);
            store.pass(secs(2)).await;
            assert_eq!(near(&limit), []);
        }
        store.pass(mins(2)).await;
        assert_eq!(near(&limit), [], "{kind:?}");
    }
}

#[tokio::test]
async fn a_take_over_several_tells_of_each_that_it_charged_and_of_no_other() {
    let store = Store::open().await;
    let limit = |name: &str, quota| store.bay.limit(Limit::per_minute(name, quota)).expect("valid");
    let (wide, tight) = (limit("wide", 100), limit("tight", 5));
    let shadow = store.bay.limit(Limit::per_minute("shadow", 5).shadow()).expect("valid");
    let charge = |limit: &LimitHandle, cost| Charge { limit: limit.clone(), key: "42".into(), cost };
    let all = [charge(&wide, 4), charge(&tight, 4), charge(&shadow, 4)];
    assert!(store.bay.take_all(&all).await.expect("answers").allowed);
    assert_eq!(
        (near(&wide), near(&tight), near(&shadow)),
        (vec![], vec![one("42", 4, 5)], vec![one("42", 4, 5)])
    );
    assert!(!store.bay.take_all(&[charge(&wide, 90), charge(&tight, 4)]).await.expect("answers").allowed);
    assert_eq!((near(&wide), tight.top_denied(9)[0].count), (vec![], 1));
}

/// A decision without the store does not show how much is used.
#[tokio::test]
async fn a_decision_without_the_store_makes_no_key_near() {
    let store = Store::open().await;
    let limit = store.bay.limit(Limit::per_minute("hits", 1).on_error(OnError::Local)).expect("valid");
    store.faults.always(Some(Fault::Refused));
    assert!(limit.take("42").await.expect("answers").is_degraded());
    assert_eq!(near(&limit), []);
}

#[tokio::test]
async fn a_key_with_most_of_its_leases_is_near() {
    let store = Store::open().await;
    let jobs = store.bay.limit(Limit::concurrency("jobs", 5, secs(30))).expect("valid");
    let mut held = vec![];
    for _ in 0..4 {
        held.push(jobs.lease("42").await.expect("answers").granted().expect("there are five"));
    }
    assert_eq!(near(&jobs), [one("42", 4, 5)]);
}
