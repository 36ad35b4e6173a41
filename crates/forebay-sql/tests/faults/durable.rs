//! "Applied before" is answered only when the other commit is on disk.
//!
//! A database shows a commit to others before it is on disk. One flusher hangs in its commit, another finds the batch in the
//! ledger and acknowledges it, and then the power fails: the batch is gone from both sides.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use forebay::{
    Buffer, Clock,
    buffer::{Row, RowKey, Schema},
    sink::{Applied, Batch, Sink as _},
    time::{millis, mins},
};
use forebay_sql::{Migrate, MySql, Options, Postgres, Sqlite};
use forebay_testkit::{MariaDb, Strace, eventually, wait_until, without};
use sqlx::{Connection as _, Row as _, mysql::MySqlConnection};
use uuid::Uuid;

use crate::number;

fn schema() -> Arc<Schema> {
    Buffer::new("hits").key("id").sum("n").build().expect("valid")
}

/// A batch with one row, which is named like the batch.
fn batch(id: Uuid) -> Batch {
    let schema = schema();
    let key = RowKey::new(&schema, &[id.to_string().into()]).expect("a key");
    let row = Row { key, cells: [Some(1.into())].into() };
    Batch::new(id, schema, 0, vec![row])
}

fn options() -> Options {
    Options::new().migrate(Migrate::Yes)
}

/// A server is killed at any moment of a commit. Afterwards it has every batch that it confirmed to one of two flushers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_has_what_was_found_in_its_ledger_when_it_comes_back() {
    if without("mariadb") || without("strace") {
        return;
    }
    let (server, mut random) = (MariaDb::start(), number("FOREBAY_SEED", 1));
    server.query("mysql", "CREATE DATABASE app; CREATE TABLE app.noise (id INT AUTO_INCREMENT PRIMARY KEY)");
    let (mut acknowledged, mut lost) = (0, vec![]);
    for round in 0..number("FOREBAY_KILLS", 4) {
        // These are the sinks of two processes.
        let [one, other] = [open(&server).await, open(&server).await];
        let strace = Strace::attach(server.pid().expect("it runs"), millis(500));
        let noise = tokio::spawn(make_noise(server.url("app")));
        // While another commit is synced, later ones are in memory only, but visible.
        let before = strace.syncs().len();
        eventually("a sync", async || strace.syncs().len() > before).await;
        let batch = Arc::new(batch(Uuid::now_v7()));
        let first = tokio::spawn({
            let batch = batch.clone();
            async move { one.apply(&batch).await }
        });
        let mut watcher = MySqlConnection::connect(&server.url("app")).await.expect("a connection");
        eventually("the commit to be visible", async || is_there(&mut watcher, batch.id).await).await;
        let second = tokio::spawn({
            let batch = batch.clone();
            async move { other.apply(&batch).await }
        });
        // The kill comes at any moment. Every other time it comes at the earliest moment at which it could do harm.
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if round % 2 == 0 {
            eventually("the other's answer", async || second.is_finished()).await;
        } else {
            Clock::system().sleep(millis((random >> 33) % 1_500)).await;
        }
        server.kill();
        let answers = [first.await, second.await].map(|answer| answer.expect("no panic"));
        noise.await.expect("no panic");
        server.restart();
        let mut again = MySqlConnection::connect(&server.url("app")).await.expect("a connection");
        if answers.iter().any(Result::is_ok) {
            acknowledged += 1;
            if !is_there(&mut again, batch.id).await {
                lost.push(format!("{answers:?}"));
            }
        }
    }
    assert!(lost.is_empty(), "acknowledged {acknowledged}, lost {}: {lost:?}", lost.len());
    eprintln!("mariadb: acknowledged {acknowledged}, lost 0");
}

async fn open(server: &MariaDb) -> MySql {
    let sink = MySql::open(&server.url("app")).await.expect("opens").with(options());
    sink.prepare(&schema()).await.expect("a table");
    sink
}

/// Commits repeatedly until the server is gone.
async fn make_noise(url: String) {
    let mut connection = MySqlConnection::connect(&url).await.expect("a connection");
    while sqlx::raw_sql("INSERT INTO noise VALUES ()").execute(&mut connection).await.is_ok() {}
}

async fn is_there(connection: &mut MySqlConnection, id: Uuid) -> bool {
    let query = sqlx::query("SELECT COUNT(*) FROM hits WHERE id = ?").bind(id.to_string());
    query.fetch_one(connection).await.expect("an answer").get::<i64, _>(0) > 0
}

