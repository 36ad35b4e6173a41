//! Guards: renewals, loss and release.

use std::sync::Arc;

use forebay::{
    ErrorKind,
    fault::Fault,
    lock::{Attempt, Loss, Release},
    time::{millis, secs},
};
use forebay_testkit::eventually;

use crate::{Store, acquired, settle};

#[tokio::test]
async fn a_guard_is_renewed_for_as_long_as_it_lives() {
    let store = Store::open().await;
    let guard = store.guard().await;
    for _ in 0..20 {
        store.hand.advance(secs(3) + millis(400));
        eventually("the renewal", async || guard.remaining() > secs(9)).await;
    }
    let state = store.state().await.holding.expect("held");
    assert_eq!((state.holder, state.fence, state.held_for), (guard.holder(), guard.fence(), secs(68)));
}

#[tokio::test]
async fn every_guard_is_renewed_also_after_all_others_were_released() {
    let store = Store::open().await;
    for round in 0..3 {
        let mut guards = vec![];
        for n in 0..100 {
            guards.push(acquired(store.bay.lock(format!("{n}")).try_acquire().await.expect("answers")));
        }
        store.hand.advance(secs(4));
        eventually("all renewals", async || guards.iter().all(|guard| guard.remaining() > secs(9))).await;
        assert_eq!(store.faults.calls("lock_renew"), 100 * (round + 1));
        for guard in guards {
            assert_eq!(guard.release().await.expect("answers"), Release::Released);
        }
        store.hand.advance(secs(4));
        settle().await;
        assert_eq!(store.faults.calls("lock_renew"), 100 * (round + 1), "what is released is not renewed");
    }
}

#[tokio::test]
async fn loss_is_reported_at_the_local_deadline_without_the_store() {
    let store = Store::open().await;
    let guard = store.guard().await;
    let deadline = guard.remaining();
    assert!(deadline < secs(10), "before the lease ends in the store");
    store.faults.always(Some(Fault::Unreachable));
    let lost = tokio::spawn(guard.lost());

    store.hand.advance(deadline.saturating_sub(millis(1)));
    settle().await;
    assert!(guard.is_held() && !lost.is_finished());
    store.hand.advance(millis(1));
    assert!(!guard.is_held());
    assert_eq!(guard.remaining(), secs(0));
    assert_eq!(lost.await.expect("no panic"), Loss::Expired);

    store.faults.always(None);
    let attempt = store.lock().try_acquire().await.expect("answers");
    assert!(matches!(attempt, Attempt::Held { .. }), "nobody else starts before the holder's deadline");
    store.hand.advance(millis(200));
    let next = acquired(store.lock().try_acquire().await.expect("answers"));
    assert!(next.fence() > guard.fence());
    assert_eq!(guard.release().await.expect("answers"), Release::AlreadyLost);
    assert!(next.is_held() && store.state().await.holding.expect("held").holder == next.holder());
}

#[tokio::test]
async fn an_outage_shorter_than_the_lease_loses_nothing() {
    let store = Store::open().await;
    let guard = store.guard().await;
    for fault in [Fault::Refused, Fault::AnswerLost, Fault::Unreachable] {
        store.faults.always(Some(fault));
        for _ in 0..80 {
            store.hand.advance(millis(100));
            settle().await;
        }
        store.faults.always(None);
        store.pass_until("the next renewal", async || guard.remaining() > secs(9)).await;
    }
    assert_eq!(guard.release().await.expect("answers"), Release::Released);
}

#[tokio::test]
async fn a_store_that_says_not_the_holder_loses_it_at_once() {
    let store = Store::open().await;
    let guard = store.guard().await;
    assert!(store.lock().force_release().await.expect("answers"));
    let other = store.guard().await;
    store.hand.advance(secs(4));
    assert_eq!(guard.lost().await, Loss::NotHolder);
    assert!(!guard.is_held());
    assert_eq!(guard.release().await.expect("answers"), Release::AlreadyLost);
    eventually("the other's renewal", async || other.remaining() > secs(9)).await;
}

