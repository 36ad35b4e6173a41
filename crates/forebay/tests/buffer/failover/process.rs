//! A process that writes and flushes, and the fate of its writes.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use forebay::{Buffer, Forebay, Result, Retry, buffer::BufferHandle, series::SeriesHandle};
use forebay_testkit::eventually;

use super::books::Books;

pub(crate) const PARTITIONS: u16 = 4;

/// The rows that it writes to.
pub(crate) const ROWS: i64 = 24;

/// The fate of the writes of a process.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    acknowledged: AtomicI64,
    unknown: AtomicI64,
}

impl Tally {
    fn note(&self, written: &Result<()>) {
        match written {
            Ok(()) => self.acknowledged.fetch_add(1, Ordering::SeqCst),
            Err(error) if error.retry() == Retry::Unknown => self.unknown.fetch_add(1, Ordering::SeqCst),
            Err(_) => 0,
        };
    }

    pub(crate) fn acknowledged(&self) -> i64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    pub(crate) fn unknown(&self) -> i64 {
        self.unknown.load(Ordering::SeqCst)
    }
}

/// A process: it writes to and flushes a store of its own.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub buffer: BufferHandle,
    pub series: SeriesHandle,
    pub hits: Arc<Tally>,
    pub points: Arc<Tally>,
}

impl Process {
    pub(crate) async fn open(url: &str, prefix: &str, sink: &Books) -> Self {
        let bay = Forebay::options().prefix(prefix).open(url).await.expect("opens");
        let definition = Buffer::new("hits").key("id").sum("n").partitions(PARTITIONS);
        let buffer = bay.buffer(definition).expect("valid");
        let _ = buffer.flush_to(sink.clone());
        let series = bay.series("hits").expect("valid");
        Self { buffer, series, hits: Arc::default(), points: Arc::default() }
    }

    /// Writes to a row and to a series. Returns whether the write to the row was acknowledged.
    pub(crate) async fn write(&self, row: i64) -> bool {
        let written = self.buffer.row((row % ROWS).to_string()).add("n", 1).await;
        self.hits.note(&written);
        self.points.note(&self.series.add("k", 1).await);
        written.is_ok()
    }

    /// Flushes until the store answers.
    pub(crate) async fn flush(&self) {
        eventually("a flush", async || match self.buffer.flush().await {
            Ok(_) => true,
            // A parked batch is reported, and the others are flushed.
            Err(error) => error.kind() == forebay::ErrorKind::Corrupt,
        })
        .await;
    }
}
