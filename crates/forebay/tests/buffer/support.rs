//! Stores for two processes, and sinks for tests.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use forebay::{
    Error, ErrorKind, Forebay,
    buffer::{BufferHandle, RowKey, Schema, Value},
    sink::{Applied, Batch, BoxFuture, MemorySink, Sink, SinkError, Snapshot},
};
use forebay_testkit::{Redis, unique_prefix, without};
use tokio::sync::Semaphore;
use uuid::Uuid;

/// Two handles of one store, as two processes would have: in memory, on one Redis, and on three.
pub(crate) async fn shared_stores() -> Vec<[Forebay; 2]> {
    let memory = Forebay::open("memory:").await.expect("opens");
    let mut stores = vec![[memory.clone(), memory]];
    if !without("redis") {
        let server = Redis::shared();
        let port = server.port();
        let three = format!("redis://127.0.0.1:{port}/1,127.0.0.1:{port}/2,127.0.0.1:{port}/3");
        for url in [server.url(), three] {
            let prefix = unique_prefix();
            let open = async || Forebay::options().prefix(&prefix).open(&url).await.expect("opens");
            stores.push([open().await, open().await]);
        }
    }
    stores
}

/// The sum of a buffer's first column over all rows of a sink.
pub(crate) fn total(buffer: &BufferHandle, sink: &MemorySink) -> i64 {
    let number = |cell: &Option<Value>| if let Some(Value::Integer(n)) = cell { *n } else { 0 };
    sink.rows(buffer.schema()).iter().map(|row| number(&row.cells[0])).sum()
}

/// The sink's treatment of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mood {
    /// Fails; a retry helps.
    Fails,
    /// Applies it; the answer is lost.
    LosesAnswer,
    /// Fails; a retry does not help.
    Refuses,
    /// Applies it when the test says so.
    Waits,
}

/// Tables in memory that fail on request. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct MoodySink {
    table: MemorySink,
    retention: Option<Duration>,
    moods: Arc<Mutex<VecDeque<Mood>>>,
    /// The database does not answer.
    away: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
}

impl Default for MoodySink {
    fn default() -> Self {
        let (moods, away, calls) = (Arc::default(), Arc::default(), Arc::default());
        let gate = Arc::new(Semaphore::new(0));
        Self { table: MemorySink::new(), retention: None, moods, away, calls, gate }
    }
}

impl MoodySink {
    /// A sink whose ledger forgets batches after `retention`.
    pub(crate) fn remembering(retention: Duration) -> Self {
        Self { retention: Some(retention), ..Self::default() }
    }

    /// Sets how the next batches are treated. The batches after them are applied.
    pub(crate) fn next(&self, moods: impl IntoIterator<Item = Mood>) {
        self.moods.lock().expect("no test panics here").extend(moods);
    }

    /// Sets whether the database is unreachable.
    pub(crate) fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    /// The number of batches that arrived, repetitions included.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Lets waiting batches continue.
    pub(crate) fn go_on(&self) {
        self.gate.add_permits(1);
    }

    pub(crate) fn table(&self) -> &MemorySink {
        &self.table
    }

    async fn apply_in_mood(&self, batch: &Batch) -> Result<Applied, SinkError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let mood = self.moods.lock().expect("no test panics here").pop_front();
        let error = |what: &str| Error::new(ErrorKind::Unavailable, format!("{what} by the test"));
        if self.away.load(Ordering::SeqCst) {
            return Err(SinkError::Transient(error("away")));
        }
        match mood {
            Some(Mood::Fails) => return Err(SinkError::Transient(error("failed"))),
            Some(Mood::Refuses) => return Err(SinkError::Permanent(error("refused"))),
            Some(Mood::Waits) => self.gate.acquire().await.expect("is open").forget(),
            Some(Mood::LosesAnswer) | None => {}
        }
        let applied = self.table.apply(batch).await?;
        if let Some(Mood::LosesAnswer) = mood {
            return Err(SinkError::Transient(error("lost")));
        }
        Ok(applied)
    }
}

impl Sink for MoodySink {
    fn prepare<'a>(&'a self, schema: &'a Schema) -> BoxFuture<'a, Result<(), SinkError>> {
        self.table.prepare(schema)
    }

    fn apply<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Applied, SinkError>> {
        Box::pin(self.apply_in_mood(batch))
    }

    fn read<'a>(
        &'a self,
        schema: &'a Schema,
        row: &'a RowKey,
        ids: &'a [Uuid],
    ) -> BoxFuture<'a, Result<Snapshot, SinkError>> {
        self.table.read(schema, row, ids)
    }

    fn ledger_retention(&self) -> Option<Duration> {
        self.retention
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), SinkError>> {
        self.table.ping()
    }
}
