//! What single keys are allowed instead; limits that admit everything or nothing; and shadows, which deny nobody.

use forebay::{
    Decision, ErrorKind, Forebay, Limit,
    fault::Fault,
    limit::{Charge, Kind, Lease, LimitHandle, OnError, Override, Source},
    time::{mins, secs},
};

use crate::Store;

async fn admitted(limit: &LimitHandle, key: &str, tries: u64) -> u64 {
    let mut admitted = 0;
    for _ in 0..tries {
        admitted += u64::from(limit.take(key).await.expect("answers").is_allowed());
    }
    admitted
}

fn charge(limit: &LimitHandle, key: &str, cost: u64) -> Charge {
    Charge { limit: limit.clone(), key: key.into(), cost }
}

#[tokio::test]
async fn a_key_is_allowed_what_its_override_says_and_the_others_what_the_limit_says() {
    let store = Store::open().await;
    for kind in [Kind::FixedWindow, Kind::SlidingWindow, Kind::TokenBucket] {
        let limit = Limit::per_minute(kind.as_str(), 3).kind(kind).allow("42", Override::rate(5, mins(1)));
        let limit = store.bay.limit(limit).expect("valid");
        assert_eq!((admitted(&limit, "42", 9).await, admitted(&limit, "43", 9).await), (5, 3));
        limit.set_override("43", Override::rate(7, mins(1))).expect("valid");
        assert_eq!(admitted(&limit, "43", 9).await, 4, "{kind:?}: what was taken before still counts");
        assert!(limit.remove_override("43") && !limit.remove_override("43"));
        assert_eq!(admitted(&limit, "43", 9).await, 0, "{kind:?}: more is used than there is now");
        assert_eq!(limit.overrides(), [("42".to_owned(), Override::rate(5, mins(1)))]);
    }
}

/// A denial that is remembered would otherwise outlive the reason for it.
#[tokio::test]
async fn a_raised_limit_admits_at_once() {
    let store = Store::open().await;
    let limit = store.bay.limit(Limit::per_minute("hits", 1)).expect("valid");
    assert_eq!(admitted(&limit, "42", 2).await, 1);
    limit.set_override("42", Override::rate(2, mins(1))).expect("valid");
    assert_eq!(admitted(&limit, "42", 2).await, 1);
    limit.set_override("42", Override::unlimited()).expect("valid");
    assert_eq!(admitted(&limit, "42", 100).await, 100);
    limit.set_override("42", Override::blocked()).expect("valid");
    assert_eq!(admitted(&limit, "42", 2).await, 0);
}

#[tokio::test]
async fn everything_and_nothing_need_no_store() {
    let store = Store::open().await;
    store.faults.always(Some(Fault::Refused));
    let all = store.bay.limit(Limit::per_minute("all", 1).unlimited()).expect("valid");
    let none = store.bay.limit(Limit::per_minute("none", 1).blocked()).expect("valid");
    let (yes, no) = (all.take_n("42", 1 << 31).await, none.peek("42").await);
    let (yes, no) = (yes.expect("answers"), no.expect("answers"));
    assert_eq!(
        (yes.source(), yes.limit(), yes.is_degraded()),
        (Source::Definition, Decision::UNLIMITED, false)
    );
    assert_eq!((no.is_allowed(), no.limit(), no.retry_after()), (false, 0, None));
    assert_eq!(store.faults.calls("take"), 0);
}

#[tokio::test]
async fn a_take_over_several_is_denied_by_what_is_blocked_and_then_charges_none() {
    let store = Store::open().await;
    let hits = store.bay.limit(Limit::per_minute("hits", 5)).expect("valid");
    let users = Limit::per_minute("users", 5).allow("bad", Override::blocked());
    let users = store.bay.limit(users.allow("vip", Override::unlimited())).expect("valid");
    let denied =
        store.bay.take_all(&[charge(&hits, "*", 1), charge(&users, "bad", 1)]).await.expect("answers");
    assert_eq!(denied.limits.iter().map(Decision::is_allowed).collect::<Vec<_>>(), [true, false]);
    assert!(!denied.allowed);
    let allowed =
        store.bay.take_all(&[charge(&hits, "*", 2), charge(&users, "vip", 9)]).await.expect("answers");
    assert!(allowed.allowed);
    assert_eq!(hits.peek("*").await.expect("answers").used(), 2);
}

