//! The outcomes of an attempt to acquire.

use forebay::{
    ErrorKind, Retry,
    fault::Fault,
    lock::{Attempt, MAX_TTL, MIN_TTL, Release},
    time::{millis, secs},
};
use forebay_testkit::eventually;

use crate::{START, Store, acquired, settle};

#[tokio::test]
async fn a_held_lock_is_reported_with_holder_and_time_left() {
    let store = Store::open().await;
    let guard = store.guard().await;
    store.hand.advance(secs(1));
    match store.lock().try_acquire().await.expect("answers") {
        Attempt::Held { holder, remaining, ahead } => {
            assert_eq!((holder, remaining, ahead), (guard.holder(), secs(9), 0));
        }
        Attempt::Acquired(_) => panic!("held twice"),
    }
    assert!(store.bay.lock("another").try_acquire().await.expect("answers").acquired().is_some());
}

#[tokio::test]
async fn a_fence_is_larger_than_all_before_also_after_the_store_forgot_the_lock() {
    let store = Store::open().await;
    let mut last = 0;
    for round in 0..10 {
        let lease = acquired(store.lock().lease_within(secs(0)).await.expect("answers"));
        assert!(lease.fence > last, "{} after {last}", lease.fence);
        last = lease.fence;
        match round % 3 {
            0 => assert_eq!(store.lock().release(lease.token).await.expect("answers"), Release::Released),
            // The holder's lease runs out, and the lock is removed.
            1 => store.hand.advance(secs(20)),
            // The time of day jumps back.
            _ => {
                assert!(store.lock().force_release().await.expect("answers"));
                store.hand.step_to(START);
            }
        }
        settle().await;
    }
    let other = acquired(store.bay.lock("other").try_acquire().await.expect("answers"));
    assert!(other.fence() > 1_790_000_000_000_000, "{}: the store's time in microseconds", other.fence());
}

#[tokio::test]
async fn a_claim_whose_answer_is_lost_is_repeated_and_does_not_meet_itself() {
    let store = Store::open().await;
    store.faults.next("lock_claim", [Some(Fault::AnswerLost), Some(Fault::Refused), None]);
    let attempt = tokio::spawn({
        let lock = store.lock();
        async move { lock.try_acquire().await }
    });
    store.pass_until("the second and third try", async || attempt.is_finished()).await;
    // A refusal is certain and would end a first attempt. This attempt is in doubt, so it goes on.
    let error = attempt.await.expect("no panic").expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Ambiguous);
    store.pass_until("what is in doubt to be given back", async || store.free().await).await;

    store.faults.next("lock_claim", [Some(Fault::AnswerLost), None, None]);
    let attempt = tokio::spawn({
        let lock = store.lock();
        async move { lock.try_acquire().await }
    });
    store.pass_until("the second try", async || attempt.is_finished()).await;
    let guard = acquired(attempt.await.expect("no panic").expect("answers"));
    assert!(guard.is_held());
    assert_eq!(guard.release().await.expect("answers"), Release::Released);
}

#[tokio::test]
async fn a_store_that_refuses_is_unavailable_at_once() {
    let store = Store::open().await;
    store.faults.always(Some(Fault::Refused));
    let error = store.lock().try_acquire().await.expect_err("no store");
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Later));
    let error = store.lock().acquire().await.expect_err("no store");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("\"report\""), "{error}");
    assert_eq!(store.faults.calls("lock_release"), 0, "nothing was left behind");
}

#[tokio::test]
async fn a_lock_in_doubt_is_reported_and_released_in_the_background() {
    for fault in [Fault::AnswerLost, Fault::Unreachable] {
        let store = Store::open().await;
        store.faults.always(Some(fault));
        let attempt = tokio::spawn({
            let lock = store.lock();
            async move { lock.try_acquire().await }
        });
        let passed = store.pass_until("the attempt to give up", async || attempt.is_finished()).await;
        assert!(passed < secs(4), "{passed:?}");
        let error = attempt.await.expect("no panic").expect_err("no answer");
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Ambiguous, Retry::Unknown), "{fault:?}");
        assert_eq!(error.to_string().matches("acquire lock").count(), 1, "{fault:?}: {error}");
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        assert!(cause.is_none_or(|cause| !error.to_string().contains(&cause)), "{error:?}");
        store.faults.always(None);
        store.pass_until("the lock to be given back", async || store.free().await).await;
    }
}

