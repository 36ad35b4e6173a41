//! Takes of many callers that share a round trip.

use forebay::{
    Decision, Forebay, Limit,
    limit::{LimitHandle, OnError, Source},
    time::{days, millis},
};
use forebay_testkit::Redis;
use futures::future::join_all;

const QUOTA: u64 = 10;

/// Starts all takes before any answer arrives: the first one is sent alone, the others as one batch.
async fn at_once(limit: &LimitHandle, callers: usize) -> Vec<Decision> {
    let answers = join_all((0..callers).map(|_| limit.take("42"))).await;
    answers.into_iter().map(|answer| answer.expect("decides")).collect()
}

async fn limit(server: &Redis, on_error: OnError) -> LimitHandle {
    let bay = Forebay::open(&server.url()).await.expect("opens");
    let limit = Limit::new("hits", QUOTA, days(300)).on_error(on_error).deadline(millis(200));
    bay.limit(limit).expect("valid")
}

#[tokio::test]
async fn each_caller_gets_its_own_answer_and_a_denial_is_remembered() {
    let server = Redis::start();
    let limit = limit(&server, OnError::Closed).await;
    let answers = at_once(&limit, 25).await;
    let (allowed, denied): (Vec<Decision>, Vec<Decision>) =
        answers.iter().copied().partition(Decision::is_allowed);
    let mut used: Vec<u64> = allowed.iter().map(Decision::used).collect();
    used.sort_unstable();
    assert_eq!(used, (1..=QUOTA).collect::<Vec<_>>());
    assert_eq!(denied.len(), 15);
    for answer in answers {
        assert_eq!((answer.source(), answer.is_degraded()), (Source::Engine, false));
    }
    let wait = denied[0].retry_after().expect("is told");
    let again = limit.take("42").await.expect("decides");
    assert_eq!((again.is_allowed(), again.source()), (false, Source::DenyCache));
    assert!(again.retry_after().is_some_and(|again| again <= wait));
    assert_eq!(limit.top_denied(1)[0].count, 16);
}

/// The script stores one packed value for all keys with the same next count.
#[tokio::test]
async fn keys_that_are_taken_side_by_side_are_counted_each_by_itself() {
    let server = Redis::start();
    let limit = limit(&server, OnError::Closed).await;
    let keys: Vec<String> = (0..40).map(|key| key.to_string()).collect();
    // Every third key is ahead by three.
    for _ in 0..3 {
        join_all(keys.iter().step_by(3).map(|key| limit.take(key))).await;
    }
    for round in 1..=QUOTA {
        let answers = join_all(keys.iter().map(|key| limit.take(key))).await;
        for (number, answer) in answers.into_iter().enumerate() {
            let (answer, before) = (answer.expect("decides"), if number % 3 == 0 { 3 } else { 0 });
            assert_eq!(answer.used(), QUOTA.min(before + round), "key {number}, round {round}");
            assert_eq!(answer.is_allowed(), before + round <= QUOTA);
        }
    }
    for key in &keys {
        assert_eq!(limit.peek(key).await.expect("answers").used(), QUOTA);
    }
}

#[tokio::test]
async fn without_an_answer_each_is_decided_as_the_limit_says() {
    for (on_error, passes) in [(OnError::Closed, false), (OnError::Open, true)] {
        let server = Redis::start();
        let limit = limit(&server, on_error).await;
        assert!(limit.take("42").await.expect("decides").is_allowed());
        server.pause();
        for answer in at_once(&limit, 5).await {
            assert_eq!((answer.is_allowed(), answer.source()), (passes, Source::Fallback));
            assert!(answer.is_degraded());
        }
        server.resume();
    }
}
