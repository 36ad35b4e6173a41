//! Several processes take from a new key. Together they get exactly the quota.

use std::{
    env,
    io::Read as _,
    process::{Child, Command, Stdio},
};

use forebay::{
    Clock, Forebay, ManualClock, Timestamp,
    limit::{CalendarUnit, Kind, Mode, OnError},
    time::{days, mins},
};
use forebay_testkit::{Redis, unique_prefix, without};

use crate::{KINDS, of_kind};

/// The variable with the child's stores, besides the prefix. A process without it is the parent.
const STORES: &str = "FOREBAY_TEST_LIMIT_STORES";
const PREFIX: &str = "FOREBAY_TEST_LIMIT_PREFIX";

const PROCESSES: u64 = 4;
const TASKS: u64 = 64;
const REQUESTS: u64 = 20_000;
const QUOTA: u64 = 1_000;

#[test]
fn four_processes_at_a_cold_key_get_the_quota_and_no_more() {
    if without("redis") || env::var(STORES).is_ok() {
        return;
    }
    let port = Redis::shared().port();
    let hosts = format!("redis://127.0.0.1:{port}/1,127.0.0.1:{port}/2,127.0.0.1:{port}/3");
    let (stores, prefix) = (format!("redis://127.0.0.1:{port}/0 {hosts}"), unique_prefix());
    let start = |_| {
        let child = Command::new(env::current_exe().expect("this test"))
            .args(["--exact", "processes::child", "--nocapture"])
            .envs([(STORES, stores.as_str()), (PREFIX, prefix.as_str())])
            .stdout(Stdio::piped())
            .spawn();
        child.expect("starts")
    };
    let children: Vec<Child> = (0..PROCESSES).map(start).collect();
    let mut admitted = vec![0; 4 * KINDS.len()];
    for mut child in children {
        let mut said = String::new();
        child.stdout.take().expect("piped").read_to_string(&mut said).expect("reads");
        assert!(child.wait().expect("ends").success(), "{said}");
        let numbers = said.lines().find_map(|line| line.split_once("admitted: ")).expect("said").1;
        for (sum, number) in admitted.iter_mut().zip(numbers.split(' ')) {
            *sum += number.parse::<u64>().expect("a number");
        }
    }
    // The results cover one host, then three, and on each all kinds, exact and leased. A process may end with an unspent
    // allotment, which the others then lack.
    for (place, admitted) in admitted.into_iter().enumerate() {
        let least = if place % 2 == 0 { QUOTA } else { QUOTA * 9 / 10 };
        assert!((least..=QUOTA).contains(&admitted), "{admitted} in place {place} of {KINDS:?}");
    }
}

/// A child process. Its clock is minutes off, which must not matter.
#[test]
fn child() {
    let (Ok(stores), Ok(prefix)) = (env::var(STORES), env::var(PREFIX)) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let admitted = runtime.expect("starts").block_on(async {
        let mut admitted = vec![];
        for url in stores.split(' ') {
            let minutes = i64::from(std::process::id() % 20) * 60;
            let skewed = ManualClock::at(Timestamp::from_secs(1_790_000_000 + minutes));
            // This test does not cover deadlines: the clock stands still, so none passes.
            let options = Forebay::options().prefix(prefix.clone()).clock(Clock::from(skewed));
            let bay = options.open(url).await.expect("opens");
            for kind in KINDS {
                for mode in [Mode::Exact, Mode::Leased] {
                    admitted.push(take_all(&bay, kind, mode).await.to_string());
                }
            }
        }
        admitted.join(" ")
    });
    println!("admitted: {admitted}");
}

async fn take_all(bay: &Forebay, kind: Kind, mode: Mode) -> u64 {
    // The windows do not end during the test, and the bucket does not refill.
    let name = if mode == Mode::Leased { format!("{}-leased", kind.as_str()) } else { kind.as_str().into() };
    let limit = of_kind(&name, kind, QUOTA, days(366), CalendarUnit::Week).mode(mode).deadline(mins(1));
    let limit = bay.limit(limit.on_error(OnError::Closed)).expect("valid");
    let ask = |_| {
        let limit = limit.clone();
        tokio::spawn(async move {
            let mut admitted = 0;
            for _ in 0..REQUESTS / PROCESSES / TASKS {
                let decision = limit.take("cold").await.expect("answers");
                assert!(!decision.is_degraded());
                admitted += u64::from(decision.is_allowed());
            }
            admitted
        })
    };
    let tasks: Vec<_> = (0..TASKS).map(ask).collect();
    let mut admitted = 0;
    for task in tasks {
        admitted += task.await.expect("ends");
    }
    admitted
}
