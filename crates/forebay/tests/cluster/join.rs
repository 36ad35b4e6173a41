//! Hosts that join and leave while the store is in use: no count of a limit, a series, a buffer or a plain key is lost or doubled,
//! also when the process that moves slots is killed.
//!
//! `FOREBAY_JOIN` writers count, 16 without it; `scripts/faults join` has 64.

use std::{
    env,
    sync::{Arc, Mutex, atomic::Ordering},
};

use forebay::{
    Clock, Error, Forebay, Limit, Retry,
    cluster::{Hosts, Progress, ReshardOptions},
    limit::{Charge, LimitHandle, OnError},
    lock::Release,
    sink::MemorySink,
    time::{millis, secs},
};
use forebay_testkit::{Redis, eventually, unique_prefix, without};
use futures::future::join_all;
use tokio::task::{JoinHandle, block_in_place};

use crate::{
    nodes::Structures,
    reshard::{Load, Writer, check, incr, take, write},
};

pub(crate) const NAMES: [&str; 4] = ["a", "b", "c", "d"];

pub(crate) fn of(names: &str, servers: &[Redis]) -> Hosts {
    let listed = NAMES.iter().zip(servers).filter(|(name, _)| names.contains(**name));
    listed.fold(Hosts::new(), |hosts, (name, server)| hosts.host(*name, server.url()))
}

/// Moves slots from the hosts of `present` to those of `target`. Each time it is ended in the middle, after a little longer.
pub(crate) async fn move_slots(prefix: &str, present: &Hosts, target: &Hosts, kills: u32) -> Progress {
    let attempt = async |options: ReshardOptions| {
        let looked = Forebay::options().prefix(prefix).inspect_hosts(present.clone()).await?;
        looked.reshard(target, &options, |_| ()).await
    };
    for kill in 1..=kills {
        let options = ReshardOptions::new().take_over();
        if let Ok(done) = tokio::time::timeout(millis(u64::from(kill * 150)), attempt(options)).await {
            return done.expect("moved");
        }
    }
    attempt(ReshardOptions::new().take_over()).await.expect("moved")
}

/// Takes from two limits at a time, of which one has a key for all, and answers how often.
async fn take_two(structures: Structures, key: String, load: Load) -> u64 {
    let all =
        structures.bay.limit(Limit::per_hour("all", 1_000_000).on_error(OnError::Closed).deadline(secs(10)));
    let all = all.expect("valid");
    let charge = |limit: &LimitHandle, key: &str| Charge { limit: limit.clone(), key: key.into(), cost: 1 };
    let charges = [charge(&structures.limit, &key), charge(&all, "*")];
    let mut taken = 0;
    while !load.stop.load(Ordering::Relaxed) {
        let decisions = structures.bay.take_all(&charges).await.expect("answers");
        // What was denied because a slot was on its way for too long went back.
        taken += u64::from(decisions.allowed);
    }
    taken
}

/// Counts one of each of many keys that nobody has used before, and answers which.
async fn begin_keys(structures: Structures, prefix: String, load: Load) -> Vec<String> {
    let (clock, mut begun) = (Clock::system(), vec![]);
    for number in 0.. {
        if load.stop.load(Ordering::Relaxed) {
            break;
        }
        let key = format!("{prefix}new{number}");
        match (take(&structures, &key).await, incr(&structures.bay, &key).await) {
            (Ok(()), Ok(())) => begun.push(key),
            (Err(error), _) | (_, Err(error)) => assert!(is_wait(&error), "{error:?}"),
        }
        // Some thousand keys are enough.
        clock.sleep(millis(1)).await;
    }
    begun
}

async fn check_begun(structures: &Structures, keys: &[String]) {
    for keys in keys.chunks(500) {
        let mut map = structures.bay.cluster().map().deadline(secs(5));
        let counts = map.mget::<Option<i64>>(keys);
        let answers = map.run().await;
        for (key, count) in keys.iter().zip(counts) {
            assert_eq!(answers.get(count).expect("an answer"), Some(1), "{key}");
        }
        let takes = join_all(keys.iter().map(|key| structures.limit.peek(key))).await;
        for (key, taken) in keys.iter().zip(takes) {
            assert_eq!(taken.expect("an answer").used(), 1, "{key}");
        }
    }
}

fn is_wait(error: &Error) -> bool {
    error.retry() == Retry::Now || error.to_string().contains("no answer from the store within 1s")
}

/// The locks of one process: whether each is held, and the fence of its last holder.
type Held = Arc<Vec<Mutex<(bool, u64)>>>;

/// Takes each of the locks in turn. It has no other holder then, and its fence rises.
async fn hold(bay: Forebay, prefix: String, held: Held, load: Load) -> u64 {
    let mut holds = 0;
    while !load.stop.load(Ordering::Relaxed) {
        for (number, state) in held.iter().enumerate() {
            let lock = bay.lock(format!("{prefix}{number}")).ttl(secs(5));
            let guard = match lock.acquire_within(secs(20)).await {
                Ok(attempt) => attempt.acquired().expect("it is free soon"),
                // A slot that was on its way for too long, since the process that moved it was killed.
                Err(error) if is_wait(&error) => continue,
                Err(error) => panic!("{error:?}"),
            };
            {
                let mut state = state.lock().expect("no holder panics");
                assert!(!state.0, "two holders of lock {number}");
                assert!(guard.fence() > state.1, "the fence of lock {number} fell");
                *state = (true, guard.fence());
            }
            tokio::task::yield_now().await;
            state.lock().expect("no holder panics").0 = false;
            match guard.release().await {
                Ok(release) => assert_eq!(release, Release::Released),
                Err(error) => assert!(is_wait(&error), "{error:?}"),
            }
            holds += 1;
        }
    }
    holds
}

