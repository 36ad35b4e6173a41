//! A cost of 0 is a peek: it returns the decision of a take of 1, and charges nothing.

use forebay::{
    Forebay, Limit,
    limit::{Charge, Kind, LimitHandle, Mode},
    time::{mins, secs},
};
use forebay_testkit::Redis;

fn charge(limit: &LimitHandle, key: &str, cost: u64) -> Charge {
    Charge { limit: limit.clone(), key: key.into(), cost }
}

async fn used(limit: &LimitHandle, key: &str) -> u64 {
    limit.peek(key).await.expect("answers").used()
}

async fn a_take_of_0_is_a_peek(bay: &Forebay) {
    let limits = [
        Limit::per_day("fixed", 3),
        Limit::per_day("sliding", 3).kind(Kind::SlidingWindow),
        Limit::per_day("bucket", 3).kind(Kind::TokenBucket),
        Limit::per_day("leased", 3).mode(Mode::Leased),
    ];
    for definition in limits {
        let limit = bay.limit(definition).expect("valid");
        let name = limit.name().clone();
        let take = async |cost| limit.take_n("k", cost).await.expect("answers");
        assert_eq!((take(0).await.is_allowed(), take(0).await.used()), (true, 0), "{name}");
        assert!(take(3).await.is_allowed());
        for _ in 0..3 {
            let (zero, peek) = (take(0).await, limit.peek("k").await.expect("answers"));
            assert_eq!((zero.is_allowed(), zero.used(), zero.remaining()), (false, 3, 0), "{name}");
            assert_eq!((peek.is_allowed(), peek.used()), (false, 3), "{name}");
            assert!(zero.retry_after().is_some_and(|span| span > secs(0)), "{name}");
        }
        assert_eq!(limit.top_denied(1).len(), 0, "{name}: a peek is no denial");
        assert_eq!(limit.refund("k", 0).await.expect("answers").used(), 3, "{name}");
    }
}

#[tokio::test]
async fn a_take_of_0_charges_nothing_on_the_embedded_engine() {
    a_take_of_0_is_a_peek(&Forebay::open("memory:").await.expect("opens")).await;
}

#[tokio::test]
async fn a_take_of_0_charges_nothing_on_redis() {
    let server = Redis::start();
    a_take_of_0_is_a_peek(&Forebay::open(&server.url()).await.expect("opens")).await;
}

#[tokio::test]
async fn a_take_of_0_at_another_time_is_a_peek_at_that_time() {
    use forebay::{Timestamp, time::When};
    let bay = Forebay::open("memory:").await.expect("opens");
    let limit = bay.limit(Limit::per_minute("hits", 3)).expect("valid");
    let at = |minute| When::At(Timestamp::from_secs(1_790_000_000).plus(mins(minute)));
    assert!(limit.take_at("k", 3, at(0)).await.expect("answers").is_allowed());
    assert!(!limit.take_at("k", 0, at(0)).await.expect("answers").is_allowed());
    let next = limit.take_at("k", 0, at(1)).await.expect("answers");
    assert_eq!((next.is_allowed(), next.used()), (true, 0));
}

#[tokio::test]
async fn limits_with_cost_0_among_several_are_peeked_at_and_can_deny() {
    let bay = Forebay::open("memory:").await.expect("opens");
    let [gate, hits] = ["gate", "hits"].map(|name| bay.limit(Limit::per_day(name, 3)).expect("valid"));
    let seats = bay.limit(Limit::concurrency("seats", 2, secs(60))).expect("valid");
    let charges =
        [charge(&gate, "k", 0), charge(&hits, "k", 2), charge(&seats, "k", 0), charge(&hits, "other", 0)];
    let answer = bay.take_all(&charges).await.expect("answers");
    assert!(answer.allowed);
    let told: Vec<u64> = answer.limits.iter().flatten().map(forebay::Decision::used).collect();
    assert_eq!(told, [0, 2, 0, 0]);
    assert_eq!((used(&gate, "k").await, used(&hits, "k").await), (0, 2));

    // A full limit with cost 0 keeps the others from being charged.
    assert!(gate.take_n("k", 3).await.expect("answers").is_allowed());
    let answer = bay.take_all(&[charge(&gate, "k", 0), charge(&hits, "k", 1)]).await.expect("answers");
    assert!(!answer.allowed);
    assert!(
        !answer.limits[0].expect("was asked").is_allowed()
            && answer.limits[1].expect("was asked").is_allowed()
    );
    assert_eq!((used(&gate, "k").await, used(&hits, "k").await), (3, 2));
    assert_eq!(gate.top_denied(1).len(), 0, "a peek is no denial");

    // The call contains only peeks.
    let answer = bay.take_all(&[charge(&hits, "k", 0)]).await.expect("answers");
    assert_eq!((answer.allowed, answer.limits[0].expect("was asked").used()), (true, 2));
}
