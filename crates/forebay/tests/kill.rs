//! A process with `embedded:PATH` and a database dies, at a failpoint or by SIGKILL. Its acknowledged writes reach the
//! database exactly once.
#![cfg(unix)]

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
};

use forebay::{
    Buffer, Clock, Error, ErrorKind, Forebay,
    buffer::{BufferHandle, RowKey, Schema, Value},
    sink::{Applied, Batch, BoxFuture, Sink, SinkError, Snapshot},
    time::{millis, secs},
};
use redb::{Database, ReadableTable as _, TableDefinition, TableHandle as _};
use uuid::Uuid;

/// The variable with the child's directory. A process without it is the parent.
const DIRECTORY: &str = "FOREBAY_TEST_DIRECTORY";

/// The number of writers of the child, each with its own row.
const WRITERS: usize = 16;

const ROWS: TableDefinition<&str, i64> = TableDefinition::new("rows");
const LEDGER: TableDefinition<u128, ()> = TableDefinition::new("ledger");

/// A database with a ledger, in a file.
#[derive(Clone, Debug)]
struct FileSink(Arc<Database>);

impl FileSink {
    fn open(directory: &Path) -> Self {
        Self(Arc::new(Database::create(directory.join("sql.redb")).expect("opens")))
    }

    fn apply_now(&self, batch: &Batch) -> Result<Applied, redb::Error> {
        let transaction = self.0.begin_write()?;
        {
            let mut ledger = transaction.open_table(LEDGER)?;
            if ledger.insert(batch.id.as_u128(), ())?.is_some() {
                return Ok(Applied::Before);
            }
            let mut rows = transaction.open_table(ROWS)?;
            for row in &batch.rows {
                let Some(Value::Integer(n)) = row.cells[0] else { unreachable!("a sum") };
                let before = rows.get(row.key.as_str())?.map_or(0, |n| n.value());
                rows.insert(row.key.as_str(), before + n)?;
            }
        }
        transaction.commit()?;
        Ok(Applied::now(batch.rows.len() as u64, 0))
    }

    fn rows(&self) -> BTreeMap<String, i64> {
        let transaction = self.0.begin_write().expect("begins");
        assert!(
            transaction
                .list_tables()
                .expect("lists")
                .all(|t| [ROWS.name(), LEDGER.name()].contains(&t.name()))
        );
        let rows = transaction.open_table(ROWS).expect("opens");
        let rows = rows.iter().expect("reads").map(|row| {
            let (row, n) = row.expect("reads");
            (row.value().to_owned(), n.value())
        });
        rows.collect()
    }
}

impl Sink for FileSink {
    fn prepare<'a>(&'a self, _schema: &'a Schema) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async { Ok(()) })
    }

    fn apply<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Applied, SinkError>> {
        Box::pin(async {
            let error = |cause| Error::new(ErrorKind::Unavailable, "applying").with_source(cause);
            self.apply_now(batch).map_err(|cause| SinkError::Transient(error(cause)))
        })
    }

    fn read<'a>(
        &'a self,
        _schema: &'a Schema,
        _row: &'a RowKey,
        _ids: &'a [Uuid],
    ) -> BoxFuture<'a, Result<Snapshot, SinkError>> {
        Box::pin(async { Ok(Snapshot::default()) })
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(async { Ok(()) })
    }
}

async fn open(directory: &Path) -> (Forebay, BufferHandle, FileSink) {
    let url = format!("embedded:{}", directory.join("store.redb").display());
    let bay = Forebay::open(&url).await.expect("opens");
    let buffer = bay.buffer(Buffer::new("rows").key("id").sum("n").partitions(4)).expect("valid");
    (bay, buffer, FileSink::open(directory))
}

/// Writes, prints each acknowledgement, and flushes repeatedly, until it is killed.
fn child(directory: &Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("builds").block_on(async {
        let (_bay, buffer, sink) = open(directory).await;
        let _flushing = buffer.flush_to(sink).every(millis(1)).spawn();
        for writer in 0..WRITERS {
            let buffer = buffer.clone();
            tokio::spawn(async move {
                loop {
                    buffer.row(writer.to_string()).add("n", 1).await.expect("acknowledged");
                    writeln!(std::io::stdout().lock(), "acknowledged {writer}").expect("the parent listens");
                }
            });
        }
        Clock::system().sleep(secs(30)).await;
    });
    unreachable!("somebody ends this process within 30 s");
}

