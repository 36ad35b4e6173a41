//! Leases: holders elsewhere, with tokens.

use forebay::{
    lock::{Attempt, Release, Renewal, Token},
    time::{millis, secs},
};

use crate::{Store, acquired};

#[tokio::test]
async fn a_lease_is_renewed_and_released_by_its_token_alone() {
    let store = Store::open().await;
    let lease = acquired(store.lock().ttl(secs(30)).lease_within(secs(0)).await.expect("answers"));
    assert_eq!(lease.waited, secs(0));
    assert!(lease.expires_in < secs(30) && lease.expires_in > secs(29), "{:?}", lease.expires_in);
    store.hand.advance(secs(20));
    // A renewal does not repeat the ttl.
    let renewal = store.lock().renew(lease.token).await.expect("answers");
    assert_eq!(renewal, Renewal::Renewed { expires_in: lease.expires_in });
    store.hand.advance(secs(29));
    let state = store.state().await.holding.expect("held");
    assert_eq!((state.holder, state.remaining), (lease.token.holder(), secs(1)));
    assert_eq!(store.lock().release(lease.token).await.expect("answers"), Release::Released);
    assert_eq!(store.lock().release(lease.token).await.expect("answers"), Release::AlreadyLost);
    assert_eq!(store.lock().renew(lease.token).await.expect("answers"), Renewal::NotHolder);
    assert_eq!(store.faults.calls("lock_renew"), 2, "nothing renews it here");
}

#[tokio::test]
async fn a_lease_nobody_renews_runs_out_and_its_token_touches_nobody_elses() {
    let store = Store::open().await;
    let lease = acquired(store.lock().lease_within(secs(0)).await.expect("answers"));
    store.hand.advance(secs(10));
    let guard = store.guard().await;
    assert_eq!(store.lock().renew(lease.token).await.expect("answers"), Renewal::NotHolder);
    assert_eq!(store.lock().release(lease.token).await.expect("answers"), Release::AlreadyLost);
    assert!(
        matches!(store.lock().try_acquire().await.expect("answers"), Attempt::Held { holder, .. } if holder == guard.holder())
    );
}

#[tokio::test]
async fn the_time_that_a_lease_waited_gives_a_deadline_that_is_not_too_late() {
    let store = Store::open().await;
    let _first = acquired(store.lock().lease_within(secs(0)).await.expect("answers"));
    let attempt = tokio::spawn({
        let lock = store.lock();
        async move { lock.lease_within(secs(30)).await }
    });
    store.waiters(1).await;
    let passed = store.pass_until("the first lease to run out", async || attempt.is_finished()).await;
    let lease = acquired(attempt.await.expect("no panic").expect("answers"));
    assert!(lease.waited >= secs(10) && lease.waited <= passed, "{:?} of {passed:?}", lease.waited);
    let from_now = (lease.waited + lease.expires_in).saturating_sub(passed);
    assert!(from_now <= store.state().await.holding.expect("held").remaining);
}

#[tokio::test]
async fn a_token_is_read_back_and_not_shown() {
    let store = Store::open().await;
    let lease = acquired(store.lock().lease_within(millis(0)).await.expect("answers"));
    let text = lease.token.to_string();
    assert_eq!(text.parse::<Token>().expect("a token"), lease.token);
    assert!(!format!("{lease:?}").contains(&text), "{lease:?}");
    assert!("42".parse::<Token>().is_err());
}

#[tokio::test]
async fn a_lease_gets_another_ttl_and_is_looked_at_without_a_renewal() {
    let store = Store::open().await;
    let lease = acquired(store.lock().ttl(secs(10)).lease_within(secs(0)).await.expect("answers"));
    store.hand.advance(secs(9));
    let left = store.lock().remaining(lease.token).await.expect("answers").expect("held");
    assert!(left < secs(1) && left > millis(900), "{left:?}");
    let renewal = store.lock().renew_for(lease.token, secs(60)).await.expect("answers");
    assert!(matches!(renewal, Renewal::Renewed { expires_in } if expires_in > secs(59)), "{renewal:?}");
    store.hand.advance(secs(59));
    assert!(store.lock().remaining(lease.token).await.expect("answers").is_some());
    for ttl in [secs(0), millis(99), secs(86_401)] {
        let error = store.lock().renew_for(lease.token, ttl).await.expect_err("out of its range");
        assert!(error.to_string().contains("100ms to 24 h"), "{error}");
    }
    store.hand.advance(secs(2));
    assert_eq!(store.lock().remaining(lease.token).await.expect("answers"), None);
    assert_eq!(store.lock().renew_for(lease.token, secs(60)).await.expect("answers"), Renewal::NotHolder);
}
