//! A MariaDB server from start to end.

mod support;

use forebay_testkit::{MariaDb, wait_until, without};
use support::{Holder, process_exists};

#[test]
fn commits_survive_a_kill() {
    if without("mariadb") {
        return;
    }
    let mariadb = MariaDb::start();
    let database = mariadb.new_database();
    mariadb.query(&database, "CREATE TABLE hits (n bigint); INSERT INTO hits VALUES (20)");
    for round in 0..2 {
        mariadb.restart();
        assert_eq!(mariadb.query(&database, "SELECT n FROM hits"), "20", "round {round}");
    }
}

#[test]
fn nothing_is_left_after_drop() {
    if without("mariadb") {
        return;
    }
    let mariadb = MariaDb::start();
    let (pid, dir) = (mariadb.pid().expect("it runs"), mariadb.dir().to_owned());
    drop(mariadb);
    assert!(!process_exists(pid), "process {pid} is left");
    assert!(!dir.exists(), "{} is left", dir.display());
}

#[test]
fn a_killed_test_leaves_no_server() {
    if without("mariadb") {
        return;
    }
    let holder = Holder::of("mariadb");
    let (pid, dir) = (holder.server(), holder.dir());
    let root = dir.parent().expect("the data directory is in the server's").to_owned();
    assert!(process_exists(pid) && root.is_dir());
    holder.kill();
    wait_until("the server to be gone", || !process_exists(pid));
    wait_until("its directory to be gone", || !root.exists());
}

#[test]
fn a_paused_server_answers_when_it_goes_on() {
    if without("mariadb") {
        return;
    }
    let mariadb = MariaDb::start();
    mariadb.pause();
    let answer = std::thread::scope(|scope| {
        let answer = scope.spawn(|| mariadb.query("mysql", "SELECT 1"));
        wait_until("the connection to be made", || support::connections_to(mariadb.port()) > 0);
        assert!(!answer.is_finished());
        mariadb.resume();
        answer.join()
    });
    assert_eq!(answer.expect("it answers"), "1");
}

#[test]
fn a_database_of_ones_own_is_strict_and_transactional() {
    if without("mariadb") {
        return;
    }
    let mariadb = MariaDb::shared();
    assert_eq!(mariadb.url("a"), format!("mysql://root@127.0.0.1:{}/a", mariadb.port()));
    let database = mariadb.new_database();
    assert_eq!(mariadb.query(&database, "SELECT @@default_storage_engine"), "InnoDB");
    let mode = mariadb.query(&database, "SELECT @@sql_mode");
    assert!(mode.contains("STRICT_TRANS_TABLES"), "{mode}");
}
