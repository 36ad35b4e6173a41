//! A process that writes and flushes, and its parent's handle.

use std::{
    env,
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use forebay::{Buffer, Error, Forebay, Retry, buffer::BufferHandle, time::millis};
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    database::Kind,
    history::{Event, hot, own},
};

/// The arguments of a child: its number, its log, the store, the database. A process without them is the parent.
const TOLD: &str = "FOREBAY_TEST_FAULTS_TOLD";

/// The number of concurrent writes of a process.
const WRITERS: usize = 4;

/// A process as its parent sees it.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
    /// The number of writes that it may send.
    permits: usize,
}

impl Process {
    pub(crate) fn start(number: usize, logs: &Path, redis: &str, kind: Kind, database: &str) -> Self {
        let log = logs.join(number.to_string());
        File::create(&log).expect("a log");
        let told = format!("{number} {} {redis} {} {database}", log.display(), kind.word());
        let child = Command::new(env::current_exe().expect("this test"))
            .args(["--exact", "process::child", "--nocapture"])
            .env(TOLD, told)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn();
        Self { child: child.expect("starts"), log, permits: 0 }
    }

    /// Allows more writes.
    pub(crate) fn permit(&mut self, writes: usize) {
        self.permits += writes;
        let pipe = self.child.stdin.as_mut().expect("piped");
        pipe.write_all(&vec![b'.'; writes]).expect("it reads");
    }

    /// The number of permitted writes that it has not sent yet.
    pub(crate) fn left(&self) -> usize {
        let sent = self.log().iter().filter(|(event, _)| *event == Event::Sent).count();
        self.permits - sent
    }

    /// Its events, in order.
    pub(crate) fn log(&self) -> Vec<(Event, u64)> {
        Event::read(&std::fs::read(&self.log).expect("a log"))
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The buffer of all processes; retries until the store answers.
pub(crate) async fn open(url: &str) -> BufferHandle {
    loop {
        // An earlier fault may have broken the connection.
        match Forebay::open(url).await {
            Ok(bay) => {
                let definition = Buffer::new("hits").key("id").sum("n").partitions(4);
                return bay.buffer(definition).expect("valid");
            }
            Err(error) => assert!(error.retry() != Retry::Never, "{error}"),
        }
    }
}

/// A child process. It runs until it is killed or its parent is gone.
#[test]
fn child() {
    let Ok(told) = env::var(TOLD) else { return };
    let [number, log, redis, kind, database] = *told.splitn(5, ' ').collect::<Vec<_>>() else {
        panic!("told {told:?}")
    };
    let kind = Kind::ALL.into_iter().find(|of| of.word() == kind).expect("one of three");
    let number: u64 = number.parse().expect("a number");
    let log = Arc::new(OpenOptions::new().append(true).open(log).expect("a log"));
    let writes = Arc::new(Semaphore::new(0));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("starts");
    runtime.spawn({
        let (writes, redis, database) = (writes.clone(), redis.to_owned(), database.to_owned());
        async move {
            let buffer = open(&redis).await;
            let flusher = kind.flusher(&buffer, &database).await.every(millis(20));
            while flusher.clone().prepare().await.is_err() {}
            let _flushing = flusher.spawn();
            let next = Arc::new(AtomicU64::new(number << 32));
            let write = |_| keep_writing(buffer.clone(), log.clone(), next.clone(), writes.clone());
            (0..WRITERS).map(write).collect::<JoinSet<()>>().join_all().await;
        }
    });
    let mut permits = [0; 4_096];
    loop {
        match std::io::stdin().read(&mut permits).expect("a pipe") {
            0 => std::process::exit(0),
            number => writes.add_permits(number),
        }
    }
}

async fn keep_writing(buffer: BufferHandle, log: Arc<File>, next: Arc<AtomicU64>, writes: Arc<Semaphore>) {
    loop {
        writes.acquire().await.expect("is open").forget();
        let id = next.fetch_add(1, Ordering::Relaxed);
        // The entry is written directly, so that it survives the end of this process.
        let note = |event: Event| (&*log).write_all(&event.record(id)).expect("a log");
        note(Event::Sent);
        let rows = [own(id), hot(id)].map(|row| buffer.row(row).add("n", 1).into_row().expect("fits"));
        let answers = buffer.add_rows(rows.into()).await;
        let nothing =
            |answer: &Result<(), Error>| answer.as_ref().is_err_and(|error| error.retry() != Retry::Unknown);
        if answers.iter().all(Result::is_ok) {
            note(Event::Acknowledged);
        } else if answers.iter().all(nothing) {
            note(Event::Refused);
        }
        // Otherwise the rows have different results, or unknown ones: the write stays open.
    }
}
