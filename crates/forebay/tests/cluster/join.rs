//! Hosts that join and leave while the store is in use: no count of a limit, a series, a buffer or a plain key is lost or doubled,
//! also when the process that moves slots is killed.
//!
//! `FOREBAY_JOIN` writers count, 16 without it; `scripts/faults join` has 64.

use std::{
    env,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use forebay::{
    Error, Forebay, Limit, Retry,
    cluster::{Fate, Hosts, Progress, Reply as Answer, ReshardOptions},
    limit::{Charge, LimitHandle, OnError},
    lock::Release,
    sink::MemorySink,
    time::{millis, secs},
};
use forebay_testkit::{Fault, Proxy, Redis, Reply, eventually, unique_prefix, without};
use futures::future::join_all;
use tokio::{
    sync::Notify,
    task::{JoinHandle, block_in_place},
};

use crate::{
    nodes::Structures,
    reshard::{Load, Writer, check, incr, take, write},
};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn of(names: &str, servers: &[Redis]) -> Hosts {
    let listed = NAMES.iter().zip(servers).filter(|(name, _)| names.contains(**name));
    listed.fold(Hosts::new(), |hosts, (name, server)| hosts.host(*name, server.url()))
}

/// Moves slots from the hosts of `present` to those of `target`. Each time it is ended in the middle, after a little longer.
async fn move_slots(prefix: &str, present: &Hosts, target: &Hosts, kills: u32) -> Progress {
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
    let mut begun = vec![];
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
        tokio::time::sleep(millis(1)).await;
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

/// Killed before the keys are removed on their former host, and turned back: what is there is the only copy by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_is_turned_back_before_its_end_loses_nothing_and_leaves_other_stores_alone() {
    if without("redis") {
        return;
    }
    let servers: [Redis; 3] = block_in_place(|| std::array::from_fn(|_| Redis::start()));
    let three = of("abc", &servers);
    let bay = Forebay::options().prefix("own").open_hosts(three.clone()).await.expect("opens");
    let limit = bay.limit(Limit::per_hour("hits", 1_000)).expect("valid");
    for key in 0..300 {
        assert!(limit.take(key.to_string()).await.expect("answers").is_allowed());
    }
    let foreign = ["other:cluster:name", "other:cluster:placement", "other:window:hits:3600s:{1}"];
    for (server, key) in servers.iter().flat_map(|server| foreign.map(|key| (server, key))) {
        server.command(["SET", key, "x"]);
    }
    // Keys stay for two seconds on their former host.
    for target in ["ac", "abc", "bc", "abc"] {
        let looked = Forebay::options().prefix("own").inspect_hosts(three.clone()).await.expect("answers");
        let (hosts, options) = (of(target, &servers), ReshardOptions::new().take_over());
        let _ = tokio::time::timeout(millis(1_500), looked.reshard(&hosts, &options, |_| ())).await;
    }
    let done = move_slots("own", &three, &three, 0).await;
    assert_eq!(done.slots, done.slots_moved);
    for key in 0..300 {
        assert_eq!(limit.peek(key.to_string()).await.expect("answers").used(), 1, "{key}");
    }
    let looked = Forebay::options().prefix("own").inspect_hosts(three).await.expect("answers");
    for (server, key) in servers.iter().flat_map(|server| foreign.map(|key| (server, key))) {
        assert_eq!(server.command(["GET", key]), Reply::Text("x".into()), "{key}");
    }
    let misplaced: u64 =
        looked.verify(100_000).await.expect("answers").iter().map(|host| host.misplaced).sum();
    // The other store's keys count as plain keys of maps: two of three hosts have them elsewhere.
    assert_eq!(misplaced, 2 * foreign.len() as u64);
}

/// Killed before it removed the keys on the former host, and then the slots go on to a third one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_keys_that_a_killed_move_has_left_behind_are_removed_although_their_slots_move_on() {
    if without("redis") {
        return;
    }
    let servers: [Redis; 3] = block_in_place(|| std::array::from_fn(|_| Redis::start()));
    let three = of("abc", &servers);
    let bay = Forebay::options().prefix("own").open_hosts(three.clone()).await.expect("opens");
    let limit = bay.limit(Limit::per_hour("hits", 1_000)).expect("valid");
    for key in 0..300 {
        assert!(limit.take(key.to_string()).await.expect("answers").is_allowed());
    }
    let keys_of_c = || match servers[2].command(["KEYS", "own:window:*"]) {
        Reply::Array(keys) => keys.len(),
        other => panic!("{other:?}"),
    };
    let before = keys_of_c();
    let looked = Forebay::options().prefix("own").inspect_hosts(three.clone()).await.expect("answers");
    let (hosts, moved) = (of("ab", &servers), Notify::new());
    let told = |progress: &Progress| {
        // To both of the others by then.
        if progress.slots_moved > 512 {
            moved.notify_one();
        }
    };
    let options = ReshardOptions::new();
    tokio::select! {
        biased;
        () = moved.notified() => {}
        done = looked.reshard(&hosts, &options, told) => panic!("it ended, and removed the keys: {done:?}"),
    }
    let after = keys_of_c();
    assert!(after > 20, "{after} of {before} keys");

    move_slots("own", &three, &of("b", &servers), 0).await;
    assert_eq!(keys_of_c(), 0);
    for key in 0..300 {
        assert_eq!(limit.peek(key.to_string()).await.expect("answers").used(), 1, "{key}");
    }
}

