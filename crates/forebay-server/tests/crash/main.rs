//! The program dies at each step of a flush, and at random under load. SQL must end with all acknowledged hits.
//!
//! Answered hits count exactly once. A hit whose answer was cut off may count or not. The random test allows for both. The
//! other test sends no hit at the moment of death.
#![cfg(feature = "test-util")]

mod join;
mod parts;

#[path = "../cli/process.rs"]
#[allow(dead_code, reason = "shared with the tests of the command line, which use all of it")]
mod process;

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    sync::Mutex,
    time::Duration,
};

use forebay_testkit::{Redis, wait_until, without};
use process::Process;

/// The talk's event without its limit. Only explicit requests flush.
const CONFIG: &str = r#"
[series.hits]
[buffers.projects]
key = { id = "text" }
columns = { hits = "sum" }
flush_every = "1h"
partitions = 2
[events.hit]
series = ["hits"]
buffer = { name = "projects", row = { id = "$key" }, columns = { hits = "$n" } }
"#;

/// A program that is restarted many times on the same store and database.
struct World {
    dir: tempfile::TempDir,
    store: String,
    /// Keeps the server alive as long as the store is needed.
    _redis: Option<Redis>,
}

impl World {
    fn embedded() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("forebay.toml"), CONFIG).expect("a file");
        Self { dir, store: "embedded:forebay.redb".into(), _redis: None }
    }

    fn redis() -> Self {
        let redis = Redis::builder().append_only().start();
        Self { store: redis.url(), _redis: Some(redis), ..Self::embedded() }
    }

    fn start(&self, failpoint: Option<&str>) -> (Process, String) {
        let args =
            ["serve", "--listen", "127.0.0.1:0", "--store", &self.store, "--database", "sqlite:app.db"];
        let process = Process::start_with(self.dir.path(), failpoint, &args);
        let address = process.line_after("  URL       http://");
        (process, address)
    }

    /// Flushes everything and returns the rows in SQL, by key.
    fn flushed(&self) -> BTreeMap<String, u64> {
        let (process, address) = self.start(None);
        assert_eq!(post(&address, "/v1/buffers/projects/flush", ""), Some(200));
        process.signal("TERM");
        let (code, log) = process.end();
        assert_eq!(code, 0, "{log}");
        rows(&self.dir.path().join("app.db"))
    }
}

fn rows(database: &Path) -> BTreeMap<String, u64> {
    use sqlx::Connection;
    let url = format!("sqlite:{}", database.display());
    tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
        let mut connection = sqlx::SqliteConnection::connect(&url).await.expect("the database");
        let rows: Vec<(String, i64)> = sqlx::query_as("SELECT id, hits FROM projects")
            .fetch_all(&mut connection)
            .await
            .expect("the table");
        rows.into_iter().map(|(id, hits)| (id, hits.unsigned_abs())).collect()
    })
}

/// The status of a POST, `None` if the connection ended before there was one.
fn post(address: &str, path: &str, body: &str) -> Option<u16> {
    post_with(address, path, "", body)
}

/// [`post`] with more header lines.
fn post_with(address: &str, path: &str, headers: &str, body: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_mins(1))).ok()?;
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}