#[tokio::test]
async fn a_wait_ends_in_time_and_leaves_the_queue() {
    let store = Store::open().await;
    let guard = store.guard().await;
    let attempt = tokio::spawn({
        let lock = store.lock();
        async move { lock.acquire_within(secs(3)).await }
    });
    store.waiters(1).await;
    let passed = store.pass_until("the wait to end", async || attempt.is_finished()).await;
    assert!((secs(3)..secs(3) + millis(500)).contains(&passed), "{passed:?}");
    match attempt.await.expect("no panic").expect("answers") {
        Attempt::Held { holder, ahead, .. } => assert_eq!((holder, ahead), (guard.holder(), 0)),
        Attempt::Acquired(_) => panic!("held twice"),
    }
    assert_eq!(store.state().await.waiters, 0);
}

#[tokio::test]
async fn a_wait_outlasts_a_short_outage_and_tells_of_a_long_one() {
    let store = Store::open().await;
    let guard = store.bay.lock("report").ttl(secs(60)).lease_within(secs(0)).await.expect("answers");
    let token = acquired(guard).token;
    let waiting = tokio::spawn({
        let lock = store.lock();
        async move { lock.acquire().await }
    });
    store.waiters(1).await;
    store.faults.always(Some(Fault::Refused));
    for _ in 0..20 {
        store.hand.advance(millis(100));
        settle().await;
    }
    store.faults.always(None);
    assert!(!waiting.is_finished());
    assert_eq!(store.lock().release(token).await.expect("answers"), Release::Released);
    store.pass_until("the waiter's turn", async || waiting.is_finished()).await;
    let guard = waiting.await.expect("no panic").expect("answers");

    let waiting = tokio::spawn({
        let lock = store.lock();
        async move { lock.acquire().await }
    });
    store.waiters(1).await;
    store.faults.always(Some(Fault::Unreachable));
    let passed = store.pass_until("the waiter to give up", async || waiting.is_finished()).await;
    assert!(passed < secs(9), "{passed:?}");
    assert_eq!(waiting.await.expect("no panic").expect_err("no store").kind(), ErrorKind::Ambiguous);
    drop(guard);
}

#[tokio::test]
async fn an_answer_slower_than_the_ttl_is_not_a_hold() {
    let store = Store::open().await;
    let short = store.lock().ttl(millis(100));
    // The claim hangs for a second, in which a lease of 100 ms would have run out.
    store.faults.next("lock_claim", [Some(Fault::Unreachable), None]);
    let attempt = tokio::spawn(async move { short.try_acquire().await });
    eventually("the claim to be sent", async || store.faults.calls("lock_claim") == 1).await;
    store.hand.advance(secs(1));
    store.pass_until("an outcome", async || attempt.is_finished()).await;
    match attempt.await.expect("no panic") {
        Ok(attempt) => assert!(acquired(attempt).remaining() <= millis(97)),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Ambiguous),
    }
}

#[tokio::test]
async fn names_and_ttls_are_checked() {
    let store = Store::open().await;
    for bad in ["", &"x".repeat(513)] {
        assert_eq!(store.bay.lock(bad).acquire().await.expect_err("bad").kind(), ErrorKind::Invalid);
        assert_eq!(store.bay.lock(bad).state().await.expect_err("bad").kind(), ErrorKind::Invalid);
    }
    for bad in [secs(0), MIN_TTL.saturating_sub(millis(1)), MAX_TTL + millis(1)] {
        let error = store.lock().ttl(bad).try_acquire().await.expect_err("bad");
        assert_eq!(error.kind(), ErrorKind::OutOfRange, "{error}");
    }
    for good in [MIN_TTL, MAX_TTL] {
        let guard = acquired(store.lock().ttl(good).try_acquire().await.expect("answers"));
        assert_eq!(guard.release().await.expect("answers"), Release::Released);
    }
    assert_eq!(store.faults.calls("lock_claim"), 2);
}