/// Starts this test program as a child that runs the calling test.
fn start(directory: &Path, test: &str, failpoint: Option<&str>) -> Child {
    let mut command = Command::new(env::current_exe().expect("this program"));
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(DIRECTORY, directory);
    if let Some(failpoint) = failpoint {
        command.env("FOREBAY_FAILPOINT", failpoint);
    }
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("starts")
}

/// Lets a child run until it ends, or has acknowledged `most` writes. Returns the counts by writer.
fn listen(mut child: Child, most: usize) -> (BTreeMap<String, i64>, ExitStatus) {
    let mut acknowledged: BTreeMap<String, i64> = BTreeMap::new();
    let (mut lines, mut line) = (BufReader::new(child.stdout.take().expect("piped")), String::new());
    let mut count = 0;
    while lines.read_line(&mut line).expect("text") > 0 {
        // The first report follows the test's name on the same line. The last one may be cut off.
        let told = line.split_once("acknowledged ").and_then(|(_, rest)| rest.strip_suffix('\n'));
        if let Some(writer) = told {
            *acknowledged.entry(writer.to_owned()).or_default() += 1;
            count += 1;
            if count == most {
                child.kill().expect("kills");
            }
        }
        line.clear();
    }
    (acknowledged, child.wait().expect("ended"))
}

/// Flushes the remaining rows, and compares the counts. Each writer may have had one write in flight.
async fn check(
    directory: &Path,
    before: &mut BTreeMap<String, i64>,
    acknowledged: &BTreeMap<String, i64>,
    how: &str,
) {
    let (bay, buffer, sink) = open(directory).await;
    let _ = buffer.flush_to(sink.clone());
    buffer.flush().await.expect("flushes");
    let after = sink.rows();
    for writer in (0..WRITERS).map(|writer| writer.to_string()) {
        let of = |counts: &BTreeMap<String, i64>| counts.get(&writer).copied().unwrap_or(0);
        let (told, found) = (of(acknowledged), of(&after) - of(before));
        assert!(
            (told..=told + 1).contains(&found),
            "{how}, writer {writer}: {found} in SQL of {told} acknowledged"
        );
    }
    *before = after;
    bay.close().await.expect("closes");
}

#[test]
fn death_at_any_failpoint_loses_and_doubles_nothing() {
    if let Some(directory) = env::var_os(DIRECTORY) {
        return child(Path::new(&directory));
    }
    let directory = tempfile::tempdir().expect("temporary directory");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("builds");
    let mut rows = BTreeMap::new();
    for point in [
        "after_live_write_before_commit:40",
        "after_commit_before_answer:40",
        "rotate_before_commit:3",
        "rotate_after_commit:3",
        "flush_after_read:3",
        "flush_after_apply:1",
        "flush_after_apply:4",
        "flush_after_ack:3",
    ] {
        let test = "death_at_any_failpoint_loses_and_doubles_nothing";
        let (acknowledged, status) = listen(start(directory.path(), test, Some(point)), usize::MAX);
        assert_eq!(status.signal(), Some(6), "{point}: the child aborts there, not {status:?}");
        runtime.block_on(check(directory.path(), &mut rows, &acknowledged, point));
    }
}

#[test]
fn death_at_any_time_loses_and_doubles_nothing() {
    if let Some(directory) = env::var_os(DIRECTORY) {
        return child(Path::new(&directory));
    }
    let rounds = if env::var_os("FOREBAY_LONG").is_some() { 200 } else { 6 };
    let directory = tempfile::tempdir().expect("temporary directory");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("builds");
    let mut rows = BTreeMap::new();
    for round in 0..rounds {
        let test = "death_at_any_time_loses_and_doubles_nothing";
        // The kill hits a random point of the flush, because the writes do not run in step with it.
        let (acknowledged, status) = listen(start(directory.path(), test, None), 1 + round * 389 % 1_000);
        assert_eq!(status.signal(), Some(9), "{status:?}");
        runtime.block_on(check(directory.path(), &mut rows, &acknowledged, &format!("round {round}")));
    }
}