/// The numbers of the hosts behind it are others then: a command must not get to one of these.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_for_a_host_that_has_left_is_sent_to_no_other() {
    if without("redis") {
        return;
    }
    let servers: [Redis; 3] = block_in_place(|| std::array::from_fn(|_| Redis::start()));
    let prefix = unique_prefix();
    let three = of("abc", &servers);
    let bay = Forebay::options().prefix(&prefix).open_hosts(three.clone()).await.expect("opens");
    let cluster = bay.cluster();
    let (all, second) = (cluster.all(), cluster.target(["b"]).expect("a host"));
    move_slots(&prefix, &three, &of("ac", &servers), 0).await;
    eventually("the host to have left", async || {
        let _ = bay.limit(Limit::per_hour("hits", 9)).expect("valid").peek("k").await;
        cluster.hosts().len() == 2
    })
    .await;

    let mut map = cluster.map();
    let set = map.fanout::<Answer>(&second, ["SET", "mark", "x"])[0];
    let ports = map.fanout::<Answer>(&all, ["CONFIG", "GET", "port"]);
    let answers = map.run().await;
    for (ticket, (name, server)) in ports.into_iter().zip(NAMES.iter().zip(&servers)) {
        assert_eq!(answers.host(ticket), Some(*name));
        if *name == "b" {
            continue;
        }
        let port = format!("{:?}", answers.get(ticket).expect("it is there"));
        assert!(port.contains(&format!("{:?}", server.port().to_string().as_bytes())), "{name}: {port}");
    }
    assert_eq!(answers.failed().count(), 2);
    let error = answers.get(set).expect_err("it has left");
    assert_eq!((error.host(), error.fate(), error.retry()), ("b", Fate::NotSent, Retry::Never), "{error}");
    assert!(error.cause().to_string().contains("host \"b\" is none of the hosts"), "{}", error.cause());
    for server in &servers {
        assert_eq!(server.command(["EXISTS", "mark"]), Reply::Integer(0));
    }
}

