//! Redis stops, and later dies and restarts without its scripts, while many callers take from a new key. With `on_error =
//! closed` no more than the quota passes. Otherwise every take beyond the quota is marked as degraded.

use std::{
    env,
    io::Read as _,
    process::{Child, Command, Stdio},
    time::Duration,
};

use forebay::{
    Clock, Forebay,
    limit::{CalendarUnit, Kind, LimitHandle, OnError},
    time::{days, millis, secs},
};
use forebay_testkit::{Redis, eventually, without};

use crate::{KINDS, of_kind};

/// The variable with the child's store. A process without it is the parent.
const STORE: &str = "FOREBAY_TEST_OUTAGE_STORE";

const PROCESSES: u64 = 4;
const TASKS: u64 = 64;
const REQUESTS: u64 = 20_000;
const QUOTA: u64 = 1_000;

const POLICIES: [(&str, OnError); 3] =
    [("closed", OnError::Closed), ("open", OnError::Open), ("local", OnError::Local)];

/// The pause between two requests of a task. With it the load lasts until both outages are over.
const PAUSE: Duration = millis(100);

/// The time for which Redis is stopped: longer than all deadlines and connection timeouts.
const STOPPED: Duration = secs(5);

/// One limit of every kind and policy. Their windows do not end and their buckets do not refill.
fn limits(bay: &Forebay) -> Vec<LimitHandle> {
    let of = |(word, on_error): (&str, OnError), kind: Kind| {
        let name = format!("{}-{word}", kind.as_str());
        let limit = of_kind(&name, kind, QUOTA, days(366), CalendarUnit::Week);
        bay.limit(limit.on_error(on_error)).expect("valid")
    };
    POLICIES.into_iter().flat_map(|policy| KINDS.map(|kind| of(policy, kind))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quota_holds_while_redis_stops_and_dies() {
    if without("redis") || env::var(STORE).is_ok() {
        return;
    }
    let server = Redis::builder().append_only().start();
    let bay = Forebay::open(&server.url()).await.expect("opens");
    let first = limits(&bay).swap_remove(0);
    let start = |_| {
        let child = Command::new(env::current_exe().expect("this test"))
            .args(["--exact", "outage::child", "--nocapture"])
            .env(STORE, server.url())
            .stdout(Stdio::piped())
            .spawn();
        child.expect("starts")
    };
    let children: Vec<Child> = (0..PROCESSES).map(start).collect();
    let reaches = async |most: u64| {
        first.peek("cold").await.is_ok_and(|seen| !seen.is_degraded() && seen.used() >= most)
    };
    eventually("the rush to begin", async || reaches(100).await).await;
    server.pause();
    Clock::system().sleep(STOPPED).await;
    server.resume();
    eventually("the rush to go on", async || reaches(400).await).await;
    server.restart();
    let mut sums = [[0u64; 3]; POLICIES.len() * KINDS.len()];
    for mut child in children {
        let mut said = String::new();
        child.stdout.take().expect("piped").read_to_string(&mut said).expect("reads");
        assert!(child.wait().expect("ends").success(), "{said}");
        let numbers = said.lines().find_map(|line| line.split_once("admitted: ")).expect("said").1;
        let numbers = numbers.split(' ').map(|number| number.parse::<u64>().expect("a number"));
        for (sum, number) in sums.as_flattened_mut().iter_mut().zip(numbers) {
            *sum += number;
        }
    }
    for (limit, [admitted, degraded, lost]) in limits(&bay).iter().zip(sums) {
        let name = limit.name();
        println!("{name}: {admitted} by the store, {degraded} without it, {lost} denied without it");
        assert!((1..=QUOTA).contains(&admitted), "{name}: {admitted} admitted by the store");
        assert_eq!(
            limit.peek("cold").await.expect("answers").used(),
            QUOTA,
            "{name}: all of it was asked for"
        );
        match limit.name().as_str().rsplit_once('-').expect("a policy").1 {
            "closed" => assert!(degraded == 0 && lost > 0, "{name}: {degraded}, {lost}"),
            "open" => assert!(degraded > 0 && lost == 0, "{name}: {degraded}, {lost}"),
            // Each process counts its own quota.
            _ => assert!((1..=PROCESSES * QUOTA).contains(&degraded), "{name}: {degraded}"),
        }
    }
}

/// A child process.
#[test]
fn child() {
    let Ok(store) = env::var(STORE) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let admitted = runtime.expect("starts").block_on(async {
        // The store may already be stopped when the last process starts.
        let mut bay = None;
        eventually("the store to open", async || {
            bay = Forebay::open(&store).await.ok();
            bay.is_some()
        })
        .await;
        let bay = bay.expect("opened");
        let mut sums = vec![];
        for limit in limits(&bay) {
            // The other limits need fewer tasks for their assertions.
            let tasks = if limit.name().as_str().ends_with("closed") { TASKS } else { TASKS / 4 };
            sums.push(tokio::spawn(rush(limit, tasks)));
        }
        let mut numbers = vec![];
        for sum in sums {
            numbers.extend(sum.await.expect("ends").map(|number| number.to_string()));
        }
        numbers.join(" ")
    });
    println!("admitted: {admitted}");
}

/// The numbers of takes admitted by the store, admitted without it, and denied without it.
async fn rush(limit: LimitHandle, tasks: u64) -> [u64; 3] {
    let ask = |_| {
        let limit = limit.clone();
        tokio::spawn(async move {
            let (mut sums, mut answered, clock) = ([0; 3], 0, Clock::system());
            while answered < REQUESTS / PROCESSES / TASKS {
                let decision = limit.take("cold").await.expect("answers");
                match (decision.is_degraded(), decision.is_allowed()) {
                    (false, allowed) => (sums[0], answered) = (sums[0] + u64::from(allowed), answered + 1),
                    (true, true) => sums[1] += 1,
                    (true, false) => sums[2] += 1,
                }
                clock.sleep(PAUSE).await;
            }
            sums
        })
    };
    let asked: Vec<_> = (0..tasks).map(ask).collect();
    let mut sums = [0; 3];
    for one in asked {
        for (sum, number) in sums.iter_mut().zip(one.await.expect("ends")) {
            *sum += number;
        }
    }
    sums
}
