//! States that the engine wrote on one host and reads on another one, whose clock is ahead.

use std::time::Duration;

use uuid::Uuid;

use super::{copy, key, run, two};
use crate::{
    Name, Timestamp, When,
    engine::{
        redis::Redis,
        request::{Attempt, Begin, End, Known},
        step::{Claim, Claimed, LeaseAct, LeaseStep, Take},
    },
    model::rate::{
        allotments::AllotmentRequest,
        calendar::{CalendarUnit, Zone},
        rule::{Rule, State},
    },
    time::{days, hours, micros, millis, mins, secs},
};

/// So far, that nothing in a test takes as long.
const AHEAD: Duration = hours(1);

fn ahead() -> u64 {
    micros(AHEAD).unsigned_abs()
}

/// Some time in 2026.
const START: Timestamp = Timestamp::from_micros(1_790_000_000_123_456);

#[tokio::test]
async fn no_lock_ends_early_and_places_in_its_queue_are_kept() {
    let (source, target, prefix) = two().await;
    let [holder, waiter] = [Uuid::now_v7(), Uuid::now_v7()];
    let claim = |owner, queue| Claim { name: "a:b", owner, ttl: mins(1), queue };
    let Claimed::Granted { fence } = source.lock_claim(claim(holder, None)).await.expect("answers") else {
        panic!("it was free")
    };
    let waits = source.lock_claim(claim(waiter, Some(mins(5)))).await.expect("answers");
    assert!(matches!(waits, Claimed::Held { ahead: 0, .. }));
    let keys = ["", ":queue", ":heard"].map(|part| key(&format!("{prefix}:lock:{{a:b}}{part}")));
    copy(&source, &target, &keys, ahead()).await;

    let (before, after) = (source.lock_state("a:b").await, target.lock_state("a:b").await);
    let (before, after) = (before.expect("answers"), after.expect("answers"));
    assert_eq!((before.waiters, after.waiters), (1, 1));
    let (before, after) = (before.holding.expect("held"), after.holding.expect("held"));
    assert_eq!((after.holder, after.fence), (before.holder, fence));
    let gained = (after.remaining + secs(5)).saturating_sub(before.remaining);
    assert!(gained <= AHEAD + secs(5) && gained > AHEAD, "{gained:?}");

    let heard = async |redis: &Redis| {
        let scores: Vec<(Vec<u8>, f64)> =
            run(redis, &[b"ZRANGE", &keys[2], b"0", b"-1", b"WITHSCORES"]).await;
        let number = |score: f64| score.to_string().parse::<u64>().expect("a whole number");
        scores.into_iter().map(|(member, score)| (member, number(score))).collect::<Vec<_>>()
    };
    let (before, after) = (heard(&source).await, heard(&target).await);
    assert_eq!(after, [(before[0].0.clone(), before[0].1 + ahead())]);
    assert!(target.lock_renew("a:b", holder, None).await.expect("answers").is_some());
    assert!(target.lock_release("a:b", holder).await.expect("answers"));
    let other = target.lock_claim(claim(Uuid::now_v7(), None)).await.expect("answers");
    assert!(matches!(other, Claimed::Held { ahead: 1, holder: first, .. } if first == waiter), "{other:?}");
    let granted = target.lock_claim(claim(waiter, Some(mins(5)))).await.expect("answers");
    assert!(matches!(granted, Claimed::Granted { fence: next } if next > fence), "{granted:?}");
}

#[tokio::test]
async fn no_lease_ends_early() {
    let (source, target, prefix) = two().await;
    let limit = Name::new("jobs").expect("valid");
    let ids = [Uuid::now_v7(), Uuid::now_v7()];
    let step = |id, act| LeaseStep { limit: &limit, key: "k", id, act };
    source.lease(step(ids[0], LeaseAct::Take { most: 2, ttl: secs(60) })).await.expect("answers");
    source.lease(step(ids[1], LeaseAct::Take { most: 2, ttl: days(1) })).await.expect("answers");
    copy(&source, &target, &[key(&format!("{prefix}:leases:jobs:{{k}}"))], ahead()).await;
    let before = source.lease(step(ids[0], LeaseAct::Peek)).await.expect("answers");
    let after = target.lease(step(ids[0], LeaseAct::Peek)).await.expect("answers");
    assert_eq!((after.held, after.number), (true, 2));
    for (before, after) in [(before.first_end, after.first_end), (before.last_end, after.last_end)] {
        let gained = (after.expect("stands") + secs(5)).saturating_sub(before.expect("stands"));
        assert!(gained <= AHEAD + secs(5) && gained > AHEAD, "{gained:?}");
    }
}