/// Redisson 7272: a renewal outlived the unlock, and the lock was renewed for ever with no holder.
#[tokio::test]
async fn a_renewal_under_way_does_not_outlive_a_release() {
    for fault in [Fault::Unreachable, Fault::AnswerLost, Fault::Refused] {
        let store = Store::open().await;
        let guard = store.guard().await;
        store.faults.next("lock_renew", [Some(fault), Some(fault)]);
        store.hand.advance(secs(4));
        eventually("a renewal under way", async || store.faults.calls("lock_renew") >= 1).await;
        assert_eq!(guard.release().await.expect("answers"), Release::Released);
        assert!(store.free().await);
        let next = store.guard().await;
        assert_eq!(next.release().await.expect("answers"), Release::Released);
        let renewals = store.faults.calls("lock_renew");
        store
            .pass_until("what is under way to end", async || {
                store.faults.calls("lock_renew") > renewals || store.hand.sleepers() <= 1
            })
            .await;
        assert_eq!(store.faults.calls("lock_renew"), renewals, "{fault:?}");
        assert!(store.free().await);
    }
}

#[tokio::test]
async fn a_release_whose_answer_is_lost_reports_its_outcome() {
    let store = Store::open().await;
    let guard = store.guard().await;
    store.faults.next("lock_release", [Some(Fault::AnswerLost)]);
    let release = tokio::spawn(guard.release());
    store.pass_until("the second try", async || release.is_finished()).await;
    assert_eq!(release.await.expect("no panic").expect("answers"), Release::Released);
    assert!(store.free().await);
}

#[tokio::test]
async fn a_release_without_a_store_fails_and_is_done_later() {
    let store = Store::open().await;
    let guard = store.guard().await;
    store.faults.always(Some(Fault::Refused));
    let release = tokio::spawn(guard.release());
    store.pass_until("it to give up", async || release.is_finished()).await;
    assert!(release.await.expect("no panic").is_err());
    store.faults.always(None);
    let passed = store.pass_until("the lock to be given back", async || store.free().await).await;
    assert!(passed < secs(2), "{passed:?}: not only because the lease ran out");
}

#[tokio::test]
async fn a_release_that_is_dropped_half_way_is_done_all_the_same() {
    let store = Store::open().await;
    let guard = store.guard().await;
    store.faults.next("lock_release", [Some(Fault::Unreachable)]);
    let release = tokio::spawn(guard.release());
    eventually("it to be sent", async || store.faults.calls("lock_release") == 1).await;
    release.abort();
    let passed = store.pass_until("the lock to be given back", async || store.free().await).await;
    assert!(passed < secs(2), "{passed:?}");
}

#[tokio::test]
async fn a_guard_that_is_dropped_gives_the_lock_back() {
    let store = Store::open().await;
    let guard = store.guard().await;
    let watch = tokio::spawn(guard.lost());
    drop(guard);
    eventually("the lock to be free", async || store.free().await).await;
    assert_eq!(watch.await.expect("no panic"), Loss::Released);

    let guard = store.guard().await;
    std::thread::spawn(move || drop(guard)).join().expect("no panic outside of a runtime");
    eventually("the lock to be free", async || store.free().await).await;
}

#[tokio::test]
async fn a_guard_can_be_shared_and_work_ends_with_it() {
    let store = Store::open().await;
    let guard = Arc::new(store.guard().await);
    assert_eq!(guard.while_held(async { 7 }).await, Ok(7));
    let work = tokio::spawn({
        let guard = guard.clone();
        async move { guard.while_held(std::future::pending::<()>()).await }
    });
    settle().await;
    assert!(store.lock().force_release().await.expect("answers"));
    store.hand.advance(secs(4));
    assert_eq!(work.await.expect("no panic"), Err(Loss::NotHolder));
}

#[tokio::test]
async fn closing_the_store_gives_back_what_was_dropped_and_ends_all_waits() {
    let store = Store::open().await;
    let dropped = store.guard().await;
    let kept = acquired(store.bay.lock("kept").try_acquire().await.expect("answers"));
    let waiter = tokio::spawn({
        let lock = store.bay.lock("kept");
        async move { lock.acquire().await }
    });
    let kept_state = async || store.bay.lock("kept").state().await.expect("answers");
    eventually("the waiter", async || kept_state().await.waiters == 1).await;
    drop(dropped);
    // The background tasks do not run in between.
    store.bay.close().await.expect("closes");
    // The close releases the dropped lock and the waiter's place. It must not release the lock that is still held.
    assert_eq!(store.faults.calls("lock_release"), 2);
    assert!(kept.is_held());
    assert_eq!(waiter.await.expect("no panic").expect_err("closed").kind(), ErrorKind::Closed);
}
