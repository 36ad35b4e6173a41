//! A process dies between two steps of one decision. The limit is never exceeded, and a charge without effect ends with
//! its window.

use std::{env, os::unix::process::ExitStatusExt as _, process::Command};

use forebay::{
    Forebay, Limit,
    limit::{Charge, LimitHandle, Reserve},
    time::{days, mins, secs},
};
use forebay_testkit::{Redis, eventually, unique_prefix, without};

/// The variable with the child's operation, besides the store and the prefix. A process without it is the parent.
const DOES: &str = "FOREBAY_TEST_DEATH";
const STORE: &str = "FOREBAY_TEST_DEATH_STORE";
const PREFIX: &str = "FOREBAY_TEST_DEATH_PREFIX";

const QUOTA: u64 = 5;
const KEYS: u64 = 9;

/// Three hosts, which are databases of one server.
fn store() -> String {
    let port = Redis::shared().port();
    format!("redis://127.0.0.1:{port}/1,127.0.0.1:{port}/2,127.0.0.1:{port}/3")
}

async fn open(url: &str, prefix: &str) -> (LimitHandle, LimitHandle, Forebay) {
    let bay = Forebay::options().prefix(prefix).open(url).await.expect("opens");
    let limit = |name, per| bay.limit(Limit::new(name, QUOTA, per).deadline(mins(1))).expect("valid");
    (limit("day", days(366)), limit("short", secs(2)), bay)
}

/// Runs a child that dies at a failpoint.
fn die(prefix: &str, does: &str, at: &str) {
    let child = Command::new(env::current_exe().expect("this test"))
        .args(["--exact", "death::child", "--nocapture"])
        .envs([(DOES, does), (STORE, &*store()), (PREFIX, prefix), ("FOREBAY_FAILPOINT", at)])
        .output()
        .expect("starts");
    assert_eq!(child.status.signal(), Some(6), "{does} at {at}: {}", String::from_utf8_lossy(&child.stderr));
}

/// Returns the used part of a key. Then takes the rest, and checks that both add up to the quota.
async fn used_and_the_rest(limit: &LimitHandle, key: &str) -> u64 {
    let used = limit.peek(key).await.expect("answers").used();
    let mut admitted = 0;
    for _ in 0..2 * QUOTA {
        admitted += u64::from(limit.take(key).await.expect("answers").is_allowed());
    }
    assert_eq!(used + admitted, QUOTA, "{key}");
    used
}

#[tokio::test]
async fn a_take_over_several_hosts_that_is_not_finished_admits_nothing_too_much() {
    if without("redis") {
        return;
    }
    let mut stray = vec![];
    for hosts in 1..=3u64 {
        let prefix = unique_prefix();
        die(&prefix, "take_all", &format!("take_all_after_host:{hosts}"));
        let (day, short, _bay) = open(&store(), &prefix).await;
        let mut charged = 0;
        for key in 0..KEYS {
            let used = used_and_the_rest(&day, &key.to_string()).await;
            assert!(used == 0 || used == 2, "all of a charge or nothing: {used}");
            charged += used / 2;
        }
        stray.push(charged);
        eventually("the stray charges to be gone", async || {
            let mut used = 0;
            for key in 0..KEYS {
                used += short.peek(key.to_string()).await.expect("answers").used();
            }
            used == 0
        })
        .await;
    }
    assert!(0 < stray[0] && stray[0] < stray[1] && stray[1] < stray[2] && stray[2] == KEYS, "{stray:?}");
}

#[tokio::test]
async fn a_reservation_whose_holder_dies_keeps_its_charge_and_never_less() {
    if without("redis") {
        return;
    }
    for (does, at, left) in [
        ("reserve", "reserve_after_lease", 0),
        ("reserve", "reserve_after_charge", 3),
        // The process dies between the two steps of a settlement. A lower cost is not refunded, and a higher cost is not
        // charged.
        ("commit 1", "commit_after_release", 3),
        ("commit 5", "commit_after_release", 3),
    ] {
        let prefix = unique_prefix();
        die(&prefix, does, at);
        let (day, short, _bay) = open(&store(), &prefix).await;
        assert_eq!(used_and_the_rest(&day, "0").await, left, "{does} at {at}");
        eventually("the window to end", async || short.peek("0").await.expect("answers").used() == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let (Ok(does), Ok(url), Ok(prefix)) = (env::var(DOES), env::var(STORE), env::var(PREFIX)) else { return };
    let (day, short, bay) = open(&url, &prefix).await;
    if does == "take_all" {
        let charge =
            |limit: &LimitHandle, key: u64| Charge { limit: limit.clone(), key: key.to_string(), cost: 2 };
        let charges: Vec<Charge> =
            (0..KEYS).flat_map(|key| [charge(&day, key), charge(&short, key)]).collect();
        let _ = bay.take_all(&charges).await;
        return;
    }
    for limit in [&short, &day] {
        // The short limit comes first, so that its window has ended when the other limit is checked.
        if limit.name().as_str() == "short" {
            let _ = limit.take_n("0", 2).await.expect("answers");
            continue;
        }
        let Reserve::Granted(reservation) = limit.reserve("0", 3, secs(60)).await.expect("answers") else {
            panic!("a cold key has room")
        };
        if let Some(cost) = does.strip_prefix("commit ") {
            reservation.commit(cost.parse().expect("a number")).await.expect("answers");
        }
    }
}
