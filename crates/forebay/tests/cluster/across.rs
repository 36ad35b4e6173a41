//! One decision over limits on several hosts.

use forebay::{
    Forebay, Limit,
    cluster::Health,
    limit::{Charge, LimitHandle, OnError},
    time::{mins, secs},
};
use forebay_testkit::{Fault, Proxy, Redis, eventually, unique_prefix, without};
use futures::future::join_all;

use crate::hosts::{SHARED, health, key_on, open, three};

/// A limit with a deadline that no slow machine reaches.
fn patient(bay: &Forebay, limit: Limit) -> LimitHandle {
    bay.limit(limit.deadline(secs(30))).expect("valid")
}

fn charge(limit: &LimitHandle, key: &str, cost: u64) -> Charge {
    Charge { limit: limit.clone(), key: key.into(), cost }
}

async fn used(limit: &LimitHandle, key: &str) -> u64 {
    let decision = limit.peek(key).await.expect("answers");
    assert!(!decision.is_degraded());
    decision.used()
}

#[tokio::test]
async fn a_denial_by_one_host_charges_none() {
    if without("redis") {
        return;
    }
    let bay = open(&*SHARED, &unique_prefix()).await.expect("opens");
    let keys = ["a", "b", "c"].map(|host| key_on(&bay, host));
    // The state of a bucket moves with time: a refund must not look for the exact tick.
    let window = patient(&bay, Limit::per_hour("window", 10));
    let bucket = patient(&bay, Limit::new("bucket", 10, mins(600)).burst(10));
    let small = patient(&bay, Limit::per_hour("small", 3));
    let charges = [charge(&window, &keys[0], 4), charge(&bucket, &keys[1], 4), charge(&small, &keys[2], 2)];
    let taken = bay.take_all(&charges).await.expect("answers");
    assert!(taken.allowed);
    assert_eq!(taken.limits.iter().flatten().map(forebay::Decision::used).collect::<Vec<_>>(), [4, 4, 2]);

    let denied = bay.take_all(&charges).await.expect("answers");
    assert!(!denied.allowed);
    assert_eq!(
        denied.limits.iter().flatten().map(forebay::Decision::is_allowed).collect::<Vec<_>>(),
        [true, true, false]
    );
    assert_eq!(denied.limits.iter().flatten().map(forebay::Decision::used).collect::<Vec<_>>(), [4, 4, 2]);
    assert_eq!((used(&window, &keys[0]).await, used(&bucket, &keys[1]).await), (4, 4));

    // This process knows the denial by now, and asks no host.
    let known = bay.take_all(&charges).await.expect("answers");
    let asked: Vec<_> = known.limits.iter().map(|limit| limit.map(|limit| limit.is_allowed())).collect();
    assert_eq!(asked, [None, None, Some(false)]);

    // The first one denies. The others are peeked at, and report their state.
    let tiny = patient(&bay, Limit::per_hour("tiny", 3));
    assert!(tiny.take_n(&keys[2], 2).await.expect("answers").is_allowed());
    let charges = [charge(&tiny, &keys[2], 2), charge(&window, &keys[0], 7), charge(&bucket, &keys[1], 1)];
    let denied = bay.take_all(&charges).await.expect("answers");
    assert!(!denied.allowed);
    assert_eq!(
        denied.limits.iter().flatten().map(forebay::Decision::is_allowed).collect::<Vec<_>>(),
        [false, false, true]
    );
    assert_eq!((used(&window, &keys[0]).await, used(&bucket, &keys[1]).await), (4, 4));
}

#[tokio::test]
async fn many_decisions_over_several_hosts_never_exceed_any_limit() {
    if without("redis") {
        return;
    }
    let bay = open(&*SHARED, &unique_prefix()).await.expect("opens");
    let keys = ["a", "b", "c"].map(|host| key_on(&bay, host));
    let limit = |name, quota| patient(&bay, Limit::per_hour(name, quota));
    let limits = [limit("wide", 1_000), limit("narrow", 20), limit("middle", 50)];
    let take = async |i: usize| {
        // Each caller has another order: two of them may hold what the other needs, and neither may wait for it.
        let mut charges: Vec<Charge> =
            limits.iter().zip(&keys).map(|(limit, key)| charge(limit, key, 1)).collect();
        charges.rotate_left(i % 3);
        let taken = bay.take_all(&charges).await.expect("answers");
        assert!(taken.limits.iter().flatten().all(|decision| !decision.is_degraded()));
        taken.allowed
    };
    let allowed = join_all((0..200).map(take)).await.into_iter().filter(|allowed| *allowed).count() as u64;
    assert!(allowed <= 20, "{allowed} admitted");
    for (limit, key) in limits.iter().zip(&keys) {
        assert_eq!(used(limit, key).await, allowed, "what was denied went back");
    }
    // Concurrent callers may have denied each other. One at a time the rest is admitted.
    for i in allowed..20 {
        assert!(take(usize::try_from(i).expect("small")).await);
    }
    assert!(!take(0).await);
}

