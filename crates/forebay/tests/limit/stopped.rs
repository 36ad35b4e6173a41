//! Processes with allotments of a leased limit that are stopped, killed, or overtaken by a reset.

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _, stdin},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use forebay::{
    Clock, Forebay, Timestamp,
    limit::{CalendarUnit, Kind, LimitHandle, Mode, OnError, Source},
    time::{hours, millis, mins, secs},
};
use forebay_testkit::{Redis, unique_prefix, without};
use rustix::process::{Pid, Signal, kill_process};

use crate::{KINDS, of_kind};

/// The variable with the child's store, besides the prefix. A process without it is the parent.
const STORE: &str = "FOREBAY_TEST_STOPPED_STORE";
const PREFIX: &str = "FOREBAY_TEST_STOPPED_PREFIX";

const QUOTA: u64 = 1_000;

/// The kinds whose allotments end within seconds. That of a calendar window ends with its day at the earliest.
const SHORT: [Kind; 3] = [Kind::FixedWindow, Kind::SlidingWindow, Kind::TokenBucket];

fn limit(bay: &Forebay, kind: Kind, per: Duration, mode: Mode) -> LimitHandle {
    let limit = of_kind(kind.as_str(), kind, QUOTA, per, CalendarUnit::Week).mode(mode).deadline(mins(1));
    bay.limit(limit.on_error(OnError::Closed)).expect("valid")
}

