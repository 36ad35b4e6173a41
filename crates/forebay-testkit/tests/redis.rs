//! A Redis server from start to end.

mod support;

use std::path::PathBuf;

use forebay_testkit::{Redis, Reply, unique_prefix, wait_until, without};
use support::{Holder, process_exists};

#[test]
fn acknowledged_writes_survive_a_kill() {
    if without("redis") {
        return;
    }
    let redis = Redis::builder().append_only().start();
    let port = redis.port();
    assert_eq!(redis.command(["INCRBY", "hits", "20"]), Reply::Integer(20));
    redis.kill();
    assert_eq!(redis.pid(), None);
    redis.restart();
    assert_eq!(redis.command(["GET", "hits"]), Reply::text("20"));
    assert_eq!(redis.port(), port);
}

#[test]
fn a_plain_server_forgets_on_restart() {
    if without("redis") {
        return;
    }
    let redis = Redis::start();
    redis.command(["SET", "a", "1"]);
    redis.restart();
    assert_eq!(redis.command(["GET", "a"]), Reply::Nil);
}

#[test]
fn nothing_is_left_after_drop() {
    if without("redis") {
        return;
    }
    let redis = Redis::builder().append_only().start();
    let (pid, dir) = (redis.pid().expect("it runs"), redis.dir().to_owned());
    assert!(process_exists(pid) && dir.is_dir());
    drop(redis);
    assert!(!process_exists(pid), "process {pid} is left");
    assert!(!dir.exists(), "{} is left", dir.display());
}

#[test]
fn nothing_is_left_after_a_panic() {
    if without("redis") {
        return;
    }
    let (told, tell) = std::sync::mpsc::channel();
    let panicked = std::thread::spawn(move || {
        let redis = Redis::start();
        told.send((redis.pid().expect("it runs"), redis.dir().to_owned())).expect("the test listens");
        panic!("on purpose");
    })
    .join();
    assert!(panicked.is_err());
    let (pid, dir): (u32, PathBuf) = tell.recv().expect("the server started");
    assert!(!process_exists(pid), "process {pid} is left");
    assert!(!dir.exists(), "{} is left", dir.display());
}

#[test]
fn a_killed_test_leaves_no_server() {
    if without("redis") {
        return;
    }
    let holder = Holder::of("redis");
    let (pid, dir) = (holder.server(), holder.dir());
    assert!(process_exists(pid) && dir.is_dir());
    holder.kill();
    wait_until("the server to be gone", || !process_exists(pid));
    wait_until("its directory to be gone", || !dir.exists());
}

#[test]
fn a_paused_server_is_alive_and_silent() {
    if without("redis") {
        return;
    }
    let redis = Redis::start();
    redis.pause();
    let waiting = std::thread::scope(|scope| {
        let answer = scope.spawn(|| redis.command(["PING"]));
        // The kernel accepts the connection, but the answer can come only after the server is resumed.
        let port = redis.port();
        wait_until("the connection to be made", || support::connections_to(port) > 0);
        assert!(!answer.is_finished());
        redis.resume();
        answer.join()
    });
    assert_eq!(waiting.expect("it answers"), Reply::text("PONG"));
}

#[test]
fn a_paused_server_can_be_dropped() {
    if without("redis") {
        return;
    }
    let redis = Redis::start();
    let pid = redis.pid().expect("it runs");
    redis.pause();
    drop(redis);
    assert!(!process_exists(pid), "process {pid} is left");
}

#[test]
fn options_reach_the_server() {
    if without("redis") {
        return;
    }
    let redis = Redis::builder()
        .option("maxmemory-policy", "allkeys-lru")
        .option("save", "900 1")
        .password("secret")
        .start();
    let get = |name| match redis.command(["CONFIG", "GET", name]) {
        Reply::Array(pair) => pair[1].clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(get("maxmemory-policy"), Reply::text("allkeys-lru"));
    assert_eq!(get("save"), Reply::text("900 1"));
    assert_eq!(get("requirepass"), Reply::text("secret"));
    assert_eq!(redis.url_of(3), format!("redis://:secret@127.0.0.1:{}/3", redis.port()));
}

#[test]
fn a_replica_has_what_its_primary_has() {
    if without("redis") {
        return;
    }
    let primary = Redis::builder().password("secret").start();
    primary.command(["SET", "a", "1"]);
    let replica = Redis::builder().replica_of(&primary).start();
    wait_until("the replica to follow", || replica.command(["GET", "a"]) == Reply::text("1"));
}

#[test]
fn a_wrong_option_is_reported_in_the_servers_words() {
    if without("redis") {
        return;
    }
    let failed = std::panic::catch_unwind(|| Redis::builder().option("no-such-option", "1").start());
    let message = *failed.expect_err("it cannot start").downcast::<String>().expect("a message");
    assert!(message.contains("no-such-option"), "{message}");
}

#[test]
fn tests_share_one_server_and_keep_apart_by_prefix() {
    if without("redis") {
        return;
    }
    let (one, two) = (Redis::shared(), Redis::shared());
    assert_eq!(one.port(), two.port());
    let (a, b) = (unique_prefix(), unique_prefix());
    assert_eq!(one.command(["INCR", &a]), Reply::Integer(1));
    assert_eq!(two.command(["INCR", &b]), Reply::Integer(1));
}
