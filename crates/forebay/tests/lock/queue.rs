//! The queue of waiters.

use std::sync::{Arc, Mutex};

use forebay::{
    Forebay,
    fault::Fault,
    lock::Release,
    time::{millis, secs},
};
use forebay_testkit::eventually;

use crate::{Store, acquired, settle};

#[tokio::test]
async fn a_thousand_waiters_are_served_in_the_order_in_which_they_came() {
    let store = Store::open().await;
    let first = store.guard().await;
    let served = Arc::new(Mutex::new(vec![]));
    let mut waiters = vec![];
    for n in 0..1_000 {
        let (lock, served) = (store.lock(), served.clone());
        waiters.push(tokio::spawn(async move {
            let guard = lock.acquire().await.expect("answers");
            served.lock().expect("no panic").push((n, guard.fence()));
            assert_eq!(guard.release().await.expect("answers"), Release::Released);
        }));
        while store.faults.calls("lock_claim") < n + 2 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(store.state().await.waiters, 1_000);
    let claims = store.faults.calls("lock_claim");
    assert_eq!(first.release().await.expect("answers"), Release::Released);
    for waiter in waiters {
        waiter.await.expect("no panic");
    }
    let served = served.lock().expect("no panic").clone();
    assert!(served.iter().map(|(n, _)| *n).eq(0..1_000), "out of order");
    assert!(served.is_sorted_by(|(_, one), (_, two)| one < two), "fences increase");
    // There is no thundering herd: each release woke one waiter, and no time passed.
    assert_eq!(store.faults.calls("lock_claim"), claims + 1_000);
    assert!(store.free().await);
}

#[tokio::test]
async fn a_waiter_that_leaves_the_queue_is_skipped_at_once() {
    let store = Store::open().await;
    let guard = store.guard().await;
    let mut waiters = vec![];
    for n in 1..=3 {
        let lock = store.lock();
        waiters.push(tokio::spawn(async move { lock.acquire().await }));
        store.waiters(n).await;
    }
    waiters[0].abort();
    store.waiters(2).await;
    assert_eq!(guard.release().await.expect("answers"), Release::Released);
    eventually("the second to be served", async || waiters[1].is_finished()).await;
    assert!(!waiters[2].is_finished());
    waiters.pop().expect("three").abort();
    let guard = waiters.pop().expect("two").await.expect("no panic").expect("answers");
    store.waiters(0).await;
    drop(guard);
}

#[tokio::test]
async fn nobody_overtakes_the_queue_of_a_free_lock() {
    let store = Store::open().await;
    let guard = store.guard().await;
    // The waiter is first, but its claims after the release do not reach the store.
    let waiter = tokio::spawn({
        let lock = store.lock();
        async move { lock.acquire().await }
    });
    store.waiters(1).await;
    store.faults.next("lock_claim", [Some(Fault::Refused)]);
    assert_eq!(guard.release().await.expect("answers"), Release::Released);
    eventually("the waiter's claim", async || store.faults.calls("lock_claim") == 3).await;
    assert!(
        store.lock().try_acquire().await.expect("answers").acquired().is_none(),
        "it is the waiter's turn"
    );
    store.pass_until("its next claim", async || waiter.is_finished()).await;
    drop(waiter.await.expect("no panic").expect("answers"));
}

#[tokio::test]
async fn a_lease_that_runs_out_wakes_the_first_in_the_queue_without_a_bell() {
    let store = Store::open().await;
    let _lease = acquired(store.lock().lease_within(secs(0)).await.expect("answers"));
    let waiter = tokio::spawn({
        let lock = store.lock();
        async move { lock.acquire().await }
    });
    store.waiters(1).await;
    let passed = store.pass_until("the lease to run out", async || waiter.is_finished()).await;
    assert!((secs(10)..secs(10) + millis(200)).contains(&passed), "{passed:?}");
    drop(waiter.await.expect("no panic").expect("answers"));
}

#[tokio::test]
async fn a_waiter_keeps_its_place_by_being_heard_of() {
    let store = Store::open().await;
    let guard = store.guard().await;
    let waiter = tokio::spawn({
        let lock = store.lock();
        async move { lock.acquire().await }
    });
    store.waiters(1).await;
    for _ in 0..60 {
        store.hand.advance(millis(500));
        settle().await;
        assert_eq!(store.state().await.waiters, 1);
    }
    // Two claims in 5 s would be too few; more than one a second would be too many.
    let claims = store.faults.calls("lock_claim");
    assert!((15..=32).contains(&claims), "{claims} claims in 30 s");
    waiter.abort();
    drop(guard);
}

/// A process that died leaves its places in the queue, which delay the next waiter for seconds.
#[tokio::test]
async fn waiters_of_a_runtime_that_is_gone_do_not_block_for_long() {
    let store = Store::open().await;
    let guard = store.guard().await;
    let bay: Forebay = store.bay.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("starts");
        runtime.block_on(async {
            for n in 1..=5 {
                let lock = bay.lock("report");
                tokio::spawn(async move { lock.acquire().await });
                while bay.lock("report").state().await.expect("answers").waiters < n {
                    tokio::task::yield_now().await;
                }
            }
        });
        // This drops its tasks while they wait, as if the process had been killed.
    })
    .join()
    .expect("no panic");
    assert_eq!(store.state().await.waiters, 5);
    let waiter = tokio::spawn({
        let lock = store.lock();
        async move { lock.acquire().await }
    });
    store.waiters(6).await;
    assert_eq!(guard.release().await.expect("answers"), Release::Released);
    let passed = store.pass_until("the live waiter's turn", async || waiter.is_finished()).await;
    // The places ran out together after 5 s, and the next claim noticed.
    assert!(passed <= secs(7), "{passed:?}");
    drop(waiter.await.expect("no panic").expect("answers"));
}