/// Postgres confirms a commit whose wait for a standby was ended, as if the standby had it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_waits_again_for_its_standby_when_a_wait_was_ended() {
    if without("postgres") {
        return;
    }
    let server = forebay_testkit::Postgres::start();
    let ask = |sql: &str| server.query("postgres", sql);
    // A statement timeout would end the wait as well.
    ask("ALTER ROLE postgres SET statement_timeout = '1min'");
    let sink = Postgres::open(&server.url("postgres")).await.expect("opens").with(options());
    sink.prepare(&schema()).await.expect("a table");
    ask("CREATE TABLE seen (timeout text);
         CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS
             $$BEGIN INSERT INTO seen VALUES (current_setting('statement_timeout')); RETURN NEW; END$$;
         CREATE TRIGGER see BEFORE INSERT ON hits FOR EACH ROW EXECUTE FUNCTION see()");
    ask("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    server.restart();

    let waiting = "FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name = 'forebay'";
    let waits = |flushers: &str| ask(&format!("SELECT count(*) {waiting}")) == flushers;
    let mut answers = vec![];
    // A cancelled wait begins again, and an ended connection gives no answer. Then another sink applies the batch.
    for (how, [before, after]) in [("pg_cancel_backend", ["1", "2"]), ("pg_terminate_backend", ["3", "3"])] {
        let batch = Arc::new(batch(Uuid::now_v7()));
        let apply = || {
            let (sink, batch) = (sink.clone(), batch.clone());
            tokio::spawn(async move { sink.apply(&batch).await })
        };
        let visible = format!("SELECT count(*) FROM hits WHERE id = '{}'", batch.id);
        let first = apply();
        wait_until("the first to wait", || waits(before));
        assert_eq!(ask(&visible), "0");
        ask(&format!("SELECT {how}(pid) {waiting} ORDER BY xact_start DESC LIMIT 1"));
        wait_until("the first to be ended", || ask(&visible) == "1");
        let mut other = apply();
        tokio::select! {
            answer = &mut other => panic!("after {how}: answered {answer:?} without a standby"),
            () = eventually("the others to wait", async || waits(after)) => {}
        }
        assert!(how == "pg_terminate_backend" || !first.is_finished(), "answered without a standby");
        answers.extend([first, other]);
    }
    assert_eq!(ask("SELECT DISTINCT timeout FROM seen"), "0");
    ask("ALTER SYSTEM RESET synchronous_standby_names");
    ask("SELECT pg_reload_conf()");
    let mut applied = vec![];
    for answer in answers {
        applied.push(answer.await.expect("no panic").ok());
    }
    let before = Some(Applied::Before);
    assert_eq!(applied, [Some(Applied::now(1, 0)), before.clone(), None, before]);
}

/// The power fails after one flusher was killed in its commit and another has found the batch.
#[test]
fn sqlite_has_what_was_found_in_its_ledger_after_the_power_failed() {
    if without("strace") {
        return;
    }
    for _ in 0..number("FOREBAY_KILLS", 2).min(10) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let files = ["app.db", "app.db-wal"].map(|name| directory.path().join(name));
        let id = Uuid::now_v7();
        let mut first = Flusher::start("first", &files[0], id);
        let disk = files.each_ref().map(|file| fs::read(file).expect("a file"));
        let strace = Strace::attach(first.process.id(), mins(10));
        first.apply();
        let begun = |strace: &Strace, file: &Path| {
            strace.syncs().iter().any(|sync| sync.contains(&format!("{}>", file.display())))
        };
        wait_until("the sync of the commit", || begun(&strace, &files[1]));
        // A traced process exists until its tracer has seen its end. This tracer is waiting.
        first.process.kill().expect("it is ours");
        drop((strace, first));

        let mut second = Flusher::start("second", &files[0], id);
        let strace = Strace::attach(second.process.id(), Duration::ZERO);
        second.apply();
        second.hear("before");
        let synced = files.each_ref().map(|file| begun(&strace, file));
        drop((second, strace));
        // Data that was not synced never reached the disk.
        for ((file, content), _) in files.iter().zip(disk).zip(synced).filter(|(_, synced)| !synced) {
            fs::write(file, content).expect("written");
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("starts");
        let row = runtime.block_on(async {
            let sink = Sqlite::open(&files[0].display().to_string()).await.expect("opens");
            let row = sink.read(&schema(), &batch(id).rows[0].key, &[]).await.expect("read").row;
            sink.close().await;
            row
        });
        assert!(row.is_some(), "acknowledged and lost; synced: {synced:?}");
    }
}

/// The arguments of a child: whether it is the first, the batch, the database.
const TOLD: &str = "FOREBAY_TEST_DURABLE_TOLD";

/// A process that applies a batch on command, and reports the result.
struct Flusher {
    process: Child,
    answers: BufReader<ChildStdout>,
}

impl Flusher {
    fn start(which: &str, database: &Path, batch: Uuid) -> Self {
        let mut process = Command::new(env::current_exe().expect("this test"))
            .args(["--exact", "durable::flusher", "--nocapture"])
            .env(TOLD, format!("{which} {batch} {}", database.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let answers = BufReader::new(process.stdout.take().expect("piped"));
        let mut flusher = Self { process, answers };
        flusher.hear("ready");
        flusher
    }

    fn apply(&mut self) {
        self.process.stdin.as_mut().expect("piped").write_all(b"apply\n").expect("it reads");
    }

    /// Reads its output until the line `word`, because the test harness prints lines of its own.
    fn hear(&mut self, word: &str) {
        let mut line = String::new();
        while line.trim_end() != word {
            line.clear();
            assert!(self.answers.read_line(&mut line).expect("text") > 0, "it ended without {word:?}");
        }
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.process.kill().expect("it is ours");
        self.process.wait().expect("it ends");
    }
}

/// One of the processes.
#[test]
fn flusher() {
    let Ok(told) = env::var(TOLD) else { return };
    let [which, id, path] = *told.splitn(3, ' ').collect::<Vec<_>>() else { panic!("told {told:?}") };
    let say = |word: &str| std::io::stdout().write_all(format!("\n{word}\n").as_bytes()).expect("a pipe");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("starts").block_on(async {
        let sink = Sqlite::open(path).await.expect("opens");
        sink.prepare(&schema()).await.expect("a table");
        if which == "first" {
            // This commit begins the log, so that the next sync of the log belongs to the batch.
            sink.apply(&batch(Uuid::now_v7())).await.expect("applied");
        }
        say("ready");
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).expect("a pipe");
        let applied = sink.apply(&batch(id.parse().expect("an id"))).await;
        say(if matches!(applied, Ok(Applied::Before)) { "before" } else { "not before" });
        // Waits to be killed, because closing the file would sync it.
        std::io::stdin().read_line(&mut line).expect("a pipe");
    });
}