#[tokio::test]
async fn a_shadow_counts_and_never_denies() {
    let store = Store::open().await;
    let shadow = store.bay.limit(Limit::per_minute("shadow", 2).shadow()).expect("valid");
    let hits = store.bay.limit(Limit::per_minute("hits", 4)).expect("valid");
    for n in 0..6 {
        let both = [charge(&shadow, "42", 1), charge(&hits, "42", 1)];
        let taken = store.bay.take_all(&both).await.expect("answers");
        assert_eq!(taken.allowed, n < 4, "the other one decides");
        assert_eq!((taken.limits[0].is_allowed(), taken.limits[0].is_shadowed()), (true, n >= 2));
    }
    let alone = shadow.take("42").await.expect("answers");
    assert!(alone.is_allowed() && alone.is_shadowed());
    assert_eq!((alone.used(), alone.remaining()), (2, 0));
    assert!(shadow.peek("42").await.expect("answers").is_shadowed());
    assert_eq!(admitted(&shadow, "43", 9).await, 9);
    let denied = Limit::per_minute("denied", 1).shadow().on_error(OnError::Closed).blocked();
    assert!(store.bay.limit(denied).expect("valid").take("42").await.expect("answers").is_shadowed());
}

/// What is denied by another is not counted by the shadow either: it would not have been asked.
#[tokio::test]
async fn a_shadow_is_not_charged_for_what_another_limit_denies() {
    let store = Store::open().await;
    let shadow = store.bay.limit(Limit::per_minute("shadow", 9).shadow()).expect("valid");
    let hits = store.bay.limit(Limit::per_minute("hits", 1)).expect("valid");
    for _ in 0..3 {
        let both = [charge(&shadow, "42", 1), charge(&hits, "42", 1)];
        let _ = store.bay.take_all(&both).await.expect("answers");
    }
    assert_eq!(shadow.peek("42").await.expect("answers").used(), 1);
}

#[tokio::test]
async fn leases_have_overrides_and_shadows_too() {
    let store = Store::open().await;
    let jobs = Limit::concurrency("jobs", 1, secs(30)).allow("42", Override::leases(3));
    let jobs = store.bay.limit(jobs.allow("bad", Override::blocked())).expect("valid");
    let mut held = vec![];
    for key in ["42", "42", "42", "42", "43", "43", "bad"] {
        held.extend(jobs.lease(key).await.expect("answers").granted().map(|guard| (key, guard)));
    }
    assert_eq!(held.iter().map(|(key, _)| *key).collect::<Vec<_>>(), ["42", "42", "42", "43"]);
    let shadow = store.bay.limit(Limit::concurrency("shadow", 1, secs(30)).shadow()).expect("valid");
    let Lease::Granted(one) = shadow.lease("42").await.expect("answers") else {
        panic!("a shadow denies nobody")
    };
    let Lease::Granted(two) = shadow.lease("42").await.expect("answers") else {
        panic!("a shadow denies nobody")
    };
    assert_eq!((one.decision().is_shadowed(), two.decision().is_shadowed()), (false, true));
    assert_eq!(two.decision().used(), 2);
}

#[tokio::test]
async fn overrides_that_do_not_fit_their_limit_are_refused() {
    let bay = Forebay::open("memory:").await.expect("opens");
    let hits = bay.limit(Limit::per_minute("hits", 5)).expect("valid");
    let jobs = bay.limit(Limit::concurrency("jobs", 1, secs(30))).expect("valid");
    for (limit, key, instead, kind) in [
        (&hits, "", Override::blocked(), ErrorKind::Invalid),
        (&hits, "42", Override::leases(1), ErrorKind::Invalid),
        (&hits, "42", Override::rate(1, mins(1)).burst(2), ErrorKind::Invalid),
        (&hits, "42", Override::rate(0, mins(1)), ErrorKind::OutOfRange),
        (&jobs, "42", Override::rate(1, mins(1)), ErrorKind::Invalid),
        (&jobs, "42", Override::leases(0), ErrorKind::OutOfRange),
    ] {
        assert_eq!(limit.set_override(key, instead).expect_err("refused").kind(), kind, "{instead:?}");
    }
    let wrong = Limit::per_minute("hits", 5).allow("42", Override::leases(1));
    let error = wrong.check().expect_err("refused").to_string();
    assert!(error.starts_with("limit hits: override of \"42\": "), "{error}");
}

#[tokio::test]
async fn windows_phased_by_key_do_not_all_end_at_once() {
    let store = Store::open().await;
    let limit = store.bay.limit(Limit::per_minute("hits", 1).phase_by_key()).expect("valid");
    let mut ends = std::collections::BTreeSet::new();
    for key in 0..200 {
        let key = key.to_string();
        let taken = limit.take(&key).await.expect("answers");
        ends.insert(taken.reset_after());
        assert!(taken.reset_after() <= mins(1));
        assert_eq!(limit.peek(&key).await.expect("answers").reset_after(), taken.reset_after());
    }
    assert!(ends.len() > 50, "{} of 64 phases", ends.len());
}
