//! Locks on a real Redis: time is real here, so leases are short and tests wait for conditions.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use forebay::{
    Forebay, LockHandle, conformance,
    lock::{Attempt, Loss, Release},
    time::{hours, millis, secs},
};
use forebay_testkit::{Fault, Proxy, Redis, Reply, eventually, unique_prefix};

use crate::{acquired, exclusive::Section};

async fn open(url: &str, prefix: &str) -> Forebay {
    Forebay::options().prefix(prefix).open(url).await.expect("it runs")
}

async fn shared() -> Forebay {
    open(&Redis::shared().url(), &unique_prefix()).await
}

fn keys(server: &Redis, pattern: &str) -> Vec<String> {
    let Reply::Array(keys) = server.command(["KEYS", pattern]) else { panic!("not an array") };
    let text = |reply| match reply {
        Reply::Text(key) => key,
        other => panic!("not a key: {other:?}"),
    };
    keys.into_iter().map(text).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_of_the_seam() {
    let bay = shared().await;
    let cases = conformance::cases().into_iter().filter(|case| case.name.starts_with("lock::"));
    let runs: Vec<_> = cases.map(|case| tokio::spawn((case.run)(bay.clone()))).collect();
    assert!(runs.len() >= 8);
    for run in runs {
        run.await.expect("the case holds");
    }
}

#[tokio::test]
async fn random_steps_are_answered_as_the_model_says() {
    let bay = shared().await;
    for seed in 100..108 {
        conformance::locks_follow_the_model(&bay, None, seed, 300).await;
    }
}

#[tokio::test]
async fn every_key_goes_by_itself() {
    let (server, prefix) = (Redis::shared(), unique_prefix());
    let bay = open(&server.url(), &prefix).await;
    let lock = bay.lock("report");
    let guard = acquired(lock.try_acquire().await.expect("answers"));
    let waiter = tokio::spawn({
        let lock = lock.clone();
        async move { lock.acquire().await }
    });
    eventually("the waiter", async || lock.state().await.expect("answers").waiters == 1).await;
    let day: i64 = 86_400_000;
    let lifetime = |key: &str| match server.command(["PTTL", key]) {
        Reply::Integer(ms) => ms,
        other => panic!("not a lifetime: {other:?}"),
    };
    let all = keys(server, &format!("{prefix}:*"));
    assert_eq!(all.len(), 3, "{all:?}");
    for key in all {
        let (ms, is_lock) = (lifetime(&key), key.ends_with('}'));
        let range = if is_lock { day + 5_000..=day + 10_000 } else { 1..=6_000 };
        assert!(range.contains(&ms), "{key}: {ms} ms");
    }
    assert_eq!(guard.release().await.expect("answers"), Release::Released);
    let guard = waiter.await.expect("no panic").expect("answers");
    assert_eq!(guard.release().await.expect("answers"), Release::Released);
    // The remaining key keeps the fence.
    let left = keys(server, &format!("{prefix}:*"));
    assert_eq!(left, [format!("{prefix}:lock:{{report}}")]);
    assert!((day - 60_000..=day).contains(&lifetime(&left[0])));
}

#[tokio::test]
async fn a_release_wakes_a_waiter_of_another_process() {
    let (url, prefix) = (Redis::shared().url(), unique_prefix());
    let bays = [open(&url, &prefix).await, open(&url, &prefix).await];
    let clock = bays[0].clock().clone();
    let mut guard = acquired(bays[0].lock("report").try_acquire().await.expect("answers"));
    let begun = clock.monotonic();
    for round in 1..=20 {
        let lock = bays[round % 2].lock("report");
        let waiter = tokio::spawn({
            let lock = lock.clone();
            async move { lock.acquire().await }
        });
        eventually("the waiter", async || lock.state().await.expect("answers").waiters == 1).await;
        assert_eq!(guard.release().await.expect("answers"), Release::Released);
        guard = waiter.await.expect("no panic").expect("answers");
    }
    // Without notifications it would take 15 s or more.
    let took = clock.monotonic().saturating_sub(begun);
    assert!(took < secs(10), "{took:?} for 20 hand-overs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiters_of_several_processes_are_served_in_the_order_in_which_they_came() {
    let (url, prefix) = (Redis::shared().url(), unique_prefix());
    let bays = [open(&url, &prefix).await, open(&url, &prefix).await, open(&url, &prefix).await];
    let first = acquired(bays[0].lock("report").ttl(secs(60)).try_acquire().await.expect("answers"));
    let served = Arc::new(Mutex::new(vec![]));
    let mut waiters = vec![];
    for n in 0..150_u64 {
        let lock = bays[usize::try_from(n % 3).expect("small")].lock("report");
        let (waiting, served) = (lock.clone(), served.clone());
        waiters.push(tokio::spawn(async move {
            let guard = waiting.acquire().await.expect("answers");
            served.lock().expect("no panic").push((n, guard.fence()));
            assert_eq!(guard.release().await.expect("answers"), Release::Released);
        }));
        eventually("it to queue", async || lock.state().await.expect("answers").waiters > n).await;
    }
    assert_eq!(first.release().await.expect("answers"), Release::Released);
    for waiter in waiters {
        waiter.await.expect("no panic");
    }
    let served = served.lock().expect("no panic");
    assert!(served.iter().map(|(n, _)| *n).eq(0..150), "{served:?}");
    assert!(served.is_sorted_by(|(_, one), (_, two)| one < two), "fences increase");
}

#[tokio::test]
async fn an_answer_that_is_lost_is_asked_for_again() {
    let (server, prefix) = (Redis::shared(), unique_prefix());
    let proxy = Proxy::new(server.port());
    let bay = open(&server.url_through(&proxy), &prefix).await;
    let lock = bay.lock("report").ttl(secs(30));
    for fault in [Fault::DropReply { after: 0 }, Fault::DropRequest { after: 0 }] {
        proxy.set(fault);
        let guard = acquired(lock.try_acquire().await.expect("answers the second time"));
        assert_eq!(proxy.fault(), Fault::Pass);
        assert_eq!(lock.state().await.expect("answers").holding.expect("held").fence, guard.fence());

        proxy.set(fault);
        assert_eq!(guard.release().await.expect("answers the second time"), Release::Released);
        assert_eq!(proxy.fault(), Fault::Pass);
        assert_eq!(lock.state().await.expect("answers").holding, None);
    }
}

#[tokio::test]
async fn a_guard_outlives_a_cut_connection_and_not_its_deadline() {
    let (server, prefix) = (Redis::shared(), unique_prefix());
    let proxy = Proxy::new(server.port());
    let bay = open(&server.url_through(&proxy), &prefix).await;
    let direct = open(&server.url(), &prefix).await;
    let guard = acquired(bay.lock("report").ttl(secs(2)).try_acquire().await.expect("answers"));
    let clock = bay.clock();
    let begun = clock.monotonic();
    while clock.monotonic() < begun + secs(3) {
        proxy.cut();
        clock.sleep(millis(400)).await;
        assert!(guard.is_held());
    }

    proxy.set(Fault::BlackHole);
    // The lease ends in time, whether or not the renewal before was answered.
    let left = guard.remaining();
    let cut = clock.monotonic();
    assert_eq!(guard.lost().await, Loss::Expired);
    let told = clock.monotonic().saturating_sub(cut);
    assert!(told < left + secs(1), "told after {told:?}, with {left:?} left");
    // No other holder gets the lock before that.
    let after = acquired(direct.lock("report").acquire_within(secs(5)).await.expect("answers"));
    assert!(after.fence() > guard.fence());
    proxy.set(Fault::Pass);
    assert_eq!(guard.release().await.expect("answers"), Release::AlreadyLost);
    assert!(after.is_held());
    assert_eq!(after.release().await.expect("answers"), Release::Released);
}

#[tokio::test]
async fn a_store_that_lost_everything_is_noticed_and_fences_go_on() {
    let server = Redis::start();
    let bay = open(&server.url(), "forebay").await;
    let lock = bay.lock("report").ttl(secs(1));
    for loss in [&["FLUSHALL"][..], &["DEL", "forebay:lock:{report}"]] {
        let guard = acquired(lock.try_acquire().await.expect("answers"));
        server.command(loss.iter().copied());
        let next = acquired(lock.try_acquire().await.expect("answers"));
        assert!(next.fence() > guard.fence(), "{} after {}", next.fence(), guard.fence());
        assert_eq!(guard.lost().await, Loss::NotHolder);
        assert!(next.is_held());
        assert_eq!(next.release().await.expect("answers"), Release::Released);
    }
}

#[tokio::test]
async fn waiters_survive_the_loss_of_the_queue_and_of_the_inbox() {
    let server = Redis::start();
    let bay = open(&server.url(), "forebay").await;
    let lock = bay.lock("report").ttl(secs(60));
    let mut guard = acquired(lock.try_acquire().await.expect("answers"));
    let queue = "forebay:lock:{report}:queue";
    let losses = [
        &["DEL", queue][..],
        &["DEL", "forebay:lock:{report}:heard"],
        &["CLIENT", "KILL", "TYPE", "pubsub"],
        &["FLUSHALL"],
    ];
    for loss in losses {
        let waiter = tokio::spawn({
            let lock = lock.clone();
            async move { lock.acquire().await }
        });
        eventually("the waiter", async || lock.state().await.expect("answers").waiters == 1).await;
        server.command(loss.iter().copied());
        drop(guard);
        guard = tokio::time::timeout(secs(20), waiter)
            .await
            .unwrap_or_else(|_| panic!("not served after {loss:?}"))
            .expect("no panic")
            .expect("answers");
    }
    drop(guard);
    eventually("nothing to be left", async || keys(&server, &format!("{queue}*")).is_empty()).await;
}

#[tokio::test]
async fn a_store_that_stands_still_is_unavailable_in_time() {
    let server = Redis::start();
    let bay = open(&server.url(), "forebay").await;
    let guard = acquired(bay.lock("mine").ttl(secs(1)).try_acquire().await.expect("answers"));
    server.pause();
    let clock = bay.clock();
    let begun = clock.monotonic();
    assert!(bay.lock("other").try_acquire().await.is_err());
    assert_eq!(guard.lost().await, Loss::Expired);
    let took = clock.monotonic().saturating_sub(begun);
    assert!(took < secs(5), "{took:?}");
    server.resume();
    // The lock in doubt is released; it does not stay for its lease of an hour.
    let long = bay.lock("other").ttl(hours(1));
    eventually("the lock to be free", async || {
        long.try_acquire().await.is_ok_and(|attempt| attempt.acquired().is_some())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn never_two_holders_though_connections_break() {
    let (server, prefix) = (Redis::shared(), unique_prefix());
    let proxies = [Proxy::new(server.port()), Proxy::new(server.port())];
    let (section, done) = (Arc::new(Section::default()), Arc::new(AtomicBool::new(false)));
    let mut tasks = vec![];
    for proxy in &proxies {
        let bay = open(&server.url_through(proxy), &prefix).await;
        for _ in 0..4 {
            let task = visit_until(done.clone(), bay.lock("section").ttl(secs(3)), section.clone());
            tasks.push(tokio::spawn(task));
        }
    }
    let clock = forebay::Clock::system();
    let faults = [Fault::DropReply { after: 3 }, Fault::DropRequest { after: 3 }, Fault::Delay(millis(30))];
    for round in 0..60 {
        let proxy = &proxies[round % 2];
        match faults.get(round % 5) {
            Some(fault) => proxy.set(*fault),
            None => proxy.cut(),
        }
        clock.sleep(millis(50)).await;
        proxy.set(Fault::Pass);
    }
    done.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.expect("no panic");
    }
    let entered = section.entered();
    assert!(entered > 50, "{entered}");
}

async fn visit_until(done: Arc<AtomicBool>, lock: LockHandle, section: Arc<Section>) {
    while !done.load(Ordering::Relaxed) {
        let Ok(Attempt::Acquired(guard)) = lock.acquire_within(Duration::from_millis(500)).await else {
            continue;
        };
        section.visit(guard.fence()).await;
        assert!(guard.is_held(), "a visit takes no time");
        let _ = guard.release().await;
    }
}