/// The next owner counts as soon as one process knows of it. From then on the former one must not answer another process, which
/// does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_process_has_counted_the_other_one_sees_while_the_slots_of_a_host_leave() {
    if without("redis") {
        return;
    }
    let servers: [Redis; 3] = block_in_place(|| std::array::from_fn(|_| Redis::start()));
    let (prefix, three) = (unique_prefix(), of("abc", &servers));
    let open = async || Forebay::options().prefix(&prefix).open_hosts(three.clone()).await.expect("opens");
    let (counting, looking) = (open().await, open().await);
    let on_c = |key: &String| &*counting.cluster().route(key).host == "c";
    let keys: Vec<String> = (0..).map(|key| format!("k{key}")).filter(on_c).take(200).collect();

    // The host that gets each table first answers the one who moves the slots late: the others get it later.
    let slow = Proxy::new(servers[0].port());
    slow.set(Fault::Delay(millis(20)));
    let via = |target: &str| {
        let hosts = NAMES.iter().zip(&servers).filter(|(name, _)| target.contains(**name));
        hosts.fold(Hosts::new(), |hosts, (name, server)| {
            let url = if *name == "a" { server.url_through(&slow) } else { server.url() };
            hosts.host(*name, url)
        })
    };
    let (now, next) = (via("abc"), via("ab"));
    let looked = Forebay::options().prefix(&prefix).inspect_hosts(now).await.expect("answers");
    let (moved, counts) = (AtomicBool::new(false), AtomicU64::new(0));
    let options = ReshardOptions::new();
    let move_all = async {
        let done = looked.reshard(&next, &options, |_| ()).await;
        moved.store(true, Ordering::Relaxed);
        done.expect("moved");
    };
    let count = async |keys: &[String]| {
        for round in 1.. {
            for key in keys {
                incr(&counting, key).await.expect("an answer");
                let mut map = looking.cluster().map();
                let seen = map.get::<i64>(key);
                assert_eq!(map.run().await.get(seen).expect("an answer"), round, "{key}");
                counts.fetch_add(1, Ordering::Relaxed);
            }
            if moved.load(Ordering::Relaxed) {
                return;
            }
        }
    };
    let ((), _) = futures::join!(move_all, join_all(keys.chunks(20).map(count)));
    assert!(counts.load(Ordering::Relaxed) > 500, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_at_a_time_hosts_of_other_stores_and_one_host_by_two_names_are_refused() {
    if without("redis") {
        return;
    }
    let servers: [Redis; 4] = block_in_place(|| std::array::from_fn(|_| Redis::start()));
    let (prefix, three) = (unique_prefix(), of("abc", &servers));
    let looked = Forebay::options().prefix(&prefix).inspect_hosts(three.clone()).await.expect("answers");
    let options = ReshardOptions::new();
    let refusal = async |target: Hosts, options: &ReshardOptions| {
        looked.reshard(&target, options, |_| ()).await.expect_err("refused").to_string()
    };
    let text = refusal(of("abcd", &servers), &options).await;
    assert!(text.contains("no store with the router slots was opened"), "{text}");
    let _bay = Forebay::options().prefix(&prefix).open_hosts(three.clone()).await.expect("opens");
    let twice = of("abc", &servers).host("d", servers[3].url()).host("e", servers[3].url());
    let text = refusal(twice, &options).await;
    assert!(text.contains("\"e\"") && text.contains("\"d\""), "{text}");

    let other = Hosts::new().host("x", servers[3].url()).host("y", servers[3].url_of(1));
    servers[3].command(["FLUSHALL"]);
    let other = Forebay::options().prefix(&prefix).open_hosts(other).await.expect("opens");
    let text = refusal(three.clone().host("x", servers[3].url()), &ReshardOptions::new().take_over()).await;
    assert!(text.contains("belongs to another store"), "{text}");
    other.close().await.expect("closes");
    servers[3].command(["FLUSHALL"]);

    let key = format!("{prefix}:cluster:reshard");
    servers[0].command(["SET", &key, "somebody"]);
    let text = refusal(of("abcd", &servers), &options).await;
    assert!(text.contains("somebody") && text.contains("--take-over"), "{text}");
    servers[0].command(["DEL", &key]);
    servers[2].command(["SET", &key, "somebody"]);
    let text = refusal(of("bc", &servers), &options).await;
    assert!(text.contains("somebody"), "whatever the target is: {text}");
    servers[2].command(["DEL", &key]);
    servers[3].kill();
    let text = refusal(of("abcd", &servers), &ReshardOptions::new().take_over()).await;
    assert!(text.contains("redis"), "{text}");
}
