//! Overrides for single keys, limits that admit everything or nothing, and shadows, which deny nothing.

use forebay::{
    Decision, ErrorKind, Forebay, Limit,
    fault::Fault,
    limit::{Charge, Kind, Lease, LimitHandle, OnError, Override, SetBy, Source},
    time::{hours, mins, secs},
};
use forebay_testkit::{Redis, eventually, unique_prefix};

use crate::Store;

async fn admitted(limit: &LimitHandle, key: &str, tries: u64) -> u64 {
    let mut admitted = 0;
    for _ in 0..tries {
        admitted += u64::from(limit.take(key).await.expect("answers").is_allowed());
    }
    admitted
}

/// The overrides: the key, its allowance, and the source.
fn known(limit: &LimitHandle) -> Vec<(String, String, SetBy)> {
    let all = limit.overrides().into_iter();
    all.map(|one| (one.key, one.instead.to_string(), one.set_by)).collect()
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
        limit.set_override("43", Override::rate(7, mins(1))).await.expect("answers");
        assert_eq!(admitted(&limit, "43", 9).await, 4, "{kind:?}: what was taken before still counts");
        for was_there in [true, false] {
            assert_eq!(limit.remove_override("43").await.expect("answers"), was_there);
        }
        assert_eq!(admitted(&limit, "43", 9).await, 0, "{kind:?}: more is used than there is now");
        assert_eq!(known(&limit), [("42".to_owned(), "5/1m".to_owned(), SetBy::Definition)]);
    }
}

/// A remembered denial could otherwise outlive its reason.
#[tokio::test]
async fn a_raised_limit_admits_at_once() {
    let store = Store::open().await;
    let limit = store.bay.limit(Limit::per_minute("hits", 1)).expect("valid");
    assert_eq!(admitted(&limit, "42", 2).await, 1);
    limit.set_override("42", Override::rate(2, mins(1))).await.expect("answers");
    assert_eq!(admitted(&limit, "42", 2).await, 1);
    limit.set_override("42", Override::unlimited()).await.expect("answers");
    assert_eq!(admitted(&limit, "42", 100).await, 100);
    limit.set_override("42", Override::blocked()).await.expect("answers");
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
    let said: Vec<_> = denied.limits.iter().map(|limit| limit.map(|limit| limit.is_allowed())).collect();
    assert_eq!(said, [None, Some(false)], "no store is asked about the other");
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
        let shadowed = taken.limits[0].map(|shadow| (shadow.is_allowed(), shadow.is_shadowed()));
        // This process remembers the last denial and answers it alone, so the shadow is not called.
        assert_eq!(shadowed, (n < 5).then_some((true, n >= 2)));
    }
    let alone = shadow.take("42").await.expect("answers");
    assert!(alone.is_allowed() && alone.is_shadowed());
    assert_eq!((alone.used(), alone.remaining()), (2, 0));
    assert!(shadow.peek("42").await.expect("answers").is_shadowed());
    assert_eq!(admitted(&shadow, "43", 9).await, 9);
    let denied = Limit::per_minute("denied", 1).shadow().on_error(OnError::Closed).blocked();
    assert!(store.bay.limit(denied).expect("valid").take("42").await.expect("answers").is_shadowed());
}

/// A shadow does not count a take that another limit denies, because a real limit would not have been charged either.
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
        assert_eq!(limit.set_override(key, instead).await.expect_err("refused").kind(), kind, "{instead:?}");
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

#[tokio::test]
async fn an_override_at_run_time_takes_precedence_until_it_is_removed() {
    let store = Store::open().await;
    let limit = Limit::per_minute("hits", 3).allow("42", Override::rate(5, mins(1)));
    let limit = store.bay.limit(limit).expect("valid");
    limit.set_override("42", Override::rate(1, mins(1))).await.expect("answers");
    assert_eq!(known(&limit), [("42".to_owned(), "1/1m".to_owned(), SetBy::RunTime)]);
    assert_eq!(admitted(&limit, "42", 9).await, 1);
    assert!(limit.remove_override("42").await.expect("answers"));
    assert_eq!(admitted(&limit, "42", 9).await, 4, "the definition's counts again, and what was taken");
}

/// A reload of the configuration defines a limit again. Old handles keep the old definition.
#[tokio::test]
async fn another_definition_goes_on_counting_where_the_period_is_the_same() {
    let store = Store::open().await;
    for kind in [Kind::FixedWindow, Kind::SlidingWindow, Kind::TokenBucket] {
        let define =
            |quota| store.bay.limit(Limit::per_minute(kind.as_str(), quota).kind(kind)).expect("valid");
        let (old, raised, lowered) = (define(3), define(5), define(2));
        assert_eq!(admitted(&old, "42", 9).await, 3);
        assert_eq!(admitted(&raised, "42", 9).await, 2, "{kind:?}");
        assert_eq!((admitted(&old, "42", 9).await, admitted(&lowered, "42", 9).await), (0, 0), "{kind:?}");
        let anew = store.bay.limit(Limit::per_hour(kind.as_str(), 3).kind(kind)).expect("valid");
        assert_eq!(admitted(&anew, "42", 9).await, 3, "{kind:?}: another period begins anew");
        assert_eq!(old.top_denied(1), anew.top_denied(1), "who was denied is known to all of them");
        // An override applies to all of them, too.
        old.set_override("43", Override::rate(1, mins(1))).await.expect("answers");
        assert_eq!(admitted(&raised, "43", 9).await, 1);
    }
}

