//! Leases of concurrency limits. There are never more than the quota, they last while they are extended, and those of dead
//! holders expire.

use forebay::{
    ErrorKind, Limit,
    fault::Fault,
    limit::{Kind, Lease, LeaseGuard, LeaseId, LimitHandle, OnError, Source},
    time::{millis, secs},
};

use crate::{Store, settle};

fn jobs(store: &Store, most: u64) -> LimitHandle {
    store.bay.limit(Limit::concurrency("jobs", most, secs(9))).expect("valid")
}

async fn granted(limit: &LimitHandle) -> LeaseGuard {
    limit.lease("42").await.expect("answers").granted().expect("there is one left")
}

async fn used(limit: &LimitHandle) -> u64 {
    limit.peek("42").await.expect("answers").used()
}

#[tokio::test]
async fn leases_are_granted_up_to_the_quota_and_a_release_makes_room() {
    let store = Store::open().await;
    let limit = jobs(&store, 2);
    let (one, two) = (granted(&limit).await, granted(&limit).await);
    assert_eq!((two.decision().used(), two.decision().remaining()), (2, 0));
    store.pass(secs(1)).await;
    let Lease::Denied { decision, first_end } = limit.lease("42").await.expect("answers") else {
        panic!("a third one")
    };
    assert_eq!((decision.used(), decision.limit(), decision.retry_after()), (2, 2, None));
    assert_eq!(first_end, Some(secs(8)), "the earliest end, should nobody extend it");
    assert_eq!(used(&limit).await, 2, "what was denied is not lent");
    assert!(one.release().await.expect("answers"));
    let three = granted(&limit).await;
    assert!(limit.lease("other").await.expect("answers").granted().is_some(), "other keys have their own");
    drop((two, three));
    settle().await;
    assert_eq!(used(&limit).await, 0, "dropped guards give back");
}

#[tokio::test]
async fn a_guard_extends_its_lease_for_as_long_as_it_lives() {
    let store = Store::open().await;
    let limit = jobs(&store, 1);
    let guard = granted(&limit).await;
    for _ in 0..10 {
        store.pass(secs(6)).await;
        assert!(guard.is_held() && used(&limit).await == 1);
    }
    assert!(guard.release().await.expect("answers"), "it was held all the time");
}

#[tokio::test]
async fn the_lease_of_a_dead_holder_ends_by_itself() {
    let store = Store::open().await;
    let limit = jobs(&store, 1);
    let id = LeaseId::random();
    assert!(limit.lease_as("42", id).await.expect("answers").granted().is_some());
    store.pass(millis(8_990)).await;
    assert!(limit.lease("42").await.expect("answers").granted().is_none());
    store.pass(millis(10)).await;
    assert!(limit.lease("42").await.expect("answers").granted().is_some());
    assert_eq!(limit.extend_lease("42", id).await.expect("answers"), None, "it learns so when it comes back");
}

#[tokio::test]
async fn a_request_repeated_under_its_id_gets_one_lease() {
    let store = Store::open().await;
    let limit = jobs(&store, 2);
    let id = LeaseId::random();
    for _ in 0..3 {
        let term = limit.lease_as("42", id).await.expect("answers").granted().expect("the same");
        assert_eq!((term.decision.used(), term.id), (1, id));
        assert!(term.expires_in < secs(9) && term.expires_in > millis(8_800));
    }
    assert!(limit.extend_lease("42", id).await.expect("answers").is_some());
    assert!(limit.release_lease("42", id).await.expect("answers"));
    assert!(!limit.release_lease("42", id).await.expect("answers"));
    assert_eq!(used(&limit).await, 0);
}

#[tokio::test]
async fn a_holder_that_cannot_extend_notices_before_another_gets_its_place() {
    let store = Store::open().await;
    let limit = jobs(&store, 1);
    let guard = granted(&limit).await;
    let lost = tokio::spawn(guard.lost());
    store.faults.always(Some(Fault::Unreachable));
    store.pass(millis(8_890)).await;
    assert!(!lost.is_finished());
    store.pass(millis(20)).await;
    assert!(lost.is_finished() && !guard.is_held());
    store.faults.always(None);
    assert!(
        limit.lease("42").await.expect("answers").granted().is_none(),
        "the store's lease stands a little longer"
    );
}

#[tokio::test]
async fn a_lease_that_the_store_does_not_have_is_lost() {
    let store = Store::open().await;
    let limit = jobs(&store, 1);
    let guard = granted(&limit).await;
    assert!(limit.release_lease("42", guard.id()).await.expect("answers"));
    store.pass(secs(4)).await;
    assert!(!guard.is_held());
    assert!(!guard.release().await.expect("answers"));
}

#[tokio::test]
async fn one_extension_that_fails_loses_nothing() {
    let store = Store::open().await;
    let limit = jobs(&store, 1);
    let guard = granted(&limit).await;
    store.faults.next("lease", [Some(Fault::Refused), Some(Fault::AnswerLost)]);
    store.pass(secs(9)).await;
    assert!(guard.is_held() && used(&limit).await == 1);
}

#[tokio::test]
async fn an_attempt_whose_answer_is_lost_leaves_no_lease() {
    for (on_error, admitted) in [(OnError::Open, true), (OnError::Closed, false), (OnError::Local, true)] {
        let store = Store::open().await;
        let limit = Limit::concurrency("jobs", 1, secs(9)).on_error(on_error);
        let limit = store.bay.limit(limit).expect("valid");
        store.faults.next("lease", [Some(Fault::AnswerLost), None]);
        match limit.lease("42").await.expect("answers") {
            Lease::Granted(guard) => {
                assert!(admitted && guard.is_degraded() && guard.source() == Source::Fallback);
                drop(guard);
            }
            Lease::Denied { decision, first_end } => {
                assert!(!admitted && decision.is_degraded() && first_end.is_none());
            }
        }
        settle().await;
        assert_eq!(used(&limit).await, 0, "{on_error:?}");
    }
}