/// Two processes that use a store, and what they do.
struct Users {
    processes: [Structures; 2],
    load: Load,
    writers: Vec<Writer>,
    holders: Vec<JoinHandle<u64>>,
    pairs: Vec<(String, JoinHandle<u64>)>,
    beginners: [JoinHandle<Vec<String>>; 2],
}

impl Users {
    fn start(processes: [Structures; 2], prefix: &str, keys: &[String], writers: usize) -> Self {
        let load = Load::default();
        let process = |number: usize| processes[number % 2].clone();
        let shares = keys.chunks(keys.len().div_ceil(writers)).enumerate();
        let write = |(number, keys): (usize, &[String])| {
            tokio::spawn(write(process(number), keys.to_vec(), load.clone()))
        };
        let writers = shares.map(write).collect();
        let held: Held = Arc::new((0..20).map(|_| Mutex::default()).collect());
        let hold =
            |number| tokio::spawn(hold(process(number).bay, prefix.to_owned(), held.clone(), load.clone()));
        let holders = (0..4).map(hold).collect();
        let pair = |number| {
            let key = format!("{prefix}pair{number}");
            (key.clone(), tokio::spawn(take_two(process(number), key, load.clone())))
        };
        let pairs = (0..8).map(pair).collect();
        let beginners = [0, 1].map(|number| {
            tokio::spawn(begin_keys(process(number), format!("{prefix}{number}"), load.clone()))
        });
        Self { processes, load, writers, holders, pairs, beginners }
    }

    async fn more(&self, counts: usize) {
        self.load.more(counts as u64, &self.writers).await;
    }

    /// Waits until both processes know the hosts of these names.
    async fn know(&self, names: &str) {
        eventually("all to know the hosts", async || {
            self.processes.iter().all(|process| {
                let mut known: Vec<Box<str>> =
                    process.bay.cluster().hosts().into_iter().map(|host| host.name).collect();
                known.sort_unstable();
                known.concat() == names
            })
        })
        .await;
    }

    /// Ends all of it, and answers what the writers have counted.
    async fn stop(self) -> Vec<(String, [u64; 4])> {
        self.load.stop.store(true, Ordering::Relaxed);
        let mut counts = vec![];
        for writer in self.writers {
            counts.extend(writer.await.expect("no other error"));
        }
        let (mut holds, mut all) = (0, 0);
        for holder in self.holders {
            holds += holder.await.expect("one holder at a time");
        }
        let [structures, _] = &self.processes;
        let mut begun = 0;
        for beginner in self.beginners {
            let keys = beginner.await.expect("no other error");
            check_begun(structures, &keys).await;
            begun += keys.len();
        }
        assert!(begun > 1_000, "{begun} keys");
        let Structures { bay, limit, .. } = structures;
        for (key, pair) in self.pairs {
            let taken = pair.await.expect("answers");
            assert_eq!(limit.peek(&key).await.expect("answers").used(), taken, "{key}");
            all += taken;
        }
        let of_all = bay.limit(Limit::per_hour("all", 1_000_000).deadline(secs(10))).expect("valid");
        assert_eq!(of_all.peek("*").await.expect("answers").used(), all);
        assert!(holds > 100 && all > 100, "{holds} holds, {all} pairs");
        println!(
            "{holds} holds of locks, {all} takes of two limits, {begun} new keys, {} counts; {} were refused after a second",
            self.load.acknowledged.load(Ordering::Relaxed),
            self.load.refused.load(Ordering::Relaxed)
        );
        counts
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn hosts_join_and_leave_under_load_without_a_count_lost_or_doubled() {
    if without("redis") {
        return;
    }
    let servers: [Redis; 4] = block_in_place(|| std::array::from_fn(|_| Redis::start()));
    let prefix = unique_prefix();
    let three = of("abc", &servers);
    let open = async || Forebay::options().prefix(&prefix).open_hosts(three.clone()).await.expect("opens");
    let structures = Structures::of(open().await);
    let writers: usize = env::var("FOREBAY_JOIN").map_or(16, |writers| writers.parse().expect("a number"));
    let keys: Vec<String> = (0..writers * 12).map(|key| format!("{prefix}{key}")).collect();
    let once: Vec<String> = (0..2_000).map(|key| format!("once{key}")).collect();
    for keys in once.chunks(200) {
        for taken in join_all(keys.iter().map(|key| take(&structures, key))).await {
            taken.expect("an answer");
        }
    }
    let sink = MemorySink::new();
    let flushing = structures.buffer.flush_to(sink.clone()).every(millis(100)).spawn();
    let processes = [structures.clone(), Structures::of(open().await)];
    let users = Users::start(processes, &prefix, &keys, writers);
    users.more(keys.len()).await;
    for names in ["abcd", "acd"] {
        let moved = move_slots(&prefix, &three, &of(names, &servers), 3).await;
        println!("{moved:?}");
        assert!(moved.undrained.is_empty(), "{moved:?}");
        users.know(names).await;
        users.more(keys.len()).await;
    }
    let counts = users.stop().await;
    flushing.stop().await.expect("a last flush");
    eventually("all to be flushed", async || structures.buffer.flush().await.is_ok()).await;
    check(&structures, &sink, &counts, &once).await;

    let looked =
        Forebay::options().prefix(&prefix).inspect_hosts(of("acd", &servers)).await.expect("answers");
    for host in looked.verify(100_000).await.expect("answers") {
        assert_eq!(host.misplaced, 0, "{host:?}");
    }
}