fn hit(address: &str, key: u64, n: u64) -> Option<u16> {
    post(address, "/v1/events/hit", &format!(r#"{{"key":"{key}","n":{n}}}"#))
}

/// Writes, dies at `failpoint` in a flush, writes on, and flushes.
fn dies_at(world: &World, failpoint: &str) {
    let mut expected = BTreeMap::new();
    let mut write = |address: &str| {
        for i in 0..40 {
            assert_eq!(hit(address, i % 7, i + 1), Some(202), "{failpoint}");
            *expected.entry((i % 7).to_string()).or_insert(0) += i + 1;
        }
    };
    let (process, address) = world.start(Some(failpoint));
    write(&address);
    assert_eq!(post(&address, "/v1/buffers/projects/flush", ""), None, "{failpoint}: it did not die");
    process.end();
    let (process, address) = world.start(None);
    write(&address);
    process.signal("KILL");
    process.end();
    assert_eq!(world.flushed(), expected, "{failpoint}");
}

const FLUSH: [&str; 5] =
    ["flush_after_read", "flush_after_apply", "flush_after_ack", "flush_after_apply:2", "flush_after_ack:2"];

#[test]
fn death_at_any_step_of_a_flush_neither_loses_nor_doubles_on_a_file() {
    for failpoint in FLUSH.iter().chain(&["rotate_before_commit", "rotate_after_commit"]) {
        dies_at(&World::embedded(), failpoint);
    }
}

#[test]
fn death_at_any_step_of_a_flush_neither_loses_nor_doubles_on_redis() {
    if without("redis") {
        return;
    }
    for failpoint in FLUSH {
        dies_at(&World::redis(), failpoint);
    }
}

/// The hits of one key: answered ones, and ones without an answer.
#[derive(Default, Clone, Copy)]
struct Count {
    sure: u64,
    perhaps: u64,
}

type Counts = Mutex<BTreeMap<String, Count>>;

/// Sends hits until the server is dead, and records each answer or its absence.
fn call(address: &str, caller: u64, counts: &Counts) {
    for i in 0.. {
        let key = (caller * 31 + i * 7) % 13;
        let status = hit(address, key, 1);
        let mut counts = counts.lock().expect("no caller panics");
        let count = counts.entry(key.to_string()).or_default();
        match status {
            Some(202) => count.sure += 1,
            // The server died: the hit may count or not, and there is no server left to ask.
            None => {
                count.perhaps += 1;
                return;
            }
            Some(status) => panic!("status {status}"),
        }
    }
}

fn answered(counts: &Counts) -> u64 {
    counts.lock().expect("no caller panics").values().map(|count| count.sure).sum()
}

fn dies_under_load(world: &World, rounds: u64) {
    let counts = Counts::default();
    for round in 0..rounds {
        let (process, address) = world.start(None);
        let before = answered(&counts);
        std::thread::scope(|scope| {
            for caller in 0..4 {
                let (address, counts) = (&address, &counts);
                scope.spawn(move || call(address, caller, counts));
            }
            wait_until("some answers", || answered(&counts) >= before + 20 + 13 * round % 40);
            // With a concurrent flush, the death interrupts more than writes.
            scope.spawn(|| post(&address, "/v1/buffers/projects/flush", ""));
            wait_until("a few more", || answered(&counts) >= before + 25 + 13 * round % 40);
            process.signal("KILL");
        });
        process.end();
    }
    let flushed = world.flushed();
    for (key, count) in counts.lock().expect("no caller panics").iter() {
        let hits = flushed.get(key).copied().unwrap_or(0);
        let range = count.sure..=count.sure + count.perhaps;
        assert!(
            range.contains(&hits),
            "key {key}: {hits} in SQL, {} answered, {} unknown",
            count.sure,
            count.perhaps
        );
    }
}

/// The number of rounds; `FOREBAY_CRASH_ROUNDS` raises it.
fn rounds() -> u64 {
    std::env::var("FOREBAY_CRASH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(4)
}

#[test]
fn death_at_random_under_load_keeps_what_was_answered_on_a_file() {
    dies_under_load(&World::embedded(), rounds());
}

#[test]
fn death_at_random_under_load_keeps_what_was_answered_on_redis() {
    if without("redis") {
        return;
    }
    dies_under_load(&World::redis(), rounds());
}

/// Sends requests under keys of their own until the server is dead; returns those that had no answer.
fn call_once(address: &str, first: u64, sure: &Mutex<Vec<u64>>) -> Vec<u64> {
    for id in first.. {
        match post_once(address, id) {
            Some(202) => sure.lock().expect("no caller panics").push(id),
            None => return vec![id],
            Some(status) => panic!("status {status}"),
        }
    }
    vec![]
}

fn post_once(address: &str, id: u64) -> Option<u16> {
    let paths = ["/v1/events/hit", "/v1/buffers/projects"];
    let bodies = [
        format!(r#"{{"key":"{id}","n":1}}"#),
        format!(r#"{{"row":{{"id":"{id}"}},"columns":{{"hits":1}}}}"#),
    ];
    let way = usize::try_from(id % 2).expect("small");
    post_with(address, paths[way], &format!("Idempotency-Key: {id}\r\n"), &bodies[way])
}

/// A caller without an answer repeats its request under the same key until it is answered.
fn repeats_after_death(world: &World, rounds: u64) {
    let sure = Mutex::<Vec<u64>>::default();
    let mut again = vec![];
    for round in 0..rounds {
        let (process, address) = world.start(None);
        for id in std::mem::take(&mut again) {
            // The server leaves the first attempt alone until its lease ends. Then the repeat completes it.
            wait_until("the repeat to be accepted", || match post_once(&address, id) {
                Some(202) => true,
                Some(409) => false,
                other => panic!("{other:?}"),
            });
            sure.lock().expect("no caller panics").push(id);
        }
        let before = sure.lock().expect("no caller panics").len();
        let answered = || sure.lock().expect("no caller panics").len() - before;
        again = std::thread::scope(|scope| {
            let call = |caller| {
                let (address, sure) = (&address, &sure);
                scope.spawn(move || call_once(address, (round * 4 + caller + 1) << 32 | caller, sure))
            };
            let callers: Vec<_> = (0..4).map(call).collect();
            wait_until("some answers", || {
                answered() >= 20 + usize::try_from(13 * round % 40).expect("small")
            });
            process.signal("KILL");
            callers.into_iter().flat_map(|caller| caller.join().expect("no caller panics")).collect()
        });
        process.end();
    }
    let flushed = world.flushed();
    let sure = sure.into_inner().expect("no caller panics");
    for id in &sure {
        assert_eq!(flushed.get(&id.to_string()), Some(&1), "{id} was answered");
    }
    for id in &again {
        assert!(flushed.get(&id.to_string()).is_none_or(|hits| *hits == 1), "{id} was not");
    }
    assert!(flushed.len() <= sure.len() + again.len());
}

#[test]
fn a_request_that_is_repeated_after_the_servers_death_counts_once() {
    repeats_after_death(&World::embedded(), rounds());
    if !without("redis") {
        repeats_after_death(&World::redis(), rounds());
    }
}