#[tokio::test]
async fn local_leases_are_counted_in_this_process_while_the_store_is_away() {
    let store = Store::open().await;
    let limit =
        store.bay.limit(Limit::concurrency("jobs", 1, secs(9)).on_error(OnError::Local)).expect("valid");
    store.faults.always(Some(Fault::Refused));
    let guard = granted(&limit).await;
    assert!(limit.lease("42").await.expect("answers").granted().is_none());
    store.pass(secs(20)).await;
    assert!(guard.is_held());
    store.faults.always(None);
    assert!(guard.release().await.is_ok());
}

#[tokio::test]
async fn an_attempt_dropped_at_any_point_leaves_nothing() {
    for fault in [None, Some(Fault::AnswerLost), Some(Fault::Refused), Some(Fault::Unreachable)] {
        for steps in 1..7 {
            let store = Store::open().await;
            let limit = jobs(&store, 1);
            store.faults.next("lease", [fault]);
            let mut attempt = Box::pin(limit.lease("42"));
            for _ in 0..steps {
                if futures::poll!(&mut attempt).is_ready() {
                    break;
                }
                store.pass(millis(20)).await;
            }
            drop(attempt);
            settle().await;
            assert_eq!(used(&limit).await, 0, "{fault:?}, {steps} steps");
        }
    }
}

#[tokio::test]
async fn leases_and_takes_are_not_mistaken_for_each_other() {
    let store = Store::open().await;
    let (jobs, hits) = (jobs(&store, 1), store.bay.limit(Limit::per_minute("hits", 5)).expect("valid"));
    let error = jobs.take("42").await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("it lends leases"), "{error}");
    assert_eq!(hits.lease("42").await.expect_err("refused").kind(), ErrorKind::Invalid);
    for (limit, kind) in [
        (Limit::concurrency("jobs", 0, secs(1)), ErrorKind::OutOfRange),
        (Limit::concurrency("jobs", 16_385, secs(1)), ErrorKind::OutOfRange),
        (Limit::concurrency("jobs", 1, millis(99)), ErrorKind::OutOfRange),
        (Limit::concurrency("jobs", 1, secs(1)).burst(3), ErrorKind::Invalid),
        (Limit::concurrency("jobs", 1, secs(1)).phase(secs(1)), ErrorKind::Invalid),
        (Limit::new("jobs", 1, secs(1)).kind(Kind::SlidingWindow).burst(2), ErrorKind::Invalid),
    ] {
        assert_eq!(limit.check().expect_err("refused").kind(), kind, "{limit:?}");
    }
}

/// Any process that has the lease's id can tell from it that the store does not know the lease.
#[tokio::test]
async fn a_lease_that_was_granted_without_the_store_is_renewed_and_released_without_it() {
    for (on_error, shadow) in [(OnError::Open, false), (OnError::Closed, true), (OnError::Local, false)] {
        for store_comes_back in [false, true] {
            let store = Store::open().await;
            let limit = Limit::concurrency("jobs", 1, secs(30)).on_error(on_error);
            let limit = store.bay.limit(if shadow { limit.shadow() } else { limit }).expect("valid");
            store.faults.always(Some(Fault::Refused));
            let id = LeaseId::random();
            let term = limit.lease_as("k", id).await.expect("decides").granted().expect("admitted");
            assert!(term.id.is_degraded() && !id.is_degraded() && term.decision.is_degraded());
            let id: LeaseId = term.id.to_string().parse().expect("as it is handed out");
            if store_comes_back {
                store.faults.always(None);
            }
            for _ in 0..3 {
                let extended = limit.extend_lease("k", id).await.expect("without the store");
                assert!(extended.is_some_and(|span| span > secs(29)), "{on_error:?}");
                store.hand.advance(secs(20));
            }
            assert!(limit.release_lease("k", id).await.expect("without the store"), "{on_error:?}");
            if on_error == OnError::Local {
                assert_eq!(limit.extend_lease("k", id).await.expect("answers"), None, "this process counts");
            }
            store.faults.always(None);
            let other = limit.lease_as("k", LeaseId::random()).await.expect("answers");
            assert!(!other.granted().expect("free").decision.is_degraded());
        }
    }
}

/// A lease that the store granted is different: without the store it is unknown whether it still exists.
#[tokio::test]
async fn a_lease_of_the_store_is_not_extended_without_it() {
    let store = Store::open().await;
    let limit = store.bay.limit(Limit::concurrency("jobs", 1, secs(30))).expect("valid");
    let term = limit.lease_as("k", LeaseId::random()).await.expect("answers").granted().expect("free");
    assert!(!term.id.is_degraded());
    store.faults.always(Some(Fault::Refused));
    assert!(limit.extend_lease("k", term.id).await.is_err());
    assert!(limit.release_lease("k", term.id).await.is_err());
    store.faults.always(None);
    assert!(limit.release_lease("k", term.id).await.expect("answers"));
}

#[tokio::test]
async fn a_guard_that_was_granted_without_the_store_is_released_without_it() {
    for on_error in [OnError::Open, OnError::Local] {
        let store = Store::open().await;
        let limit =
            store.bay.limit(Limit::concurrency("jobs", 1, secs(30)).on_error(on_error)).expect("valid");
        store.faults.always(Some(Fault::Refused));
        let guard = limit.lease("k").await.expect("decides").granted().expect("admitted");
        assert!(guard.release().await.expect("without the store"), "{on_error:?}");
    }
}