#[tokio::test]
async fn an_attempt_at_a_request_is_left_alone_as_long() {
    let (source, target, prefix) = two().await;
    let hosts = [(7, Some(*b"0123456789abcdef"))];
    let begin = |key, owner| Begin {
        key,
        fingerprint: 9,
        owner,
        lease: secs(60),
        hosts: &hosts,
        weight: 10,
        most: 1 << 40,
    };
    let (owner, other) = (Uuid::now_v7(), Uuid::now_v7());
    for request in ["runs", "over"] {
        source.once_begin(begin(request, owner)).await.expect("answers");
    }
    let end = End::Final { answer: "202\nyes", more: 9 };
    assert!(source.once_end("over", owner, end).await.expect("answers"));
    let keys = ["runs", "over"].map(|request| key(&format!("{prefix}:once:{{{request}}}")));
    copy(&source, &target, &keys, ahead()).await;
    let known = target.once_begin(begin("runs", other)).await.expect("answers");
    assert!(matches!(known, Known::Running(left) if left > AHEAD + secs(50)), "{known:?}");
    let known = target.once_begin(begin("over", other)).await.expect("answers");
    assert_eq!(known, Known::Done("202\nyes".into()));
    let known = target.once_begin(begin("runs", owner)).await.expect("answers");
    assert!(matches!(known, Known::Ours(ours) if ours.attempt == Attempt::First && ours.hosts.len() == 1));
}

/// Every kind of rate, with ticks of 1 µs and of 1 ms.
fn rules() -> Vec<(&'static str, Rule)> {
    let utc = Zone::new(jiff::tz::TimeZone::UTC);
    vec![
        ("window", Rule::fixed_window(100, mins(1), secs(0)).expect("valid")),
        ("day", Rule::calendar_window(100, CalendarUnit::Day, utc).expect("valid")),
        ("bucket", Rule::token_bucket(1, mins(1), 100).expect("valid")),
        ("coarse-bucket", Rule::token_bucket(1_000_000, days(1), 50).expect("valid")),
        ("slide", Rule::sliding_window(100, mins(1)).expect("valid")),
        ("coarse-slide", Rule::sliding_window(1 << 28, mins(1)).expect("valid")),
    ]
}

/// One call takes seven, and a process holds up to ten that it spends by itself.
#[tokio::test]
async fn no_quota_refills_early_and_lent_budget_stays_charged() {
    for shift in [millis(700), mins(1)] {
        let (source, target, prefix) = two().await;
        for (name, rule) in rules() {
            let limit = Name::new(name).expect("valid");
            let take = |cost| Take { limit: &limit, key: "k", rule, cost, within: mins(1) };
            let when = When::At(START);
            assert!(source.take(take(7), when).await.expect("answers").allowed);
            let request =
                AllotmentRequest { holder: 5, sequence: 1, kept: 0, back: 0, want: 10, span: 30_000_000 };
            let lent = source.allot(take(0), request, when).await.expect("answers").reply.granted;
            assert!(lent > 0, "{name}");
            let mut stored = vec![];
            source.keys.limit(&mut stored, &rule, name, "k");
            assert!(stored.starts_with(prefix.as_bytes()));
            let by = micros(shift).unsigned_abs();
            copy(&source, &target, &[stored.into()], by).await;

            let used = async |redis: &Redis, at| -> (State, u64) {
                let state = redis.take(take(0), When::At(at)).await.expect("answers").state;
                (state, rule.used(state))
            };
            let (before, later) = (used(&source, START).await, START.plus(shift));
            // The same moment, by the two clocks. A window that has begun meanwhile by the target's clock is a new one.
            let after = used(&target, if rule.has_windows() { START } else { later }).await;
            assert_eq!(after.1, before.1, "{name}: {before:?} {after:?}");
            let until = async |redis: &Redis| redis.reset(take(0), when).await.expect("answers");
            let (before, after) = (until(&source).await, until(&target).await);
            assert_eq!((after.amount, after.until), (lent, before.until + by), "{name}");
        }
    }
}