/// Another process, which takes on command.
struct Puppet {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// The number of admitted takes, and of those within its allotment.
#[derive(Clone, Copy, Debug)]
struct Said {
    admitted: u64,
    within: u64,
}

impl Puppet {
    fn start(prefix: &str, kind: Kind, per: Duration) -> Self {
        let mut child = Command::new(env::current_exe().expect("this test"))
            .args(["--exact", "stopped::puppet", "--nocapture"])
            .envs([(STORE, Redis::shared().url().as_str()), (PREFIX, prefix)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let orders = child.stdin.take().expect("piped");
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        let mut puppet = Self { child, orders, answers };
        puppet.order(&format!("{} {}", kind.as_str(), per.as_millis()));
        puppet
    }

    fn order(&mut self, text: &str) {
        writeln!(self.orders, "{text}").expect("listens");
    }

    fn take(&mut self, times: u64) -> Said {
        self.order(&times.to_string());
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.answers.read_line(&mut line).expect("reads") > 0, "it ended");
            if let Some((_, numbers)) = line.split_once("admitted: ") {
                let (admitted, within) = numbers.trim().split_once(' ').expect("two numbers");
                return Said {
                    admitted: admitted.parse().expect("a number"),
                    within: within.parse().expect("a number"),
                };
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is there");
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn puppet() {
    let (Ok(store), Ok(prefix)) = (env::var(STORE), env::var(PREFIX)) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("starts").block_on(async {
        let bay = Forebay::options().prefix(prefix).open(&store).await.expect("opens");
        let mut orders = stdin().lines().map(|line| line.expect("text"));
        let order = orders.next().expect("a limit");
        let (name, per) = order.split_once(' ').expect("a kind and a period");
        let kind = KINDS.into_iter().find(|kind| kind.as_str() == name).expect("a kind");
        let limit = limit(&bay, kind, millis(per.parse().expect("a number")), Mode::Leased);
        for order in orders {
            let (mut admitted, mut within) = (0, 0);
            for _ in 0..order.parse::<u64>().expect("a number") {
                let decision = limit.take("42").await.expect("answers");
                admitted += u64::from(decision.is_allowed());
                within += u64::from(decision.source() == Source::Lease);
            }
            println!("admitted: {admitted} {within}");
        }
    });
}

async fn parent() -> Option<(String, Forebay)> {
    if without("redis") || env::var(STORE).is_ok() {
        return None;
    }
    let prefix = unique_prefix();
    let bay = Forebay::options().prefix(prefix.clone()).open(&Redis::shared().url()).await.expect("opens");
    Some((prefix, bay))
}

fn now() -> Timestamp {
    Clock::system().now()
}

async fn until(what: impl AsyncFn() -> bool) {
    let patience = async {
        while !what().await {
            Clock::system().sleep(millis(5)).await;
        }
    };
    Clock::system().timeout(mins(1), patience).await.expect("it comes to that");
}

/// Takes the whole rest at once.
async fn drain(limit: &LimitHandle) -> u64 {
    limit.take_up_to("42", QUOTA).await.expect("answers").0
}

#[tokio::test]
async fn a_process_stopped_past_the_deadline_spends_nothing_of_its_allotment() {
    let Some((prefix, bay)) = parent().await else { return };
    for kind in SHORT {
        // The bucket does not refill. Several of the windows end during the test.
        let per = if kind == Kind::TokenBucket { hours(8_000) } else { secs(1) };
        let exact = limit(&bay, kind, per, Mode::Exact);
        let mut puppet = Puppet::start(&prefix, kind, per);
        for attempt in 0.. {
            assert!(attempt < 10, "{kind:?}: each time a window ended in the middle");
            exact.reset("42").await.expect("answers");
            let first = puppet.take(100);
            assert!(first.within > 0, "{kind:?}: it holds something");
            puppet.signal(Signal::STOP);
            let stopped = now();
            until(async || now().since(stopped) > millis(2_500)).await;

            let window = now().as_secs();
            let rest = drain(&exact).await;
            puppet.signal(Signal::CONT);
            let then = puppet.take(50);
            if kind != Kind::TokenBucket && now().as_secs() != window {
                continue;
            }
            assert_eq!(
                (then.admitted, then.within),
                (0, 0),
                "{kind:?}: {rest} of {QUOTA} were granted elsewhere"
            );
            let expected = if kind == Kind::TokenBucket { QUOTA - 100 } else { QUOTA };
            assert!(rest <= expected, "{kind:?}: {rest}");
            break;
        }
    }
}

#[tokio::test]
async fn the_allotment_of_a_killed_process_is_lost_until_its_deadline() {
    let Some((prefix, bay)) = parent().await else { return };
    let per = secs(2);
    for kind in SHORT {
        let exact = limit(&bay, kind, per, Mode::Exact);
        let mut puppet = Puppet::start(&prefix, kind, per);
        let begun = now();
        let mut admitted = puppet.take(100).admitted;
        puppet.signal(Signal::KILL);
        // The rule's bound for a bucket; for windows, the quota times the number of windows that have begun.
        let allowed = |since: Timestamp| {
            let passed = now().since(since).as_micros();
            let whole = u64::try_from(passed / per.as_micros()).expect("short") + 2;
            match kind {
                Kind::TokenBucket => {
                    QUOTA + u64::try_from(passed * 1_000 / per.as_micros()).expect("few") + 1
                }
                _ => QUOTA * whole,
            }
        };
        while now().since(begun) < secs(3) {
            admitted += drain(&exact).await;
            assert!(admitted <= allowed(begun), "{kind:?}: {admitted}");
        }
        until(async || exact.peek("42").await.expect("answers").used() == 0).await;
        assert_eq!(drain(&exact).await, QUOTA, "{kind:?}");
    }
}

#[tokio::test]
async fn a_reset_does_not_double_what_others_hold() {
    let Some((prefix, bay)) = parent().await else { return };
    for kind in KINDS {
        let per = hours(1_000);
        let exact = limit(&bay, kind, per, Mode::Exact);
        let mut puppet = Puppet::start(&prefix, kind, per);
        assert!(puppet.take(100).within > 0, "{kind:?}");
        puppet.signal(Signal::STOP);
        exact.reset("42").await.expect("answers");
        let rest = drain(&exact).await;
        assert!(rest < QUOTA, "{kind:?}: what is held stays charged");
        puppet.signal(Signal::CONT);
        let then = puppet.take(QUOTA).admitted;
        assert!(rest + then <= QUOTA, "{kind:?}: {rest} and {then}");
    }
}
