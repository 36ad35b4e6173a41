//! A Postgres server from start to end.

mod support;

use std::fs;

use forebay_testkit::{Postgres, Proxy, wait_until, without};
use support::{Holder, children, process_exists};

/// Returns whether the System V segment that `pid` created still exists.
fn has_segment(pid: u32) -> bool {
    let table = fs::read_to_string("/proc/sysvipc/shm").expect("Linux has it");
    table.lines().any(|row| row.split_whitespace().nth(4) == Some(&pid.to_string()))
}

#[test]
fn commits_survive_a_kill() {
    if without("postgres") {
        return;
    }
    let postgres = Postgres::start();
    let database = postgres.new_database();
    postgres.query(&database, "CREATE TABLE hits (n bigint); INSERT INTO hits VALUES (20)");
    for round in 0..3 {
        postgres.restart();
        assert_eq!(postgres.query(&database, "SELECT n FROM hits"), "20", "round {round}");
    }
}

#[test]
fn nothing_is_left_after_drop() {
    if without("postgres") {
        return;
    }
    let postgres = Postgres::start();
    let (pid, dir) = (postgres.pid().expect("it runs"), postgres.dir().to_owned());
    let workers = children(pid);
    assert!(!workers.is_empty() && has_segment(pid));
    drop(postgres);
    assert!(!process_exists(pid) && !workers.into_iter().any(process_exists), "a process is left");
    assert!(!has_segment(pid), "a shared memory segment is left");
    assert!(!dir.exists(), "{} is left", dir.display());
}

#[test]
fn nothing_is_left_of_a_killed_server() {
    if without("postgres") {
        return;
    }
    let postgres = Postgres::start();
    let (pid, dir) = (postgres.pid().expect("it runs"), postgres.dir().to_owned());
    postgres.kill();
    drop(postgres);
    assert!(!has_segment(pid), "a shared memory segment is left");
    assert!(!dir.exists(), "{} is left", dir.display());
}

#[test]
fn a_killed_test_leaves_no_server() {
    if without("postgres") {
        return;
    }
    let holder = Holder::of("postgres");
    let (pid, dir) = (holder.server(), holder.dir());
    let root = dir.parent().expect("the data directory is in the server's").to_owned();
    assert!(process_exists(pid) && root.is_dir());
    holder.kill();
    wait_until("the server to be gone", || !process_exists(pid));
    wait_until("its directory to be gone", || !root.exists());
    assert!(!has_segment(pid), "a shared memory segment is left");
}

#[test]
fn a_paused_server_answers_when_it_goes_on() {
    if without("postgres") {
        return;
    }
    let postgres = Postgres::shared();
    postgres.pause();
    let answer = std::thread::scope(|scope| {
        let answer = scope.spawn(|| postgres.query("postgres", "SELECT 1"));
        wait_until("the connection to be made", || support::connections_to(postgres.port()) > 0);
        assert!(!answer.is_finished());
        postgres.resume();
        answer.join()
    });
    assert_eq!(answer.expect("it answers"), "1");
}

#[test]
fn it_is_reached_by_its_url_and_through_a_proxy() {
    if without("postgres") {
        return;
    }
    let postgres = Postgres::start();
    let proxy = Proxy::new(postgres.port());
    assert_eq!(postgres.url("a"), format!("postgres://postgres@127.0.0.1:{}/a", postgres.port()));
    assert_eq!(
        postgres.url_through(&proxy, "a"),
        format!("postgres://postgres@127.0.0.1:{}/a", proxy.port())
    );
    let collation = "SELECT datcollate FROM pg_database WHERE datname = current_database()";
    assert_eq!(postgres.query(&postgres.new_database(), collation), "C");
}
