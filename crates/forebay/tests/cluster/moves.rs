//! Slots of hosts that move, and end early, or meet what is not meant to be there.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use forebay::{
    Error, Forebay, Limit, Retry,
    cluster::{Fate, Hosts, Progress, Reply as Answer, ReshardOptions},
    limit::{LimitHandle, OnError},
    time::{millis, secs},
};
use forebay_testkit::{Fault, Proxy, Redis, Reply, eventually, unique_prefix, without};
use futures::future::join_all;
use tokio::{sync::Notify, task::block_in_place};

use crate::{
    join::{NAMES, move_slots, of},
    reshard::incr,
};

/// A store of three hosts with some takes, and the limit.
async fn taken(three: &Hosts, keys: u32) -> (Forebay, LimitHandle) {
    let bay = Forebay::options().prefix("own").open_hosts(three.clone()).await.expect("opens");
    let limit = Limit::per_hour("hits", 1_000).on_error(OnError::Closed).deadline(secs(5));
    let limit = bay.limit(limit).expect("valid");
    for key in 0..keys {
        assert!(limit.take(key.to_string()).await.expect("answers").is_allowed());
    }
    (bay, limit)
}

/// Killed before the keys are removed on their former host, and turned back: what is there is the only copy by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_is_turned_back_before_its_end_loses_nothing_and_leaves_other_stores_alone() {
    if without("redis") {
        return;
    }
    let servers: [Redis; 3] = block_in_place(|| std::array::from_fn(|_| Redis::start()));
    let three = of("abc", &servers);
    let (_bay, limit) = taken(&three, 300).await;
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
    let (_bay, limit) = taken(&three, 300).await;
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

/// Tries to let hosts join, and returns the error. The callback gets each progress.
async fn refused(three: &Hosts, next: &Hosts, told: impl FnMut(&Progress) + Send) -> Error {
    let looked = Forebay::options().prefix("own").inspect_hosts(three.clone()).await.expect("answers");
    looked.reshard(next, &ReshardOptions::new(), told).await.expect_err("refused")
}

/// Their keys would be taken for keys of this store: overwritten, carried off, or removed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_of_another_store_or_program_does_not_join() {
    if without("redis") {
        return;
    }
    let servers: [Redis; 4] = block_in_place(|| std::array::from_fn(|_| Redis::start()));
    let (three, four) = (of("abc", &servers), of("abcd", &servers));
    let (_bay, limit) = taken(&three, 50).await;
    // Its table is a later one than that of a store that was just opened.
    move_slots("own", &three, &of("ac", &servers), 0).await;
    move_slots("own", &three, &three, 0).await;

    let alone = servers[0].url();
    let error = Forebay::options().prefix("own").open(&alone).await.expect_err("one of three").to_string();
    assert!(
        error.contains("the host is \"a\", one of the 3 hosts of a store: list all of them (a, b, c)"),
        "{error}"
    );
    let alone = servers[3].url();
    let single = Forebay::options().prefix("own").open(&alone).await.expect("opens");
    let _ = single.limit(Limit::per_hour("hits", 9)).expect("valid").take("k").await.expect("answers");
    single.close().await.expect("closes");
    let text = refused(&three, &four, |_| ()).await.to_string();
    assert!(text.contains("host \"d\" has keys, such as \"own:"), "{text}");
    assert!(text.contains("another database, or remove them"), "{text}");

    servers[3].command(["FLUSHALL"]);
    let fifth = Redis::start();
    let both = Hosts::new().host("d", &alone).host("e", fifth.url());
    let other = Forebay::options().prefix("own").open_hosts(both).await.expect("opens");
    let text = refused(&three, &four, |_| ()).await.to_string();
    other.close().await.expect("closes");
    assert!(text.contains("host \"d\" belongs to another store"), "{text}");

    servers[3].command(["FLUSHALL"]);
    servers[3].command(["SET", "user:1", "x"]);
    let text = refused(&three, &four, |_| ()).await.to_string();
    assert!(text.contains("host \"d\" has keys, such as \"user:1\""), "{text}");
    assert_eq!(servers[3].command(["DBSIZE"]), Reply::Integer(1), "nothing was written there");
    // Processes have no password for it.
    let guarded = Redis::builder().password("secret").start();
    let text = refused(&three, &three.clone().host("d", guarded.url()), |_| ()).await.to_string();
    assert!(
        text.contains("host \"d\": processes that have the store open") && text.contains("NOAUTH"),
        "{text}"
    );
    // Keys of a store of another prefix stay where they are.
    servers[3].command(["FLUSHALL"]);
    for key in ["other:cluster:name", "other:window:hits:3600s:{1}"] {
        servers[3].command(["SET", key, "x"]);
    }
    move_slots("own", &three, &four, 0).await;
    for key in 0..50 {
        assert_eq!(limit.peek(key.to_string()).await.expect("answers").used(), 1, "{key}");
    }
}

/// The host that is to get slots fails while keys are copied to it: their owner goes on, and the others can do without it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_fails_in_the_middle_costs_nothing() {
    if without("redis") {
        return;
    }
    for full in [true, false] {
        let servers: [Redis; 4] = block_in_place(|| std::array::from_fn(|_| Redis::start()));
        let three = of("abc", &servers);
        let (bay, limit) = taken(&three, 300).await;
        // It answers late, so that it fails in the middle of a batch.
        let slow = Proxy::new(servers[3].port());
        slow.set(Fault::Delay(millis(50)));
        let four = three.clone().host("d", servers[3].url_through(&slow));
        let fail = async {
            eventually("keys to be copied", async || {
                format!("{:?}", servers[0].command(["GET", "own:cluster:placement"])).contains("moving d")
            })
            .await;
            if full {
                servers[3].command(["CONFIG", "SET", "maxmemory", "1"]);
            } else {
                block_in_place(|| servers[3].kill());
            }
        };
        let (error, ()) = futures::join!(refused(&three, &four, |_| ()), fail);
        assert_eq!(error.retry(), Retry::Later, "{error}");
        for key in 0..300 {
            let taken = limit.take(key.to_string()).await.expect("answers");
            assert!(taken.used() == 2 && !taken.is_degraded(), "{key}: {taken:?}");
        }
        move_slots("own", &three, &three, 0).await;
        for key in 0..300 {
            assert_eq!(limit.peek(key.to_string()).await.expect("answers").used(), 2, "{key}");
        }
        eventually("the host to be forgotten", async || {
            let _ = limit.peek("0").await;
            bay.cluster().hosts().len() == 3
        })
        .await;
    }
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