/// Otherwise a global limit on a dead host would disable every other limit of the event.
#[tokio::test]
async fn a_dead_host_decides_for_its_own_limits_only() {
    if without("redis") {
        return;
    }
    let servers = three();
    let bay = open(&servers, "forebay").await.expect("opens");
    let (living, dead) = (key_on(&bay, "a"), key_on(&bay, "b"));
    let own = patient(&bay, Limit::per_hour("own", 3));
    let global = |on_error| patient(&bay, Limit::per_hour("global", 1_000).on_error(on_error));
    servers[1].kill();
    eventually("the host to be found dead", async || health(&bay)[1] == Health::Down).await;

    let open = [charge(&global(OnError::Open), &dead, 1), charge(&own, &living, 1)];
    for taken in 0..5 {
        let decisions = bay.take_all(&open).await.expect("decides");
        assert_eq!(decisions.allowed, taken < 3, "the limit on the living host holds");
        let degraded: Vec<_> =
            decisions.limits.iter().map(|limit| limit.map(|limit| limit.is_degraded())).collect();
        // The last one is denied by what this process knows.
        assert_eq!(degraded, [(taken < 4).then_some(true), Some(false)]);
    }
    own.reset(&living).await.expect("answers");
    let closed = [charge(&own, &living, 1), charge(&global(OnError::Closed), &dead, 1)];
    let decisions = bay.take_all(&closed).await.expect("decides");
    assert!(!decisions.allowed);
    assert_eq!(used(&own, &living).await, 0, "it went back");
    let local = [charge(&own, &living, 1), charge(&global(OnError::Local), &dead, 1)];
    let decisions = bay.take_all(&local).await.expect("decides");
    assert!(decisions.allowed && decisions.limits[1].expect("was asked").is_degraded());
    assert_eq!(used(&own, &living).await, 1);
}

#[tokio::test]
async fn what_was_charged_goes_back_when_a_later_host_hangs() {
    if without("redis") {
        return;
    }
    let servers = three();
    let proxy = Proxy::new(servers[1].port());
    let urls = [servers[0].url(), servers[1].url_through(&proxy)];
    let hosts = forebay::cluster::Hosts::new().host("a", &*urls[0]).host("b", &*urls[1]);
    let bay = Forebay::options().open_hosts(hosts).await.expect("opens");
    let (sound, silent) = (key_on(&bay, "a"), key_on(&bay, "b"));
    let own = patient(&bay, Limit::per_hour("own", 5));
    let global = bay.limit(Limit::per_hour("global", 5).on_error(OnError::Closed)).expect("valid");
    let charges = [charge(&own, &sound, 1), charge(&global, &silent, 1)];
    assert!(bay.take_all(&charges).await.expect("answers").allowed);

    proxy.set(Fault::BlackHole);
    let decisions = bay.take_all(&charges).await.expect("decides");
    assert!(!decisions.allowed && decisions.limits[1].expect("was asked").is_degraded());
    eventually("the charge to go back", async || used(&own, &sound).await == 1).await;
}

#[tokio::test]
async fn takes_on_one_host_are_one_step_also_among_several() {
    if without("redis") {
        return;
    }
    let servers = [Redis::start(), Redis::start()];
    let proxy = Proxy::new(servers[0].port());
    let hosts =
        forebay::cluster::Hosts::new().host("a", servers[0].url_through(&proxy)).host("b", servers[1].url());
    let bay = Forebay::options().open_hosts(hosts).await.expect("opens");
    let limit = patient(&bay, Limit::per_hour("hits", 50));
    let mut charges: Vec<Charge> = (0..10).map(|_| charge(&limit, &key_on(&bay, "a"), 1)).collect();
    charges.insert(5, charge(&limit, &key_on(&bay, "b"), 1));
    let before = proxy.exchanges();
    assert!(bay.take_all(&charges).await.expect("answers").allowed);
    // Probes use the same proxy: one may have come in between.
    assert!(proxy.exchanges() - before <= 2, "{} round trips", proxy.exchanges() - before);
    for charge in &charges {
        assert_eq!(used(&limit, &charge.key).await, 1);
    }
}
