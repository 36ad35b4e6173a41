//! Reservations: costs that are known only afterwards. Each is settled once.

use forebay::{
    ErrorKind, Limit,
    fault::Fault,
    limit::{Kind, LimitHandle, OnError, Override, Reservation, Reserve},
    time::{millis, mins, secs},
};

use crate::Store;

async fn reserved(limit: &LimitHandle, estimate: u64) -> Reservation {
    match limit.reserve("42", estimate, mins(5)).await.expect("answers") {
        Reserve::Granted(reservation) => reservation,
        Reserve::Denied(decision) => panic!("denied: {decision:?}"),
    }
}

async fn used(limit: &LimitHandle) -> u64 {
    limit.peek("42").await.expect("answers").used()
}

#[tokio::test]
async fn a_reservation_counts_its_estimate_and_then_its_real_cost() {
    let store = Store::open().await;
    for kind in [Kind::FixedWindow, Kind::SlidingWindow, Kind::TokenBucket] {
        let limit = store.bay.limit(Limit::per_hour(kind.as_str(), 100).kind(kind)).expect("valid");
        let (less, more, none) =
            (reserved(&limit, 30).await, reserved(&limit, 30).await, reserved(&limit, 30).await);
        assert_eq!(used(&limit).await, 90);
        assert!(
            !limit.take_n("42", 11).await.expect("answers").is_allowed(),
            "{kind:?}: takes see reservations"
        );
        assert!(matches!(limit.reserve("42", 11, mins(1)).await, Ok(Reserve::Denied(_))));
        assert_eq!(less.commit(10).await.expect("answers").expect("open").used(), 70);
        assert_eq!(none.release().await.expect("answers").expect("open").used(), 40);
        let owed = more.commit(500).await.expect("answers").expect("open");
        assert_eq!((owed.used(), owed.remaining()), (510, 0), "{kind:?}: the debt counts");
        assert!(!limit.take("42").await.expect("answers").is_allowed());
    }
}

#[tokio::test]
async fn a_reservation_is_settled_once() {
    let store = Store::open().await;
    let limit = store.bay.limit(Limit::per_hour("tokens", 100)).expect("valid");
    let reservation = reserved(&limit, 50).await;
    let again = limit.reservation(&reservation.id()).expect("an id");
    assert_eq!(again.estimate(), 50);
    let settled = tokio::join!(reservation.commit(20), again.release(), again.commit(70));
    let settled = [settled.0, settled.1, settled.2].map(|answer| answer.expect("answers"));
    assert_eq!(settled.iter().flatten().count(), 1, "{settled:?}");
    assert_eq!(used(&limit).await, 20);
    for wrong in ["", "42", &reservation.id()[..64], &format!("{}+1", reservation.id())] {
        assert_eq!(limit.reservation(wrong).expect_err("not an id").kind(), ErrorKind::Invalid, "{wrong}");
    }
}

#[tokio::test]
async fn an_unsettled_reservation_keeps_its_charge_until_the_window_ends() {
    let store = Store::open().await;
    let limit = store.bay.limit(Limit::per_hour("tokens", 100)).expect("valid");
    let Reserve::Granted(reservation) = limit.reserve("42", 50, secs(10)).await.expect("answers") else {
        panic!("denied")
    };
    store.pass(secs(10)).await;
    assert_eq!(reservation.release().await.expect("answers"), None, "too late");
    assert_eq!(used(&limit).await, 50);
    store.hand.advance(mins(60));
    assert_eq!(used(&limit).await, 0);
}

/// Otherwise the refund would make room in a window that was never charged.
#[tokio::test]
async fn a_refund_after_its_window_makes_no_room() {
    let store = Store::open().await;
    let limit = store.bay.limit(Limit::per_minute("tokens", 100)).expect("valid");
    let reservation = reserved(&limit, 50).await;
    store.hand.advance(mins(1));
    assert!(limit.take_n("42", 100).await.expect("answers").is_allowed());
    assert_eq!(reservation.commit(1).await.expect("answers").expect("open").used(), 100);
    assert!(!limit.take("42").await.expect("answers").is_allowed());
}

#[tokio::test]
async fn a_step_that_is_lost_never_makes_room() {
    // A reservation takes a lease and a charge. Its release removes the lease and refunds the rest.
    for (step, at) in [("lease", 0), ("take_all", 0), ("lease", 1), ("refund", 0)] {
        for fault in [Fault::Refused, Fault::AnswerLost] {
            let store = Store::open().await;
            let limit = Limit::per_hour("tokens", 100).on_error(OnError::Open);
            let limit = store.bay.limit(limit).expect("valid");
            let plan = std::iter::repeat_n(None, at).chain([Some(fault)]);
            store.faults.next(step, plan);
            let reservation = reserved(&limit, 50).await;
            let settled = reservation.release().await;
            let used = used(&limit).await;
            assert!(used == 0 || used == 50, "{step} {fault:?}: {used}");
            // A repeat does no harm, whether or not the first call had an effect.
            let again = reservation.release().await.expect("answers");
            let after = limit.peek("42").await.expect("answers").used();
            assert!(after <= used, "{step} {fault:?}: {settled:?}, then {again:?}: {used}, then {after}");
            limit.take_n("42", 100 - after).await.map(drop).expect("answers");
            assert_eq!(limit.peek("42").await.expect("answers").used(), 100);
            let _ = reservation.release().await;
            assert!(limit.peek("42").await.expect("answers").used() >= 100 - after.min(50));
        }
    }
}

#[tokio::test]
async fn a_take_of_up_to_some_gets_what_is_left() {
    let store = Store::open().await;
    let limit = store.bay.limit(Limit::per_hour("rows", 10)).expect("valid");
    let mut granted = vec![];
    for most in [4, 1_000, 1] {
        let (some, decision) = limit.take_up_to("42", most).await.expect("answers");
        granted.push((some, decision.is_allowed(), decision.remaining()));
    }
    assert_eq!(granted, [(4, true, 6), (6, true, 0), (0, false, 0)]);
    let (_, denied) = limit.take_up_to("42", 1).await.expect("answers");
    assert!(denied.retry_after().is_some());
    limit.set_override("vip", Override::unlimited()).await.expect("answers");
    assert_eq!(limit.take_up_to("vip", 1_000).await.expect("answers").0, 1_000);
    store.faults.always(Some(Fault::Refused));
    let (some, decision) = limit.take_up_to("42", 1_000).await.expect("answers");
    assert_eq!((some, decision.is_degraded()), (10, true), "without its store at most the limit");
    assert_eq!(limit.take_up_to("42", 0).await.expect_err("refused").kind(), ErrorKind::OutOfRange);
    store.pass(millis(10)).await;
}