#[tokio::test]
async fn an_override_of_another_kind_is_not_heeded() {
    let store = Store::open().await;
    let bucket = store.bay.limit(Limit::per_minute("hits", 1).burst(3)).expect("valid");
    bucket.set_override("42", Override::rate(1, mins(1)).burst(7)).await.expect("answers");
    assert_eq!(admitted(&bucket, "42", 9).await, 7);
    let window = store.bay.limit(Limit::per_minute("hits", 2)).expect("valid");
    assert_eq!((admitted(&window, "42", 9).await, known(&window)), (2, vec![]));
}

#[tokio::test]
async fn overrides_survive_in_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let url = format!("embedded:{}", directory.path().join("f.redb").display());
    for round in 0..3 {
        let bay = Forebay::open(&url).await.expect("opens");
        let limit = bay.limit(Limit::per_minute("hits", 1)).expect("valid");
        let set = |key: &str, instead: &str| (key.to_owned(), instead.to_owned(), SetBy::RunTime);
        let expected =
            [vec![], vec![set("4 {é}:", "100/1h"), set("43", "blocked")], vec![set("43", "unlimited")]];
        assert_eq!(known(&limit), expected[round], "round {round}");
        if round == 0 {
            limit.set_override("4 {é}:", Override::rate(100, hours(1))).await.expect("answers");
            limit.set_override("43", Override::blocked()).await.expect("answers");
        } else {
            assert_eq!(limit.remove_override("4 {é}:").await.expect("answers"), round == 1);
            limit.set_override("43", Override::unlimited()).await.expect("answers");
        }
        // The store is dropped without a close. Everything that was acknowledged must survive.
        drop((limit, bay));
    }
}

/// Opens a store on the given server.
async fn on(server: &Redis, prefix: &str) -> (Forebay, LimitHandle) {
    let bay = Forebay::options().prefix(prefix).open(&server.url()).await.expect("opens");
    let limit =
        Limit::per_minute("hits", 3).on_error(OnError::Closed).allow("42", Override::rate(5, mins(1)));
    let limit = bay.limit(limit).expect("valid");
    (bay, limit)
}

#[tokio::test]
async fn an_override_of_one_process_applies_in_all_others() {
    let (server, prefix) = (Redis::shared(), unique_prefix());
    let (one, here) = on(server, &prefix).await;
    let (two, there) = on(server, &prefix).await;
    here.set_override("43", Override::rate(7, mins(1))).await.expect("answers");
    assert_eq!(here.overrides().len(), 2, "at once here");
    eventually("the other one to know", async || there.overrides().len() == 2).await;
    assert_eq!(known(&there)[1], ("43".to_owned(), "7/1m".to_owned(), SetBy::RunTime));
    assert_eq!(admitted(&there, "43", 9).await, 7);
    let (_three, later) = on(server, &prefix).await;
    assert_eq!(known(&later), known(&there), "who starts later knows from the start");
    // Both set an override at the same moment. The store gets both, and so do both processes.
    let (a, b) = tokio::join!(
        here.set_override("44", Override::blocked()),
        there.set_override("45", Override::unlimited())
    );
    a.and(b).expect("answers");
    one.refresh_overrides().await.expect("answers");
    two.refresh_overrides().await.expect("answers");
    assert_eq!((known(&here), known(&here).len()), (known(&there), 4));
    assert!(there.remove_override("43").await.expect("answers"));
    one.refresh_overrides().await.expect("answers");
    assert_eq!((known(&here), known(&here).len()), (known(&there), 3));
}

#[tokio::test]
async fn a_process_goes_on_with_what_it_knew_while_the_store_is_away_and_learns_of_a_store_that_lost_it() {
    let server = Redis::start();
    let (bay, limit) = on(&server, "forebay").await;
    limit.set_override("42", Override::rate(1, mins(1))).await.expect("answers");
    let before = known(&limit);
    server.pause();
    eventually("the look to fail", async || bay.refresh_overrides().await.is_err()).await;
    assert!(bay.warnings().iter().any(|warning| warning.contains("overrides")), "{:?}", bay.warnings());
    assert_eq!(known(&limit), before);
    let refused = limit.set_override("43", Override::blocked()).await.expect_err("no store");
    assert!(refused.to_string().contains("redis") || refused.kind() == ErrorKind::Timeout, "{refused}");
    assert_eq!(known(&limit), before, "what the store did not take does not count here");
    server.resume();
    eventually("the store to answer", async || bay.refresh_overrides().await.is_ok()).await;
    assert!(!bay.warnings().iter().any(|warning| warning.contains("overrides")), "{:?}", bay.warnings());
    server.command(["FLUSHALL"]);
    eventually("the loss to be known", async || known(&limit)[0].2 == SetBy::Definition).await;
}

#[tokio::test]
async fn one_limit_has_so_many_overrides_and_no_more() {
    let store = Store::open().await;
    let limit = store.bay.limit(Limit::per_minute("hits", 3)).expect("valid");
    for key in 0..10_000 {
        limit.set_override(key.to_string(), Override::blocked()).await.expect("answers");
    }
    let error = limit.set_override("one more", Override::blocked()).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    limit.set_override("42", Override::unlimited()).await.expect("what is there may change");
    assert!(limit.remove_override("43").await.expect("answers"));
    limit.set_override("one more", Override::blocked()).await.expect("there is room");
}
